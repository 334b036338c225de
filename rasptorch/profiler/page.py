"""A recording as one HTML page: a timeline to zoom into, the totals, memory and overlap. It loads nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..runtime.statistics import Statistics
from ..runtime.trace import Command, Tracer
from ..runtime.trace_clock import by_device, kernel_times
from .chrome import flight, shared_rows
from .tables import estimated, ms, percent, speed
from .totals import (
    DeviceTotal,
    KernelTotal,
    device_totals,
    kernel_totals,
    mark_totals,
    operation_totals,
    place,
    wait_totals,
)  # fmt: skip

_TEMPLATE = Path(__file__).with_name("page.html")
_ROWS = 200  # of each table
_ESTIMATED = (
    "Measuring stops this device, so only some submissions were measured; other kernels are taken to last as long as in those."
)


def page(tracer: Tracer, counts: Mapping[str, Statistics], seconds: float, title: str) -> str:
    """The whole page."""
    devices, kernels = device_totals(tracer, counts), kernel_totals(tracer)
    parts = {
        "title": escape(title or "rasptorch"),
        "about": escape(_about(devices, seconds)),
        "cards": _cards(devices, seconds),
        "overlap": "".join(_overlap(device, seconds) for device in devices) or "<p>No device was given anything to do.</p>",
        "memory": "".join(_memory(tracer, device.name) for device in devices),
        "kernels": _kernels(kernels),
        "others": "".join(_others(tracer)),
        "data": json.dumps(_timeline(tracer), separators=(",", ":")).replace("</", "<\\/"),
    }
    content = _TEMPLATE.read_text("utf-8")
    for name, part in parts.items():
        content = content.replace(f"<!--{name}-->", part)
    return content


def _about(devices: Sequence[DeviceTotal], seconds: float) -> str:
    names = ", ".join(device.name for device in devices) or "no device"
    return f"{seconds:.3f} s on {names}, recorded by rasptorch"


# -- numbers -------------------------------------------------------------------------------------------------
def _cards(devices: Sequence[DeviceTotal], seconds: float) -> str:
    cards = [("recorded", f"{ms(seconds)} ms", "")]
    for device in devices:
        bound = "" if device.measured else ", partly estimated"
        cards += [
            (f"{device.name} busy", f"{ms(device.device)} ms", f"{percent(device.device, seconds)} % of the time{bound}"),
            ("waited for it", f"{ms(device.waiting)} ms", f"{percent(device.waiting, seconds)} % of the time, threads blocked"),
            ("submissions", f"{device.submissions}", f"{device.commands} commands, {device.kernels} kernels"),
            ("plans found", f"{device.plan_hits}", f"{device.plan_misses} made, {device.barriers} barriers"),
        ]
    return "".join(
        f'<div class="card"><span>{escape(name)}</span><b>{escape(value)}</b><small>{escape(note)}</small></div>'
        for name, value, note in cards
    )


def _overlap(device: DeviceTotal, seconds: float) -> str:
    """A bar as long as the recording: who was busy."""
    both = device.overlap
    pieces = [
        ("host", "only the host", device.host - both),
        ("both", "both", both),
        ("device", f"only {device.name}", device.device - both),
        ("none", "neither", seconds - device.host - device.device + both),
    ]
    bar = "".join(
        f'<i class="{kind}" style="flex-grow:{max(0.0, length) / (seconds or 1.0):.5f}"></i>' for kind, _, length in pieces
    )
    legend = "".join(
        f'<li><i class="{kind}"></i>{escape(name)} <b data-overlap="{kind}">{ms(max(0.0, length))} ms</b></li>'
        for kind, name, length in pieces
    )
    hidden = (
        f'<p><b data-hidden="device">{percent(both, device.device)} %</b> of the device\'s busy time is hidden behind the host, '
        f'<b data-hidden="host">{percent(both, device.host)} %</b> of the host\'s behind the device.</p>'
    )
    return f'<figure data-device="{escape(device.name)}"><div class="bar">{bar}</div><ul class="legend">{legend}</ul>{hidden}</figure>'


def _kernels(totals: Sequence[KernelTotal]) -> str:
    heads = ("kernel", "shape", "device", "count", "total ms", "mean ms", "share %", "reached")
    rows = [
        (
            t.name, t.shape, t.device, str(t.count), estimated(t.total, t.measured), ms(t.mean), f"{100 * t.share:.1f}",
            speed(*t.speed),
        )
        for t in totals[:_ROWS]
    ]  # fmt: skip
    note = "" if all(t.measured for t in totals[:_ROWS]) else f"<p class=note>* {_ESTIMATED}</p>"
    most = totals[0].share if totals else 1.0
    return note + _table("kernels", heads, rows, 3, [t.share / (most or 1.0) for t in totals[:_ROWS]])


def _others(tracer: Tracer) -> Iterable[str]:
    """Tables that only some recordings have."""
    rows: list[tuple[str, ...]]
    operations = operation_totals(tracer)[:_ROWS]
    if operations:
        rows = [(t.name, t.site, str(t.count), ms(t.total), ms(t.total / t.count)) for t in operations]
        yield "<h2>Operations, by host time</h2>"
        yield _table("operations", ("operation", "called from", "count", "total ms", "mean ms"), rows, 2)
    waits = wait_totals(tracer)[:_ROWS]
    if waits:
        rows = [
            (t.who, t.site, "thread" if t.blocking else "task", str(t.count), ms(t.total), ms(t.total / t.count)) for t in waits
        ]
        yield "<h2>Who waited</h2>"
        yield _table("waits", ("who", "at", "kind", "count", "total ms", "mean ms"), rows, 3)
    marks = mark_totals(tracer)[:_ROWS]
    if marks:
        rows = [(t.name, str(t.count), ms(t.total), ms(t.beside), percent(t.beside, t.total)) for t in marks]
        yield "<h2>Marked by the program</h2>"
        yield _table("marks", ("what", "count", "total ms", "while a device computed, ms", "%"), rows, 1)


def _table(
    name: str, heads: Sequence[str], rows: Sequence[Sequence[str]], left: int, shares: Sequence[float] = ()
) -> str:
    """The first ``left`` columns are text. ``shares`` of the width draw a bar behind each row's first cell."""
    head = "".join(f'<th{"" if k < left else " class=n"}><button>{escape(h)}</button></th>' for k, h in enumerate(heads))
    body = []
    for number, row in enumerate(rows):
        style = f' style="--share:{100 * shares[number]:.2f}%"' if shares else ""
        cells = "".join(f"<td{'' if k < left else ' class=n'}>{_cell(cell)}</td>" for k, cell in enumerate(row))
        body.append(f"<tr{style}>{cells}</tr>")
    return (
        f'<div class="scroll"><table id="{name}"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
        if rows
        else "<p>Nothing was measured.</p>"
    )


