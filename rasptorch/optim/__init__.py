"""Optimisers: they change parameters where they lie, in one or two commands each, and read nothing back."""

from __future__ import annotations

from . import lr_scheduler, swa_utils
from .adadelta import Adadelta
from .adagrad import Adagrad
from .adam import Adam, AdamW
from .muon import Muon
from .nadam import NAdam
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Muon", "NAdam", "Optimizer", "RMSprop", "lr_scheduler", "swa_utils"]
