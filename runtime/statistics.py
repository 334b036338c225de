"""Counters of what the engine did. Exact, cheap, and what the tests assert on."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(slots=True)
class Statistics:
    """One device's counters since it was made. Take two snapshots and subtract to measure a stretch of a program."""

    commands: int = 0
    kernels_fused: int = 0  # commands that ran inside another command's kernel
    dispatches: int = 0
    barriers: int = 0
    submissions: int = 0
    plan_hits: int = 0
    plan_misses: int = 0
    recordings_made: int = 0
    recordings_reused: int = 0
    allocations: int = 0  # of blocks, from the driver
    pipelines_created: int = 0
    bytes_in_use: int = 0
    bytes_reserved: int = 0
    bytes_peak: int = 0
    uploads: int = 0
    readbacks: int = 0
    waits: int = 0
    in_flight: int = 0

    def snapshot(self) -> Statistics:
        return Statistics(*(getattr(self, f.name) for f in fields(self)))

    def __sub__(self, other: Statistics) -> Statistics:
        return Statistics(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))
