"""``checkpoint(fn, *args)``: compute a part of the network twice instead of keeping what its gradients need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..autograd import recompute
from ..autograd.mode import recording
from ..tensor import Tensor


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool = False, preserve_rng_state: bool = True, **kwargs: Any
) -> Any:
    """``function(*args, **kwargs)``, of which only inputs and outputs are kept for backward.

    The first gradient that needs a value in between has the function run once more, with the random numbers of the first time
    (``preserve_rng_state``), so that dropout drops the same. It works with parameters that the function uses without being given
    them, inside other checkpoints, under ``rasptorch.capture``, for ``autograd.grad`` and for gradients of gradients.

    The function must do the same the second time: it is an error if it makes other operations, or if tensors in ``args`` were changed
    in place meanwhile. What it does besides (running statistics, for example) happens twice. ``use_reentrant=True`` is PyTorch's older
    way, and is refused.
    """
    if use_reentrant:
        raise NotImplementedError("checkpoint: use_reentrant=True is not there; the other way can do all that it can, leave it out")
    if not recording.get() or recompute.first_run():  # nothing is kept anyway
        return function(*args, **kwargs)
    inputs = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
    return recompute.Frame(lambda: function(*args, **kwargs), inputs, preserve_rng_state).run()


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool = False, preserve_rng_state: bool = True
) -> Any:  # fmt: skip
    """`checkpoint` for a ``Sequential``, or a list of functions, in ``segments`` parts; the last part is not checkpointed."""
    steps: Sequence[Callable[[Any], Any]] = list(functions)
    if not 1 <= segments <= max(len(steps), 1):
        raise ValueError(f"checkpoint_sequential: {segments} segments of {len(steps)} functions")
    size = len(steps) // segments
    for start in range(0, size * (segments - 1), size):
        part = _Chain(steps[start : start + size])
        input = checkpoint(part, input, use_reentrant=use_reentrant, preserve_rng_state=preserve_rng_state)
    return _Chain(steps[size * (segments - 1) :])(input)


class _Chain:
    """Functions one after another."""

    def __init__(self, steps: Sequence[Callable[[Any], Any]]) -> None:
        self._steps = steps

    def __call__(self, x: Any) -> Any:
        for step in self._steps:
            x = step(x)
        return x
