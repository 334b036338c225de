"""Random programs on a pool of tensors: what they should compute, and how to run them.

`Model` turns numbers into a list of `Action`\\ s that make sense for the tensors there are, and computes on the way what must come
out: floats in float64 with a bound on how far float32 may be off, everything else exactly. Decisions that hang on a float's last
bits (comparisons, conversions to whole numbers) are only made where float32 is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
EPS = 2.0**-23
LIMIT = 64.0  # floats are clamped once they may be larger: errors stay small, and so do sums
NAMES = ("bool", "uint8", "int32", "float32")  # in the order of promotion
KINDS: dict[str, Any] = {"bool": np.bool_, "uint8": np.uint8, "int32": np.int32, "float32": np.float64}
SHAPES = ((4, 6), (6,), (1, 6), (4, 1), (6, 4), (2, 3, 4), ())


@dataclass(frozen=True)
class Action:
    """``what`` is a key of `tests.plan.execute`; ``operands`` are places in the pool, ``extra`` whatever else it takes."""

    what: str
    operands: tuple[int, ...] = ()
    extra: tuple[Any, ...] = ()
    stream: int = 0


@dataclass
class Facts:
    """What is known of a storage. ``error`` bounds how far float32 may be from the model; ``exact``: not at all.

    ``loose``: results of NumPy's own loops over several elements or of its functions: other memory order, other last bits.
    """

    dtype: str
    error: float = 0.0
    exact: bool = True
    loose: bool = False


@dataclass
class Value:
    array: Array
    facts: Facts
    expanded: bool = False


def single(array: Array) -> Array:
    return array.astype(np.float32).astype(np.float64)


def magnitude(array: Array) -> float:
    return float(np.abs(array).max()) if array.size else 0.0


def promoted(x: Value, y: Value) -> str:
    """The dtype of a result; among whole numbers a tensor without dimensions does not count."""
    names = x.facts.dtype, y.facts.dtype
    if set(names) == {"uint8", "int32"} and (x.array.ndim == 0) != (y.array.ndim == 0):
        return names[0] if x.array.ndim else names[1]
    return max(names, key=NAMES.index)


class Model:
    """The pool as it should be. `take` makes one step from four numbers; ``actions`` and ``reads`` are what came of them."""

    def __init__(self, seed: int) -> None:
        self.pool: list[Value] = []
        self.actions: list[Action] = []
        self.reads: list[Value] = []  # in the order of the actions that read
        self._random = np.random.default_rng(seed)
        self._stream = 0
        for dtype in ("float32", "float32", "int32", "bool"):
            self._create(dtype, SHAPES[len(self.pool) % 2])
        self._steps: tuple[Callable[[int, int, int], None], ...] = (
            self._binary, self._binary, self._binary, self._scalar, self._scalar, self._unary, self._unary, self._compare,
            self._where, self._look_up, self._look_up, self._cast,
            self._view, self._view, self._view, self._in_place, self._in_place, self._in_place,
            self._reduce, self._reduce, self._matmul, self._fill, self._constant, self._delete, self._flush, self._read, self._upload,
        )  # fmt: skip

    def take(self, kind: int, a: int, b: int, c: int, stream: int = 0) -> None:
        self._stream = stream
        with np.errstate(all="ignore"):
            self._steps[kind % len(self._steps)](a, b, c)

    def finish(self) -> None:
        for k in range(len(self.pool)):
            self._note("read", (k,))
            self._keep(self.pool[k])

    # -- the pool -------------------------------------------------------------------------------------------------
    def _note(self, what: str, operands: tuple[int, ...] = (), *extra: Any) -> None:
        self.actions.append(Action(what, operands, extra, self._stream))

    def _keep(self, value: Value) -> None:
        self.reads.append(Value(value.array.copy(), Facts(**vars(value.facts))))

    def _at(self, number: int, *dtypes: str) -> int | None:
        """A place in the pool with one of these dtypes (none given: any), counted from ``number``."""
        count = len(self.pool)
        places = [(number + k) % count for k in range(count)]
        return next((k for k in places if not dtypes or self.pool[k].facts.dtype in dtypes), None)

    def _push(self, array: Any, dtype: str, error: float = 0.0, loose: bool = False, exact: bool = True) -> None:
        """The result of the action just noted; a float that may have become large is clamped by another one."""
        made = np.asarray(array, KINDS[dtype])
        exact = dtype != "float32" or (exact and error == 0.0 and bool((single(made) == made).all()))
        error = 0.0 if exact else error + EPS * magnitude(made)
        self.pool.append(Value(made, Facts(dtype, error, exact, loose)))
        if dtype == "float32" and magnitude(made) > LIMIT:
            last = len(self.pool) - 1
            self._note("clamp", (last,))
            self.pool[last] = Value(np.asarray(np.clip(made, -8.0, 8.0)), Facts(dtype, error, exact, loose))

    def _create(self, dtype: str, shape: tuple[int, ...]) -> None:
        random = self._random
        data: Array
        if dtype == "float32":
            data = random.integers(-32, 33, shape) / 8.0
        elif dtype == "bool":
            data = random.integers(0, 2, shape).astype(bool)
        else:
            data = random.integers(0 if dtype == "uint8" else -100, 101, shape)
        data = np.asarray(data, KINDS[dtype])
        self._note("tensor", (), data.astype(np.float32) if dtype == "float32" else data.copy())
        self.pool.append(Value(data, Facts(dtype)))

    def _pair(self, a: int, b: int) -> tuple[int, int] | None:
        """Two places whose shapes broadcast to something small."""
        for k in range(len(self.pool)):
            other = (b + k) % len(self.pool)
            try:
                shape = np.broadcast_shapes(self.pool[a].array.shape, self.pool[other].array.shape)
            except ValueError:
                continue
            if math.prod(shape) <= 100:
                return a, other
        return None

    # -- elementwise ----------------------------------------------------------------------------------------------
    def _binary(self, a: int, b: int, c: int) -> None:
        pair = self._pair(a % len(self.pool), b % len(self.pool))
        if pair is None:
            return
        x, y = (self.pool[k] for k in pair)
        dtype = promoted(x, y)
        names = ("maximum", "minimum", "add", "mul") if dtype == "bool" else ("add", "sub", "mul", "maximum", "minimum")
        name = names[c % len(names)]
        left, right = x.array.astype(KINDS[dtype]), y.array.astype(KINDS[dtype])
        ufunc = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "maximum": np.maximum, "minimum": np.minimum}[name]
        self._note(name, pair)
        errors = self._error(x, left), self._error(y, right)
        error = max(errors) if name in ("maximum", "minimum") else sum(errors)
        if name == "mul" and dtype == "float32":
            error = errors[0] * magnitude(right) + errors[1] * magnitude(left) + errors[0] * errors[1]
        exact = x.facts.exact and y.facts.exact and errors == (0.0, 0.0)
        self._push(ufunc(left, right), dtype, error, x.facts.loose or y.facts.loose, exact)

    @staticmethod
    def _error(value: Value, as_float: Array) -> float:
        """The error an operand brings; whole numbers are rounded where they become floats."""
        if value.facts.dtype == "float32":
            return value.facts.error
        return 0.0 if as_float.dtype.kind != "f" or magnitude(as_float) < 2**24 else EPS * magnitude(as_float)

    def _scalar(self, a: int, b: int, c: int) -> None:
        at = self._at(a, "float32", "int32")
        if at is None:
            return
        x = self.pool[at]
        whole = x.facts.dtype == "int32"
        number = (3, -2, 7)[b % 3] if whole else (0.5, -1.5, 2.0)[b % 3]
        name = ("add", "mul", "rsub")[c % 3]
        result = {"add": x.array + number, "mul": x.array * number, "rsub": number - x.array}[name]
        self._note(name + "_number", (at,), number)
        scale = abs(number) if name == "mul" else 1.0
        self._push(result, x.facts.dtype, x.facts.error * scale, x.facts.loose, x.facts.exact)

    def _unary(self, a: int, b: int, c: int) -> None:
        at = self._at(a, "float32", "int32", "bool") if b % 2 else self._at(a, "float32")
        if at is None:
            return
        x = self.pool[at]
        if x.facts.dtype == "bool":
            self._note("logical_not", (at,))
            self._push(~x.array, "bool")
            return
        plain: dict[str, Callable[[Array], Array]] = {"neg": np.negative, "abs": np.abs, "relu": lambda v: np.maximum(v, 0)}
        smooth: dict[str, Callable[[Array], Array]] = {
            "tanh": np.tanh, "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
            "hypot": lambda v: np.sqrt(v * v + 1), "gauss": lambda v: np.exp(-v * v),
        }  # fmt: skip
        names = list(plain) if x.facts.dtype == "int32" else [*plain, *smooth]
        name = names[c % len(names)]
        self._note(name, (at,))
        if name in plain:
            self._push(plain[name](x.array), x.facts.dtype, x.facts.error, x.facts.loose, x.facts.exact)
        else:
            self._push(smooth[name](x.array), "float32", 2 * x.facts.error + 16 * EPS * (1 + magnitude(x.array)), True, False)

    def _compare(self, a: int, b: int, c: int) -> None:
        pair = self._pair(a % len(self.pool), b % len(self.pool))
        if pair is None:
            return
        x, y = (self.pool[k] for k in pair)
        if not (x.facts.exact and y.facts.exact):
            return
        name, ufunc = (("lt", np.less), ("ge", np.greater_equal), ("eq", np.equal))[c % 3]
        dtype = KINDS[promoted(x, y)]
        left, right = x.array.astype(dtype), y.array.astype(dtype)
        if dtype is np.float64 and max(magnitude(left), magnitude(right)) >= 2**24:
            return
        self._note(name, pair)
        self._push(ufunc(left, right), "bool")

    def _where(self, a: int, b: int, c: int) -> None:
        condition, x = self._at(a, "bool"), b % len(self.pool)
        if condition is None:
            return
        y = self._at(c, self.pool[x].facts.dtype)
        assert y is not None
        arrays = [self.pool[k].array for k in (condition, x, y)]
        try:
            result = np.where(*arrays)
        except ValueError:
            return
        if result.size > 100:
            return
        facts = [self.pool[k].facts for k in (x, y)]
        self._note("where", (condition, x, y))
        self._push(result, facts[0].dtype, max(f.error for f in facts), any(f.loose for f in facts), all(f.exact for f in facts))

    def _look_up(self, a: int, b: int, c: int) -> None:
        """Elements of one value by the numbers that another one makes."""
        at, index = a % len(self.pool), self._at(b, "int32")
        if index is None or not self.pool[at].array.size:
            return
        x = self.pool[at]
        numbers = np.remainder(self.pool[index].array, x.array.size)
        self._note("look_up", (at, index))
        self._push(x.array.reshape(-1)[numbers], x.facts.dtype, x.facts.error, x.facts.loose, x.facts.exact)

    def _cast(self, a: int, b: int, c: int) -> None:
        at = a % len(self.pool)
        x, to = self.pool[at], NAMES[b % 4]
        source = x.facts.dtype
        if to == source or not x.facts.exact:
            return
        if to == "uint8" and source != "bool":
            if source == "float32":
                return
            self._note("below_200", (at,))
            self._push(np.remainder(x.array, 200), "uint8")
            return
        if source == "float32" and to == "int32" and magnitude(x.array) > 1e6:
            return
        self._note("cast", (at,), to)
        converted = x.array != 0 if to == "bool" else np.trunc(x.array) if source == "float32" else x.array
        self._push(converted, to, exact=True)

    # -- views ----------------------------------------------------------------------------------------------------
    def _view(self, a: int, b: int, c: int) -> None:
        at = a % len(self.pool)
        x = self.pool[at]
        found = self._views(x, c)
        if not found:
            return
        what, extra, array = found[b % len(found)]
        self._note(what, (at,), *extra)
        stretched = any(s == 0 and n > 1 for s, n in zip(array.strides, array.shape, strict=True))
        self.pool.append(Value(array, x.facts, x.expanded or stretched))

    def _views(self, x: Value, c: int) -> list[tuple[str, tuple[Any, ...], Array]]:
        """What could be made of a tensor: name of the action, its arguments, the view."""
        array, rank = x.array, x.array.ndim
        out: list[tuple[str, tuple[Any, ...], Array]] = []
        if rank:
            axis = c % rank
            length = array.shape[axis]
            start = c // 3 % max(length, 1)
            head: tuple[Any, ...] = (slice(None),) * axis
            if length > 1:
                index = (*head, slice(start, length, 1 + c % 2))
                out.append(("index", (index,), array[index]))
                index = (*head, slice(0, length - 1))
                out.append(("index", (index,), array[index]))
            index = (*head, start)
            if length:
                out.append(("index", (index,), array[(*index, ...)]))
        if rank >= 2:
            out.append(("transpose", (0, rank - 1), np.swapaxes(array, 0, rank - 1)))
        if rank and array.flags.c_contiguous and array.size % 2 == 0 and not x.expanded:
            shape = ((array.size,), (2, array.size // 2), (array.size // 2, 2))[c % 3]
            out.append(("reshape", (shape,), array.reshape(shape)))
        if rank <= 2:
            out.append(("unsqueeze", (c % (rank + 1),), np.expand_dims(array, c % (rank + 1))))
        if rank == 1 and array.size <= 24:
            out.append(("expand", ((3, array.size),), np.broadcast_to(array, (3, array.size))))
        return out

    # -- in place -------------------------------------------------------------------------------------------------
    def _in_place(self, a: int, b: int, c: int) -> None:
        at = next((k for n in range(len(self.pool)) if not self.pool[k := (a + n) % len(self.pool)].expanded), None)
        if at is None:
            return
        target = self.pool[at]
        number = c % 4 == 0
        if number and target.facts.dtype in ("float32", "int32"):
            value = 0.5 if target.facts.dtype == "float32" else 3
            self._note("mul_number_", (at,), value)
            self._write(target, target.array * value, target.facts.error * value, False, target.facts.exact)
            return
        other = self._fitting(b, target)
        if other is None:
            return
        y = self.pool[other]
        right = y.array.astype(KINDS[target.facts.dtype])
        error = self._error(y, right)
        loose, exact = y.facts.loose, y.facts.exact and error == 0.0
        name = ("copy_", "maximum_", "add_", "sub_")[c % 4]
        if name == "copy_" and y.facts.dtype == target.facts.dtype:
            self._note("copy_", (at, other))
            self._write(target, np.broadcast_to(right, target.array.shape), error, loose, exact)
        elif name == "maximum_":
            self._note("maximum_", (at, other))
            self._write(target, np.maximum(target.array, right), max(error, target.facts.error), loose, exact)
        elif target.facts.dtype != "bool" and magnitude(target.array) + magnitude(right) < LIMIT * (1e6 if exact else 1):
            sign = 1 if name == "add_" else -1
            self._note("add_" if sign == 1 else "sub_", (at, other))
            result = target.array + right if sign == 1 else target.array - right
            self._write(target, result, error + target.facts.error, loose, exact)

    def _fitting(self, start: int, target: Value) -> int | None:
        """Something that can be written to ``target``: its shape stretches, and its dtype is no wider."""
        for k in range(len(self.pool)):
            other = (start + k) % len(self.pool)
            y = self.pool[other]
            if NAMES.index(y.facts.dtype) > NAMES.index(target.facts.dtype):
                continue
            try:
                if np.broadcast_shapes(y.array.shape, target.array.shape) == target.array.shape:
                    return other
            except ValueError:
                continue
        return None

    def _write(self, target: Value, result: Array, error: float, loose: bool, exact: bool) -> None:
        facts = target.facts
        made = np.array(result).astype(target.array.dtype)
        if facts.dtype == "float32":
            facts.exact = facts.exact and exact and bool((single(made) == made).all())
            facts.error = 0.0 if facts.exact else max(error, facts.error) + EPS * magnitude(made)
            facts.loose = facts.loose or loose
        target.array[...] = made

    def _fill(self, a: int, b: int, c: int) -> None:
        at = next((k for n in range(len(self.pool)) if not self.pool[k := (a + n) % len(self.pool)].expanded), None)
        if at is not None:
            target, number = self.pool[at], b % 2
            self._note("fill_", (at,), number)
            self._write(target, np.full(target.array.shape, number), 0.0, False, True)

    # -- whole-tensor operations ----------------------------------------------------------------------------------
    def _reduce(self, a: int, b: int, c: int) -> None:
        at = a % len(self.pool)
        x = self.pool[at]
        if not x.array.size:
            return
        rank = x.array.ndim
        axes = tuple(range(rank)) if b % 3 == 0 or not rank else (b % rank,)
        keep = bool(c % 2)
        names = {"bool": ("any", "all"), "float32": ("sum", "amax", "amin", "mean")}.get(x.facts.dtype, ("sum", "amax", "amin"))
        name = names[c // 2 % len(names)]
        self._note(name, (at,), axes, keep)
        if name in ("sum", "mean"):
            dtype = x.facts.dtype if x.facts.dtype == "float32" else "int32"
            wide = x.array.astype(np.float64 if dtype == "float32" else np.int64)
            result = wide.sum(axis=axes, keepdims=keep) if name == "sum" else wide.mean(axis=axes, keepdims=keep)
            terms = math.prod(x.array.shape[k] for k in axes)
            size = float(np.abs(wide).sum(axis=axes).max(initial=0.0)) if dtype == "float32" else 0.0
            exact = x.facts.exact and name == "sum" and size < 256 and _on_grid(x.array)
            error = terms * (x.facts.error + EPS * size) if not exact and dtype == "float32" else 0.0
            self._push(result.astype(np.int32) if dtype == "int32" else result, dtype, error, not exact, exact)
            return
        functions: dict[str, Callable[..., Any]] = {"any": np.any, "all": np.all, "amax": np.max, "amin": np.min}
        self._push(functions[name](x.array, axis=axes, keepdims=keep), x.facts.dtype, x.facts.error, x.facts.loose, x.facts.exact)

    def _matmul(self, a: int, b: int, c: int) -> None:
        places = [k for k, v in enumerate(self.pool) if v.array.ndim == 2 and v.facts.dtype in ("float32", "int32")]
        pairs = [
            (k, n) for k in places for n in places
            if self.pool[k].array.shape[1] == self.pool[n].array.shape[0] and self.pool[k].facts.dtype == self.pool[n].facts.dtype
        ]  # fmt: skip
        if not pairs:
            return
        k, n = pairs[(a * 7 + b) % len(pairs)]
        x, y = self.pool[k], self.pool[n]
        if not x.array.shape[1]:
            return
        self._note("matmul", (k, n))
        if x.facts.dtype == "int32":
            self._push((x.array.astype(np.int64) @ y.array.astype(np.int64)).astype(np.int32), "int32")
            return
        terms, top = x.array.shape[1], magnitude(x.array) * magnitude(y.array)
        error = terms * (x.facts.error * magnitude(y.array) + y.facts.error * magnitude(x.array) + terms * EPS * top + 1e-12)
        exact = x.facts.exact and y.facts.exact and terms * top < 128 and _on_grid(x.array) and _on_grid(y.array)
        self._push(x.array @ y.array, "float32", 0.0 if exact else error, not exact, exact)

    def _constant(self, a: int, b: int, c: int) -> None:
        shape, dtype = SHAPES[a % len(SHAPES)], NAMES[b % 4]
        if c % 3 == 0 and dtype in ("float32", "int32"):
            count = math.prod(shape)
            self._note("arange", (), count, shape, dtype)
            self._push(np.arange(count).reshape(shape), dtype)
            return
        self._note("full", (), shape, c % 2, dtype)
        self._push(np.full(shape, c % 2), dtype)

    def _upload(self, a: int, b: int, c: int) -> None:
        self._create(NAMES[b % 4], SHAPES[a % len(SHAPES)])

    # -- everything else ------------------------------------------------------------------------------------------
    def _delete(self, a: int, b: int, c: int) -> None:
        if len(self.pool) > 4:
            at = a % len(self.pool)
            self._note("delete", (at,))
            del self.pool[at]

    def _flush(self, a: int, b: int, c: int) -> None:
        self._note("flush")

    def _read(self, a: int, b: int, c: int) -> None:
        """Ask for a value; half of the time it is fetched only at the end, after whatever is written to it."""
        at = a % len(self.pool)
        self._note("read" if b % 2 else "read_later", (at,))
        self._keep(self.pool[at])


def _on_grid(array: Array) -> bool:
    """Whether all values are multiples of 1/64: sums and products of a few of them are exact in float32."""
    return bool((array * 64 == np.round(array * 64)).all())


def in_order(actions: Sequence[Action], reads: Sequence[Value]) -> Iterator[tuple[Action, Value]]:
    """The actions that read, each with what it must give."""
    return zip([a for a in actions if a.what in ("read", "read_later")], reads, strict=True)
