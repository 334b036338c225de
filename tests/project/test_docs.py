"""The documents are true: their programs run, and what they name exists."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

from rasptorch.runtime import errors, settings
from rasptorch.runtime.statistics import Statistics

from . import documents
from .documents import Block, blocks, page, pages, prose
from .tree import ROOT, files, none_of, text

RECIPE = "docs/adding_an_operation.md"
SUFFIXES = (".py", ".sh", ".md", ".toml", ".svg", ".yaml")
SHELL_VARIABLES = {"RASPTORCH_VENV"}  # tools/setup.sh reads it before there is any Python


# -- programs ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [n for n in pages() if not blocks(n, "diff")])
def test_python_blocks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert documents.run(name) == len(blocks(name, "python"))


def test_there_are_programs_to_run() -> None:
    assert len(blocks("README.md", "python")) >= 5
    assert blocks(documents.DESIGN, "python")


def run_here(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=500, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{shlex.join(arguments)}:\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_recipe_works(tmp_path: Path) -> None:
    """Make the edits of the recipe in a copy of the checkout, then run its tests and its programs there."""
    for name in files():
        if name.split("/", 1)[0] in ("rasptorch", "runtime", "shaders", "tests", "docs", "pyproject.toml"):
            target = tmp_path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    for link in ("runtime", "shaders"):
        (tmp_path / "rasptorch" / link).symlink_to(f"../{link}")
    for block in blocks(RECIPE, "diff"):
        documents.edit(block, tmp_path)
    commands = [command for block in blocks(RECIPE, "sh") for command in commands_of(block)]
    assert any("pytest" in command for command in commands)
    for command in commands:
        said = run_here([sys.executable, *command[1:]], tmp_path)
        passed = re.search(r"(\d+) passed", said)
        assert "pytest" not in command or (passed and int(passed[1]) >= 10), said
    said = run_here([sys.executable, "-m", "tests.project.documents", RECIPE], tmp_path)
    assert f"{RECIPE}: {len(blocks(RECIPE, 'python'))} blocks ran" in said


# -- shell commands ------------------------------------------------------------------------------------------
def commands_of(block: Block) -> list[list[str]]:
    """The commands of a ``sh`` block, as words, without comments and without variables set in front."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words:
            found.append(words)
    return found


def commands() -> list[tuple[str, list[str]]]:
    return [(name, command) for name in pages() for block in blocks(name, "sh") for command in commands_of(block)]


@cache
def help_of(script: tuple[str, ...]) -> str:
    return run_here([sys.executable, *script, "--help"], ROOT)


def check_python(words: list[str]) -> None:
    """Scripts and modules exist, and know the options that are given to them."""
    script: tuple[str, ...] = ()
    if words[0] == "-m":
        module, words = words[1], words[2:]
        if module not in ("pytest", "pip"):
            place = module.replace(".", "/")
            assert {f"{place}.py", f"{place}/__main__.py", f"{place}/__init__.py"} & set(files()), module
        script = ("-m", module)
    for word in words:
        if word.endswith(".py") and script[:2] != ("-m", "pytest"):
            assert word in files(), f"{word} does not exist"
            script = (word,)
        elif word.startswith("--") and script[0].endswith(".py"):
            assert re.search(rf"{re.escape(word)}\b", help_of(script)), f"{script[0]} does not know {word}"


def check_command(command: list[str]) -> None:
    program, *words = command
    if program == "sh":
        assert words[0] in files(), f"{words[0]} does not exist"
        run_here(["sh", "-n", words[0]], ROOT)
    elif program == "python":
        check_python(words)
    elif program == "pip":
        extras = tomllib.loads(page("pyproject.toml"))["project"]["optional-dependencies"]
        for word in words:
            for extra in re.findall(r"\[([\w,]+)\]", word):
                assert set(extra.split(",")) <= set(extras), f"there is no extra {extra}"
    else:
        assert program in ("git", "cd", "apt-get"), f"no rule for {program} in tests/project/test_docs.py"


def test_shell_commands_are_right() -> None:
    problems = []
    for name, command in commands():
        try:
            check_command(command)
        except AssertionError as problem:
            problems.append(f"{name}: {shlex.join(command)}: {problem}")
    none_of(problems, "commands that would not work")


def test_the_two_commands_are_in_the_readme() -> None:
    found = [shlex.join(command) for name, command in commands() if name == "README.md"]
    assert "sh tools/demo.sh" in found and "sh tools/test.sh" in found


