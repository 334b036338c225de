"""`Tensor`: a storage seen through a layout, and the node of the tape it came from.

The methods are thin: each calls the operation of the same name in `rasptorch.ops`, where forward and gradient stand side by
side (`rasptorch/ops/methods.py` attaches them).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from operator import index
from typing import TYPE_CHECKING, Any
from weakref import ref

from .autograd.hooks import Hooks, RemovableHandle
from .runtime.errors import BlockingInTrio, RasptorchError, ShapeError
from .runtime.layout import Layout, Shape
from .runtime.storage import Storage
from .runtime.waiting import in_trio_task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .autograd.node import Node
    from .runtime.device import Device
    from .runtime.dtype import DType
    from .runtime.readback import Readback


class GradientRefused(RasptorchError, RuntimeError):
    """What was asked for does not go with this tensor's gradients, or with its having none."""


class Tensor:
    """An array of numbers on a device, with gradients if asked for.

    ``Tensor(data, dtype=None, device=None, requires_grad=False)`` copies ``data``: numbers, nested lists, arrays, anything with
    ``__array__``. Lists of floating-point numbers become float32, of integers int64, of booleans bool. ``device`` is ``"cpu"``,
    ``"gpu"`` or ``"vulkan:N"``.
    """

    # `_is_parameter` is set on parameters only (see `nn.Parameter`): making other tensors does not pay for it.
    __slots__ = (
        "__weakref__", "_is_parameter", "grad", "hooks", "is_view", "layout", "node", "offset", "requires_grad", "storage",
    )  # fmt: skip

    storage: Storage
    offset: int
    layout: Layout
    requires_grad: bool
    grad: Tensor | None
    node: Node | None
    is_view: bool
    _is_parameter: bool
    hooks: Hooks | None

    def __init__(self, data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> None:
        from .ops.creation import tensor

        made = tensor(data, dtype=dtype, device=device)
        self._become(made.storage, made.offset, made.layout)
        if requires_grad:
            self.requires_grad_()

    def _become(self, storage: Storage, offset: int, layout: Layout) -> None:
        self.storage = storage
        self.offset = offset
        self.layout = layout
        self.requires_grad = False
        self.grad = None
        self.node = None
        self.is_view = False
        self.hooks = None

    @staticmethod
    def _make(storage: Storage, offset: int, layout: Layout) -> Tensor:
        """A plain tensor; what every operation's result is made by."""
        made = _new(Tensor)
        made.storage = storage
        made.offset = offset
        made.layout = layout
        made.requires_grad = False
        made.grad = None
        made.node = None
        made.is_view = False
        made.hooks = None
        return made

    # -- what it is -----------------------------------------------------------------------------------------------
    @property
    def shape(self) -> Shape:
        """The length of each dimension: a tuple, ``()`` for a single number."""
        return self.layout.shape

    @property
    def dtype(self) -> DType:
        """The type of the elements, as ``rasptorch.float32``."""
        return self.layout.dtype

    @property
    def device(self) -> Device:
        """Where the elements are."""
        return self.layout.device

    @property
    def ndim(self) -> int:
        """How many dimensions there are."""
        return len(self.layout.shape)

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor: backward sets ``.grad`` of leaves only."""
        return self.node is None

    @property
    def grad_fn(self) -> Node | None:
        """The node of the tape that this tensor came from; None for a leaf."""
        return self.node

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of dimension ``dim`` (negative: from the end). `IndexError` where there is no such dimension."""
        return self.layout.shape if dim is None else self.layout.shape[_axis("size", dim, self.ndim)]

    def dim(self) -> int:
        """How many dimensions there are: ``ndim``."""
        return len(self.layout.shape)

    def numel(self) -> int:
        """How many elements there are."""
        return self.layout.numel

    def stride(self, dim: int | None = None) -> Any:
        """The steps between neighbours along each dimension, in elements; or the one along ``dim``."""
        return self.layout.strides if dim is None else self.layout.strides[_axis("stride", dim, self.ndim)]

    def element_size(self) -> int:
        """Bytes per element."""
        return self.layout.dtype.itemsize

    def is_contiguous(self) -> bool:
        """Whether the elements lie in row-major order without gaps."""
        return self.layout.contiguous

    def __len__(self) -> int:
        if not self.layout.shape:
            raise TypeError("a 0-d tensor has no length")
        return self.layout.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.layout.shape:
            raise TypeError("cannot iterate over a 0-d tensor")
        return iter([self[i] for i in range(self.layout.shape[0])])

    __hash__ = object.__hash__

    # -- gradients ------------------------------------------------------------------------------------------------
    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Start (or stop) recording what is done with this tensor, in place; returns it.

        Raises `RasptorchError` for a dtype without gradients, and when recording is to stop on a tensor that is no leaf.
        """
        if requires_grad and not self.layout.dtype.is_floating_point:
            raise RasptorchError(f"only floating-point tensors can require gradients, this one is {self.layout.dtype.name}")
        if not requires_grad and self.node is not None:
            raise RasptorchError("requires_grad can only be switched off on a leaf; use .detach()")
        self.requires_grad = requires_grad
        return self

    def backward(
        self, gradient: Tensor | None = None, retain_graph: bool | None = None, create_graph: bool = False,
        inputs: Sequence[Tensor] | Tensor | None = None,
    ) -> None:  # fmt: skip
        """Add the gradient of this tensor into ``.grad`` of the leaves it came from, or of ``inputs`` only. Only enqueues.

        ``gradient`` has this tensor's shape and device; it may be left out for one element. The tape is let go of, unless
        ``retain_graph`` (by default ``create_graph``, which records the gradients' own computation) says to keep it. Raises
        `GraphError` where there is nothing to differentiate, `SavedTensorError` where a value that is needed was changed in place.
        """
        from .autograd.engine import backward

        backward([self], [gradient], retain_graph, create_graph, inputs=inputs)

    def alias(self) -> Tensor:
        """Another tensor on the same memory with the same history."""
        made = Tensor._make(self.storage, self.offset, self.layout)
        made.node, made.requires_grad, made.is_view = self.node, self.requires_grad, self.is_view
        return made

    def _ones(self) -> Tensor:
        """Ones of this form: where a backward pass without a given gradient starts."""
        from .ops.creation import ones_like

        return ones_like(self.detach())

    def detach(self) -> Tensor:
        """The same memory without history."""
        made = Tensor._make(self.storage, self.offset, self.layout)
        made.is_view = self.is_view
        return made

    @property
    def data(self) -> Tensor:
        """The same memory without history, as `detach`. Assigning makes this tensor look at another tensor's memory."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        self.storage, self.offset, self.layout, self.is_view = value.storage, value.offset, value.layout, value.is_view

    def detach_(self) -> Tensor:
        """Forget where this tensor came from, in place; returns it, a leaf that does not require gradients."""
        self.node, self.requires_grad = None, False
        return self

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call ``hook(gradient)`` when this tensor's gradient is complete; what it returns, if not None, replaces it.

        The handle that comes back takes the hook away: ``handle.remove()``. Raises `GradientRefused` (a `RuntimeError`) where this
        tensor does not require gradients.
        """
        return RemovableHandle(self._hooks("register_hook").gradient, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> RemovableHandle:
        """Call ``hook(tensor)`` after a backward pass has added to this leaf's ``.grad``."""
        if self.node is not None:
            raise GradientRefused("register_post_accumulate_grad_hook: only leaves accumulate gradients; see register_hook")
        return RemovableHandle(self._hooks("register_post_accumulate_grad_hook").accumulated, hook)

    def retain_grad(self) -> None:
        """Have ``.grad`` set by backward although this tensor is not a leaf."""
        hooks = self._hooks("retain_grad")
        if self.node is not None:
            hooks.retained = ref(self)

    @property
    def retains_grad(self) -> bool:
        """Whether `retain_grad` was called on this tensor, which is not a leaf."""
        hooks = None if self.node is None else self.node.hooks
        return hooks is not None and hooks.retained is not None and hooks.retained() is self

    def _hooks(self, what: str) -> Hooks:
        if not self.requires_grad:
            raise GradientRefused(f"{what}: this tensor does not require gradients, so there is nothing to hook")
        owner: Any = self if self.node is None else self.node
        if owner.hooks is None:
            owner.hooks = Hooks()
        found: Hooks = owner.hooks
        return found

    # -- to the host ----------------------------------------------------------------------------------------------
    if TYPE_CHECKING:
        # In a script these return the value, in a Trio task the Readback to await; type checkers accept both spellings.
        def numpy(self, *, force: bool = False) -> ArrayNowOrLater: ...
        def item(self) -> NumberNowOrLater: ...
        def tolist(self) -> ListNowOrLater: ...
        def readback(self) -> Readback[NDArray[Any]]: ...

    def _value(self, what: str) -> NDArray[Any]:
        """The values now: waits in a script; in a Trio task only if they are already there."""
        readback = self.readback()
        if in_trio_task() and not readback.is_done():
            raise BlockingInTrio(f"{what} of a tensor would block the Trio loop: use `await t.item()` or `await t.numpy()`")
        return readback.wait()

    def _single(self, what: str) -> Any:
        if self.layout.numel != 1:
            raise ShapeError(f"{what}: only one element can become a number, this tensor has shape {list(self.layout.shape)}")
        return self._value(what).reshape(())[()]

    def __float__(self) -> float:
        return float(self._single("float()"))

    def __int__(self) -> int:
        return int(self._single("int()"))

    def __index__(self) -> int:
        if self.layout.dtype.category == 2:
            raise TypeError(f"a tensor of {self.layout.dtype.name} cannot be used as an index")
        return int(self._single("index()"))

    def __bool__(self) -> bool:
        return bool(self._single("bool()"))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """A copy of the values, in NumPy's own memory; in a Trio task only when they are there."""
        if self.requires_grad:
            raise GradientRefused(HAS_GRADIENT.format("np.asarray()"))
        if copy is False:
            raise ValueError("np.asarray(tensor, copy=False): arrays of tensors are copies; np.from_dlpack shares a cpu tensor's memory")
        value = self._value("np.asarray()")
        return value if dtype is None else value.astype(dtype, copy=False)

    def __repr__(self) -> str:
        from .printing import tensor_text

        return tensor_text(self)

    def __format__(self, spec: str) -> str:
        return format(self._single("format()").item(), spec) if spec else repr(self)

    def __copy__(self) -> Tensor:
        """Another tensor on the same memory, with the same history; of a leaf, a leaf without its ``.grad``."""
        made = self.alias()
        if hasattr(self, "_is_parameter"):
            made._is_parameter = self._is_parameter
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """A leaf with a copy of the values; a parameter stays one."""
        if self.node is not None:
            raise RasptorchError("only leaves can be copied with copy.deepcopy; use .detach() or .clone()")
        made = self.detach().clone()
        made.requires_grad = self.requires_grad
        made.grad = None if self.grad is None else self.grad.detach().clone()
        if hasattr(self, "_is_parameter"):
            made._is_parameter = self._is_parameter
        memo[id(self)] = made
        return made

    def __reduce__(self) -> Any:
        raise TypeError("tensors are not pickled, as reading a pickle can run code: use rasptorch.save and rasptorch.load")

    def __getitem__(self, index: Any) -> Tensor:
        from .ops.indexing import getitem

        return getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        from .ops.indexing import setitem

        setitem(self, index, value)

    if TYPE_CHECKING:
        # Everything else is attached by `rasptorch.ops.methods`.
        def __getattr__(self, name: str) -> Callable[..., Tensor]: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]

        T: Tensor
        mT: Tensor

        class ArrayNowOrLater(np.ndarray[Any, Any]):
            def __await__(self) -> Generator[Any, Any, NDArray[Any]]: ...

        class NumberNowOrLater(float):
            def __await__(self) -> Generator[Any, Any, float]: ...

        class ListNowOrLater(list[Any]):
            def __await__(self) -> Generator[Any, Any, list[Any]]: ...


_new = object.__new__
HAS_GRADIENT = "{0} of a tensor that requires gradients would lose them: use .detach() first"


def _axis(operation: str, dim: int, ndim: int) -> int:
    """``dim`` counted from the front; `IndexError` names the operation and the range."""
    limit = max(ndim, 1)
    if not -limit <= dim < limit:
        raise IndexError(
            f"{operation}: dimension {dim} is out of range for a tensor of {ndim} dimensions ({-limit} to {limit - 1})"
        )
    return dim % limit


def axes(operation: str, dim: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """The dimensions meant by ``dim``, sorted; None (or an empty sequence) means all of them."""
    if dim is None:
        return tuple(range(ndim))
    given: Any = dim
    if not isinstance(given, (int, tuple, list)) and hasattr(given, "__index__"):
        given = index(given)  # one of NumPy's numbers
    wanted = (given,) if isinstance(given, int) else tuple(given)
    if not wanted:
        return tuple(range(ndim))
    found = sorted(_axis(operation, d, ndim) for d in wanted)
    if len(set(found)) != len(found):
        raise ShapeError(f"{operation}: dimension named twice in {list(wanted)}")
    return tuple(found) if ndim else ()
