"""Recurrent layers and their cells; parameters, gate orders and starting values are PyTorch's."""

from __future__ import annotations

import math
from typing import Any

from ..ops.creation import empty, zeros
from ..ops.joining import cat, stack
from ..ops.linalg import linear
from ..ops.precision import lowered
from ..ops.random import dropout
from ..ops.recurrence import GATES, cell, projected_sequence, sequence
from ..runtime import dtype as dt
from ..runtime.errors import ShapeError
from ..tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter


class _Recurrent(Module):
    """Stacked layers of one or two directions."""

    mode: str

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, num_layers: int, bias: bool, batch_first: bool, dropout: float,
        bidirectional: bool, proj_size: int, device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        name = type(self).__name__
        if not 0 <= proj_size < max(hidden_size, 1):
            raise ValueError(f"{name}: proj_size is at least 0 (none) and smaller than hidden_size, got {proj_size} and {hidden_size}")
        if hidden_size < 1 or num_layers < 1:
            raise ValueError(f"{name}: hidden_size and num_layers are at least 1, got {hidden_size} and {num_layers}")
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"{name}: dropout is a probability between 0 and 1, got {dropout}")
        self.mode = mode
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.proj_size = proj_size
        self._state_size = proj_size or hidden_size
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, float(dropout), bidirectional
        rows, directions = GATES[mode] * hidden_size, 2 if bidirectional else 1
        for layer in range(num_layers):
            features = input_size if layer == 0 else self._state_size * directions
            for suffix in self._suffixes(layer):
                for kind, shape in self._shapes(rows, features).items():
                    self.register_parameter(f"{kind}_{suffix}", Parameter(empty(shape, dtype=dtype, device=device)))
        self.reset_parameters()

    def _shapes(self, rows: int, features: int) -> dict[str, tuple[int, ...]]:
        """Of the parameters of one layer's direction."""
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, features), "weight_hh": (rows, self._state_size)}
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        return shapes

    def _suffixes(self, layer: int) -> list[str]:
        return [f"l{layer}", f"l{layer}_reverse"][: 2 if self.bidirectional else 1]

    def reset_parameters(self) -> None:
        """Uniform in ``±1/sqrt(hidden_size)``, all of them."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Does nothing: there is nothing to rearrange here. Programs written for PyTorch call it."""
        return

    def _weights(self, suffix: str) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        own = self._parameters
        w, u = own[f"weight_ih_{suffix}"], own[f"weight_hh_{suffix}"]
        assert w is not None and u is not None
        return w, u, own.get(f"bias_ih_{suffix}"), own.get(f"bias_hh_{suffix}")

    def _start(self, what: str, given: Tensor | None, x: Tensor, size: int) -> tuple[Tensor, ...]:
        """One ``[n, size]`` for every layer and direction."""
        count = self.num_layers * (2 if self.bidirectional else 1)
        if given is None:
            return (zeros(x.shape[1], size, dtype=x.dtype, device=x.device),) * count
        wanted = (count, x.shape[1], size)
        if given.shape != wanted:
            raise ShapeError(f"{type(self).__name__}: {what} is {list(wanted)}, got {list(given.shape)}")
        return tuple(given[k] for k in range(count))

    def _run(self, x: Tensor, state: Tensor | None, memory: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Output, last states and last cells for ``x`` in any of the forms."""
        form = ("n, steps" if self.batch_first else "steps, n") + f", {self.input_size}"
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            raise ShapeError(f"{type(self).__name__}: input is [{form}] or [steps, {self.input_size}], got {list(x.shape)}")
        single = x.ndim == 2
        if single:
            x = x.unsqueeze(1)
            state, memory = (s if s is None else s.unsqueeze(1) for s in (state, memory))
        elif self.batch_first:
            x = x.transpose(0, 1)
        if x.shape[0] == 0:
            raise ShapeError(f"{type(self).__name__}: a sequence has at least one step, got {list(x.shape)}")
        out, states, memories = self._layers(
            x, self._start("h_0", state, x, self._state_size), self._start("c_0", memory, x, self.hidden_size)
        )
        if single:
            return out.squeeze(1), states.squeeze(1), memories if memories is None else memories.squeeze(1)
        return out.transpose(0, 1) if self.batch_first else out, states, memories

    def _layers(self, x: Tensor, state: tuple[Tensor, ...], memory: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor | None]:
        states: list[Tensor] = []
        memories: list[Tensor] = []
        for layer in range(self.num_layers):
            outs = []
            for reverse, suffix in enumerate(self._suffixes(layer)):
                at = len(states)
                out, last, held = self._direction(bool(reverse), suffix, x, state[at], memory[at])
                outs.append(out)
                states.append(last)
                memories += [] if held is None else [held]
            x = outs[0] if len(outs) == 1 else cat(outs, 2)
            if self.training and self.dropout and layer < self.num_layers - 1:
                x = dropout(x, self.dropout)
        return x, stack(states), stack(memories) if memories else None

    def _direction(self, reverse: bool, suffix: str, x: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        projection = self._parameters.get(f"weight_hr_{suffix}")
        if projection is not None:
            return projected_sequence(reverse, x, state, memory, self._weights(suffix), projection)
        return sequence(self.mode, reverse, x, state, memory if self.mode == "LSTM" else None, self._weights(suffix))

    def extra_repr(self) -> str:
        options: dict[str, tuple[float, float]] = {
            "proj_size": (self.proj_size, 0), "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True), "batch_first": (self.batch_first, False),
            "dropout": (self.dropout, 0), "bidirectional": (self.bidirectional, False),
        }  # fmt: skip
        told = [f", {name}={value}" for name, (value, default) in options.items() if value != default]
        return f"{self.input_size}, {self.hidden_size}" + "".join(told)


class RNN(_Recurrent):
    """``h[t] = tanh(W x[t] + b + U h[t-1] + c)``, stacked; ``nonlinearity`` may be ``"relu"``.

    Input is ``[steps, n, input_size]``, with ``batch_first`` ``[n, steps, input_size]``, or ``[steps, input_size]``; the first state
    ``[layers * directions, n, hidden_size]`` is zero when left out. Returns the states of the last layer at every step, and the last
    states of all layers. ``dropout`` is applied between layers while training.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, device: Any = None, dtype: Any = dt.float32,
    ) -> None:  # fmt: skip
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity is 'tanh' or 'relu', got {nonlinearity!r}")
        mode = f"RNN_{nonlinearity.upper()}"
        super().__init__(mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        out, last, _ = self._run(input, hx, None)
        return out, last


class GRU(_Recurrent):
    """Gated recurrent units (Cho et al., 2014), gates reset, update, new; see `RNN` for the forms."""

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, device: Any = None, dtype: Any = dt.float32,
    ) -> None:  # fmt: skip
        super().__init__("GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        out, last, _ = self._run(input, hx, None)
        return out, last


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997), gates input, forget, cell, output; see `RNN` for the forms.

    Takes and returns a pair of state and cell. With ``proj_size`` the states, and what is returned, have that many features: a learned
    projection of what they would be.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: Any = None, dtype: Any = dt.float32,
    ) -> None:  # fmt: skip
        super().__init__("LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        out, last, memory = self._run(input, *((None, None) if hx is None else hx))
        assert memory is not None
        return out, (last, memory)


# -- cells -----------------------------------------------------------------------------------------------------------
class _Cell(Module):
    """One step, of ``[n, input_size]`` or ``[input_size]``."""

    def __init__(self, mode: str, input_size: int, hidden_size: int, bias: bool, device: Any, dtype: Any) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias, self._mode = input_size, hidden_size, bias, mode
        rows = GATES[mode] * hidden_size
        at = {"dtype": dtype, "device": device}
        self.weight_ih = Parameter(empty(rows, input_size, **at))
        self.weight_hh = Parameter(empty(rows, hidden_size, **at))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(empty(rows, **at)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ``±1/sqrt(hidden_size)``, all of them."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size else 0.0
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _step(self, x: Tensor, state: Tensor | None, memory: Tensor | None) -> tuple[Tensor, Tensor | None]:
        name = type(self).__name__
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ShapeError(f"{name}: input is [n, {self.input_size}] or [{self.input_size}], got {list(x.shape)}")
        wanted = (*x.shape[:-1], self.hidden_size)
        for given in (state, memory):
            if given is not None and given.shape != wanted:
                raise ShapeError(f"{name}: state is {list(wanted)} for input {list(x.shape)}, got {list(given.shape)}")
        x, state, memory = lowered(x, state, memory)
        start = zeros(wanted, dtype=x.dtype, device=x.device)
        first = (start if memory is None else memory) if self._mode == "LSTM" else None
        gates = linear(x, self.weight_ih, self.bias_ih)
        return cell(self._mode, gates, start if state is None else state, first, self.weight_hh, self.bias_hh)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(_Cell):
    """One step of `RNN`: ``tanh`` or ``relu`` of ``W x + b + U h + c``."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device: Any = None, dtype: Any = dt.float32
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: nonlinearity is 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(input, hx, None)[0]

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class GRUCell(_Cell):
    """One step of `GRU`."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = dt.float32) -> None:
        super().__init__("GRU", input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(input, hx, None)[0]


class LSTMCell(_Cell):
    """One step of `LSTM`: takes and returns a pair of state and cell."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = dt.float32) -> None:
        super().__init__("LSTM", input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        state, memory = self._step(input, *((None, None) if hx is None else hx))
        assert memory is not None
        return state, memory
