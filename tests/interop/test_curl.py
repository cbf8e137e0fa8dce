"""curl: prior knowledge, ALPN, Upgrade, and content of some MiB in both directions."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Protocol

import pytest

from interop.site import BLOCK

if TYPE_CHECKING:
    from pathlib import Path

    from interop.conftest import Open, Place, Run

CONTENT = BLOCK * 200 + b"odd end"
DIGEST = [len(CONTENT), hashlib.sha256(CONTENT).hexdigest()]


class Curl(Protocol):
    def __call__(self, *arguments: str, content: bytes = b"") -> str: ...


def options(place: Place) -> tuple[str, ...]:
    return ("--silent", "--show-error", "--noproxy", "*", "--cacert", place.certificate)


@pytest.fixture(params=["clear", "secure"])
def curl(request: pytest.FixtureRequest, place: Place, run: Run) -> Curl:
    """Return a function that runs curl on HTTP/2; a path becomes a URL of the site."""
    url, version = {
        "clear": (place.clear, "--http2-prior-knowledge"),
        "secure": (place.secure, "--http2"),
    }[request.param]

    def start(*arguments: str, content: bytes = b"") -> str:
        full = [url + one if one.startswith("/") else one for one in arguments]
        return run("curl", version, *options(place), *full, content=content)

    return start


def test_request(curl: Curl) -> None:
    told = curl("/hello", "--write-out", "%{http_version} %{http_code}")
    assert told == "hello over HTTP/2\n2 200"


def test_head(curl: Curl) -> None:
    told = curl("--head", "/sized?4")
    assert told.startswith("HTTP/2 200")
    assert f"content-length: {4 * len(BLOCK)}\r\n" in told.lower()
    assert told.endswith("\r\n\r\n")


@pytest.mark.parametrize("path", ["/blocks", "/sized"])
def test_download(curl: Curl, tmp_path: Path, path: str) -> None:
    assert curl(f"{path}?300", "--output", "file", "--write-out", "%{http_version}") == "2"
    assert (tmp_path / "file").read_bytes() == BLOCK * 300


@pytest.mark.parametrize("how", ["--data-binary", "--upload-file"])
def test_upload(curl: Curl, how: str) -> None:
    source = {"--data-binary": "@-", "--upload-file": "-"}[how]
    assert json.loads(curl(how, source, "/digest", content=CONTENT)) == DIGEST


def test_content_in_both_directions_at_once(curl: Curl, tmp_path: Path) -> None:
    curl("--upload-file", "-", "/echo", "--output", "file", content=CONTENT)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("size", [1000, 200_000, 3_000_000])
def test_upload_that_nobody_reads(curl: Curl, size: int) -> None:
    content = bytes(size)
    told = curl("--data-binary", "@-", "--write-out", " %{http_code}", "/refuse", content=content)
    assert told == "no 403"


def test_transfers_in_parallel_share_a_connection(run: Run, place: Place, tmp_path: Path) -> None:
    # Not in clear: curl 7.88 mistakes the second transfer's connection for one without HTTP/2.
    url = f"{place.secure}/blocks?[1-20]"
    run("curl", "--http2", *options(place), "--parallel", url, "--output", "part#1")
    sizes = [(tmp_path / f"part{number}").stat().st_size for number in range(1, 21)]
    assert sizes == [len(BLOCK) * number for number in range(1, 21)]
    assert len(place.site.connections) == 1


def upgrading(run: Run, place: Place, *arguments: str) -> list[str]:
    """Run curl with Upgrade: h2c; return the status lines that it saw."""
    told = run("curl", "--http2", *options(place), "--verbose", *arguments, errors=True)
    return re.findall(r"^< (HTTP/\S+ \d+)", told, re.MULTILINE)


def test_upgrade(open_site: Open, run: Run) -> None:
    place = open_site(http2_upgrade=True)
    statuses = upgrading(run, place, f"{place.clear}/hello", f"{place.clear}/sized?0")
    assert statuses == ["HTTP/1.1 101", "HTTP/2 200", "HTTP/2 200"]
    assert place.site.protocols == {"HTTP/2"}
    assert len(place.site.connections) == 1


def test_upgrade_is_ignored_unless_switched_on(place: Place, run: Run) -> None:
    assert upgrading(run, place, f"{place.clear}/hello") == ["HTTP/1.1 200"]
    assert place.site.protocols == {"HTTP/1.1"}


def test_http1_where_the_client_or_the_server_wants_it(open_site: Open, run: Run) -> None:
    willing, unwilling = open_site(), open_site(http2=False)
    for place, version in (willing, "--http1.1"), (unwilling, "--http2"):
        told = run("curl", version, *options(place), f"{place.secure}/hello")
        assert told == "hello over HTTP/1.1\n"
