"""httpx[http2], which speaks HTTP/2 by the h2 library."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from interop.site import BLOCK

if TYPE_CHECKING:
    from interop.conftest import Place


@pytest.fixture(params=["clear", "secure"])
def options(request: pytest.FixtureRequest, place: Place) -> dict[str, Any]:
    """Return what makes a client on HTTP/2 whose URLs are relative to the site's."""
    return {
        "base_url": getattr(place, request.param),
        "verify": ssl.create_default_context(cafile=place.certificate),
        "http1": request.param == "secure",  # in clear its absence means prior knowledge
        "http2": True,
        "trust_env": False,
        "timeout": 10,
    }


@pytest.fixture
def client(options: dict[str, Any]) -> Iterator[httpx.Client]:
    with httpx.Client(**options) as client:
        yield client


def test_request(client: httpx.Client) -> None:
    response = client.get("/hello")
    assert response.http_version == "HTTP/2"
    assert response.text == "hello over HTTP/2\n"


def test_download_as_a_stream(client: httpx.Client) -> None:
    sha = hashlib.sha256()
    with client.stream("GET", "/blocks?200") as response:
        for piece in response.iter_bytes():
            sha.update(piece)
    assert sha.digest() == hashlib.sha256(BLOCK * 200).digest()


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_upload(client: httpx.Client, streamed: bool) -> None:
    content = (BLOCK for _ in range(200)) if streamed else BLOCK * 200
    told = client.post("/digest", content=content).json()
    assert told == [len(BLOCK) * 200, hashlib.sha256(BLOCK * 200).hexdigest()]


def test_upload_that_nobody_reads(client: httpx.Client) -> None:
    # What limit_unread_body allows: of more httpx would never see the end.
    response = client.post("/refuse", content=bytes(200_000))
    assert (response.status_code, response.text) == (403, "no")


def test_leaving_a_download(client: httpx.Client, place: Place) -> None:
    with client.stream("GET", "/blocks?100000") as response:
        next(response.iter_bytes())
    assert client.get("/hello").status_code == 200
    assert len(place.site.connections) == 1


def test_requests_at_once_share_a_connection(options: dict[str, Any], place: Place) -> None:
    # With asyncio: with threads httpcore 1.0 opens streams in the wrong order now and then.
    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(**options) as client:
            await client.get("/hello")
            uploads = (client.post("/echo", content=BLOCK) for _ in range(40))
            return list(await asyncio.gather(*uploads))

    assert all(one.content == BLOCK for one in asyncio.run(ask()))
    assert len(place.site.connections) == 1
