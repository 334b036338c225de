"""Seeing what a program does: ``with rt.profile("trace.json") as p: ...`` and ``print(p.table())``.

`profile` records, `record_function` marks what a program does besides. ``python tools/profile.py`` does it to any script.
"""

from __future__ import annotations

from .marks import record_function
from .recording import profile

__all__ = ["profile", "record_function"]
