"""The shortest way through everything."""

from __future__ import annotations

from typing import Any

from conftest import Command, Serve


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def test_thread(serve: Serve) -> None:
    with serve(hello).client() as client:
        for _ in range(3):
            response = client.get()
            assert (response.status, response.body) == (200, b"hello")


def test_process(command: Command) -> None:
    app = "from gserver.api import lite\n@lite\ndef app(e): return '200 OK', [], [b'hi']\n"
    running = command("app:app", "--bind", "127.0.0.1:0", app=app).wait_ready()
    with running.client() as client:
        assert client.get().body == b"hi"
    running.signal(15)
    assert running.wait() == 0
