"""Every case with other layouts, no elements, no dimensions and special values, against PyTorch on every driver."""

from __future__ import annotations

import pytest

import rasptorch as rt
from tests.support.compare import assert_close

from .exemptions import EITHER_ZERO, UNLIKE
from .variants import NAMES, expected, variants


@pytest.mark.every_driver
@pytest.mark.parametrize("name", NAMES)
def test_values_are_pytorchs(name: str, device: str) -> None:
    for variant in variants(name):
        if variant.id not in UNLIKE:
            assert_close(variant.run(rt, device), expected(variant), signed_zeros=name not in EITHER_ZERO, what=variant.id)
