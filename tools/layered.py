"""Drawing of small directed graphs in layers, as SVG: what `tools/draw_backward.py` uses instead of a program that may not be there.

Four steps, after K. Sugiyama, S. Tagawa and M. Toda, "Methods for visual understanding of hierarchical system structures" (IEEE
Transactions on Systems, Man, and Cybernetics 11, 1981): every node goes below all that point at it; edges over several layers get a
point on each; the layers are ordered so that few edges cross; nodes are moved under the middle of their neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

ROW, GAP, MARGIN = 74.0, 22.0, 18.0
CHARACTER, HEIGHT, LINE = 7.0, 24.0, 14.0
STYLES = {
    "root": ("#1f3a5f", "#1f3a5f", "#ffffff"),
    "node": ("#f3f5f8", "#8a97a8", "#1b2430"),
    "leaf": ("#fdf3d8", "#c9a227", "#3d3000"),
    "foreign": ("#efe6f7", "#8d6bb0", "#2e1c42"),
}


@dataclass
class Item:
    """A node to be drawn. ``lines`` are its text, the first in bold; ``style`` is one of `STYLES`."""

    lines: Sequence[str]
    style: str = "node"


@dataclass
class _Place:
    """Where a node, or a bend of an edge (``item`` is None), goes."""

    item: Item | None
    layer: int
    x: float = 0.0
    above: list[int] = field(default_factory=list)
    below: list[int] = field(default_factory=list)

    @property
    def width(self) -> float:
        return 4.0 if self.item is None else max(len(line) for line in self.item.lines) * CHARACTER + 20.0

    @property
    def height(self) -> float:
        return 0.0 if self.item is None else HEIGHT + LINE * (len(self.item.lines) - 1)


class Drawing:
    """``items`` by number and ``edges`` as pairs of numbers (from, to), which must not go in circles."""

    def __init__(self, items: Sequence[Item], edges: Sequence[tuple[int, int]]) -> None:
        self.places = [_Place(item, 0) for item in items]
        self._layer(edges)
        self.paths = [self._route(start, end) for start, end in edges]
        count = 1 + max((place.layer for place in self.places), default=0)
        self.layers: list[list[int]] = [[] for _ in range(count)]
        for number, place in enumerate(self.places):
            self.layers[place.layer].append(number)
        for _ in range(12):
            self._order(downwards=True)
            self._order(downwards=False)
        self._spread()

    def _layer(self, edges: Sequence[tuple[int, int]]) -> None:
        below: dict[int, list[int]] = {}
        waiting = [0] * len(self.places)
        for start, end in edges:
            below.setdefault(start, []).append(end)
            waiting[end] += 1
        ready = [number for number, count in enumerate(waiting) if count == 0]
        while ready:
            start = ready.pop()
            for end in below.get(start, ()):
                self.places[end].layer = max(self.places[end].layer, self.places[start].layer + 1)
                waiting[end] -= 1
                if waiting[end] == 0:
                    ready.append(end)
        if any(waiting):
            raise ValueError("the graph goes in circles")

    def _route(self, start: int, end: int) -> list[int]:
        """The edge as a path with one place on each layer."""
        path = [start]
        for layer in range(self.places[start].layer + 1, self.places[end].layer):
            self.places.append(_Place(None, layer))
            path.append(len(self.places) - 1)
        path.append(end)
        for upper, lower in pairwise(path):
            self.places[upper].below.append(lower)
            self.places[lower].above.append(upper)
        return path

    def _order(self, downwards: bool) -> None:
        """Each layer by the middle of its neighbours on the layer before."""
        rows = self.layers if downwards else self.layers[::-1]
        for before, row in pairwise(rows):
            at = {number: k for k, number in enumerate(before)}
            own = {number: k for k, number in enumerate(row)}

            def middle(number: int, at: dict[int, int] = at, own: dict[int, int] = own) -> float:
                place = self.places[number]
                near = [at[n] for n in (place.above if downwards else place.below)]
                return sum(near) / len(near) if near else float(own[number])

            row.sort(key=middle)

    def _spread(self) -> None:
        for row in self.layers:
            x = 0.0
            for number in row:
                place = self.places[number]
                place.x = x + place.width / 2
                x += place.width + GAP
        for turn in range(40):
            for row in self.layers if turn % 2 == 0 else self.layers[::-1]:
                self._pull(row, weight=0.6)
        left = min((p.x - p.width / 2 for p in self.places), default=0.0)
        for place in self.places:
            place.x += MARGIN - left

    def _pull(self, row: Sequence[int], weight: float) -> None:
        """Towards the neighbours' middle, then apart where that brought two too close: half of it to each side."""
        places = [self.places[number] for number in row]
        for place in places:
            near = [self.places[n].x for n in (*place.above, *place.below)]
            if near:
                place.x += weight * (sum(near) / len(near) - place.x)
        for _ in range(8):
            for one, other in pairwise(places):
                missing = (one.width + other.width) / 2 + GAP - (other.x - one.x)
                if missing > 0:
                    one.x -= missing / 2
                    other.x += missing / 2
        for one, other in pairwise(places):  # what is left over goes to the right
            other.x = max(other.x, one.x + (one.width + other.width) / 2 + GAP)

    # -- SVG ------------------------------------------------------------------------------------------------------
    def _y(self, place: _Place) -> float:
        return MARGIN + HEIGHT + place.layer * ROW

    def svg(self, title: str) -> str:
        """The whole file."""
        width = max((p.x + p.width / 2 for p in self.places), default=0.0) + MARGIN
        height = MARGIN * 2 + HEIGHT * 2 + (len(self.layers) - 1) * ROW
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" '
            'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="11.5">',
            f"<title>{escape(title)}</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 0.8 L7.4 4 L0 7.2 z" fill="#6b7785"/></marker></defs>',
            '<rect width="100%" height="100%" fill="#ffffff"/>',
        ]
        parts += [self._edge(path) for path in self.paths]
        parts += [self._box(place) for place in self.places if place.item is not None]
        return "\n".join([*parts, "</svg>", ""])

    def _edge(self, path: Sequence[int]) -> str:
        """A curve from the bottom of the first to the top of the last, upright where it meets a layer."""
        points = []
        for k, number in enumerate(path):
            place = self.places[number]
            half = place.height / 2
            points.append((place.x, self._y(place) + (half if k == 0 else -half - 1 if k == len(path) - 1 else 0.0)))
        text = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
        for (x0, y0), (x1, y1) in pairwise(points):
            middle = (y0 + y1) / 2
            text += f" C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
        return f'<path d="{text}" fill="none" stroke="#6b7785" stroke-width="1.2" marker-end="url(#tip)"/>'

    def _box(self, place: _Place) -> str:
        assert place.item is not None
        fill, stroke, ink = STYLES[place.item.style]
        x, y = place.x - place.width / 2, self._y(place) - place.height / 2
        round_ = 4 if place.item.style == "leaf" else 11
        out = [
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{place.width:.1f}" height="{place.height:.1f}" rx="{round_}" '
            f'fill="{fill}" stroke="{stroke}"/>'
        ]
        for k, line in enumerate(place.item.lines):
            weight = ' font-weight="600"' if k == 0 else ' font-size="10.5"'
            out.append(
                f'<text x="{place.x:.1f}" y="{y + 16 + k * LINE:.1f}" text-anchor="middle" fill="{ink}"{weight}>{escape(line)}</text>'
            )
        return "".join(out)


def dot(title: str, items: Sequence[Item], edges: Sequence[tuple[int, int]]) -> str:
    """The same graph in Graphviz' language."""
    lines = [f'digraph "{_quoted(title)}" {{', '  node [fontname="monospace", fontsize=11, style="rounded,filled"];']
    for number, item in enumerate(items):
        fill, stroke, ink = STYLES[item.style]
        label = "\\n".join(_quoted(line) for line in item.lines)
        shape = "box" if item.style == "leaf" else "ellipse"
        lines.append(f'  n{number} [label="{label}", shape={shape}, fillcolor="{fill}", color="{stroke}", fontcolor="{ink}"];')
    lines += [f"  n{start} -> n{end};" for start, end in edges]
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
