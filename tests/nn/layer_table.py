"""A row for every layer of images, vectors and numbers: its random configurations. Those of sequences are in `sequence_table.py`."""

from __future__ import annotations

from typing import Any

from .drawing import Case, Draw, Row

FLAT = 0.1  # eps: few values per mean make steep functions of rounding errors, this keeps them flat


# -- element by element ----------------------------------------------------------------------------------------------
def _activation(**options: tuple[Any, ...]) -> Row:
    def row(d: Draw) -> Case:
        drawn = {name: d.of(*values) for name, values in options.items() if d.flag()}
        return Case(options=drawn, inputs=(d.array(*d.shape(low=0), low=-4, high=4),))

    return row


def _threshold(d: Draw) -> Case:
    return Case((d.of(-0.5, 0.7), d.of(0, 3.0)), {}, (d.array(*d.shape()),))


def _prelu(d: Draw) -> Case:
    shape = d.shape(2, 4)
    count = d.of(1, shape[1])
    return Case((), {"num_parameters": count, "init": d.of(0.25, -1.5)}, (d.array(*(d.shape() if count == 1 else shape)),))


def _softmax(d: Draw) -> Case:
    shape = d.shape(1)
    return Case((d.number(-len(shape), len(shape) - 1),), {}, (d.array(*shape),))


def _dropout(dims: int) -> Row:
    """All or nothing: what falls between is random, and in `test_random.py`."""

    def row(d: Draw) -> Case:
        training = d.flag()
        shape = d.shape() if dims == 0 else d.shape(dims + 1, dims + 2)
        return Case((d.of(0.0, 1.0) if training else d.of(0.0, 0.3, 1.0),), {}, (d.array(*shape),), {}, training)

    return row


ELEMENTWISE: dict[str, Row] = {
    "CELU": _activation(alpha=(0.3, 1.0, 2.5)),
    "Dropout": _dropout(0),
    "Dropout1d": _dropout(1),
    "Dropout2d": _dropout(2),
    "ELU": _activation(alpha=(0.3, 1.0, 2.5)),
    "GELU": _activation(approximate=("none", "tanh")),
    "Hardsigmoid": _activation(),
    "Hardswish": _activation(),
    "Hardtanh": _activation(min_val=(-2.0, -0.5), max_val=(0.5, 2)),
    "LeakyReLU": _activation(negative_slope=(0.0, 0.2, -0.5)),
    "LogSigmoid": _activation(),
    "LogSoftmax": _softmax,
    "Mish": _activation(),
    "PReLU": _prelu,
    "ReLU": _activation(),
    "ReLU6": _activation(),
    "SELU": _activation(),
    "SiLU": _activation(),
    "Sigmoid": _activation(),
    "Softmax": _softmax,
    "Softplus": _activation(beta=(0.5, 1, 3.0), threshold=(1.0, 20)),
    "Softsign": _activation(),
    "Tanh": _activation(),
    "Threshold": _threshold,
}


# -- shapes and products ---------------------------------------------------------------------------------------------
def _linear(d: Draw) -> Case:
    a, b = d.numbers(2)
    return Case((a, b), d.flags("bias"), (d.array(*d.shape(low=0), a),))


def _bilinear(d: Draw) -> Case:
    (a, b, c), lead = d.numbers(3), d.shape()
    return Case((a, b, c), d.flags("bias"), (d.array(*lead, a), d.array(*lead, b)))


def _flatten(d: Draw) -> Case:
    shape = d.shape(1, 4, low=0)
    start = d.number(0, len(shape) - 1)
    end = d.number(start, len(shape) - 1)
    return Case((start, end - len(shape)), {}, (d.array(*shape),))


def _unflatten(d: Draw) -> Case:
    before, parts, after = d.shape(0, 2), d.shape(1, 3), d.shape(0, 2)
    count = 1
    for n in parts:
        count *= n
    sizes = (-1, *parts[1:]) if d.flag() else parts
    return Case((len(before) - d.of(0, len(before) + 1 + len(after)), sizes), {}, (d.array(*before, count, *after),))


def _sequential(d: Draw) -> Case:
    a, b, c = d.numbers(3)
    args = (lambda nn: nn.Linear(a, b), lambda nn: nn.Tanh(), lambda nn: nn.Sequential(nn.Linear(b, c), nn.Identity()))
    return Case(args[: d.number(0, 3)], {}, (d.array(*d.shape(), a),))


