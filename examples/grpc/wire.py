"""gRPC over HTTP/2, as far as a server needs it, on the streams of a blocking application.

A call is a POST; its content is messages, each behind a byte that tells whether it is compressed
and four bytes of length. How the call ended stands in the trailers: grpc-status, 0 if all is well.
"""

from collections.abc import Callable, Iterator
from typing import Any, NoReturn
from urllib.parse import quote

from gserver.api import lite, send_trailers

Method = Callable[[Iterator[bytes]], Iterator[bytes]]
"""Takes the client's messages and yields the answers, be it one or many, at any time."""

INVALID_ARGUMENT, UNIMPLEMENTED = 3, 12
LARGEST = 4 * 1024 * 1024  # what gRPC's own servers take, unless they are told otherwise


class Failed(Exception):
    """Raised by a method to end the call with another status than 0."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


def read_messages(content: Any) -> Iterator[bytes]:
    """Yield the messages as they come; each step blocks until one is complete."""
    while prefix := content.read(5):
        size = int.from_bytes(prefix[1:], "big")
        if prefix[0]:
            raise Failed(UNIMPLEMENTED, "compressed messages are not understood")
        if size > LARGEST:
            raise Failed(INVALID_ARGUMENT, f"a message of {size} bytes is too large")
        message = content.read(size)
        if len(prefix) < 5 or len(message) < size:
            raise Failed(INVALID_ARGUMENT, "the content ends within a message")
        yield message


def first(messages: Iterator[bytes]) -> bytes:
    """Return the one message of a call that sends no more."""
    for message in messages:
        return message
    raise Failed(INVALID_ARGUMENT, "the call has no message")


def answer(environ: dict[str, Any], method: Method) -> Iterator[bytes]:
    """Run the method, yield its answers as content, and tell the outcome in the trailers."""
    outcome = Failed(0, "")
    try:
        for message in method(read_messages(environ["wsgi.input"])):
            yield b"\0" + len(message).to_bytes(4, "big") + message
    except Failed as failed:
        outcome = failed
    trailers = [("grpc-status", str(outcome.code)), ("grpc-message", quote(outcome.message))]
    send_trailers(environ, trailers)


def serve(methods: dict[str, Method]) -> Any:
    """Return a Lite application that serves methods by their paths, as /package.Service/Method."""

    def unknown(messages: Iterator[bytes]) -> NoReturn:
        raise Failed(UNIMPLEMENTED, "there is no such method")

    @lite
    def app(environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], Iterator[bytes]]:
        if not environ.get("CONTENT_TYPE", "").startswith("application/grpc"):
            return "415 Unsupported Media Type", [], iter([b"gRPC only.\n"])
        method = methods.get(environ["PATH_INFO"], unknown)
        return "200 OK", [("Content-Type", "application/grpc")], answer(environ, method)

    return app
