"""Runs wrk, the load generator of the request scenarios of HTTP/1.1, and reads its report."""

from __future__ import annotations

import re
import subprocess

from errors import Failed
from load import Load, Outcome

CONNECTIONS = 64
SLACK_SECONDS = 20.0
"""How much longer than told wrk may take: it waits for its connections at the end."""


def run(url: str, load: Load, seconds: int) -> Outcome:
    """Put a server under load for some seconds; wrk inherits the core of this process.

    Raises:
        Failed: wrk failed or got no answer at all.
    """
    command = ["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s"]
    for name, value in load.headers.items():
        command += ["-H", f"{name}: {value}"]
    if load.script:
        command += ["-s", str(load.script)]
    try:
        done = subprocess.run(
            [*command, url], capture_output=True, text=True, timeout=seconds + SLACK_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise Failed("wrk did not end in time") from error
    if done.returncode:
        raise Failed(f"wrk: {(done.stderr or done.stdout).strip()}")
    return parse(done.stdout)


def parse(report: str) -> Outcome:
    """Return the figures of wrk's report.

    Raises:
        Failed: No request was answered.
    """
    requests = re.search(r"(\d+) requests in ", report)
    per_second = re.search(r"Requests/sec:\s+([\d.]+)", report)
    if not requests or not per_second or requests[1] == "0":
        raise Failed("no request was answered")
    # wrk prints these two lines only if there is something to tell.
    errors = re.findall(r"(Socket errors: .*|Non-2xx or 3xx responses: \d+)", report)
    told = f"wrk saw: {'; '.join(errors)}" if errors else ""
    return Outcome(int(requests[1]), float(per_second[1]), told)


def version() -> str:
    """Return wrk's version; wrk tells it in its usage, with which it exits with status 1."""
    usage = subprocess.run(["wrk", "-v"], capture_output=True, text=True)
    found = re.search(r"wrk (\S+)", usage.stdout + usage.stderr)
    return found[1] if found else "unknown"
