"""Writing a file so that there is always a whole one: the previous, or the new."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A new file to write to, which takes ``path``'s place when the block is left, all of it on the disk by then.

    If the block raises, or the process is killed, ``path`` is what it was before. The new file is ``.NAME.saving`` beside it until
    then; one that a killed process has left is used again. Others who save to the same path wait for their turn.
    """
    target = Path(path)
    saving = target.with_name(f".{target.name}.saving")
    with os.fdopen(_locked(saving), "wb") as file:
        try:
            file.truncate(0)
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(saving, target)  # while the lock is held: whoever waits for it then sees another file at this name
        except BaseException:
            saving.unlink(missing_ok=True)
            raise
    _sync_folder(target.parent)


def _locked(path: Path) -> int:
    """A descriptor of the file at ``path``, made if need be, that nobody else writes to."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            os.close(descriptor)  # it became the saved file, or was removed, between two looks
            continue
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """The file's new name is on the disk, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
