"""Listeners: addresses as users write them, and the sockets that they become."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients import RawClient
from conftest import Serve
from gserver.api.errors import ConfigError
from gserver.config import Config
from gserver.listener import Address, Listener, listen

Listen = Callable[..., Listener]
MakeSocket = Callable[..., socket.socket]


@pytest.fixture
def opened() -> Iterator[Listen]:
    """Return a function that listens until the end of the test."""
    with ExitStack() as stack:

        def start(text: str, **options: Any) -> Listener:
            listener = listen(Address.parse(text), Config(**options))
            stack.callback(listener.close)
            return listener

        yield start


@pytest.fixture
def make_socket() -> Iterator[MakeSocket]:
    """Return a function that makes a socket, which need not be closed."""
    with ExitStack() as stack:
        yield lambda *args: stack.enter_context(socket.socket(*args))


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        listen(Address.parse(text), Config()).close()
    message = str(caught.value)
    assert message.startswith(f"cannot listen at {text}: ")
    return message.removeprefix(f"cannot listen at {text}: ")


# -- addresses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8000", {"host": "127.0.0.1", "port": 8000}),
        ("example.org:65535", {"host": "example.org", "port": 65535}),
        (":80", {"port": 80}),
        ("[::1]:80", {"host": "::1", "port": 80}),
        ("[fe80::1%eth0.1]:80", {"host": "fe80::1%eth0.1", "port": 80}),
        ("[::ffff:10.0.0.1]:80", {"host": "::ffff:10.0.0.1", "port": 80}),
        ("http://localhost:80", {"tls": False, "host": "localhost", "port": 80}),
        ("https://[::]:443/", {"tls": True, "host": "::", "port": 443}),
        ("unix:run/app.sock", {"path": "run/app.sock"}),
        ("unix:/run/app.sock", {"path": "/run/app.sock"}),
        ("unix:///run/app.sock", {"path": "/run/app.sock"}),
        ("https://unix:/run/a:b", {"tls": True, "path": "/run/a:b"}),
        ("fd://3", {"descriptor": 3}),
        ("http://fd://0", {"tls": False, "descriptor": 0}),
    ],
)
def test_address(text: str, expected: dict[str, Any]) -> None:
    assert Address.parse(text) == Address(text, **expected)


@pytest.mark.parametrize(
    "text",
    [
        *("", "8000", "localhost", "localhost:", "localhost:http", "localhost:65536"),
        *("localhost:-1", "localhost:80/", "local host:80", "localhost:\N{FULLWIDTH DIGIT ONE}"),
        *("::1:80", "[::1]", "[localhost]:80", "[::1]80", "[::1%]:80", "ftp://localhost:21"),
        *("http://", "https:///", "http://http://localhost:80", "unix:", "unix://"),
        *("fd://", "fd://x", "fd://-1"),
    ],
)
def test_no_address(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Address.parse(text)
    assert str(caught.value) == (
        f"cannot listen at {text!r}: write HOST:PORT, [IPV6]:PORT, unix:PATH or fd://N"
    )


@given(
    st.sampled_from([("", None), ("http://", False), ("https://", True)]),
    st.one_of(
        st.from_regex(r"[a-z0-9.-]*", fullmatch=True),
        st.ip_addresses(v=4).map(str),
        st.ip_addresses(v=6).map("[{}]".format),
    ),
    st.integers(0, 65535),
)
def test_address_says_what_was_written(
    scheme: tuple[str, bool | None], host: str, port: int
) -> None:
    address = Address.parse(f"{scheme[0]}{host}:{port}")
    assert (address.tls, address.host, address.port) == (scheme[1], host.strip("[]"), port)


@given(st.text() | st.text(alphabet="[]:/.%a1 htpsunixfd"))
def test_any_text_is_an_address_or_a_config_error(text: str) -> None:
    try:
        address = Address.parse(text)
    except ConfigError:
        return
    assert address.text == text
    assert 0 <= address.port < 65536
    kinds = (address.path != "", address.descriptor >= 0, address.text.rpartition(":")[2].isdigit())
    assert any(kinds)


@pytest.mark.parametrize(
    ("prefix", "certfile", "expected"),
    [
        ("", None, False),
        ("", "cert.pem", True),
        ("http://", None, False),
        ("http://", "cert.pem", False),
        ("https://", "cert.pem", True),
    ],
)
def test_certificate_switches_tls_on(prefix: str, certfile: str | None, expected: bool) -> None:
    address = Address.parse(f"{prefix}127.0.0.1:0")
    assert address.speaks_tls(Config(certfile=certfile)) is expected


def test_https_wants_a_certificate() -> None:
    with pytest.raises(ConfigError, match=r"^https://h:1 asks for TLS: give certfile and keyfile$"):
        Address.parse("https://h:1").speaks_tls(Config())


# -- TCP -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host"),
    [("127.0.0.1:0", "127.0.0.1"), ("localhost:0", "127.0.0.1"), (":0", "0.0.0.0")],
)
def test_tcp(text: str, host: str, opened: Listen) -> None:
    listener = opened(text)
    port = listener.socket.getsockname()[1]
    assert listener.url == f"http://{host}:{port}"
    assert listener.server == (host, str(port))
    assert listener.socket.gettimeout() == 0
    with socket.create_connection(("127.0.0.1", port), 5):
        pass


def test_ipv6(opened: Listen) -> None:
    try:
        listener = opened("[::1]:0")
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    host, port = listener.socket.getsockname()[:2]
    assert listener.url == f"http://[{host}]:{port}"
    assert listener.server == ("::1", str(port))
    with socket.create_connection(("::1", port), 5):
        pass


def test_accepted_connections_do_not_delay_small_packets(
    opened: Listen, make_socket: MakeSocket
) -> None:
    listener = opened("127.0.0.1:0")
    client = make_socket()
    client.connect(listener.socket.getsockname())
    listener.socket.settimeout(5)
    descriptor, _ = listener.socket._accept()  # type: ignore[attr-defined]
    with socket.socket(fileno=descriptor) as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_port_in_use(opened: Listen) -> None:
    port = opened("127.0.0.1:0").server[1]
    assert refusal(f"127.0.0.1:{port}") == (
        "Address already in use; is another server running there?"
    )


def test_port_can_be_shared(opened: Listen) -> None:
    first = opened("127.0.0.1:0", reuse_port=True)
    second = opened(f"127.0.0.1:{first.server[1]}", reuse_port=True)
    assert first.url == second.url


def test_port_is_free_again_after_close(opened: Listen) -> None:
    first = opened("127.0.0.1:0")
    first.close()
    opened(f"127.0.0.1:{first.server[1]}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("192.0.2.1:0", "Cannot assign requested address"),  # RFC 5737: belongs to nobody
        ("[fe80::1%xyzzy]:0", "Name or service not known"),
        ("a..b:0", "that is no host name"),
    ],
)
def test_address_that_cannot_be_had(text: str, reason: str) -> None:
    assert refusal(text) == reason


def test_backlog_has_no_upper_limit(opened: Listen) -> None:
    opened("127.0.0.1:0", backlog=2**40)


# -- Unix sockets ----------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.sock"


def test_unix_socket_lives_as_long_as_the_listener(path: Path, opened: Listen) -> None:
    listener = opened(f"unix:{path}")
    assert listener.url == f"http+unix:{path}"
    assert listener.server == ("localhost", "80")
    RawClient(str(path)).close()
    listener.close()
    assert not path.exists()
    listener.close()


def test_stale_unix_socket_is_replaced(path: Path, opened: Listen, make_socket: MakeSocket) -> None:
    with make_socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
        gone.listen()
    assert path.is_socket()
    opened(f"unix:{path}")
    RawClient(str(path)).close()


def test_live_unix_socket_is_respected(path: Path, opened: Listen) -> None:
    opened(f"unix:{path}")
    assert refusal(f"unix:{path}") == "Address already in use; is another server running there?"
    RawClient(str(path)).close()


def test_busy_unix_socket_is_respected(path: Path, opened: Listen, make_socket: MakeSocket) -> None:
    opened(f"unix:{path}", backlog=0)
    errors = set()
    for _ in range(3):
        client = make_socket(socket.AF_UNIX)
        client.setblocking(False)
        errors.add(client.connect_ex(str(path)))
    assert errors == {0, errno.EAGAIN}
    assert refusal(f"unix:{path}") == "Address already in use; is another server running there?"


def test_file_that_is_no_socket_is_respected(path: Path) -> None:
    path.write_text("precious")
    assert refusal(f"unix:{path}") == "the file exists and is no socket"
    assert path.read_text() == "precious"


def test_unix_socket_that_cannot_be_made(path: Path) -> None:
    assert refusal(f"unix:{path}/x") == "No such file or directory"
    assert refusal(f"unix:{path}{'x' * 100}") == "AF_UNIX path too long"
    path.symlink_to("nowhere")
    assert refusal(f"unix:{path}") == "No such file or directory"


def test_close_finds_a_relative_path_from_any_folder(
    path: Path, opened: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    listener = opened(f"unix:{path.name}")
    monkeypatch.chdir("/")
    listener.close()
    assert not path.exists()


def test_close_removes_nothing_that_is_not_its_own(path: Path, opened: Listen) -> None:
    first = opened(f"unix:{path}")
    path.rename(path.with_suffix(".moved"))
    opened(f"unix:{path}")
    first.close()
    RawClient(str(path)).close()


# -- inherited descriptors -------------------------------------------------------------------


def test_inherited_tcp_socket(opened: Listen, make_socket: MakeSocket) -> None:
    parent = make_socket()
    parent.bind(("127.0.0.1", 0))
    parent.listen()
    descriptor = os.dup(parent.fileno())
    os.set_inheritable(descriptor, True)
    listener = opened(f"fd://{descriptor}")
    assert listener.url == f"http://127.0.0.1:{parent.getsockname()[1]}"
    assert listener.socket.fileno() == descriptor
    assert listener.socket.gettimeout() == 0
    assert not os.get_inheritable(descriptor)


def test_inherited_unix_socket_belongs_to_who_made_it(
    path: Path, opened: Listen, make_socket: MakeSocket
) -> None:
    parent = make_socket(socket.AF_UNIX)
    parent.bind(str(path))
    parent.listen()
    listener = opened(f"fd://{os.dup(parent.fileno())}")
    assert listener.url == f"http+unix:{path}"
    listener.close()
    assert path.is_socket()


def test_descriptor_that_is_no_listener(make_socket: MakeSocket, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        assert refusal(f"fd://{file.fileno()}") == "Socket operation on non-socket"
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        sock = make_socket(socket.AF_INET, kind)
        assert refusal(f"fd://{sock.fileno()}") == "the descriptor is not a listening socket"
        sock.getsockname()  # still open
    closed = os.open(os.devnull, os.O_RDONLY)
    os.close(closed)
    assert refusal(f"fd://{closed}") == "Bad file descriptor"


# -- served ----------------------------------------------------------------------------------


def describe(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    names = ("wsgi.url_scheme", "SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR")
    return [" ".join(environ[name] or "-" for name in names).encode()]


def test_one_server_in_clear_and_with_tls_and_on_a_unix_socket(
    serve: Serve, certificate: tuple[str, str], path: Path
) -> None:
    server = serve(
        describe,
        bind=["http://127.0.0.1:0", "https://127.0.0.1:0", f"http://unix:{path}"],
        certfile=certificate[0],
        keyfile=certificate[1],
    )
    context = ssl.create_default_context(cafile=certificate[0])
    ports = [listener.server[1] for listener in server.server.listeners]
    for address, tls, expected in (
        (("127.0.0.1", int(ports[0])), None, f"http 127.0.0.1 {ports[0]} 127.0.0.1"),
        (("127.0.0.1", int(ports[1])), context, f"https 127.0.0.1 {ports[1]} 127.0.0.1"),
        (str(path), None, "http localhost 80 -"),
    ):
        with RawClient(address, tls=tls) as client:
            assert client.get().text == expected
    assert server.server.urls == [
        f"http://127.0.0.1:{ports[0]}",
        f"https://127.0.0.1:{ports[1]}",
        f"http+unix:{path}",
    ]
    server.stop()
    assert not path.exists()


def test_nothing_stays_open_when_one_of_several_addresses_cannot_be_had(
    serve: Serve, path: Path
) -> None:
    file = path.with_suffix(".log")
    with pytest.raises(ConfigError):
        serve(describe, bind=[f"unix:{path}", "192.0.2.1:0"], access_logfile=str(file))
    assert not path.exists()
    assert str(file) not in open_files()


def open_files() -> Iterator[str]:
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:
            pass  # what listdir had open itself
