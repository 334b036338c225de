"""Generated kernels against hand-written ones, in one run: ``python tools/handwritten.py [--device gpu] [--rounds 15]``.

The same elementwise expressions are written in GLSL, as one kernel each: one element per invocation, four of them as a vec4, and four
read through texel buffers, which is what software drivers like best. They run through the same engine, so what is compared is the
code that fusion makes. Bytes are counted once per element read or written. Needs glslc (Debian: apt install glslc).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from types import SimpleNamespace
from typing import Any, NamedTuple

# This folder has a `profile.py`, which must not be found for the standard library's.
_HERE = Path(__file__).resolve().parent
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != _HERE]
sys.path.insert(0, str(_HERE.parent))

import numpy as np  # noqa: E402

import rasptorch as rt  # noqa: E402
from rasptorch.ops.dispatch import enqueue  # noqa: E402
from rasptorch.runtime.command import CommandSpec  # noqa: E402
from rasptorch.runtime.layout import layout_of  # noqa: E402
from rasptorch.runtime.vulkan import shaders  # noqa: E402
from rasptorch.runtime.vulkan.access import texel_formats  # noqa: E402
from rasptorch.runtime.vulkan.descriptors import NO_FORMAT  # noqa: E402
from rasptorch.runtime.vulkan.parameters import Parameters  # noqa: E402

COUNT = 4 << 20
LOCAL = 256
SINGLE, VECTOR, TEXEL = "storage buffers", "storage buffers, vec4", "texel buffers, vec4"


class Expression(NamedTuple):
    """The same formula for this library and for GLSL, over x and y."""

    title: str
    ours: Callable[[rt.Tensor, rt.Tensor], rt.Tensor]
    glsl: str


EXPRESSIONS = (
    Expression("x + y", lambda x, y: x + y, "x + y"),
    Expression("relu(x * y + x)", lambda x, y: (x * y + x).relu(), "max(x * y + x, T(0.0))"),
    Expression(
        "9 operations",
        lambda x, y: ((x * y + x) * 0.5 - y * 0.25 + (x - y) * y).relu(),
        "max((x * y + x) * 0.5 - y * 0.25 + (x - y) * y, T(0.0))",
    ),
)


def source(expression: Expression, way: str) -> str:
    element = "float" if way == SINGLE else "vec4"
    if way == TEXEL:
        inputs = "layout(set=1, binding=0) uniform textureBuffer a; layout(set=1, binding=1) uniform textureBuffer b;"
        read = "vec4 x = texelFetch(a, int(i)), y = texelFetch(b, int(i));"
    else:
        inputs = (
            f"layout(set=1, binding=0) readonly buffer A {{ {element} a[]; }}; "
            f"layout(set=1, binding=1) readonly buffer B {{ {element} b[]; }};"
        )
        read = f"{element} x = a[i], y = b[i];"
    return f"""#version 450
