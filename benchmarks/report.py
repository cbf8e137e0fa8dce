"""Writes results as reStructuredText whose tables can be read as plain text just as well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from results import Results, Spread
from scenarios import Scenario
from servers import HTTP1, HTTP2, INTERFACES, WEBSOCKET


@dataclass(frozen=True, slots=True)
class Chart:
    """A protocol's chart: the file, and what its bars tell the processor time of."""

    file: str
    work: str = "request"


CHARTS = {
    HTTP1: Chart("cpu-per-request.svg"),
    HTTP2: Chart("cpu-per-request-http2.svg"),
    WEBSOCKET: Chart("cpu-per-message-websocket.svg", "message"),
    INTERFACES: Chart("cpu-per-request-interfaces.svg"),
}
HEAD = """\
.. Written by benchmarks/run.py (make bench): changes here would be lost.

Benchmark results
=================

What is measured, how and why is told in ``benchmarks/README.rst``. In short: server and load have
one core each, and what counts is how much processor time the server's processes use for a request
or a message. Less is better in every table, but for the columns per second. The servers differ in
what they do for it and in what they are made for; such a figure tells one thing about each, not
which to choose.

"""
IMAGE = """\
.. image:: {chart}
   :alt: Processor time for a {work} over {protocol}, a bar for each server and scenario
"""
NONE = "-"
OURS, NGHTTP2, H2 = "gserver", "gserver-nghttp2", "gserver-h2"

Row = Sequence[str]


@dataclass(frozen=True, slots=True)
class Aim:
    """A figure that gserver wants to stay below: against one peer, the best peer, or by itself."""

    scenario: str
    limit: str = ""
    peer: str = ""
    best_peer: bool = False
    figure: int = 0
    """Which of the scenario's figures."""

    server: str = OURS
    """Whose figure it is."""


AIMS = (
    Aim("hello", peer="bjoern"),
    Aim("hello", peer="granian"),
    Aim("hello", peer="gunicorn"),
    Aim("headers", "1.25", peer="bjoern"),
    Aim("headers", "0.80", peer="granian"),
    Aim("headers", "0.11", peer="gunicorn"),
    Aim("tls", "1.00", peer="granian"),
    Aim("download", "1.10", best_peer=True),
    Aim("upload", "300"),
    Aim("idle", "4.0"),
    Aim("busy", "1.10", figure=2),
    Aim("h2-hello", "0.40", peer="granian", server=NGHTTP2),
    Aim("h2-hello", "0.45", peer="hypercorn", server=H2),
    Aim("h2-headers", peer="granian", server=NGHTTP2),
    Aim("h2-page", peer="granian", server=NGHTTP2),
    Aim("h2-tls", "0.60", peer="granian", server=NGHTTP2),
    Aim("h2-tls", peer="gunicorn", server=H2),
    Aim("h2-download", "1.00", peer="granian", server=NGHTTP2),
    Aim("h2-upload", "1.00", peer="granian", server=NGHTTP2),
    Aim("h2-idle", "24", server=NGHTTP2),
    Aim("h2-sleep", "16", server=NGHTTP2),
    Aim("ws-echo-32", "0.85", peer="websockets"),
    Aim("ws-echo-32", "0.85", peer="gevent-websocket"),
    Aim("ws-echo-32", best_peer=True),
    Aim("ws-echo-16k", "1.00", peer="websockets"),
    Aim("ws-echo-16k", best_peer=True),
    Aim("ws-echo-1m", best_peer=True),
    Aim("ws-connect", best_peer=True),
    Aim("ws-idle", "12"),
    Aim("ws-broadcast", best_peer=True),
    Aim("ws-h2-idle", "10"),
    Aim("interfaces", "1.00", peer="gserver-wsgi", server="gserver-lite"),
    Aim("interfaces", "1.05", peer="gserver-wsgi", server="gserver-lightened"),
    Aim("interfaces", "1.00", peer="gserver-wsgi", server="gserver-beside"),
    Aim("interfaces", "1.30", peer="uvicorn", server="gserver-asgi"),
    Aim("interfaces", "1.03", peer="gunicorn-wsgi", server="gunicorn-lite"),
)


def document(results: Results) -> str:
    """Return the page for the documentation."""
    # In reStructuredText a cell with nothing but "-" would be a list.
    return HEAD + "\n".join(_sections(results, none=r"\-", charts=True))


