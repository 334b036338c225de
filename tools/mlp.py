"""A training step of an MLP (784-512-512-10, batch 64, cross-entropy, gradient descent) in NumPy by hand, rasptorch and PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LOSS = "cross_entropy"
SIZES = (784, 512, 512, 10)
BATCH = 64


def _drawn() -> tuple[list[tuple[Array, Array]], Array, Array]:
    """Weights (inputs x outputs) and biases, a batch and its classes."""
    generator = np.random.RandomState(4)
    layers = []
    for inputs, outputs in pairwise(SIZES):
        bound = 1 / math.sqrt(inputs)
        drawn = generator.uniform(-bound, bound, (inputs, outputs)), generator.uniform(-bound, bound, outputs)
        layers.append((drawn[0].astype(np.float32), drawn[1].astype(np.float32)))
    return layers, generator.randn(BATCH, SIZES[0]).astype(np.float32), generator.randint(0, SIZES[-1], BATCH)


def data() -> tuple[Array, Array]:
    """A batch and its classes."""
    return _drawn()[1:]


def model(nn: Any, tensor: Callable[[Array], Any]) -> Any:
    """The network in rasptorch or PyTorch."""
    parts = []
    for weight, bias in _drawn()[0]:
        linear = nn.Linear(*weight.shape)
        linear.weight, linear.bias = nn.Parameter(tensor(weight.T.copy())), nn.Parameter(tensor(bias))
        parts += [linear, nn.ReLU()]
    return nn.Sequential(*parts[:-1])


class ByHand:
    """The step in NumPy; ``step`` changes the parameters and returns the loss before it."""

    def __init__(self, rate: float) -> None:
        self._layers, self._x, self._classes = _drawn()
        self._rate = rate

    def step(self) -> float:
        values = [self._x]
        for number, (weight, bias) in enumerate(self._layers):
            z = values[-1] @ weight + bias
            values.append(np.maximum(z, 0) if number < len(self._layers) - 1 else z)
        shifted = np.exp(values[-1] - values[-1].max(axis=1, keepdims=True))
        chances = shifted / shifted.sum(axis=1, keepdims=True)
        picked = np.arange(BATCH), self._classes
        loss = -np.log(chances[picked]).mean()
        chances[picked] -= 1
        gradient = chances / BATCH
        for number in reversed(range(len(self._layers))):
            weight, bias = self._layers[number]
            below = (gradient @ weight.T) * (values[number] > 0) if number else gradient
            weight -= self._rate * (values[number].T @ gradient)
            bias -= self._rate * gradient.sum(axis=0)
            gradient = below
        return float(loss)