@pytest.mark.parametrize("script", ["tools/demo.sh", "tools/test.sh"])
def test_packages_that_a_command_installs_are_named(script: str) -> None:
    source = text(script) or ""
    packages = re.findall(r"ensure_packages ([\w -]+?)(?:;| \|\|)", source)
    assert packages, f"{script} installs nothing"
    wanted = set(packages[0].split())
    assert not {p for p in wanted if f"`{p}`" not in page("README.md")}, "packages that README.md does not name"


# -- what is named -------------------------------------------------------------------------------------------
def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def broken_links(name: str) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(name)) + re.findall(r'src="([^"]+)"', prose(name)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        place = (ROOT / name).parent / path if path else ROOT / name
        if not place.exists():
            yield f"{name}: {target}"
        elif anchor:
            headings = re.findall(r"^#+ (.+)$", prose(place.relative_to(ROOT).as_posix()), re.MULTILINE)
            if anchor not in {slug(h) for h in headings}:
                yield f"{name}: {target} (no such heading)"


def missing_files(name: str) -> Iterator[str]:
    """Names in `code` that look like files or folders of this checkout and are not."""
    leaves = {n.rsplit("/", 1)[-1] for n in files()}
    for word in re.findall(r"(?<!`)`([\w./-]+)`(?!`)", prose(name)):
        if "/" in word and not word.startswith("/"):
            if not (ROOT / word).exists() and not ((ROOT / name).parent / word).exists():
                yield f"{name}: {word}"
        elif word.endswith(SUFFIXES) and word.strip(".") not in {s.strip(".") for s in SUFFIXES} and word not in leaves:
            yield f"{name}: {word}"


@pytest.mark.parametrize("name", pages())
def test_links_and_files_exist(name: str) -> None:
    none_of([*broken_links(name), *missing_files(name)], "links and names that lead nowhere")


@pytest.mark.parametrize("name", pages())
def test_variables_are_settings(name: str) -> None:
    known = {entry.variable for entry in settings.TABLE} | SHELL_VARIABLES
    used = set(re.findall(r"\bRASPTORCH_[A-Z][A-Z_]*", page(name)))
    none_of(used - known, f"{name} names variables that nothing reads")


def test_the_tree_of_the_design_is_current() -> None:
    source = page(documents.DESIGN)
    assert documents.with_tree(source) == source, "run `python -m tests.project.documents`"


def test_statistics_are_all_described() -> None:
    described = re.findall(r"^\| `(\w+)` \|", section(documents.DESIGN, "Statistics"), re.MULTILINE)
    assert described == [f.name for f in fields(Statistics)]


def test_errors_are_all_described() -> None:
    described = set(re.findall(r"^\| `(\w+)` \|", section(documents.DESIGN, "Errors"), re.MULTILINE))
    tree = ast.parse(text("runtime/errors.py") or "")
    assert described == {n.name for n in tree.body if isinstance(n, ast.ClassDef)} - {errors.RasptorchError.__name__}


def section(name: str, title: str) -> str:
    """The text below a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", prose(name), re.DOTALL | re.MULTILINE)
    assert found, f"{name} has no section {title}"
    return found[1]


# -- the tools of this file ----------------------------------------------------------------------------------
def test_a_wrong_output_is_noticed() -> None:
    block, after = Block("python", "print(1)\n", 3), Block("text", "2\n", 6)
    printed = documents.output_of("README.md", block, {})
    with pytest.raises(AssertionError, match=r"README\.md:3 prints"):
        documents.compare("README.md", block, after, printed)
    with pytest.raises(AssertionError, match="no text block follows"):
        documents.compare("README.md", block, None, printed)
    documents.compare("README.md", block, Block("text", "...\n", 6), printed)


def test_an_edit_needs_its_place_once(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\ny = 2\ny = 2\n", "utf-8")
    documents.edit(Block("diff", "--- a.py\n x = 1\n+z = 3\n", 1), tmp_path)
    assert (tmp_path / "a.py").read_text("utf-8") == "x = 1\nz = 3\ny = 2\ny = 2\n"
    with pytest.raises(AssertionError, match="2 times"):
        documents.edit(Block("diff", "--- a.py\n y = 2\n+z = 3\n", 1), tmp_path)


def test_a_block_may_await() -> None:
    source = "import trio\nawait trio.sleep(0)\nprint('slept')\n"
    assert documents.output_of("README.md", Block("python", source, 1), {}) == "slept\n"
