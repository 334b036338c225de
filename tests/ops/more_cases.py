"""Cases of arithmetic with options, bounds, reductions and products that are made of other operations."""

from __future__ import annotations

from typing import Any

from .case import Case, of, squared

INF = float("inf")


def _mul_add_relu(m: Any, x: Any, y: Any, z: Any) -> Any:
    return m.mul_add_relu(x, y, z) if hasattr(m, "mul_add_relu") else m.relu(x * y + z)


BOUNDS = [
    Case("clamp", lambda m, x: m.clamp(x, -1, 1), of((2, 5)), "numbers", False),
    Case("clamp", lambda m, x: m.clamp(squared(x), max=1.5), of((2, 5)), "max only"),
    Case("clamp", lambda m, x, lo: m.clamp(squared(x), min=lo), of((2, 5), (5,)), "min only"),
    Case("clamp", lambda m, x, lo, hi: x.clamp(lo, hi), ((((2, 5)), -2, 2), ((5,), -2, 0), ((2, 1), 0.1, 2)), "tensors", False),
    Case("clamp", lambda m, x, lo, hi: m.clamp(x, lo, hi), ((((2, 5)), -2, 2), ((5,), -2, 2), ((2, 1), -2, 2)), "crossed", False),
    Case("masked_fill", lambda m, x: m.masked_fill(squared(x), x > 0, 0.5), of((2, 5)), "number"),
    Case("masked_fill", lambda m, x, v: squared(x).masked_fill(x[:1] > 0, v), of((2, 5), ()), "tensor"),
    Case("mul_add_relu", _mul_add_relu, of((2, 3), (3,), (2, 1)), second=True),
    Case("nan_to_num", lambda m, x: m.nan_to_num(squared(x)), of((2, 3))),
]

ARITHMETIC = [
    Case("add", lambda m, x, y: m.add(x, y, alpha=2.5), of((2, 3), (3,)), "alpha", False),
    Case("sub", lambda m, x, y: x.sub(y, alpha=-2), of((2, 3), (3,)), "alpha", False),
    Case("rsub", lambda m, x, y: m.rsub(x, y, alpha=2), of((2, 3), (3,)), "", False),
    Case("div", lambda m, x, y: m.div(squared(x), y, rounding_mode=None), of((2, 3), (3,), low=0.4), "true"),
    Case("addcmul", lambda m, x, y, z: m.addcmul(x, y, z, value=0.5), of((2, 3), (3,), (2, 1))),
    Case("addcdiv", lambda m, x, y, z: m.addcdiv(x, y, z, value=-2), of((2, 3), (3,), (2, 1), low=0.4)),
    Case("lerp", lambda m, x, y: m.lerp(squared(x), y, 0.3), of((2, 3), (3,)), "near"),
    Case("lerp", lambda m, x, y: m.lerp(x, squared(y), 0.7), of((2, 3), (3,)), "far"),
    Case("lerp", lambda m, x, y, w: x.lerp(y, w), of((2, 3), (3,), (2, 1)), "tensor"),
    Case("logaddexp", lambda m, x, y: m.logaddexp(x, y), of((2, 3), (3,))),
    Case("hypot", lambda m, x, y: m.hypot(x, y), of((2, 3), (3,), low=0.4)),
    Case("copysign", lambda m, x: m.copysign(squared(x), -2.0), of((2, 3), low=0.4), "number"),
    Case("copysign", lambda m, x, y: m.copysign(x, y), of((2, 3), (3,)), "tensor", False),
]


def _over(name: str, note: str, second: bool, *args: Any, low: float = -2.0, **options: Any) -> Case:
    return Case(name, lambda m, x: getattr(m, name)(x, *args, **options), of((2, 3, 2), low=low), note, second)


def _both(name: str, note: str, **options: Any) -> Case:
    def run(m: Any, x: Any) -> Any:
        first, second = getattr(m, name)(x, **options)
        return first * 2 + second

    return Case(name, run, of((2, 3, 2)), note)


