"""Bad input to every public operation: an error that names the operation, raised at the call, by one mechanical table.

Each operation has a call that works, on a matrix ``x`` and a second one ``y``. The same call is then made with what cannot be a
tensor, with operands of two devices, with shapes that do not fit, and with dimensions that are not there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

import rasptorch as rt
from rasptorch import ops
from rasptorch.ops import methods

Call = Callable[[Any, Any], Any]

BINARY = [name for name in methods.BINARY if name not in ("clamp_min", "clamp_max")]
TWO: dict[str, Call] = {
    **{name: lambda x, y, name=name: getattr(rt, name)(x, y) for name in BINARY},
    "add": lambda x, y: rt.add(x, y),
    "sub": lambda x, y: rt.sub(x, y),
    "div": lambda x, y: rt.div(x, y),
    "rsub": lambda x, y: rt.rsub(x, y),
    "clamp": lambda x, y: rt.clamp(x, y, y),
    "clamp_min": lambda x, y: rt.clamp_min(x, y),
    "clamp_max": lambda x, y: rt.clamp_max(x, y),
    "matmul": lambda x, y: rt.matmul(x, y),
    "mm": lambda x, y: rt.mm(x, y),
    "bmm": lambda x, y: rt.bmm(x[None], y[None]),
    "addmm": lambda x, y: rt.addmm(x, x, y),
    "dot": lambda x, y: rt.dot(x[0], y[0]),
    "vdot": lambda x, y: rt.vdot(x[0], y[0]),
    "mv": lambda x, y: rt.mv(x, y[0]),
    "tensordot": lambda x, y: rt.tensordot(x, y, 1),
    "einsum": lambda x, y: rt.einsum("ij,jk->ik", x, y),
    "where": lambda x, y: rt.where(x > 0, x, y),
    "fmax": lambda x, y: rt.fmax(x, y),
    "fmin": lambda x, y: rt.fmin(x, y),
    "logaddexp2": lambda x, y: rt.logaddexp2(x, y),
    "ldexp": lambda x, y: rt.ldexp(x, y),
    "inner": lambda x, y: rt.inner(x, y),
    "baddbmm": lambda x, y: rt.baddbmm(x, x[None], y[None]),
    "addbmm": lambda x, y: rt.addbmm(x, x[None], y[None]),
    "addmv": lambda x, y: rt.addmv(x[0], x, y[0]),
    "addr": lambda x, y: rt.addr(x, x[0], y[0]),
    "lerp": lambda x, y: rt.lerp(x, y, 0.5),
    "hypot": lambda x, y: rt.hypot(x, y),
    "logaddexp": lambda x, y: rt.logaddexp(x, y),
    "copysign": lambda x, y: rt.copysign(x, y),
    "addcmul": lambda x, y: rt.addcmul(x, x, y),
    "addcdiv": lambda x, y: rt.addcdiv(x, x, y),
    "mul_add_relu": lambda x, y: rt.mul_add_relu(x, x, y),
    "masked_fill": lambda x, y: rt.masked_fill(x, y > 0, 0),
    "cat": lambda x, y: rt.cat([x, y]),
    "stack": lambda x, y: rt.stack([x, y]),
    "isclose": lambda x, y: rt.isclose(x, y),
    "cdist": lambda x, y: rt.cdist(x, y),
    "cross": lambda x, y: rt.cross(x, y),
    "dist": lambda x, y: rt.dist(x, y),
    "gather": lambda x, y: rt.gather(x, 1, rt.argsort(y)),
    "heaviside": lambda x, y: rt.heaviside(x, y),
    "index_add": lambda x, y: rt.index_add(x, 0, rt.argsort(x[0]), y),
    "index_copy": lambda x, y: rt.index_copy(x, 0, rt.argsort(x[0]), y),
    "index_put": lambda x, y: rt.index_put(x, (rt.argsort(x[0]),), y),
    "masked_scatter": lambda x, y: rt.masked_scatter(x, y > 0, y),
    "masked_select": lambda x, y: rt.masked_select(x, y > 0),
    "scatter": lambda x, y: rt.scatter(x, 0, rt.argsort(y), y),
    "scatter_add": lambda x, y: rt.scatter_add(x, 0, rt.argsort(y), y),
    "scatter_reduce": lambda x, y: rt.scatter_reduce(x, 0, rt.argsort(y), y, "sum"),
    "searchsorted": lambda x, y: rt.searchsorted(x, y),
    "take_along_dim": lambda x, y: rt.take_along_dim(x, rt.argsort(y), 1),
    "trapezoid": lambda x, y: rt.trapezoid(x, y),
    "cumulative_trapezoid": lambda x, y: rt.cumulative_trapezoid(x, y),
    "diff": lambda x, y: rt.diff(x, 1, 0, y),
    "xlogy": lambda x, y: rt.xlogy(x, y),
    "max": lambda x, y: rt.max(x, y),
    "min": lambda x, y: rt.min(x, y),
}  # fmt: skip
# What the messages of composed operations may name instead: the operation that met the operands.
ALSO = {
    "mm": "matmul", "bmm": "matmul", "addmm": "matmul|add|mul", "dot": "matmul", "vdot": "dot|matmul", "mv": "matmul",
    "tensordot": "matmul",
    "clamp": "clamp|clamp_min|clamp_max", "where": "where|gt", "lerp": "sub|where|lerp", "hypot": "maximum|hypot|abs",
    "logaddexp": "eq|sub|maximum", "copysign": "where|copysign", "addcmul": "mul|add", "addcdiv": "div|add", "stack": "stack|cat",
    "baddbmm": "matmul", "addbmm": "matmul", "addmv": "matmul|mv", "addr": "add|mul", "inner": "inner|matmul",
    "isclose": "eq|isclose", "rsub": "sub|rsub", "max": "maximum|max", "min": "minimum|min",
}  # fmt: skip
INTEGERS = [name for name in BINARY if name.startswith("bitwise")]
NOT_IN_TWO = {"mm", "bmm", "mv"}

# Functions of one tensor and a dimension.
OVER: dict[str, Call] = {
    **{
        name: lambda x, dim, name=name: getattr(rt, name)(x, dim)
        for name in (
            "sum", "mean", "prod", "amax", "amin", "any", "all", "argmax", "argmin", "var", "std", "logsumexp", "softmax", "log_softmax",
            "cumsum", "cummax", "cummin", "cumprod", "logcumsumexp", "nansum", "nanmean", "count_nonzero",
            "sort", "argsort", "median", "mode", "nanmedian", "flip", "var_mean", "std_mean", "max", "min", "squeeze",
            "unsqueeze", "unbind",
        )
    },
    "diff": lambda x, dim: rt.diff(x, 1, dim),
    "trapezoid": lambda x, dim: rt.trapezoid(x, dim=dim),
    "cumulative_trapezoid": lambda x, dim: rt.cumulative_trapezoid(x, dim=dim),
    "cross": lambda x, dim: rt.cross(x, x, dim),
    "topk": lambda x, dim: rt.topk(x, 1, dim),
    "kthvalue": lambda x, dim: rt.kthvalue(x, 1, dim),
    "nanquantile": lambda x, dim: rt.nanquantile(x, 0.5, dim),
    "quantile": lambda x, dim: rt.quantile(x, 0.5, dim),
    "rot90": lambda x, dim: rt.rot90(x, 1, (0, dim)),
    "index_select": lambda x, dim: rt.index_select(x, dim, rt.argsort(x[0])),
    "index_add": lambda x, dim: rt.index_add(x, dim, rt.argsort(x[0]), x),
    "index_copy": lambda x, dim: rt.index_copy(x, dim, rt.argsort(x[0]), x),
    "index_fill": lambda x, dim: rt.index_fill(x, dim, rt.argsort(x[0]), 1),
    "gather": lambda x, dim: rt.gather(x, dim, rt.argsort(x)),
    "take_along_dim": lambda x, dim: rt.take_along_dim(x, rt.argsort(x), dim),
    "scatter": lambda x, dim: rt.scatter(x, dim, rt.argsort(x), x),
    "scatter_add": lambda x, dim: rt.scatter_add(x, dim, rt.argsort(x), x),
    "scatter_reduce": lambda x, dim: rt.scatter_reduce(x, dim, rt.argsort(x), x, "sum"),
    "aminmax": lambda x, dim: rt.aminmax(x, dim=dim),
    "norm": lambda x, dim: rt.norm(x, 2, dim),
    "flatten": lambda x, dim: rt.flatten(x, 0, dim),
    "unflatten": lambda x, dim: rt.unflatten(x, dim, (1, -1)),
    "transpose": lambda x, dim: rt.transpose(x, 0, dim),
    "permute": lambda x, dim: rt.permute(x, (0, dim)),
    "movedim": lambda x, dim: rt.movedim(x, 0, dim),
    "narrow": lambda x, dim: rt.narrow(x, dim, 0, 1),
    "select": lambda x, dim: rt.select(x, dim, 0),
    "split": lambda x, dim: rt.split(x, 1, dim),
    "chunk": lambda x, dim: rt.chunk(x, 2, dim),
    "diagonal": lambda x, dim: rt.diagonal(x, 0, 0, dim),
    "diag_embed": lambda x, dim: rt.diag_embed(x, 0, 0, dim + 1),
    "roll": lambda x, dim: rt.roll(x, 1, dim),
    "repeat_interleave": lambda x, dim: rt.repeat_interleave(x, 2, dim),
    "cat": lambda x, dim: rt.cat([x, x], dim),
    "stack": lambda x, dim: rt.stack([x, x], dim + 1),
    "tensor_split": lambda x, dim: rt.tensor_split(x, 2, dim),
    "diagonal_scatter": lambda x, dim: rt.diagonal_scatter(x, x[0], 0, 0, dim),
    "select_scatter": lambda x, dim: rt.select_scatter(x, x[0], dim, 0),
    "slice_scatter": lambda x, dim: rt.slice_scatter(x, x, dim),
    "unfold": lambda x, dim: x.unfold(dim, 1, 1),
}  # fmt: skip
OVER_ALSO = {"nansum": "sum", "nanmean": "sum", "count_nonzero": "sum", "norm": "sum", "stack": "stack|cat", "std": "var|std"}

# Operations that have no meaning for whole numbers, or for booleans.
REFUSED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    **{name: ("int64", lambda x, name=name: getattr(rt, name)(x, 0)) for name in ("mean", "nanmean", "softmax", "log_softmax")},
    "norm": ("int64", lambda x: rt.norm(x)),
    "lerp": ("int64", lambda x: rt.lerp(x, x, 0.5)),
    "addcdiv": ("int64", lambda x: rt.addcdiv(x, x, x)),
    "matmul": ("bool", lambda x: rt.matmul(x, x)),
    "neg": ("bool", lambda x: rt.neg(x)),
    "sub": ("bool", lambda x: rt.sub(x, x)),
    "bitwise_and": ("float32", lambda x: rt.bitwise_and(x, x)),
    "bitwise_or": ("float32", lambda x: rt.bitwise_or(x, x)),
    "bitwise_xor": ("float32", lambda x: rt.bitwise_xor(x, x)),
    "bitwise_not": ("float32", lambda x: rt.bitwise_not(x)),
    "bitwise_left_shift": ("float32", lambda x: rt.bitwise_left_shift(x, x)),
    "bitwise_right_shift": ("float32", lambda x: rt.bitwise_right_shift(x, x)),
    "masked_fill": ("int64", lambda x: rt.masked_fill(x, x, 0)),
    "masked_scatter": ("int64", lambda x: rt.masked_scatter(x, x, x)),
    "masked_select": ("int64", lambda x: rt.masked_select(x, x)),
    "median": ("bool", lambda x: rt.median(x)),
    "nanmedian": ("bool", lambda x: rt.nanmedian(x)),
    "nanquantile": ("int64", lambda x: rt.nanquantile(x, 0.5)),
    "quantile": ("int64", lambda x: rt.quantile(x, 0.5)),
    "logcumsumexp": ("int64", lambda x: rt.logcumsumexp(x, 0)),
    "histc": ("int64", lambda x: rt.histc(x)),
    "bincount": ("float32", lambda x: rt.bincount(x[0])),
    "take": ("float32", lambda x: rt.take(x, x)),
    "gather": ("float32", lambda x: rt.gather(x, 0, x)),
    "index_select": ("float32", lambda x: rt.index_select(x, 0, x[0])),
    "index_fill": ("float32", lambda x: rt.index_fill(x, 0, x[0], 1)),
    "scatter_add": ("bool", lambda x: rt.scatter_add(x, 0, rt.argsort(x), x)),
    "index_add": ("bool", lambda x: rt.index_add(x, 0, rt.argsort(x[0]), x)),
    "multinomial": ("int64", lambda x: rt.multinomial(x, 1)),
    "cdist": ("int64", lambda x: rt.cdist(x, x)),
    "dist": ("int64", lambda x: rt.dist(x, x)),
    "rand_like": ("int64", lambda x: rt.rand_like(x)),
}  # fmt: skip
REFUSED_ALSO = {"rand_like": "rand"}

# What takes any tensor, but nothing else.
ANY_TENSOR = (
    "argwhere", "atleast_1d", "atleast_2d", "atleast_3d", "block_diag", "cartesian_prod", "combinations",
    "corrcoef", "cov", "deg2rad", "diagflat", "is_nonzero",
    "frac", "isneginf", "isposinf", "kron", "logit", "msort", "nonzero", "nonzero_async",
    "positive", "rad2deg", "round", "sinc", "unique", "unique_consecutive",
)  # fmt: skip
LATER = ("bincount_async", "unique_async", "unique_consecutive_async")  # told when they are awaited

# Tested by name in other files: they take shapes and numbers, or anything.
ELSEWHERE = {
    "column_stack", "dsplit", "dstack", "hsplit", "row_stack", "split_with_sizes", "trapz", "vsplit",
    "Generator", "allclose", "equal", "arange", "as_strided", "as_tensor", "asarray", "bernoulli", "broadcast_shapes", "broadcast_tensors",
    "broadcast_to", "bucketize", "can_cast",
    "clone", "diag", "empty", "empty_like", "eye", "finfo", "fliplr", "flipud",
    "from_dlpack", "from_numpy", "frombuffer", "full", "full_like",
    "get_default_device", "hstack", "iinfo", "is_complex", "is_floating_point", "is_signed", "is_tensor", "isin", "linspace", "logspace",
    "manual_seed", "meshgrid", "nan_to_num", "normal", "numel", "ones", "ones_like", "outer", "pad", "promote_types", "rand", "randint",
    "randint_like", "randn", "randn_like",
    "randperm", "ravel", "reshape", "result_type", "set_default_device", "signbit", "swapaxes", "t", "tensor",
    "tile", "trace", "tril", "tril_indices", "triu", "triu_indices", "vstack", "zeros", "zeros_like",
}  # fmt: skip


def operands(name: str, device: str = "cpu") -> tuple[rt.Tensor, rt.Tensor]:
    dtype = rt.int32 if name in INTEGERS else rt.float32
    return rt.ones(3, 3, dtype=dtype, device=device), rt.ones(3, 3, dtype=dtype, device=device)


def test_every_operation_is_in_a_table() -> None:
    aliases = set(methods.ALIASES) | {"concat", "concatenate", "moveaxis", "swapdims", "fix"}
    known = {*TWO, *OVER, *REFUSED, *methods.UNARY, *ANY_TENSOR, *LATER, *ELSEWHERE, *aliases}
    missing = sorted(set(ops.__all__) - known)
    assert not missing, f"operations whose errors nobody tests: {', '.join(missing)}"


@pytest.mark.parametrize("name", [*TWO, *OVER])
def test_the_calls_work(name: str) -> None:
    if name in TWO:
        TWO[name](*operands(name))
    if name in OVER:
        OVER[name](rt.ones(3, 3), 1)


@pytest.mark.parametrize("name", TWO)
def test_operands_of_two_shapes(name: str) -> None:
    x, _ = operands(name)
    y = rt.ones(5, 7, dtype=x.dtype)
    with pytest.raises((ValueError, IndexError), match=rf"^({name}|{ALSO.get(name, name)})\b.*\d"):
        TWO[name](x, y)


@pytest.mark.drivers("lavapipe")
@pytest.mark.parametrize("name", TWO)
def test_operands_of_two_devices(name: str, device: str) -> None:
    x, _ = operands(name)
    _, y = operands(name, device)
    with pytest.raises(rt.DeviceError, match=rf"^({name}|{ALSO.get(name, name)}): .*cpu.*{device}"):
        TWO[name](x, y)


@pytest.mark.parametrize("name", OVER)
def test_dimensions_that_are_not_there(name: str) -> None:
    with pytest.raises((IndexError, ValueError), match=rf"^({name}|{OVER_ALSO.get(name, name)})\b.*\d"):
        OVER[name](rt.ones(3, 3), 5)


@pytest.mark.parametrize("name", REFUSED)
def test_dtypes_that_have_no_such_operation(name: str) -> None:
    dtype, call = REFUSED[name]
    also = REFUSED_ALSO.get(name, name)
    with pytest.raises(rt.DTypeError, match=rf"^({name}|{also})\b.*({dtype}|whole numbers)"):
        call(rt.ones(3, 3, dtype=dtype))


@pytest.mark.parametrize("name", methods.UNARY)
def test_operands_that_are_no_tensors(name: str) -> None:
    with pytest.raises(TypeError, match=rf"^{name}: expected a tensor or a number, got str"):
        getattr(rt, name)("1")
    with pytest.raises(TypeError, match=rf"^{name} takes 1 operands, got 2"):
        getattr(rt, name)(rt.ones(2), rt.ones(2))


@pytest.mark.parametrize("name", ANY_TENSOR)
def test_what_is_no_tensor(name: str) -> None:
    with pytest.raises(TypeError, match=rf"^{name.removesuffix('_async')}: expected a tensor, got str"):
        getattr(rt, name)("1", *("2",) * (name == "kron"))


@pytest.mark.parametrize("name", LATER)
def test_what_is_no_tensor_and_awaited(name: str) -> None:
    with pytest.raises(TypeError, match=rf"^{name.removesuffix('_async')}: expected a tensor, got str"):
        trio.run(getattr(rt, name), "1")


@pytest.mark.drivers("lavapipe")
def test_kron_of_two_devices(device: str) -> None:
    with pytest.raises(rt.DeviceError, match=f"^kron: .*cpu.*{device}"):
        rt.kron(rt.ones(2), rt.ones(2, device=device))


@pytest.mark.parametrize("name", BINARY)
def test_second_operands_that_are_no_tensors(name: str) -> None:
    with pytest.raises(TypeError, match=rf"^{name}: expected a tensor or a number, got list"):
        getattr(rt, name)(operands(name)[0], [1.0])


@pytest.mark.every_driver
@pytest.mark.parametrize("name", ["exp", "add", "sum", "matmul", "cumsum"])
def test_dtypes_that_the_device_has_not(name: str, device: str) -> None:
    if rt.device(device).driver.traits.float64:
        return
    x = rt.ones(2, 2).to(rt.float64).numpy()
    y = rt.tensor(x, device=device)
    calls: dict[str, Any] = {
        "exp": lambda: y.exp(), "add": lambda: y + y, "sum": lambda: y.sum(), "matmul": lambda: y @ y, "cumsum": lambda: y.cumsum(0),
    }  # fmt: skip
    with pytest.raises(rt.DTypeError, match=rf"^{name}: {device} .* (does not compute in|has no {name} of) float64; convert"):
        calls[name]()
