"""What a load generator is told, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Load:
    """What to ask for; `script` is for wrk only."""

    headers: Mapping[str, str] = field(default_factory=dict)
    script: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it; `errors` tells what the generator complained of, if anything."""

    requests: int
    per_second: float
    errors: str
