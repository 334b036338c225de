"""Random programs give the same values batched and fused as one command at a time, on every driver, and those a model predicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .execute import Run
from .programs import Action, Model, Value, in_order

STEP = st.tuples(*[st.integers(0, 999)] * 4, st.integers(0, 2))
PROGRAM = st.tuples(st.integers(0, 1 << 30), st.lists(STEP, min_size=4, max_size=30))
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]

Program = tuple[int, list[tuple[int, ...]]]


def modelled(program: Program) -> Model:
    seed, steps = program
    model = Model(seed)
    for step in steps:
        model.take(*step)
    model.finish()
    return model


def assert_predicted(actions: Sequence[Action], reads: Sequence[Value], found: Sequence[Any], what: str) -> None:
    """Every value read is what the model says, within the error it allows."""
    __tracebackhide__ = True
    for number, ((action, expected), value) in enumerate(zip(in_order(actions, reads), found, strict=True)):
        head = f"{what}: value {number}, read by {action}"
        assert value.shape == expected.array.shape, f"{head}: shape {value.shape}, expected {expected.array.shape}"
        if expected.facts.dtype == "float32":
            assert value.dtype == np.float32, f"{head}: {value.dtype}"
            allowed = expected.facts.error + 1e-30
            away = np.abs(value.astype(np.float64) - expected.array)
            assert (away <= allowed).all(), f"{head}: off by {away.max()}, allowed {allowed}\n{value}\n{expected.array}"
        else:
            assert value.dtype == expected.array.dtype, f"{head}: {value.dtype}, expected {expected.array.dtype}"
            np.testing.assert_array_equal(value, expected.array, head)


def assert_same(device: str, reads: Sequence[Value], fused: Sequence[Any], alone: Sequence[Any]) -> None:
    """The same bits, except where NumPy's own loops decide in which order it adds, or which of its functions' variants runs."""
    __tracebackhide__ = True
    for number, (expected, one, other) in enumerate(zip(reads, fused, alone, strict=True)):
        head = f"{device}: value {number}, fused against one by one"
        if device == "cpu" and expected.facts.loose:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=expected.facts.error + 1e-6, err_msg=head)
        else:
            np.testing.assert_array_equal(one, other, head)


def check(program: Program, device: str) -> None:
    model = modelled(program)
    fused = Run(device)(model.actions)
    assert_predicted(model.actions, model.reads, fused, f"{device}, fused")
    alone = Run(device, alone=True)(model.actions)
    assert_predicted(model.actions, model.reads, alone, f"{device}, one by one")
    assert_same(device, model.reads, fused, alone)
    spread = Run(device, streams=3)(model.actions)
    assert_predicted(model.actions, model.reads, spread, f"{device}, on three streams")


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=QUIET)
@given(program=PROGRAM)
def test_programs(device: str, program: Program) -> None:
    check(program, device)


@pytest.mark.drivers("swiftshader")
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=QUIET)
@given(program=PROGRAM)
def test_programs_on_a_second_vulkan(device: str, program: Program) -> None:
    check(program, device)


@pytest.mark.slow
@pytest.mark.every_driver
@settings(max_examples=600, deadline=None, suppress_health_check=QUIET)
@given(program=PROGRAM)
def test_many_programs(device: str, program: Program) -> None:
    check(program, device)
