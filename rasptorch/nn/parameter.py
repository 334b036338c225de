"""`Parameter`: a tensor that belongs to a module and requires gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..ops.creation import empty, tensor
from ..tensor import Tensor

if TYPE_CHECKING:

    class Parameter(Tensor):
        def __init__(self, data: Any = None, requires_grad: bool = True) -> None: ...

else:

    class _ParameterType(type):
        """``isinstance(x, Parameter)`` asks for a mark: operations test for exactly `Tensor`."""

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, Tensor) and getattr(instance, "_is_parameter", False)

    class Parameter(metaclass=_ParameterType):
        """``Parameter(data, requires_grad=True)``: a leaf that modules and optimisers recognise.

        A tensor's memory is shared, as in PyTorch; anything else is copied as by ``rasptorch.tensor``. What
        comes out is a `Tensor` with a mark, of which ``isinstance(x, Parameter)`` is true: operations on it
        are as quick as on any tensor.
        """

        def __new__(cls, data: Any = None, requires_grad: bool = True) -> Tensor:
            if data is None:
                data = empty(0)
            made = data.detach() if isinstance(data, Tensor) else tensor(data)
            made._is_parameter = True
            # A leaf of its own: the base it may share memory with has no say in its gradients.
            made.is_view = False
            return made.requires_grad_(requires_grad)

        def __init_subclass__(cls, **_: Any) -> None:
            raise TypeError("Parameter cannot be subclassed: parameters are tensors with a mark")


def rebind(parameter: Tensor, value: Tensor) -> None:
    """Give ``parameter`` the memory of ``value``, made for this; it stays the object that optimisers know.

    Gradients that saved the old value find the version changed and say so, instead of computing with the new
    one.
    """
    if value.storage is parameter.storage:
        return
    value.storage.version = max(value.storage.version, parameter.storage.version + 1)
    parameter.data = value
