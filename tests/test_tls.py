"""TLS: what the application learns, who is let in, and how it begins and ends."""

from __future__ import annotations

import logging
import queue
import re
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from clients import ConnectionEnded, RawClient
from conftest import Command, Serve, ServerThread
from gserver.api import lite
from gserver.api.errors import ConfigError, Disconnected
from gserver.config import Config
from gserver.server import Server


class Authority(NamedTuple):
    """Paths of a CA's certificate, and of a client's certificate that it issued, and its key."""

    ca: str
    certificate: str
    key: str


def make_authority(folder: Path, name: str) -> Authority:
    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ["-newkey", "rsa:2048", "-nodes", "-days", "2"]
    openssl("req", "-x509", *new, "-subj", "/CN=the CA", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *new, "-subj", f"/O=Guests/CN={name}", "-keyout", "key", "-out", "request")
    sign = ["x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key"]
    openssl(*sign, "-CAcreateserial", "-out", "cert")
    return Authority(str(folder / "ca.pem"), str(folder / "cert"), str(folder / "key"))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"), "alice")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("other"), "mallory")


@pytest.fixture
def options(certificate: tuple[str, str]) -> dict[str, Any]:
    """Options of a server that speaks TLS."""
    return {"certfile": certificate[0], "keyfile": certificate[1]}


@pytest.fixture
def context(certificate: tuple[str, str]) -> ssl.SSLContext:
    """What a client needs that trusts the server."""
    return ssl.create_default_context(cafile=certificate[0])


@lite
def tell(environ: dict[str, Any]) -> Any:
    """Answer with the environ's text, a line for each key."""
    lines = [f"{key}={value}" for key, value in environ.items() if isinstance(value, str)]
    return "200 OK", [], ["\0".join(lines).encode("latin-1")]


def told(client: RawClient) -> dict[str, str]:
    """Ask `tell`."""
    return dict(line.split("=", 1) for line in client.get().text.split("\0"))


# -- what the application learns -------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_environ(
    serve: Serve, options: dict[str, Any], context: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    @lite
    def app(environ: dict[str, Any]) -> Any:
        assert environ["wsgi.url_scheme"] == "https"
        return tell(environ)

    context.minimum_version = context.maximum_version = version
    with serve(app, **options).client(tls=context) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        cipher = client.sock.cipher()
        assert cipher is not None
        environ = told(client)
    assert environ["HTTPS"] == "on"
    assert environ["SSL_PROTOCOL"] == version.name.replace("_", ".")
    assert environ["SSL_CIPHER"] == cipher[0]
    assert environ["SSL_CIPHER_USEKEYSIZE"] == str(cipher[2])
    assert environ["SSL_CLIENT_VERIFY"] == "NONE"
    assert "SSL_CLIENT_CERT" not in environ


def test_several_requests_on_one_connection(
    serve: Serve, options: dict[str, Any], context: ssl.SSLContext
) -> None:
    with serve(tell, **options).client(tls=context) as client:
        ports = {told(client)["REMOTE_PORT"] for _ in range(5)}
        assert ports == {str(client.sock.getsockname()[1])}


def test_alpn_chooses_http_1_1(
    serve: Serve, options: dict[str, Any], context: ssl.SSLContext
) -> None:
    context.set_alpn_protocols(["foo", "http/1.1"])
    with serve(tell, **options).client(tls=context) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        assert client.sock.selected_alpn_protocol() == "http/1.1"


def test_http_and_https_in_one_server(
    serve: Serve, options: dict[str, Any], context: ssl.SSLContext
) -> None:
    server = serve(tell, bind=("http://127.0.0.1:0", "https://127.0.0.1:0"), **options)
    http, https = server.server.urls
    assert http.startswith("http://127.0.0.1:")
    assert https.startswith("https://127.0.0.1:")
    with server.client() as client:
        environ = told(client)
        assert not [key for key in environ if key == "HTTPS" or key.startswith("SSL_")]
        assert environ["wsgi.url_scheme"] == "http"
    port = int(https.rpartition(":")[2])
    with RawClient(("127.0.0.1", port), tls=context) as client:
        environ = told(client)
        assert environ["HTTPS"] == "on"
        assert environ["SERVER_PORT"] == str(port)


