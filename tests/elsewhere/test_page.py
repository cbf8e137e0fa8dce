"""What docs/elsewhere.rst shows works, and what other servers can do of docs/capabilities.rst."""

from __future__ import annotations

import re
import shlex
import socket
import sys
import textwrap
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from clients import RawClient, Response
from conftest import ROOT, Command, Serve, ServerProcess, need
from elsewhere.servers import hold_port, keep_control_socket
from websocket_stage import until

DOCS = ROOT / "docs"
PAGE = "elsewhere.rst"
COMMANDS = re.findall(r"^   \$ (.* letters.*)$", (DOCS / PAGE).read_text("utf-8"), re.M)


def block(caption: str, page: str = PAGE) -> str:
    """Return the code of the block with this caption."""
    text = (DOCS / page).read_text("utf-8")
    found = re.search(rf":caption: {re.escape(caption)}\n\n((?:   .*\n|\n)+)", text)
    assert found
    return textwrap.dedent(found[1])


def greet(client: RawClient) -> Response:
    """Ask, and pass over early hints."""
    client.send(b"GET /?a&b HTTP/1.1\r\nHost: localhost\r\n\r\n")
    while (answer := client.response()).status == 103:
        pass
    return answer


@pytest.mark.parametrize(
    "line", COMMANDS, ids=lambda line: line.removeprefix("python -m ").split()[0]
)
def test_the_commands_serve_the_application(line: str, tmp_path: Path) -> None:
    (tmp_path / "letters.py").write_text(block("letters.py"))
    keep_control_socket(tmp_path)
    with hold_port() as holder:
        address = holder.getsockname()
        program, *arguments = shlex.split(line.replace("8000", str(address[1])))
        if program == "python" and find_spec(arguments[1]) is None:
            need(arguments[1])
        path = Path(sys.executable).parent / program
        if not path.exists():
            need(program)
        running = ServerProcess([str(path), *arguments], tmp_path)
        try:
            until(lambda: listens(address))
            with RawClient(address) as client:
                answer = greet(client)
                assert (answer.status, answer.body) == (200, b"<p>A&amp;B\n")
        finally:
            running.kill()


def listens(address: tuple[str, int]) -> bool:
    with socket.socket() as sock:
        return not sock.connect_ex(address)


@pytest.mark.parametrize(
    ("name", "body"),
    [("letters.py", b"<p>A&amp;B\n"), ("ledger.py", b"one\ntwo\n")],
    ids=["letters", "ledger"],
)
def test_both_have_the_name_that_servers_look_for(command: Command, name: str, body: bytes) -> None:
    running = command("app", "--bind", "127.0.0.1:0", app=block(name)).wait_ready()
    with running.client() as client:
        assert greet(client).body == body


def test_the_page_of_capabilities_stops_when_nobody_waits(serve: Serve) -> None:
    namespace: dict[str, Any] = {}
    exec(block("search.py", "capabilities.rst"), namespace)
    looked = 0
    left = threading.Event()

    def sleep(seconds: float) -> None:
        nonlocal looked
        looked += 1
        assert left.wait(10)

    namespace["sleep"] = sleep
    done = threading.Event()
    app = namespace["app"]

    def ask(environ: dict[str, Any], start_response: Any) -> Any:
        try:
            return app(environ, start_response)
        finally:
            done.set()

    with serve(ask).client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: looked)
    left.set()
    assert done.wait(10)
    assert looked == 1
