"""requests, urllib3, http.client and curl as clients, over TCP and TLS."""

from __future__ import annotations

import hashlib
import http.client
import re
import select
import ssl
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import urllib3

from conftest import Launch, ServerProcess, need

BLOCK = bytes(range(256)) * 64
SIZE = 5_000_000


@pytest.fixture(scope="module")
def server(launch: Launch, certificate: tuple[str, str]) -> ServerProcess:
    return launch(
        "plain_app:app",
        *("--bind", "http://127.0.0.1:0", "--bind", "https://127.0.0.1:0"),
        *("--certfile", certificate[0], "--keyfile", certificate[1]),
    )


@pytest.fixture(params=["http", "https"])
def url(request: pytest.FixtureRequest, server: ServerProcess) -> str:
    match = re.search(rf"({request.param}://\S+?)/?\s", server.text)
    assert match, server.text
    return match[1]


@pytest.fixture
def session(certificate: tuple[str, str]) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = certificate[0]
        yield session


@pytest.fixture
def pool(url: str, certificate: tuple[str, str]) -> Iterator[urllib3.HTTPConnectionPool]:
    options: dict[str, Any] = {"ca_certs": certificate[0]} if url.startswith("https") else {}
    with urllib3.connection_from_url(url, timeout=10, retries=False, **options) as pool:
        yield pool


def pieces(size: int) -> Iterator[bytes]:
    """Produce content whose length the client does not know, in pieces of odd lengths."""
    length = 1
    while size > 0:
        piece = BLOCK[: min(length, size)]
        yield piece
        size -= len(piece)
        length = length * 3 % len(BLOCK) + 1


