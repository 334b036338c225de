"""Gradients against central differences, in float64 on the cpu device.

For outputs ``f(x)`` and random weights ``w``, the scalar ``sum(w * f(x))`` has the gradient that backward
computes at once, and central differences ``(f(x + eps) - f(x - eps)) / (2 eps)`` element by element.
Several draws of ``w`` tell errors apart that a plain sum would let cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime import dtype as dt
from ..runtime.errors import RasptorchError
from ..tensor import Tensor
from .gradients import grad
from .mode import enable_grad, no_grad

Function = Callable[..., Any]
Array = NDArray[np.float64]

PROJECTIONS = 3
SEED = 20


class GradientError(RasptorchError, AssertionError):
    """A gradient does not agree with central differences; says which element is worst."""


@dataclass(frozen=True)
class _Place:
    """A tensor whose gradient is checked."""

    name: str
    tensor: Tensor


def gradcheck(
    function: Function,
    inputs: Sequence[Any] | Tensor,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    parameters: Sequence[Tensor] = (),
) -> bool:
    """Compare the gradients of ``function(*inputs)`` with central differences of step ``eps``; True if they
    agree.

    Checked are the ``inputs`` that require gradients and all ``parameters`` (tensors the function uses
    without being given them): float64 tensors on the cpu device. ``function`` returns a tensor or a
    sequence of them, and must compute the same values when called again. A difference above ``atol + rtol *
    |numeric|``, or a NaN, raises `GradientError` naming the worst element.
    """
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    places = _places(given, parameters)
    outputs = _outputs(function, given)
    differentiable = [k for k, y in enumerate(outputs) if y.dtype.is_floating_point]
    if not any(outputs[k].requires_grad for k in differentiable):
        raise GradientError("gradcheck: no output depends on anything that requires gradients")
    weights = _weights([outputs[k].shape for k in differentiable])
    numeric = _numeric(function, given, places, differentiable, weights, eps)
    for draw, projection in enumerate(weights):
        analytic = _analytic(function, given, places, differentiable, projection)
        for place, a, n in zip(places, analytic, numeric[draw], strict=True):
            _compare(place.name, a, n, atol, rtol)
    return True


def gradgradcheck(
    function: Function,
    inputs: Sequence[Any] | Tensor,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    parameters: Sequence[Tensor] = (),
) -> bool:
    """As `gradcheck`, one order up: the gradients of ``function`` (under random weights, which are inputs
    too) are checked.
    """
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    places = _places(given, parameters)
    with no_grad():
        outputs = _outputs(function, given)
    differentiable = [k for k, y in enumerate(outputs) if y.dtype.is_floating_point]
    (projection,) = _weights([outputs[k].shape for k in differentiable], 1)
    weights = [_tensor(w) for w in projection]
    for weight in weights:
        weight.requires_grad_()

    def gradients(*values: Any) -> list[Tensor]:
        inner = values[: len(given)]
        made = _outputs(function, inner)
        targets = [*_checked(inner), *parameters]
        pairs = [(made[k], w) for k, w in zip(differentiable, values[len(given) :], strict=True) if made[k].requires_grad]
        found = grad([y for y, _ in pairs], targets, [w for _, w in pairs], create_graph=True, allow_unused=True)
        live = [g for g in found if g is not None and g.requires_grad]
        if not live:
            raise GradientError("gradgradcheck: no gradient depends on anything that requires gradients")
        return live

    if not places:
        raise GradientError("gradgradcheck: nothing requires gradients")
    return gradcheck(gradients, [*given, *weights], eps, atol, rtol, parameters)


def _checked(inputs: Sequence[Any]) -> list[Tensor]:
    return [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]


def _places(inputs: Sequence[Any], parameters: Sequence[Tensor]) -> list[_Place]:
    places = [_Place(f"input {k}", x) for k, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    for k, p in enumerate(parameters):
        if not p.requires_grad:
            raise GradientError(f"gradcheck: parameter {k} does not require gradients")
        places.append(_Place(f"parameter {k}", p))
    if not places:
        raise GradientError("gradcheck: no input requires gradients")
    for place in places:
        x = place.tensor
        if x.dtype is not dt.float64 or x.device.name != "cpu":
            raise GradientError(
                f"gradcheck: {place.name} is {x.dtype.name} on {x.device}; central differences need float64 on the cpu device"
            )
    return places


def _outputs(function: Function, inputs: Sequence[Any]) -> list[Tensor]:
    with enable_grad():
        made = function(*inputs)
    outputs = [made] if isinstance(made, Tensor) else list(made)
    for y in outputs:
        if not isinstance(y, Tensor):
            raise TypeError(f"gradcheck: the function returned {type(y).__name__}, not a tensor or a sequence of tensors")
    return outputs


def _weights(shapes: Sequence[tuple[int, ...]], draws: int = PROJECTIONS) -> list[list[Array]]:
    """Per draw an array per output, away from zero so that no element goes unseen."""
    random = np.random.default_rng(SEED)
    return [[random.uniform(0.5, 1.5, shape) * random.choice([-1.0, 1.0], shape) for shape in shapes] for _ in range(draws)]


def _tensor(values: Any) -> Tensor:
    from ..ops.creation import tensor

    return tensor(values, dtype=dt.float64, device="cpu")


def _array(x: Tensor) -> Array:
    return np.asarray(x.readback().wait(), np.float64)


def _analytic(
    function: Function,
    inputs: Sequence[Any],
    places: Sequence[_Place],
    chosen: Sequence[int],
    weights: Sequence[Array],
) -> list[Array]:
    outputs = _outputs(function, inputs)
    pairs = [(outputs[k], _tensor(w).to(outputs[k].dtype)) for k, w in zip(chosen, weights, strict=True) if outputs[k].requires_grad]
    found = grad([y for y, _ in pairs], [p.tensor for p in places], [w for _, w in pairs], allow_unused=True)
    for place, g in zip(places, found, strict=True):
        if g is not None and (g.shape != place.tensor.shape or g.dtype is not place.tensor.dtype):
            raise GradientError(
                f"gradcheck: the gradient of {place.name} is {g.dtype.name}{list(g.shape)}, "
                f"the tensor {place.tensor.dtype.name}{list(place.tensor.shape)}"
            )
    return [np.zeros(p.tensor.shape) if g is None else _array(g) for p, g in zip(places, found, strict=True)]


def _numeric(
    function: Function,
    inputs: Sequence[Any],
    places: Sequence[_Place],
    chosen: Sequence[int],
    weights: Sequence[Sequence[Array]],
    eps: float,
) -> list[list[Array]]:
    """Central differences: per draw of the weights, an array per place."""
    found = [[np.zeros(p.tensor.shape) for p in places] for _ in weights]
    for number, place in enumerate(places):
        before = _array(place.tensor).copy()
        try:
            for index in np.ndindex(before.shape):
                high = _values_at(function, inputs, place.tensor, before, index, eps, chosen)
                low = _values_at(function, inputs, place.tensor, before, index, -eps, chosen)
                for draw, projection in enumerate(weights):
                    total = sum(float(np.sum(w * (h - lo))) for w, h, lo in zip(projection, high, low, strict=True))
                    found[draw][number][index] = total / (2 * eps)
        finally:
            _write(place.tensor, before)
    return found


def _values_at(
    function: Function,
    inputs: Sequence[Any],
    x: Tensor,
    values: Array,
    index: tuple[int, ...],
    by: float,
    chosen: Sequence[int],
) -> list[Array]:
    """The chosen outputs with one element of ``x`` moved by ``by``."""
    moved = values.copy()
    moved[index] += by
    _write(x, moved)
    # Taped, because the function may itself ask for gradients (`gradgradcheck`).
    outputs = _outputs(function, inputs)
    return [_array(outputs[k]) for k in chosen]


def _write(x: Tensor, values: Array) -> None:
    with no_grad():
        x.detach().copy_(_tensor(values))


def _compare(name: str, analytic: Array, numeric: Array, atol: float, rtol: float) -> None:
    with np.errstate(all="ignore"):
        excess = np.abs(analytic - numeric) - (atol + rtol * np.abs(numeric))
    excess = np.where(np.isnan(excess), np.inf, excess)
    if excess.size == 0 or excess.max() <= 0:
        return
    worst = tuple(int(i) for i in np.unravel_index(int(excess.argmax()), excess.shape))
    raise GradientError(
        f"gradient of {name} at {list(worst)}: analytic {analytic[worst]!r}, numeric {numeric[worst]!r} "
        f"({int((excess > 0).sum())} of {excess.size} elements differ by more than "
        f"{atol} + {rtol} * |numeric|)"
    )