REDUCTIONS = [
    *(_over(n, "all", False) for n in ("max", "min")),
    *(Case(n, lambda m, x, n=n: getattr(m, n)(squared(x), 1)[0], of((2, 3, 2)), "dim") for n in ("max", "min")),
    *(Case(n, lambda m, x, n=n: getattr(m, n)(x, -1, keepdim=True).values, of((2, 3)), "keepdim", False) for n in ("max", "min")),
    *(Case(n, lambda m, x, y, n=n: getattr(m, n)(x, y), of((2, 3), (3,)), "two tensors", False) for n in ("max", "min")),
    Case("aminmax", lambda m, x: m.aminmax(squared(x), dim=1).max * m.aminmax(x).min, of((2, 3)), second=False),
    _over("norm", "all", True),
    _over("norm", "2", True, 2, 1),
    _over("norm", "two dims", True, "fro", (0, 2), True),
    _over("norm", "1", False, 1, 1),
    _over("norm", "3", False, 3, -1, low=0.3),
    _over("norm", "inf", False, INF, 1),
    _over("norm", "-inf", False, -INF, (0, 1)),
    _over("nansum", "all", False),
    _over("nansum", "one", False, 1),
    _over("nanmean", "one", False, 1),
    _over("cumsum", "first", False, 0),
    _over("cumsum", "middle", False, 1),
    Case("cumsum", lambda m, x: m.cumsum(squared(x), 0), of((7,)), "squares"),
    _both("var_mean", "all"),
    _both("var_mean", "one", dim=1, correction=0),
    _both("std_mean", "two", dim=(0, 2), keepdim=True),
]


def _einsum(equation: str, *shapes: tuple[int, ...]) -> Case:
    return Case("einsum", lambda m, *xs: m.einsum(equation, *xs), of(*shapes), equation.replace(" ", ""), len(shapes) > 1)


PRODUCTS = [
    Case("dot", lambda m, x, y: m.dot(x, y), of((3,), (3,))),
    Case("vdot", lambda m, x, y: m.vdot(x, y), of((3,), (3,))),
    Case("mv", lambda m, x, y: m.mv(x, y), of((2, 3), (3,))),
    Case("mm", lambda m, x, y: m.mm(x, y), of((2, 3), (3, 2))),
    Case("outer", lambda m, x, y: m.outer(x, y), of((2,), (3,))),
    Case("tensordot", lambda m, x, y: m.tensordot(x, y), of((2, 2, 3), (2, 3, 2)), "2"),
    Case("tensordot", lambda m, x, y: m.tensordot(x, y, dims=([0, 2], [1, 0])), of((2, 2, 3), (3, 2, 2)), "lists"),
    Case("tensordot", lambda m, x, y: m.tensordot(x, y, 0), of((2,), (3, 1)), "0"),
    _einsum("ii->i", (3, 3)),
    _einsum("ij,jk->ik", (2, 3), (3, 2)),
    _einsum("bij,bkj->bik", (2, 2, 3), (2, 2, 3)),
    _einsum("bi,bi->b", (2, 3), (2, 3)),
    _einsum("...ij,...jk", (2, 2, 3), (3, 2)),
    _einsum("ij,jk,kl->il", (2, 3), (3, 2), (2, 2)),
]

SMALL = [
    Case("fmax", lambda m, x, y: m.fmax(x, y), of((2, 3), (3,)), second=False),
    Case("fmin", lambda m, x, y: x.fmin(y), of((2, 3), (2, 1)), second=False),
    Case("logaddexp2", lambda m, x, y: m.logaddexp2(x, y), of((2, 3), (3,))),
    Case("ldexp", lambda m, x, y: m.ldexp(x, y), of((2, 3), (3,))),
    Case("addmv", lambda m, b, x, y: m.addmv(b, x, y, beta=0.5, alpha=2), of((2,), (2, 3), (3,))),
    Case("addr", lambda m, b, x, y: m.addr(b, x, y, beta=0.5, alpha=2), of((2, 3), (2,), (3,))),
    Case("baddbmm", lambda m, b, x, y: m.baddbmm(b, x, y, beta=0.5, alpha=2), of((2, 1), (2, 2, 3), (2, 3, 2))),
    Case("addbmm", lambda m, b, x, y: m.addbmm(b, x, y, beta=0.5, alpha=2), of((2, 2), (2, 2, 3), (2, 3, 2))),
    Case("inner", lambda m, x, y: m.inner(x, y), of((2, 3), (2, 2, 3)), "matrices"),
    Case("inner", lambda m, x, y: x.inner(y), of((3,), (3,)), "vectors"),
    Case("cov", lambda m, x: m.cov(x), of((2, 4))),
    Case("cov", lambda m, x: x.cov(correction=0, aweights=x.detach()[0].abs() * 0 + 0.5), of((2, 4)), "weights"),
    Case("corrcoef", lambda m, x: m.corrcoef(x), of((2, 5))),
    Case("positive", lambda m, x: m.positive(x * x), of((2, 3))),
]

MORE = [*SMALL, *BOUNDS, *ARITHMETIC, *REDUCTIONS, *PRODUCTS]
