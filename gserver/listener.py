"""Listeners: addresses as users write them, and the sockets that accept connections there."""

from __future__ import annotations

import _socket
import errno
import os
import re
import socket
import stat
from dataclasses import dataclass
from typing import Any

from gserver.api.errors import ConfigError
from gserver.config import Config

_HOST_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^:/\[\]]*)):([0-9]{1,5})").fullmatch


@dataclass(frozen=True)
class Address:
    """One value of the option ``bind``.

    Attributes:
        text: As the user wrote it.
        tls: Whether TLS is spoken there; None leaves that to whether there is a certificate.
        host, port: For TCP; port 0 lets the kernel choose.
        path: Of a Unix socket.
        descriptor: An inherited socket.
    """

    text: str
    tls: bool | None = None
    host: str = ""
    port: int = 0
    path: str = ""
    descriptor: int = -1

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return what a text such as "127.0.0.1:8000" means.

        Raises:
            ConfigError: Nothing that is known.
        """
        tls = None
        rest = text
        for scheme, meaning in (("http://", False), ("https://", True)):
            if rest.startswith(scheme):
                tls = meaning
                rest = rest.removeprefix(scheme).removesuffix("/")
        if rest.startswith("unix:"):
            path = rest.removeprefix("unix:")
            if path.startswith("//"):
                path = path.removeprefix("//")
            if path:
                return cls(text, tls, path=path)
        elif rest.startswith("fd://") and rest.removeprefix("fd://").isdecimal():
            return cls(text, tls, descriptor=int(rest.removeprefix("fd://")))
        elif match := _HOST_PORT(rest):
            port = int(match[3])
            if port < 65536:
                return cls(text, tls, host=match[1] or match[2], port=port)
        raise ConfigError(
            f"cannot listen at {text!r}: write HOST:PORT, [IPV6]:PORT, unix:PATH or fd://N"
        )


class Listener:
    """A listening socket.

    Attributes:
        socket: The socket; non-blocking, and not gevent's.
        tls: Whether TLS is spoken here.
        server: SERVER_NAME and SERVER_PORT.
        url: Where a user reaches it.

    Raises:
        ConfigError: The address cannot be listened at.
    """

    def __init__(self, sock: _socket.socket, tls: bool, path: str = "") -> None:
        self.socket = sock
        self.tls = tls
        self._path = path
        sock.setblocking(False)
        name: Any = sock.getsockname()
        scheme = "https" if tls else "http"
        if isinstance(name, tuple):
            host, port = name[:2]
            # Inherited by accepted sockets. A response is one write: there is nothing to collect.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            shown = f"[{host}]" if ":" in host else host
            self.server = (host, str(port))
            self.url = f"{scheme}://{shown}:{port}"
        else:
            self.server = ("localhost", "443" if tls else "80")
            self.url = f"{scheme}+unix:{name if isinstance(name, str) else os.fsdecode(name)}"

    def close(self) -> None:
        """Stop listening; remove the file of a Unix socket that this listener made."""
        self.socket.close()
        if self._path:
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                pass  # somebody was faster


def listen(address: Address, config: Config) -> Listener:
    """Return a listener at `address`.

    Raises:
        ConfigError: It is in use, not allowed, or not to be had.
    """
    tls = bool(config.certfile) if address.tls is None else address.tls
    if tls and not config.certfile:
        raise ConfigError(f"{address.text} asks for TLS: give certfile and keyfile")
    try:
        if address.descriptor >= 0:
            return Listener(_inherited(address.descriptor), tls)
        if address.path:
            return Listener(_unix_socket(address.path, config), tls, address.path)
        return Listener(_tcp_socket(address, config), tls)
    except OSError as exc:
        hint = "; is another server running there?" if exc.errno == errno.EADDRINUSE else ""
        reason = exc.strerror or str(exc)
        raise ConfigError(f"cannot listen at {address.text}: {reason}{hint}") from exc


def _inherited(descriptor: int) -> _socket.socket:
    sock = _socket.socket(fileno=descriptor)
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise OSError(errno.EINVAL, "the descriptor is not a listening socket")
    return sock


def _unix_socket(path: str, config: Config) -> _socket.socket:
    sock = _socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.path.exists(path):
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                raise OSError(errno.EEXIST, "the file exists and is no socket")
            _remove_stale(path)
        sock.bind(path)
        sock.listen(config.backlog)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove the socket of a server that is gone; a live one answers."""
    probe = _socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(path)
    except OSError:
        os.unlink(path)
    else:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    finally:
        probe.close()


def _tcp_socket(address: Address, config: Config) -> _socket.socket:
    # The C function: gevent's would resolve in another greenlet, and there may be no loop yet.
    found = _socket.getaddrinfo(
        address.host or None,
        address.port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )
    family, kind, protocol, _, where = found[0]
    sock = _socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if config.reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(where)
        sock.listen(config.backlog)
    except OSError:
        sock.close()
        raise
    return sock
