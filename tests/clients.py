"""A raw HTTP/1 client: sends any bytes, reads responses by the letter of RFC 9112.

Independent of the code under test and of `http.client`, which forgives too much.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from types import TracebackType

TIMEOUT = 10.0
"""Seconds after which a test that waits for bytes fails."""


class ConnectionEnded(AssertionError):
    """The server closed the connection in the middle of what was to be read."""


@dataclass
class Response:
    """A response as it was on the wire."""

    version: str
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """Return all values of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values}"
        return values[0]

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    @property
    def text(self) -> str:
        """The content as text."""
        return self.body.decode()


class RawClient:
    """One connection to a server."""

    def __init__(
        self,
        address: tuple[str, int] | str,
        tls: ssl.SSLContext | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock: socket.socket = socket.socket(family)
        self.sock.settimeout(timeout)
        self.sock.connect(address)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self.buffer = b""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        self.sock.sendall(data)

    def get(
        self, target: str = "/", *lines: str, method: str = "GET", version: str = "1.1"
    ) -> Response:
        """Send a request without content and return the response to it."""
        head = [f"{method} {target} HTTP/{version}", "Host: localhost", *lines, "", ""]
        self.send("\r\n".join(head).encode("latin-1"))
        return self.response(head=method == "HEAD")

    def post(self, target: str, body: bytes, *lines: str, method: str = "POST") -> Response:
        """Send a request with counted content and return the response to it."""
        length = f"Content-Length: {len(body)}"
        return self.get_with_body(target, body, length, *lines, method=method)

    def get_with_body(
        self, target: str, body: bytes, *lines: str, method: str = "POST"
    ) -> Response:
        """Send a head with `lines`, then `body` as it is."""
        head = [f"{method} {target} HTTP/1.1", "Host: localhost", *lines, "", ""]
        self.send("\r\n".join(head).encode("latin-1") + body)
        return self.response()

    # -- reading -----------------------------------------------------------------------------

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionEnded(f"the server closed; unread: {self.buffer[:200]!r}")
        self.buffer += data

    def line(self) -> str:
        """Read a line; a bare LF is an error."""
        while b"\n" not in self.buffer:
            self._more()
        line, _, self.buffer = self.buffer.partition(b"\n")
        assert line.endswith(b"\r"), f"bare LF after {line!r}"
        return line[:-1].decode("latin-1")

    def exactly(self, size: int) -> bytes:
        """Read `size` bytes."""
        while len(self.buffer) < size:
            self._more()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def until_closed(self) -> bytes:
        """Read until the server closes the connection in good order."""
        try:
            while True:
                self._more()
        except ConnectionEnded:
            data, self.buffer = self.buffer, b""
            return data

    def fields(self) -> list[tuple[str, str]]:
        """Read fields up to and with the empty line."""
        fields = []
        while line := self.line():
            name, colon, value = line.partition(":")
            assert colon, f"no field line: {line!r}"
            assert name == name.strip(), f"white space around the name: {line!r}"
            fields.append((name, value.strip()))
        return fields

    def head(self) -> Response:
        """Read the head of a response, an informational one too."""
        version, _, rest = self.line().partition(" ")
        code, _, reason = rest.partition(" ")
        assert version == "HTTP/1.1", version
        assert len(code) == 3, rest
        return Response(version, int(code), reason, self.fields())

    def chunk(self, response: Response) -> bytes:
        """Read a chunk; b"" is the last one, whose trailers go to the response."""
        size = int(self.line(), 16)
        if not size:
            response.trailers = self.fields()
            return b""
        data = self.exactly(size)
        assert self.line() == ""
        return data

    def response(self, *, head: bool = False) -> Response:
        """Read a whole final response.

        Args:
            head: The request's method was HEAD.
        """
        response = self.head()
        if head or response.status in (204, 304) or response.status < 200:
            return response
        if "Transfer-Encoding" in response:
            assert response["Transfer-Encoding"] == "chunked"
            assert "Content-Length" not in response
            while data := self.chunk(response):
                response.chunks.append(data)
            response.body = b"".join(response.chunks)
        elif "Content-Length" in response:
            response.body = self.exactly(int(response["Content-Length"]))
        else:
            response.body = self.until_closed()
        return response

    def closed(self) -> bool:
        """Wait until the server closes; return whether it did so without sending more."""
        return self.until_closed() == b""
