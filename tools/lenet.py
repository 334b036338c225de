"""A training step of LeNet (batch 32, 28 x 28, cross-entropy, gradient descent) in NumPy by hand, rasptorch and PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]
LOSS = "cross_entropy"
BATCH, CLASSES = 32, 10
SHAPES = ((6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (CLASSES, 84))  # weights as the layers have them
PADDING = (2, 0)


def _drawn() -> tuple[list[tuple[Array, Array]], Array, Array]:
    """Weights and biases, a batch and its classes."""
    generator = np.random.RandomState(5)
    layers = []
    for shape in SHAPES:
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        drawn = generator.uniform(-bound, bound, shape), generator.uniform(-bound, bound, shape[0])
        layers.append((drawn[0].astype(np.float32), drawn[1].astype(np.float32)))
    return layers, generator.randn(BATCH, 1, 28, 28).astype(np.float32), generator.randint(0, CLASSES, BATCH)


def data() -> tuple[Array, Array]:
    """A batch and its classes."""
    return _drawn()[1:]


def model(nn: Any, tensor: Callable[[Array], Any]) -> Any:
    """The same network in rasptorch or PyTorch."""
    convolutions = [nn.Conv2d(shape[1], shape[0], 5, padding=p) for shape, p in zip(SHAPES[:2], PADDING, strict=True)]
    linears = [nn.Linear(shape[1], shape[0]) for shape in SHAPES[2:]]
    for layer, (weight, bias) in zip([*convolutions, *linears], _drawn()[0], strict=True):
        layer.weight, layer.bias = nn.Parameter(tensor(weight.copy())), nn.Parameter(tensor(bias.copy()))
    parts = [part for layer in convolutions for part in (layer, nn.ReLU(), nn.MaxPool2d(2))]
    return nn.Sequential(*parts, nn.Flatten(), linears[0], nn.ReLU(), linears[1], nn.ReLU(), linears[2])


class ByHand:
    """The step in NumPy; ``step`` changes the parameters and returns the loss before it."""

    def __init__(self, rate: float) -> None:
        self._layers, self._x, self._classes = _drawn()
        self._rate = rate

    def step(self) -> float:
        x, saved = self._x, []
        for (weight, bias), padding in zip(self._layers[:2], PADDING, strict=True):
            x, kept = _convolved(x, weight, bias, padding)
            saved.append(kept)
        flat = x.reshape(BATCH, -1)
        values = [flat]
        for number, (weight, bias) in enumerate(self._layers[2:]):
            z = values[-1] @ weight.T + bias
            values.append(np.maximum(z, 0) if number < 2 else z)
        loss, gradient = _loss(values[-1], self._classes)
        for number in (4, 3, 2):
            weight, bias = self._layers[number]
            source = values[number - 2]
            below = gradient @ weight
            below *= source > 0
            self._update(number, gradient.T @ source, gradient.sum(axis=0))
            gradient = below
        gradient = gradient.reshape(x.shape)
        for number in (1, 0):
            weight, _ = self._layers[number]
            gradient, of_weight, of_bias = _returned(gradient, weight, saved[number], PADDING[number], number > 0)
            self._update(number, of_weight, of_bias)
        return loss

    def _update(self, number: int, of_weight: Array, of_bias: Array) -> None:
        weight, bias = self._layers[number]
        weight -= self._rate * of_weight.reshape(weight.shape)
        bias -= self._rate * of_bias


def _loss(logits: Array, classes: Array) -> tuple[float, Array]:
    """Cross-entropy and its gradient."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances = raised / raised.sum(axis=1, keepdims=True)
    picked = np.arange(len(logits)), classes
    loss = float(-np.log(chances[picked]).mean())
    chances[picked] -= 1
    return loss, chances / np.float32(len(logits))


def _convolved(x: Array, weight: Array, bias: Array, padding: int) -> tuple[Array, tuple[Array, Array, Array]]:
    """Convolution, ReLU and 2 x 2 maxima; what backward needs: unfolded input, which of four was the largest, and the result."""
    m, c, k, _ = weight.shape
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(x, (k, k), (2, 3))
    n, _, h, w = windows.shape[:4]
    unfolded = np.ascontiguousarray(windows.transpose(1, 4, 5, 0, 2, 3)).reshape(c * k * k, -1)
    z = (weight.reshape(m, -1) @ unfolded + bias[:, None]).reshape(m, n, h // 2, 2, w // 2, 2)
    fours = np.maximum(z, 0).transpose(1, 0, 2, 4, 3, 5).reshape(n, m, h // 2, w // 2, 4)
    place = fours.argmax(axis=-1)
    out = np.take_along_axis(fours, place[..., None], -1)[..., 0]
    return np.ascontiguousarray(out), (unfolded, place, out)


def _returned(
    gradient: Array, weight: Array, saved: tuple[Array, Array, Array], padding: int, wanted: bool
) -> tuple[Array, Array, Array]:
    """Gradients of the input (if ``wanted``), the weight and the bias."""
    unfolded, place, out = saved
    m, c, k, _ = weight.shape
    n, _, h, w = out.shape
    fours = np.zeros((*out.shape, 4), np.float32)
    np.put_along_axis(fours, place[..., None], (gradient * (out > 0))[..., None], -1)
    g = np.ascontiguousarray(fours.reshape(n, m, h, w, 2, 2).transpose(1, 0, 2, 4, 3, 5)).reshape(m, -1)
    of_input = gradient
    if wanted:
        columns = (weight.reshape(m, -1).T @ g).reshape(c, k, k, n, 2 * h, 2 * w)
        padded = np.zeros((c, n, 2 * h + k - 1, 2 * w + k - 1), np.float32)
        for i in range(k):
            for j in range(k):
                padded[:, :, i : i + 2 * h, j : j + 2 * w] += columns[:, i, j]
        of_input = padded[:, :, padding : padded.shape[2] - padding, padding : padded.shape[3] - padding].transpose(1, 0, 2, 3)
    return of_input, g @ unfolded.T, g.sum(axis=1)