def sha256(blocks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def test_requests_keeps_the_connection(url: str, session: requests.Session) -> None:
    first = session.get(f"{url}/connection", timeout=10).text
    session.post(f"{url}/digest", data=bytes(100_000), timeout=10)
    session.post(f"{url}/digest", data=pieces(100_000), timeout=10)
    session.head(f"{url}/blocks?3", timeout=10)
    session.get(f"{url}/blocks?3", timeout=10)
    for code in (204, 304, 404, 503):
        assert session.get(f"{url}/status?{code}", timeout=10).status_code == code
    session.post(f"{url}/refuse", data=b"not looked at", timeout=10)
    # Redirected: a second request.
    assert session.get(f"{url}/status?303", timeout=10).text == first


def test_urllib3_keeps_the_connection(pool: urllib3.HTTPConnectionPool) -> None:
    ports = {pool.request("GET", "/connection").data for _ in range(5)}
    assert len(ports) == 1
    assert (pool.num_requests, pool.num_connections) == (5, 1)


def test_http_client_keeps_the_connection(server: ServerProcess) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    ports = set()
    for _ in range(3):
        client.request("GET", "/connection")
        ports.add(client.getresponse().read())
    client.close()
    assert len(ports) == 1


def test_requests_uploads_from_a_generator(url: str, session: requests.Session) -> None:
    told = session.post(f"{url}/digest", data=pieces(SIZE), timeout=20).json()
    assert told == {
        "size": SIZE,
        "sha256": sha256(pieces(SIZE)),
        "length": None,
        "scheme": url.partition(":")[0],
    }


def test_urllib3_uploads_from_a_generator(pool: urllib3.HTTPConnectionPool) -> None:
    told = pool.request("POST", "/digest", body=pieces(SIZE), chunked=True).json()
    assert (told["size"], told["sha256"]) == (SIZE, sha256(pieces(SIZE)))


def test_requests_downloads_as_a_stream(url: str, session: requests.Session) -> None:
    with session.get(f"{url}/blocks?300", stream=True, timeout=10) as response:
        assert response.headers["Transfer-Encoding"] == "chunked"
        received = sha256(response.iter_content(10_000))
    assert received == sha256(iter([BLOCK] * 300))


def test_urllib3_downloads_chunk_by_chunk(pool: urllib3.HTTPConnectionPool) -> None:
    response = pool.request("GET", "/blocks?300", preload_content=False)
    assert list(response.read_chunked()) == [BLOCK] * 300
    response.release_conn()
    assert pool.request("GET", "/blocks?1").data == BLOCK
    assert pool.num_connections == 1


def test_leaving_a_download(server: ServerProcess, pool: urllib3.HTTPConnectionPool) -> None:
    """The server takes no offence, and serves the next request."""
    response = pool.request("GET", "/blocks?100000", preload_content=False)
    assert response.read(1000) == BLOCK[:1000]
    response.close()
    assert pool.request("GET", "/blocks?1").data == BLOCK
    assert "Traceback" not in server.text


def test_chunked_content_that_nobody_reads(server: ServerProcess) -> None:
    """The answer says that the connection is closed, or it is kept, however much comes.

    RFC 9112 9.6: a client that is told nothing sends its next request, and loses it.
    """
    with server.client() as client:
        first = client.get_with_body(
            "/refuse", b"4000\r\n" + BLOCK + b"\r\n", "Transfer-Encoding: chunked"
        )
        assert first.body == b"no"
        if "Connection" in first:
            assert first["Connection"] == "close"
        else:
            client.send((b"4000\r\n" + BLOCK + b"\r\n") * 100 + b"0\r\n\r\n")
            assert client.get("/blocks?1").body == BLOCK


def test_echo_while_uploading(pool: urllib3.HTTPConnectionPool) -> None:
    """Less than the sockets' buffers hold: urllib3 reads only when it has sent all."""
    response = pool.request("POST", "/echo", body=pieces(50_000), chunked=True)
    assert response.data == b"".join(pieces(50_000))


def test_urllib3_replaces_a_connection_that_was_idle_too_long(launch: Launch) -> None:
    port = launch("plain_app:app", "--keepalive", "0.2").port
    with urllib3.HTTPConnectionPool("127.0.0.1", port, timeout=10, retries=False) as pool:
        first = pool.request("GET", "/connection").data
        # What the pool does not look at before it needs the connection again.
        assert pool.pool
        connection = pool.pool.get(block=False)
        assert select.select([connection.sock], [], [], 10)[0], "the server did not close"
        pool.pool.put(connection)
        assert pool.request("GET", "/connection").data != first


def test_certificate_of_a_stranger(server: ServerProcess, session: requests.Session) -> None:
    """The client breaks the handshake off; the next one is served."""
    match = re.search(r"https://\S+:\d+", server.text)
    assert match
    with pytest.raises(requests.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        session.get(f"{match[0]}/connection", timeout=10, verify=True)
    assert session.get(f"{match[0]}/connection", timeout=10).text.isdigit()


def test_tls_session_details(server: ServerProcess, certificate: tuple[str, str]) -> None:
    match = re.search(r"https://(\S+):(\d+)", server.text)
    assert match
    context = ssl.create_default_context(cafile=certificate[0])
    client = http.client.HTTPSConnection(match[1], int(match[2]), timeout=10, context=context)
    client.request("GET", "/blocks?200")
    assert client.sock.version() == "TLSv1.3"
    assert client.getresponse().read() == BLOCK * 200
    client.close()


def curl(*arguments: str, content: bytes) -> tuple[str, str]:
    """Run curl; return its output and its report of the heads."""
    need("curl")
    command = ["curl", "--verbose", "--silent", "--max-time", "20", "--noproxy", "*", *arguments]
    done = subprocess.run(command, input=content, capture_output=True, check=True)
    return done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    "framing", [(), ("--header", "Transfer-Encoding: chunked")], ids=["length", "chunked"]
)
def test_curl_waits_for_100_continue(
    url: str, certificate: tuple[str, str], framing: tuple[str, ...]
) -> None:
    content = BLOCK * 100
    output, heads = curl(
        *("--http1.1", "--cacert", certificate[0], "--header", "Expect: 100-continue", *framing),
        *("--expect100-timeout", "15", "--data-binary", "@-", f"{url}/digest"),
        content=content,
    )
    assert f'"sha256": "{hashlib.sha256(content).hexdigest()}"' in output
    assert re.findall(r"< HTTP/1.1 (\d+)", heads) == ["100", "200"]


def test_curl_keeps_content_that_is_not_wanted(server: ServerProcess) -> None:
    output, heads = curl(
        *("--header", "Expect: 100-continue", "--expect100-timeout", "15"),
        *("--data-binary", "@-", "--write-out", " %{http_code} %{size_upload}"),
        f"http://127.0.0.1:{server.port}/refuse",
        content=BLOCK * 100,
    )
    assert output == "no 403 0"
    assert re.findall(r"< HTTP/1.1 (\d+)", heads) == ["403"]
