"""Muon: momentum, orthogonalised by Newton-Schulz iterations (Jordan et al., kellerjordan.github.io/posts/muon, 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ..ops.joining import stack
from ..ops.program import ProgramWriter
from ..ops.update import Update
from ..runtime.device import Device
from ..runtime.stream import Stream
from ..tensor import Tensor
from .adam import Adam
from .optimizer import Group, Optimizer, OptimizerError
from .rules import mean_of

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
Waiting = tuple[Tensor, Tensor, Group, dict[str, Any]]


def _momentum_rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    buffer, gradient = tensors
    momentum, take = scalars
    buffer = mean_of(write, buffer, gradient, take)
    return buffer, mean_of(write, gradient, buffer, momentum) if options[0] else buffer


def _apply_rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    parameter, direction = tensors
    keep, rate = scalars
    return (write("sub", write("mul", parameter, keep), write("mul", direction, rate)),)


_momentum = Update("muon", _momentum_rule)
_apply = Update("muon", _apply_rule)


def orthogonalized(x: Tensor, coefficients: Sequence[float] = COEFFICIENTS, steps: int = 5, eps: float = 1e-7) -> Tensor:
    """Matrices ``x`` of shape (..., rows, columns) with their singular values brought to about 1 (0.7 to 1.2).

    ``x`` is scaled by its Frobenius norm (``eps`` at least); then each of ``steps`` iterations takes every singular value ``s`` to
    ``a s + b s**3 + c s**5`` for ``coefficients`` a, b, c.
    """
    a, b, c = coefficients
    x = x / (x * x).sum((-2, -1), keepdim=True).sqrt().clamp(min=eps)
    tall = x.shape[-2] > x.shape[-1]
    for _ in range(steps):
        gram = x.mT @ x if tall else x @ x.mT  # of the shorter side
        change = gram @ gram * c + gram * b
        x = (x @ change if tall else change @ x) + x * a
    return x


class Muon(Adam):
    """Steps of ``lr`` along the momentum's nearest semi-orthogonal matrix, for parameters that are matrices.

    ``g`` goes into a running mean (the mean keeps ``momentum``); with ``nesterov`` the step looks ahead along it. `orthogonalized`
    says what ``ns_coefficients``, ``ns_steps`` and ``eps`` do; it computes in float32. ``weight_decay`` first shrinks the parameter
    by ``lr * weight_decay`` of itself. ``adjust_lr_fn``: ``"original"`` (or None) makes ``lr`` larger by ``sqrt(max(1, rows / columns))``,
    ``"match_rms_adamw"`` by ``0.2 * sqrt(max(rows, columns))``.

    Parameters that are no matrices (biases, norms, convolutions) go into a group of their own with ``use_muon`` false, which AdamW
    updates with the options ``adamw_lr`` (``lr`` unless given), ``adamw_betas``, ``adamw_eps`` and ``adamw_weight_decay``
    (``weight_decay`` unless given). Give groups yourself to have, say, embeddings and the last layer there, too, as is recommended:
    ``{"params": ..., "use_muon": False}``. Matrices of one shape are orthogonalised together. State: ``momentum_buffer``, or
    `Adam`'s.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = COEFFICIENTS,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        *,
        adamw_lr: float | None = None,
        adamw_betas: tuple[float, float] = (0.9, 0.999),
        adamw_eps: float = 1e-8,
        adamw_weight_decay: float | None = None,
    ) -> None:
        self._adamw = {
            "lr": lr if adamw_lr is None else adamw_lr,
            "betas": adamw_betas,
            "eps": adamw_eps,
            "weight_decay": weight_decay if adamw_weight_decay is None else adamw_weight_decay,
            "amsgrad": False,
            "maximize": False,
            "capturable": False,
            "decoupled_weight_decay": True,
        }
        self._waiting: list[Waiting] = []
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        Optimizer.__init__(self, params, defaults)

    def add_param_group(self, param_group: Group) -> None:
        """As `Optimizer.add_param_group`; without ``use_muon``, matrices and the rest become a group each."""
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError('a parameter group is a dictionary with an entry "params"')
        if "use_muon" in param_group:
            super().add_param_group({**({} if param_group["use_muon"] else self._adamw), **param_group})
            return
        given = param_group["params"]
        params = [given] if isinstance(given, Tensor) else list(given)
        for use_muon in (True, False):
            part = [p for p in params if _is_matrix(p) is use_muon]
            if part:
                self.add_param_group({**param_group, "params": part, "use_muon": use_muon})

    def _check(self, group: Group) -> None:
        super()._check(group)
        if not group["use_muon"]:
            return
        for p in group["params"]:
            if not _is_matrix(p):
                raise OptimizerError(
                    f"Muon takes matrices, got a parameter of shape {list(p.shape)}; give it a group with use_muon=False"
                )
        if group["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
            raise OptimizerError(
                f'Muon: adjust_lr_fn is None, "original" or "match_rms_adamw", got {group["adjust_lr_fn"]!r}'
            )
        if not 0 <= group["ns_steps"] < 100 or len(group["ns_coefficients"]) != 3:
            raise OptimizerError(
                f"Muon takes three ns_coefficients and fewer than 100 ns_steps, got {group['ns_coefficients']} and {group['ns_steps']}"
            )

    def _step(self) -> dict[Device, Stream]:
        streams = super()._step()
        alike: dict[object, list[Waiting]] = {}
        for entry in self._waiting:
            parameter, _, group, _ = entry
            how = tuple(group["ns_coefficients"]), group["ns_steps"], group["eps"]
            alike.setdefault((parameter.device, parameter.dtype, parameter.shape, how), []).append(entry)
        self._waiting = []
        for entries in alike.values():
            self._change(entries)
        return streams

    def _update(self, parameter: Tensor, gradient: Tensor, group: Group, state: dict[str, Any]) -> None:
        if not group["use_muon"]:
            super()._update(parameter, gradient, group, state)
            return
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = self._zeros(parameter)
        self._waiting.append((parameter, gradient, group, state))

    def _change(self, entries: Sequence[Waiting]) -> None:
        """A step of parameters whose matrices can be orthogonalised together."""
        directions = []
        for parameter, gradient, group, state in entries:
            scalars = _live(group, lambda g: (g["momentum"], 1.0 - g["momentum"]))
            buffer, unless = state["momentum_buffer"], self._skips(parameter)
            (direction,) = _momentum(
                (int(group["nesterov"]),), (buffer,), (gradient,), scalars, unless=unless, fresh=1
            )
            directions.append(direction)
        together = directions[0].unsqueeze(0) if len(directions) == 1 else stack(directions)
        group = entries[0][2]
        made = orthogonalized(together, group["ns_coefficients"], group["ns_steps"], group["eps"])
        for k, (parameter, _, group, _) in enumerate(entries):
            larger = _adjusted(group["adjust_lr_fn"], *parameter.shape)
            scalars = _live(group, lambda g, larger=larger: (1.0 - g["lr"] * g["weight_decay"], g["lr"] * larger))
            _apply((), (parameter,), (made[k],), scalars, unless=self._skips(parameter))


def _is_matrix(parameter: Any) -> bool:
    tensor = parameter[1] if isinstance(parameter, tuple) else parameter
    return isinstance(tensor, Tensor) and tensor.ndim == 2


def _live(group: Group, compute: Any) -> Any:
    """The scalars that ``compute`` makes of the group's options, as they are when asked for."""
    return lambda: compute(group)


def _adjusted(how: str | None, rows: int, columns: int) -> float:
    if how == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / max(columns, 1)))
