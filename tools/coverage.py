"""Write docs/coverage.md: PyTorch's tensor functions, and which of them are here. ``python tools/coverage.py``.

Names and signatures are compared with the PyTorch that is installed; why something is not here, and where a signature differs, is in
the tables below. ``--check`` only tells, by its exit status, whether the page is current.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != _HERE]  # it has a `profile.py`
sys.path.insert(0, str(_HERE.parent))

import rasptorch as rt  # noqa: E402
from rasptorch.ops import methods  # noqa: E402

PAGE = _HERE.parent / "docs" / "coverage.md"

# What rasptorch sets out to have.
FEATURES = {
    "construction": "tensor zeros ones full empty arange linspace eye tril triu rand randn randint randperm bernoulli zeros_like "
    "ones_like full_like empty_like rand_like randn_like randint_like from_numpy asarray from_dlpack frombuffer",
    "views": "reshape view permute transpose T mT flatten squeeze unsqueeze expand broadcast_to narrow split chunk unbind diagonal unfold",
    "indexing": "index_select gather scatter scatter_add take_along_dim masked_fill where nonzero",
    "joining": "cat stack flip roll repeat tile repeat_interleave",
    "arithmetic": "add sub mul div floor_divide remainder pow matmul neg abs sign reciprocal sqrt rsqrt exp exp2 expm1 log log2 log10 "
    "log1p sin cos tan tanh sinh cosh asin acos atan atan2 erf floor ceil round trunc clamp maximum minimum fmod lerp addcmul square "
    "eq ne lt le gt ge isnan isinf isfinite logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor "
    "bitwise_not bitwise_left_shift bitwise_right_shift",
    "reductions": "sum mean prod max min amax amin argmax argmin var std norm logsumexp cumsum any all sort topk",
    "products": "matmul einsum bmm addmm",
    "random": "manual_seed Generator",
    "to the host": "numpy item tolist",
    "gradients": "requires_grad_ backward detach register_hook retain_grad no_grad enable_grad inference_mode",
}

# Where a signature is not PyTorch's, and why.
KNOWN = {
    "arange": "`start` is 0 where it is not given",
    "cdist": "rows are always subtracted, never multiplied",
    "concatenate": "it is `cat`, with `dim`",
    "einsum": "the equation comes first, then the operands",
    "gather": "no sparse gradients",
    "masked_select": "`out` is not resized, and how long the result is shows only when it is there",
    "meshgrid": "'ij' is what None means",
    "nonzero": "`out` is not resized, and how long the result is shows only when it is there",
    "norm": "`out` and `dtype` are given by name",
    "normal": "several forms; none of them takes `out`",
    "permute": "dimensions may also be given one by one, so not by name",
    "randperm": "whole numbers have no gradient",
    "reshape": "sizes may also be given one by one, so not by name",
    "searchsorted": "PyTorch too takes the values as `input`, whatever its documentation calls them",
    "swapdims": "it is `swapaxes`",
    "tensordot": "`out` is given by name",
    "tile": "numbers may also be given one by one, so not by name",
    "tril_indices": "on the default device, as everything that is made",
    "triu_indices": "on the default device, as everything that is made",
    "true_divide": "it is `div`",
    "unique": "PyTorch tells no signature to compare with",
    "unique_consecutive": "PyTorch tells no signature to compare with",
}

# Why names are not here: the first pattern that fits counts.
REASONS = (
    (
        r"complex|conj|angle|real$|imag$|polar|is_conj|resolve_|adjoint|view_as_real|is_neg|chalf|cfloat|cdouble",
        "no complex numbers",
    ),
    (
        r"sparse|coalesce|indices$|values$|crow_|ccol_|row_indices|col_indices|hspmm|smm|sspaddmm|dense_dim"
        r"|to_dense",
        "no sparse tensors",
    ),
    (
        r"quant|q_scale|q_zero|q_per|int_repr|fbgemm|miopen|mkldnn|cudnn|cuda|xpu|ipu|mtia|hpu|maia|vulkan|mps",
        "another back end's",
    ),
    (
        r"fft|stft|window|bartlett|hamming|hann|kaiser",
        "no Fourier transforms",
    ),
    (
        r"names|refine|align_|rename|has_names",
        "no named dimensions",
    ),
    (
        r"cholesky|lu_|^lu$|qr$|geqrf|orgqr|ormqr|svd|eig|lstsq|inverse|pinverse|det$|slogdet|logdet|matrix_exp"
        r"|matrix_power|triangular|lobpcg|pca_lowrank|solve",
        "no decompositions of matrices",
    ),
    (
        r"bessel|gamma|polygamma|erfc|erfinv|i0|sinc|xlog|logit|digamma|special|mvlgamma|zeta|nextafter|frexp|ldexp"
        r"|gcd|lcm",
        "not yet: special functions",
    ),
    (
        r"storage|data_ptr|share_memory|pin_memory|is_shared|is_pinned|resize|set_$|untyped|record_stream|apply_$"
        r"|map_$|map2_$|is_set_to|^new$|new_empty_strided|hash_tensor|dim_order",
        "memory belongs to the engine",
    ),
    (
        r"asinh|acosh|atanh|arcsinh|arccosh|arctanh|deg2rad|rad2deg|frac|heaviside|positive|softmax_|float_power"
        r"|sgn|threshold|selu|celu|prelu|rrelu|fmax|fmin|hardshrink|isneginf|isposinf|logaddexp2|addmm_|saddmm|spmm"
        r"|sum_to_size|kl_div|constant_pad",
        "not yet: elementwise",
    ),
    (
        r"^(conv|conv_transpose|max_pool|grid_sampler_)3d$",
        "no volumes: the kernels of convolutions and pooling, and how they are numbered, have two spatial axes",
    ),
    (
        r"batch_norm|layer_norm|group_norm|instance_norm|rms_norm|conv|pool|dropout|embedding|rnn|gru|lstm|loss"
        r"|pixel|channel_shuffle|affine_grid|grid_sampler|bilinear|pdist|cdist|cosine_similarity|pairwise"
        r"|feature_alpha|alpha_dropout|native_|ctc",
        "a layer: see `rasptorch.nn`",
    ),
    (
        r"random_|uniform_|normal_|cauchy|exponential_|geometric_|log_normal|bernoulli_|multinomial|poisson"
        r"|binomial|randperm|seed|rng_state",
        "not yet: random",
    ),
    (
        r"index|gather|scatter|take|put|nonzero|argwhere|masked|select|tril_indices|triu_indices|fill_diagonal"
        r"|where",
        "not yet: indexing",
    ),
    (
        r"sort|topk|kthvalue|median|mode|unique|quantile|searchsorted|bucketize|histc|histogram|bincount|cummax"
        r"|cummin|isin",
        "not yet: order",
    ),
    (
        r"cum|diff|trapz|trapezoid|gradient|logcumsumexp|nanmedian|renorm|dist$|cross|kron|chain_matmul|vander|cov"
        r"|corrcoef|trace|ger$|inner|addmv|addr|addbmm|baddbmm|linalg|block_diag|cartesian|combinations|frobenius"
        r"|nuclear|norm_except|is_same_size",
        "not yet: composed",
    ),
    (
        r"split|stack|flip|rot90|swap|movedim|atleast|column_stack|squeeze|unfold|view|expand|narrow|chunk|reshape"
        r"|diagonal|slice|as_strided|permute|transpose|detach|T$|t$|H$|tensor_split|unsafe|copy$|alias|lift",
        "not yet: views and joining",
    ),
)
OTHER = "not planned"
_IGNORED = {"layout", "pin_memory", "memory_format", "output_size"}  # there is one layout, and memory is the engine's


@dataclass(frozen=True)
class Argument:
    name: str
    default: str | None  # None: there is none
    positional: bool


def _arguments(text: str) -> list[Argument] | None:
    """The arguments in ``(input, dim=None, *, out=None)``; None for what is no signature."""
    text = re.sub(r"\\\*", "*", text.split("->")[0].strip())
    text = re.sub(r"(\*\w+),\s*\*,", r"\1,", text)  # as PyTorch's documentation writes what takes sizes one by one
    text = text.replace("(start=0, end, ", "(start=0, end=None, ")
    try:
        tree = ast.parse(f"def f{text}: pass").body[0]
    except SyntaxError:
        return None
    assert isinstance(tree, ast.FunctionDef)
    given = tree.args
    plain = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(plain) - len(given.defaults)) + [ast.unparse(d) for d in given.defaults]
    found = [Argument(a.arg, d, True) for a, d in zip(plain, defaults, strict=True)]
    if given.vararg is not None:
        found.append(Argument("*" + given.vararg.arg, None, True))
    for a, d in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        found.append(Argument(a.arg, None if d is None else ast.unparse(d), False))
    return found


def documented(torch: Any, name: str) -> list[list[Argument]]:
    """PyTorch's signatures of a function: its own, or those in the documentation."""
    function = getattr(torch, name)
    try:
        texts = [str(inspect.signature(function))]
    except (ValueError, TypeError):
        texts = re.findall(rf"^[ ]*(?:torch\.)?{name}(\([^\n]*?\))\s*->", function.__doc__ or "", re.MULTILINE)
    return [found for found in map(_arguments, texts) if found]


