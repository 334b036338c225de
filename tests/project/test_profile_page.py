"""The page of ``--html``, opened in a real browser: its numbers are the trace's, in both themes and at both widths it can be read."""

from __future__ import annotations

import json
import re
import struct
from collections import defaultdict
from html import escape, unescape
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import rasptorch as rt
from rasptorch.runtime import settings
from tests.support.browser import browser
from tests.support.traces import Events, ends, of


class Shown(NamedTuple):
    page: Path
    recorded: Any
    events: Events
    dom: str


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """A small training loop, recorded; its page, and what the browser made of that."""
    folder = tmp_path_factory.mktemp("page")
    weight, data = rt.rand(48, 48, requires_grad=True), rt.rand(64, 48)
    optimizer = rt.optim.SGD([weight], lr=0.01)
    with rt.profile(folder / "trace.json", devices=["cpu"]) as recorded:
        for _ in range(5):
            with rt.record_function("<a> mark & more"):
                total = sum(range(20_000))
            optimizer.zero_grad()
            loss = ((data @ weight).relu() - 1).square().mean()
            loss.backward()
            optimizer.step()
            assert loss.item() >= 0 < total
    page = folder / "page.html"
    recorded.save_html(page, "a <small> loop")
    events = json.loads((folder / "trace.json").read_text("utf-8"))["traceEvents"]
    return Shown(page, recorded, events, browser(folder, page, "--dump-dom"))


def rows(dom: str, table: str) -> list[list[str]]:
    """The text of a table's cells."""
    found = re.search(rf'<table id="{table}">.*?<tbody>(.*?)</tbody>', dom, re.DOTALL)
    assert found, f"there is no table {table}"
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in re.findall(r"<tr.*?</tr>", found[1], re.DOTALL)]
    return [[unescape(re.sub("<.*?>", "", cell)) for cell in row] for row in cells]


def attribute(dom: str, name: str) -> str:
    found = re.search(rf'{name}="([^"]*)"', dom)
    assert found, f"nothing has {name}"
    return found[1]


def test_the_page_needs_nothing_else(shown: Shown) -> None:
    text = shown.page.read_text("utf-8")
    assert not re.search(r"https?:|\bsrc=|<link|@import|url\(|fetch\(|XMLHttpRequest", text)
    assert "<title>a &lt;small&gt; loop</title>" in text and "<!--" not in text.replace("<!doctype", "")


def test_the_script_ran(shown: Shown) -> None:
    slices = sum(len(of(shown.events, c)) for c in ("kernel", "execution", "enqueue", "submit", "plan", "record", "transfer", "user"))
    drawn = int(attribute(shown.dom, "data-drawn"))
    assert 20 < drawn <= slices + len(of(shown.events, "wait"))


def test_kernels_are_those_of_the_trace(shown: Shown) -> None:
    times: dict[tuple[str, str], list[int]] = defaultdict(list)
    for kernel in of(shown.events, "kernel"):
        began, ended = ends(kernel)
        times[kernel["name"], kernel["args"]["shape"]].append(ended - began)
    whole = sum(sum(t) for t in times.values())
    found = rows(shown.dom, "kernels")
    assert {(row[0], row[1]) for row in found} == times.keys()
    for name, shape, device, count, total, mean, share, reached in found:
        own = times[name, shape]
        assert device == "cpu" and int(count) == len(own) and re.fullmatch(r"[\d.e+]+ [kMGT]?(B|FLOP)/s", reached)
        assert float(total) == pytest.approx(sum(own) / 1e6, abs=1e-3)
        assert float(mean) == pytest.approx(sum(own) / 1e6 / len(own), abs=1e-3)
        assert float(share) == pytest.approx(100 * sum(own) / whole, abs=0.1)
    assert [float(row[4]) for row in found] == sorted((float(row[4]) for row in found), reverse=True)


def test_overlap_memory_and_flight_are_those_of_the_trace(shown: Shown) -> None:
    (device,) = shown.recorded.devices()
    bar = {kind: float(value) for kind, value in re.findall(r'data-overlap="(\w+)">([\d.]+) ms', shown.dom)}
    assert bar["both"] == pytest.approx(1e3 * device.overlap, abs=1e-3)
    assert bar["both"] + bar["device"] == pytest.approx(sum(e - b for b, e in map(ends, of(shown.events, "execution"))) / 1e6, abs=1e-2)
    assert sum(bar.values()) == pytest.approx(1e3 * shown.recorded.seconds, abs=1e-2)
    counters = [e for e in shown.events if e["ph"] == "C"]
    assert int(attribute(shown.dom, "data-peak")) == max(e["args"]["in use"] for e in counters if e["name"] == "pool bytes")
    most = max(e["args"]["batches"] for e in counters if e["name"] == "batches in flight")
    assert int(attribute(shown.dom, "data-flight")) == most


def test_operations_and_marks_are_those_of_the_trace(shown: Shown) -> None:
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for operation in of(shown.events, "enqueue"):
        counts[operation["name"], operation["args"]["site"]] += 1
    assert {(row[0], row[1]): int(row[2]) for row in rows(shown.dom, "operations")} == counts
    (mark,) = rows(shown.dom, "marks")
    assert mark[:2] == ["<a> mark & more", "5"]
    assert float(mark[2]) == pytest.approx(sum(e["dur"] for e in of(shown.events, "user")) / 1e3, abs=1e-2)


