"""docs/coverage.md is what tools/coverage.py writes, and signatures are PyTorch's where the table does not say otherwise."""

from __future__ import annotations

import pytest
import torch

from rasptorch import ops
from tools import coverage


def test_the_page_is_current() -> None:
    assert coverage.PAGE.read_text("utf-8") == coverage.page(torch), "run python tools/coverage.py"


def test_signatures_are_pytorchs() -> None:
    found = {name: coverage.compared(torch, name) for name in ops.__all__ if coverage.documented_somewhere(torch, name)}
    assert len(found) > 150, "PyTorch's documentation is no longer read right"
    differing = {name: text for name, text in found.items() if text and name not in coverage.KNOWN}
    assert not differing, "change these, or say why in tools/coverage.py"
    stale = [name for name in coverage.KNOWN if not found.get(name)]
    assert not stale, "these agree by now: take them out of tools/coverage.py"


def test_what_was_set_out_is_named() -> None:
    for text in coverage.FEATURES.values():
        for name in text.split():
            assert hasattr(torch, name) or hasattr(torch.Tensor, name), name


CASES = [
    ("(input, dim, keepdim=False, *, out=None)", "(input, dim, keepdim=False, *, out=None)", ""),
    ("(input, dim)", "(x, dim)", "no `input`"),
    ("(input, dim, keepdim=False)", "(input, keepdim=False, dim=None)", "`dim` is not argument 2; `keepdim` is not argument 3"),
    ("(input, eps=1e-5)", "(input, eps=1e-6)", "`eps` is 1e-06, not 1e-05"),
    ("(input, eps=1e-5)", "(input, eps)", "`eps` has no default"),
    ("(input, *, layout=torch.strided)", "(input)", ""),
    ("(input, *, dtype: Optional[int] = None) -> Tensor", "(input, *, dtype=None, more=1)", ""),
]


@pytest.mark.parametrize(("theirs", "own", "text"), CASES)
def test_differences_are_found(theirs: str, own: str, text: str) -> None:
    one, other = coverage._arguments(theirs), coverage._arguments(own)
    assert one is not None
    assert other is not None
    assert "; ".join(coverage.differences(one, other)) == text
    assert coverage._arguments("([ 0,  1])") is None
