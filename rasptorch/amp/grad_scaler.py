"""`GradScaler`: losses scaled up so that small gradients survive float16 (Micikevicius et al., ICLR 2018), without a readback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..autograd.mode import no_grad
from ..ops.program import ProgramWriter
from ..ops.update import Update
from ..runtime import dtype as dt
from ..runtime.capture import outside
from ..runtime.device import Device
from ..runtime.errors import RasptorchError
from ..tensor import Tensor

if TYPE_CHECKING:
    from ..optim.optimizer import Optimizer

T = TypeVar("T")


class GradScalerError(RasptorchError, RuntimeError):
    """Scaling, unscaling, stepping and updating in an order that makes no sense."""


def _update_rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    """Halve the scale after an overflow; double it after so many steps without, unless it would become infinite."""
    scale, tracker, found = tensors
    growth, backoff, interval, zero, one, largest = scalars
    overflow = write("gt", found, zero)
    good = write("add", tracker, one)
    due = write("ge", good, interval)
    grown = write("mul", scale, growth)
    grown = write("where", write("le", grown, largest), grown, scale)
    kept = write("where", due, grown, scale)
    tracked = write("where", due, zero, good)
    return write("where", overflow, write("mul", scale, backoff), kept), write("where", overflow, zero, tracked)


_update = Update("grad_scaler", _update_rule)


class GradScaler:
    """Scales losses, and with them gradients, and skips steps in which a gradient overflowed.

    ``scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()``. The scale starts at ``init_scale``; a step with an
    infinite or NaN gradient multiplies it by ``backoff_factor``, and ``growth_interval`` steps in a row without one multiply it by
    ``growth_factor``. Whether a step overflowed is only known to the device, and needs nobody else: parameters and the optimiser's
    state are written under a condition. So nothing waits, and all of it can be captured. ``enabled=False`` makes every method do
    what there would be without a scaler.
    """

    def __init__(
        self,
        device: str | Device = "gpu",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if not growth_factor > 1.0:
            raise ValueError(f"GradScaler: growth_factor is above 1, got {growth_factor}")
        if not 0.0 < backoff_factor < 1.0:
            raise ValueError(f"GradScaler: backoff_factor is between 0 and 1, got {backoff_factor}")
        self._device = device
        self._enabled = enabled
        self._init_scale = float(init_scale)
        self._init_tracker = 0
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._scale: Tensor | None = None
        self._tracker: Tensor | None = None
        self._found: dict[Optimizer, Tensor] = {}  # of the optimisers whose gradients are unscaled
        self._stepped: set[Optimizer] = set()

    def _state(self, device: Device | None = None) -> tuple[Tensor, Tensor]:
        """The scale and the number of good steps; made at first use, on the device of what is scaled."""
        if self._scale is None or self._tracker is None:
            from ..ops.creation import device_of, full

            device = device_of(self._device) if device is None else device
            with outside(device.stream()):
                self._scale = full((), self._init_scale, dtype=dt.float32, device=device)
                self._tracker = full((), float(self._init_tracker), dtype=dt.float32, device=device)
        return self._scale, self._tracker

    # -- a step ---------------------------------------------------------------------------------------------------
    def scale(self, outputs: T) -> T:
        """``outputs``, a tensor or a list, tuple or dictionary of them, times the scale."""
        return self._scaled(outputs) if self._enabled else outputs

    def _scaled(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return value * self._state(value.device)[0]
        if isinstance(value, dict):
            return {k: self._scaled(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            items = [self._scaled(v) for v in value]
            return type(value)._make(items) if hasattr(value, "_make") else type(value)(items)
        raise TypeError(f"GradScaler.scale takes tensors, in lists, tuples or dictionaries, got {type(value).__name__}")

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of an optimiser's parameters by the scale, in place: to clip them, say. `step` does it otherwise."""
        if not self._enabled:
            return
        if optimizer in self._stepped:
            raise GradScalerError("unscale_() after step(): call update() in between")
        if optimizer in self._found:
            raise GradScalerError("unscale_() was called for this optimiser already since the last update()")
        gradients = [p.grad.detach() for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
        if not gradients:
            raise GradScalerError("none of the optimiser's parameters has a gradient: call backward() first")
        if any(g.dtype is dt.float16 for g in gradients):
            raise ValueError(
                "GradScaler: the gradients are float16, in which they cannot be unscaled; keep parameters in float32 and "
                "use rasptorch.autocast"
            )
        from ..ops.joining import stack
        from ..ops.reduction import amax

        with no_grad():
            inverse = self._state(gradients[0].device)[0].reciprocal()
            overflows = []
            for gradient in gradients:
                if gradient.numel():
                    overflows.append(amax(gradient.isfinite().logical_not().to(dt.float32)))
                    gradient.mul_(inverse)
            self._found[optimizer] = amax(stack(overflows)) if overflows else inverse * 0.0

    def step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step()`` with unscaled gradients; on the device, nothing changes if one of them is infinite or NaN."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs or args:
            raise GradScalerError("step() takes no closure: compute loss and gradients before it")
        if optimizer in self._stepped:
            raise GradScalerError("step() was called for this optimiser already since the last update()")
        if optimizer not in self._found:
            self.unscale_(optimizer)
        found = self._found[optimizer]
        optimizer._skip = {found.device: found}
        try:
            result = optimizer.step(**kwargs)
        finally:
            optimizer._skip = {}
        self._stepped.add(optimizer)
        return result

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Adapt the scale to what the steps since the last call met, or set it to ``new_scale``. Once per iteration, at its end."""
        if not self._enabled:
            return
        scale, tracker = self._state()
        with no_grad():
            if new_scale is not None:
                scale.fill_(new_scale) if isinstance(new_scale, (int, float)) else scale.copy_(new_scale.detach())
            elif not self._found:
                raise GradScalerError("update() without a step(): there is nothing the scale could be adapted to")
            else:
                total, *others = self._found.values()
                for found in others:
                    total = total.maximum(found)
                _update((), (scale, tracker), (total,), self._numbers)
        self._found, self._stepped = {}, set()

    def _numbers(self) -> tuple[float, ...]:
        return self._growth_factor, self._backoff_factor, float(self._growth_interval), 0.0, 1.0, 3.4028234663852886e38

    # -- what it is -----------------------------------------------------------------------------------------------
    def is_enabled(self) -> bool:
        return self._enabled

    def get_scale(self) -> float:
        """The scale; waits for it. 1.0 if this scaler is not enabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else float(self._scale)

    def get_growth_factor(self) -> float:
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        self._growth_interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        """Numbers under PyTorch's names; waits for them. Empty if this scaler is not enabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._init_tracker if self._tracker is None else int(float(self._tracker)),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, also PyTorch's."""
        if not self._enabled:
            return
        if not state_dict:
            raise GradScalerError("load_state_dict: the state is empty; was it saved from a scaler that was not enabled?")
        self._init_scale, self._init_tracker = float(state_dict["scale"]), int(state_dict["_growth_tracker"])
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        if self._scale is not None and self._tracker is not None:
            self._scale.fill_(self._init_scale)
            self._tracker.fill_(float(self._init_tracker))
