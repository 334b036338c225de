"""Counting what the engine did in a stretch of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields

import rasptorch as rt
from rasptorch.runtime.device import Device
from rasptorch.runtime.statistics import Statistics


@contextmanager
def counting(device: str | Device = "cpu") -> Iterator[Statistics]:
    """``with counting(device) as n: ...; assert n.submissions == 1``: filled in when the block is left.

    Counters are differences; ``bytes_peak`` and ``in_flight`` are the values at the end.
    """
    before = rt.statistics(device)
    counts = Statistics()
    yield counts
    after = rt.statistics(device)
    difference = after - before
    for field in fields(Statistics):
        source = after if field.name in ("bytes_peak", "in_flight") else difference
        setattr(counts, field.name, getattr(source, field.name))
