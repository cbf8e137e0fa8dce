"""What a run found, in the form in which it is reported and stored."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scenarios import Sample, Scenario
from servers import Server


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over all rounds. The median is reported: a disturbed round does not move it."""

    median: float
    low: float
    high: float


@dataclass(slots=True)
class Cell:
    """One server in one scenario; `failures` tells what went wrong, if anything."""

    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def spread(self, figure: str) -> Spread | None:
        """Return the figure over all rounds, or None if there was none."""
        values = [sample.figures[figure] for sample in self.samples]
        if not values:
            return None
        return Spread(statistics.median(values), min(values), max(values))

    def notes(self) -> list[str]:
        """Return each thing that went wrong once."""
        errors = [sample.errors for sample in self.samples if sample.errors]
        return list(dict.fromkeys(self.failures + errors))


@dataclass(frozen=True, slots=True)
class Results:
    """All that a run found, and what has to be known to read it."""

    scenarios: Sequence[Scenario]
    servers: Sequence[Server]
    rounds: int
    seconds: int
    machine: dict[str, str]
    versions: dict[str, str]
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)

    def cell(self, scenario: str, server: str) -> Cell:
        """Return what is known of one server in one scenario, if only that it is nothing."""
        return self.cells.setdefault((scenario, server), Cell())

    def protocols(self) -> list[str]:
        """Return the protocols of the scenarios, each once."""
        return list(dict.fromkeys(scenario.wire.protocol for scenario in self.scenarios))

    def of(self, protocol: str) -> list[Scenario]:
        """Return the scenarios of a protocol."""
        return [scenario for scenario in self.scenarios if scenario.wire.protocol == protocol]

    def participants(self, *scenarios: Scenario) -> list[Server]:
        """Return the servers that can take part in one of the scenarios."""
        return [
            server
            for server in self.servers
            if any(scenario.suits(server) for scenario in scenarios)
        ]

    def leading(self, scenario: Scenario, server: Server) -> Spread | None:
        """Return a scenario's leading figure for a server."""
        return self.cell(scenario.key, server.key).spread(scenario.figures[0])

    def as_json(self) -> dict[str, Any]:
        """Return everything, also each round, in types that JSON has."""
        return {
            "machine": self.machine,
            "versions": self.versions,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "scenarios": {scenario.key: self._scenario(scenario) for scenario in self.scenarios},
        }

    def _scenario(self, scenario: Scenario) -> dict[str, Any]:
        keys = [server.key for server in self.participants(scenario)]
        cells = {key: self.cell(scenario.key, key) for key in keys}
        return {
            "title": scenario.title,
            "servers": {
                key: {
                    "rounds": [dict(sample.figures) for sample in cell.samples],
                    "notes": cell.notes(),
                }
                for key, cell in cells.items()
            },
        }
