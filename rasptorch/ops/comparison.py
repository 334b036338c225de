"""Questions about elements; the answers are booleans and have no gradient."""

from __future__ import annotations

from .elementwise import BOOL, FLOAT, Elementwise

eq = Elementwise("eq", "eq", 2, None)
ne = Elementwise("ne", "ne", 2, None)
lt = Elementwise("lt", "lt", 2, None)
le = Elementwise("le", "le", 2, None)
gt = Elementwise("gt", "gt", 2, None)
ge = Elementwise("ge", "ge", 2, None)
isnan = Elementwise("isnan", "isnan", 1, None, rule=FLOAT)
isinf = Elementwise("isinf", "isinf", 1, None, rule=FLOAT)
isfinite = Elementwise("isfinite", "isfinite", 1, None, rule=FLOAT)
logical_and = Elementwise("logical_and", "logical_and", 2, None, rule=BOOL)
logical_or = Elementwise("logical_or", "logical_or", 2, None, rule=BOOL)
logical_xor = Elementwise("logical_xor", "logical_xor", 2, None, rule=BOOL)
logical_not = Elementwise("logical_not", "logical_not", 1, None, rule=BOOL)
