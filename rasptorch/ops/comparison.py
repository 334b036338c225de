"""Questions about elements and their bits; the answers have no gradient."""

from __future__ import annotations

from .elementwise import BOOL, FLOAT, Elementwise
from .words import Equality

eq = Equality("eq", "eq", 2, None)
ne = Equality("ne", "ne", 2, None)
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
# Of integers; of booleans, which have one bit, the first four are the logical ones.
bitwise_and = Elementwise("bitwise_and", "bitwise_and", 2, None)
bitwise_or = Elementwise("bitwise_or", "bitwise_or", 2, None)
bitwise_xor = Elementwise("bitwise_xor", "bitwise_xor", 2, None)
bitwise_not = Elementwise("bitwise_not", "bitwise_not", 1, None)
bitwise_left_shift = Elementwise("bitwise_left_shift", "shift_left", 2, None)
bitwise_right_shift = Elementwise("bitwise_right_shift", "shift_right", 2, None)
