"""``rt.capture``: record a function once, replay it with new inputs and no Python per operation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from .ops.creation import device_of
from .runtime import device as devices
from .runtime.capture import Captured, CaptureError
from .runtime.device import Device
from .runtime.stream import Stream
from .tensor import Tensor

KEPT = 16  # forms of inputs a function is kept captured for


class CapturedFunction:
    """Call it like the function. ``captures`` counts how often the function itself ran."""

    def __init__(self, function: Callable[..., Any], device: str | Device | None) -> None:
        self._function = function
        self._device = device
        self._known: OrderedDict[Any, tuple[Captured | None, Any, list[tuple[Any, ...]]]] = OrderedDict()
        self.captures = 0
        update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        tensors: list[Tensor] = []
        form = _form((args, kwargs), tensors)
        stream = self._stream(tensors)
        identities = [id(t.storage) for t in tensors]
        key = (stream.device, form, tuple(identities.index(i) for i in identities))
        known = self._known.get(key)
        if known is None:
            return self._capture(key, stream, tensors, args, kwargs)
        self._known.move_to_end(key)
        captured, shape_of_result, results = known
        made = {} if captured is None else captured.replay([t.storage.slot for t in tensors])
        fresh = []
        for position, (passed, outside, offset, layout) in enumerate(results):
            if passed is not None:
                storage = tensors[passed].storage
            else:
                storage = outside if outside is not None else made[position]
            fresh.append(Tensor._make(storage, offset, layout))
        return _rebuilt(shape_of_result, iter(fresh))

    def _stream(self, tensors: list[Tensor]) -> Stream:
        if self._device is not None:
            return device_of(self._device).stream()
        return tensors[0].device.stream() if tensors else device_of(None).stream()

    def _capture(self, key: Any, stream: Stream, tensors: list[Tensor], args: Any, kwargs: Any) -> Any:
        elsewhere = _activity(stream)
        stream.begin_capture()
        try:
            value = self._function(*args, **kwargs)
            results: list[Tensor] = []
            shape_of_result = _form(value, results)
            results = [result.detach() for result in results]
            if _activity(stream) != elsewhere:
                raise CaptureError(
                    "a captured function can only use one device and one stream: this one enqueued somewhere else too"
                )
        except BaseException as problem:
            stream.cancel_capture(problem)
            raise
        captured = stream.end_capture([t.storage.slot for t in tensors], [r.storage for r in results])
        self.captures += 1
        # Results are kept as forms only: holding on to their storages would keep their memory.
        inputs = [id(t.storage) for t in tensors]
        forms = []
        for position, r in enumerate(results):
            passed = inputs.index(id(r.storage)) if id(r.storage) in inputs else None
            outside = r.storage if passed is None and not _made_here(captured, position) else None
            forms.append((passed, outside, r.offset, r.layout))
        self._known[key] = (captured, shape_of_result, forms)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return _rebuilt(shape_of_result, iter(results))


def _made_here(captured: Captured | None, position: int) -> bool:
    return captured is not None and captured.makes(position)


def _activity(stream: Stream) -> list[tuple[int, int]]:
    """What the other streams have been given so far."""
    return [
        (id(other), other.submitted * 1_000_000 + other.commands_gathered())
        for device in devices.opened()
        for other in list(device.streams)
        if other is not stream
    ]


def _form(value: Any, tensors: list[Tensor]) -> Any:
    """A hashable description of nested arguments, with the tensors taken out in order."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return ("tensor", value.layout, value.offset, value.requires_grad)
    if isinstance(value, (tuple, list)):
        return (type(value).__name__, *(_form(v, tensors) for v in value))
    if isinstance(value, dict):
        return ("dict", *((k, _form(v, tensors)) for k, v in value.items()))
    try:
        hash(value)
    except TypeError:
        raise CaptureError(
            f"a captured function takes and returns tensors and hashable values, not {type(value).__name__}"
        ) from None
    return ("value", value)


def _rebuilt(form: Any, tensors: Any) -> Any:
    kind = form[0]
    if kind == "tensor":
        return next(tensors)
    if kind == "value":
        return form[1]
    if kind == "dict":
        return {k: _rebuilt(v, tensors) for k, v in form[1:]}
    items = [_rebuilt(v, tensors) for v in form[1:]]
    return tuple(items) if kind == "tuple" else items


def capture(function: Callable[..., Any] | None = None, *, device: str | Device | None = None) -> Any:
    """Record ``function`` at its first call with inputs of some form; replay it at later calls of that form.

    ``step = rt.capture(train_step)``, or ``@rt.capture``. Inputs are tensors (also in tuples, lists, dicts) and hashable values; a
    call with other shapes, dtypes, offsets or values is captured afresh. Tensors the function uses from outside, such as parameters
    and optimiser state, are the real ones: a replay updates them. Random numbers advance at every replay. Results are new tensors
    without history. Reading values, synchronising or using a second device inside raises `CaptureError`.
    """
    if function is None:
        return lambda f: CapturedFunction(f, device)
    return CapturedFunction(function, device)
