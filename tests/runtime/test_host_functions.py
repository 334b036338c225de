"""The host driver's opcodes against PyTorch in float64, Python's own integers, and published vectors."""

from __future__ import annotations

import itertools
import math
import operator
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from rasptorch.runtime import dtype as dtypes
from rasptorch.runtime.division import quotient_numbers
from rasptorch.runtime.dtype import DType
from rasptorch.runtime.errors import DTypeError
from rasptorch.runtime.host.functions import function, load, narrow, register_dtype, store
from rasptorch.runtime.opcodes import OPCODES

Array = np.ndarray[Any, np.dtype[Any]]

LETTERS = "bif"  # by DType.category
INTEGERS = (dtypes.uint8, dtypes.int32, dtypes.int64)
FLOATS = (dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64)
MADE_BY_CALLER = {"index", "check_index", "lookup"}


@pytest.fixture(autouse=True)
def _as_the_driver_calls() -> Iterator[None]:
    """The caller's promise (floating-point errors ignored), and every other warning an error."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def results(opcode: str, operands: DType) -> tuple[DType, ...]:
    gives = OPCODES[opcode].gives
    if gives == "any":
        return dtypes.ALL
    return (operands,) if gives == "same" else (dtypes.BY_NAME[gives],)


def accepts(opcode: str, operands: DType) -> bool:
    if opcode in ("philox", "quotient", "unit_uniform"):
        return operands is dtypes.int32
    return LETTERS[operands.category] in OPCODES[opcode].takes


CASES = [
    pytest.param(opcode, operands, result, id=f"{opcode}-{operands.name}-{result.name}")
    for opcode in OPCODES
    if opcode not in MADE_BY_CALLER
    for operands in dtypes.ALL
    if accepts(opcode, operands)
    for result in results(opcode, operands)
]


def values(dtype: DType) -> Array:
    """Registers of the awkward values and some ordinary ones, all of them representable in ``dtype``."""
    if dtype is dtypes.bool_:
        return np.array([False, True])
    if dtype.category == 1:
        info = np.iinfo(dtype.numpy)
        low = [info.min, info.min + 1, -64, -33, -32, -7, -3, -2, -1] if dtype.is_signed else []
        high = [0, 1, 2, 3, 5, 7, 8, 31, 32, 33, 63, 64, 65, 100, info.max - 1, info.max]
        return np.array(low + high, dtype.numpy)
    finite = [0.0, 0.1, 0.25, 0.5, 0.9, 1.0, 1.5, 2.0, 2.5, 3.0, 3.25, 7.0, 20.0, 88.5, 100.0, 1e4]
    kind = register_dtype(dtype)
    extremes = [np.finfo(kind).tiny, np.finfo(kind).smallest_subnormal, np.finfo(kind).max, 1e-20, 1e20]
    positive = np.array([*finite, *extremes, np.inf, np.nan], kind)
    register = np.concatenate((positive, -positive))
    narrow(dtype, register)
    return register


def operands_of(opcode: str, dtype: DType) -> list[Array]:
    """Every combination of the values, as one array per operand."""
    arity = OPCODES[opcode].arity
    if opcode == "philox":
        index = np.array([0, 1, 2, 3, 4, 7, 1001, 2**31 - 1], np.int32)
        word = np.array([0, 1, -1, 2**31 - 1, -(2**31)], np.int32)
        columns = [index, word, word, word]
    elif opcode == "quotient":
        numbers = np.array([0, 1, 2, 6, 7, 8, 1000, 2**24 + 1, 2**31 - 1], np.int32)
        divisors = np.array([quotient_numbers(d) for d in (1, 2, 3, 7, 1000, 65537, 2**30 + 1, 2**31 - 1)], np.int32)
        return [np.repeat(numbers, len(divisors)), *np.tile(divisors, (len(numbers), 1)).T.copy()]
    elif opcode == "where":
        columns = [np.array([False, True]), values(dtype), values(dtype)]
    else:
        columns = [values(dtype)] * arity
    return [grid.reshape(-1).copy() for grid in np.meshgrid(*columns, indexing="ij")]


def compute(opcode: str, dtype: DType, result: DType, *operands: Any) -> Array:
    shape = np.broadcast_shapes(*(np.shape(operand) for operand in operands))
    out = np.full(shape, 77, register_dtype(result))
    function(opcode, dtype, result)(*operands, out)
    return out


def assert_same_bits(got: Array, expected: Array) -> None:
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    nan = np.isnan(got) if got.dtype.kind == "f" else np.zeros(got.shape, bool)
    if got.dtype.kind == "f":
        np.testing.assert_array_equal(nan, np.isnan(expected))
    np.testing.assert_array_equal(got[~nan].view(np.uint8), expected[~nan].view(np.uint8))


def assert_close(got: Array, expected: Array, tolerance: float, *, sign_of_zero: bool = True) -> None:
    """Relative error to float64 values; infinite and NaN where they are, rounded to ``got``'s dtype.

    Results too small for a normal number may be off by as much as the smallest one.
    """
    rounded = expected.astype(got.dtype)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(rounded))
    np.testing.assert_array_equal(np.isinf(got) & (got > 0), np.isposinf(rounded))
    np.testing.assert_array_equal(np.isinf(got) & (got < 0), np.isneginf(rounded))
    finite = np.isfinite(rounded)
    error = np.abs(got[finite].astype(np.float64) - expected[finite])
    allowed = tolerance * np.abs(expected[finite]) + np.finfo(got.dtype).tiny * (expected[finite] != 0)
    worst = int(np.argmax(error - allowed)) if error.size else 0
    assert (error <= allowed).all(), (got[finite][worst], expected[finite][worst])
    if sign_of_zero:
        zero = expected == 0
        np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(expected[zero]))


# which opcodes and dtypes there are


def test_every_opcode_is_there_for_the_dtypes_it_takes_and_no_others() -> None:
    for opcode, operands, result in itertools.product(OPCODES, dtypes.ALL, dtypes.ALL):
        if opcode in MADE_BY_CALLER:
            with pytest.raises(KeyError, match="caller"):
                function(opcode, operands, result)
        elif accepts(opcode, operands) and result in results(opcode, operands):
            assert function(opcode, operands, result) is function(opcode, operands, result)
        else:
            with pytest.raises(DTypeError, match=opcode):
                function(opcode, operands, result)
    with pytest.raises(KeyError):
        function("no such opcode", dtypes.int32, dtypes.int32)


# how results are written: for every opcode and dtype


@pytest.mark.parametrize(("opcode", "operands", "result"), CASES)
def test_out_may_be_any_operand(opcode: str, operands: DType, result: DType) -> None:
    given = operands_of(opcode, operands)
    expected = compute(opcode, operands, result, *given)
    for position, operand in enumerate(given):
        if operand.dtype != register_dtype(result):
            continue
        for same_object in (True, False):  # or another one on the same memory
            copies = [g.copy() for g in given]
            out = copies[position] if same_object else copies[position][:]
            function(opcode, operands, result)(*copies, out)
            assert_same_bits(copies[position], expected)
            for other, copy in enumerate(copies):
                if other != position:
                    assert_same_bits(copy, given[other])


@pytest.mark.parametrize(("opcode", "operands", "result"), CASES)
def test_all_operands_and_out_may_be_one_array(opcode: str, operands: DType, result: DType) -> None:
    given = operands_of(opcode, operands)
    first = given[0]
    if any(g.dtype != register_dtype(result) for g in given):
        return  # one array cannot be all of them
    expected = compute(opcode, operands, result, *(first for _ in given))
    function(opcode, operands, result)(*(first for _ in given), first)
    assert_same_bits(first, expected)


@pytest.mark.parametrize(("opcode", "operands", "result"), CASES)
def test_operands_broadcast_and_may_have_strides(opcode: str, operands: DType, result: DType) -> None:
    given = [g[::-7][:60] for g in operands_of(opcode, operands)]
    expected = compute(opcode, operands, result, *given)
    strided = [np.repeat(g, 2)[::2] for g in given]
    out = np.zeros(2 * expected.size, expected.dtype)[1::2]
    function(opcode, operands, result)(*strided, out)
    assert_same_bits(out.copy(), expected)
    for element in range(0, expected.size, 11):
        for position in range(len(given)):
            # One operand a NumPy scalar, the others a 0-d array or a row of one: a value has one result.
            row = [g[element : element + 1] for g in given]
            row[position] = given[position][element]
            one = np.zeros(1, expected.dtype)
            function(opcode, operands, result)(*row, one)
            zero_d = np.zeros((), expected.dtype)
            function(opcode, operands, result)(*(np.array(g[element]) for g in given), zero_d)
            assert_close_enough_to_one(one, expected[element])
            assert_close_enough_to_one(zero_d, expected[element])


def assert_close_enough_to_one(got: Array, expected: Any) -> None:
    """NumPy's vectorised and scalar loops may differ in the last place, and in a maximum's sign of zero."""
    if got.dtype.kind != "f":
        assert got == expected
    else:
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=np.finfo(got.dtype).tiny)


# floating point


def sign(x: torch.Tensor) -> torch.Tensor:
    return torch.where(torch.isnan(x), x, torch.sign(x))


def each(compute_one: Callable[..., float]) -> Callable[..., torch.Tensor]:
    """Python's arithmetic over tensors, where PyTorch is no oracle.

    Its vectorised ``fmod`` gives NaN for enormous quotients and its ``log1p`` flushes subnormal numbers to 0.
    """

    def one(*row: float) -> float:
        try:
            return compute_one(*row)
        except (ValueError, ZeroDivisionError):
            return math.nan

    def over(*tensors: torch.Tensor) -> torch.Tensor:
        rows = zip(*(t.tolist() for t in tensors), strict=True)
        return torch.tensor([one(*row) for row in rows], dtype=torch.float64)

    return over


TORCH: dict[str, Callable[..., torch.Tensor]] = {
    **{
        name: getattr(torch, name)
        for name in OPCODES
        if hasattr(torch, name) and OPCODES[name].gives == "same"
    },
    "neg": torch.neg,
    "sign": sign,
    "fmod": each(math.fmod),
    "remainder": each(operator.mod),
    "log1p": each(lambda a: -math.inf if a == -1 else math.log1p(a)),
    "copy": torch.clone,
}
COMPARISONS = {name: getattr(torch, name) for name in OPCODES if OPCODES[name].gives == "bool"}
ANY_ZERO = {"maximum", "minimum", "relu"}  # which zero is the larger one is left open
FLOAT_OPCODES = [
    name for name, spec in OPCODES.items() if name not in MADE_BY_CALLER and "f" in spec.takes and spec.gives == "same"
]


def in_float64(opcode: str, operands: list[Array]) -> Array:
    tensors = [torch.from_numpy(g if g.dtype == bool else g.astype(np.float64)) for g in operands]
    return np.asarray(TORCH[opcode](*tensors))


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("opcode", FLOAT_OPCODES)
def test_floats_of_every_kind(opcode: str, dtype: DType) -> None:
    operands = operands_of(opcode, dtype)
    got = compute(opcode, dtype, dtype, *operands)
    tolerance = 1e-14 if dtype is dtypes.float64 else 1e-6
    assert_close(got, in_float64(opcode, operands), tolerance, sign_of_zero=opcode not in ANY_ZERO)


DOMAINS = {  # elsewhere: everything between -20 and 20, and magnitudes of 1e-30 to 1e30
    **dict.fromkeys(("asin", "acos"), (-1.0, 1.0)),
    **dict.fromkeys(("exp", "expm1", "sinh", "cosh", "sigmoid"), (-88.0, 88.0)),
    **dict.fromkeys(("sin", "cos", "tan"), (-1000.0, 1000.0)),
    **dict.fromkeys(("log", "log2", "log10", "log1p"), (0.0, 4.0)),
    "erf": (-4.5, 4.5),
}


@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64], ids=lambda d: d.name)
@pytest.mark.parametrize("opcode", [name for name in FLOAT_OPCODES if OPCODES[name].arity == 1])
def test_accuracy_over_the_domain(opcode: str, dtype: DType) -> None:
    random = np.random.default_rng(7)
    wide = 10.0 ** random.uniform(-30, 30, 5000) * random.choice([-1.0, 1.0], 5000)
    x = np.concatenate((random.uniform(*DOMAINS.get(opcode, (-20.0, 20.0)), 40_000), wide))
    x = x.astype(dtype.numpy)
    expected = in_float64(opcode, [x])
    assert_close(compute(opcode, dtype, dtype, x), expected, 2e-15 if dtype is dtypes.float64 else 1e-6)


@pytest.mark.parametrize("opcode", [name for name in FLOAT_OPCODES if OPCODES[name].arity == 2])
def test_accuracy_of_two_operands(opcode: str) -> None:
    random = np.random.default_rng(8)
    x, y = random.uniform(-50, 50, (2, 40_000)).astype(np.float32)
    x = np.abs(x) if opcode == "pow" else x
    got = compute(opcode, dtypes.float32, dtypes.float32, x, y)
    assert_close(got, in_float64(opcode, [x, y]), 1e-6)


def test_erf_of_float64_against_the_standard_library() -> None:
    x = np.concatenate((np.linspace(-6.5, 6.5, 20_001), np.geomspace(1e-300, 1, 2000)))
    expected = np.array([math.erf(v) for v in x])
    got = compute("erf", dtypes.float64, dtypes.float64, x)
    np.testing.assert_allclose(got, expected, rtol=2e-15, atol=0)
    assert np.abs(got).max() == 1.0


def test_erf_of_float32_never_passes_one() -> None:
    bits = np.arange(0x40400000, 0x40A00000, 3, dtype=np.uint32)  # 3 to 5
    got = compute("erf", dtypes.float32, dtypes.float32, bits.view(np.float32))
    assert got.max() == 1.0
    assert got.min() > 0.9999


def test_sigmoid_far_out() -> None:
    x = np.array([-1e4, -100, 0, 100, 1e4], np.float32)
    expected = np.array([0, 0, 0.5, 1, 1], np.float32)
    np.testing.assert_array_equal(compute("sigmoid", dtypes.float32, dtypes.float32, x), expected)


def test_floor_division_of_floats_follows_python() -> None:
    a, b = operands_of("floor_divide", dtypes.float64)
    usable = np.isfinite(a) & np.isfinite(b) & (b != 0)
    a, b = a[usable], b[usable]
    expected = np.array([p // q for p, q in zip(a.tolist(), b.tolist(), strict=True)])
    assert_same_bits(compute("floor_divide", dtypes.float64, dtypes.float64, a, b), expected)


@pytest.mark.parametrize(
    ("opcode", "dtype"),
    [
        pytest.param(opcode, dtype, id=f"{opcode}-{dtype.name}")
        for opcode, dtype in itertools.product(COMPARISONS, dtypes.ALL)
        if accepts(opcode, dtype)
    ],
)
def test_comparison_and_logic(opcode: str, dtype: DType) -> None:
    operands = operands_of(opcode, dtype)
    expected = np.asarray(COMPARISONS[opcode](*map(torch.from_numpy, operands)))
    assert_same_bits(compute(opcode, dtype, dtypes.bool_, *operands), expected)


# integers: Python's, wrapped


def wrap(value: int, dtype: DType) -> int:
    bits = 8 * dtype.itemsize
    value %= 1 << bits
    return value - (1 << bits) if dtype.is_signed and value >> (bits - 1) else value


def divided(a: int, b: int) -> int:
    return a // b if b else 0


def power(a: int, b: int) -> int:
    if b < 0:
        return (a if b % 2 else 1) if a in (1, -1) else 0
    return pow(a, b, 1 << 64)


def truncated_remainder(a: int, b: int) -> int:
    return (abs(a) % abs(b)) * (-1 if a < 0 else 1) if b else 0


def shifted_left(a: int, b: int, bits: int) -> int:
    return a << b if 0 <= b < bits else 0


def shifted_right(a: int, b: int, bits: int) -> int:
    return a >> b if 0 <= b < bits else -(a < 0)


PYTHON: dict[str, Callable[..., int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floor_divide": divided,
    "remainder": lambda a, b: a - divided(a, b) * b if b else 0,
    "fmod": truncated_remainder,
    "pow": power,
    "maximum": max,
    "minimum": min,
    "neg": lambda a: -a,
    "abs": abs,
    "sign": lambda a: (a > 0) - (a < 0),
    "relu": lambda a: max(a, 0),
    "bitwise_and": lambda a, b: a & b,
    "bitwise_or": lambda a, b: a | b,
    "bitwise_xor": lambda a, b: a ^ b,
    "bitwise_not": lambda a: ~a,
    "copy": lambda a: a,
    "where": lambda c, a, b: a if c else b,
}
INTEGER_OPCODES = [
    name for name, spec in OPCODES.items() if name not in MADE_BY_CALLER and "i" in spec.takes and spec.gives == "same"
]


@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda d: d.name)
@pytest.mark.parametrize("opcode", INTEGER_OPCODES)
def test_integers(opcode: str, dtype: DType) -> None:
    operands = operands_of(opcode, dtype)
    rows = zip(*(g.tolist() for g in operands), strict=True)
    if opcode.startswith("shift"):
        shift, bits = (shifted_left if opcode == "shift_left" else shifted_right), 8 * dtype.itemsize
        expected = [wrap(shift(a, b, bits), dtype) for a, b in rows]
    else:
        expected = [wrap(PYTHON[opcode](*row), dtype) for row in rows]
    assert_same_bits(compute(opcode, dtype, dtype, *operands), np.array(expected, dtype.numpy))


@pytest.mark.parametrize("opcode", ["maximum", "minimum", "copy", "where"])
def test_booleans(opcode: str) -> None:
    operands = operands_of(opcode, dtypes.bool_)
    rows = zip(*(g.tolist() for g in operands), strict=True)
    expected = np.array([PYTHON[opcode](*row) for row in rows])
    assert_same_bits(compute(opcode, dtypes.bool_, dtypes.bool_, *operands), expected)


# casts and storage


def in_range(x: Array, target: DType) -> Array:
    """Where truncating gives a value the integer type has; the others are unspecified."""
    info = np.iinfo(target.numpy)
    return np.isfinite(x) & (np.trunc(x) >= float(info.min)) & (np.trunc(x) < float(info.max))


@pytest.mark.parametrize("target", dtypes.ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("source", dtypes.ALL, ids=lambda d: d.name)
def test_cast(source: DType, target: DType) -> None:
    x = values(source)
    if source.is_floating_point and target.category == 1:
        compute("cast", source, target, x)  # the whole, for the warnings
        x = x[in_range(x, target)]
    converted = torch.from_numpy(x.copy()).to(getattr(torch, target.name))
    if target in (dtypes.float16, dtypes.bfloat16):
        converted = converted.float()
    assert_same_bits(compute("cast", source, target, x), np.asarray(converted))


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=lambda d: d.name)
def test_what_is_stored_is_loaded_again(dtype: DType) -> None:
    register = values(dtype)
    stored = np.empty(register.shape, dtype.numpy)
    store(dtype, register, stored)
    loaded = load(dtype, stored)
    assert loaded.dtype == register_dtype(dtype)
    assert_same_bits(loaded.copy(), register)
    store(dtype, register[-1], stored[::2])  # a scalar spreads, strides are kept
    np.testing.assert_array_equal(load(dtype, stored[::2]), np.full(stored[::2].shape, register[-1]))
    square = np.tile(stored, (2, 1)).T
    assert_same_bits(np.ascontiguousarray(load(dtype, square)[:, 1]), load(dtype, stored).copy())


def all_float32_near_bfloat16() -> Array:
    """Every bfloat16 with lower halves on both sides of, and at, the middle; every NaN among them."""
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    return (upper[:, None] | lower).reshape(-1).view(np.float32)


@pytest.mark.parametrize("dtype", [dtypes.float16, dtypes.bfloat16], ids=lambda d: d.name)
def test_storing_rounds_as_pytorch(dtype: DType) -> None:
    register = all_float32_near_bfloat16()
    before = register.copy()
    expected = torch.from_numpy(register.copy()).to(getattr(torch, dtype.name)).float().numpy()
    stored = np.empty(register.shape, dtype.numpy)
    store(dtype, register, stored)
    assert_same_bits(register.view(np.uint32), before.view(np.uint32))
    assert_same_bits(load(dtype, stored), expected)
    narrow(dtype, register)
    assert_same_bits(register, expected)


@pytest.mark.parametrize("dtype", [d for d in dtypes.ALL if d not in (dtypes.float16, dtypes.bfloat16)])
def test_narrow_leaves_the_others_alone(dtype: DType) -> None:
    register = values(dtype)
    narrow(dtype, register)
    assert_same_bits(register, values(dtype))


def test_quotient() -> None:
    number, divisor, *others = operands_of("quotient", dtypes.int32)
    assert_same_bits(compute("quotient", dtypes.int32, dtypes.int32, number, divisor, *others), number // divisor)
    for n, *numbers in np.stack([number, divisor, *others], 1).tolist():
        assert (n if numbers[0] == 1 else (n * (numbers[1] % 2**32) >> 32) >> numbers[2]) == n // numbers[0]
