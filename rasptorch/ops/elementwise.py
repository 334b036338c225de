"""How elementwise operations work; which there are, with their gradients, is in `arithmetic`, `functions` and `comparison`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import Parameter, Signature
from typing import Any, Final

import numpy as np

from ..autograd.mode import recording
from ..autograd.node import Node
from ..autograd.precision import low_dtypes
from ..runtime import dtype as dt
from ..runtime.command import CommandSpec, Program, Step, step
from ..runtime.dtype import DType
from ..runtime.errors import DTypeError, RasptorchError, ShapeError
from ..runtime.layout import Layout, broadcast_shapes, broadcast_strides, layout_of
from ..tensor import Tensor
from .dispatch import SpecCache, check_dtype, check_size, enqueue, enqueue_into, result_dtype, same_device
from .outputs import into
from .precision import FULL, full

Gradients = Callable[..., Sequence[Any]]
Build = Callable[[DType, tuple[int, ...]], list[Step]]

REGISTRY: dict[str, Elementwise] = {}

# How an operation's compute dtype follows from the promoted one.
SAME, FLOAT, BOOL = "same", "float", "bool"


class Elementwise:
    """One operation on corresponding elements, with NumPy broadcasting and PyTorch's promotion.

    ``opcode`` (an instruction, or one of the recipes below) computes it in the promoted dtype (``rule`` FLOAT: integers go to
    float32 first; BOOL: to bool). ``gradient(node, g)`` returns a gradient per operand, as if all had the output's shape: they
    are summed to the operand's own shape and converted to its dtype here. ``saves`` names the values it needs, per operand and
    separated by bars: letters ``a b c`` for operands and ``o`` for the output. What only serves gradients that nobody wants is
    not kept, and is None in ``node.values()``.
    """

    def __init__(self, name: str, opcode: str, arity: int, gradient: Gradients | None, saves: str = "", rule: str = SAME) -> None:
        self.name: Final = name
        self.opcode: Final = opcode
        self.arity: Final = arity
        self.parameters: Final = _PARAMETERS.get(name) or ("input", "other")[:arity]
        self.gradient: Final = gradient
        self._saves: Final = saves.split("|")
        self._saved: Final = tuple(k for k, c in enumerate("abc") if c in saves)
        self._needs: dict[tuple[bool, ...], str] = {}
        self._rule: Final = rule
        self._condition: Final = _CONDITIONS.get(opcode)
        self._specs: Final = SpecCache()
        self._in_place: Final = SpecCache()
        REGISTRY[name] = self

    @property
    def __signature__(self) -> Signature:
        kinds = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in self.parameters]
        return Signature([*kinds, Parameter("out", Parameter.KEYWORD_ONLY, default=None)])

    def _named(self, operands: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
        """A call with operands by name, or ``out``."""
        out = options.pop("out", None)
        given = list(operands)
        for name in self.parameters[len(operands) :]:
            if name in options:
                given.append(options.pop(name))
        if options:
            raise TypeError(f"{self.name}({', '.join(self.parameters)}, *, out=None) takes no {', '.join(options)}")
        if out is None:
            return self(*given)
        found: Tensor = into(self.name, out, given, lambda: self(*given), converts=True)
        return found

    def __call__(self, *operands: Any, **options: Any) -> Tensor:
        if options:
            return self._named(operands, options)
        if low_dtypes.get() is not None and self.name in FULL:
            operands = tuple([full(x) for x in operands])
        key = tuple([x.layout if type(x) is Tensor else type(x) for x in operands])
        spec = self._specs.get(key)
        if spec is None:
            operands, key = self._plain(operands)
            spec = self._specs.get(key) or self._specs.put(key, self._make(operands, None))
        tensors = [x for x in operands if type(x) is Tensor]
        out = enqueue(spec, tensors, [x for x in operands if type(x) is not Tensor])
        if recording.get():
            for x in tensors:
                if x.requires_grad:
                    self._tape(out, operands)
                    break
        return out

    # What operators and methods call all the time: the same as calling the operation, with less to look at.
    def of_one(self, x: Tensor) -> Tensor:
        spec = self._specs.get((x.layout,))
        if spec is None or low_dtypes.get() is not None:
            return self(x)
        out = enqueue(spec, (x,))
        if x.requires_grad and recording.get():
            self._tape(out, (x,))
        return out

    def of_number(self, x: Tensor, number: Any) -> Tensor:
        spec = self._specs.get((x.layout, type(number)))
        if spec is None or low_dtypes.get() is not None:
            return self(x, number)
        out = enqueue(spec, (x,), (number,))
        if x.requires_grad and recording.get():
            self._tape(out, (x, number))
        return out

    def of_two(self, x: Tensor, y: Tensor) -> Tensor:
        spec = self._specs.get((x.layout, y.layout))
        if spec is None or low_dtypes.get() is not None:
            return self(x, y)
        out = enqueue(spec, (x, y))
        if (x.requires_grad or y.requires_grad) and recording.get():
            self._tape(out, (x, y))
        return out

    def in_place(self, target: Tensor, *operands: Any) -> Tensor:
        """``target`` becomes the result of the operation on ``target`` and ``operands``."""
        operands, key = self._plain((target, *operands))
        check_writable(self.name + "_", target, operands)
        operands = tuple(_untangled(x, target) for x in operands)
        key = tuple([x.layout if type(x) is Tensor else type(x) for x in operands])
        spec = self._in_place.get(key) or self._in_place.put(key, self._make(operands, target.layout))
        tensors = [x for x in operands if type(x) is Tensor]
        if recording.get() and any(x.requires_grad for x in tensors) and self.gradient is not None:
            # The node must not hold the target, which will hold the node: that would be a reference cycle.
            before = tuple(x.alias() if x is target else x for x in operands)
            node = self._node(before, target)
            if target.node is not None:
                target.node.replaced = True
            enqueue_into(spec, target, tensors, [x for x in operands if type(x) is not Tensor])
            target.node, target.requires_grad = node, True
            self._keep(node, before, target)
        else:
            enqueue_into(spec, target, tensors, [x for x in operands if type(x) is not Tensor])
            if recording.get() and target.node is not None:  # the operation has no gradient: what is written is a constant
                target.node.replaced = True
                target.detach_()
        return target

    def _plain(self, operands: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Operands as tensors and Python numbers, and their key; anything else is an error at the caller's line."""
        if len(operands) != self.arity:
            raise TypeError(f"{self.name} takes {self.arity} operands, got {len(operands)}")
        plain = tuple([_operand(self.name, x) for x in operands])
        device = next((x.layout.device for x in plain if type(x) is Tensor), None)
        if device is None:
            from .creation import tensor

            plain = (tensor(plain[0]), *plain[1:])
        return plain, tuple([x.layout if type(x) is Tensor else type(x) for x in plain])

    def _make(self, operands: tuple[Any, ...], target: Layout | None) -> CommandSpec:
        layouts = [x.layout for x in operands if type(x) is Tensor]
        device = same_device(self.name, layouts)
        shape = broadcast_shapes(self.name, *(x.shape for x in layouts))
        kinds = [x.layout if type(x) is Tensor else x for k, x in enumerate(operands) if k != self._condition]
        compute = self._compute_dtype(result_dtype(kinds))
        program, result = self._program(operands, compute)
        missing = device.driver.traits.missing
        if missing and any((s.opcode, s.operands.name) in missing for s in program.steps):
            raise DTypeError(
                f"{self.name}: {device} ({device.driver.traits.name}) has no {self.name} of {compute.name}; convert with "
                ".to(rasptorch.float32), or use the cpu device"
            )
        check_dtype(self.name, device, compute, result, *(x.dtype for x in layouts))
        inputs = tuple(layout_of(device, x.dtype, shape, broadcast_strides(x, shape)) for x in layouts)
        if target is None:
            check_size(self.name, layout_of(device, result, shape))
            return CommandSpec("elementwise", self.name, inputs, (layout_of(device, result, shape),), program)
        if target.shape != shape:
            raise ShapeError(f"{self.name}_: the result has shape {list(shape)}, the tensor written to {list(target.shape)}")
        if result.category > target.dtype.category:
            raise DTypeError(f"{self.name}_: the result is {result.name} and does not fit into a tensor of {target.dtype.name}")
        program = converted(program, target.dtype)
        return CommandSpec("elementwise", self.name + "_", inputs, (target,), program, in_place=1)

    def _compute_dtype(self, promoted: DType) -> DType:
        if self._rule == FLOAT and promoted.category < 2:
            return dt.float32
        return dt.bool_ if self._rule == BOOL else promoted

    def _program(self, operands: tuple[Any, ...], compute: DType) -> tuple[Program, DType]:
        inputs = tuple(x.dtype for x in operands if type(x) is Tensor)
        scalars = []
        for number, x in enumerate(operands):
            if type(x) is not Tensor:
                scalars.append(dt.bool_ if number == self._condition else compute)
        steps: list[Step] = []
        args: list[int] = []
        tensor, scalar, following = 0, len(inputs), len(inputs) + len(scalars)
        for number, x in enumerate(operands):
            if type(x) is not Tensor:
                args.append(scalar)
                scalar += 1
                continue
            wanted = dt.bool_ if number == self._condition else compute
            register, tensor = tensor, tensor + 1
            if x.dtype is not wanted:
                steps.append(step("cast", x.dtype, (register,), wanted))
                register, following = following, following + 1
            args.append(register)
        try:
            steps.extend(_instructions(self.opcode, compute, tuple(args), following))
        except DTypeError:
            raise DTypeError(f"{self.name} is not defined for {compute.name}") from None
        last = len(inputs) + len(scalars) + len(steps) - 1
        return Program(inputs, tuple(scalars), tuple(steps), (last,)), steps[-1].result

    # -- taping ---------------------------------------------------------------------------------------------------
    def _needed(self, operands: tuple[Any, ...]) -> str:
        """Letters of the values that the wanted gradients need."""
        wanted = tuple([isinstance(x, Tensor) and x.requires_grad for x in operands])
        needed = self._needs.get(wanted)
        if needed is None:
            needed = "".join(part for part, want in zip(self._saves, wanted, strict=False) if want)
            self._needs[wanted] = needed
        return needed

    def _keep(self, node: Node, operands: tuple[Any, ...], out: Tensor) -> None:
        if "o" in self._needed(operands):
            node.keep_output(out)

    def _node(self, operands: tuple[Any, ...], overwritten: Tensor | None = None) -> Node:
        needed = self._needed(operands)
        saved = tuple([operands[k] if "abc"[k] in needed else None for k in self._saved])
        if overwritten is not None:
            saved = tuple([x.clone() if isinstance(x, Tensor) and x.storage is overwritten.storage else x for x in saved])
        shapes = [x.layout if type(x) is Tensor else None for x in operands]
        return Node(self.name, self._backward, operands, saved, shapes)

    def _tape(self, out: Tensor, operands: tuple[Any, ...]) -> None:
        if self.gradient is None or out.layout.dtype.category < 2:
            return
        node = self._node(operands)
        self._keep(node, operands, out)
        out.node, out.requires_grad = node, True

    def _backward(self, node: Node, gradient: Tensor) -> list[Tensor | None]:
        assert self.gradient is not None
        node.values()  # checks versions, also where the gradient only needs to know that nothing changed
        out: list[Tensor | None] = []
        for layout, g in zip(node.attributes, self.gradient(node, gradient), strict=True):
            out.append(None if g is None or layout is None else fitted(g, layout))
        return out


