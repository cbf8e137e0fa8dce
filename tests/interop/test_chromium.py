"""Chromium, without a screen, loads a page of many resources."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from interop.browser import OPTIONS
from interop.site import RESOURCES

if TYPE_CHECKING:
    from pathlib import Path

    from interop.conftest import Place, Run


@pytest.mark.slow
def test_page_of_many_resources_over_one_connection(place: Place, run: Run, tmp_path: Path) -> None:
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    page = run("chromium", *OPTIONS, profile, "--dump-dom", f"{place.secure}/page")
    assert f"<title>{RESOURCES} loaded, 0 failed</title>" in page
    paths = [path for _, path, _ in place.site.requests]
    assert sorted(paths) == sorted(["/page", *(f"/resource/{n}" for n in range(RESOURCES))])
    assert place.site.protocols == {"HTTP/2"}
    assert len(place.site.connections) == 1
