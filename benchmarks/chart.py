"""Draws processor time per request as an SVG bar chart.

The chart brings its own background, so that it can be read on a light page and on a dark one; where
the viewer tells which of the two it prefers, it follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import shorten
from xml.sax.saxutils import escape

from report import OURS, number
from results import Results, Spread
from scenarios import PER_REQUEST, Requests, Scenario
from servers import Server

WIDTH = 760
MARGIN = 24
HEAD = 94
LABELS = 170
"""Where the bars begin; the servers' names end a little before."""

VALUES = 64
"""Room behind the longest bar for its value."""

MAX_REASON = 64
PITCH = 20
BAR = 14
PANEL_HEAD = 28
PANEL_FOOT = 14

STYLE = """\
  <style>
    text { font: 13px system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
    .card { fill: #ffffff; stroke: #d0d7de }
    .title { font-size: 17px; font-weight: 600 }
    .panel { font-weight: 600 }
    .title, .panel, .name { fill: #1f2328 }
    .name, .value { font-size: 12px }
    .value, .small { fill: #59636e }
    .peer { fill: #afb8c1 }
    .ours { fill: #0969da }
    .range { stroke: #1f2328; stroke-width: 1.5 }
    @media (prefers-color-scheme: dark) {
      .card { fill: #0d1117; stroke: #3d444d }
      .title, .panel, .name { fill: #f0f6fc }
      .value, .small { fill: #9198a1 }
      .peer { fill: #656c76 }
      .ours { fill: #4493f8 }
      .range { stroke: #f0f6fc }
    }
  </style>"""


def draw(results: Results) -> str:
    """Return the chart: for each scenario of small requests a bar for each server."""
    panels = [scenario for scenario in results.scenarios if isinstance(scenario, Requests)]
    panel_height = PANEL_HEAD + PITCH * len(results.servers) + PANEL_FOOT
    height = HEAD + panel_height * len(panels) + MARGIN - PANEL_FOOT
    scale = (WIDTH - LABELS - VALUES - MARGIN) / _longest(results, panels)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" role="img" aria-labelledby="title">',
        '  <title id="title">Processor time per request of several servers</title>',
        STYLE,
        f'  <rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        _text(MARGIN, 36, "title", "CPU microseconds per request, one core; less is better"),
        _text(MARGIN, 57, "small", f"Median of {results.rounds} rounds; line: lowest to highest."),
        _text(MARGIN, 76, "small", _where(results)),
    ]
    for index, scenario in enumerate(panels):
        lines += _panel(results, scenario, HEAD + index * panel_height, scale)
    return "\n".join([*lines, "</svg>", ""])


def _where(results: Results) -> str:
    machine = results.machine
    return f"{machine['processor']}; {machine['python']}; {machine['date'].split()[0]}"


def _longest(results: Results, panels: list[Requests]) -> float:
    """Return the highest figure: all panels have the same scale, so that they can be compared."""
    spreads = (results.leading(panel, server) for panel in panels for server in results.servers)
    return max((spread.high for spread in spreads if spread), default=1.0)


def _panel(results: Results, scenario: Scenario, top: int, scale: float) -> Iterator[str]:
    yield _text(MARGIN, top + 18, "panel", scenario.title)
    for index, server in enumerate(results.servers):
        y = top + PANEL_HEAD + index * PITCH
        yield _text(LABELS - 10, y + BAR - 3, "name", server.title, anchor="end")
        cell = results.cell(scenario.key, server.key)
        if spread := cell.spread(PER_REQUEST):
            yield from _bar(server, spread, y, scale)
        else:
            reason = shorten("; ".join(cell.notes()), MAX_REASON)
            yield _text(LABELS, y + BAR - 3, "value", f"not measured: {reason}")


def _bar(server: Server, spread: Spread, y: int, scale: float) -> Iterator[str]:
    colour = "ours" if server.key == OURS else "peer"
    width, low, high = (value * scale for value in (spread.median, spread.low, spread.high))
    middle = y + BAR / 2
    yield (
        f'  <rect class="{colour}" x="{LABELS}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>'
    )
    yield (
        f'  <line class="range" x1="{LABELS + low:.1f}" y1="{middle}"'
        f' x2="{LABELS + high:.1f}" y2="{middle}"/>'
    )
    yield _text(LABELS + high + 8, y + BAR - 3, "value", number(spread.median))


def _text(x: float, y: float, kind: str, text: str, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y}" text-anchor="{anchor}"'
    return f'  <text class="{kind}" {place}>{escape(text)}</text>'