def ours(function: Callable[..., Any]) -> list[Argument]:
    out = []
    for p in inspect.signature(function).parameters.values():
        mark = "*" if p.kind is p.VAR_POSITIONAL else ""
        positional = p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD)
        out.append(Argument(mark + p.name, None if p.default is p.empty else repr(p.default), positional))
    return out


def differences(theirs: list[Argument], own: list[Argument]) -> list[str]:
    """What a call that PyTorch's signature allows would find otherwise here."""
    found = []
    mine = {a.name: (k, a) for k, a in enumerate(own)}
    for k, a in enumerate(a for a in theirs if a.name not in _IGNORED):
        if a.name not in mine:
            found.append(f"no `{a.name}`")
            continue
        at, b = mine[a.name]
        if a.positional and (not b.positional or at != k):
            found.append(f"`{a.name}` is not argument {k + 1}")
        elif a.default is None and b.default is None:
            continue
        elif a.default is not None and b.default is None:
            found.append(f"`{a.name}` has no default")
        elif a.default is not None and not _equal(a.default, str(b.default)):
            found.append(f"`{a.name}` is {b.default}, not {a.default}")
    return found


def _equal(one: str, other: str) -> bool:
    try:
        return bool(ast.literal_eval(one) == ast.literal_eval(other))
    except (ValueError, SyntaxError):
        return _plain(one) == _plain(other)


