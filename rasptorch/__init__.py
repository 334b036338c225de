"""rasptorch: a PyTorch-like library on Vulkan compute, built on an asynchronous stream-based execution engine."""

from __future__ import annotations

import os as _os
from math import e as e
from math import inf as inf
from math import nan as nan
from math import pi as pi
from typing import TYPE_CHECKING as _TYPE_CHECKING

if not _os.path.isdir(_os.path.join(__path__[0], "runtime")):
    # A checkout whose file system has no symlinks: the engine and the shaders lie beside this folder.
    __path__.append(_os.path.dirname(_os.path.abspath(__path__[0])))

from . import amp, autograd
from .amp import autocast, get_autocast_dtype, is_autocast_enabled
from .autograd import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .capture import capture
from .ops import *  # noqa: F403
from .ops import __all__ as _operations
from .ops.methods import attach as _attach
from .printing import get_printoptions, set_printoptions
from .runtime.device import Device
from .runtime.dtype import DType as dtype
from .runtime.dtype import bfloat16, bool_, float16, float32, float64, int32, int64, uint8
from .runtime.dtype import bool_ as bool
from .runtime.dtype import float16 as half
from .runtime.dtype import float32 as float  # noqa: F401  (not in __all__: it would hide the builtin, as would `int`)
from .runtime.dtype import float64 as double
from .runtime.dtype import int32 as int  # noqa: F401
from .runtime.dtype import int64 as long
from .runtime.errors import (
    BlockingInTrio,
    DeviceError,
    DeviceLost,
    DTypeError,
    MissingDeviceError,
    OutOfMemory,
    RasptorchError,
    ShapeError,
    TooMuchInFlight,
    WaitingForbidden,
)
from .runtime.fence import Fence
from .runtime.readback import Readback
from .runtime.waiting import forbid_waiting
from .system import Stream, current_stream, device, devices, statistics, stream, synchronize
from .tensor import Tensor

if _TYPE_CHECKING:
    # What type checkers cannot see by themselves: the function beside the module of its name, and what is loaded lazily.
    from . import array_api as array_api
    from . import data as data
    from . import io as io
    from . import nn as nn
    from . import optim as optim
    from . import train as train
    from . import utils as utils
    from .io import load as load
    from .io import save as save
    from .nn import functional as functional
    from .ops.creation import tensor as tensor
    from .profiler import profile as profile
    from .profiler import record_function as record_function

_attach()

newaxis = None

__version__ = "2.0.0"

# Loaded when first asked for: importing the package stays quick.
_LAZY_MODULES = ("array_api", "data", "io", "nn", "optim", "train", "utils")
_LAZY_NAMES = {"load": "io", "profile": "profiler", "record_function": "profiler", "save": "io"}


def _array_namespace(self: Tensor, *, api_version: str | None = None) -> object:
    """The functions of the array API standard: `rasptorch.array_api`."""
    from . import array_api

    if api_version not in (None, "2021.12", "2022.12", "2023.12", array_api.__array_api_version__):
        raise ValueError(f"__array_namespace__: version {api_version!r} is not there; {array_api.__array_api_version__} is")
    return array_api


setattr(Tensor, "__array_namespace__", _array_namespace)  # noqa: B010  (as `ops.methods` does: Tensor knows nothing of what is built on it)


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _LAZY_MODULES:
        found: object = import_module(f".{name}", __name__)
    elif name == "functional":
        found = import_module(".nn.functional", __name__)
    elif name in _LAZY_NAMES:
        found = getattr(import_module(f".{_LAZY_NAMES[name]}", __name__), name)
    else:
        raise AttributeError(f"module 'rasptorch' has no attribute {name!r}")
    globals()[name] = found
    return found


__all__ = [
    "BlockingInTrio",
    "DTypeError",
    "Device",
    "DeviceError",
    "DeviceLost",
    "Fence",
    "MissingDeviceError",
    "OutOfMemory",
    "RasptorchError",
    "Readback",
    "ShapeError",
    "Stream",
    "Tensor",
    "TooMuchInFlight",
    "WaitingForbidden",
    "amp",
    "autocast",
    "autograd",
    "bfloat16",
    "bool",
    "bool_",
    "capture",
    "current_stream",
    "device",
    "devices",
    "double",
    "dtype",
    "enable_grad",
    "float16",
    "float32",
    "float64",
    "forbid_waiting",
    "get_autocast_dtype",
    "get_printoptions",
    "half",
    "inference_mode",
    "int32",
    "int64",
    "is_autocast_enabled",
    "is_grad_enabled",
    "long",
    "no_grad",
    "set_grad_enabled",
    "set_printoptions",
    "statistics",
    "stream",
    "synchronize",
    "uint8",
    *_operations,
]
