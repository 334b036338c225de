"""The Markdown files of this checkout as `test_docs.py` reads and runs them.

``python -m tests.project.documents`` writes the tree in `docs/design.md` anew;
``python -m tests.project.documents docs/x.md`` runs that page's Python blocks.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import inspect
import io
import re
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .tree import ROOT, files, parsed, text

DESIGN = "docs/design.md"
TREE = re.compile(r"(?<=<!-- tree -->\n)```text\n.*?```\n(?=<!-- /tree -->)", re.DOTALL)
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_AWAIT_OUTSIDE = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_SAME = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
# What cannot say by itself what it is.
_WHAT = {
    ".editorconfig": "indentation and line ends, for editors",
    ".gitignore": "what git leaves alone",
    ".pre-commit-config.yaml": "ruff and mypy before each commit",
    "LICENSE": "MIT",
    "docs/fast_loop.png": "the profiler's page of a loop that reads its losses once, for profiling.md",
    "docs/slow_loop.png": "the profiler's page of a loop that reads its loss in every step",
    "pyproject.toml": "the package, its dependencies, and the settings of ruff, mypy and pytest",
    "shaders/manifest.json": "fingerprints of the hand-written kernels' sources and SPIR-V, checked by a test",
    "rasptorch/py.typed": "tells type checkers that the package is typed",
}


@dataclass(frozen=True)
class Block:
    """A fenced block; ``line`` is that of its first line of text, counted from 1."""

    language: str
    text: str
    line: int


def pages() -> list[str]:
    """The documents: README.md and what lies in docs/."""
    return [n for n in files() if n == "README.md" or (n.startswith("docs/") and n.endswith(".md"))]


def page(name: str) -> str:
    """The page's text."""
    found = text(name)
    assert found is not None, f"{name} is not text"
    return found


def blocks(name: str, *languages: str) -> list[Block]:
    """The fenced blocks of a page, of these languages or of all."""
    source = page(name)
    found = [Block(m[1], m[2], source.count("\n", 0, m.start(2)) + 1) for m in FENCE.finditer(source)]
    return [b for b in found if not languages or b.language in languages]


def prose(name: str) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", page(name))


# -- running -------------------------------------------------------------------------------------------------
def run(name: str) -> int:
    """Run the Python blocks of a page one after the other, in one namespace; returns how many there are.

    A block with ``await`` outside of functions runs in a Trio task. What a block prints has to stand in the
    ``text`` block that follows it; ``...`` there stands for anything.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    everything = blocks(name)
    ran = 0
    for block, after in zip(everything, [*everything[1:], None], strict=False):
        if block.language == "python":
            compare(name, block, after, output_of(name, block, namespace))
            ran += 1
    namespace.clear()
    return ran


def output_of(name: str, block: Block, namespace: dict[str, Any]) -> str:
    """Run one block; its line numbers in tracebacks are those of the page."""
    source = "\n" * (block.line - 1) + block.text
    code = compile(source, str(ROOT / name), "exec", flags=_AWAIT_OUTSIDE, dont_inherit=True)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        result: Coroutine[Any, Any, None] | None = eval(code, namespace)
        if inspect.iscoroutine(result):
            import trio

            async def main() -> None:
                await result

            trio.run(main)
    return printed.getvalue()


def compare(name: str, block: Block, after: Block | None, printed: str) -> None:
    """Fail where a block prints something else than the page says."""
    if not printed:
        return
    printed = re.sub(r"\bvulkan:\d+", "vulkan:0", printed)  # its number depends on the machine
    where = f"{name}:{block.line}"
    assert after is not None and after.language == "text", f"{where} prints, and no text block follows:\n{printed}"
    same = doctest.OutputChecker().check_output(after.text, printed, _SAME)
    assert same, f"{where} prints\n{printed}\nand the page says\n{after.text}"


# -- edits ---------------------------------------------------------------------------------------------------
def edit(block: Block, root: Path) -> None:
    """Apply a ``diff`` block below ``root``: ``--- file``, then pieces of ' ', '-' and '+' lines separated by
    ``@@``.

    The ' ' and '-' lines of a piece say where it goes: they must stand in the file exactly once.
    """
    first, *lines = block.text.splitlines()
    assert first.startswith("--- "), f"line {block.line}: a diff begins with '--- file', not {first!r}"
    path = root / first.removeprefix("--- ").strip()
    content = path.read_text("utf-8")
    pieces: list[list[str]] = [[]]
    for line in lines:
        if line.startswith("@@"):
            pieces.append([])
        else:
            pieces[-1].append(line)
    for piece in pieces:
        before = "".join(f"{line[1:]}\n" for line in piece if not line.startswith("+"))
        after = "".join(f"{line[1:]}\n" for line in piece if not line.startswith("-"))
        found = content.count(before)
        assert before and found == 1, f"{path.relative_to(root)} has {found} times:\n{before}"
        content = content.replace(before, after)
    path.write_text(content, "utf-8")


# -- the tree ------------------------------------------------------------------------------------------------
def summary(name: str) -> str:
    """One sentence about a file: the first of its docstring, its first comment, or its title."""
    if name in _WHAT:
        return _WHAT[name]
    if name.endswith(".spv"):
        return f"the SPIR-V of {Path(name).stem}.comp"
    if name.endswith(".py"):
        words = " ".join((ast.get_docstring(parsed(name)) or "").split("\n\n")[0].split())
        return re.split(r"(?<=[.?!]) ", words)[0]
    for line in page(name).splitlines():
        found = re.match(r"(?:#+|//|<title>) ?(?!!)([^<]+)", line.strip())
        if found and "shellcheck" not in line:
            return re.split(r"(?<=[.?!]) ", found[1].strip())[0]
    raise AssertionError(f"{name} does not say what it is: add it to _WHAT in tests/project/documents.py")


def tree() -> str:
    """Every file with a line about it, as it stands in the design."""
    shown = [n for n in files() if not (n.endswith("__init__.py") and not page(n).strip())]
    shown.sort(key=lambda n: (n.count("/") > 0, [(p, "") for p in n.split("/")[:-1]], n))
    lines: list[str] = []
    here: list[str] = []
    for name in shown:
        *folders, leaf = name.split("/")
        same = 0
        while same < min(len(here), len(folders)) and here[same] == folders[same]:
            same += 1
        lines += [f"{'    ' * depth}{folders[depth]}/" for depth in range(same, len(folders))]
        here = folders
        indent = "    " * len(folders)
        lines.append(f"{f'{indent}{leaf}':<36} {summary(name)}".rstrip())
    return "```text\n" + "\n".join(lines) + "\n```\n"


def with_tree(source: str) -> str:
    """The design with the tree as it is now."""
    assert TREE.search(source), f"{DESIGN} has no place for the tree between its two comments"
    return TREE.sub(lambda _: tree(), source)


def main(arguments: list[str]) -> int:
    if arguments:
        from tests.support.drivers import choose_drivers

        choose_drivers(())
        for name in arguments:
            print(f"{name}: {run(name)} blocks ran")
        return 0
    path = ROOT / DESIGN
    path.write_text(with_tree(path.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
