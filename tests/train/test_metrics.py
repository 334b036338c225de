"""Metrics against scikit-learn and PyTorch; counted on the device without a wait, read in one go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
import trio

import rasptorch as rt
from rasptorch import train
from tests.support.manual import Manual

RANDOM = np.random.default_rng(3)
BATCHES = [(RANDOM.normal(size=(n, 5)).astype(np.float32), RANDOM.integers(0, 5, n)) for n in (17, 4, 1)]
SCORES = np.concatenate([scores for scores, _ in BATCHES])
LABELS = np.concatenate([labels for _, labels in BATCHES])


def measured(metric: train.Metric, device: str, *, one_hot: bool = False) -> Any:
    with rt.forbid_waiting():
        for scores, labels in BATCHES:
            target = np.eye(5, dtype=np.float32)[labels] if one_hot else labels
            metric.update(rt.tensor(scores, device=device), rt.tensor(target, device=device))
    return metric.compute()


@pytest.mark.every_driver
@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("topk", [1, 2, 5])
def test_accuracy(topk: int, one_hot: bool, device: str) -> None:
    expected = sklearn.metrics.top_k_accuracy_score(LABELS, SCORES, k=topk) if topk < 5 else 1.0
    assert measured(train.Accuracy(topk), device, one_hot=one_hot) == pytest.approx(expected)
    assert train.Accuracy(topk).name == ("accuracy" if topk == 1 else f"top{topk}_accuracy")


def test_accuracy_of_ties_nans_and_what_does_not_count(device: str) -> None:
    nan, inf = float("nan"), float("inf")
    scores = [[1, 1, 0], [1, 1, 0], [nan, 0, 0], [nan, 0, 0], [-inf, 1, 2], [inf, 0, inf], [0, 0, 0]]
    labels = [0, 1, 0, 1, 2, 0, -100]
    metric = train.Accuracy()
    metric.update(rt.tensor(scores, dtype=rt.float32, device=device), rt.tensor(labels, device=device))
    right = [torch.tensor(row).argmax() == label for row, label in zip(scores, labels, strict=True)][:6]
    right[2] = torch.tensor(False)  # PyTorch's argmax takes the NaN: a score that is none is not right here
    assert metric.compute() == pytest.approx(sum(map(bool, right)) / 6)


def test_accuracy_of_maps(device: str) -> None:
    scores, labels = RANDOM.normal(size=(2, 4, 3, 5)).astype(np.float32), RANDOM.integers(0, 4, (2, 3, 5))
    metric = train.Accuracy()
    metric.update(rt.tensor(scores, device=device), rt.tensor(labels, device=device))
    assert metric.compute() == pytest.approx((scores.argmax(1) == labels).mean())


@pytest.mark.every_driver
@pytest.mark.parametrize("one_hot", [False, True])
def test_confusion_matrix(one_hot: bool, device: str) -> None:
    found = measured(train.ConfusionMatrix(5), device, one_hot=one_hot)
    assert found.dtype == np.int64 and (found == sklearn.metrics.confusion_matrix(LABELS, SCORES.argmax(1), labels=range(5))).all()


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
@pytest.mark.parametrize("name", ["Precision", "Recall", "F1"])
def test_figures_by_class(name: str, average: Any, device: str) -> None:
    reference = {"Precision": "precision_score", "Recall": "recall_score", "F1": "f1_score"}[name]
    expected = getattr(sklearn.metrics, reference)(LABELS, SCORES.argmax(1), average=average, zero_division=0)
    assert np.allclose(measured(getattr(train, name)(5, average), device), expected)


def test_errors_of_regression(device: str) -> None:
    a, b = RANDOM.normal(size=(2, 40, 3)).astype(np.float32)
    for metric, expected in ((train.MeanSquaredError(), ((a - b) ** 2).mean()), (train.MeanAbsoluteError(), abs(a - b).mean())):
        for part in (slice(0, 30), slice(30, 40)):
            metric.update(rt.tensor(a[part], device=device), rt.tensor(b[part], device=device))
        assert metric.compute() == pytest.approx(expected, rel=1e-6)


def test_long_sums_lose_nothing(device: str) -> None:
    """A plain float32 sum of these would be 2% off."""
    mean, part = train.RunningMean(), rt.full((), 0.1, device=device)
    mean.add(rt.full((), 1e6, device=device), 1)
    for _ in range(500):
        mean.add(part, 1)
    assert mean.compute() == pytest.approx((1e6 + 500 * float(np.float32(0.1))) / 501, rel=1e-7)


def test_counts_of_a_step(device: str) -> None:
    """From the second batch on, nothing but adding: no allocation, no new plan, one submission."""
    metric, x, y = train.Accuracy(), rt.rand(16, 5, device=device), rt.zeros(16, dtype=rt.int32, device=device)
    for _ in range(4):
        metric.update(x, y)
        rt.device(device).default_stream.flush()
    before = rt.statistics(device)
    metric.update(x, y)
    rt.device(device).default_stream.flush()
    spent = rt.statistics(device) - before
    assert (spent.submissions, spent.plan_misses, spent.readbacks, spent.allocations) == (1, 0, 0, 0)


def test_reading_does_not_stop_the_counting(manual: Manual) -> None:
    device, driver = manual
    metric, x, y = train.Accuracy(), rt.tensor([[1.0, 0.0]], device=device), rt.zeros(1, dtype=rt.int32, device=device)
    with rt.forbid_waiting():
        metric.update(x, y)
        early = metric.readback()
        metric.update(x, y + 1)
        late = metric.readback()
        device.default_stream.flush()
    driver.finish_all()
    assert (early.wait(), late.wait()) == (1.0, 0.5)


@pytest.mark.trio
async def test_under_trio(device: str) -> None:
    metric = train.Accuracy()
    metric.update(rt.tensor([[1.0, 0.0]], device=device), rt.zeros(1, dtype=rt.int64, device=device))
    with trio.fail_after(20):
        assert await metric.compute() == 1.0


def test_fresh_and_state(device: str) -> None:
    metric = train.F1(5)
    value = measured(metric, device)
    other = metric.fresh()
    with pytest.raises(train.MetricError, match="f1: nothing was measured yet"):
        other.compute()
    other.load_state_dict(metric.state_dict())
    assert other.compute() == value
    metric.reset()
    with pytest.raises(train.MetricError):
        metric.compute()


def test_what_does_not_fit() -> None:
    x = rt.zeros(4, 3)
    for metric, output, target, said in (
        (train.Accuracy(), x, rt.zeros(5, dtype=rt.int64), r"for an output of \[4, 3\] the target is of \[4\]"),
        (train.Accuracy(), rt.zeros(4), rt.zeros(4, dtype=rt.int64), r"scores of classes, .* got shape \[4\]"),
        (train.ConfusionMatrix(2), x, rt.zeros(4, dtype=rt.int64), "2 classes, the output has 3"),
        (train.MeanSquaredError(), x, rt.zeros(4, 1), r"output \[4, 3\] and target \[4, 1\] differ"),
    ):
        with pytest.raises(rt.ShapeError, match=said):
            metric.update(output, target)
    for make in (lambda: train.Accuracy(0), lambda: train.ConfusionMatrix(0), lambda: train.F1(2, "best")):
        with pytest.raises(train.MetricError):
            make()
    metric = train.Accuracy()
    metric.update(x, rt.full((4,), 3, dtype=rt.int64))
    with pytest.raises(IndexError, match="Accuracy: target: index 3 is out of range"):
        metric.compute()