def test_a_client_cannot_forge_what_tls_tells(serve: Serve, context: ssl.SSLContext) -> None:
    names = ["SSL_CLIENT_VERIFY: SUCCESS", "SSL-CLIENT-VERIFY: SUCCESS", "HTTPS: on"]
    with serve(tell).client() as client:
        text = client.get("/", *names).text
    environ = dict(line.split("=", 1) for line in text.split("\0"))
    assert "SSL_CLIENT_VERIFY" not in environ
    assert "HTTPS" not in environ


# -- client certificates ---------------------------------------------------------------------


def refused(server: ServerThread, context: ssl.SSLContext) -> bool:
    """Whether the server does not talk to a client."""
    try:
        with server.client(tls=context) as client:
            client.get()
    except (ssl.SSLError, ConnectionError, ConnectionEnded):
        return True  # TLS 1.3: the client believes for a moment that it was let in
    return False


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def versioned(context: ssl.SSLContext, request: pytest.FixtureRequest) -> ssl.SSLContext:
    context.maximum_version = request.param
    return context


@pytest.mark.parametrize("cert_reqs", ["optional", "required"])
def test_a_client_certificate_is_told_to_the_application(
    serve: Serve,
    options: dict[str, Any],
    versioned: ssl.SSLContext,
    authority: Authority,
    cert_reqs: str,
) -> None:
    server = serve(tell, ca_certs=authority.ca, cert_reqs=cert_reqs, **options)
    versioned.load_cert_chain(authority.certificate, authority.key)
    with server.client(tls=versioned) as client:
        environ = told(client)
    assert environ["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert environ["SSL_CLIENT_S_DN_CN"] == "alice"
    assert ssl.PEM_cert_to_DER_cert(environ["SSL_CLIENT_CERT"]) == ssl.PEM_cert_to_DER_cert(
        re.sub(r"(?s).*(?=-----BEGIN CERT)", "", Path(authority.certificate).read_text())
    )


def test_without_a_certificate_where_it_is_optional(
    serve: Serve, options: dict[str, Any], versioned: ssl.SSLContext, authority: Authority
) -> None:
    server = serve(tell, ca_certs=authority.ca, cert_reqs="optional", **options)
    with server.client(tls=versioned) as client:
        environ = told(client)
    assert environ["SSL_CLIENT_VERIFY"] == "NONE"
    assert "SSL_CLIENT_CERT" not in environ


def test_without_a_certificate_where_it_is_required(
    serve: Serve, options: dict[str, Any], versioned: ssl.SSLContext, authority: Authority
) -> None:
    server = serve(tell, ca_certs=authority.ca, cert_reqs="required", **options)
    assert refused(server, versioned)


@pytest.mark.parametrize("cert_reqs", ["optional", "required"])
def test_a_certificate_that_nobody_vouches_for(
    serve: Serve,
    options: dict[str, Any],
    versioned: ssl.SSLContext,
    authority: Authority,
    stranger: Authority,
    cert_reqs: str,
) -> None:
    server = serve(tell, ca_certs=authority.ca, cert_reqs=cert_reqs, **options)
    versioned.load_cert_chain(stranger.certificate, stranger.key)
    assert refused(server, versioned)


def test_a_certificate_that_was_not_asked_for(
    serve: Serve, options: dict[str, Any], versioned: ssl.SSLContext, stranger: Authority
) -> None:
    versioned.load_cert_chain(stranger.certificate, stranger.key)
    with serve(tell, **options).client(tls=versioned) as client:
        assert told(client)["SSL_CLIENT_VERIFY"] == "NONE"


def test_a_resumed_session_keeps_the_client_certificate(
    serve: Serve, options: dict[str, Any], context: ssl.SSLContext, authority: Authority
) -> None:
    server = serve(tell, ca_certs=authority.ca, cert_reqs="required", **options)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(authority.certificate, authority.key)
    with server.client(tls=context) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        session = client.sock.session
        told(client)
    plain = socket.create_connection(server.address, 10)
    with context.wrap_socket(plain, server_hostname="localhost", session=session) as sock:
        assert sock.session_reused
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while data := sock.recv(65536):
            answer += data
    assert b"SSL_CLIENT_S_DN_CN=alice" in answer


# -- handshakes ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT"])
def test_plain_http_is_told_so(serve: Serve, options: dict[str, Any], method: str) -> None:
    with serve(tell, **options).client() as client:
        client.send(f"{method} / HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() + b"x" * 100_000)
        response = client.response()
        assert response.status == 400
        assert "https" in response.text
        assert response["Connection"] == "close"
        assert client.closed()


def test_tls_is_told_that_a_port_has_none(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), serve(tell).client() as client:
        client.send(bytes.fromhex("1603010200010001fc0303") + b"x" * 100)
        assert client.response().status == 400
    assert "TLS was spoken to a port that has none" in caplog.text


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0" * 100,
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\xff\xff" + b"x" * 70_000,
        b"\x15\x03\x01\x00\x02\x02\x28",  # an alert
        b"\x17\x03\x03\x00\x05hello",  # application data
    ],
    ids=["zeros", "ssh", "http2", "record", "long-record", "alert", "data"],
)
def test_garbage_ends_the_connection(
    serve: Serve, options: dict[str, Any], context: ssl.SSLContext, garbage: bytes
) -> None:
    server = serve(tell, handshake_timeout=0, **options)
    with server.client() as client:
        client.send(garbage)
        try:
            assert len(client.until_closed()) < 100  # nothing, or an alert
        except ConnectionResetError:
            pass
    with server.client(tls=context) as client:
        assert client.get().status == 200


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01\x00"])
def test_a_handshake_that_does_not_end(serve: Serve, options: dict[str, Any], sent: bytes) -> None:
    server = serve(tell, handshake_timeout=0.4, **options)
    begin = time.monotonic()
    with server.client() as client:
        client.send(sent)
        assert client.closed()
    assert 0.4 <= time.monotonic() - begin < 3


