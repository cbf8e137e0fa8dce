"""Writes results as reStructuredText whose tables can be read as plain text just as well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from results import Cell, Results, Spread
from scenarios import Scenario

CHART = "cpu-per-request.svg"
HEAD = f"""\
.. Written by benchmarks/run.py (make bench): changes here would be lost.

Benchmark results
=================

What is measured, how and why is told in ``benchmarks/README.rst``. In short: server and load have
one core each, and what counts is how much processor time the server's processes use for a request.
Less is better in every table, but for the columns per second. The servers differ in what they do
for a request and in what they are made for; such a figure tells one thing about each, not which to
choose.

.. image:: {CHART}
   :alt: Processor time for a request, a bar for each server and scenario

"""
NONE = "-"
OURS = "gserver"

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
)


def document(results: Results) -> str:
    """Return the page for the documentation."""
    # In reStructuredText a cell with nothing but "-" would be a list.
    return HEAD + "\n".join(_sections(results, none=r"\-"))


def text(results: Results) -> str:
    """Return the tables for the terminal."""
    return "\n".join(_sections(results, none=NONE))


def _sections(results: Results, none: str) -> Iterator[str]:
    yield _heading("Summary")
    yield f"Medians of {results.rounds} rounds of {results.seconds} s each.\n"
    yield _table(_summary(results), none)
    if ratios := list(_ratios(results)):
        yield _heading("Ratios")
        yield "Median against median: below 1, gserver used less. What stands alone is its own.\n"
        yield _table([("scenario", "what", "value", "aim: at most"), *ratios], none)
    yield _heading("Each scenario")
    yield "Median (lowest - highest).\n"
    for scenario in results.scenarios:
        yield f"**{scenario.title}**\n"
        yield _table(_details(results, scenario), none)
    if notes := list(_notes(results)):
        yield _heading("Notes")
        yield "\n".join(f"* {note}" for note in notes) + "\n"
    yield _heading("Where and with what")
    yield _table([("what", "which"), *results.machine.items(), *results.versions.items()], none)


def _heading(title: str) -> str:
    return f"{title}\n{'-' * len(title)}\n"


def _summary(results: Results) -> Iterator[Row]:
    yield "scenario", "figure", *(server.title for server in results.servers)
    for scenario in results.scenarios:
        spreads = [results.leading(scenario, server) for server in results.servers]
        yield scenario.title, scenario.figures[0], *map(_median, spreads)


def _details(results: Results, scenario: Scenario) -> Iterator[Row]:
    yield "server", *scenario.figures
    for server in results.servers:
        cell = results.cell(scenario.key, server.key)
        yield server.title, *(_whole(cell.spread(figure)) for figure in scenario.figures)


def _notes(results: Results) -> Iterator[str]:
    for scenario in results.scenarios:
        for server in results.servers:
            for note in results.cell(scenario.key, server.key).notes():
                yield f"{scenario.title}, {server.title}: {note}"


def _ratios(results: Results) -> Iterator[Row]:
    scenarios = {scenario.key: scenario for scenario in results.scenarios}
    for aim in AIMS:
        if scenario := scenarios.get(aim.scenario):
            figure = scenario.figures[aim.figure]
            ours = results.cell(scenario.key, OURS).spread(figure)
            peer = _peer(results, aim, figure)
            if ours and not (aim.peer or aim.best_peer):
                yield scenario.title, f"gserver, {figure}", number(ours.median), aim.limit or NONE
            elif ours and peer:
                name, spread = peer
                value = f"{ours.median / spread.median:.2f}"
                yield scenario.title, f"gserver / {name}", value, aim.limit or NONE


def _peer(results: Results, aim: Aim, figure: str) -> tuple[str, Spread] | None:
    """Return whom an aim is measured by."""
    cells: dict[str, Cell] = {
        server.key: results.cell(aim.scenario, server.key)
        for server in results.servers
        if server.key == aim.peer or (aim.best_peer and server.key != OURS)
    }
    spreads = [(key, spread) for key, cell in cells.items() if (spread := cell.spread(figure))]
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
