"""Small functions and forms that write in place against PyTorch, where the table of cases does not reach."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close

from .values import INF, NAN, pair, random

VALUES = [NAN, INF, -INF, 0.0, -0.0, 1.5, -2.5, 100.0]


@pytest.mark.every_driver
def test_special_values(device: str) -> None:
    (x, y), (a, b) = (pair([v for v in VALUES for _ in VALUES], device=device), pair(VALUES * len(VALUES), device=device))
    for name in ("fmax", "fmin", "logaddexp2"):
        assert_close(getattr(rt, name)(x, a), getattr(torch, name)(y, b), what=name)
    for name in ("isposinf", "isneginf"):
        assert_close(getattr(x, name)(), getattr(y, name)(), what=name)
    assert rt.positive(x) is x
    whole, theirs = random((9,), "int32", device)
    assert_close(rt.fmax(whole, whole - 1), torch.fmax(theirs, theirs - 1))
    assert_close(rt.ldexp(x, whole[:1]), torch.ldexp(y, theirs[:1]))
    assert_close(whole.isposinf(), theirs.isposinf())


IN_PLACE: dict[str, Any] = {
    "cumsum_": lambda x, y: x.cumsum_(1), "cumprod_": lambda x, y: x.cumprod_(0), "deg2rad_": lambda x, y: x.deg2rad_(),
    "rad2deg_": lambda x, y: x.rad2deg_(), "frac_": lambda x, y: x.frac_(), "heaviside_": lambda x, y: x.heaviside_(y),
    "logit_": lambda x, y: x.logit_(0.2), "sinc_": lambda x, y: x.sinc_(), "xlogy_": lambda x, y: x.xlogy_(y),
    "ldexp_": lambda x, y: x.ldexp_(y), "addmm_": lambda x, y: x.addmm_(y, y, beta=0.5), "addmv_": lambda x, y: x[0].addmv_(y, y[0]),
    "addr_": lambda x, y: x.addr_(y[0], y[1], alpha=2), "addbmm_": lambda x, y: x.addbmm_(y[None], y[None]),
    "baddbmm_": lambda x, y: x[None].baddbmm_(y[None], y[None]),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_PLACE)
def test_written_in_place(name: str, device: str) -> None:
    (x, y), (a, b) = random((3, 3), device=device, low=0.1, high=0.9), random((3, 3), device=device, low=0.1, high=0.9, seed=1)
    assert_close(IN_PLACE[name](x, a), IN_PLACE[name](y, b))
    assert_close(x, y)


def test_covariance(device: str) -> None:
    x, y = random((3, 6), device=device)
    often, theirs = pair([1, 2, 3, 1, 0, 2], "int32", device)
    weight, other = random((6,), device=device, low=0.1, high=2)
    for correction in (0, 1, 2):
        for mine, wanted in (({}, {}), ({"fweights": often}, {"fweights": theirs}), ({"aweights": weight}, {"aweights": other})):
            assert_close(x.cov(correction=correction, **mine), y.cov(correction=correction, **wanted), rtol=1e-5, atol=1e-6)
        both = x.cov(correction=correction, fweights=often, aweights=weight)
        assert_close(both, y.cov(correction=correction, fweights=theirs, aweights=other), rtol=1e-5, atol=1e-6)
    assert_close(x[0].cov(), y[0].cov(), rtol=1e-5)
    assert_close(x[0].corrcoef(), y[0].corrcoef(), rtol=1e-5)
    assert_close(often.cov(), theirs.cov(), rtol=1e-5)
    assert_close(rt.inner(x, x.sum()), torch.inner(y, y.sum()), rtol=1e-5)


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda x: rt.cov(x[None]), rt.ShapeError, r"^cov: takes variables in rows .*, got shape \[1, 2, 3\]"),
    (lambda x: x.cov(aweights=x[0, :2]), rt.ShapeError, r"^cov: aweights are a vector of 3 elements, one per column, got shape \[2\]"),
    (lambda x: rt.baddbmm(x, x, x), rt.ShapeError, "^baddbmm: takes as many matrices as matrices"),
    (lambda x: rt.inner(x, x.T), rt.ShapeError, r"^inner: last dimensions are equally long, got shapes \[2, 3\] and \[3, 2\]"),
    (lambda x: x.addmv_(x, x[0]), rt.ShapeError, "^add|^addmv_: "),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run(rt.ones(2, 3))