def text(results: Results) -> str:
    """Return the tables for the terminal."""
    return "\n".join(_sections(results, none=NONE))


def _sections(results: Results, none: str, charts: bool = False) -> Iterator[str]:
    yield f"Medians of {results.rounds} rounds of {results.seconds} s each.\n"
    for protocol in results.protocols():
        yield _heading(protocol, "-")
        if charts:
            chart = CHARTS[protocol]
            yield IMAGE.format(chart=chart.file, work=chart.work, protocol=protocol)
        yield from _section(results, results.of(protocol), none)
    yield _heading("Where and with what", "-")
    yield _table([("what", "which"), *results.machine.items(), *results.versions.items()], none)


def _section(results: Results, scenarios: Sequence[Scenario], none: str) -> Iterator[str]:
    """Yield what there is to tell of one protocol."""
    yield _table(_summary(results, scenarios), none)
    if ratios := list(_ratios(results, scenarios)):
        yield _heading("Ratios", "~")
        yield "Median against median: below 1, gserver used less. What stands alone is its own.\n"
        yield _table([("scenario", "what", "value", "aim: at most"), *ratios], none)
    yield _heading("Each scenario", "~")
    yield "Median (lowest - highest).\n"
    for scenario in scenarios:
        yield f"**{scenario.title}**\n"
        yield _table(_details(results, scenario), none)
    if notes := list(_notes(results, scenarios)):
        yield _heading("Notes", "~")
        yield "\n".join(f"* {note}" for note in notes) + "\n"


def _heading(title: str, line: str) -> str:
    return f"{title}\n{line * len(title)}\n"


def _summary(results: Results, scenarios: Sequence[Scenario]) -> Iterator[Row]:
    servers = results.participants(*scenarios)
    yield "scenario", "figure", *(server.title for server in servers)
    for scenario in scenarios:
        spreads = [results.leading(scenario, server) for server in servers]
        yield scenario.title, scenario.figures[0], *map(_median, spreads)


def _details(results: Results, scenario: Scenario) -> Iterator[Row]:
    yield "server", *scenario.figures
    for server in results.participants(scenario):
        cell = results.cell(scenario.key, server.key)
        yield server.title, *(_whole(cell.spread(figure)) for figure in scenario.figures)


def _notes(results: Results, scenarios: Sequence[Scenario]) -> Iterator[str]:
    for scenario in scenarios:
        for server in results.participants(scenario):
            for note in results.cell(scenario.key, server.key).notes():
                yield f"{scenario.title}, {server.title}: {note}"


def _ratios(results: Results, measured: Sequence[Scenario]) -> Iterator[Row]:
    scenarios = {scenario.key: scenario for scenario in measured}
    servers = {server.key: server for server in results.servers}
    for aim in AIMS:
        scenario, server = scenarios.get(aim.scenario), servers.get(aim.server)
        if scenario and server:
            figure = scenario.figures[aim.figure]
            ours = results.cell(scenario.key, server.key).spread(figure)
            peer = _peer(results, aim, scenario)
            if ours and not (aim.peer or aim.best_peer):
                what, value = f"{server.title}, {figure}", number(ours.median)
                yield scenario.title, what, value, aim.limit or NONE
            elif ours and peer:
                name, spread = peer
                what, value = f"{server.title} / {name}", f"{ours.median / spread.median:.2f}"
                yield scenario.title, what, value, aim.limit or NONE


def _peer(results: Results, aim: Aim, scenario: Scenario) -> tuple[str, Spread] | None:
    """Return whom an aim is measured by."""
    spreads = [
        (server.key, spread)
        for server in results.participants(scenario)
        if server.key == aim.peer or (aim.best_peer and not server.ours)
        if (spread := results.cell(scenario.key, server.key).spread(scenario.figures[aim.figure]))
    ]
    return min(spreads, key=lambda peer: peer[1].median, default=None)


def _table(rows: Iterator[Row] | Sequence[Row], none: str) -> str:
    """Return a simple table, its first row the head."""
    cells = [[none if cell == NONE else cell for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule]) + "\n"


def _median(spread: Spread | None) -> str:
    return number(spread.median) if spread else NONE


def _whole(spread: Spread | None) -> str:
    if not spread:
        return NONE
    return f"{number(spread.median)} ({number(spread.low)} - {number(spread.high)})"


def number(value: float) -> str:
    """Return a figure with about three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
