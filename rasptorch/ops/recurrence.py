"""Recurrent layers over whole sequences: one product per step, and the weights' gradients as one product over all steps.

What every gate receives from the inputs is computed beforehand, for all steps at once. A step of the tanh network is a product with
everything else in its epilogue; LSTM (Hochreiter and Schmidhuber, 1997) and GRU (Cho et al., 2014) take one elementwise kernel more.

Backward is linear in the gradients of state and cell, with factors that only depend on what forward kept. They are computed for all
steps at once, so that backward, too, needs one product and one elementwise kernel per step:

    gates[t] = cell_factor[t] * dcell[t] + state_factor[t] * dstate[t]

where one row more than there are gates carries the gradient of the cell (or, in a GRU, of the state itself) to the step before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ..autograd.gradients import grad
from ..autograd.mode import enable_grad, no_grad, recording
from ..autograd.node import Node
from ..tensor import Tensor
from .creation import empty, zeros
from .dispatch import tape
from .functions import relu, sigmoid, square, tanh
from .joining import cat, stack
from .linalg import linear, matmul
from .precision import in_low_precision
from .reduction import sum
from .views import copy_into, split, view

GATES: Final = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


class _Run(NamedTuple):
    """What backward of a direction knows besides tensors."""

    mode: str
    reverse: bool


Weights = tuple[Tensor, Tensor, Tensor | None, Tensor | None]  # weight_ih, weight_hh, bias_ih, bias_hh


# -- one step, taped operation by operation --------------------------------------------------------------------------
@in_low_precision
def cell(
    mode: str, gates: Tensor, state: Tensor, memory: Tensor | None, weight_hh: Tensor, bias_hh: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """State and cell after a step. ``gates`` ``[n, gates * hidden]`` is what the input contributes, its bias included."""
    recurrent = linear(state, weight_hh, bias_hh)
    if mode == "LSTM":
        assert memory is not None
        i, f, g, o = split(gates + recurrent, state.shape[-1], -1)
        memory = sigmoid(f) * memory + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(memory), memory
    if mode == "GRU":
        xr, xz, xn = split(gates, state.shape[-1], -1)
        hr, hz, hn = split(recurrent, state.shape[-1], -1)
        update = sigmoid(xz + hz)
        new = tanh(xn + sigmoid(xr + hr) * hn)
        return new + update * (state - new), None
    return (tanh if mode == "RNN_TANH" else relu)(gates + recurrent), None


def _taped(run: _Run, x: Tensor, state: Tensor, memory: Tensor | None, weights: Weights) -> Tensor:
    """As `sequence`, step by step with taped operations: for gradients of gradients."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    gates = linear(x, weight_ih, bias_ih)
    states: dict[int, Tensor] = {}
    for t in _order(run, x.shape[0]):
        state, memory = cell(run.mode, gates[t], state, memory, weight_hh, bias_hh)
        states[t] = state
    made = [states[t] for t in range(x.shape[0])]
    return stack(made if memory is None else [*made, memory])