def _shuffle(down: bool) -> Row:
    def row(d: Draw) -> Case:
        r, lead, (c, h, w) = d.number(1, 3), d.shape(0, 2), d.numbers(3)
        return Case((r,), {}, (d.array(*lead, *((c, h * r, w * r) if down else (c * r * r, h, w))),))

    return row


def _zero_pad(d: Draw) -> Case:
    return Case((d.number(0, 3) if d.flag() else d.numbers(4, -1, 3),), {}, (d.array(*d.shape(0, 2), *d.numbers(2, 3, 5)),))


def _upsample(d: Draw) -> Case:
    dims = d.number(1, 2)
    modes = ("nearest", "nearest-exact", "area", "linear") if dims == 1 else ("nearest", "nearest-exact", "area", "bilinear", "bicubic")
    shape, options = (d.number(), d.number(), *d.numbers(dims, 2, 7)), {"mode": d.of(*modes)}
    if d.flag():
        options["size"] = d.numbers(dims, 1, 12)
    else:
        options |= {"scale_factor": tuple(d.of(0.5, 1.0, 1.6, 2.0, 3) for _ in range(dims)), "recompute_scale_factor": d.of(None, True)}
    if options["mode"] in ("linear", "bilinear", "bicubic"):
        options["align_corners"] = d.of(None, False, True)
    return Case((), options, (d.array(*shape),))


SHAPES: dict[str, Row] = {
    "Bilinear": _bilinear,
    "Flatten": _flatten,
    "Identity": lambda d: Case((54,), {"unused": 1}, (d.array(*d.shape()),)),
    "Linear": _linear,
    "PixelShuffle": _shuffle(False),
    "PixelUnshuffle": _shuffle(True),
    "Sequential": _sequential,
    "Unflatten": _unflatten,
    "Upsample": _upsample,
    "ZeroPad2d": _zero_pad,
}


# -- windows ---------------------------------------------------------------------------------------------------------
def _one(d: Draw, values: tuple[int, ...]) -> Any:
    """Several numbers, or one where that says the same."""
    return values[0] if len(set(values)) == 1 and d.flag() else values


def _image(d: Draw, channels: int, sizes: tuple[int, ...]) -> tuple[Any, ...]:
    return (d.array(*(() if d.flag() else (d.number(0, 3),)), channels, *sizes),)


def _convolution(dims: int) -> Row:
    def row(d: Draw) -> Case:
        groups = d.number(1, 3)
        kernel, spread = d.numbers(dims, 1, 4), d.numbers(dims, 1, 2)
        border = d.of("numbers", "same", "valid")
        stride = (1,) * dims if border == "same" else d.numbers(dims, 1, 3)
        before = d.numbers(dims, 0, 2) if border == "numbers" else (0,) * dims
        mode = d.of("zeros", "zeros", "reflect", "replicate", "circular")
        reach = [s * (k - 1) + 1 for k, s in zip(kernel, spread, strict=True)]
        sizes = tuple(max(r - 2 * p, r if border == "same" else p + 1) + d.number(0, 3) for r, p in zip(reach, before, strict=True))
        channels = groups * d.number(1, 2)
        options = {
            "stride": _one(d, stride), "dilation": _one(d, spread), "groups": groups, "padding_mode": mode,
            "padding": _one(d, before) if border == "numbers" else border,
        }  # fmt: skip
        return Case((channels, groups * d.number(1, 2), _one(d, kernel)), options | d.flags("bias"), _image(d, channels, sizes))

    return row


