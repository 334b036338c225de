"""From a batch's key back to commands, and out go those whose results nobody can see."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..command import CommandSpec


@dataclass(slots=True)
class PlannedCommand:
    """A command with its operands as (value number, element offset) and its scalars as positions in the batch's list."""

    spec: CommandSpec
    inputs: tuple[tuple[int, int], ...]
    outputs: tuple[tuple[int, int], ...]
    errors: int | None
    scalars: tuple[int, ...]


@dataclass(slots=True)
class Decoded:
    """``made`` maps every value the batch makes to its size in bytes; ``values`` is how many there are in all."""

    commands: list[PlannedCommand]
    made: dict[int, int]
    values: int


def decode(key: Sequence[object]) -> Decoded:
    """Read a key as `Batch` describes it. A number met for the first time is a storage from before the batch."""
    commands: list[PlannedCommand] = []
    made: dict[int, int] = {}
    following = at = scalar = 0
    while at < len(key):
        spec = key[at]
        assert isinstance(spec, CommandSpec)
        at += 1
        count = len(spec.inputs) + spec.in_place + spec.notes_errors
        pairs = []
        for _ in range(count):
            value, offset = key[at], key[at + 1]
            assert isinstance(value, int) and isinstance(offset, int)
            following = max(following, value + 1)
            pairs.append((value, offset))
            at += 2
        outputs = pairs[len(spec.inputs) : len(spec.inputs) + spec.in_place]
        for nbytes in spec.fresh:
            made[following] = nbytes
            outputs.append((following, 0))
            following += 1
        scalars = len(spec.program.scalars) if spec.program is not None else 0
        commands.append(
            PlannedCommand(
                spec,
                tuple(pairs[: len(spec.inputs)]),
                tuple(outputs),
                pairs[-1][0] if spec.notes_errors else None,
                tuple(range(scalar, scalar + scalars)),
            )
        )
        scalar += scalars
    return Decoded(commands, made, following)


def drop_dead(commands: Sequence[PlannedCommand], made: Collection[int], living: Collection[int]) -> list[PlannedCommand]:
    """Keep what somebody can see: writes to living or older storages, notes of errors, and what those need."""
    needed = set(living)
    kept: list[PlannedCommand] = []
    for command in reversed(commands):
        wanted = command.errors is not None or any(v in needed or v not in made for v, _ in command.outputs)
        if wanted:
            kept.append(command)
            needed.update(v for v, _ in command.inputs)
    kept.reverse()
    return kept
