"""What must not be in the files of the project, and the few that must be there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from .tree import ROOT, files, none_of, parsed, python_files, text

# Put together from parts, so that this file does not offend itself.
MACHINE_FOLDERS = ("home", "work", "root", "Users", "tmp/venv")
MACHINE_PATH = re.compile(r"(?<![\w.~$})])/(?:" + "|".join(MACHINE_FOLDERS) + r")(?![\w-])")
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("piwheels", "org"),
        ("download", "pytorch", "org"),
        ("anaconda", "org"),
        ("npmjs", "org"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
    )
)
VARIABLE = re.compile(r"\bRASPTORCH_[A-Z][A-Z0-9_]*")
# Read by tools/setup.sh before there is any Python to read settings with.
VARIABLES_OF_SCRIPTS = {"RASPTORCH_VENV"}
# Shader sources have macros of their own, which are not variables of the environment.
SHADER_SOURCES = {".comp", ".glsl", ".h"}


def lines() -> Iterator[tuple[str, str]]:
    """Every line of every text file, with its place."""
    for name in files():
        for number, line in enumerate((text(name) or "").splitlines(), 1):
            yield f"{name}:{number}", line


def test_no_path_of_a_machine() -> None:
    found = [f"{place}: {line.strip()}" for place, line in lines() if MACHINE_PATH.search(line)]
    none_of(found, "paths of one machine")


@pytest.mark.parametrize("folder", MACHINE_FOLDERS)
def test_a_path_of_a_machine_would_be_found(folder: str) -> None:
    assert MACHINE_PATH.search(f'open("/{folder}/x")')
    assert MACHINE_PATH.search(f"cd /{folder}")
    assert not MACHINE_PATH.search(f"https://example.com/{folder}/x and ~/{folder}/x and $X/y/{folder}s")


def test_no_host_of_a_registry() -> None:
    found = [
        f"{place}: {line.strip()}"
        for place, line in lines()
        if any(h in line.lower() for h in REGISTRY_HOSTS)
    ]
    none_of(found, "hosts of package registries")


def test_every_variable_is_a_setting() -> None:
    constants = (
        node.value for node in ast.walk(parsed("runtime/settings.py")) if isinstance(node, ast.Constant)
    )
    known = {value for value in constants if isinstance(value, str) and VARIABLE.fullmatch(value)}
    assert known, "runtime/settings.py names no variable"
    used = {
        (found, name)
        for name in files()
        if PurePosixPath(name).suffix not in SHADER_SOURCES
        for found in VARIABLE.findall(text(name) or "")
    }
    strange = [
        f"{variable} in {name}" for variable, name in used if variable not in known | VARIABLES_OF_SCRIPTS
    ]
    none_of(strange, "variables that runtime/settings.py does not know")


def last_name(node: ast.expr) -> str:
    """``Protocol`` of ``typing.Protocol[T]``."""
    if isinstance(node, ast.Subscript | ast.Call):
        return last_name(node.value if isinstance(node, ast.Subscript) else node.func)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def may_hold_empty_methods(node: ast.ClassDef) -> bool:
    """Protocols, abstract classes and exceptions."""
    bases = [last_name(base) for base in node.bases] + [last_name(k.value) for k in node.keywords]
    return any(
        base in ("Protocol", "ABC", "ABCMeta") or base.endswith(("Error", "Exception", "Warning"))
        for base in bases
    )


def is_empty(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Nothing but ``pass`` or ``...``. A docstring alone may say why there is nothing."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return bool(body) and all(
        isinstance(statement, ast.Pass)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in body
    )


def empty_functions(node: ast.AST, allowed: bool = False) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = {last_name(decorator) for decorator in child.decorator_list}
            if is_empty(child) and not allowed and not decorators & {"abstractmethod", "overload"}:
                yield child
            yield from empty_functions(child)
        elif isinstance(child, ast.ClassDef):
            yield from empty_functions(child, may_hold_empty_methods(child))
        elif isinstance(child, ast.If) and last_name(child.test) == "TYPE_CHECKING":
            yield from empty_functions(ast.Module(child.orelse, []), allowed)
        else:
            yield from empty_functions(child, allowed)


def test_no_empty_functions() -> None:
    found = [f"{name}:{f.lineno} {f.name}" for name in python_files() for f in empty_functions(parsed(name))]
    none_of(found, "functions with nothing in them")


EMPTY = """
def stub(): pass
def told(): "Nothing is to be done here."
class P(typing.Protocol[T]):
    def method(self): ...
class A:
    @abc.abstractmethod
    def method(self): pass
    def forgotten(self):
        "What it would do."
        ...
if TYPE_CHECKING:
    def typed(): ...
else:
    async def untyped(): ...
"""


def test_an_empty_function_would_be_found() -> None:
    assert [f.name for f in empty_functions(ast.parse(EMPTY))] == ["stub", "forgotten", "untyped"]


@pytest.mark.parametrize("name", ["runtime", "shaders"])
def test_links_are_right(name: str) -> None:
    """Where links are off (``core.symlinks=false``), git writes a file that holds the target."""
    link = ROOT / "rasptorch" / name
    target = str(link.readlink()) if link.is_symlink() else link.read_text("utf-8")
    assert target == f"../{name}"
    assert (ROOT / name / "__init__.py").is_file()


def test_the_package_is_marked_as_typed() -> None:
    assert "rasptorch/py.typed" in files()


@pytest.mark.parametrize("name", ["LICENSE", "README.md", "pyproject.toml", ".ci/run"])
def test_is_there(name: str) -> None:
    assert name in files() and text(name), f"{name} is missing or empty"
