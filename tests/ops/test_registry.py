"""No public operation goes untested: every name is in the comparison table or used by a test of this folder."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
import torch

import rasptorch as rt
from rasptorch import ops
from rasptorch.ops import methods
from rasptorch.ops.elementwise import REGISTRY
from tests.support.compare import assert_close

from . import exemptions, table, test_errors, value_cases, variants

HERE = Path(__file__).parent
FOLDERS = (HERE, HERE.parent / "autograd")


@cache
def used_names() -> frozenset[str]:
    """Attributes and method names (also as strings, for parametrised tests) in the tests of operations and
    autograd.
    """
    found: set[str] = set()
    for folder in FOLDERS:
        for path in folder.glob("*.py"):
            if path.name == Path(__file__).name:
                continue
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Attribute):
                    found.add(node.attr)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                    found.add(node.value)
    return frozenset(found)


def in_tables() -> set[str]:
    cases = {case.name for case in table.CASES} | set(methods.ALIASES)  # test_other_names
    return cases | {*table.PREDICATES, *table.COMPARISONS, *table.LOGICAL, *table.BITWISE, *table.BITS, *table.NO_GRADIENT}


def test_every_function_is_tested() -> None:
    untested = sorted(set(ops.__all__) - in_tables() - used_names())
    assert not untested, f"operations without a test: {', '.join(untested)}"


# What Python calls for us when tests use operators, `for`, `len` and the like.
BY_SYNTAX = {
    "__add__", "__sub__", "__mul__", "__truediv__", "__floordiv__", "__mod__", "__pow__", "__radd__", "__rsub__",
    "__rmul__", "__rtruediv__", "__rfloordiv__", "__rmod__", "__rpow__", "__iadd__", "__isub__", "__imul__",
    "__itruediv__", "__ifloordiv__", "__imod__", "__ipow__", "__matmul__", "__neg__", "__abs__", "__eq__", "__ne__",
    "__lt__", "__le__", "__gt__", "__ge__", "__and__", "__or__", "__xor__", "__lshift__", "__rshift__",
    "__rand__", "__ror__", "__rxor__", "__rlshift__", "__rrshift__", "__iand__", "__ior__", "__ixor__", "__ilshift__",
    "__irshift__", "__invert__", "__getitem__", "__setitem__", "__len__",
    "__iter__", "__hash__", "__init__", "__repr__", "__format__", "__float__", "__int__", "__index__", "__bool__",
    "__array__", "__reduce__", "__deepcopy__", "__new__",
}  # fmt: skip


def test_every_method_is_tested() -> None:
    inherited = set(dir(object)) | {"__module__", "__weakref__", "__annotations__", "__slots__", *rt.Tensor.__slots__}
    names = {name for name in vars(rt.Tensor) if name not in inherited and not (name[0] == "_" and name[1] != "_")}
    elementwise = {*methods.UNARY, *methods.BINARY, *methods.ALIASES}
    in_place = {name + "_" for name in elementwise}  # test_unary_in_place, test_binary_in_place, test_other_names
    untested = sorted(names - in_tables() - used_names() - in_place - BY_SYNTAX)
    assert not untested, f"methods without a test: {', '.join(untested)}"


def test_every_elementwise_operation_is_in_the_tables() -> None:
    unary = {*table.UNARY, *table.STEPS, *table.PREDICATES, *table.BITS}
    binary = {*table.BINARY, *table.COMPARISONS, *table.LOGICAL, *table.BITWISE, *table.NO_GRADIENT}
    assert set(methods.UNARY) <= unary, "what test_elementwise.py and test_bits.py run over"
    assert set(methods.BINARY) <= binary, "what test_elementwise.py and test_bits.py run over"


def test_functions_and_methods_of_one_name_are_one_operation() -> None:
    for name, operation in {**methods.UNARY, **methods.BINARY}.items():
        assert getattr(rt, name) is operation


# What is proved of an operation, by which test: each runs over the tables on host, lavapipe and SwiftShader.
EVERYWHERE = {
    "test_gradients.py": ("test_values_and_gradients_are_pytorchs",),
    "test_elementwise.py": (
        "test_unary_special_values", "test_unary_layouts", "test_binary_special_values", "test_binary_layouts", "test_broadcasting",
    ),
    "test_layouts.py": ("test_values_are_pytorchs",),
}  # fmt: skip


def test_every_function_meets_other_layouts_and_special_values() -> None:
    """`variants.py` derives them from the cases, so a case is all that it takes."""
    public, derived = set(ops.__all__), set(variants.NAMES)
    missing = sorted(public - derived - set(exemptions.OUTSIDE) - set(methods.ALIASES))
    assert not missing, f"operations without a case: {', '.join(missing)}"
    stale = sorted(set(exemptions.OUTSIDE) & derived | set(exemptions.OUTSIDE) - public)
    assert not stale, f"exempt, and yet a case or no operation: {', '.join(stale)}"


@pytest.mark.parametrize("kind", variants.KINDS)
def test_every_operation_has_variants(kind: str) -> None:
    several = {case.name for case in (*table.CASES, *value_cases.VALUES) if len(case.inputs) > 1}
    asked = several if kind == "broadcast" else set(variants.NAMES)
    lacking = {name for name in asked if all(variant.kind != kind for variant in variants.variants(name))}
    exempt = set(exemptions.WITHOUT.get(kind, ()))
    assert not lacking - exempt, f"operations that are not tried with {kind} inputs: {', '.join(sorted(lacking - exempt))}"
    assert not exempt - lacking, f"exempt, and yet tried: {', '.join(sorted(exempt - lacking))}"


def test_what_is_compared_by_value_alone_has_no_gradient() -> None:
    checked = {case.name for case in table.CASES}
    unchecked = set()
    for case in value_cases.VALUES:
        inputs = [torch.rand(shape, dtype=torch.float64).requires_grad_() for shape, _, _ in case.inputs]
        made = case.run(torch, *inputs)
        if case.name not in checked and isinstance(made, torch.Tensor) and made.requires_grad:
            unchecked.add(case.name)
    assert unchecked == set(exemptions.UNCHECKED), unchecked ^ set(exemptions.UNCHECKED)


def test_what_differs_from_pytorch_on_purpose_differs() -> None:
    every = {variant.id: variant for name in variants.NAMES for variant in variants.variants(name)}
    for name, reason in exemptions.UNLIKE.items():
        try:
            assert_close(every[name].run(rt, "cpu"), variants.expected(every[name]))
        except (AssertionError, rt.RasptorchError, IndexError):
            continue
        pytest.fail(f"{name} equals PyTorch's, though it is exempt: {reason}")
    assert set(exemptions.EITHER_ZERO) <= set(variants.NAMES)


def test_the_tables_are_run_on_every_driver() -> None:
    for file, names in EVERYWHERE.items():
        functions = {f.name: f for f in ast.parse((HERE / file).read_text("utf-8")).body if isinstance(f, ast.FunctionDef)}
        for name in names:
            marks = [ast.unparse(mark) for mark in functions[name].decorator_list]
            assert "pytest.mark.every_driver" in marks, f"{file}: {name}"


def test_every_differentiable_operation_is_a_case() -> None:
    """A case is compared with PyTorch and with central differences; ``second`` of each says whether that is promised too."""
    elementwise = {name for name, operation in REGISTRY.items() if operation.gradient is not None and name not in table.NO_GRADIENT}
    missing = sorted(elementwise - {case.name for case in table.CASES})
    assert not missing, f"operations with a gradient that is compared with nothing: {', '.join(missing)}"
    twice = {case.name for case in table.CASES if case.second}
    once_is_all = {"sign", "floor", "ceil", "round", "trunc", "neg", "abs", "relu", "maximum", "minimum", "add", "sub", "remainder", "fmod"}
    once_is_all |= {"clamp_min", "clamp_max"}  # nothing, or a constant, is left to differentiate
    assert elementwise - once_is_all <= twice, sorted(elementwise - once_is_all - twice)


def test_the_errors_of_every_operation_are_tested() -> None:
    assert {*test_errors.TWO, *test_errors.OVER, *test_errors.REFUSED} >= {*methods.BINARY, "sum", "matmul", "cat", "softmax"}
    test_errors.test_every_operation_is_in_a_table()
