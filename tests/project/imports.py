"""What a Python file imports, read from its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Import:
    """One imported module. ``early``: while the importing module is loaded, not in a function's body."""

    module: str
    line: int
    early: bool

    def is_of(self, package: str) -> bool:
        return self.module == package or self.module.startswith(package + ".")


def asks_type_checking(node: ast.If) -> bool:
    test = node.test
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def executed(node: ast.AST, early: bool = True) -> Iterator[tuple[ast.AST, bool]]:
    """The nodes that can run, each with whether that is at import; blocks for type checkers cannot."""
    if isinstance(node, ast.If) and asks_type_checking(node):
        children: Iterable[ast.AST] = node.orelse
    else:
        yield node, early
        children = ast.iter_child_nodes(node)
    in_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in children:
        yield from executed(child, early and not in_function)


def absolute(node: ast.ImportFrom, package: str) -> str:
    """The module named in ``from ... import``, the leading dots resolved from inside ``package``."""
    if node.level == 0:
        return node.module or ""
    parents = package.split(".")
    kept = parents[: len(parents) - (node.level - 1)]
    return ".".join([*kept, node.module] if node.module else kept)


def dynamic(node: ast.Call) -> str | None:
    """The module in ``import_module("name")`` and ``__import__("name")``."""
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called not in ("import_module", "__import__") or not node.args:
        return None
    first = node.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def imports(tree: ast.Module, module: str, is_package: bool, known: Collection[str] = ()) -> Iterator[Import]:
    """Everything that ``module`` imports outside of ``if TYPE_CHECKING:``.

    ``from package import name`` counts as ``package.name`` where that is one of the ``known`` modules, else
    as ``package``.
    """
    package = module if is_package else module.rpartition(".")[0]
    for node, early in executed(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, early)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, package)
            for target in dict.fromkeys(f"{base}.{alias.name}" for alias in node.names):
                yield Import(target if target in known else base, node.lineno, early)
        elif isinstance(node, ast.Call) and (named := dynamic(node)) is not None:
            yield Import(named, node.lineno, early)
