"""Losses of pairs: values, gradients and second derivatives are PyTorch's, and so is the divergence of normal distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import rasptorch as rt
from rasptorch import nn
from rasptorch.autograd import gradcheck
from rasptorch.nn import functional as F
from tests.support.compare import assert_close

from .both import array, compare

REDUCTIONS = ["mean", "sum", "none"]
NEAR = {"rtol": 1e-3, "atol": 1e-4}
SIGNS = np.array([1, -1, 1, -1], np.int64)


def test_cosine_similarity(device: str) -> None:
    for dim in (0, 1, -1):
        compare(device, lambda x, y, d=dim: F.cosine_similarity(x, y, d), lambda x, y, d=dim: TF.cosine_similarity(x, y, d),
                array(4, 5, 3), array(4, 5, 3, seed=1), **NEAR)  # fmt: skip
    compare(device, F.cosine_similarity, TF.cosine_similarity, array(4, 5), array(1, 5, seed=1), **NEAR)
    assert_close(nn.CosineSimilarity()(*(rt.tensor(array(4, 5, seed=s)) for s in (0, 1))),
                 TF.cosine_similarity(*(torch.tensor(array(4, 5, seed=s)) for s in (0, 1))))  # fmt: skip


def test_a_zero_vector_is_like_nothing(device: str) -> None:
    x = rt.zeros(2, 3, device=device, requires_grad=True)
    out = F.cosine_similarity(x, rt.ones(2, 3, device=device))
    out.sum().backward()
    assert (out.detach().numpy() == 0).all() and np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "options"), [("cosine_embedding_loss", {}), ("cosine_embedding_loss", {"margin": 0.3}),
                                               ("margin_ranking_loss", {"margin": 0.4}), ("hinge_embedding_loss", {})])  # fmt: skip
def test_targets_of_signs(name: str, options: dict[str, Any], reduction: str, device: str) -> None:
    arrays = [array(4, 5), array(4, 5, seed=1)] if name.startswith("cosine") else [array(4), array(4, seed=1)]
    arrays = arrays[:1] if name.startswith("hinge") else arrays
    compare(
        device,
        lambda *x: getattr(F, name)(*x, rt.tensor(SIGNS, device=device).to(rt.int32), reduction=reduction, **options),
        lambda *x: getattr(TF, name)(*x, torch.tensor(SIGNS), reduction=reduction, **options),
        *arrays, **NEAR,
    )  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_triplets(reduction: str, device: str) -> None:
    compare(device, lambda *x: F.triplet_margin_loss(*x, margin=0.7, reduction=reduction),
            lambda *x: TF.triplet_margin_loss(*x, margin=0.7, reduction=reduction),
            *(array(4, 5, seed=s) for s in range(3)), **NEAR)  # fmt: skip


def _divergence(mean: torch.Tensor, logs: torch.Tensor) -> torch.Tensor:
    normal = torch.distributions.Normal
    return torch.distributions.kl_divergence(normal(mean, (logs / 2).exp()), normal(0.0, 1.0))


def test_divergence_of_normal_distributions(device: str) -> None:
    arrays = array(4, 5), array(4, 5, seed=1)
    compare(device, lambda m, v: F.gaussian_kl(m, v, "none"), _divergence, *arrays, **NEAR)
    compare(device, lambda m, v: F.gaussian_kl(m, v, "batchmean"), lambda m, v: _divergence(m, v).sum() / 4, *arrays, **NEAR)
    compare(device, nn.GaussianKL(), lambda m, v: _divergence(m, v).sum(), *arrays, **NEAR)
    gradcheck(F.gaussian_kl, [rt.tensor(array(2, 3, seed=s).astype(np.float64), requires_grad=True) for s in (0, 1)])


def test_modules(device: str) -> None:
    made: list[tuple[str, dict[str, Any], int]] = [
        ("CosineEmbeddingLoss", {"margin": 0.2}, 2), ("MarginRankingLoss", {}, 1), ("HingeEmbeddingLoss", {"margin": 0.5}, 1),
        ("TripletMarginLoss", {"p": 1.0}, 3),
    ]  # fmt: skip
    for name, options, count in made:
        arrays: list[Any] = [array(4, 5, seed=s) for s in range(count)]
        if name == "MarginRankingLoss":
            arrays = [array(4), array(4, seed=1)]
        if name == "HingeEmbeddingLoss":
            arrays = [array(4)]
        arrays += [SIGNS] if name != "TripletMarginLoss" else []
        ours = getattr(nn, name)(**options)(*(rt.tensor(a, device=device, dtype=rt.int32 if a is SIGNS else None) for a in arrays))
        assert_close(ours, getattr(torch.nn, name)(**options)(*map(torch.tensor, arrays)), 1e-4, 1e-5, what=name)


def test_what_is_refused() -> None:
    with pytest.raises(rt.ShapeError, match="they must be equal"):
        F.gaussian_kl(rt.ones(2), rt.ones(3))
    with pytest.raises(rt.ShapeError, match=r"inputs are \[n, d\] with target \[n\]"):
        F.cosine_embedding_loss(rt.ones(2, 3), rt.ones(2, 3), rt.ones(2, 3))
    with pytest.raises(ValueError, match="reduction is one of"):
        F.margin_ranking_loss(rt.ones(2), rt.ones(2), rt.ones(2), reduction="average")
