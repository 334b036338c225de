"""Planning, step by step, on keys written by hand: what a batch's key means, what is dropped, ordered and placed."""

from __future__ import annotations

from typing import Any

import pytest

import rasptorch as rt
from rasptorch.runtime import dtype as dt
from rasptorch.runtime.buffer import Block, Buffer, Memory
from rasptorch.runtime.command import CommandSpec, Program, step
from rasptorch.runtime.driver import Traits
from rasptorch.runtime.layout import Layout, layout_of
from rasptorch.runtime.plan.check import check_plan
from rasptorch.runtime.plan.decode import decode, drop_dead
from rasptorch.runtime.plan.plan import Plan, ReduceKernel
from rasptorch.runtime.plan.planner import make_plan

TRAITS = Traits("test", "host", alignment=64, hazard_alignment=4)


def f32(*shape: int) -> Layout:
    return layout_of(rt.device("cpu"), dt.float32, shape)


def binary(opcode: str, layout: Layout, in_place: int = 0) -> CommandSpec:
    program = Program((dt.float32, dt.float32), (), (step(opcode, dt.float32, (0, 1)),), (2,))
    return CommandSpec("elementwise", opcode, (layout, layout), (layout,), program, in_place=in_place)


def scaled(layout: Layout, in_place: int = 0, notes_errors: bool = False) -> CommandSpec:
    program = Program((dt.float32,), (dt.float32,), (step("mul", dt.float32, (0, 1)),), (2,))
    return CommandSpec(
        "elementwise", "scale", (layout,), (layout,), program, in_place=in_place, notes_errors=notes_errors
    )


def total(layout: Layout) -> CommandSpec:
    program = Program((dt.float32,), (), (), (0,))
    axes = tuple(range(len(layout.shape)))
    return CommandSpec("reduce", "sum", (layout,), (f32(),), program, ("add", axes, dt.float32))


def product(a: Layout, b: Layout, out: Layout) -> CommandSpec:
    return CommandSpec("matmul", "matmul", (a, b), (out,))


def plan_of(key: list[Any], living: tuple[int, ...], **traits: Any) -> Plan:
    return make_plan(key, living, Traits(**{**TRAITS.__dict__, **traits}), rt.device("cpu").error_layout)


# -- decoding -----------------------------------------------------------------------------------------------------
def test_a_number_met_for_the_first_time_is_older_and_new_outputs_follow() -> None:
    add, scale = binary("add", f32(8)), scaled(f32(8))
    decoded = decode([add, 0, 0, 1, 4, scale, 2, 0])
    first, second = decoded.commands
    assert (first.inputs, first.outputs, first.scalars) == (((0, 0), (1, 4)), ((2, 0),), ())
    assert (second.inputs, second.outputs, second.scalars) == (((2, 0),), ((3, 0),), (0,))
    assert decoded.made == {2: 32, 3: 32} and decoded.values == 4


def test_targets_are_operands_and_make_nothing() -> None:
    decoded = decode([binary("add", f32(8), in_place=1), 0, 0, 1, 0, 0, 0])
    (command,) = decoded.commands
    assert command.inputs == ((0, 0), (1, 0)) and command.outputs == ((0, 0),)
    assert decoded.made == {} and decoded.values == 2


def test_the_error_words_come_last() -> None:
    decoded = decode([scaled(f32(4), notes_errors=True), 0, 0, 1, 0, scaled(f32(4)), 2, 0])
    assert [c.errors for c in decoded.commands] == [1, None]
    assert [c.scalars for c in decoded.commands] == [(0,), (1,)]


def test_older_storages_may_turn_up_late() -> None:
    decoded = decode([scaled(f32(4)), 0, 0, binary("add", f32(4)), 1, 0, 2, 0])
    assert decoded.made == {1: 16, 3: 16}


# -- dead commands ------------------------------------------------------------------------------------------------
def kept(key: list[Any], living: tuple[int, ...]) -> list[str]:
    decoded = decode(key)
    return [c.spec.name for c in drop_dead(decoded.commands, decoded.made, living)]


def test_what_nobody_sees_is_dropped_with_what_only_it_needed() -> None:
    key = [scaled(f32(4)), 0, 0, binary("add", f32(4)), 1, 0, 1, 0, binary("mul", f32(4)), 0, 0, 0, 0]
    assert kept(key, (2, 3)) == ["scale", "add", "mul"]
    assert kept(key, (3,)) == ["mul"]
    assert kept(key, (2,)) == ["scale", "add"]
    assert kept(key, ()) == []


def test_writes_to_older_storages_stay() -> None:
    key = [scaled(f32(4)), 0, 0, binary("add", f32(4), in_place=1), 0, 0, 1, 0, 0, 0]
    assert kept(key, ()) == ["scale", "add"]


