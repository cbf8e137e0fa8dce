"""Draws processor time per request, or per message, as an SVG bar chart.

The chart brings its own background, so that it can be read on a light page and on a dark one; where
the viewer tells which of the two it prefers, it follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import shorten
from xml.sax.saxutils import escape

from apps import MIB
from report import CHARTS, number
from results import Results, Spread
from scenarios import Messages, Requests, Scenario
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

SPAN = 60
"""How many times the shortest bar the longest may be; what is longer is cut, and shows it."""

GAP = 14
"""How far before the end of a cut bar its gap is."""

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
    .gap { stroke: #ffffff; stroke-width: 4 }
    @media (prefers-color-scheme: dark) {
      .card { fill: #0d1117; stroke: #3d444d }
      .title, .panel, .name { fill: #f0f6fc }
      .value, .small { fill: #9198a1 }
      .peer { fill: #656c76 }
      .ours { fill: #4493f8 }
      .range { stroke: #f0f6fc }
      .gap { stroke: #0d1117 }
    }
  </style>"""


def draw(results: Results, protocol: str) -> str:
    """Return a protocol's chart: for each scenario of small requests a bar for each server."""
    panels = [scenario for scenario in results.of(protocol) if _is_small(scenario)]
    work = CHARTS[protocol].work
    limit, cut = _limit(results, panels)
    scale = (WIDTH - LABELS - VALUES - MARGIN) / limit
    legend = f"Median of {results.rounds} rounds; line: lowest to highest."
    what = f"CPU microseconds per {protocol} {work}, one core; less is better"
    height = HEAD
    bars: list[str] = []
    for scenario in panels:
        servers = results.participants(scenario)
        bars += _panel(results, scenario, servers, height, scale)
        height += PANEL_HEAD + PITCH * len(servers) + PANEL_FOOT
    height += MARGIN - PANEL_FOOT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" role="img" aria-labelledby="title">',
        f'  <title id="title">Processor time per {protocol} {work} of several servers</title>',
        STYLE,
        f'  <rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        _text(MARGIN, 36, "title", what),
        _text(MARGIN, 57, "small", f"{legend} A gap: longer than it is drawn." if cut else legend),
        _text(MARGIN, 76, "small", _where(results)),
    ]
    return "\n".join([*lines, *bars, "</svg>", ""])


def _is_small(scenario: Scenario) -> bool:
    """Tell whether a scenario fits on the scale of the others."""
    if isinstance(scenario, Messages):
        return scenario.size < MIB
    return isinstance(scenario, Requests)


def _where(results: Results) -> str:
    machine = results.machine
    return f"{machine['processor']}; {machine['python']}; {machine['date'].split()[0]}"


def _limit(results: Results, panels: list[Scenario]) -> tuple[float, bool]:
    """Return the figure of a bar of full length, and whether there are higher ones.

    All panels have the same scale, so that they can be compared.
    """
    spreads = (results.leading(panel, server) for panel in panels for server in results.servers)
    measured = [spread for spread in spreads if spread]
    if not measured:
        return 1.0, False
    longest = max(spread.high for spread in measured)
    readable = SPAN * min(spread.median for spread in measured)
    return min(longest, readable), longest > readable


def _panel(
    results: Results, scenario: Scenario, servers: Sequence[Server], top: int, scale: float
) -> Iterator[str]:
    yield _text(MARGIN, top + 18, "panel", scenario.title)
    for index, server in enumerate(servers):
        y = top + PANEL_HEAD + index * PITCH
        yield _text(LABELS - 10, y + BAR - 3, "name", server.title, anchor="end")
        cell = results.cell(scenario.key, server.key)
        if spread := results.leading(scenario, server):
            yield from _bar(server, spread, y, scale)
        else:
            reason = shorten("; ".join(cell.notes()), MAX_REASON)
            yield _text(LABELS, y + BAR - 3, "value", f"not measured: {reason}")


def _bar(server: Server, spread: Spread, y: int, scale: float) -> Iterator[str]:
    colour = "ours" if server.ours else "peer"
    width, low, high = (value * scale for value in (spread.median, spread.low, spread.high))
    full = WIDTH - LABELS - VALUES - MARGIN
    cut = high > full + 1
    end = full if cut else width
    middle = y + BAR / 2
    yield f'  <rect class="{colour}" x="{LABELS}" y="{y}" width="{end:.1f}" height="{BAR}" rx="2"/>'
    if cut:
        x = LABELS + full - GAP
        yield f'  <line class="gap" x1="{x - 4}" y1="{y + BAR + 1}" x2="{x + 4}" y2="{y - 1}"/>'
    else:
        yield (
            f'  <line class="range" x1="{LABELS + low:.1f}" y1="{middle}"'
            f' x2="{LABELS + high:.1f}" y2="{middle}"/>'
        )
    yield _text(LABELS + (full if cut else high) + 8, y + BAR - 3, "value", number(spread.median))


def _text(x: float, y: float, kind: str, text: str, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y}" text-anchor="{anchor}"'
    return f'  <text class="{kind}" {place}>{escape(text)}</text>'
