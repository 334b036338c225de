"""Every environment variable, in one table; read once, at import of the engine.

`docs/environment.md` is generated from `TABLE`. Tests and programs change values with `override`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

MiB = 1 << 20


@dataclass
class Settings:
    """Values in force. Sizes in bytes, times in seconds."""

    device: str = ""
    debug: int = 0
    check: bool = False
    flush_commands: int = 512
    flush_bytes: int = 2048 * MiB
    idle_bytes: int = 512 * MiB
    in_flight: int = 3
    in_flight_hard: int = 64
    pool_block: int = 16 * MiB
    pool_limit: int = 0
    staging: str = "auto"
    cache_dir: str = ""
    plan_cache: int = 256
    recordings: int = 16
    host_threads: int = 0
    timestamp_every: int = 0
    matmul: str = "auto"
    dispatch_work: int = -1
    fuse: bool = True
    validate: bool = False


@dataclass(frozen=True)
class Setting:
    field: str
    variable: str
    meaning: str


TABLE = (
    Setting("device", "RASPTORCH_DEVICE", "which Vulkan device 'gpu' means: an index, or part of its name"),
    Setting("debug", "RASPTORCH_DEBUG", "print what the engine does: 1 devices, 2 a line per submission, 3 kernels, 4 all"),
    Setting("check", "RASPTORCH_CHECK", "1: wrap every driver in the checked driver (bounds, use after free, barriers, poison)"),
    Setting("flush_commands", "RASPTORCH_FLUSH_COMMANDS", "a batch is submitted when it holds this many commands"),
    Setting("flush_bytes", "RASPTORCH_FLUSH_BYTES", "a batch is submitted when its commands touch this many bytes"),
    Setting("idle_bytes", "RASPTORCH_IDLE_BYTES", "an idle device gets a batch once its commands touch this many bytes"),
    Setting("in_flight", "RASPTORCH_IN_FLIGHT", "submissions a stream may have unfinished before a script waits for the oldest"),
    Setting("in_flight_hard", "RASPTORCH_IN_FLIGHT_HARD", "submissions past which enqueueing in a Trio task raises"),
    Setting("pool_block", "RASPTORCH_POOL_BLOCK", "size of the blocks the pool asks the device for"),
    Setting("pool_limit", "RASPTORCH_POOL_LIMIT", "most bytes a device's pool may reserve; 0: no limit"),
    Setting("staging", "RASPTORCH_STAGING", "auto, or always: copy through staging buffers even where memory is mapped"),
    Setting("cache_dir", "RASPTORCH_CACHE_DIR", "where pipeline caches are kept; empty: the user's cache folder; off: nowhere"),
    Setting("plan_cache", "RASPTORCH_PLAN_CACHE", "plans kept per device"),
    Setting("recordings", "RASPTORCH_RECORDINGS", "recorded command buffers kept per plan"),
    Setting("host_threads", "RASPTORCH_HOST_THREADS", "threads the cpu device computes with; 0: one per core"),
    Setting(
        "timestamp_every",
        "RASPTORCH_TIMESTAMP_EVERY",
        "while a trace is recorded, kernels are measured in one of this many submissions of a plan; 0: by device",
    ),
    Setting("matmul", "RASPTORCH_MATMUL", "force a matmul variant: texel, tall, vector, wide or tiled; auto: chosen by device traits"),
    Setting(
        "dispatch_work",
        "RASPTORCH_DISPATCH_WORK",
        "element operations one Vulkan dispatch may take before it is split; 0: any number; -1: by device",
    ),
    Setting("fuse", "RASPTORCH_FUSE", "0: every command is a kernel of its own, to see what fusion does"),
    Setting("validate", "RASPTORCH_VALIDATE", "1: turn the Vulkan validation layers on, with synchronisation validation"),
)


def read_environment() -> Settings:
    """Settings from the process environment; a value that does not parse is an error naming the variable."""
    values = Settings()
    types = {f.name: f.type for f in fields(Settings)}
    for entry in TABLE:
        text = os.environ.get(entry.variable)
        if text is None or text == "":
            continue
        kind = types[entry.field]
        try:
            value: object = text if kind == "str" else int(text)
        except ValueError:
            raise ValueError(f"{entry.variable}={text!r} is not a whole number ({entry.meaning})") from None
        setattr(values, entry.field, bool(value) if kind == "bool" else value)
    return values


current = read_environment()


@contextmanager
def override(**values: object) -> Iterator[Settings]:
    """Change settings for a ``with`` block. Devices read most of them when they are made, the rest when used."""
    before = {name: getattr(current, name) for name in values}
    for name, value in values.items():
        setattr(current, name, value)
    try:
        yield current
    finally:
        for name, value in before.items():
            setattr(current, name, value)
