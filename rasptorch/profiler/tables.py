"""The totals of a recording as text."""

from __future__ import annotations

from collections.abc import Sequence

from .totals import DeviceTotal, KernelTotal, MarkTotal, OperationTotal, WaitTotal

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (0.0, ""))


def text(
    devices: Sequence[DeviceTotal], kernels: Sequence[KernelTotal], operations: Sequence[OperationTotal],
    waits: Sequence[WaitTotal], marks: Sequence[MarkTotal], seconds: float, rows: int,
) -> str:  # fmt: skip
    """All tables; at most ``rows`` rows of each."""
    parts = [devices_text(devices, seconds), kernels_text(kernels, rows)]
    if operations:
        told = [(t.name, t.site, t.count, t.total) for t in operations]
        parts.append(_some("operation (host)", "called from", told, rows))
    if waits:
        told = [(t.who + ("" if t.blocking else " (task)"), t.site, t.count, t.total) for t in waits]
        parts.append(_some("waited for a device", "at", told, rows))
    if marks:
        parts.append(marks_text(marks, rows))
    return "\n\n".join(parts)


def aligned(rows: Sequence[Sequence[str]], left: int) -> str:
    """Columns; the first ``left`` of them start, the others end at one place."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(widths[k]) if k < left else cell.rjust(widths[k]) for k, cell in enumerate(row)) for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}"


def estimated(seconds: float, measured: bool) -> str:
    """Milliseconds, with a star where not all of it was measured."""
    return ms(seconds) + ("" if measured else "*")


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f}" if whole else "-"


def speed(value: float, unit: str) -> str:
    """``12.3 GB/s``."""
    scale, prefix = next((s, p) for s, p in _PREFIXES if value >= s)
    return f"{value / (scale or 1.0):.3g} {prefix}{unit}"


def devices_text(totals: Sequence[DeviceTotal], seconds: float) -> str:
    head = f"{ms(seconds)} ms in all; times below in ms"
    if not totals:
        return f"{head}\nno device was given anything to do"
    counts: list[tuple[str, ...]] = [("device", "submissions", "commands", "kernels", "barriers", "plan hits", "plan misses")]
    times: list[tuple[str, ...]] = [
        ("device", "enqueue", "plan", "record+submit", "waited", "host busy", "device busy", "both", "device hidden %",
         "host hidden %")
    ]  # fmt: skip
    for t in totals:
        numbers = (t.submissions, t.commands, t.kernels, t.barriers, t.plan_hits, t.plan_misses)
        counts.append((t.name, *map(str, numbers)))
        parts = *map(ms, (t.enqueue, t.plan, t.submit, t.waiting, t.host)), estimated(t.device, t.measured), ms(t.overlap)
        times.append((t.name, *parts, percent(t.overlap, t.device), percent(t.overlap, t.host)))
    note = "hidden: the share of its busy time in which the other one was busy, too"
    if not all(t.measured for t in totals):
        note += "\n* partly estimated: not every submission was measured"
    return f"{head}\n{aligned(counts, 1)}\n\n{aligned(times, 1)}\n{note}"


def kernels_text(totals: Sequence[KernelTotal], rows: int) -> str:
    if not totals:
        return "no kernel was measured"
    lines = [("kernel", "shape", "device", "count", "total", "mean", "share %", "reached")]
    lines += [
        (
            t.name, t.shape, t.device, str(t.count), estimated(t.total, t.measured), ms(t.mean), f"{100 * t.share:.1f}",
            speed(*t.speed),
        )
        for t in totals[:rows]
    ]  # fmt: skip
    rest = totals[rows:]
    if rest:
        count, total = sum(t.count for t in rest), sum(t.total for t in rest)
        whole = estimated(total, all(t.measured for t in rest))
        lines.append((f"{len(rest)} more", "", "", str(count), whole, ms(total / count), "", ""))
    return aligned(lines, 3)


def _some(what: str, where: str, totals: Sequence[tuple[str, str, int, float]], rows: int) -> str:
    """A table of anything with two names, a count and a total."""
    lines = [(what, where, "count", "total", "mean")]
    lines += [(name, site, str(count), ms(total), ms(total / count)) for name, site, count, total in totals[:rows]]
    rest = totals[rows:]
    if rest:
        count, total = sum(row[2] for row in rest), sum(row[3] for row in rest)
        lines.append((f"{len(rest)} more", "", str(count), ms(total), ms(total / count)))
    return aligned(lines, 2)


def marks_text(totals: Sequence[MarkTotal], rows: int) -> str:
    lines = [("marked", "count", "total", "mean", "while a device computed", "%")]
    lines += [
        (t.name, str(t.count), ms(t.total), ms(t.total / t.count), ms(t.beside), percent(t.beside, t.total)) for t in totals[:rows]
    ]
    return aligned(lines, 1)
