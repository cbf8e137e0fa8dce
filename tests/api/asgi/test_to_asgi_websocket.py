"""WebSockets of an ASGI server, for handlers that block."""

from __future__ import annotations

import ast
import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gserver
from gserver.api import (
    ClosedError,
    ClosedOK,
    ConnectionClosed,
    Features,
    HandshakeError,
    LocalProtocolError,
    NotSupported,
    accept,
    disconnected,
    features,
    lighten,
    lite,
    websocket,
)
from gserver.api.asgi import to_asgi
from gserver.api.asgi.types import Message
from gserver.api.asgi.websocket import ThreadWebSocket
from to_asgi_stage import TIMEOUT, Scope, Visit, in_loop, in_thread, websocket_scope

Environ = dict[str, Any]
Start = Callable[..., Callable[[bytes], None]]

ACCEPT: Message = {"type": "websocket.accept", "subprotocol": None, "headers": []}


@websocket(subprotocols=["chat"])
def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


def text(message: str) -> Message:
    return {"type": "websocket.receive", "text": message}


def binary(message: bytes) -> Message:
    return {"type": "websocket.receive", "bytes": message, "text": None}


def visit_to(application: Any, scope: Scope | None = None, **options: Any) -> Visit:
    """Ask for a WebSocket."""
    visit = Visit(application, scope or websocket_scope("/chat"), **options)
    visit.come({"type": "websocket.connect"})
    return visit


@in_loop
async def test_echo() -> None:
    visit = visit_to(echo)
    assert await visit.next() == ACCEPT
    visit.come(text("hällo"), binary(b"\0\xff"), text(""), binary(b""))
    await visit.until(lambda: len(visit.sent) == 5)
    assert visit.sent[1:] == [
        {"type": "websocket.send", "text": "hällo"},
        {"type": "websocket.send", "bytes": b"\0\xff"},
        {"type": "websocket.send", "text": ""},
        {"type": "websocket.send", "bytes": b""},
    ]
    visit.leave(code=1000)
    await visit.over()
    assert len(visit.sent) == 5  # nothing is sent to who has left


class Stage:
    """A handler in the hands of a test, which calls its WebSocket in other threads."""

    def __init__(self) -> None:
        self.opened: queue.SimpleQueue[ThreadWebSocket] = queue.SimpleQueue()
        self.left = threading.Event()
        self.raises: BaseException | None = None

    async def open(self, **options: Any) -> tuple[Visit, ThreadWebSocket]:
        visit = visit_to(websocket(self._handle), **options)
        return visit, await in_thread(self.opened.get, True, TIMEOUT)

    def _handle(self, ws: Any) -> None:
        self.opened.put(ws)
        assert self.left.wait(TIMEOUT)
        if self.raises is not None:
            raise self.raises

    async def leave(self, visit: Visit) -> Message:
        """Have the handler return, and return what was sent last."""
        self.left.set()
        await visit.over()
        return visit.sent[-1]


@in_loop
async def test_attributes() -> None:
    stage = Stage()
    visit, ws = await stage.open()
    assert (ws.subprotocol, ws.closed, ws.close_code, ws.close_reason) == (None, False, None, "")
    assert (ws.peer, ws.environ["PATH_INFO"]) == ("192.0.2.1:4711", "/chat")
    assert repr(ws) == "<WebSocket /chat of 192.0.2.1:4711: open>"
    assert await stage.leave(visit) == {"type": "websocket.close", "code": 1000, "reason": ""}
    assert (ws.closed, ws.close_code, ws.close_reason) == (True, 1000, "")
    assert repr(ws) == "<WebSocket /chat of 192.0.2.1:4711: closed 1000>"


@in_loop
async def test_receiving_in_every_way() -> None:
    stage = Stage()
    visit, ws = await stage.open()
    visit.come(text("one"), text('{"a": [1]}'), binary(b"three"), text("no json"))
    assert await in_thread(ws.receive) == "one"
    assert await in_thread(ws.receive_json) == {"a": [1]}
    assert await in_thread(list, ws.receive_pieces()) == [b"three"]
    with pytest.raises(ValueError, match="Expecting value"):
        await in_thread(ws.receive_json)
    for timeout in (0, 0.01):
        with pytest.raises(TimeoutError):
            await in_thread(ws.receive, timeout)
        with pytest.raises(TimeoutError):
            await in_thread(next, ws.receive_pieces(timeout))
    visit.come(text("late"))
    assert await in_thread(next, ws) == "late"
    await stage.leave(visit)


