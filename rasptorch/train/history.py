"""What `fit` returns: the figures of every epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class History:
    """``history["loss"]`` is a list with a value per epoch; ``history[0]`` the first epoch's figures; ``history.epochs`` all of them.

    Figures: ``epoch`` (from 1), ``loss``, each metric by its name, the same of the validation with ``val_`` in front, ``seconds``
    and ``samples_per_second`` (of training and validation together, in this process), ``lr`` of the first parameter group.
    """

    def __init__(self, epochs: list[dict[str, Any]] | None = None) -> None:
        self.epochs = epochs if epochs is not None else []

    def __len__(self) -> int:
        return len(self.epochs)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.epochs)

    def __getitem__(self, what: int | str) -> Any:
        if isinstance(what, int):
            return self.epochs[what]
        if not any(what in epoch for epoch in self.epochs):
            known = sorted({name for epoch in self.epochs for name in epoch})
            raise KeyError(f"{what!r} was not measured; there are {', '.join(known) or 'no epochs'}")
        return [epoch.get(what) for epoch in self.epochs]

    def __repr__(self) -> str:
        names = list(dict.fromkeys(name for epoch in self.epochs for name in epoch))
        return f"History({len(self.epochs)} epochs: {', '.join(names)})"
