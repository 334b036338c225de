"""Looking at what planning made of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

import rasptorch as rt
from rasptorch import Tensor
from rasptorch.runtime import settings
from rasptorch.runtime.plan.plan import Kernel, Plan
from rasptorch.runtime.vulkan.operands import bindings_of
from tests.support.compare import assert_close
from tests.support.counting import counting

T = TypeVar("T")
RANDOM = np.random.default_rng(0)
Arrays = list[np.ndarray[Any, Any]]


def planned(device: str, compute: Callable[[], T]) -> tuple[T, Plan]:
    """What ``compute`` returns, and the plan of the one batch that it makes (flushed after it has returned)."""
    found = rt.device(device)
    found.flush()
    with counting(device) as n:
        result = compute()
        found.default_stream.flush()
    assert n.submissions == 1, f"{n.submissions} submissions instead of one"
    return result, next(reversed(found.plans._plans.values()))


def kinds(plan: Plan) -> list[str]:
    """``elementwise``, ``reduce``, ``matmul`` or ``shader`` for each kernel, in order."""
    return [type(kernel).__name__.removesuffix("Kernel").lower() for kernel in plan.kernels]


def stored(plan: Plan) -> int:
    """How many values all kernels together write to memory."""
    return sum(len(kernel.outputs) for kernel in plan.kernels)


def bindings(kernel: Kernel) -> int:
    """Storage buffers a kernel needs on a Vulkan device."""
    return len(set(bindings_of(kernel))) + (kernel.errors is not None)


def here(array: Any, device: str) -> Tensor:
    """``array`` on ``device``, already there: no command of a later batch."""
    made = rt.tensor(array, device=device)
    rt.device(device).flush()
    return made


def arrays(count: int, *shape: int) -> Arrays:
    return [RANDOM.standard_normal(shape).astype(np.float32) for _ in range(count)]


def check(device: str, compute: Callable[..., Any], *given: Any, kernels: int | None = None, writes: int | None = None) -> None:
    """``compute`` on tensors gives what it gives on arrays, in so many kernels that write so many values; unfused it does too."""
    __tracebackhide__ = True
    tensors = [here(x, device) for x in given]
    made, plan = planned(device, lambda: compute(*tensors))
    if kernels is not None:
        assert len(plan.kernels) == kernels, kinds(plan)
    if writes is not None:
        assert stored(plan) == writes
    with settings.override(fuse=False):
        alone, _ = planned(device, lambda: compute(*tensors))
    expected = compute(*given)
    several = isinstance(made, (list, tuple))
    for got, one, want in zip(*(x if several else [x] for x in (made, alone, expected)), strict=True):
        assert_close(got, want, check_dtype=False)
        assert_close(one, want, check_dtype=False)


def ramp(n: int, device: str) -> Tensor:
    """0, 1, 2, ... as float32 on ``device``, already there."""
    return here(np.arange(n, dtype=np.float32), device)
