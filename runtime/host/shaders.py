"""Kernels with code of their own: which function runs the one of which name (see `runtime.vulkan.shaders`).

Such a function gets the kernel, where its operands lie and the driver, and returns what to call with a batch's scalars. What can be
done once (views of memory, scratch arrays) is done before it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..plan.plan import ShaderKernel
from .along import first_extreme, running_sum
from .class_loss import class_loss, class_loss_back
from .moves import move
from .pooling import max_pool, max_pool_back, max_pool_pick
from .record import Binding, Runner, Workers
from .repeats import repeated, sums_before
from .resampling import resample
from .rows import rows
from .sorting import combine_into, search, sort, topk

KERNELS: Final[dict[str, Callable[[ShaderKernel, Binding, Workers], Runner]]] = {
    "class_loss": class_loss,
    "class_loss_back": class_loss_back,
    "combine_into": combine_into,
    "first_largest": first_extreme,
    "first_smallest": first_extreme,
    "log_softmax": rows,
    "max_pool": max_pool,
    "max_pool_back": max_pool_back,
    "max_pool_pick": max_pool_pick,
    "pick": move,
    "put": move,
    "repeated": repeated,
    "resample": resample,
    "running_sum": running_sum,
    "search": search,
    "softmax": rows,
    "sort": sort,
    "sum_into": combine_into,
    "sums_before": sums_before,
    "topk": topk,
}