def _transposed(dims: int) -> Row:
    def row(d: Draw) -> Case:
        groups = d.number(1, 3)
        kernel, stride, spread, padding = d.numbers(dims, 1, 4), d.numbers(dims, 1, 3), d.numbers(dims, 1, 2), d.numbers(dims, 0, 2)
        walks = list(zip(kernel, stride, spread, padding, strict=True))
        extra = tuple(d.number(0, max(s, g) - 1) for _, s, g, _ in walks)
        sizes = tuple(max(0, -((g * (k - 1) - 2 * p) // s)) + d.number(1, 4) for k, s, g, p in walks)
        channels = groups * d.number(1, 2)
        options = {"stride": stride, "padding": _one(d, padding), "output_padding": extra, "groups": groups, "dilation": spread}
        return Case((channels, groups * d.number(1, 2), kernel), options | d.flags("bias"), _image(d, channels, sizes))

    return row


def _pool(dims: int, largest: bool) -> Row:
    def row(d: Draw) -> Case:
        kernel = d.numbers(dims, 1, 4)
        spread = d.numbers(dims, 1, 2) if largest else (1,) * dims
        padding = tuple(d.number(0, k // 2) for k in kernel)
        options = {"stride": d.of(None, d.numbers(dims, 1, 3)), "padding": _one(d, padding), "ceil_mode": d.flag()}
        if largest:
            options |= {"dilation": spread, "return_indices": d.flag()}
        else:
            options["count_include_pad"] = d.flag()
            if dims == 2:
                options["divisor_override"] = d.of(None, 1, 5)
        # As long as the taps are apart: windows without any input make PyTorch write where it should not.
        sizes = tuple(max(g, g * (k - 1) + 1 - 2 * p) + d.number(0, 4) for k, g, p in zip(kernel, spread, padding, strict=True))
        return Case((_one(d, kernel),), options, _image(d, d.number(), sizes))

    return row


def _adaptive(dims: int, largest: bool) -> Row:
    def row(d: Draw) -> Case:
        sizes = d.numbers(dims, 1, 7)
        wanted: Any = d.number(1, 9)
        if dims == 2 and d.flag():
            wanted = (d.of(None, d.number(1, 9)), d.number(1, 9))
        return Case((wanted,), d.flags("return_indices") if largest else {}, _image(d, d.number(), sizes))

    return row


WINDOWS: dict[str, Row] = {
    "AdaptiveAvgPool1d": _adaptive(1, False),
    "AdaptiveAvgPool2d": _adaptive(2, False),
    "AdaptiveMaxPool1d": _adaptive(1, True),
    "AdaptiveMaxPool2d": _adaptive(2, True),
    "AvgPool1d": _pool(1, False),
    "AvgPool2d": _pool(2, False),
    "Conv1d": _convolution(1),
    "Conv2d": _convolution(2),
    "ConvTranspose1d": _transposed(1),
    "ConvTranspose2d": _transposed(2),
    "MaxPool1d": _pool(1, True),
    "MaxPool2d": _pool(2, True),
}


# -- norms -----------------------------------------------------------------------------------------------------------
def _batch_norm(dims: tuple[int, ...]) -> Row:
    def row(d: Draw) -> Case:
        channels, spatial = d.number(), d.of(*dims)
        options = {"eps": FLAT, "momentum": d.of(0.1, 0.7, None)} | d.flags("affine track_running_stats bias")
        return Case((channels,), options, (d.array(d.number(2), channels, *d.numbers(spatial)),), {}, d.flag())

    return row


def _instance_norm(dims: int) -> Row:
    def row(d: Draw) -> Case:
        channels = d.number()
        options = {"eps": FLAT, "momentum": d.of(0.1, 0.7)} | d.flags("affine track_running_stats bias")
        lead = () if d.flag() else (d.number(),)
        return Case((channels,), options, (d.array(*lead, channels, *d.numbers(dims, 2)),), {}, d.flag())

    return row


def _layer_norm(d: Draw) -> Case:
    shape = d.shape(1, 2)
    return Case((_one(d, shape) if len(shape) == 1 else shape,), {"eps": FLAT} | d.flags("elementwise_affine bias"),
                (d.array(*d.shape(0, 2), *shape),))  # fmt: skip


def _rms_norm(d: Draw) -> Case:
    shape = d.shape(1, 2)
    return Case((shape,), {"eps": d.of(FLAT, None)} | d.flags("elementwise_affine"), (d.array(*d.shape(0, 2), *shape, low=0.5),))


def _group_norm(d: Draw) -> Case:
    groups, per = d.numbers(2)
    n = d.number(2 if per == 1 else 1)  # PyTorch refuses a batch with one value in all
    x = d.array(n if groups * per > 1 else max(n, 2), groups * per, *d.shape(0, 2))
    return Case((groups, groups * per), {"eps": FLAT} | d.flags("affine bias"), (x,))


NORMS: dict[str, Row] = {
    "BatchNorm1d": _batch_norm((0, 1)),
    "BatchNorm2d": _batch_norm((2,)),
    "BatchNorm3d": _batch_norm((3,)),
    "GroupNorm": _group_norm,
    "InstanceNorm1d": _instance_norm(1),
    "InstanceNorm2d": _instance_norm(2),
    "LayerNorm": _layer_norm,
    "RMSNorm": _rms_norm,
}

ROWS: dict[str, Row] = {**ELEMENTWISE, **SHAPES, **WINDOWS, **NORMS}
