"""The transformer workload's model: an encoder block, its training step written by hand in NumPy, and in rasptorch or PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LOSS = "mse_loss"
SAMPLES, LENGTH, WIDTH, HEADS, HIDDEN = 8, 64, 128, 4, 512
EPS = 1e-5


def parameters() -> dict[str, Array]:
    """Values under PyTorch's names."""
    generator = np.random.RandomState(6)

    def uniform(*shape: int) -> Array:
        bound = 1 / math.sqrt(shape[-1])
        return generator.uniform(-bound, bound, shape).astype(np.float32)

    out = {"self_attn.in_proj_weight": uniform(3 * WIDTH, WIDTH), "self_attn.in_proj_bias": uniform(3 * WIDTH)}
    for name, outputs, inputs in (("self_attn.out_proj", WIDTH, WIDTH), ("linear1", HIDDEN, WIDTH), ("linear2", WIDTH, HIDDEN)):
        out[f"{name}.weight"], out[f"{name}.bias"] = uniform(outputs, inputs), uniform(outputs)
    for name in ("norm1", "norm2"):
        out[f"{name}.weight"], out[f"{name}.bias"] = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
    return out


def data() -> tuple[Array, Array]:
    """Inputs and targets ``[SAMPLES, LENGTH, WIDTH]``."""
    generator = np.random.RandomState(7)
    shape = (SAMPLES, LENGTH, WIDTH)
    return generator.randn(*shape).astype(np.float32), generator.randn(*shape).astype(np.float32)


class ByHand:
    """The same step by hand: matrices of all positions, gradients as they come out of the chain rule."""

    def __init__(self, rate: float) -> None:
        self.values = parameters()
        self._data = data()
        self._rate = rate

    def step(self) -> float:
        """One step of gradient descent on the mean squared distance; returns the loss before it."""
        p = self.values
        x, target = (values.reshape(-1, WIDTH) for values in self._data)
        packed = x @ p["self_attn.in_proj_weight"].T + p["self_attn.in_proj_bias"]
        q, k, v = packed.reshape(SAMPLES, LENGTH, 3, HEADS, -1).transpose(2, 0, 3, 1, 4)
        scores = (q @ k.swapaxes(2, 3)) / np.float32(math.sqrt(WIDTH // HEADS))
        chances = np.exp(scores - scores.max(-1, keepdims=True))
        chances /= chances.sum(-1, keepdims=True)
        seen = (chances @ v).transpose(0, 2, 1, 3).reshape(-1, WIDTH)
        first = _norm(x + seen @ p["self_attn.out_proj.weight"].T + p["self_attn.out_proj.bias"], p, "norm1")
        hidden = np.maximum(first[0] @ p["linear1.weight"].T + p["linear1.bias"], 0)
        second = _norm(first[0] + hidden @ p["linear2.weight"].T + p["linear2.bias"], p, "norm2")
        away = second[0] - target

        found: dict[str, Array] = {}
        g = _norm_back(away * np.float32(2 / away.size), second, p, "norm2", found)
        dhidden = _linear_back(g, hidden, p, "linear2", found) * (hidden > 0)
        g = _norm_back(g + _linear_back(dhidden, first[0], p, "linear1", found), first, p, "norm1", found)
        dseen = _linear_back(g, seen, p, "self_attn.out_proj", found)
        dseen = dseen.reshape(SAMPLES, LENGTH, HEADS, -1).transpose(0, 2, 1, 3)
        dchances = dseen @ v.swapaxes(2, 3)
        dscores = chances * (dchances - (dchances * chances).sum(-1, keepdims=True)) / np.float32(math.sqrt(WIDTH // HEADS))
        parts = np.stack([dscores @ k, dscores.swapaxes(2, 3) @ q, chances.swapaxes(2, 3) @ dseen])
        dpacked = parts.transpose(1, 3, 0, 2, 4).reshape(-1, 3 * WIDTH)
        found["self_attn.in_proj_weight"], found["self_attn.in_proj_bias"] = dpacked.T @ x, dpacked.sum(0)
        for name, gradient in found.items():
            p[name] -= np.float32(self._rate) * gradient
        return float((away * away).mean())


def _norm(x: Array, p: dict[str, Array], name: str) -> tuple[Array, Array, Array]:
    """The result, the standardised input, and what it was multiplied by."""
    away = x - x.mean(-1, keepdims=True)
    inverse = 1 / np.sqrt((away * away).mean(-1, keepdims=True) + np.float32(EPS))
    hat = away * inverse
    return hat * p[f"{name}.weight"] + p[f"{name}.bias"], hat, inverse


def _norm_back(g: Array, made: tuple[Array, Array, Array], p: dict[str, Array], name: str, found: dict[str, Array]) -> Array:
    _, hat, inverse = made
    found[f"{name}.weight"], found[f"{name}.bias"] = (g * hat).sum(0), g.sum(0)
    g = g * p[f"{name}.weight"]
    return np.asarray(inverse * (g - g.mean(-1, keepdims=True) - hat * (g * hat).mean(-1, keepdims=True)))


def _linear_back(g: Array, x: Array, p: dict[str, Array], name: str, found: dict[str, Array]) -> Array:
    found[f"{name}.weight"], found[f"{name}.bias"] = g.T @ x, g.sum(0)
    return np.asarray(g @ p[f"{name}.weight"])


def model(nn: Any, tensor: Callable[[Array], Any]) -> Any:
    """The same model in rasptorch or PyTorch, on the device on which ``tensor`` makes tensors."""
    values = {name: tensor(value) for name, value in parameters().items()}
    made = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, 0.0, batch_first=True).to(values["norm1.bias"].device)
    made.load_state_dict(values)
    return made