# What PyTorch computes where the instruction of the same name is not defined, by operation and category of dtype.
_OTHER_OPCODES: Final = {
    ("add", 0): "logical_or", ("mul", 0): "logical_and", ("sign", 0): "copy",
    ("floor", 1): "copy", ("ceil", 1): "copy", ("round", 1): "copy", ("trunc", 1): "copy",
    ("bitwise_and", 0): "logical_and", ("bitwise_or", 0): "logical_or", ("bitwise_xor", 0): "logical_xor",
    ("bitwise_not", 0): "logical_not",
}  # fmt: skip

# Operations of several instructions: the steps on registers `a` of dtype `d`; the first one's result is register `n`.
_RECIPES: Final[dict[str, Callable[[DType, tuple[int, ...], int], list[Step]]]] = {
    "square": lambda d, a, n: [step("mul", d, (a[0], a[0]))],
    "clamp": lambda d, a, n: [step("maximum", d, a[:2]), step("minimum", d, (n, a[2]))],
    "masked_fill": lambda d, a, n: [step("where", d, (a[1], a[2], a[0]))],
    "mul_add_relu": lambda d, a, n: [step("mul", d, a[:2]), step("add", d, (n, a[2])), step("relu", d, (n + 1,))],
}

# What operands are called, where it is not input and other.
_PARAMETERS: Final = {
    "pow": ("input", "exponent"), "where": ("condition", "input", "other"), "clamp": ("input", "min", "max"),
    "clamp_min": ("input", "min"), "clamp_max": ("input", "max"), "masked_fill": ("input", "mask", "value"),
    "mul_add_relu": ("x", "y", "z"),
}  # fmt: skip

