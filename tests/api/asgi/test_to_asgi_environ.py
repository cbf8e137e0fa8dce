"""The environ that an ASGI scope becomes."""

from __future__ import annotations

import asyncio
import io
import sys
from typing import Any
from wsgiref.validate import validator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from gserver.api import lite
from gserver.api.asgi import to_asgi
from to_asgi_stage import Pairs, Visit, http_scope, in_loop, respond, websocket_scope

Environ = dict[str, Any]


def environ_of(scope: Any) -> Environ:
    """Return the environ that an application is called with."""
    seen: list[Environ] = []

    @lite
    def app(environ: Environ) -> Any:
        seen.append(environ)
        return "404 Not Found", [], []

    async def visit() -> None:
        one = Visit(app, scope)
        if scope["type"] == "websocket":
            one.come({"type": "websocket.connect"})
        await asyncio.wait_for(one.task, 10)

    asyncio.run(visit())
    (environ,) = seen
    return environ


def test_a_plain_request() -> None:
    environ = environ_of(http_scope("POST", "/tea/cup?size=2", [("user-agent", "test")]))
    expected = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/tea/cup",
        "QUERY_STRING": "size=2",
        "RAW_URI": "/tea/cup?size=2",
        "REQUEST_URI": "/tea/cup?size=2",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1",
        "REMOTE_PORT": "4711",
        "HTTP_HOST": "localhost",
        "HTTP_USER_AGENT": "test",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    assert {key: environ[key] for key in expected} == expected
    assert type(environ) is dict
    assert environ["asgi.scope"]["type"] == "http"
    added = {"wsgi.input", "wsgi.file_wrapper", "wsgi_lite.closing", "wsgi.associated_content"}
    assert set(environ) - set(expected) == added | {"asgi.scope"}


@pytest.mark.parametrize("version", ["1.0", "1.1", "2", "2.0", "3"])
def test_the_protocol_is_the_client_s(version: str) -> None:
    environ = environ_of(http_scope(http_version=version))
    assert environ["SERVER_PROTOCOL"] == f"HTTP/{version}".replace("2.0", "2")


def test_tls() -> None:
    environ = environ_of(http_scope(scheme="https", server=("example.org", 443)))
    assert (environ["wsgi.url_scheme"], environ["HTTPS"]) == ("https", "on")
    assert "HTTPS" not in environ_of(http_scope())


@pytest.mark.parametrize("server", [None, ("/run/app.sock", None)])
@pytest.mark.parametrize(("scheme", "port"), [("http", "80"), ("https", "443")])
def test_without_addresses(server: Any, scheme: str, port: str) -> None:
    environ = environ_of(http_scope(server=server, client=None, scheme=scheme))
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", port)
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("", "")


def test_a_scope_may_leave_out_what_is_optional() -> None:
    scope = http_scope(path="/tea")
    for name in ("scheme", "raw_path", "query_string", "root_path", "client", "server"):
        del scope[name]
    scope["extensions"] = None
    environ = environ_of(scope)
    assert environ["wsgi.url_scheme"] == "http"
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/tea")
    assert (environ["QUERY_STRING"], environ["RAW_URI"]) == ("", "/tea")


# -- the path --------------------------------------------------------------------------------

# path, raw_path and root_path of the scope; SCRIPT_NAME, PATH_INFO and RAW_URI.
PATHS = {
    "plain": ("/a/b", b"/a/b", "", "", "/a/b", "/a/b"),
    "utf-8": ("/ä€", b"/%C3%A4%e2%82%ac", "", "", "/Ã¤â\x82¬", "/%C3%A4%e2%82%ac"),
    "not utf-8": ("/\ufffd", b"/%E4", "", "", "/\xe4", "/%E4"),
    "encoded slash": ("/a/b", b"/a%2Fb", "", "", "/a/b", "/a%2Fb"),
    "no raw path": ("/ä b%", None, "", "", "/Ã¤ b%", "/%C3%A4%20b%25"),
    "raw path with a query": ("/a", b"/a?x=1", "", "", "/a", "/a"),
    "another raw path": ("/new", b"/old", "", "", "/new", "/new"),
    "star": ("*", b"*", "", "", "", "*"),
    "mounted, in the path": ("/app/a", b"/app/a", "/app", "/app", "/a", "/app/a"),
    "mounted, not in the path": ("/a", b"/a", "/app", "/app", "/a", "/a"),
    "mounted, nothing below": ("/app", b"/app", "/app", "/app", "", "/app"),
    "mounted, a slash below": ("/app/", b"/app/", "/app", "/app", "/", "/app/"),
    "mounted, another name": ("/apple", b"/apple", "/app", "/app", "/apple", "/apple"),
    "mounted at the root": ("/a", b"/a", "/", "", "/a", "/a"),
    "mounted, slash at the end": ("/app/a", b"/app/a", "/app/", "/app", "/a", "/app/a"),
    "mounted, utf-8": ("/ä/ö", b"/%C3%A4/%C3%B6", "/ä", "/Ã¤", "/Ã¶", "/%C3%A4/%C3%B6"),
}


