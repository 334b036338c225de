"""Programs bound to arrays: what is computed right where it belongs, and what may not be."""

from __future__ import annotations

import numpy as np
import pytest

from rasptorch.runtime import dtype as dt
from rasptorch.runtime.command import Program, step
from rasptorch.runtime.host.calls import execute
from rasptorch.runtime.host.evaluate import Evaluator, Scalars, overlapping

Steps = list[tuple[str, tuple[int, ...]]]

# Of two inputs: the steps, the results, and which input's memory each output has (None: its own), and whether all is computed in place.
CASES: list[tuple[Steps, tuple[int, ...], tuple[int | None, ...], bool]] = [
    ([("mul", (0, 0)), ("add", (2, 2))], (2, 3), (0, None), True),  # nobody needs the first input after the first step
    ([("mul", (0, 0)), ("add", (2, 0))], (2, 3), (0, None), False),  # the second step does
    ([("mul", (0, 1)), ("add", (2, 1))], (2, 3), (0, 1), True),
    ([("mul", (0, 1)), ("add", (2, 1))], (2, 3), (1, 0), False),
    ([("mul", (0, 1)), ("add", (2, 1)), ("sub", (3, 2))], (4, 2), (0, None), True),
    ([("mul", (0, 1)), ("add", (2, 1))], (3, 1), (0, None), False),  # an input that is a result
    ([("mul", (0, 1)), ("add", (2, 1))], (3, 0), (None, 1), False),
]


@pytest.mark.parametrize(("steps", "results", "places", "direct"), CASES)
def test_outputs_in_the_memory_of_inputs(steps: Steps, results: tuple[int, ...], places: tuple[int | None, ...], direct: bool) -> None:
    program = Program((dt.float32, dt.float32), (), tuple(step(name, dt.float32, args) for name, args in steps), results)
    inputs = [np.linspace(start, 3, 60, dtype=np.float32).reshape(6, 10) for start in (1, 2)]
    registers = [x.copy() for x in inputs]
    for name, (left, right) in steps:
        registers.append({"mul": np.multiply, "add": np.add, "sub": np.subtract}[name](registers[left], registers[right]))
    outputs = [np.full((6, 10), np.nan, np.float32) if place is None else inputs[place] for place in places]
    shared = overlapping(inputs, outputs)
    assert shared == {k: [place] for k, place in enumerate(places) if place is not None}
    calls = Evaluator(program, Scalars(program, ()), None, shared).bind(inputs, outputs)
    execute(calls)
    for out, result in zip(outputs, results, strict=True):
        np.testing.assert_array_equal(out, registers[result])
    assert (len(calls) == len(steps)) is direct
