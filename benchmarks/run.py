"""Measures gserver and its peers on this machine: ``python benchmarks/run.py --help``.

Figures go to standard output, progress to standard error. A whole run also writes the page and the
charts of the documentation, and every round's figures to benchmarks/results.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import certificate
import chart
import machine
import report
import wsload
from errors import Failed
from process import ROOT, Cores, serve
from results import Results
from scenarios import OPEN_CONNECTIONS, SCENARIOS, Sample, Scenario
from servers import SERVERS, Certificate, Server

ROUNDS, SECONDS = 5, 3
QUICK_ROUNDS, QUICK_SECONDS = 1, 1
ATTEMPTS = 2
"""After so many failures a server is left out of the further rounds of a scenario."""

SPARE_FILES = 1_000
RESULTS = ROOT / "benchmarks" / "results.json"
PAGES = ROOT / "docs" / "benchmarks"

Named = TypeVar("Named", Scenario, Server)


def main() -> int:
    """Measure, print, and write what is to be kept."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server is ended, too
    try:
        results = _run(options)
    except Failed as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(report.text(results))
    if options.write or not options.partial:
        _write(results)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure gserver and its peers on this machine.")
    parser.add_argument("--rounds", type=_positive, help=f"of each scenario (default {ROUNDS})")
    parser.add_argument(
        "--seconds", type=_positive, help=f"that a load lasts in a round (default {SECONDS})"
    )
    parser.add_argument(
        "--servers",
        type=lambda keys: _pick(SERVERS, keys),
        default=SERVERS,
        help=f"some of {_keys(SERVERS)}",
    )
    parser.add_argument(
        "--scenarios",
        type=lambda keys: _pick(SCENARIOS, keys),
        default=SCENARIOS,
        help=f"some of {_keys(SCENARIOS)}",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_ROUNDS} round of {QUICK_SECONDS} s, to see that all works",
    )
    parser.add_argument(
        "--write", action="store_true", help="write the files although it is not a whole run"
    )
    options = parser.parse_args()
    whole = options.servers is SERVERS and options.scenarios is SCENARIOS
    options.partial = options.quick or not whole
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _keys(things: Sequence[Named]) -> str:
    return ",".join(thing.key for thing in things)


def _pick(things: Sequence[Named], keys: str) -> Sequence[Named]:
    """Return the things named, in their own order."""
    chosen = keys.split(",")
    if unknown := set(chosen) - {thing.key for thing in things}:
        raise argparse.ArgumentTypeError(f"no {', '.join(sorted(unknown))} in {_keys(things)}")
    return [thing for thing in things if thing.key in chosen]


def _run(options: argparse.Namespace) -> Results:
    for tool, package in (("wrk", "wrk"), ("h2load", "nghttp2-client")):
        if not shutil.which(tool):
            raise Failed(f"needs {tool}, a load generator (Debian: apt install {package})")
    wsload.build()
    cores = machine.choose_cores()
    machine.raise_file_limit(OPEN_CONNECTIONS + SPARE_FILES)
    os.sched_setaffinity(0, {cores.load})
    packages = [package for server in options.servers for package in server.packages]
    results = Results(
        scenarios=options.scenarios,
        servers=options.servers,
        rounds=options.rounds,
        seconds=options.seconds,
        machine=machine.describe(),
        versions=machine.versions(packages),
    )
    with TemporaryDirectory() as folder:
        tls = certificate.make(Path(folder))
        _measure_all(results, tls, cores)
    return results


def _measure_all(results: Results, tls: Certificate, cores: Cores) -> None:
    """Let the servers take turns, so that what disturbs the machine for a while disturbs all."""
    turns = list(_turns(results))
    for turn, (number, scenario, server) in enumerate(turns, 1):
        cell = results.cell(scenario.key, server.key)
        if len(cell.failures) < ATTEMPTS:
            where = f"[{turn}/{len(turns)}] {scenario.key}, round {number}, {server.title}:"
            try:
                sample = _measure(scenario, server, tls, cores, results.seconds)
            except (Failed, OSError, HTTPException) as error:
                cell.failures.append(str(error) or type(error).__name__)
                print(where, cell.failures[-1], file=sys.stderr)
            else:
                cell.samples.append(sample)
                print(where, _brief(sample), file=sys.stderr)


def _turns(results: Results) -> Iterator[tuple[int, Scenario, Server]]:
    for scenario in results.scenarios:
        for number in range(1, results.rounds + 1):
            for server in results.participants(scenario):
                yield number, scenario, server


def _measure(
    scenario: Scenario, server: Server, tls: Certificate, cores: Cores, seconds: int
) -> Sample:
    """Measure a server that was started for this and has done nothing else yet."""
    with serve(server, scenario.application, scenario.wire, tls, cores) as running:
        return scenario.measure(running, seconds)


def _brief(sample: Sample) -> str:
    figures = [f"{report.number(value)} {name}" for name, value in sample.figures.items()]
    return "; ".join([*figures, sample.errors] if sample.errors else figures)


def _write(results: Results) -> None:
    files = {RESULTS: json.dumps(results.as_json(), indent=2) + "\n"}
    files[PAGES / "results.rst"] = report.document(results)
    for protocol in results.protocols():
        files[PAGES / report.CHARTS[protocol].file] = chart.draw(results, protocol)
    PAGES.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        path.write_text(content)
        print(f"wrote {path.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        sys.exit(main())
