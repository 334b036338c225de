"""Rows of a table by number: embeddings."""

from __future__ import annotations

from typing import Any

from ..autograd.mode import no_grad
from ..ops.creation import empty
from ..ops.dispatch import same_device
from ..ops.gathering import rows_of, usable
from ..runtime import dtype as dt
from ..runtime.errors import DTypeError, ShapeError
from ..tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter


def _refuse(max_norm: Any, scale_grad_by_freq: bool, sparse: bool) -> None:
    if max_norm is not None:
        raise NotImplementedError(
            "embedding: max_norm would change the weight whenever it is read; scale the rows yourself, under no_grad, after a step"
        )
    if scale_grad_by_freq:
        raise NotImplementedError("embedding: scale_grad_by_freq is not supported; divide the gradient by counts of your own")
    if sparse:
        raise NotImplementedError("embedding: there are no sparse gradients; leave sparse=False, the gradient has the weight's shape")


def _padding(padding_idx: int | None, rows: int) -> int | None:
    """The padding row counted from the front."""
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise ShapeError(f"embedding: padding_idx {padding_idx} is none of {rows} rows ({-rows} to {rows - 1})")
    return padding_idx % rows


def embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:  # fmt: skip
    """The rows of ``weight`` ``[rows, columns]`` that ``input``, integers of any shape, names: ``[*input.shape, columns]``.

    Row ``padding_idx`` gets no gradient. A number outside ``0..rows-1`` raises `IndexError` at the next point where somebody waits.
    The gradient adds up in a fixed order. ``max_norm``, ``scale_grad_by_freq`` and ``sparse`` are refused.
    """
    _refuse(max_norm, scale_grad_by_freq, sparse)
    if weight.ndim != 2:
        raise ShapeError(f"embedding: weight is [rows, columns], got shape {list(weight.shape)}")
    if input.dtype.category != 1:
        raise DTypeError(f"embedding: input are row numbers (int64, int32 or uint8), got {input.dtype.name}")
    same_device("embedding", [input.layout, weight.layout])
    rows = weight.shape[0]
    return rows_of(weight, usable("embedding", input, rows, False), _padding(padding_idx, rows))


class Embedding(Module):
    """A table of ``num_embeddings`` vectors of ``embedding_dim`` numbers, looked up by integers of any shape.

    ``weight`` ``[num_embeddings, embedding_dim]`` starts from a normal distribution of mean 0 and deviation 1; row ``padding_idx``
    starts at zero and gets no gradient. See `functional.embedding` for what is refused.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False, device: Any = None, dtype: Any = dt.float32,
    ) -> None:  # fmt: skip
        super().__init__()
        _refuse(max_norm, scale_grad_by_freq, sparse)
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = _padding(padding_idx, num_embeddings)
        self.weight = Parameter(empty(num_embeddings, embedding_dim, dtype=dtype, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values from the default generator; the padding row becomes zero."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
    ) -> Embedding:  # fmt: skip
        """An embedding with ``embeddings`` ``[rows, columns]`` as its weight, which does not require gradients if ``freeze``."""
        if embeddings.ndim != 2:
            raise ShapeError(f"Embedding.from_pretrained: embeddings are [rows, columns], got shape {list(embeddings.shape)}")
        _refuse(max_norm, scale_grad_by_freq, sparse)
        rows, columns = embeddings.shape
        made = cls.__new__(cls)
        Module.__init__(made)
        made.num_embeddings, made.embedding_dim, made.padding_idx = rows, columns, _padding(padding_idx, rows)
        made.weight = Parameter(embeddings.detach(), requires_grad=not freeze)
        return made

    def forward(self, input: Tensor) -> Tensor:
        return embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
