"""Node's http2 module: trailers, hints and pushes, large content, cancelled streams."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from interop.site import BLOCK

if TYPE_CHECKING:
    from interop.conftest import Place, Run

SCRIPT = str(Path(__file__).parent / "node_client.mjs")


class Node(Protocol):
    def __call__(self, task: str) -> Any: ...


@pytest.fixture(params=["clear", "secure"])
def node(request: pytest.FixtureRequest, place: Place, run: Run) -> Node:
    """Return a function that runs a task of the script and returns what it saw."""
    url = getattr(place, request.param)
    return lambda task: json.loads(run("node", SCRIPT, url, task))


def test_request(node: Node) -> None:
    assert node("request") == {"status": 200, "body": "hello over HTTP/2\n"}


def test_trailers_in_both_directions(node: Node) -> None:
    told = node("trailers")
    assert told["body"] == "some content"
    assert told["trailers"] == {
        "sha256": hashlib.sha256(b"some content").hexdigest(),
        "told": '{"from-node": "at the end"}',
    }


def test_early_hints(node: Node) -> None:
    link = "</style.css>; rel=preload; as=style"
    assert node("hints") == {"early": [[103, link]], "status": 200, "link": link}


def test_pushes(node: Node) -> None:
    told = node("pushes")
    assert told["body"] == "pushed pushed pushed"
    paths = [f"/pushed/{number}" for number in range(3)]
    # Node takes bytes that are no UTF-8 for one character each.
    length = len(BLOCK.decode(errors="replace")) + len(paths[0]) + 1
    assert sorted(told["pushed"]) == [[path, 200, path, length] for path in paths]


def test_pushes_that_are_refused(node: Node) -> None:
    assert node("refusedPushes") == {"body": "pushed pushed pushed", "refused": 3, "after": 200}


def test_large_content_in_both_directions_at_once(node: Node) -> None:
    assert node("large") == {"same": True}


def test_upload_that_nobody_reads(node: Node) -> None:
    assert node("refusedUpload") == {"status": 403, "body": "no"}


def wait_for_broken(place: Place) -> list[str]:
    deadline = time.monotonic() + 5
    while not place.site.broken and time.monotonic() < deadline:
        time.sleep(0.01)
    return place.site.broken


def test_cancelled_download(node: Node, place: Place) -> None:
    assert node("cancelledDownload") == {"after": 200}
    assert wait_for_broken(place) == ["/blocks"]


def test_abandoned_upload(node: Node, place: Place) -> None:
    assert node("abandonedUpload") == {"answer": "ping"}
    assert wait_for_broken(place) == ["/echo"]


def test_more_requests_than_may_run_at_once(node: Node, place: Place) -> None:
    assert node("many") == ["hello over HTTP/2\n"]
    assert len(place.site.requests) == 250
    assert len(place.site.connections) == 1


def test_ping(node: Node) -> None:
    assert node("ping") == {"error": None}