@in_low_precision
def projected_sequence(
    reverse: bool, x: Tensor, state: Tensor, memory: Tensor, weights: Weights, weight_hr: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """As `sequence` of an LSTM whose state is ``weight_hr`` ``[projection, hidden]`` times what it would be (Sak, Senior and Beaufays,
    2014): ``state`` is ``[n, projection]``, ``memory`` ``[n, hidden]``. Step by step with taped operations.
    """
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    gates = linear(x, weight_ih, bias_ih)
    states: dict[int, Tensor] = {}
    for t in _order(_Run("LSTM", reverse), x.shape[0]):
        i, f, g, o = split(gates[t] + linear(state, weight_hh, bias_hh), memory.shape[-1], -1)
        memory = sigmoid(f) * memory + sigmoid(i) * tanh(g)
        state = states[t] = linear(sigmoid(o) * tanh(memory), weight_hr)
    return stack([states[t] for t in range(x.shape[0])]), state, memory


def _order(run: _Run, steps: int) -> Sequence[int]:
    return range(steps - 1, -1, -1) if run.reverse else range(steps)


# -- forward ---------------------------------------------------------------------------------------------------------
@in_low_precision
def sequence(
    mode: str, reverse: bool, x: Tensor, state: Tensor, memory: Tensor | None, weights: Weights
) -> tuple[Tensor, Tensor, Tensor | None]:
    """States ``[steps, n, hidden]`` after every step of ``x`` ``[steps, n, features]``, and the last state and cell.

    ``state`` (and an LSTM's ``memory``) are ``[n, hidden]``; with ``reverse`` steps are taken from the last one.
    """
    run = _Run(mode, reverse)
    steps = x.shape[0]
    with no_grad():
        out, kept = _forward(run, x, state, memory, weights)
    operands = (x, state, memory, *weights)
    tape(out, mode.lower(), _gradient, operands, (*operands, *kept), run, keep_output=True)
    states = out if memory is None else out[:steps]
    return states, states[0 if reverse else steps - 1], None if memory is None else out[steps]


def _forward(run: _Run, x: Tensor, state: Tensor, memory: Tensor | None, weights: Weights) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The result (with an LSTM's last cell as one entry more) and what backward needs of each step."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    steps, n, hidden = x.shape[0], x.shape[1], weight_hh.shape[1]
    at: dict[str, Any] = {"dtype": x.dtype, "device": x.device}
    joint = bias_ih if bias_hh is None or run.mode == "GRU" else bias_hh if bias_ih is None else bias_ih + bias_hh
    gates = linear(x.reshape(steps * n, x.shape[2]), weight_ih, joint).reshape(steps, n, weight_ih.shape[0])
    out = empty(steps + (memory is not None), n, hidden, **at)
    if memory is not None:
        memories = empty(steps, n, hidden, **at)
        for t in _order(run, steps):
            state, memory = _lstm_step(gates[t], state, memory, weight_hh, out[t], memories[t])
        copy_into(out[steps], memory)
        return out, (gates, memories)
    if run.mode == "GRU":
        recurrent = empty(steps, n, 3 * hidden, **at)
        for t in _order(run, steps):
            state = _gru_step(gates[t], recurrent[t], state, weight_hh, bias_hh, out[t])
        return out, (gates, recurrent)
    function = tanh if run.mode == "RNN_TANH" else relu
    for t in _order(run, steps):
        copy_into(out[t], function(gates[t] + matmul(state, weight_hh.mT)))
        state = out[t]
    return out, ()


def _lstm_step(gates: Tensor, state: Tensor, memory: Tensor, weight_hh: Tensor, out: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Writes the whole input of the gates over what came from the step's input, and state and cell into their places."""
    copy_into(gates, gates + matmul(state, weight_hh.mT))
    i, f, g, o = split(gates, state.shape[-1], -1)
    now = sigmoid(f) * memory + sigmoid(i) * tanh(g)
    copy_into(kept, now)
    copy_into(out, sigmoid(o) * tanh(now))
    return out, kept


def _gru_step(gates: Tensor, recurrent: Tensor, state: Tensor, weight_hh: Tensor, bias_hh: Tensor | None, out: Tensor) -> Tensor:
    copy_into(recurrent, linear(state, weight_hh, bias_hh))
    xr, xz, xn = split(gates, state.shape[-1], -1)
    hr, hz, hn = split(recurrent, state.shape[-1], -1)
    new = tanh(xn + sigmoid(xr + hr) * hn)
    copy_into(out, new + sigmoid(xz + hz) * (state - new))
    return out


# -- backward --------------------------------------------------------------------------------------------------------
def _gradient(n: Node, g: Tensor) -> Sequence[Tensor | None]:
    x, state, memory, weight_ih, weight_hh, bias_ih, bias_hh, *kept = n.values()
    operands = (x, state, memory, weight_ih, weight_hh, bias_ih, bias_hh)
    run: _Run = n.attributes
    if recording.get():
        return _gradient_again(run, operands, g, [n.needs(k) for k in range(7)])
    out = n.result().detach()
    steps = x.shape[0]
    states = out[:steps]
    before = _shifted(run, states, state)
    if run.mode == "LSTM":
        dstate, dmemory, rows = _lstm_back(run, g, kept[0], kept[1], memory, weight_hh)
        ours = theirs = rows[:, :, :4].reshape(-1, weight_hh.shape[0])
    elif run.mode == "GRU":
        dstate, rows = _gru_back(run, g, kept[0], kept[1], before, weight_hh)
        dmemory = None
        ours = rows[:, :, :3].reshape(-1, weight_hh.shape[0])
        theirs = cat([rows[:, :, :2], rows[:, :, 4:]], 2).reshape(-1, weight_hh.shape[0])
    else:
        dstate, rows = _rnn_back(run, g, states, weight_hh)
        dmemory = None
        ours = theirs = rows.reshape(-1, weight_hh.shape[0])
    flat = x.reshape(-1, x.shape[2])
    return (
        matmul(theirs, weight_ih).reshape(x.shape) if n.needs(0) else None,
        dstate,
        dmemory,
        matmul(theirs.mT, flat) if n.needs(3) else None,
        matmul(ours.mT, before.reshape(-1, before.shape[2])) if n.needs(4) else None,
        sum(theirs, 0) if n.needs(5) else None,
        sum(ours, 0) if n.needs(6) else None,
    )


def _shifted(run: _Run, states: Tensor, first: Tensor) -> Tensor:
    """The state before each step."""
    one = first.unsqueeze(0)
    return cat([states[1:], one] if run.reverse else [one, states[:-1]])


def _lstm_back(
    run: _Run, g: Tensor, gates: Tensor, memories: Tensor, first: Tensor, weight_hh: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the first state and cell, and per step ``[n, 5, hidden]``: those of the gates, and of the cell before."""
    steps, n, hidden = memories.shape
    before = _shifted(run, memories, first)
    i, f, c, o = (sigmoid(a) if k != 2 else tanh(a) for k, a in enumerate(split(gates, hidden, -1)))
    bent = tanh(memories)
    into = o * (1.0 - square(bent))  # by what a state's gradient reaches the cell
    factors = (c * i * (1.0 - i), before * f * (1.0 - f), i * (1.0 - square(c)), None, f)
    by_memory, by_state = (empty(steps, n, 5, hidden, dtype=g.dtype, device=g.device) for _ in range(2))
    for k, factor in enumerate(factors):
        if factor is None:
            copy_into(by_memory[:, :, k], zeros((), dtype=g.dtype, device=g.device))
            copy_into(by_state[:, :, k], bent * o * (1.0 - o))
        else:
            copy_into(by_memory[:, :, k], factor)
            copy_into(by_state[:, :, k], factor * into)
    rows = empty(steps, n, 5, hidden, dtype=g.dtype, device=g.device)
    later: Tensor | None = None
    dmemory = g[steps].unsqueeze(1)
    for t in reversed(_order(run, steps)):
        dstate = g[t] if later is None else g[t] + matmul(later[:, :4].reshape(n, 4 * hidden), weight_hh)
        copy_into(rows[t], by_memory[t] * dmemory + by_state[t] * dstate.unsqueeze(1))
        later = rows[t]
        dmemory = later[:, 4:]
    assert later is not None
    return matmul(later[:, :4].reshape(n, 4 * hidden), weight_hh), later[:, 4], rows


def _gru_back(run: _Run, g: Tensor, gates: Tensor, recurrent: Tensor, before: Tensor, weight_hh: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of the first state, and per step ``[n, 5, hidden]``: those of the gates on the recurrent side (reset, update,
    new), what goes to the state before directly, and of the new state's input side.
    """
    steps, n, hidden = before.shape
    xr, xz, xn = split(gates, hidden, -1)
    hr, hz, hn = split(recurrent, hidden, -1)
    reset, update = sigmoid(xr + hr), sigmoid(xz + hz)
    new = tanh(xn + reset * hn)
    inside = (1.0 - update) * (1.0 - square(new))
    factors = (inside * hn * reset * (1.0 - reset), (before - new) * update * (1.0 - update), inside * reset, update, inside)
    by_state, rows = (empty(steps, n, 5, hidden, dtype=g.dtype, device=g.device) for _ in range(2))
    for k, factor in enumerate(factors):
        copy_into(by_state[:, :, k], factor)
    dstate = None
    for t in reversed(_order(run, steps)):
        dstate = g[t] if dstate is None else g[t] + dstate
        copy_into(rows[t], by_state[t] * dstate.unsqueeze(1))
        later = rows[t]
        dstate = matmul(later[:, :3].reshape(n, 3 * hidden), weight_hh) + later[:, 3]
    assert dstate is not None
    return dstate, rows


def _rnn_back(run: _Run, g: Tensor, states: Tensor, weight_hh: Tensor) -> tuple[Tensor, Tensor]:
    slopes = 1.0 - square(states) if run.mode == "RNN_TANH" else (states > 0).to(states.dtype)
    rows = empty(*states.shape, dtype=g.dtype, device=g.device)
    dstate = None
    for t in reversed(_order(run, states.shape[0])):
        copy_into(rows[t], slopes[t] * (g[t] if dstate is None else g[t] + dstate))
        dstate = matmul(rows[t], weight_hh)
    assert dstate is not None
    return dstate, rows


def _alias(x: Tensor) -> Tensor:
    """The same tensor as a new place on the tape."""
    return view(x, "alias", x.shape, x.layout.strides, x.offset, lambda n, g: (g,))


def _gradient_again(run: _Run, operands: tuple[Any, ...], g: Tensor, needs: Sequence[bool]) -> Sequence[Tensor | None]:
    """To be differentiated again: the steps are run anew, taped, and differentiated."""
    with enable_grad():
        here = [x if x is None or not x.requires_grad else _alias(x) for x in operands]
        x, state, memory, weight_ih, weight_hh, bias_ih, bias_hh = here
        out = _taped(run, x, state, memory, (weight_ih, weight_hh, bias_ih, bias_hh))
        wanted = [x for x, want in zip(here, needs, strict=True) if want]
        found = iter(grad(out, wanted, g, create_graph=True))
    return [next(found) if want else None for want in needs]