def test_an_old_version_is_refused(serve: Serve, options: dict[str, Any]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    assert refused(serve(tell, **options), context)


def test_a_cut_up_handshake(serve: Serve, options: dict[str, Any], context: ssl.SSLContext) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with serve(tell, **options).client() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    client.send(bytes([byte]))
                incoming.write(client.sock.recv(65536))
        # The last of the handshake and the request in one packet.
        tls.write(b"GET / HTTP/1.0\r\n\r\n")
        client.send(outgoing.read())
        assert client.sock.recv(10)


# -- bytes -----------------------------------------------------------------------------------


@lite
def echo(environ: dict[str, Any]) -> Any:
    body = environ["wsgi.input"]
    if environ["PATH_INFO"] == "/bytewise":
        pieces = []
        while byte := body.read(1):
            pieces.append(byte)
        return "200 OK", [], [b"".join(pieces)]
    return "200 OK", [], [body.read()]


@pytest.mark.parametrize("size", [1, 16383, 16384, 16385, 1_000_003])
def test_content_of_any_size_comes_back(
    serve: Serve, options: dict[str, Any], context: ssl.SSLContext, size: int
) -> None:
    data = bytes(index * 7 % 251 for index in range(size))
    with serve(echo, **options).client(tls=context) as client:
        for _ in range(2):
            assert client.post("/", data).body == data


def test_reading_byte_by_byte(
    serve: Serve, options: dict[str, Any], context: ssl.SSLContext
) -> None:
    with serve(echo, **options).client(tls=context) as client:
        client.send(b"POST /bytewise HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000\r\n")
        client.send(b"Expect: 100-continue\r\n\r\n")
        assert client.head().status == 100
        client.send(b"0123456789" * 300)
        assert client.response().body == b"0123456789" * 300


def test_the_next_request_in_the_record_that_ends_the_content(
    serve: Serve, options: dict[str, Any], context: ssl.SSLContext
) -> None:
    # The kernel has nothing more to announce: what is left is inside OpenSSL.
    with serve(echo, **options).client(tls=context) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n")
        client.send(b"Expect: 100-continue\r\n\r\n")
        assert client.head().status == 100
        client.send(b"0123456789GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.response().body == b"0123456789"
        assert client.response().body == b""


def test_pipelined_requests_in_one_record(
    serve: Serve, options: dict[str, Any], context: ssl.SSLContext
) -> None:
    with serve(echo, **options).client(tls=context) as client:
        one = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
        client.send(one * 200)
        for _ in range(200):
            assert client.response().body == b"abc"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_slow_reader_gets_everything(
    serve: Serve, options: dict[str, Any], context: ssl.SSLContext, chunked: bool
) -> None:
    blocks = [bytes([65 + number]) * 300_000 for number in range(26)]
    body = b"".join(blocks)

    @lite
    def app(environ: dict[str, Any]) -> Any:
        headers = [] if chunked else [("Content-Length", str(len(body)))]
        return "200 OK", headers, iter(blocks)

    with serve(app, **options).client(tls=context) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.buffer = client.sock.recv(1000)  # the rest fills up both kernels meanwhile
        assert client.response().body == body
        assert client.get().body == body


def test_early_answer_to_a_large_upload_is_not_lost(
    serve: Serve, options: dict[str, Any], context: ssl.SSLContext
) -> None:
    with serve(tell, **options).client(tls=context) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n\r\n")
        client.send(b"x" * 3_000_000)
        assert client.response().status == 200
        assert client.closed()


# -- the end ---------------------------------------------------------------------------------


def want_close_notify(client: RawClient) -> None:
    """Have an end without one raise SSLEOFError."""
    client.sock.suppress_ragged_eofs = False  # type: ignore[attr-defined]


@lite
def unfinished(environ: dict[str, Any]) -> Any:
    def body() -> Iterator[bytes]:
        yield b"the beginning"
        raise OSError("the disk is gone")

    headers = [("Content-Length", "1000")] if environ["PATH_INFO"] == "/counted" else []
    return "200 OK", headers, body()


def test_the_end_is_announced(
    serve: Serve, options: dict[str, Any], context: ssl.SSLContext
) -> None:
    with serve(tell, **options).client(tls=context) as client:
        want_close_notify(client)
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.response().status == 200
        assert client.closed()


def test_the_end_of_an_idle_connection_is_announced(
    serve: Serve, options: dict[str, Any], context: ssl.SSLContext
) -> None:
    with serve(tell, keepalive=0.3, **options).client(tls=context) as client:
        want_close_notify(client)
        assert client.get().status == 200
        assert client.closed()


@pytest.mark.parametrize("target", ["/counted", "/chunked"])
def test_a_broken_response_shows(
    serve: Serve, options: dict[str, Any], context: ssl.SSLContext, target: str
) -> None:
    with (
        serve(unfinished, **options).client(tls=context) as client,
        pytest.raises(ConnectionEnded),
    ):
        client.get(target)


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("content", [b"", b"Content-Length: 1000000\r\n"])
def test_a_broken_response_that_only_the_end_delimits_shows(
    serve: Serve, options: dict[str, Any], context: ssl.SSLContext, tls: bool, content: bytes
) -> None:
    server = serve(unfinished, **(options if tls else {}))
    with server.client(tls=context if tls else None) as client:
        if tls:
            want_close_notify(client)
        client.send(b"POST / HTTP/1.0\r\n" + content + b"\r\n")
        with pytest.raises((ConnectionResetError, ssl.SSLError)):
            client.response()


def test_a_client_that_leaves_is_a_disconnect(
    serve: Serve, options: dict[str, Any], context: ssl.SSLContext
) -> None:
    raised: queue.SimpleQueue[BaseException] = queue.SimpleQueue()

    @lite
    def app(environ: dict[str, Any]) -> Any:
        try:
            environ["wsgi.input"].read()
        except BaseException as exc:
            raised.put(exc)
            raise

    with serve(app, **options).client(tls=context) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx")
    assert isinstance(raised.get(timeout=5), Disconnected)


@pytest.mark.parametrize(
    "last",
    [b"\x17\x03\x03\x00\x20" + b"forged application data 12345678", b""],
    ids=["garbage", "reset"],
)
def test_a_connection_that_breaks_while_the_application_sends(
    serve: Serve, options: dict[str, Any], context: ssl.SSLContext, last: bytes
) -> None:
    # The greenlet that waits for the client to read must not wait for write_timeout.
    closed: queue.SimpleQueue[bool] = queue.SimpleQueue()

    @lite
    def app(environ: dict[str, Any]) -> Any:
        def body() -> Iterator[bytes]:
            try:
                while True:
                    yield b"x" * 65536
            finally:
                closed.put(True)

        return "200 OK", [], body()

    with serve(app, write_timeout=60, **options).client(tls=context) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.head()
        assert isinstance(client.sock, ssl.SSLSocket)
        plain = socket.socket(fileno=client.sock.detach())
        if last:
            plain.sendall(last)
            assert closed.get(timeout=5)
        else:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        plain.close()
    if not last:
        assert closed.get(timeout=5)


# -- what cannot be used ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"certfile": "/missing.pem"}, "certfile /missing.pem"),
        ({"certfile": "EMPTY", "keyfile": None}, "no usable PEM certificate"),
        ({"keyfile": "/missing.key"}, "keyfile /missing.key"),
        ({"keyfile": "EMPTY"}, "no usable PEM certificate and key"),
        ({"keyfile": "OTHER"}, "KEY_VALUES_MISMATCH"),
        ({"keyfile": "ENCRYPTED"}, "the private key is encrypted"),
        ({"ca_certs": "/missing.ca"}, "ca_certs /missing.ca: No such file"),
        ({"ca_certs": "EMPTY"}, "ca_certs .*: no usable PEM certificate"),
        ({"ciphers": "NO-SUCH-CIPHER"}, "ciphers 'NO-SUCH-CIPHER'"),
    ],
)
def test_files_that_cannot_be_used(
    options: dict[str, Any],
    authority: Authority,
    tmp_path: Path,
    changes: dict[str, str | None],
    message: str,
) -> None:
    empty, encrypted = tmp_path / "empty", tmp_path / "encrypted"
    empty.touch()
    protect = ["openssl", "rsa", "-aes128", "-passout", "pass:secret", "-out", str(encrypted)]
    subprocess.run([*protect, "-in", options["keyfile"]], check=True, capture_output=True)
    names = {"EMPTY": str(empty), "ENCRYPTED": str(encrypted), "OTHER": authority.key}
    options |= {key: names.get(value or "", value) for key, value in changes.items()}
    with pytest.raises(ConfigError, match=message) as caught:
        Server(tell, Config(bind=("127.0.0.1:0",), **options)).start()
    assert "\n" not in str(caught.value)


def test_the_command_says_it_in_one_line(command: Command, tmp_path: Path) -> None:
    server = command("app:app", "--certfile", "missing.pem", app="def app(*args): pass\n")
    assert server.wait() == 1
    (line,) = [line for line in server.output if "missing.pem" in line]
    assert line.startswith("gserver: certfile missing.pem: No such file")
    assert "Traceback" not in server.text


def test_chosen_ciphers(serve: Serve, options: dict[str, Any], context: ssl.SSLContext) -> None:
    server = serve(tell, ciphers="ECDHE-RSA-AES256-GCM-SHA384", **options)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with server.client(tls=context) as client:
        assert told(client)["SSL_CIPHER"] == "ECDHE-RSA-AES256-GCM-SHA384"
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    assert refused(server, context)
