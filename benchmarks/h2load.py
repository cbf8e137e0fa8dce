"""Runs h2load, the load generator of the request and transfer scenarios of HTTP/2."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from errors import Failed
from load import Load, Outcome

CONNECTIONS, STREAMS = 16, 32
AT_ONCE = CONNECTIONS * STREAMS
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Report:
    """What h2load tells; `body_bytes` is what came as content of all answers."""

    outcome: Outcome
    body_bytes: int


def warm_up(url: str, load: Load, seconds: int) -> Outcome:
    """Put a server under load for some seconds.

    h2load drops what is under way when the time is over: for a slow server a good part of all, so
    this is not what is measured.
    """
    return _run(url, load, ["--duration", str(seconds)]).outcome


def run(url: str, load: Load, requests: int, upload: Path | None = None) -> Report:
    """Make so many requests, each with the file as its content, if there is one.

    Raises:
        Failed: h2load failed or did not get an answer to each.
    """
    data = ["--data", str(upload)] if upload else []
    report = _run(url, load, ["--requests", str(requests), *data])
    if report.outcome.requests != requests:
        raise Failed(f"{report.outcome.requests} of {requests} requests were answered")
    return report


def _run(url: str, load: Load, arguments: Sequence[str]) -> Report:
    command = ["h2load", "--threads", "1", "--clients", str(CONNECTIONS)]
    command += ["--max-concurrent-streams", str(STREAMS), *arguments]
    for name, value in load.headers.items():
        command += ["--header", f"{name.lower()}: {value}"]
    try:
        done = subprocess.run(
            [*command, url], capture_output=True, text=True, timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"h2load did not end within {TIMEOUT_SECONDS:.0f} s") from error
    if done.returncode:
        raise Failed(f"h2load: {(done.stderr or done.stdout).strip()}")
    if not re.search(r"^Application protocol: h2c?$", done.stdout, re.MULTILINE):
        raise Failed("h2load did not get to speak HTTP/2")
    return parse(done.stdout)


def parse(report: str) -> Report:
    """Return the figures of h2load's report.

    Raises:
        Failed: No request was answered.
    """
    per_second = re.search(r"finished in [^,]+, ([\d.]+) req/s", report)
    requests = re.search(
        r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout.*\n"
        r"status codes: \d+ 2xx, (\d+ 3xx, \d+ 4xx, \d+ 5xx)\n",
        report,
    )
    traffic = re.search(r"traffic: .* \((\d+)\) data", report)
    if not per_second or not requests or not traffic or requests[1] == "0":
        raise Failed("no request was answered")
    errors = []
    if requests[2] != "0":  # those in error and those that timed out are among the failed
        errors.append(f"{requests[2]} failed ({requests[3]} errored, {requests[4]} timeout)")
    if re.search(r"[1-9]", re.sub(r"\dxx", "", requests[5])):
        errors.append(requests[5])
    told = f"h2load saw: {'; '.join(errors)}" if errors else ""
    return Report(Outcome(int(requests[1]), float(per_second[1]), told), int(traffic[1]))


def version() -> str:
    """Return the version of nghttp2 that h2load, and so nghttpd, is of."""
    told = subprocess.run(["h2load", "--version"], capture_output=True, text=True).stdout
    return told.strip().rpartition("/")[2]