#define T {element}
layout(local_size_x = {LOCAL}) in;
layout(std140, set=0, binding=0) uniform Parameters {{ uvec4 size; }};
{inputs}
layout(set=1, binding=2) writeonly buffer C {{ {element} c[]; }};
void main() {{
    uint i = gl_GlobalInvocationID.x + gl_GlobalInvocationID.y * gl_NumWorkGroups.x * {LOCAL};
    if (i < size.x) {{ {read} c[i] = {expression.glsl}; }}
}}
"""


def compiled(text: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "kernel.comp", Path(folder) / "kernel.spv"
        given.write_text(text)
        try:
            done = subprocess.run(
                ["glslc", "-O", "--target-env=vulkan1.2", str(given), "-o", str(made)], capture_output=True, text=True
            )
        except FileNotFoundError:
            raise SystemExit("tools/handwritten.py needs glslc: apt install glslc") from None
        if done.returncode:
            raise SystemExit(f"glslc: {done.stderr}")
        return made.read_bytes()


def family(expression: Expression, way: str) -> Any:
    """A kernel family, as `runtime.vulkan.shaders` describes them, of one kernel."""
    code = compiled(source(expression, way))
    formats = texel_formats(rt.float32)
    assert formats is not None
    texel = formats[1] if way == TEXEL else NO_FORMAT
    key = SimpleNamespace(bindings=(0, 1, 2), formats=(texel, texel, NO_FORMAT), variant=way)

    def parameters_of(kernel: Any, key: Any, starts: list[int]) -> Parameters:
        if any(starts):
            raise SystemExit("the operands do not begin where their bindings do")
        made = Parameters()
        made.add(kernel.attributes[0])
        return made

    return SimpleNamespace(
        LOCAL=LOCAL, key_of=lambda kernel, traits: _Key(key, expression.title, way),
        invocations=lambda kernel, key: kernel.attributes[0], parameters_of=parameters_of, emit=lambda key, abilities: code,
    )  # fmt: skip


class _Key:
    """Hashable by what the kernel is."""

    def __init__(self, inner: SimpleNamespace, *names: str) -> None:
        self.bindings, self.formats, self.variant = inner.bindings, inner.formats, inner.variant
        self._names = names

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other._names == self._names

    def __hash__(self) -> int:
        return hash(self._names)


def by_hand(expression: Expression, way: str, x: rt.Tensor, y: rt.Tensor) -> Callable[[], rt.Tensor]:
    name = f"by hand: {expression.title}, {way}"
    shaders.FAMILIES[name] = family(expression, way)
    count = COUNT if way == SINGLE else COUNT // 4
    out = layout_of(x.device, rt.float32, x.shape)
    spec = CommandSpec("shader", name, (x.layout, y.layout), (out,), None, (name, COUNT, count))
    return lambda: enqueue(spec, (x, y))


def measure(named: dict[str, Callable[[], rt.Tensor]], device: str, rounds: int) -> dict[str, float]:
    """Median seconds of each, all in turn; every result is compared with the first one's."""
    times: dict[str, list[float]] = {name: [] for name in named}
    expected = None
    for name, run in named.items():
        value = run().readback().wait()
        expected = value if expected is None else expected
        if not np.allclose(value, expected, rtol=1e-6, atol=1e-6):
            raise SystemExit(f"{name} computes something else")
    for _ in range(rounds):
        for name, run in named.items():
            began = perf_counter()
            kept = run()
            rt.synchronize(device)
            times[name].append(perf_counter() - began)
            del kept
    return {name: median(seconds) for name, seconds in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="generated kernels against hand-written ones")
    parser.add_argument("--device", default="gpu")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    x, y = (rt.tensor(rng.random(COUNT, dtype=np.float32), device=options.device) for _ in range(2))
    print(f"{x.device.driver.traits.name}; {COUNT:,} float32, GB/s (and generated against each)")
    for expression in EXPRESSIONS:
        named = {"generated": lambda e=expression: e.ours(x, y)}
        named |= {way: by_hand(expression, way, x, y) for way in (SINGLE, VECTOR, TEXEL)}
        seconds = measure(named, options.device, options.rounds)
        ours = seconds["generated"]
        cells = [f"{name} {12 * COUNT / s / 1e9:.2f} ({s / ours:.2f}x)" for name, s in seconds.items()]
        print(f"{expression.title:16} {', '.join(cells)}")
    rows(options.device, options.rounds, x)


def rows(device: str, rounds: int, x: rt.Tensor) -> None:
    """A sum and a softmax beside what they cannot be faster than: reading once, and copying twice."""
    copy = by_hand(Expression("copy", lambda x, y: x, "x"), TEXEL, x, x)
    matrix = x.reshape(4096, COUNT // 4096)
    named = {"copy": copy, "sum": lambda: x.sum(), "softmax": lambda: matrix.softmax(-1)}
    times: dict[str, list[float]] = {name: [] for name in named}
    for number in range(rounds + 3):
        for name, run in named.items():
            began = perf_counter()
            kept = run()
            rt.synchronize(device)
            if number >= 3:
                times[name].append(perf_counter() - began)
            del kept
    found = {name: median(seconds) for name, seconds in times.items()}
    print(f"copy {8 * COUNT / found['copy'] / 1e9:.2f} GB/s; sum {4 * COUNT / found['sum'] / 1e9:.2f} GB/s; softmax of 4096 rows")
    print(f"{found['softmax'] * 1e3:.2f} ms, {found['softmax'] / (2 * found['copy']):.2f} times two copies")


if __name__ == "__main__":
    main()
