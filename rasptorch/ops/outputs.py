"""``out=``: results written into tensors that exist.

The operation and the copy into ``out`` are enqueued together and become one kernel wherever the operation's kernel has an epilogue
(elementwise ones, reductions, matrix products), so that the result is never in memory twice. ``out`` may be one of the operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

from ..autograd.mode import no_grad, recording
from ..runtime.errors import DeviceError, DTypeError, RasptorchError, ShapeError
from ..tensor import Tensor
from .aliases import renamed

P = ParamSpec("P")
R = TypeVar("R")


_BY_DIM_ONLY = frozenset({"norm", "tensordot"})  # which PyTorch does not take ``axis`` for


class OutputError(RasptorchError, RuntimeError):
    """``out=`` does not go with gradients."""


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for x in values:
        if isinstance(x, Tensor):
            yield x
        elif isinstance(x, (list, tuple)):
            yield from (y for y in x if isinstance(y, Tensor))


def into(name: str, out: Any, operands: Sequence[Any], compute: Callable[[], Any], converts: bool) -> Any:
    """What ``compute()`` gives, written into ``out`` (or into several). ``converts``: as elementwise operations do."""
    targets = list(out) if isinstance(out, (list, tuple)) else [out]
    for target in targets:
        if not isinstance(target, Tensor):
            raise TypeError(f"{name}: out is a tensor, or a tuple of them where there are several results, got {type(target).__name__}")
    if recording.get() and any(x.requires_grad for x in _tensors([*operands, *targets])):
        raise OutputError(
            f"{name}: results written with out= have no gradient, but a tensor here requires one; use the operation without out=, "
            "or `with no_grad():`"
        )
    with targets[0].device.stream().together(), no_grad():
        found = compute()
        results = list(found) if isinstance(found, tuple) else [found]
        if len(results) != len(targets):
            raise TypeError(f"{name}: out has {len(targets)} tensors for {len(results)} results")
        for result, target in zip(results, targets, strict=True):
            _check(name, result, target, converts)
        for result, target in zip(results, targets, strict=True):
            _write(name, result, target)
    return out


def _check(name: str, result: Tensor, target: Tensor, converts: bool) -> None:
    if result.device is not target.device:
        raise DeviceError(f"{name}: the result is on {result.device}, out on {target.device}; out has to be on the operands' device")
    if result.shape != target.shape:
        raise ShapeError(
            f"{name}: the result has shape {list(result.shape)}, out {list(target.shape)}; out is not resized: "
            "make it of the result's shape"
        )
    fits = result.dtype.category <= target.dtype.category if converts else result.dtype is target.dtype
    if not fits:
        raise DTypeError(f"{name}: the result is {result.dtype.name} and out {target.dtype.name}; make out of dtype {result.dtype.name}")


def _write(name: str, result: Tensor, target: Tensor) -> None:
    from .elementwise import check_writable
    from .views import copy_into

    check_writable(name, target)
    copy_into(target, result)


def _decorated(function: Callable[P, R], converts: bool, makes: bool) -> Callable[P, R]:
    name = function.__name__
    dims = "dim" in signature(function).parameters and name not in _BY_DIM_ONLY

    @wraps(function)
    def wrapped(*args: P.args, **options: P.kwargs) -> R:
        if makes and "size" in options:
            args, options = (options["size"], *args), {k: v for k, v in options.items() if k != "size"}  # type: ignore[assignment]  # ParamSpec
        if not options:
            return function(*args, **options)
        if dims:
            options = renamed(name, options)  # type: ignore[assignment]  # ParamSpec
        if options.get("out") is None:
            return function(*args, **options)
        given: dict[str, Any] = dict(options)
        out: Any = given.pop("out")
        if makes and isinstance(out, Tensor):
            for option, value in (("dtype", out.dtype), ("device", out.device)):
                if given.get(option) is None:
                    given[option] = value
        operands = (*args, *given.values())
        return into(name, out, operands, lambda: function(*args, **given), converts)  # type: ignore[no-any-return]  # ParamSpec

    return wrapped


def takes_out(function: Callable[P, R]) -> Callable[P, R]:
    """For functions that declare ``out=None``: what is given there is seen to here. ``out`` has the result's dtype."""
    return _decorated(function, converts=False, makes=False)


def converts_out(function: Callable[P, R]) -> Callable[P, R]:
    """As `takes_out`; results are converted to ``out``'s dtype if that is no other kind of number that holds less."""
    return _decorated(function, converts=True, makes=False)


def makes_out(function: Callable[P, R]) -> Callable[P, R]:
    """As `takes_out`, for functions that make tensors: dtype and device are ``out``'s unless given. The first argument may be ``size=``."""
    return _decorated(function, converts=False, makes=True)
