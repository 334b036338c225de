"""The shaders of convolutions, pooling, resampling and repetition, judged by ``spirv-val``, and the division they count with."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rasptorch.runtime import dtype as dt
from rasptorch.runtime.command import Program, step
from rasptorch.runtime.division import division
from rasptorch.runtime.dtype import DType
from rasptorch.runtime.plan.resampling import AREA, CORNERS, CUBIC, CUBIC_CORNERS, LINEAR, NEAREST, NEAREST_EXACT
from rasptorch.runtime.vulkan import convolution, pooling, repeats, resampling
from rasptorch.runtime.vulkan.access import Abilities, texel_formats
from rasptorch.runtime.vulkan.convolution_tiles import ConvTile
from rasptorch.runtime.vulkan.descriptors import NO_FORMAT
from tests.support.spirv import Check

EVERYTHING = Abilities(storage8=True, storage16=True, int64=True, preserve_nan=True)
LEAST = Abilities(storage8=False, storage16=False, int64=False, preserve_nan=False)
FLOATS = (dt.float32, dt.float16, dt.bfloat16)


def format_of(dtype: DType, texels: bool) -> int:
    formats = texel_formats(dtype)
    return formats[0] if texels and formats is not None else NO_FORMAT


@pytest.mark.parametrize("dtype", [*FLOATS, dt.float64], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("abilities", [EVERYTHING, LEAST], ids=["everything", "least"])
def test_convolutions_are_valid(dtype: DType, abilities: Abilities, valid: Check) -> None:
    wide = dt.float32 if dtype in (dt.float16, dt.bfloat16) else dtype
    plain = Program((wide,), (), (), (0,))
    after = Program((dtype, dtype), (dtype,), (step("add", dtype, (0, 1)), step("mul", dtype, (3, 2))), (3, 4))
    for bordered, phased, swapped, texels in itertools.product((False, True), repeat=4):
        format_ = format_of(dtype, texels)
        for height, steps, fixed, partial in ((1, 1, True, False), (6, 4, False, False), (16, 3, True, True)):
            if partial and phased:
                continue  # what is divided into phases is never shared
            tile = ConvTile(height, steps, fixed, bordered, phased, swapped, partial)
            epilogue, bindings = (plain, (0, 1, 2)) if partial else (after, (0, 1, 2, 3, 2))
            key = convolution.ConvKey(tile, 8, dtype, epilogue, bindings, (format_, format_), partial)
            valid(convolution.emit(key, abilities))


@pytest.mark.parametrize("dtype", [*FLOATS, dt.float64], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("abilities", [EVERYTHING, LEAST], ids=["everything", "least"])
def test_pooling_and_resampling_are_valid(dtype: DType, abilities: Abilities, valid: Check) -> None:
    for texels in (False, True):
        format_, numbers = format_of(dtype, texels), format_of(dt.int32, texels)
        for shader in (pooling.FORWARD, pooling.BACK, pooling.PICK, pooling.SHARE, pooling.JOIN):
            formats = (format_,) if shader in (pooling.FORWARD, pooling.SHARE) else (format_, numbers)
            bindings = (0, 1, 2, 3) if shader == pooling.JOIN else (0, 1, 2)
            valid(pooling.emit(pooling.PoolKey(shader, dtype, bindings, formats), abilities))
        modes = (NEAREST, NEAREST_EXACT, LINEAR, CORNERS, CUBIC, CUBIC_CORNERS, AREA)
        for mode, adjoint, shared in itertools.product(modes, (False, True), (False, True)):
            key = resampling.ResampleKey(dtype, mode, adjoint, shared, (0, 1), (format_,))
            valid(resampling.emit(key, abilities))


@pytest.mark.parametrize("abilities", [EVERYTHING, LEAST], ids=["everything", "least"])
def test_repetition_is_valid(abilities: Abilities, valid: Check) -> None:
    for bindings in ((0, 1), (0, 0)):
        valid(repeats.emit(repeats.RepeatKey(bindings), abilities))


def test_division_is_exact() -> None:
    near = np.arange(-3, 4, dtype=np.int64)
    for divisor in (*range(1, 70), 127, 128, 129, 1000, 65_535, 65_536, 65_537, 12_345_678, (1 << 30) + 1, (1 << 31) - 1):
        multiples = np.arange(0, (1 << 31) // divisor + 1, max(1, (1 << 31) // divisor // 1000), dtype=np.int64) * divisor
        numbers = np.unique((multiples[:, None] + near).clip(0, (1 << 31) - 1)).astype(np.uint64)
        _, multiplier, shift = division(divisor)
        assert multiplier < 1 << 32
        found = numbers * np.uint64(multiplier) >> np.uint64(32) >> np.uint64(shift) if divisor > 1 else numbers
        assert np.array_equal(found, numbers // np.uint64(divisor)), divisor
