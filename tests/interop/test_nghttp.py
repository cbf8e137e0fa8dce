"""nghttp and h2load: pushes, trailers, small windows, many streams, and load."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pytest

from interop.site import BLOCK

if TYPE_CHECKING:
    from interop.conftest import Open, Place, Run


def received(log: str, field: str) -> list[str]:
    """Return the values of a field of the responses, in the order in which they came."""
    return re.findall(rf"recv \(stream_id=\d+(?:, sensitive)?\) {field}: (.*)", log)


def frames(log: str, kind: str) -> int:
    """Return how many frames of a kind came."""
    return len(re.findall(rf"recv {kind} frame", log))


def test_pushes(place: Place, run: Run) -> None:
    log = run("nghttp", "--verbose", f"{place.clear}/pushes")
    assert "pushed pushed pushed" in log
    assert frames(log, "PUSH_PROMISE") == 3
    assert received(log, ":status") == ["200"] * 4
    for number in range(3):
        assert f"\n/pushed/{number}\n" in log
    assert len(place.site.requests) == 4


def test_a_client_without_pushes_gets_hints(place: Place, run: Run) -> None:
    log = run("nghttp", "--verbose", "--no-push", f"{place.clear}/pushes")
    assert "hinted hinted hinted" in log
    assert received(log, ":status") == ["103", "103", "103", "200"]
    assert received(log, "link")[0].startswith("</pushed/0>; rel=preload")


def test_early_hints(place: Place, run: Run) -> None:
    log = run("nghttp", "--verbose", f"{place.clear}/hints")
    assert received(log, ":status") == ["103", "200"]
    assert received(log, "link") == ["</style.css>; rel=preload; as=style"] * 2


def test_trailers_in_both_directions(place: Place, run: Run) -> None:
    log = run(
        *("nghttp", "--verbose", "--null-out", "--data", "content", "--trailer", "checked: yes"),
        f"{place.clear}/trailers",
        content=BLOCK * 10,
    )
    assert received(log, "sha256") == [hashlib.sha256(BLOCK * 10).hexdigest()]
    assert received(log, "told") == ['{"checked": "yes"}']


@pytest.mark.parametrize(
    "option",
    [
        "--window-bits=8",
        "--connection-window-bits=10",
        "--header-table-size=0",
        "--encoder-header-table-size=0",
        "--padding=200",
        "--continuation",
        "--expect-continue",
        "--max-concurrent-streams=1",
    ],
)
def test_what_few_clients_do(place: Place, run: Run, option: str) -> None:
    log = run(
        *("nghttp", "--verbose", "--null-out", "--stat", "--data", "content", option),
        f"{place.clear}/echo",
        content=BLOCK * 2,
    )
    expected = ["100", "200"] if option == "--expect-continue" else ["200"]
    assert received(log, ":status") == expected
    sizes = re.findall(r"recv DATA frame <length=(\d+), flags=0x0\d", log)
    assert sum(map(int, sizes)) == len(BLOCK) * 2


def test_many_streams(place: Place, run: Run) -> None:
    log = run("nghttp", "--verbose", "--null-out", "--multiply=300", f"{place.clear}/blocks?1")
    assert received(log, ":status") == ["200"] * 300
    assert len(place.site.connections) == 1


def test_priority(place: Place, run: Run) -> None:
    log = run("nghttp", "--header", "priority: u=1, i", f"{place.clear}/priority")
    assert log == "(1, True)"


def test_upgrade(open_site: Open, run: Run) -> None:
    place = open_site(http2_upgrade=True)
    log = run("nghttp", "--verbose", "--upgrade", f"{place.clear}/hello")
    assert "HTTP/1.1 101 Switching Protocols" in log
    assert "hello over HTTP/2" in log


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["clear", "secure"])
def test_load(place: Place, run: Run, scheme: str) -> None:
    url = getattr(place, scheme)
    told = run("h2load", "-n2000", "-c4", "-m16", f"{url}/hello")
    assert "2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored" in told
    assert "status codes: 2000 2xx" in told
    assert len(place.site.connections) == 4


def test_load_of_uploads(place: Place, run: Run) -> None:
    told = run(
        *("h2load", "-n200", "-c4", "-m16", "--data=content", f"{place.clear}/digest"),
        content=BLOCK * 2,
    )
    assert "200 succeeded, 0 failed, 0 errored" in told
    assert "status codes: 200 2xx" in told
