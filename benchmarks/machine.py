"""The machine that measures: its cores, its limits, and what its figures depend on."""

from __future__ import annotations

import os
import platform
import resource
import ssl
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import h2load
import wrk
from errors import Failed
from process import Cores

NOT_INSTALLED = "not installed"


def choose_cores() -> Cores:
    """Return two cores, if possible not two threads of the same one: those share a processor.

    Raises:
        Failed: There are no two.
    """
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        raise Failed("needs two cores: one for the server, one for the load")
    siblings = _siblings(first)
    apart = (core for core in others if core not in siblings)
    return Cores(server=next(apart, others[0]), load=first)


def raise_file_limit(descriptors: int) -> None:
    """Allow so many open files; servers inherit it.

    Raises:
        Failed: The hard limit is lower and this user may not raise it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < descriptors:
        limit = hard if hard == resource.RLIM_INFINITY else max(hard, descriptors)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, limit))
        except (ValueError, OSError) as error:
            raise Failed(f"needs {descriptors} open files (ulimit -n): {error}") from error


def describe() -> dict[str, str]:
    """Return what the figures depend on, without the servers."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "openssl": ssl.OPENSSL_VERSION,
        "wrk": wrk.version(),
        "h2load, nghttpd": h2load.version(),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each package."""
    return {package: _version(package) for package in packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return NOT_INSTALLED


def _siblings(core: int) -> set[int]:
    """Return the cores that are threads of the same one, as "0,4" or "0-1"; none if not told."""
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    if not path.exists():
        return set()
    found: set[int] = set()
    for part in path.read_text().strip().split(","):
        low, _, high = part.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return found


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
