"""Training: `fit` and `fit_async`, metrics that stay on the device, checkpoints that a run can go on from."""

from __future__ import annotations

from .callbacks import Callback, EarlyStopping
from .checkpoints import Checkpoint, ResumeError
from .fitting import fit, fit_async
from .history import History
from .loop import Training, TrainingError
from .metrics import (
    F1,
    Accuracy,
    ConfusionMatrix,
    MeanAbsoluteError,
    MeanSquaredError,
    Metric,
    MetricError,
    Precision,
    Recall,
    RunningMean,
)
from .targets import classification_target_one_hot

__all__ = [
    "F1",
    "Accuracy",
    "Callback",
    "Checkpoint",
    "ConfusionMatrix",
    "EarlyStopping",
    "History",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "MetricError",
    "Precision",
    "Recall",
    "ResumeError",
    "RunningMean",
    "Training",
    "TrainingError",
    "classification_target_one_hot",
    "fit",
    "fit_async",
]