def test_what_was_not_measured_can_be_told(tmp_path: Path) -> None:
    x = rt.rand(16, 16)
    with settings.override(timestamp_every=3), rt.profile(devices=["cpu"]) as recorded:
        for _ in range(5):
            (x @ x).sum().item()
    recorded.save_html(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    timeline = json.loads(data)
    kinds = [timeline["words"][s[3]] for row in timeline["rows"] for s in row["slices"]]
    totals = recorded.kernels()
    estimated = [kernel for s in recorded.tracer.submissions for kernel in s.labels.kernels if not s.exact]
    assert kinds.count("kernel") > 0 < kinds.count("estimate") == len(estimated)
    assert kinds.count("kernel") + kinds.count("estimate") == sum(t.count for t in totals)
    assert [row[4] for row in rows(text, "kernels")] == [f"{1e3 * t.total:.3f}{'' if t.measured else '*'}" for t in totals]
    assert not all(t.measured for t in totals) and "<p class=note>*" in text


TAP = """<!doctype html><body style="margin:0"><iframe style="border:0;width:390px;height:2400px" srcdoc="{page}"></iframe><pre></pre>
<script>
setTimeout(() => {{
  const own = document.querySelector("iframe").contentWindow, view = own.document.getElementById("view"), seen = [];
  view.setPointerCapture = () => {{}};  // only for real fingers
  const [left, top] = own.eval(`(() => {{
    const row = data.rows.at(-1), k = row.lanes[0][0], box = view.getBoundingClientRect();
    return [box.left + x(row.slices[k][0] + row.slices[k][1] / 2), box.top + row.top + HEAD + ROW / 2];
  }})()`);
  const touch = (kind, dx, dy) => view.dispatchEvent(new own.PointerEvent(kind, {{
    bubbles: true, pointerId: 7, pointerType: "touch", clientX: left + dx, clientY: top + dy }}));
  for (const [dx, dy] of [[0, 0], [40, 0], [0, -2000]]) {{
    touch("pointerdown", 0, dy); if (dx) touch("pointermove", dx, dy); touch("pointerup", dx, dy); touch("pointerleave", dx, dy);
    const tip = own.document.getElementById("tip");
    seen.push(tip.style.display === "block" ? tip.firstChild.textContent : "");
  }}
  document.querySelector("pre").textContent = seen.join("|");
}}, 1000);
</script>"""


def test_a_finger_points_by_tapping(shown: Shown, tmp_path: Path) -> None:
    frame = tmp_path / "frame.html"
    frame.write_text(TAP.format(page=escape(shown.page.read_text("utf-8"))), "utf-8")
    seen = attribute_text(browser(tmp_path, frame, "--dump-dom", "--virtual-time-budget=3000")).split("|")
    assert re.fullmatch(r"submission \d+", seen[0]), seen
    assert seen[1:] == ["", ""], "where the finger moved the view, and beside the slices, there is nothing to tell"


LOOK = """<!doctype html><body style="margin:0"><iframe style="border:0;width:{width}px;height:2400px" srcdoc="{page}"></iframe><pre></pre>
<script>
setTimeout(() => {{
  const page = document.querySelector("iframe").contentDocument, view = page.getElementById("view");
  const bytes = view.getContext("2d").getImageData(0, 0, view.width, view.height).data, colours = new Set();
  for (let k = 0; k < bytes.length; k += 4) if (bytes[k + 3] === 255) colours.add(bytes[k] << 16 | bytes[k + 1] << 8 | bytes[k + 2]);
  const style = page.defaultView.getComputedStyle(page.body);
  document.querySelector("pre").textContent = JSON.stringify({{ colours: colours.size, background: style.backgroundColor,
    ink: style.color, fits: page.documentElement.scrollWidth <= {width}, canvas: view.clientWidth }});
}}, 1000);
</script>"""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_themes_and_widths(shown: Shown, tmp_path: Path, dark: bool, width: int) -> None:
    frame = tmp_path / "frame.html"
    frame.write_text(LOOK.format(width=width, page=escape(shown.page.read_text("utf-8"))), "utf-8")
    shot = tmp_path / "shot.png"
    browser(tmp_path, frame, f"--screenshot={shot}", "--virtual-time-budget=3000", dark=dark, width=max(500, width))
    seen = json.loads(unescape(attribute_text(browser(tmp_path, frame, "--dump-dom", "--virtual-time-budget=3000", dark=dark))))
    background, ink = (sum(map(int, re.findall(r"\d+", seen[k])[:3])) / 3 for k in ("background", "ink"))
    assert (background < 60 and ink > 200) if dark else (background > 230 and ink < 60)
    assert seen["fits"] and width - 110 < seen["canvas"] < width
    assert seen["colours"] > 8, "the timeline is painted"
    content = shot.read_bytes()
    assert content.startswith(b"\x89PNG") and struct.unpack(">I", content[16:20])[0] == max(500, width)


def attribute_text(dom: str) -> str:
    found = re.search(r"<pre>(.*?)</pre>", dom, re.DOTALL)
    assert found and found[1], dom[-500:]
    return found[1]
