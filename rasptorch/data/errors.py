"""Errors of data and of the files it comes from."""

from __future__ import annotations

import os

from ..runtime.errors import RasptorchError


class DataError(RasptorchError, ValueError):
    """Datasets, samplers or batches that do not fit together."""


class DataTimeout(RasptorchError, RuntimeError):
    """A loader's worker took longer over a batch than the loader's ``timeout`` allows."""


class DataFormatError(RasptorchError, ValueError):
    """A file is not what its reader expects. ``path`` and ``offset`` (in bytes, of the unpacked file) say where."""

    def __init__(self, path: str | os.PathLike[str], offset: int, what: str) -> None:
        super().__init__(f"{os.fspath(path)}, at byte {offset}: {what}")
        self.path = os.fspath(path)
        self.offset = offset


def missing_extra(package: str, extra: str, what: str) -> ImportError:
    """The error for a package that is not among the core's dependencies."""
    return ImportError(f"{what} needs {package}: pip install 'rasptorch[{extra}]' (or: pip install {package})")