@in_loop
async def test_sending_in_every_way() -> None:
    stage = Stage()
    visit, ws = await stage.open()
    for message in ("a", b"b", bytearray(b"c"), memoryview(b"d")):
        await in_thread(ws.send, message)
    await in_thread(ws.send_json, {"ä": [1, None]})
    await in_thread(ws.send_pieces, iter(["x", "", "y"]))
    await in_thread(ws.send_pieces, [b"x", bytearray(b"y")])
    await in_thread(ws.send_pieces, [])
    sent = [one.get("text", one.get("bytes")) for one in visit.sent[1:]]
    assert sent == ["a", b"b", b"c", b"d", '{"ä":[1,null]}', "xy", b"xy", ""]
    wrong: list[tuple[type[Exception], Callable[[Any], Any], Any]] = [
        (TypeError, ws.send, 1),
        (TypeError, ws.send, None),
        (TypeError, ws.send_json, object()),
        (TypeError, ws.send_pieces, "text"),
        (TypeError, ws.send_pieces, ["x", b"y"]),
        (TypeError, ws.send_pieces, [1]),
        (UnicodeEncodeError, ws.send, "\ud800"),
        (NotSupported, ws.ping, 1.0),
    ]
    for error, call, argument in wrong:
        with pytest.raises(error):
            await in_thread(call, argument)
    assert len(visit.sent) == 9
    await stage.leave(visit)


@in_loop
async def test_one_thread_receives_at_a_time() -> None:
    stage = Stage()
    visit, ws = await stage.open()
    both = [asyncio.ensure_future(in_thread(ws.receive)) for _ in range(2)]
    (refused,), (waiting,) = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    with pytest.raises(RuntimeError, match="another thread"):
        await refused
    visit.come(text("for the other"))
    assert await waiting == "for the other"
    await stage.leave(visit)


# -- who waits for whom ----------------------------------------------------------------------


@in_loop
async def test_messages_are_taken_no_faster_than_they_are_received() -> None:
    stage = Stage()
    visit, ws = await stage.open()
    visit.come(*[binary(bytes(10_000))] * 30)
    await visit.until(lambda: visit.waiting <= 23)
    for _ in range(20):
        await asyncio.sleep(0)
    assert visit.waiting == 23
    for _ in range(30):
        await in_thread(ws.receive, TIMEOUT)
    assert visit.waiting == 0
    await stage.leave(visit)


@in_loop
async def test_empty_messages_are_not_taken_without_bound_either() -> None:
    stage = Stage()
    visit, _ = await stage.open()
    visit.come(*[text("")] * 3000)
    await visit.until(lambda: visit.waiting < 2000)
    for _ in range(20):
        await asyncio.sleep(0)
    assert visit.waiting > 1900
    await stage.leave(visit)


@in_loop
async def test_who_sends_waits_until_the_server_has_taken_it() -> None:
    stage = Stage()
    visit, ws = await stage.open()
    visit.hold()
    sending = asyncio.ensure_future(in_thread(ws.send, "slow"))
    await visit.until(lambda: visit.offered == 2)
    done, _ = await asyncio.wait([sending], timeout=0.01)
    assert not done
    visit.take()
    await sending
    visit.take()
    await stage.leave(visit)


@in_loop
async def test_threads_may_send_at_the_same_time() -> None:
    stage = Stage()
    visit, ws = await stage.open()
    await asyncio.gather(*[in_thread(ws.send, str(number)) for number in range(20)])
    assert {one["text"] for one in visit.sent[1:]} == {str(number) for number in range(20)}
    await stage.leave(visit)


# -- the end ---------------------------------------------------------------------------------

# What the server says of the end, and what it means.
ENDS: dict[str, tuple[dict[str, Any], type[ConnectionClosed], int, str]] = {
    "normal": ({"code": 1000, "reason": "bye"}, ClosedOK, 1000, "bye"),
    "going away": ({"code": 1001, "reason": None}, ClosedOK, 1001, ""),
    "no code": ({}, ClosedOK, 1005, ""),
    "no status": ({"code": 1005}, ClosedOK, 1005, ""),
    "lost": ({"code": 1006}, ClosedError, 1006, ""),
    "own code": ({"code": 4001, "reason": "no"}, ClosedError, 4001, "no"),
}


