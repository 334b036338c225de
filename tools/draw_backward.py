"""Draw the graph that backward walks, of an expression or of a script: no other program is needed for the SVG.

    python tools/draw_backward.py "(x @ w + b).relu().sum()" --leaf x=4x3 --leaf w=3x2 --leaf b=2 -o graph.svg
    python tools/draw_backward.py script.py --tensor loss -o graph.svg -o graph.dot

In an expression ``rt``, ``nn`` and ``F`` are there, and every ``--leaf``: a tensor of that shape that requires gradients. A script is
run as it is, and the tensor is looked up among its variables. Gradients go along the arrows, from the top to the leaves.
"""

from __future__ import annotations

import argparse
import math
import os
import runpy
import sys
from collections.abc import Sequence
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # a checkout that is not installed

import rasptorch as rt
from rasptorch import nn
from rasptorch.autograd.graph import AccumulateGrad, reachable
from rasptorch.nn import functional
from tools.layered import Drawing, Item, dot


def leaf(text: str) -> tuple[str, rt.Tensor]:
    """``x=4x3``: the name and the tensor."""
    name, equals, shape = text.partition("=")
    try:
        sizes = [int(n) for n in shape.split("x") if n]
        if not (equals and name.isidentifier()):
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"write name=4x3, got {text!r}") from None
    return name, rt.rand(*sizes).requires_grad_() if sizes else rt.rand(()).requires_grad_()


def names_of(variables: dict[str, Any]) -> dict[int, str]:
    """Tensors by identity: what the program calls them, parameters by the module that has them."""
    found: dict[int, str] = {}
    for name, value in variables.items():
        if isinstance(value, nn.Module):
            for path, parameter in value.named_parameters():
                found.setdefault(id(parameter), f"{name}.{path}")
        elif isinstance(value, rt.Tensor) and not name.startswith("_"):
            found[id(value)] = name
    return found


def graph(tensor: rt.Tensor, names: dict[int, str]) -> tuple[list[Item], list[tuple[int, int]]]:
    """What is to be drawn: nodes and leaves, each once, and an edge per gradient that is passed on."""
    nodes = reachable(tensor)
    numbers: dict[Any, int] = {node: k for k, node in enumerate(nodes)}
    items = [Item([node.name], "foreign" if node.foreign else "node") for node in nodes]
    edges = []
    for node in nodes:
        for edge, _ in node.next_functions:
            if edge is None:
                continue
            if edge not in numbers:
                assert isinstance(edge, AccumulateGrad)
                x = edge.variable
                numbers[edge] = len(items)
                size = "x".join(map(str, x.shape)) if x.ndim else "0-d"
                items.append(Item([names.get(id(x), "leaf"), f"{x.dtype.name} {size}"], "leaf"))
            edges.append((numbers[node], numbers[edge]))
    if items:
        items[0] = Item([names.get(id(tensor), "result"), *items[0].lines, f"{tensor.dtype.name} {list(tensor.shape)}"], "root")
    return items, edges


def find(what: str, name: str | None, leaves: dict[str, rt.Tensor]) -> tuple[rt.Tensor, dict[str, Any]]:
    """The tensor to start from, and the variables around it."""
    if what.endswith(".py"):
        variables = runpy.run_path(what, run_name="__main__")
        wanted = name or "loss"
        if not isinstance(variables.get(wanted), rt.Tensor):
            there = ", ".join(k for k, v in variables.items() if isinstance(v, rt.Tensor) and v.requires_grad) or "none"
            raise SystemExit(f"{what} has no tensor called {wanted!r}; with --tensor, one of those with gradients: {there}")
        return variables[wanted], variables
    variables = {"rt": rt, "nn": nn, "F": functional, "math": math, **leaves}
    try:
        found = eval(what, variables)  # the user's own expression
    except NameError as problem:
        raise SystemExit(f"{problem}: give it with --leaf {problem.name}=4x3") from None
    if not isinstance(found, rt.Tensor):
        raise SystemExit(f"{what} is a {type(found).__name__}, not a tensor")
    return found, variables


def main(arguments: Sequence[str]) -> int:
    as_it_is = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="tools/draw_backward.py", description=__doc__, formatter_class=as_it_is)
    parser.add_argument("what", help="an expression, or a script (*.py)")
    parser.add_argument("--leaf", action="append", default=[], type=leaf, metavar="NAME=4x3", help="a tensor for the expression")
    parser.add_argument("--tensor", help="the script's variable to start from (default: loss)")
    parser.add_argument("-o", "--output", action="append", default=[], help="*.svg or *.dot; may be given more than once")
    options = parser.parse_args(arguments)
    outputs = options.output or ["graph.svg"]
    for path in outputs:
        if not path.endswith((".svg", ".dot")):
            parser.error(f"the output is *.svg or *.dot, got {path}")
    tensor, variables = find(options.what, options.tensor, dict(options.leaf))
    if not tensor.requires_grad:
        raise SystemExit("this tensor came from nothing that requires gradients: there is no graph to draw")
    items, edges = graph(tensor, names_of(variables))
    for path in outputs:
        title = f"backward of {options.what}"
        text = dot(title, items, edges) if path.endswith(".dot") else Drawing(items, edges).svg(title)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        print(f"{path}: {len(items)} nodes, {len(edges)} edges")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
