"""The files of this checkout, as the tests of this folder look at them."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKIPPED_FOLDERS = {".git", ".venv", ".hypothesis", "__pycache__", "build", "dist"}
PACKAGE_FOLDERS = ("rasptorch", "runtime", "shaders")


def git(*arguments: str) -> list[str] | None:
    """NUL-separated output of a git command at the root; None without git or outside of a repository."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return None
    run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return [name for name in run.stdout.split("\0") if name] if run.returncode == 0 else None


def walk() -> Iterator[str]:
    """Every file below the root except in caches, build results and virtual environments."""
    for folder, folders, names in os.walk(ROOT):
        if (Path(folder) / "pyvenv.cfg").exists():
            folders.clear()
            continue
        skipped = {f for f in folders if f in SKIPPED_FOLDERS or f.endswith(("_cache", ".egg-info"))}
        folders[:] = [f for f in folders if f not in skipped]
        for name in names:
            yield (Path(folder) / name).relative_to(ROOT).as_posix()


@cache
def files() -> tuple[str, ...]:
    """Paths, relative to the root, of what is tracked or would be; links to folders are not followed."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = set(walk() if listed is None else listed)
    return tuple(sorted(n for n in names if (ROOT / n).is_file() and not (ROOT / n).is_symlink()))


def python_files(*folders: str) -> list[str]:
    """Python files below any of ``folders``, or all of them."""
    return [n for n in files() if n.endswith(".py") and (not folders or n.split("/", 1)[0] in folders)]


@cache
def text(name: str) -> str | None:
    """The file as text; None where it is binary: with NUL bytes, or not UTF-8."""
    content = (ROOT / name).read_bytes()
    try:
        return None if b"\0" in content else content.decode("utf-8")
    except UnicodeDecodeError:
        return None


@cache
def parsed(name: str) -> ast.Module:
    """Syntax tree of a Python file."""
    source = text(name)
    assert source is not None, f"{name} is not UTF-8 text"
    return ast.parse(source, filename=name)


def module_name(name: str) -> str:
    """Import name of a Python file: ``runtime/plan/fuse.py`` is ``rasptorch.runtime.plan.fuse``."""
    parts = name.removesuffix(".py").split("/")
    if parts[0] in ("runtime", "shaders"):
        parts.insert(0, "rasptorch")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def none_of(offences: Iterable[str], rule: str) -> None:
    """Fail with one line for each offence, however many there are."""
    found = sorted(offences)
    assert not found, f"{rule}:\n  " + "\n  ".join(found)
