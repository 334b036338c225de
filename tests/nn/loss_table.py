"""A row for every loss: its random configurations. Targets of floating-point numbers have gradients, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .drawing import Case, Draw, Row


def _reduction(d: Draw, *more: str) -> dict[str, Any]:
    return {"reduction": d.of("mean", "sum", "none", *more)}


def _distance(**options: tuple[float, ...]) -> Row:
    def row(d: Draw) -> Case:
        shape, drawn = d.shape(), {name: d.of(*values) for name, values in options.items()}
        return Case((), _reduction(d) | drawn, (d.array(*shape), d.array(*shape)))

    return row


def _weight(d: Draw, shape: tuple[int, ...]) -> Any:
    """One for every element, or for every column, or none."""
    return d.of(None, d.array(*shape, low=0.5), d.array(*shape[-1:], low=0.5))


def _binary(logits: bool) -> Row:
    def row(d: Draw) -> Case:
        shape = d.shape()
        options = _reduction(d) | {"weight": _weight(d, shape)}
        if logits:
            options["pos_weight"] = _weight(d, shape)
        x = d.array(*shape, low=-9, high=9) if logits else d.array(*shape, low=0.05, high=0.95)
        return Case((), options, (x, d.array(*shape, low=0.05, high=0.95)))

    return row


def _kl(d: Draw) -> Case:
    shape, logs = d.shape(), d.flag()
    target = d.array(*shape, low=-3, high=0) if logs else d.array(*shape, low=0.05, high=0.95)
    return Case((), _reduction(d, "batchmean") | {"log_target": logs}, (d.array(*shape), target))


# -- classes ---------------------------------------------------------------------------------------------------------
def _classes(probabilities: bool) -> Row:
    """Class numbers, of which some may be ignored; for cross entropy also probabilities."""

    def row(d: Draw) -> Case:
        classes = d.number(2, 5)
        shape = (classes,) if d.flag() else (d.number(), classes, *d.shape(0, 2))
        options = _reduction(d) | {"weight": d.of(None, d.array(classes, low=0.5))}
        rest = tuple(n for k, n in enumerate(shape) if k != (len(shape) > 1))
        target = np.asarray(d.whole(classes, *rest))
        if probabilities:
            options["label_smoothing"] = d.of(0.0, 0.2, 1.0)
            if d.flag():
                return Case((), options, (d.array(*shape, low=-5, high=5), d.array(*shape, low=0, high=1)))
        if target.ndim and d.flag():
            options["ignore_index"] = d.of(-1, -100, int(target.flat[0]))
            target.flat[0] = options["ignore_index"]
        return Case((), options, (d.array(*shape, low=-5, high=5), target))

    return row


# -- pairs -----------------------------------------------------------------------------------------------------------
def _signs(d: Draw, *shape: int) -> Any:
    return np.asarray(1.0 - 2.0 * d.whole(2, *shape), np.float32).reshape(shape)



def _cosine(d: Draw) -> Case:
    shape = d.shape(1)  # of vectors longer than eps: below, PyTorch's gradient is not that of its value
    x, y = d.array(*shape, low=0.5), d.array(*shape, low=0.5)
    return Case((), {"dim": d.number(-len(shape), len(shape) - 1), "eps": d.of(1e-8, 0.5)}, (x, y))


def _embeddings(d: Draw) -> Case:
    lead, width = d.shape(0, 1), d.number(2, 5)
    x, y = d.array(*lead, width), d.array(*lead, width)
    return Case((), _reduction(d) | {"margin": d.of(0.0, 0.3)}, (x, y), {"target": _signs(d, *lead)})


def _ranking(d: Draw) -> Case:
    shape = d.shape()
    x, y = d.array(*shape), d.array(*shape)
    return Case((), _reduction(d) | {"margin": d.of(0.0, 0.6)}, (x, y), {"target": _signs(d, *shape)})


def _hinge(d: Draw) -> Case:
    shape = d.shape()
    return Case((), _reduction(d) | {"margin": d.of(0.7, 1.0)}, (d.array(*shape),), {"target": _signs(d, *shape)})


def _triplet(d: Draw) -> Case:
    shape = (*d.shape(0, 2), d.number(2, 5))
    options = _reduction(d) | {"margin": d.of(0.5, 1.0), "p": d.of(2.0, 3.0), "eps": d.of(1e-6, 1e-3)} | d.flags("swap")
    return Case((), options, (d.array(*shape), d.array(*shape), d.array(*shape)))


class Divergence(torch.nn.Module):
    """`GaussianKL` by PyTorch's distributions; PyTorch has no such layer."""

    def __init__(self, reduction: str) -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
        normal = torch.distributions.Normal
        loss = torch.distributions.kl_divergence(normal(mean, (log_variance / 2).exp()), normal(0.0, 1.0))
        if self.reduction == "batchmean":
            return loss.sum() / (len(mean) if mean.ndim else 1)
        return loss if self.reduction == "none" else getattr(loss, self.reduction)()


def _gaussian(d: Draw) -> Case:
    shape = d.shape()
    return Case((), _reduction(d, "batchmean"), (d.array(*shape), d.array(*shape)))


ORACLES = {"GaussianKL": Divergence}
ROWS: dict[str, Row] = {
    "BCELoss": _binary(False),
    "BCEWithLogitsLoss": _binary(True),
    "CosineEmbeddingLoss": _embeddings,
    "CosineSimilarity": _cosine,
    "CrossEntropyLoss": _classes(True),
    "GaussianKL": _gaussian,
    "HingeEmbeddingLoss": _hinge,
    "HuberLoss": _distance(delta=(0.5, 1.0)),
    "KLDivLoss": _kl,
    "L1Loss": _distance(),
    "MSELoss": _distance(),
    "MarginRankingLoss": _ranking,
    "NLLLoss": _classes(False),
    "SmoothL1Loss": _distance(beta=(0.0, 0.5, 1.0)),
    "TripletMarginLoss": _triplet,
}
