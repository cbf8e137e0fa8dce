"""What mypy makes of applications that use gserver.api."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

FOLDER = ROOT / "tests" / "typing"
_EXPECTED = re.compile(r"  # type: ignore\[([a-z-]+)\]$")
_REPORTED = re.compile(r"^(.+?):(\d+): error: .* \[([a-z-]+)\]$")

Errors = set[tuple[str, int, str]]


def expected_errors(path: Path) -> Errors:
    """Return file name, line and code of the errors that a file's comments announce."""
    found = set()
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if match := _EXPECTED.search(line):
            found.add((path.name, number, match[1]))
    return found


@pytest.mark.slow
def test_mypy_accepts_and_rejects_what_it_should(tmp_path: Path) -> None:
    """The comments are taken away, so that mypy says what they keep it from saying."""
    expected: Errors = set()
    for path in FOLDER.glob("*.py"):
        expected |= expected_errors(path)
        text = path.read_text()
        (tmp_path / path.name).write_text(re.sub(_EXPECTED.pattern, "", text, flags=re.M))
    command = [sys.executable, "-m", "mypy", f"--config-file={ROOT / 'pyproject.toml'}"]
    command += [f"--cache-dir={tmp_path / 'cache'}", *map(str, tmp_path.glob("*.py"))]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert not result.stderr
    reported: Errors = set()
    for line in result.stdout.splitlines():
        if match := _REPORTED.match(line):
            reported.add((Path(match[1]).name, int(match[2]), match[3]))
    assert reported == expected, result.stdout
    assert {name for name, _, _ in expected} == {"lite_rejected.py"}
