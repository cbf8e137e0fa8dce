"""What type checkers make of applications, bindings and decorators."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT

FOLDER = Path(__file__).parent / "typing"
_EXPECTED = re.compile(r"  # type: ignore\[([a-z-]+)\]$", re.M)
_REPORTED = re.compile(r"^(.+?):(\d+): error: (.* \[([a-z-]+)\])$")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the files, without the comments that keep checkers from speaking."""
    for path in FOLDER.glob("*.py"):
        (tmp_path / path.name).write_text(_EXPECTED.sub("", path.read_text()))
    return tmp_path


def expected() -> dict[tuple[str, int], str]:
    """Return the code of each error that the comments announce, by file and line."""
    return {
        (path.name, number): match[1]
        for path in FOLDER.glob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (match := _EXPECTED.search(line))
    }


def run(*command: str) -> str:
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert not result.stderr
    return result.stdout


def test_the_errors_are_in_one_file() -> None:
    assert {name for name, _ in expected()} == {"rejected.py"}


@pytest.mark.slow
def test_mypy_accepts_and_rejects_what_it_should(folder: Path) -> None:
    # A cache that lasts, for what they import takes longer than they.
    cache = ROOT / "build" / "mypy"
    options = [f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={cache}"]
    files = map(str, folder.glob("*.py"))
    output = run(sys.executable, "-m", "mypy", *options, *files)
    found = [match for line in output.splitlines() if (match := _REPORTED.match(line))]
    reported = {(Path(match[1]).name, int(match[2])): match[4] for match in found}
    assert reported == expected(), output


@pytest.mark.slow
def test_pyright_accepts_and_rejects_what_it_should(folder: Path) -> None:
    """Basedpyright, which is pyright with a Node of its own."""
    settings = {
        "typeCheckingMode": "standard",
        "pythonVersion": "3.10",
        "extraPaths": [str(ROOT)],
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    options = ["--outputjson", "--pythonpath", sys.executable, "--project", str(folder)]
    report: dict[str, Any] = json.loads(run(sys.executable, "-m", "basedpyright", *options))
    errors = [one for one in report["generalDiagnostics"] if one["severity"] == "error"]
    lines = {(Path(one["file"]).name, one["range"]["start"]["line"] + 1) for one in errors}
    assert lines == set(expected()), errors
