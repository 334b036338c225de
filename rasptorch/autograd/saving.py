"""What users do with the values that backward needs, between forward and backward: `saved_tensors_hooks`.

Inside the hooks a node keeps what ``pack`` made of its values, in a `Packed`. Where neither hooks nor a checkpoint are about, making
a node looks at one empty list, ``watching``, and that is all it pays.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from ..runtime.errors import RasptorchError, ShapeError
from . import recompute
from .mode import no_grad, recording

if TYPE_CHECKING:
    from ..runtime.layout import Layout
    from ..tensor import Tensor
    from .node import Edge, Node

Pack = Callable[[Any], Any]


class SavedHookError(RasptorchError, RuntimeError):
    """What a pack or unpack hook did, or where hooks were asked for, is not allowed."""


class _Active(NamedTuple):
    """Hooks (or, without them, why there may be none), and the checkpoints that were running when they were entered."""

    pack: Pack | None
    unpack: Pack | None
    refusal: str | None
    frames: tuple[Any, ...]


watching: Final = recompute.running  # who wants to know of new nodes, in any context
_active: ContextVar[tuple[_Active, ...]] = ContextVar("rasptorch_saved_tensors_hooks", default=())


class _Context:
    """Something that holds for the nodes made inside ``with``, unless an inner one does."""

    def __init__(self, pack: Pack | None, unpack: Pack | None, refusal: str | None) -> None:
        self._given = (pack, unpack, refusal)

    def __enter__(self) -> None:
        _active.set((*_active.get(), _Active(*self._given, recompute.frames())))
        watching.append(self)

    def __exit__(self, *_: object) -> None:
        watching.remove(self)
        _active.set(_active.get()[:-1])


class saved_tensors_hooks(_Context):
    """``with saved_tensors_hooks(pack, unpack):`` what is saved for backward inside is kept as what ``pack`` returns.

    ``pack(tensor)`` is called once for each tensor that an operation saves, without being taped, and may return anything; it must not
    change the tensor. ``unpack(packed)`` is called when backward comes to the operation (with ``retain_graph``, each time), and
    returns a tensor of the same shape, dtype and device with the values that gradients are to be computed from. Of nested hooks the
    innermost count. As ``pack`` decides what is kept, later changes of the tensor in place are not noticed. Inside a checkpoint, which
    keeps nothing, hooks from outside are not called; index tensors that an operation has converted for itself are not shown either.
    """

    def __init__(self, pack_hook: Pack, unpack_hook: Pack) -> None:
        for name, hook in (("pack_hook", pack_hook), ("unpack_hook", unpack_hook)):
            if not callable(hook):
                raise TypeError(f"saved_tensors_hooks: {name} is a function of one argument, got {type(hook).__name__}")
        super().__init__(pack_hook, unpack_hook, None)

    def __enter__(self) -> None:
        refused = [a.refusal for a in _active.get() if a.refusal is not None]
        if refused:
            raise SavedHookError(refused[-1])
        super().__enter__()


class disable_saved_tensors_hooks(_Context):
    """``with disable_saved_tensors_hooks(message):`` entering `saved_tensors_hooks` raises a `RuntimeError` with that message; so does
    coming here while there are hooks.
    """

    def __init__(self, error_message: str) -> None:
        super().__init__(None, None, error_message)

    def __enter__(self) -> None:
        refusal = self._given[2]
        assert refusal is not None
        if any(a.pack is not None for a in _active.get()):
            raise SavedHookError(refusal)
        super().__enter__()


class save_on_cpu(saved_tensors_hooks):
    """``with save_on_cpu():`` what is saved for backward inside waits for it in the memory of the host, bit for bit.

    Worth it where a device has memory of its own. Each saved tensor is read back when it is saved, and forward waits for it, as
    ``x.to("cpu")`` does. ``pin_memory`` and ``device_type`` are PyTorch's; there is nothing to pin here.
    """

    def __init__(self, pin_memory: bool = False, device_type: str | None = None) -> None:
        super().__init__(lambda x: (x.device, x.to("cpu", copy=True)), lambda kept: kept[1].to(kept[0]))


class _Kept:
    """One value as ``pack`` left it, and what it takes to make the value of it again."""

    _made: ClassVar[str] = "saved_tensors_hooks: unpack"

    def __init__(self, hooks: _Active, value: Tensor, edge: Edge) -> None:
        assert hooks.pack is not None
        storage = value.storage
        version = storage.version
        with no_grad():
            self._packed = hooks.pack(value)
        if storage.version != version:
            raise SavedHookError(
                f"saved_tensors_hooks: pack changed its argument of shape {list(value.shape)} in place; others see that tensor: clone it"
            )
        self._unpack: Final = hooks.unpack
        self._layout: Final[Layout] = value.layout
        self._edge: Final = edge

    def value(self, edge: Edge = None) -> Tensor:
        """The value again, at its place on the tape: ``edge``, or what it came from."""
        assert self._unpack is not None
        with no_grad():
            found = self._unpack(self._packed)
        self._check(found)
        layout = self._layout
        if found.layout is not layout and layout.contiguous:
            found = found.detach().contiguous()
        edge = self._edge if edge is None else edge
        if edge is None or edge is found:
            return found if edge is not None else found.detach()  # type: ignore[no-any-return]
        return _placed(found, edge)

    def _check(self, found: Any) -> None:
        layout = self._layout
        if not hasattr(found, "storage"):
            raise TypeError(f"{self._made} returns a tensor, got {type(found).__name__}")
        if found.layout.shape != layout.shape:
            raise ShapeError(f"{self._made} returned shape {list(found.shape)} for a tensor of shape {list(layout.shape)}")
        if found.layout.dtype is not layout.dtype or found.layout.device is not layout.device:
            raise SavedHookError(
                f"{self._made} returned {found.dtype.name} on {found.device} for {layout.dtype.name} on {layout.device}; convert with .to()"
            )


def _placed(x: Tensor, edge: Edge) -> Tensor:
    """``x``'s memory with the history ``edge``."""
    from .node import Node

    out = x.detach()
    if isinstance(edge, Node):
        out.node, out.requires_grad = edge, True
    elif recording.get():  # a leaf's value, which is not the leaf: what is done with it is passed on to that
        out.node, out.requires_grad = Node("unpacked", lambda n, g: (g,), (edge,), ()), True
    return out