def _plain(text: str) -> str:
    """The name of a dtype without its module."""
    return {"long": "int64"}.get(name := text.rpartition(".")[2], name)


def compared(torch: Any, name: str) -> str:
    """Empty where a signature agrees with one of PyTorch's and contradicts none; otherwise what differs."""
    function = getattr(rt, name, None)
    if function is None or inspect.isclass(function) or not callable(getattr(torch, name, None)):
        return ""
    variants = [differences(theirs, ours(function)) for theirs in documented(torch, name)]
    wrong = [v for v in variants if v]
    return "; ".join(dict.fromkeys(text for v in wrong for text in v))


def where(name: str) -> str:
    """How the name is reached here; empty if it is not."""
    function, method = hasattr(rt, name), hasattr(rt.Tensor, name)
    return "function and method" if function and method else "function" if function else "method" if method else ""


def reason(name: str) -> str:
    return next((why for pattern, why in REASONS if re.search(pattern, name)), OTHER)


def names(torch: Any) -> list[str]:
    """PyTorch's public functions of tensors, and the methods of its tensors."""
    functions = {f.__name__ for f in torch.overrides.get_overridable_functions()[torch] if not f.__name__.startswith("_")}
    return sorted(
        {n for n in functions if callable(getattr(torch, n, None))}
        | {n for n in dir(torch.Tensor) if not n.startswith("_") and callable(getattr(torch.Tensor, n))}
    )


def page(torch: Any) -> str:
    version = torch.__version__.split("+")[0]
    lines = [
        "# Coverage of PyTorch", "",
        f"Generated by `python tools/coverage.py` from this checkout and PyTorch {version}. Names, argument names, order and defaults are",
        "compared mechanically; `tests/project/test_coverage.py` holds this page to both.", "",
        "`layout`, `pin_memory` and `memory_format` are in no signature: there is one layout, and memory belongs to the engine.", "",
        "## What rasptorch sets out to have", "", "| group | name | here | signature |", "|---|---|---|---|",
    ]  # fmt: skip
    for group, text in FEATURES.items():
        for name in dict.fromkeys(text.split()):
            lines.append(f"| {group} | `{name}` | {where(name) or 'no: not yet'} | {_signature(torch, name)} |")
    every = names(torch)
    here = [n for n in every if where(n)]
    lines += [
        "", "## Everything that PyTorch has", "",
        f"{len(here)} of the {len(every)} functions of tensors and methods of tensors in PyTorch {version} are here.", "",
        "| name | here |", "|---|---|",
    ]  # fmt: skip
    lines += [f"| `{n}` | {'yes: ' + where(n) if where(n) else 'no: ' + reason(n)} |" for n in every]
    extra = sorted(n for n in rt.ops.__all__ if not hasattr(torch, n) and not hasattr(torch.Tensor, n))
    lines += ["", "## Only here", "", ", ".join(f"`{n}`" for n in extra) + ".", ""]
    lines += ["Other names of the same operations: " + ", ".join(f"`{a}` ({b})" for a, b in sorted(methods.ALIASES.items())) + ".", ""]
    return "\n".join(lines)


def _signature(torch: Any, name: str) -> str:
    if not hasattr(rt, name) or not documented_somewhere(torch, name):
        return ""
    found = compared(torch, name)
    return "as PyTorch's" if not found else f"{found}: {KNOWN.get(name, '')}"


def documented_somewhere(torch: Any, name: str) -> bool:
    function = getattr(torch, name, None)
    return callable(function) and not inspect.isclass(function) and bool(documented(torch, name))


def main(arguments: list[str]) -> int:
    import torch

    text = page(torch)
    if "--check" in arguments:
        current = PAGE.exists() and PAGE.read_text("utf-8") == text
        print(f"{PAGE.name} is {'current' if current else 'not current: run python tools/coverage.py'}", file=sys.stderr)
        return int(not current)
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