def _cell(text: str) -> str:
    """Long names of kernels may be broken where operations meet."""
    return escape(text).replace("+", "+<wbr>")


# -- curves --------------------------------------------------------------------------------------------------
def _memory(tracer: Tracer, device: str) -> str:
    """The pool's bytes and the batches in flight, from where the timeline begins."""
    used = [(level.at, level.used) for level in tracer.levels if level.device == device]
    flying = list(flight(tracer, device))
    peak, most = max((n for _, n in used), default=0), max((n for _, n in flying), default=0)
    reserved = max((level.reserved for level in tracer.levels if level.device == device), default=0)
    starts = [*(span.began for span in tracer.spans), *(command.began for command in tracer.commands)]
    window = min(starts, default=tracer.origin), tracer.ended
    return (
        f'<figure class="curves" data-device="{escape(device)}"><figcaption>{escape(device)}: '
        f'memory in use, at most <b data-peak="{peak}">{_bytes(peak)}</b> of {_bytes(reserved)} reserved</figcaption>'
        f"{_steps(used, window, peak, 'memory')}"
        f'<figcaption>batches in flight, at most <b data-flight="{most}">{most}</b></figcaption>'
        f"{_steps(flying, window, most, 'flight')}</figure>"
    )


def _steps(points: Sequence[tuple[float, int]], window: tuple[float, float], top: int, kind: str) -> str:
    """A staircase through the points, as an SVG that takes any width."""
    path = ["M0 100"]
    first, last = window
    for at, value in points:
        x, y = max(0.0, 1000 * (at - first) / (last - first or 1.0)), 100 - 96 * value / (top or 1)
        path.append(f"H{x:.2f}V{y:.2f}")
    path.append("H1000V100")
    return f'<svg class="{kind}" viewBox="0 0 1000 100" preserveAspectRatio="none" role="img"><path d="{"".join(path)}"/></svg>'


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.4g} {unit}"


