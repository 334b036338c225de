"""Cases of tensors put together, repeated, padded and seen in other ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .case import Case, Shape, of, squared


def _view(name: str, run: Callable[[Any, Any], Any], shape: Shape, note: str = "") -> Case:
    # The square makes the second derivative something.
    return Case(name, lambda m, x: run(m, squared(x)), of(shape), note)


def padded(m: Any, x: Any, *args: Any, **options: Any) -> Any:
    """``pad`` where each library has it."""
    return (m.nn.functional.pad if m.__name__ == "torch" else m.pad)(x, *args, **options)


JOINING = [
    Case("cat", lambda m, x, y: m.cat([squared(x), y * x[:1], x], 0), of((2, 3), (1, 3)), "rows"),
    Case("cat", lambda m, x, y: m.cat((squared(x), y.T), dim=-1), of((2, 3), (1, 2)), "columns"),
    Case("stack", lambda m, x, y: m.stack([squared(x), y], 1), of((2, 3), (2, 3))),
    Case("hstack", lambda m, x, y: m.hstack([squared(x), y]), of((2, 3), (2, 1))),
    Case("vstack", lambda m, x, y: m.vstack([squared(x), y]), of((2, 3), (3,))),
    _view("roll", lambda m, x: m.roll(x, 1), (2, 3), "flat"),
    _view("roll", lambda m, x: m.roll(x, (1, -2), (0, 1)), (2, 3), "two"),
    _view("repeat", lambda m, x: x.repeat(2, 1, 3), (2, 3)),
    _view("tile", lambda m, x: m.tile(x, (2,)), (2, 3)),
    _view("repeat_interleave", lambda m, x: m.repeat_interleave(x, 3, 1), (2, 3), "dim"),
    _view("repeat_interleave", lambda m, x: x.repeat_interleave(2), (2, 3), "flat"),
    _view("pad", lambda m, x: padded(m, x, (1, 2)), (2, 3), "last"),
    _view("pad", lambda m, x: padded(m, x, (1, -1, 0, 2), value=3.0), (2, 3), "cropping"),
    _view("pad", lambda m, x: padded(m, x, (2, 1), mode="reflect"), (2, 3), "reflect"),
    _view("pad", lambda m, x: padded(m, x, (2, 1, 0, 1), mode="replicate"), (1, 2, 3), "replicate"),
    _view("pad", lambda m, x: padded(m, x, (2, 1, 1, 0), mode="circular"), (1, 2, 3), "circular"),
    _view("diag", lambda m, x: m.diag(x, 1), (3,), "vector"),
    _view("diag", lambda m, x: m.diag(x, -1), (3, 2), "matrix"),
    _view("diag_embed", lambda m, x: m.diag_embed(x, 1, 0, -1), (2, 3)),
    _view("diagonal", lambda m, x: m.diagonal(x, 1), (2, 3)),
    _view("diagonal", lambda m, x: x.permute(2, 0, 1).diagonal(-1, 1, 2), (3, 3, 2), "of a view"),
    _view("tril", lambda m, x: m.tril(x, 1), (3, 3)),
    _view("triu", lambda m, x: x.triu(-1), (2, 3, 3)),
    _view("unfold", lambda m, x: x.unfold(1, 3, 1), (2, 5), "overlapping"),
    _view("unfold", lambda m, x: x.unfold(0, 2, 2), (5, 2), "apart"),
    _view("as_strided", lambda m, x: m.as_strided(x, (3, 2), (1, 3)), (2, 3), "apart"),
    _view("as_strided", lambda m, x: x.as_strided((3, 3), (1, 1), 1), (6,), "overlapping"),
    _view("as_strided", lambda m, x: x[1:].as_strided((2, 3), (4, 1), 5), (3, 4), "of a part"),
    _view("as_strided", lambda m, x: x.expand(3, 2).as_strided((2, 2), (0, 1)), (1, 2), "of an expanded one"),
    _view("as_strided", lambda m, x: x.as_strided((), (), 4), (2, 3), "one"),
    _view("movedim", lambda m, x: m.movedim(x, (0, 1), (-1, 0)), (2, 3, 2)),
    _view("swapaxes", lambda m, x: m.swapaxes(x, 0, -1), (2, 3)),
    _view("ravel", lambda m, x: m.ravel(x.T), (2, 3)),
    _view("atleast_1d", lambda m, x: m.atleast_1d(x), ()),
    _view("atleast_2d", lambda m, x: m.atleast_2d(x), (3,)),
    _view("atleast_3d", lambda m, x: m.atleast_3d([x, x[0]])[1], (2, 3)),
    _view("tensor_split", lambda m, x: m.tensor_split(x, 3)[0], (5,), "sections"),
    _view("tensor_split", lambda m, x: x.tensor_split((1, 3), 1)[1], (2, 4), "indices"),
    _view("hsplit", lambda m, x: m.hsplit(x, 2)[1], (2, 4)),
    _view("vsplit", lambda m, x: x.vsplit([1])[1], (3, 2)),
    _view("dsplit", lambda m, x: m.dsplit(x, 2)[0], (1, 2, 4)),
    _view("split_with_sizes", lambda m, x: x.split_with_sizes([1, 3], 1)[1], (2, 4)),
    Case("dstack", lambda m, x, y: m.dstack([x * x, y]), of((2, 3), (2, 3))),
    Case("column_stack", lambda m, x, y: m.column_stack([x * x, y]), of((2,), (2, 2))),
    _view("diagflat", lambda m, x: m.diagflat(x, 1), (2, 2)),
    Case("block_diag", lambda m, x, y, z: m.block_diag(x * x, y, z), of((2, 3), (2,), ())),
    Case("cartesian_prod", lambda m, x, y: m.cartesian_prod(x * x, y), of((2,), (3,))),
    _view("combinations", lambda m, x: m.combinations(x, 2), (4,)),
    _view("combinations", lambda m, x: m.combinations(x, 3, True), (3,), "replacement"),
    Case("select_scatter", lambda m, x, y: m.select_scatter(x * x, y * y, 1, -1), of((2, 3), (2,))),
    Case("diagonal_scatter", lambda m, x, y: m.diagonal_scatter(x * x, y * y, 1), of((2, 3), (2,)), "matrix"),
    Case("diagonal_scatter", lambda m, x, y: x.diagonal_scatter(y, -1, 2, 0), of((2, 3, 3), (3, 2)), "dims", False),
    Case("slice_scatter", lambda m, x, y: m.slice_scatter(x * x, y * y, 1, 1, None, 2), of((2, 5), (2, 2))),
    _view("sum_to_size", lambda m, x: x.sum_to_size(3, 1), (2, 3, 2)),
    Case("meshgrid", lambda m, x, y: m.mul(*m.meshgrid(x, y, indexing="ij")), of((2,), (3,)), "ij"),
    Case("meshgrid", lambda m, x, y: m.mul(*m.meshgrid([x, y], indexing="xy")), of((2,), (3,)), "xy"),
]
