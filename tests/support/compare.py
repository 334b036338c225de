"""Comparing our values with PyTorch's and NumPy's: NaN, infinities and, where asked, the sign of zero
included.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rasptorch import Tensor

Array = NDArray[Any]

# Relative and absolute tolerance by the name of the dtype; what is not here must be equal.
TOLERANCES = {
    "float64": (1e-10, 1e-12),
    "float32": (2e-5, 2e-6),
    "float16": (4e-3, 1e-3),
    "bfloat16": (3e-2, 8e-3),
}
_SHOWN = 5


def dtype_name(value: Any) -> str:
    """``float32`` of a tensor of ours, of PyTorch's, or of an array."""
    if isinstance(value, Tensor):
        return value.dtype.name
    if type(value).__module__.startswith("torch"):
        return str(value.dtype).removeprefix("torch.")
    return np.asarray(value).dtype.name


def to_array(value: Any) -> Array:
    """The values as NumPy; bfloat16 becomes float32. Waits."""
    if isinstance(value, Tensor):
        return np.asarray(value.readback().wait())
    if type(value).__module__.startswith("torch"):
        value = value.detach().cpu().resolve_conj()
        return np.asarray(value.float().numpy() if dtype_name(value) == "bfloat16" else value.numpy())
    return np.asarray(value)


def assert_close(
    actual: Any,
    expected: Any,
    rtol: float | None = None,
    atol: float | None = None,
    *,
    check_dtype: bool = True,
    signed_zeros: bool = False,
    what: str = "",
) -> None:
    """Equal shapes and, unless ``check_dtype`` is off, dtypes; values within the tolerances of the coarser
    dtype.

    NaN must meet NaN, and an infinity the same infinity. ``signed_zeros`` also tells ``-0.0`` from ``0.0``.
    Whole numbers and booleans must be equal. ``what`` goes in front of the message.
    """
    __tracebackhide__ = True
    names = dtype_name(actual), dtype_name(expected)
    head = f"{what}: " if what else ""
    if check_dtype:
        assert names[0] == names[1], f"{head}dtype {names[0]}, expected {names[1]}"
    a, e = to_array(actual), to_array(expected)
    assert a.shape == e.shape, f"{head}shape {list(a.shape)}, expected {list(e.shape)}"
    pairs = [TOLERANCES.get(name, (0.0, 0.0)) for name in names if name in TOLERANCES] or [(0.0, 0.0)]
    rtol = max(p[0] for p in pairs) if rtol is None else rtol
    atol = max(p[1] for p in pairs) if atol is None else atol
    bad = _differing(a, e, rtol, atol, signed_zeros)
    if not bad.any():
        return
    places = np.argwhere(np.atleast_1d(bad))[:_SHOWN]
    lines = [f"  at {place.tolist()}: {np.atleast_1d(a)[tuple(place)]!r}, expected {np.atleast_1d(e)[tuple(place)]!r}" for place in places]
    raise AssertionError(f"{head}{int(bad.sum())} of {bad.size} values differ (rtol={rtol}, atol={atol}):\n" + "\n".join(lines))


def _differing(a: Array, e: Array, rtol: float, atol: float, signed_zeros: bool) -> Array:
    """Where the values differ."""
    if a.dtype.kind not in "fc" and e.dtype.kind not in "fc":
        return np.asarray(a != e)
    with np.errstate(all="ignore"):
        wide_a, wide_e = a.astype(np.float64), e.astype(np.float64)
        near = np.abs(wide_a - wide_e) <= atol + rtol * np.abs(wide_e)
        same = (wide_a == wide_e) | (np.isnan(wide_a) & np.isnan(wide_e))
        finite = np.isfinite(wide_a) & np.isfinite(wide_e)
        bad = ~(same | (near & finite))
        if signed_zeros:
            bad |= (wide_a == 0) & (wide_e == 0) & (np.signbit(wide_a) != np.signbit(wide_e))
    return np.asarray(bad)
