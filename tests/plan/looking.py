"""Looking at what planning made of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import rasptorch as rt
from rasptorch import Tensor
from rasptorch.runtime.plan.plan import Kernel, Plan
from rasptorch.runtime.vulkan.elementwise import bindings_of
from tests.support.counting import counting

T = TypeVar("T")


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