# -- the timeline --------------------------------------------------------------------------------------------
class _Timeline:
    """Rows of slices. Names and categories are numbers into lists; times are whole nanoseconds."""

    def __init__(self, origin: float) -> None:
        self._origin = origin
        self.rows: dict[tuple[str, object], dict[str, Any]] = {}
        self.words: dict[str, int] = {}

    def word(self, text: str) -> int:
        return self.words.setdefault(text, len(self.words))

    def add(
        self, process: str, key: object, name: str, category: str, what: str, note: str, began: float, ended: float
    ) -> dict[str, Any]:
        row = self.rows.setdefault((process, key), {"process": process, "name": name, "slices": [], "from": {}})
        start = round((began - self._origin) * 1e9)
        length = round((ended - self._origin) * 1e9) - start
        row["slices"].append([start, length, self.word(what), self.word(category), self.word(note)])
        return row


def _timeline(tracer: Tracer) -> dict[str, Any]:
    """What the page's script draws: rows, and for every kernel the operations (row, slice) that it came from."""
    lines = _Timeline(tracer.origin)
    lines.rows["host", tracer.main] = {"process": "host", "name": tracer.threads.get(tracer.main, ""), "slices": [], "from": {}}
    shared = shared_rows(tracer)
    for span in tracer.spans:
        note = place(span.arguments.get("site"))
        if span.category in ("await", "user async"):
            task = str(span.arguments.get("task", "awaits"))
            lines.add("tasks", task, task, span.category, span.name, note, span.began, span.ended)
        else:
            thread = tracer.threads[span.thread]
            lines.add("host", shared[span.thread], thread, span.category, span.name, note, span.began, span.ended)
    numbers: dict[int, tuple[tuple[str, object], int]] = {}
    for command in tracer.commands:
        thread, shown = tracer.threads[command.thread], shared[command.thread]
        row = lines.add("host", shown, thread, "enqueue", command.name, place(command.site), command.began, command.ended)
        numbers[id(command)] = ("host", shown), len(row["slices"]) - 1
    order = {key: number for number, key in enumerate(lines.rows)}
    for device, submissions in by_device(tracer.submissions).items():
        for submission in submissions:
            what = f"submission {submission.value}"
            note = f"{submission.commands} commands"
            if not submission.exact:
                note += ", kernels estimated" if submission.estimate else ", not measured"
            key = submission.stream
            row = lines.add(device, key, key, "execution", what, note, submission.started, submission.ended)
            for number, kernel, began, ended in kernel_times(submission):
                category = "kernel" if submission.exact else "estimate"
                row = lines.add(device, key, key, category, kernel.name, kernel.shape, began, ended)
                came = _origins(submission.origins(number), numbers, order)
                if came:
                    row["from"][len(row["slices"]) - 1] = came
    return {
        "length": round((tracer.ended - tracer.origin) * 1e9),
        "words": list(lines.words),
        "rows": list(lines.rows.values()),
    }


def _origins(
    commands: Sequence[Command], numbers: Mapping[int, tuple[tuple[str, object], int]], order: Mapping[tuple[str, object], int]
) -> list[int]:
    """Row and slice of each, one after the other."""
    return [value for command in commands for key, k in [numbers[id(command)]] for value in (order[key], k)]