@pytest.mark.parametrize("case", PATHS)
def test_paths(case: str) -> None:
    path, raw_path, root_path, script_name, path_info, raw_uri = PATHS[case]
    scope = http_scope(path="/?q=%20", raw_path=raw_path, root_path=root_path)
    scope["path"] = path
    environ = environ_of(scope)
    assert environ["SCRIPT_NAME"] == script_name
    assert environ["PATH_INFO"] == path_info
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == f"{raw_uri}?q=%20"
    assert environ["QUERY_STRING"] == "q=%20"


@in_loop
async def test_where_starlette_mounts_it() -> None:
    @lite
    def app(environ: Environ) -> Any:
        return "200 OK", [], [f"{environ['SCRIPT_NAME']} {environ['PATH_INFO']}".encode("latin-1")]

    site = Starlette(routes=[Mount("/shop", Mount("/old", to_asgi(app)))])
    transport = httpx.ASGITransport(site, root_path="/root")
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.get("/root/shop/old/t%C3%A4/b")
    assert response.text == "/root/shop/old /tä/b"


# -- header fields ---------------------------------------------------------------------------

# Fields, and what is there of them in the environ.
FIELDS: dict[str, tuple[Pairs, dict[str, str]]] = {
    "joined": ([("accept", "a"), ("x-b", ""), ("accept", "b")], {"ACCEPT": "a,b", "X_B": ""}),
    "cookies": ([("cookie", "a=1"), ("cookie", "b=2")], {"COOKIE": "a=1; b=2"}),
    "latin-1": ([("x-name", "Zähne")], {"X_NAME": "Zähne"}),
    "underscores": ([("x_forwarded_for", "1"), ("content_length", "9")], {}),
    "upper case": ([("X-Name", "1"), ("x-name", "2")], {"X_NAME": "1,2"}),
    "of the connection": ([("transfer-encoding", "chunked")], {"TRANSFER_ENCODING": "chunked"}),
}


@pytest.mark.parametrize("case", FIELDS)
def test_fields(case: str) -> None:
    fields, expected = FIELDS[case]
    environ = environ_of(http_scope(headers=fields))
    found = {key[5:]: environ[key] for key in environ if key.startswith("HTTP_")}
    assert found == expected | {"HOST": "localhost"}
    assert "CONTENT_LENGTH" not in environ


def test_content_fields_are_no_http_fields() -> None:
    fields = [("content-type", "a/b"), ("content-length", "3"), ("content-length", "3")]
    environ = environ_of(http_scope("POST", headers=fields))
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("a/b", "3")
    assert not any(key.startswith("HTTP_CONTENT") for key in environ)


def test_many_fields_of_one_name_are_joined_at_once() -> None:
    """Joining them one by one would take as many copies of what was there."""
    environ = environ_of(http_scope(headers=[("x", "y" * 50)] * 20_000))
    assert len(environ["HTTP_X"]) == 20_000 * 51 - 1


# -- WebSocket -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_a_websocket_looks_like_an_upgrade(version: str) -> None:
    scope = websocket_scope("/chat?room=1", http_version=version, scheme="wss")
    if version == "2":
        scope["headers"] = [(b"sec-websocket-version", b"13")]
    environ = environ_of(scope)
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["wsgi.url_scheme"] == "https"
    assert (environ["HTTP_UPGRADE"], environ["HTTP_CONNECTION"]) == ("websocket", "Upgrade")
    assert len(environ["HTTP_SEC_WEBSOCKET_KEY"]) == 24
    assert environ["HTTP_SEC_WEBSOCKET_VERSION"] == "13"
    assert environ["SERVER_PROTOCOL"] == f"HTTP/{version}"
    assert environ["wsgi.input"].read() == b""
    assert "gserver.websocket" in environ


# -- PEP 3333 --------------------------------------------------------------------------------


def read_some(environ: Environ, start_response: Any) -> Any:
    stream = environ["wsgi.input"]
    found = [stream.read(3), stream.readline(), *stream.readlines(), stream.read(1)]
    environ["wsgi.errors"].write("")
    environ["wsgi.errors"].flush()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"|".join(found)]


@pytest.mark.parametrize("path", ["/", "/ä", "/app/a"])
def test_the_validator_finds_nothing(path: str) -> None:
    app = validator(read_some)
    answer = respond(app, "POST", path, body=[b"abc", b"de\nf", b"\ng"], root_path="/app")
    assert answer.body == b"abc|de\n|f\n|g|"


def test_the_input_is_a_binary_file() -> None:
    seen: list[Any] = []

    @lite
    def app(environ: Environ) -> Any:
        stream = environ["wsgi.input"]
        seen.append(stream.read(0))
        seen.append(stream.read1())
        seen.append(stream.readline(2))
        buffer = bytearray(2)
        seen.append(bytes(buffer[: stream.readinto(buffer)]))
        seen.append(next(stream))
        io.TextIOWrapper(stream).close()  # which closes what it wraps
        seen.append(stream.read())
        seen.append(stream.read())
        return "200 OK", [], []

    respond(app, "POST", body=[b"one", b"", b"line\nnext\nrest", b" and ", b"more"])
    assert seen == [b"", b"one", b"li", b"ne", b"\n", b"next\nrest and more", b""]
