"""``rt.capture``: record a function once, replay it with new inputs and no Python per operation."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import update_wrapper
from typing import Any, NamedTuple

from .autograd.precision import low_dtypes
from .ops.creation import device_of
from .runtime.capture import Captured, CaptureError
from .runtime.device import Device
from .runtime.layout import Layout
from .runtime.storage import Storage
from .runtime.stream import Stream
from .tensor import Tensor

KEPT = 16  # forms of inputs a function is kept captured for

# Which input's storage it has, or the storage outside the function that it has (neither: a new one every time), offset, layout.
_Result = tuple[int | None, Storage | None, int, Layout]


class _Known(NamedTuple):
    """A function captured for one form of inputs: None where there was nothing to run, the results' form, and the tensors in it."""

    captured: Captured | None
    form: Any
    results: list[_Result]


class CapturedFunction:
    """Call it like the function. ``captures`` counts how often the function itself ran to be captured."""

    def __init__(self, function: Callable[..., Any], device: str | Device | None) -> None:
        self._function = function
        self._device = device
        self._known: OrderedDict[Any, _Known] = OrderedDict()
        self._lock = threading.RLock()
        self.captures = 0
        update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        tensors: list[Tensor] = []
        form = _form((args, kwargs), tensors) if args or kwargs else None
        stream = self._stream(tensors)
        identities = [id(t.storage) for t in tensors]
        key = (stream, form, tuple(identities.index(i) for i in identities), low_dtypes.get())
        with self._lock:
            known = self._known.get(key)
            if known is None:
                return self._capture(key, stream, tensors, args, kwargs)
            self._known.move_to_end(key)
        slots = [t.storage.slot for t in tensors]
        if known.captured is None:
            made: dict[int, Storage] = {}
        elif known.captured.fits(slots):
            made = known.captured.replay(slots)
        else:  # given a parameter, say, that the function changes by itself: what was captured knows nothing of that
            results: list[Tensor] = []
            form = _form(self._function(*args, **kwargs), results)
            return _rebuilt(form, iter([result.detach() for result in results]))
        fresh = []
        for position, (passed, outside, offset, layout) in enumerate(known.results):
            if passed is not None:
                storage = tensors[passed].storage
            else:
                storage = outside if outside is not None else made[position]
            fresh.append(Tensor._make(storage, offset, layout))
        return _rebuilt(known.form, iter(fresh))

    def _stream(self, tensors: list[Tensor]) -> Stream:
        if self._device is not None:
            return device_of(self._device).stream()
        return tensors[0].device.stream() if tensors else device_of(None).stream()

    def _capture(self, key: Any, stream: Stream, tensors: list[Tensor], args: Any, kwargs: Any) -> Any:
        stream.begin_capture()
        try:
            form, results = self._run(args, kwargs)
        except BaseException as problem:
            stream.cancel_capture(problem)
            raise
        captured = stream.end_capture([t.storage.slot for t in tensors], [r.storage for r in results])
        self.captures += 1
        # Results are kept as forms only: holding on to their storages would keep their memory.
        inputs = [id(t.storage) for t in tensors]
        forms: list[_Result] = []
        for position, r in enumerate(results):
            passed = inputs.index(id(r.storage)) if id(r.storage) in inputs else None
            made_here = captured is not None and captured.makes(position)
            forms.append((passed, None if made_here or passed is not None else r.storage, r.offset, r.layout))
        self._known[key] = _Known(captured, form, forms)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return _rebuilt(form, iter(results))

    def _run(self, args: Any, kwargs: Any) -> tuple[Any, list[Tensor]]:
        """What the function returns, taken apart and without history: that would keep what backward needs alive for good."""
        results: list[Tensor] = []
        form = _form(self._function(*args, **kwargs), results)
        return form, [result.detach() for result in results]


def _form(value: Any, tensors: list[Tensor]) -> Any:
    """A hashable description of nested arguments, with the tensors taken out in order."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return ("tensor", value.layout, value.offset, value.requires_grad)
    if isinstance(value, (tuple, list)):
        return (type(value), *(_form(v, tensors) for v in value))
    if isinstance(value, dict):
        return (dict, *((k, _form(v, tensors)) for k, v in value.items()))
    if type(value) is float:
        return ("float", value.hex())  # tells -0.0 from 0.0, and a NaN is equal to itself
    try:
        hash(value)
    except TypeError:
        raise CaptureError(
            f"a captured function takes and returns tensors and hashable values, not {type(value).__name__}"
        ) from None
    return ("value", type(value), value)  # 1, 1.0 and True are equal, and mean different dtypes


def _rebuilt(form: Any, tensors: Iterator[Tensor]) -> Any:
    kind = form[0]
    if kind == "tensor":
        return next(tensors)
    if kind == "float":
        return float.fromhex(form[1])
    if kind == "value":
        return form[2]
    if kind is dict:
        return {k: _rebuilt(v, tensors) for k, v in form[1:]}
    items = [_rebuilt(v, tensors) for v in form[1:]]
    return kind._make(items) if hasattr(kind, "_make") else kind(items)


def capture(function: Callable[..., Any] | None = None, *, device: str | Device | None = None) -> Any:
    """Record ``function`` at its first call with inputs of some form; replay it at later calls of that form.

    ``step = rt.capture(train_step)``, or ``@rt.capture``. Inputs are tensors (also in tuples, lists, dicts) and hashable values; a
    call with other shapes, dtypes, offsets or values, or on another stream, is captured afresh. Tensors the function uses from
    outside, such as parameters and optimiser state, are the real ones: a replay updates them. Random numbers advance at every replay.
    Results are new tensors without history.

    A replay runs no Python: what the function does besides enqueuing (assigning attributes, counting, branching on values) happens
    only when it is captured. Gradients that it accumulates belong inside: call ``zero_grad()``, ``backward()`` and ``step()`` in it,
    or return what `rasptorch.autograd.grad` gives. Reading values, waiting, using a second device or stream, or calling another
    captured function inside raises `CaptureError`, and nothing of that call is run.
    """
    if function is None:
        return lambda f: CapturedFunction(f, device)
    return CapturedFunction(function, device)