@pytest.mark.parametrize("case", ENDS)
@in_loop
async def test_ends(case: str) -> None:
    end, kind, code, reason = ENDS[case]
    stage = Stage()
    visit, ws = await stage.open()
    visit.come(text("first"))
    visit.leave(**end)
    assert await in_thread(ws.receive) == "first"
    for call in (ws.receive, ws.receive, lambda: ws.send("late"), ws.receive_json):
        with pytest.raises(kind) as caught:
            await in_thread(call)
        error = caught.value
        assert (error.code, error.reason, error.by_peer) == (code, reason, True)
    if kind is ClosedOK:
        assert await in_thread(list, ws) == []
    assert (ws.closed, ws.close_code, ws.close_reason) == (True, code, reason)
    await in_thread(ws.close, 4000)  # nothing: it is closed
    assert await stage.leave(visit) == ACCEPT


@in_loop
async def test_closing_wakes_who_receives() -> None:
    stage = Stage()
    visit, ws = await stage.open()
    receiving = asyncio.ensure_future(in_thread(ws.receive))
    await visit.until(lambda: visit.asked > 1)
    await in_thread(ws.close, 4000, "enough")
    with pytest.raises(ClosedError) as caught:
        await receiving
    assert (caught.value.code, caught.value.reason, caught.value.by_peer) == (4000, "enough", False)
    assert visit.sent[-1] == {"type": "websocket.close", "code": 4000, "reason": "enough"}
    await in_thread(ws.close)
    with pytest.raises(ClosedError):
        await in_thread(ws.send, "late")
    await stage.leave(visit)
    assert len(visit.sent) == 2


@pytest.mark.parametrize(("code", "reason"), [(1005, ""), (999, ""), (5000, ""), (1000, "x" * 124)])
@in_loop
async def test_codes_that_may_not_be_sent(code: int, reason: str) -> None:
    stage = Stage()
    visit, ws = await stage.open()
    with pytest.raises(ValueError, match=r"may not be sent|does not fit"):
        await in_thread(ws.close, code, reason)
    assert not ws.closed
    await stage.leave(visit)


