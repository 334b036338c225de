"""No file and no function grows past what can be taken in at a glance (design, section 7)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .tree import none_of, parsed, python_files, text

MOST_LINES_OF_A_FILE = 500
MOST_LINES_OF_A_FUNCTION = 70


def long_functions(name: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        assert node.end_lineno is not None
        lines = node.end_lineno - node.lineno + 1
        if lines > MOST_LINES_OF_A_FUNCTION:
            yield f"{name}:{node.lineno} {node.name} has {lines} lines"


def test_no_file_is_too_long() -> None:
    lengths = {name: len((text(name) or "").splitlines()) for name in python_files()}
    assert lengths, "no Python file was found"
    long = [f"{name} has {length} lines" for name, length in lengths.items() if length > MOST_LINES_OF_A_FILE]
    none_of(long, f"a file has at most {MOST_LINES_OF_A_FILE} lines")


def test_no_function_is_too_long() -> None:
    long = [found for name in python_files() for found in long_functions(name, parsed(name))]
    none_of(long, f"a function has at most {MOST_LINES_OF_A_FUNCTION} lines")


def test_a_long_function_would_be_found() -> None:
    body = "\n".join("    x = 1" for _ in range(MOST_LINES_OF_A_FUNCTION))
    within = f"def f():\n{body[: body.rindex(chr(10))]}\n"
    assert list(long_functions("f.py", ast.parse(within))) == []
    assert list(long_functions("f.py", ast.parse(f"def f():\n{body}\n"))) == ["f.py:1 f has 71 lines"]
