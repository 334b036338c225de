"""CSV files of numbers, with a column of classes or values to learn."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .dataset import TensorDataset
from .errors import DataError, DataFormatError


class Table(NamedTuple):
    """``rows`` of text, the ``names`` of the columns, and the byte at which each row begins."""

    names: list[str]
    rows: list[list[str]]
    offsets: list[int]


class _Lines:
    """The lines of a file as text; knows the byte at which the last one began."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self.offset = 0
        self.next_offset = 0

    def __iter__(self) -> Iterator[str]:
        with open(self._path, "rb") as file:
            for line in file:
                self.offset, self.next_offset = self.next_offset, self.next_offset + len(line)
                try:
                    yield line.decode("utf-8-sig" if self.offset == 0 else "utf-8")
                except UnicodeDecodeError as problem:
                    raise DataFormatError(self._path, self.offset + problem.start, "not UTF-8") from None


def _table(path: str | os.PathLike[str], delimiter: str, header: bool) -> Table:
    lines = _Lines(path)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    names: list[str] | None = None
    rows: list[list[str]] = []
    offsets: list[int] = []
    start = 0
    try:
        for row in reader:
            if row and header and names is None:
                names = [name.strip() for name in row]
            elif row:
                width = len(names) if names is not None else len(rows[0]) if rows else len(row)
                if len(row) != width:
                    raise DataFormatError(path, start, f"line {reader.line_num} has {len(row)} fields, those before {width}")
                rows.append(row)
                offsets.append(start)
            start = lines.next_offset
    except csv.Error as problem:
        raise DataFormatError(path, start, f"line {reader.line_num}: {problem}") from None
    if not rows:
        raise DataFormatError(path, start, "there are no rows")
    return Table(names or [str(k) for k in range(len(rows[0]))], rows, offsets)


def _numbers(path: str | os.PathLike[str], table: Table, columns: Sequence[int]) -> NDArray[np.float64]:
    """``[rows, columns]``; an error for the first field that is no number."""
    out = np.empty((len(table.rows), len(columns)))
    for number, (row, offset) in enumerate(zip(table.rows, table.offsets, strict=True)):
        for k, column in enumerate(columns):
            try:
                out[number, k] = float(row[column])
            except ValueError:
                raise DataFormatError(path, offset, f"column {table.names[column]!r} is {row[column]!r}, not a number") from None
    return out


def read_csv(
    path: str | os.PathLike[str], *, delimiter: str = ",", header: bool = True, dtype: str = "float32"
) -> tuple[NDArray[np.float32], list[str]]:
    """The numbers in a CSV file, ``[rows, columns]``, and the names of its columns (their positions, without a header).

    `DataFormatError` names the file and the byte at which the row begins that is no row of numbers.
    """
    table = _table(path, delimiter, header)
    return _numbers(path, table, range(len(table.names))).astype(dtype), table.names


class CSVDataset(TensorDataset):
    """The rows of a CSV file. Items: the other columns, float32 ``[k]``; and the column ``target`` (a name or a position).

    A target of numbers is float32, with ``classes=True`` int64 class numbers. A target of words always is: ``classes`` then holds
    the words in alphabetical order, and the class number is the position in it.
    """

    def __init__(
        self, path: str | os.PathLike[str], target: str | int, *, classes: bool = False, delimiter: str = ",", header: bool = True
    ) -> None:
        table = _table(path, delimiter, header)
        column = self._column(path, table, target)
        self.names = [name for k, name in enumerate(table.names) if k != column]
        inputs = _numbers(path, table, [k for k in range(len(table.names)) if k != column]).astype(np.float32)
        words = [row[column].strip() for row in table.rows]
        self.classes: list[str] = []
        if classes or not all(_is_number(word) for word in words):
            self.classes = sorted(set(words), key=_class_order)
            numbers = {word: k for k, word in enumerate(self.classes)}
            targets: NDArray[np.int64] | NDArray[np.float32] = np.array([numbers[word] for word in words], np.int64)
        else:
            targets = np.array([float(word) for word in words], np.float32)
        super().__init__(inputs, targets)

    @staticmethod
    def _column(path: str | os.PathLike[str], table: Table, target: str | int) -> int:
        if isinstance(target, str):
            if target not in table.names:
                raise DataError(f"{os.fspath(path)} has no column {target!r}; its columns are {', '.join(table.names)}")
            return table.names.index(target)
        if not -len(table.names) <= target < len(table.names):
            raise DataError(f"{os.fspath(path)} has no column {target}; it has {len(table.names)}")
        return target % len(table.names)


def _class_order(word: str) -> tuple[int, float, str]:
    """Numbers in their order, then words in theirs."""
    return (0, float(word), word) if _is_number(word) else (1, 0.0, word)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
