"""What ``state_dict`` and ``load_state_dict`` do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..autograd.mode import no_grad
from ..ops.creation import tensor
from ..ops.views import copy_into
from ..runtime.errors import RasptorchError
from ..tensor import Tensor
from .parameter import rebind

if TYPE_CHECKING:
    from .module import Module


class StateDictError(RasptorchError, RuntimeError):
    """A state dictionary does not fit the module; the message lists every key that is wrong."""


class LoadResult(NamedTuple):
    """Keys the module has and the dictionary lacks, and the other way round."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def save_into(module: Module, out: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
    """Add ``module``'s state to ``out``: own parameters, own persistent buffers, then the parts."""
    own = [
        *module._parameters.items(),
        *((n, b) for n, b in module._buffers.items() if n not in module._transient),
    ]
    for name, value in own:
        if value is not None:
            out[prefix + name] = value if keep_vars else value.detach()
    for name, part in module._modules.items():
        if part is not None:
            save_into(part, out, f"{prefix}{name}.", keep_vars)


def load_into(module: Module, given: Any, strict: bool, assign: bool = False) -> LoadResult:
    """Copy ``given`` into ``module``; see `Module.load_state_dict`."""
    if not isinstance(given, Mapping):
        raise TypeError(f"load_state_dict takes a dictionary of tensors by name, got {type(given).__name__}")
    targets = module.state_dict(keep_vars=True)
    missing = [key for key in targets if key not in given]
    unexpected = [key for key in given if key not in targets]
    problems = (
        [f"missing: {key}" for key in missing] + [f"unexpected: {key}" for key in unexpected]
        if strict
        else []
    )
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
    if problems:
        raise StateDictError(
            f"load_state_dict: what was given does not fit {type(module).__name__}\n  "
            + "\n  ".join(problems)
        )
    with no_grad():
        for target, value in pairs:
            (_take_over if assign else _assign)(target, value)
    return LoadResult(missing, unexpected)


def _assign(target: Tensor, value: Any) -> None:
    source = value.detach() if isinstance(value, Tensor) else tensor(value, device=target.device)
    if source.device is not target.device:
        source = source.to(target.device)
    if source.storage is not target.storage:
        copy_into(target.detach(), source)


def _take_over(target: Tensor, value: Any) -> None:
    """``target`` stays the object that optimisers know, and looks at ``value``'s memory from now on."""
    rebind(target, value.detach() if isinstance(value, Tensor) else tensor(value, device=target.device))
