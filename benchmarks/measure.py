"""What a process tree has used of processor and memory, from /proc.

A server is started as the leader of a session of its own (see `process`), so its tree is the
processes of that session: whoever forked whom, and also those whose parent has gone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(session: int) -> float:
    """Return the processor time that a session has used, in user mode and in the kernel.

    The kernel counts in ticks (10 ms), so measure over a second at least. The time of children that
    ended and were waited for stands in their parent's entry and is counted too.
    """
    # proc(5): utime, stime, cutime and cstime are fields 14 to 17 of the whole line.
    return sum(sum(map(int, stat[11:15])) for _, stat in _stats(session)) / TICKS_PER_SECOND


def memory_bytes(session: int) -> int:
    """Return the sum of what the processes of a session have resident in memory.

    The kernel counts it anew. What stands in /proc/PID/stat is up to some hundred KiB behind: too
    much where a hundred streams are measured.
    """
    rolled_up = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in processes(session))
    return sum(int(re.findall(r"^Rss: +(\d+) kB", text, re.M)[0]) for text in rolled_up) * 1024


def processes(session: int) -> list[int]:
    """Return the processes of a session that still run."""
    return [process for process, _ in _stats(session)]


def _stats(session: int) -> Iterator[tuple[int, list[str]]]:
    """Yield process and status of each live one, the fields from the third (state) onwards."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            line = (entry / "stat").read_text()
        except OSError:
            continue  # it ended meanwhile
        # The command's name is in parentheses and may contain anything, also parentheses.
        stat = line[line.rindex(")") + 2 :].split()
        if int(stat[3]) == session and stat[0] not in "ZX":
            yield int(entry.name), stat
