"""`Module`: layers and models as trees that know their parameters, buffers and parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ..autograd.mode import no_grad
from ..ops.creation import device_of, empty
from ..ops.transfer import destination
from ..ops.transfer import to as moved
from ..runtime import dtype as dt
from ..tensor import Tensor
from .backward_hooks import HookedCall
from .forward_hooks import added, changed_arguments, wants_kwargs
from .hooks import Hook, RemovableHandle
from .naming import check_name, described
from .parameter import Parameter, rebind
from .state import STATE_HOOKS, LoadResult, load_into, save_into

M = TypeVar("M", bound="Module")
TABLES = ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Module:
    """Base class of everything in `rasptorch.nn`. Subclasses call ``super().__init__()`` first and define ``forward``.

    Assigning a `Parameter` or a `Module` to an attribute registers it under that name; other tensors are registered by
    `register_buffer`. ``training`` is changed by `train` and `eval`.
    """

    training: bool
    _parameters: dict[str, Tensor | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _transient: set[str]
    _forward_hooks: dict[int, Hook]
    _forward_pre_hooks: dict[int, Hook]
    _backward_hooks: dict[int, Hook]
    _backward_pre_hooks: dict[int, Hook]
    _state_hooks: dict[str, dict[int, Hook]]

    def __init__(self) -> None:
        set_plain = super().__setattr__
        set_plain("training", True)
        for name in TABLES:
            set_plain(name, {})
        set_plain("_state_hooks", {kind: {} for kind in STATE_HOOKS})
        set_plain("_transient", set())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module computes."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for hook in tuple(self._forward_pre_hooks.values()):
            args, kwargs = changed_arguments(hook, self, args, kwargs)
        if self._backward_hooks or self._backward_pre_hooks:
            call = HookedCall(self, tuple(self._backward_hooks.values()), tuple(self._backward_pre_hooks.values()))
            out = call.leave(self.forward(*call.enter(args), **kwargs))
        else:
            out = self.forward(*args, **kwargs)
        for hook in tuple(self._forward_hooks.values()):
            changed = hook(self, args, kwargs, out) if wants_kwargs(hook) else hook(self, args, out)
            out = out if changed is None else changed
        return out

    # -- attributes ------------------------------------------------------------------------------------------
    def _tables(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        tables = (
            self.__dict__.get("_parameters"),
            self.__dict__.get("_buffers"),
            self.__dict__.get("_modules"),
        )
        if tables[0] is None or tables[1] is None or tables[2] is None:
            raise AttributeError(f"call super().__init__() first in {type(self).__name__}.__init__")
        return tables  # type: ignore[return-value]

    def __setattr__(self, name: str, value: Any) -> None:
        kind = 0 if isinstance(value, Parameter) else 2 if isinstance(value, Module) else None
        if kind is None and "_modules" not in self.__dict__:
            object.__setattr__(self, name, value)
            return
        tables = self._tables()
        if kind is None:
            held = next((k for k in range(3) if name in tables[k]), None)
            if held is None:
                object.__setattr__(self, name, value)
                return
            if value is not None and not (held == 1 and isinstance(value, Tensor)):
                wanted = ("a Parameter", "a Tensor", "a Module")[held]
                raise TypeError(
                    f"{type(self).__name__}.{name} is {wanted} or None, got {type(value).__name__}"
                )
            tables[held][name] = value
            return
        self.__dict__.pop(name, None)
        for other in range(3):
            if other != kind:
                tables[other].pop(name, None)
        self._transient.discard(name)
        tables[kind][name] = value

    def __getattr__(self, name: str) -> Any:
        # Only reached for names that are no ordinary attributes.
        for table in ("_parameters", "_buffers", "_modules"):
            found = self.__dict__.get(table)
            if found is not None and name in found:
                return found[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for table in self._tables():
            if name in table:
                del table[name]
                self._transient.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def register_parameter(self, name: str, param: Tensor | None) -> None:
        """Add a parameter under ``name``; None keeps the place.

        Raises `TypeError` for what is no parameter, `KeyError` for names that are empty, have a dot in them or are taken.
        """
        check_name(self, name, "parameter", self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"register_parameter: {name!r} must be a Parameter or None, got {type(param).__name__}"
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is no parameter but follows ``.to`` and, if ``persistent``, is part of ``state_dict``.

        Errors as of `register_parameter`.
        """
        check_name(self, name, "buffer", self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"register_buffer: {name!r} must be a Tensor or None, got {type(tensor).__name__}"
            )
        self._buffers[name] = tensor
        (self._transient.discard if persistent else self._transient.add)(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a part under ``name``; it becomes an attribute and a prefix of ``state_dict`` keys. Errors as of `register_parameter`."""
        check_name(self, name, "module", self._modules)
        if module is not None and not isinstance(module, Module):
            raise TypeError(
                f"register_module: {name!r} must be a Module or None, got {type(module).__name__}"
            )
        self._modules[name] = module

    add_module = register_module

    def register_forward_hook(self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after every forward; what it returns, if not None, replaces the
        output. ``with_kwargs``: ``hook(module, args, kwargs, output)``. ``prepend``: before all other hooks.
        """
        return added(self._forward_hooks, hook, prepend, with_kwargs)

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before every forward; what it returns, if not None, replaces the
        arguments. ``with_kwargs``: ``hook(module, args, kwargs)``, which returns both. ``prepend``: before
        all other hooks.
        """
        return added(self._forward_pre_hooks, hook, prepend, with_kwargs)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` when the gradients of all positional arguments that
        require them are there (when those of the results are, if none does). Both are tuples with None where
        there is no gradient. What it returns, if not None, replaces ``grad_input``.
        """
        return added(self._backward_hooks, hook, prepend, False)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` when the gradients of the results are there, before the module's own are computed.
        What it returns, if not None, replaces ``grad_output``.
        """
        return added(self._backward_pre_hooks, hook, prepend, False)

    def register_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before this module's part of a ``state_dict`` is made."""
        return RemovableHandle(self._state_hooks["before saving"], hook)

    def register_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` when this module's part of a ``state_dict`` is in it. It changes the
        dictionary in place and returns None.
        """
        return RemovableHandle(self._state_hooks["after saving"], hook)

    def register_load_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)`` before a
        ``load_state_dict`` looks at this module. It may change the dictionary, which is a copy, and add to the lists.
        """
        return RemovableHandle(self._state_hooks["before loading"], hook)

    def register_load_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` when values are loaded, for the parts before the whole. It may change the two lists
        in place, before ``strict`` looks at them, and returns None.
        """
        return RemovableHandle(self._state_hooks["after loading"], hook)

    # -- walking ---------------------------------------------------------------------------------------------
    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module (named ``prefix``) and all below it, each once."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(
                    memo, f"{prefix}.{name}" if prefix else name, remove_duplicate
                )

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct parts with their names, each once."""
        seen: set[Module] = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The direct parts, each once."""
        return (module for _, module in self.named_children())

    def _named(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Tensor]]:
        seen: set[int] = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for path, module in modules:
            for name, value in getattr(module, table).items():
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Parameters with their dotted names; a shared one comes once, under its first name."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Tensor]:
        """Parameters, each once: what optimisers take."""
        return (value for _, value in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Buffers with their dotted names."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Buffers, each once."""
        return (value for _, value in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The part with this dotted name; ``""`` is this module. Raises `AttributeError` if there is none."""
        module = self
        for name in target.split(".") if target else ():
            found = module._modules.get(name)
            if found is None:
                raise AttributeError(
                    f"{type(self).__name__} has no part {target!r}: {type(module).__name__} has no {name!r}"
                )
            module = found
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put ``module`` in the place with this dotted name, which has to be there already if ``strict``.

        Raises `AttributeError` where the path ends, or leads to something that is no module, `ValueError` for an empty name and
        `TypeError` for what is no module.
        """
        path, _, name = target.rpartition(".")
        if not name:
            raise ValueError(f"set_submodule: {target!r} names no part")
        if not isinstance(module, Module):
            raise TypeError(f"set_submodule: {target!r} must be a Module, got {type(module).__name__}")
        parent = self.get_submodule(path)
        there = hasattr(parent, name)
        if (strict and not there) or (there and not isinstance(getattr(parent, name), Module)):
            raise AttributeError(f"{type(self).__name__} has no part {target!r}: {type(parent).__name__} has no module {name!r}")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Tensor:
        """The parameter with this dotted name. Raises `AttributeError` if there is none."""
        return self._get("_parameters", "parameter", target)

    def get_buffer(self, target: str) -> Tensor:
        """The buffer with this dotted name. Raises `AttributeError` if there is none."""
        return self._get("_buffers", "buffer", target)

    def _get(self, table: str, kind: str, target: str) -> Tensor:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        found: Tensor | None = getattr(module, table).get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no {kind} {target!r}: {type(module).__name__} has no {name!r}")
        return found

    # -- changing all of it ----------------------------------------------------------------------------------
    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call ``fn`` on every part, then on this module, as to fill parameters. Returns the module."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self: M, mode: bool = True) -> M:
        """Switch to training (or evaluation) in every part: dropout and batch normalisation ask for it. Returns the module."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: mode is True or False, got {mode!r}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """``train(False)``."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Start (or stop) recording gradients for every parameter. Returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop every gradient, or with ``set_to_none=False`` overwrite it with zeros."""
        clear_gradients(self.parameters(), set_to_none)

    def _convert(self: M, change: Callable[[Tensor], Tensor], recurse: bool = True) -> M:
        with no_grad():
            for module in self.modules() if recurse else [self]:
                for parameter in module._parameters.values():
                    if parameter is not None:
                        rebind(parameter, change(parameter.detach()))
                        if parameter.grad is not None:
                            parameter.grad = change(parameter.grad.detach())
                for name, buffer in module._buffers.items():
                    if buffer is not None:
                        module._buffers[name] = change(buffer)
        return self

    def to(self: M, *args: Any, device: Any = None, dtype: Any = None, non_blocking: bool = False) -> M:
        """Move to a device and/or convert floating-point parameters and buffers: ``to(device)``, ``to(dtype)``, both, or
        ``to(tensor)``. Returns the module.

        Works in place: parameters stay the same objects. Moving between devices waits for the values, whatever ``non_blocking``
        says; in a Trio task it raises `BlockingInTrio`. Raises `TypeError` for a dtype that is not floating-point.
        """
        device, wanted, _ = destination(args, device, dtype)
        if wanted is not None and not wanted.is_floating_point:
            raise TypeError(
                f"{type(self).__name__}.to: a module can only become a floating-point type, not {wanted.name}"
            )
        return self._convert(
            lambda x: moved(x, device=device, dtype=wanted if x.dtype.is_floating_point else None)
        )

    def to_empty(self: M, *, device: Any, recurse: bool = True) -> M:
        """New memory on ``device``, its values undefined, for all parameters and buffers (without ``recurse``: for this module's own).
        Returns the module. Nothing is moved and nothing waited for.
        """
        place = device_of(device)
        return self._convert(lambda x: empty(x.shape, dtype=x.dtype, device=place), recurse)

    def cpu(self: M) -> M:
        """``to("cpu")``."""
        return self.to("cpu")

    def gpu(self: M) -> M:
        """``to("gpu")``."""
        return self.to("gpu")

    def float(self: M) -> M:
        """``to(float32)``."""
        return self.to(dt.float32)

    def double(self: M) -> M:
        """``to(float64)``."""
        return self.to(dt.float64)

    def half(self: M) -> M:
        """``to(float16)``."""
        return self.to(dt.float16)

    def bfloat16(self: M) -> M:
        """``to(bfloat16)``."""
        return self.to(dt.bfloat16)

    # -- state -----------------------------------------------------------------------------------------------
    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """Parameters and persistent buffers by dotted name. The tensors share the module's memory: clone to
        keep values.

        ``keep_vars`` gives the parameters themselves instead of detached tensors.
        """
        out: dict[str, Tensor] = {}
        save_into(self, out, prefix, keep_vars)
        return out

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> LoadResult:
        """Copy values (tensors, arrays, anything with ``__array__``) into parameters and buffers of the same
        name; with ``assign`` they take over the given tensors' memory, dtype and device instead.

        Raises `StateDictError` that lists every missing, unexpected and mismatched key; without ``strict``
        only mismatched shapes are errors, and what is returned names the missing and unexpected ones. Nothing
        is changed when it raises, unless there are hooks to be called after loading: those see the new values
        and may forgive keys, so missing and unexpected ones are an error after that.
        """
        return load_into(self, state_dict, strict, assign)

    # -- printing --------------------------------------------------------------------------------------------
    def extra_repr(self) -> str:
        """What stands between the parentheses of ``repr``."""
        return ""

    def __repr__(self) -> str:
        parts = [(name, repr(module)) for name, module in self._modules.items()]
        return described(type(self).__name__, self.extra_repr(), parts)


def clear_gradients(parameters: Iterator[Tensor], set_to_none: bool) -> None:
    """Drop the gradients of ``parameters``, or overwrite them with zeros."""
    for parameter in parameters:
        if set_to_none:
            parameter.grad = None
        elif parameter.grad is not None:
            parameter.grad = parameter.grad.detach()
            parameter.grad.zero_()