def test_writes_in_place_to_the_dead_go_too() -> None:
    key = [scaled(f32(4)), 0, 0, scaled(f32(4), in_place=1), 1, 0, 1, 0]
    assert kept(key, ()) == []
    assert kept(key, (1,)) == ["scale", "scale"]


def test_notes_of_errors_stay() -> None:
    assert kept([scaled(f32(4), notes_errors=True), 0, 0, 1, 0], ()) == ["scale"]


# -- whole plans --------------------------------------------------------------------------------------------------
def test_what_is_bound_and_what_lies_in_the_arena() -> None:
    a, b, c = f32(4, 4), f32(4, 4), f32(4, 4)
    plan = plan_of([product(a, b, c), 0, 0, 1, 0, product(a, b, c), 2, 0, 2, 0], (3,))
    assert (plan.bound, plan.outputs, plan.written) == ((0, 1, 3), (3,), (3,))
    assert set(plan.offsets) == {2} and plan.arena == 64
    assert [len(level) for level in plan.levels] == [1, 1]


def test_nothing_to_do_is_no_kernel() -> None:
    plan = plan_of([scaled(f32(4)), 0, 0], ())
    assert (plan.levels, plan.bound, plan.arena) == ((), (), 0)
    empty = plan_of([scaled(f32(0)), 0, 0], (1,))
    assert empty.kernels == [] and empty.outputs == (1,)


def test_independent_products_share_a_level() -> None:
    a = f32(4, 4)
    key: list[Any] = []
    for _ in range(5):
        key += [product(a, a, a), 0, 0, 1, 0]
    plan = plan_of(key, (2, 3, 4, 5, 6))
    assert [len(level) for level in plan.levels] == [5]


def test_an_elementwise_chain_is_one_kernel() -> None:
    key: list[Any] = [scaled(f32(64)), 0, 0]
    for k in range(9):
        key += [scaled(f32(64)), k + 1, 0]
    plan = plan_of(key, (10,))
    assert len(plan.kernels) == 1 and plan.arena == 0
    assert plan.kernels[0].scalars == tuple(range(10))
    assert plan.fused == 9


def test_a_chain_that_somebody_sees_in_between_gives_both() -> None:
    plan = plan_of([scaled(f32(64)), 0, 0, scaled(f32(64)), 1, 0], (1, 2))
    written = {o.value for kernel in plan.kernels for o in kernel.outputs}
    assert written == {1, 2} and plan.bound == (0, 1, 2)


def test_long_sums_are_cut_into_stages() -> None:
    plan = plan_of([total(f32(5000)), 0, 0], (1,), reduce_chunk=100)
    first, last = plan.kernels
    assert isinstance(first, ReduceKernel) and isinstance(last, ReduceKernel)
    assert first.splits == 50 and last.splits == 1
    assert len(plan.levels) == 2 and plan.arena >= 50 * 4


def test_writes_side_by_side_share_a_level_unless_the_device_cannot_tell() -> None:
    a = f32(2, 2)
    into = CommandSpec("matmul", "matmul", (a, a), (a,), in_place=1)
    key = [into, 0, 0, 0, 0, 1, 0, into, 2, 0, 2, 0, 1, 4]  # bytes 0 to 16 and 16 to 32 of storage 1
    assert [len(level) for level in plan_of(key, (), hazard_alignment=16).levels] == [2]
    assert [len(level) for level in plan_of(key, (), hazard_alignment=32).levels] == [1, 1]


def test_a_write_comes_after_the_reads_before_it() -> None:
    a = f32(4, 4)
    into = CommandSpec("matmul", "matmul", (a, a), (a,), in_place=1)
    plan = plan_of([product(a, a, a), 0, 0, 0, 0, into, 1, 0, 1, 0, 0, 0, product(a, a, a), 0, 0, 0, 0], (1, 2))
    levels = [[kernel.outputs[0].value for kernel in level] for level in plan.levels]
    assert levels == [[1], [0], [2]]


@pytest.mark.parametrize("living", [(), (2,), (2, 3, 4), (4,)])
def test_every_plan_passes_its_check(living: tuple[int, ...]) -> None:
    a = f32(4, 4)
    key: list[Any] = [product(a, a, a), 0, 0, 1, 0, scaled(a), 2, 0, binary("add", a), 3, 0, 2, 0]
    key += [scaled(a, in_place=1), 4, 0, 1, 0]
    plan = plan_of(key, living)
    block = Block(1 << 16, Memory.DEVICE, None, None)
    sizes = [plan.sizes.get(v, 64) for v in plan.bound] + [plan.arena] * (plan.arena > 0)
    buffers = [Buffer(None, block, k * 4096, size) for k, size in enumerate(sizes)]  # type: ignore[arg-type]
    check_plan(plan, buffers, TRAITS)
