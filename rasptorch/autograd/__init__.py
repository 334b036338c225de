"""Automatic differentiation: the tape, the backward DAG, and what users call."""

from . import functional, graph
from .anomaly import AnomalyError, detect_anomaly, is_anomaly_enabled, set_detect_anomaly
from .engine import backward
from .function import Context, Function, once_differentiable
from .gradcheck import gradcheck, gradgradcheck
from .gradients import grad
from .hooks import RemovableHandle
from .mode import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled

__all__ = [
    "AnomalyError",
    "Context",
    "Function",
    "RemovableHandle",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "functional",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "inference_mode",
    "is_anomaly_enabled",
    "is_grad_enabled",
    "no_grad",
    "once_differentiable",
    "set_detect_anomaly",
    "set_grad_enabled",
]