# Which operand is a condition (a boolean that has no part in promotion).
_CONDITIONS: Final = {"where": 0, "masked_fill": 1}


def _instructions(opcode: str, compute: DType, args: tuple[int, ...], following: int) -> list[Step]:
    """The steps of an operation on registers ``args``; the first one's result is register ``following``."""
    if opcode == "sign" and compute.category == 2:
        return _sign(compute, args[0], following)
    if opcode in _RECIPES:
        return _RECIPES[opcode](compute, args, following)
    return [step(_OTHER_OPCODES.get((opcode, compute.category), opcode), compute, args)]


def _sign(compute: DType, x: int, following: int) -> list[Step]:
    """(x > -x) - (x < -x): the sign of NaN and of both zeros is 0, as in PyTorch."""
    return [
        step("neg", compute, (x,)),
        step("gt", compute, (x, following)),
        step("lt", compute, (x, following)),
        step("cast", dt.bool_, (following + 1,), compute),
        step("cast", dt.bool_, (following + 2,), compute),
        step("sub", compute, (following + 3, following + 4)),
    ]


def fitted(gradient: Tensor, layout: Layout) -> Tensor:
    """``gradient`` summed over the axes along which the operand was stretched, in the operand's dtype."""
    if gradient.layout.shape != layout.shape:
        from .reduction import sum_to

        gradient = sum_to(gradient, layout.shape)
    if gradient.layout.dtype is not layout.dtype:
        gradient = gradient.to(layout.dtype)
    return gradient