class Packed:
    """The saved values of one node, tensors among them as hooks packed them."""

    def __init__(self, hooks: _Active, saved: tuple[Any, ...]) -> None:
        self._hooks: Final = hooks
        self._saved: Final = tuple([self._kept(x) if hasattr(x, "storage") else x for x in saved])
        self._output: _Kept | None = None
        self._values: tuple[Any, ...] | None = None
        self._result: Tensor | None = None

    def _kept(self, value: Tensor) -> _Kept:
        edge = value.node if value.node is not None else value if value.requires_grad else None
        return _Kept(self._hooks, value, edge)

    def output(self, out: Tensor) -> _Kept:
        """The node's output, packed. It comes without its history: what ``pack`` returns must not hold the node that holds it."""
        return _Kept(self._hooks, out.detach(), None)

    def values(self) -> tuple[Any, ...]:
        """The saved values; unpacked once per run of the gradient."""
        if self._values is None:
            self._values = tuple([x.value() if isinstance(x, _Kept) else x for x in self._saved])
        return self._values

    def keep_output(self, out: Tensor) -> None:
        self._output = self.output(out)

    def result(self, node: Node) -> Tensor:
        assert self._output is not None
        if self._result is None:
            self._result = self._output.value(node)
        return self._result

    def forget(self) -> None:
        """The gradient has been computed: what was unpacked for it is not needed any more."""
        self._values = self._result = None

    def release(self) -> bool:
        return bool(self._saved)


def elsewhere(node: Node, saved: tuple[Any, ...]) -> bool:
    """Whether somebody keeps the values of a new node in its place; then ``node.elsewhere`` says who."""
    if recompute.note(node):
        return True
    active = _active.get()
    if not active or active[-1].pack is None or active[-1].frames != recompute.frames():
        return False
    node.elsewhere = Packed(active[-1], saved)
    return True
