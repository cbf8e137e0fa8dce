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

_HOST_PORT = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^:/\[\]\s]*)):(?P<port>[0-9]{1,5})",
    re.ASCII,
).fullmatch
# What fits into a C int; the kernel's own bound (net.core.somaxconn) is lower.
_MAX_BACKLOG = 2**31 - 1
# Bytes of a response that the kernel holds beyond what is on its way.
_UNSENT = 128 * 1024
_DESCRIPTOR = re.compile(r"fd://([0-9]{1,9})", re.ASCII).fullmatch


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
            if text.startswith(scheme):
                tls = meaning
                rest = text.removeprefix(scheme).removesuffix("/")
        if rest.startswith("unix:"):
            path = rest.removeprefix("unix:")
            if path.startswith("//"):
                path = path.removeprefix("//")
            if path:
                return cls(text, tls, path=path)
        elif match := _DESCRIPTOR(rest):
            return cls(text, tls, descriptor=int(match[1]))
        elif (match := _HOST_PORT(rest)) and int(match["port"]) < 65536:
            return cls(text, tls, host=match["ipv6"] or match["host"], port=int(match["port"]))
        raise ConfigError(
            f"cannot listen at {text!r}: write HOST:PORT, [IPV6]:PORT, unix:PATH or fd://N"
        )

    def speaks_tls(self, config: Config) -> bool:
        """Return whether TLS is spoken there.

        Raises:
            ConfigError: The user asks for it, but gives no certificate.
        """
        if self.tls and not config.certfile:
            raise ConfigError(f"{self.text} asks for TLS: give certfile and keyfile")
        return bool(config.certfile) if self.tls is None else self.tls


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
        # The application may change the folder, and somebody else may make a file of that name.
        self._path = os.path.abspath(path) if path else ""
        self._file = _identity(self._path)
        sock.setblocking(False)
        name: Any = sock.getsockname()
        scheme = "https" if tls else "http"
        if isinstance(name, tuple):
            host, port = name[:2]
            # Inherited by accepted sockets. A response is one write: there is nothing to collect.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Else the kernel takes up to 4 MB of a response and says that there is room again only
            # when a third has left: a slow reader would look like one that does not read at all.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
            shown = f"[{host}]" if ":" in host else host
            self.server = (host, str(port))
            self.url = f"{scheme}://{shown}:{port}"
        else:
            self.server = ("localhost", "443" if tls else "80")
            self.url = f"{scheme}+unix:{name if isinstance(name, str) else os.fsdecode(name)}"

    def close(self) -> None:
        """Stop listening; remove the file of a Unix socket that this listener made."""
        self.socket.close()
        if self._path and self._file == _identity(self._path):
            try:
                os.unlink(self._path)
            except OSError:
                pass  # somebody was faster, or took the right to do so away


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def listen(address: Address, config: Config) -> Listener:
    """Return a listener at `address`.

    Raises:
        ConfigError: It is in use, not allowed, or not to be had.
    """
    tls = address.speaks_tls(config)
    try:
        if address.descriptor >= 0:
            return Listener(_inherited(address.descriptor), tls)
        if address.path:
            return Listener(_unix_socket(address.path, config), tls, address.path)
        return Listener(_tcp_socket(address, config), tls)
    except OSError as exc:
        hint = ""
        if exc.errno == errno.EADDRINUSE:
            hint = "; is another server running there?"
        elif exc.errno == errno.EACCES and not address.path:
            hint = "; ports below 1024 need root, or the capability CAP_NET_BIND_SERVICE"
        reason = exc.strerror or str(exc)
        raise ConfigError(f"cannot listen at {address.text}: {reason}{hint}") from exc
    except UnicodeError as exc:
        raise ConfigError(f"cannot listen at {address.text}: that is no host name") from exc


def _inherited(descriptor: int) -> _socket.socket:
    sock = _socket.socket(fileno=descriptor)
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.detach()
        raise OSError(errno.EINVAL, "the descriptor is not a listening socket")
    # Or processes that the application starts would keep the address in use.
    os.set_inheritable(descriptor, False)
    return sock


def _unix_socket(path: str, config: Config) -> _socket.socket:
    if os.path.lexists(path):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(errno.EEXIST, "the file exists and is no socket")
        _remove_stale(path)
    return _bound(_socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path, config)


def _remove_stale(path: str) -> None:
    """Remove the socket of a server that is gone; where one listens, an attempt would succeed."""
    probe = _socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.setblocking(False)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
        return
    except BlockingIOError:
        pass  # it listens, and its backlog is full
    finally:
        probe.close()
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _tcp_socket(address: Address, config: Config) -> _socket.socket:
    # The C function: gevent's would resolve in another greenlet, and there may be no loop yet.
    found = _socket.getaddrinfo(
        address.host or None,
        address.port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )
    # A name may stand for both: localhost is 127.0.0.1 to most clients, as it is to Go.
    found.sort(key=lambda one: one[0] != socket.AF_INET)
    family, kind, protocol, _, where = found[0]
    sock = _socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if config.reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return _bound(sock, where, config)


def _bound(sock: _socket.socket, where: Any, config: Config) -> _socket.socket:
    try:
        sock.bind(where)
        sock.listen(min(config.backlog, _MAX_BACKLOG))
    except BaseException:
        sock.close()
        raise
    return sock