def converted(program: Program, dtype: DType) -> Program:
    """The same program with its one result converted to ``dtype``."""
    register = program.results[0]
    source = program.dtype_of(register)
    if source is dtype:
        return program
    following = len(program.inputs) + len(program.scalars) + len(program.steps)
    steps = (*program.steps, step("cast", source, (register,), dtype))
    return Program(program.inputs, program.scalars, steps, (following,))


def _operand(operation: str, value: Any) -> Any:
    if type(value) is Tensor or type(value) in (bool, int, float):
        return value
    if isinstance(value, Tensor):
        return value.alias() if not value.requires_grad else value.view_as_tensor()
    if isinstance(value, (np.bool_, np.integer, np.floating)):
        return value.item()
    raise TypeError(f"{operation}: expected a tensor or a number, got {type(value).__name__}")


class InPlaceError(RasptorchError, RuntimeError):
    """The tensor may not be written to here."""


def check_writable(operation: str, target: Tensor, operands: Sequence[Any] = ()) -> None:
    """Refuse writes that autograd or the memory could not make sense of."""
    if any(s == 0 and n > 1 for s, n in zip(target.layout.strides, target.layout.shape, strict=True)):
        raise InPlaceError(f"{operation}: several elements of this expanded tensor share memory; call .clone() first")
    if not recording.get():
        return
    if target.requires_grad and target.node is None:
        raise InPlaceError(
            f"{operation}: a leaf tensor that requires gradients is being changed in place; do it under `with no_grad():`"
        )
    wants = target.requires_grad or any(type(x) is Tensor and x.requires_grad for x in operands)
    if wants and target.is_view:
        raise InPlaceError(
            f"{operation}: changing a view in place while gradients are recorded is not supported; "
            "use the operation without the underscore"
        )


def _untangled(operand: Any, target: Tensor) -> Any:
    """A copy of operands that share the target's memory but walk it differently: their elements would change midway."""
    if type(operand) is not Tensor or operand.storage is not target.storage:
        return operand
    if operand.offset == target.offset and operand.layout is target.layout:
        return operand
    low, high = operand.offset, operand.offset + operand.layout.span
    if high <= target.offset or target.offset + target.layout.span <= low:
        return operand
    return operand.clone()