@pytest.mark.parametrize(
    ("error", "code"),
    [(ValueError("mine"), 1011), (SystemExit(1), 1011), (ClosedOK(1000), 1000), (None, 1000)],
)
@in_loop
async def test_how_a_handler_ends(
    error: BaseException | None, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage()
    stage.raises = error
    visit, _ = await stage.open()
    assert (await stage.leave(visit))["code"] == code
    assert ("WebSocket /chat: error in the handler" in caplog.text) == (code == 1011)


@pytest.mark.parametrize("fault", [BrokenPipeError(), RuntimeError("after websocket.close")])
@in_loop
async def test_a_send_that_meets_the_end(fault: Exception) -> None:
    """Some servers raise OSError; to others a message behind the end is a mistake."""
    stage = Stage()
    visit, ws = await stage.open()
    visit.hold()
    visit.fault = fault
    sending = asyncio.ensure_future(in_thread(ws.send, "late"))
    await visit.until(lambda: visit.offered == 2)
    if isinstance(fault, RuntimeError):
        visit.leave(code=1006)
        while not ws.closed:
            await asyncio.sleep(0)
    visit.take()
    with pytest.raises(ClosedError) as caught:
        await sending
    assert caught.value.code == 1006
    await stage.leave(visit)


@in_loop
async def test_what_else_a_server_raises_passes() -> None:
    stage = Stage()
    visit, ws = await stage.open()
    visit.fault = RuntimeError("out of order")
    with pytest.raises(RuntimeError, match="out of order"):
        await in_thread(ws.send, "x")
    visit.fault = None
    await stage.leave(visit)


@in_loop
async def test_a_server_that_stops_is_going_away() -> None:
    stage = Stage()
    visit, ws = await stage.open()
    receiving = asyncio.ensure_future(in_thread(ws.receive))
    await visit.until(lambda: visit.asked > 1)
    visit.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await visit.over()
    with pytest.raises(ClosedOK) as caught:
        await receiving
    assert (caught.value.code, caught.value.by_peer) == (1001, False)
    stage.left.set()


@in_loop
async def test_a_server_that_stops_lets_nobody_wait() -> None:
    """Neither whose message it has not taken, nor those behind."""
    stage = Stage()
    visit, ws = await stage.open()
    visit.hold()
    waiting = [asyncio.ensure_future(in_thread(ws.send, str(number))) for number in range(3)]
    closing = asyncio.ensure_future(in_thread(ws.close))
    await visit.until(lambda: visit.offered == 2)
    visit.task.cancel()
    for one in waiting:
        with pytest.raises(ClosedOK):
            await one
    await closing
    stage.left.set()


# -- the handshake ---------------------------------------------------------------------------


def answer_from(environ: Environ, start_response: Start) -> Any:
    return echo(environ, start_response)


def generating(environ: Environ, start_response: Start) -> Iterator[bytes]:
    yield b""
    yield from echo(environ, start_response)


def accepting(environ: Environ, start_response: Start) -> Any:
    ws = accept(environ, subprotocols=["chat"])
    assert accept(environ, subprotocols=["chat"]) is ws
    for message in ws:
        ws.send(message)
    write = start_response("200 OK", [])
    write(b"not sent")
    return [b"neither"]


@lite
def accepting_lite(environ: Environ) -> Any:
    ws = accept(environ, subprotocols=["chat"])
    for message in ws:
        ws.send(message)
    return "404 Not Found", [], (block for block in [b"not sent"])


BRIDGES = [echo, answer_from, generating, lighten(answer_from), accepting, accepting_lite]


@pytest.mark.parametrize("app", BRIDGES)
@in_loop
async def test_ways_to_accept(app: Any) -> None:
    visit = visit_to(app, websocket_scope("/", [("sec-websocket-protocol", "x, chat")]))
    assert await visit.next() == {**ACCEPT, "subprotocol": "chat"}
    visit.come(text("hello"))
    assert await visit.next(1) == {"type": "websocket.send", "text": "hello"}
    visit.leave(code=1001)
    await visit.over()


@in_loop
async def test_middleware_adds_to_the_answer() -> None:
    def app(environ: Environ, start_response: Start) -> Any:
        def started(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            added = [("Set-Cookie", "a=1"), ("X-Added", "é"), ("Content-Length", "0")]
            return start_response(status, headers + added, exc_info)

        return echo(environ, started)

    visit = visit_to(app)
    accepted = await visit.next()
    assert accepted["headers"] == [(b"set-cookie", b"a=1"), (b"x-added", b"\xe9")]
    visit.leave()
    await visit.over()


def refused(environ: Environ, start_response: Start) -> Any:
    echo(environ)  # what it returns is thrown away
    start_response("401 Unauthorized", [("WWW-Authenticate", "Basic")])
    return iter([b"who", b"?"])


@in_loop
async def test_middleware_refuses() -> None:
    answer = await visit_to(refused).over()
    assert (answer.status, answer.body) == (401, b"who?")
    assert answer["www-authenticate"] == "Basic"
    assert {one["type"] for one in answer.messages} == {
        "websocket.http.response.start",
        "websocket.http.response.body",
    }


@in_loop
async def test_without_the_extension_every_refusal_is_a_403() -> None:
    unable: list[Any] = [{}, None]
    for extensions in unable:
        for app in (refused, lambda environ, start: 1 / 0):
            visit = visit_to(app, websocket_scope(extensions=extensions))
            await visit.over()
            assert visit.sent == [{"type": "websocket.close"}]


@pytest.mark.parametrize(("version", "status"), [("1.1", 200), ("2", 501)])
@in_loop
async def test_an_ordinary_200_accepts_nothing(version: str, status: int) -> None:
    @lite
    def page(environ: Environ) -> Any:
        return "200 OK", [], [b"a page"]

    answer = await visit_to(page, websocket_scope(http_version=version)).over()
    assert (answer.status, answer.body) == (status, b"a page")


def spoiling(environ: Environ, start_response: Start) -> Any:
    status, _, body = echo(environ)
    start_response(status, [("GServer-WebSocket", "guessed")])
    return body


def failing(environ: Environ, start_response: Start) -> Any:
    echo(environ, start_response)
    raise ValueError


def retracting(environ: Environ, start_response: Start) -> Any:
    echo(environ, start_response)
    try:
        raise ValueError
    except ValueError as exc:
        start_response("500 Oh", [], (ValueError, exc, None))
    return [b"content"]


@pytest.mark.parametrize("app", [spoiling, failing, retracting])
@in_loop
async def test_a_promise_that_is_broken_is_a_500(app: Any) -> None:
    assert (await visit_to(app).over()).status == 500


@in_loop
async def test_an_error_when_it_was_accepted_closes_it(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Environ, start_response: Start) -> Any:
        accept(environ)
        raise ValueError

    visit = visit_to(app)
    await visit.over()
    assert visit.sent == [ACCEPT, {"type": "websocket.close", "code": 1011, "reason": ""}]
    assert "error in the handler" in caplog.text


@in_loop
async def test_it_is_too_late_to_accept() -> None:
    kept: list[Environ] = []
    caught: list[Exception] = []

    def app(environ: Environ, start_response: Start) -> Any:
        kept.append(environ)
        write = start_response("404 Not Found", [])
        write(b"begun")
        try:
            accept(environ)
        except LocalProtocolError as exc:
            caught.append(exc)
        return []

    await visit_to(app).over()
    assert "the response has begun" in str(caught[0])
    with pytest.raises(ConnectionClosed, match="1006"):
        accept(kept[0])


@in_loop
async def test_a_page_of_another_site_may_not_connect() -> None:
    asking = websocket_scope(headers=[("origin", "https://evil.example")])
    assert (await visit_to(echo, asking).over()).status == 403


@in_loop
async def test_an_ordinary_request_has_no_offer() -> None:
    caught: list[int] = []

    @lite
    def app(environ: Environ) -> Any:
        try:
            accept(environ)
        except HandshakeError as exc:
            caught.append(exc.status)
            return exc.response
        raise AssertionError

    scope = websocket_scope() | {"type": "http", "method": "GET", "scheme": "http"}
    assert (await Visit(app, scope).over()).status == 501
    assert caught == [501]


@in_loop
async def test_the_client_leaves_before_it_is_accepted() -> None:
    visit = Visit(echo, websocket_scope())
    visit.leave()
    await visit.over()
    visit = visit_to(echo)
    visit.fault = BrokenPipeError()
    await visit.over()
    assert visit.sent == []


@in_loop
async def test_features_of_a_websocket() -> None:
    seen: list[Features] = []

    def app(environ: Environ, start_response: Start) -> Any:
        seen.append(features(environ))
        assert not disconnected(environ)
        return echo(environ, start_response)

    visit = visit_to(app)
    await visit.next()
    visit.leave()
    await visit.over()
    assert seen == [Features("HTTP/1.1", websocket=True, disconnected=True)]


@in_loop
async def test_more_than_so_many_are_refused() -> None:
    app = to_asgi(echo, websockets=2)
    visits = [visit_to(app) for _ in range(2)]
    for visit in visits:
        assert await visit.next() == ACCEPT
    answer = await visit_to(app).over()
    assert (answer.status, answer.body) == (503, b"There are too many WebSockets already.\n")
    other = visit_to(app, websocket_scope(extensions={}))
    await other.over()
    assert other.sent == [{"type": "websocket.close"}]
    for visit in visits:
        visit.leave()
        await visit.over()
    again = visit_to(app)
    assert await again.next() == ACCEPT
    again.leave()
    await again.over()


@in_loop
async def test_the_custom_of_gevent_websocket() -> None:
    def app(environ: Environ, start_response: Start) -> Any:
        ws = environ["wsgi.websocket"]
        assert not ws.closed
        while (message := ws.receive()) is not None:
            ws.send(message)
        return []

    visit = visit_to(app)
    assert await visit.next() == ACCEPT
    visit.come(binary(b"hello"))
    assert await visit.next(1) == {"type": "websocket.send", "bytes": b"hello"}
    visit.leave(code=1000)
    await visit.over()


# -- the same object -------------------------------------------------------------------------


def methods(path: Path, name: str) -> dict[str, str]:
    """Return the public methods of a class, and their arguments, as its source has them."""
    (found,) = [
        node
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef) and node.name == name
    ]
    defined = [node for node in found.body if isinstance(node, ast.FunctionDef)]
    return {one.name: ast.unparse(one.args) for one in defined if one.name[0] != "_"}


def test_handlers_find_the_same_methods_as_under_gserver() -> None:
    package = Path(gserver.__file__).parent
    ours = methods(package / "websocket" / "blocking.py", "WebSocket")
    theirs = methods(package / "api" / "websocket_base.py", "WebSocket")
    theirs |= methods(package / "api" / "asgi" / "websocket.py", "ThreadWebSocket")
    for name in ("leave", "try_send_message"):
        ours.pop(name, None)  # for the server
    assert len(ours) == 8
    assert {name: theirs.get(name) for name in ours} == ours
