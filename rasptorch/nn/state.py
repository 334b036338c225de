"""What ``state_dict`` and ``load_state_dict`` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..autograd.mode import no_grad
from ..ops.creation import tensor
from ..ops.views import copy_into
from ..runtime.errors import RasptorchError
from ..tensor import Tensor
from .parameter import rebind

if TYPE_CHECKING:
    from .module import Module


# When hooks of ``state_dict`` and ``load_state_dict`` are called.
STATE_HOOKS = ("before saving", "after saving", "before loading", "after loading")


class StateDictError(RasptorchError, RuntimeError):
    """A state dictionary does not fit the module; the message lists every key that is wrong."""


class LoadResult(NamedTuple):
    """Keys the module has and the dictionary lacks, and the other way round."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def _own(module: Module) -> list[tuple[str, Tensor]]:
    """Parameters, and buffers that are part of the state."""
    buffers = ((name, b) for name, b in module._buffers.items() if name not in module._transient)
    return [(name, value) for name, value in (*module._parameters.items(), *buffers) if value is not None]


def _collect(module: Module, out: dict[str, Tensor], prefix: str) -> None:
    """All of the state by its keys, no hooks asked: where values are loaded to."""
    out.update({prefix + name: value for name, value in _own(module)})
    for name, part in module._modules.items():
        if part is not None:
            _collect(part, out, f"{prefix}{name}.")


def save_into(module: Module, out: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
    """Add ``module``'s state to ``out``: own parameters, own persistent buffers, then the parts."""
    for hook in tuple(module._state_hooks["before saving"].values()):
        hook(module, prefix, keep_vars)
    for name, value in _own(module):
        out[prefix + name] = value if keep_vars else value.detach()
    for name, part in module._modules.items():
        if part is not None:
            save_into(part, out, f"{prefix}{name}.", keep_vars)
    for hook in tuple(module._state_hooks["after saving"].values()):
        if hook(module, out, prefix, {"version": 1}) is not None:
            raise RuntimeError(f"{type(module).__name__}: a state_dict post-hook changes the dictionary in place and returns None")


def _before_loading(module: Module, given: dict[str, Any], prefix: str, strict: bool, lists: Sequence[list[str]]) -> None:
    """Call the hooks of ``module`` and then of its parts on ``given``; ``lists`` are missing and unexpected keys and errors."""
    for hook in tuple(module._state_hooks["before loading"].values()):
        hook(module, given, prefix, {"version": 1}, strict, *lists)
    for name, part in module._modules.items():
        if part is not None:
            _before_loading(part, given, f"{prefix}{name}.", strict, lists)


def _after_loading(module: Module, result: LoadResult) -> None:
    """Call the hooks of ``module``'s parts and then its own."""
    for part in module._modules.values():
        if part is not None:
            _after_loading(part, result)
    for hook in tuple(module._state_hooks["after loading"].values()):
        if hook(module, result) is not None:
            raise RuntimeError(f"{type(module).__name__}: a load_state_dict post-hook changes the lists in place and returns None")


def _refuse(module: Module, problems: list[str]) -> None:
    if problems:
        raise StateDictError(
            f"load_state_dict: what was given does not fit {type(module).__name__}\n  " + "\n  ".join(problems)
        )


def load_into(module: Module, given: Any, strict: bool, assign: bool = False) -> LoadResult:
    """Copy ``given`` into ``module``; see `Module.load_state_dict`."""
    if not isinstance(given, Mapping):
        raise TypeError(f"load_state_dict takes a dictionary of tensors by name, got {type(given).__name__}")
    missing: list[str] = []
    unexpected: list[str] = []
    problems: list[str] = []
    hooks = {kind: any(part._state_hooks[kind] for part in module.modules()) for kind in STATE_HOOKS}
    if hooks["before loading"]:
        given = dict(given)
        _before_loading(module, given, "", strict, (missing, unexpected, problems))
    targets: dict[str, Tensor] = {}
    _collect(module, targets, "")
    missing += [key for key in targets if key not in given]
    unexpected += [key for key in given if key not in targets]
    pairs: list[tuple[Tensor, Any]] = []
    for key, target in targets.items():
        if key not in given:
            continue
        shape = tuple(getattr(given[key], "shape", None) or ())
        if shape != target.shape:
            problems.append(
                f"shape of {key}: {list(shape)} in the dictionary, {list(target.shape)} in the module"
            )
        pairs.append((target, given[key]))
    result = LoadResult(missing, unexpected)
    forgiving = hooks["after loading"]
    _refuse(module, problems if forgiving or not strict else _keys(result) + problems)
    with no_grad():
        for target, value in pairs:
            (_take_over if assign else _assign)(target, value)
    if forgiving:
        _after_loading(module, result)
        _refuse(module, _keys(result) if strict else [])
    return result


def _keys(result: LoadResult) -> list[str]:
    return [f"missing: {key}" for key in result.missing_keys] + [f"unexpected: {key}" for key in result.unexpected_keys]


def _assign(target: Tensor, value: Any) -> None:
    source = value.detach() if isinstance(value, Tensor) else tensor(value, device=target.device)
    if source.device is not target.device:
        source = source.to(target.device)
    if source.storage is not target.storage:
        copy_into(target.detach(), source)


def _take_over(target: Tensor, value: Any) -> None:
    """``target`` stays the object that optimisers know, and looks at ``value``'s memory from now on."""
    rebind(target, value.detach() if isinstance(value, Tensor) else tensor(value, device=target.device))
