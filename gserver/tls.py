"""TLS: the server's context, and the session of one connection.

A session works on the connection's own non-blocking socket, like gevent's SSLSocket, but leaves
waiting to the connection: "not yet" is `BlockingIOError`, as with a plain socket. So neither
objects nor exceptions of the ssl module leave this module.
"""

from __future__ import annotations

import _socket
import ssl
from typing import Any

from gserver.api.errors import ConfigError, RemoteProtocolError
from gserver.config import Config

_VERIFY = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


class TlsSocket(_socket.socket):
    """A socket of which the ssl module can hold the weak reference that it wants."""

    __slots__ = ("__weakref__",)


class TlsContext:
    """Makes the sessions of one server.

    Raises:
        ConfigError: Certificate, key, CA file or ciphers cannot be used.
    """

    socket_type = TlsSocket

    def __init__(self, config: Config, context: ssl.SSLContext | None = None) -> None:
        self._context = context or _make_context(config)
        # Of a host's context too: it may have been made for more than this server speaks.
        self._context.set_alpn_protocols(["h2", "http/1.1"] if config.http2 else ["http/1.1"])

    def session(self, sock: _socket.socket) -> TlsSession:
        """Return the session of a new connection."""
        return TlsSession(self._context, sock)


def _make_context(config: Config) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    assert config.certfile is not None
    certificate = f"certfile {config.certfile}"
    if config.keyfile:
        certificate += f" with keyfile {config.keyfile}"
    try:
        context.load_cert_chain(config.certfile, config.keyfile, password=_no_password)
    except ssl.SSLError as exc:
        raise ConfigError(
            f"{certificate}: no usable PEM certificate and key ({exc.reason or exc})"
        ) from exc
    except OSError as exc:
        raise ConfigError(f"{certificate}: {exc.strerror}") from exc
    if config.ca_certs:
        try:
            context.load_verify_locations(config.ca_certs)
        except ssl.SSLError as exc:
            raise ConfigError(f"ca_certs {config.ca_certs}: no usable PEM certificate") from exc
        except OSError as exc:
            raise ConfigError(f"ca_certs {config.ca_certs}: {exc.strerror}") from exc
    elif config.cert_reqs != "none":
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = _VERIFY[config.cert_reqs]
    if config.ciphers:
        try:
            context.set_ciphers(config.ciphers)
        except ssl.SSLError as exc:
            raise ConfigError(f"ciphers {config.ciphers!r}: OpenSSL knows none of them") from exc
    return context


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal, and a service would hang.
    raise ConfigError("the private key is encrypted: give one without a passphrase")


class TlsSession:
    """The TLS side of one connection; nothing here blocks."""

    __slots__ = ("__weakref__", "_ssl")

    def __init__(self, context: Any, sock: _socket.socket) -> None:
        # SSLContext.wrap_socket would make a socket object of its own (and gevent's a blocking
        # one); what both build on is this.
        self._ssl = context._wrap_socket(sock, server_side=True, owner=self)

    @property
    def context(self) -> Any:
        """The context; an sni_callback, which gets its owner for a socket, sets another one."""
        return self._ssl.context

    @context.setter
    def context(self, context: Any) -> None:
        self._ssl.context = context

    def _sslsock(self) -> TlsSession:
        """Return this: gevent's contexts ask the owner so, and hand the answer to the callback."""
        return self

    def shake_hands(self) -> bool:
        """Go on with the handshake; return whether it is finished.

        Raises:
            RemoteProtocolError: The client speaks HTTP without TLS.
            OSError: It failed.
        """
        try:
            self._ssl.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except ssl.SSLError as exc:
            if exc.reason == "HTTP_REQUEST":
                raise RemoteProtocolError("plain HTTP was sent to an https port") from exc
            raise
        return True

    @property
    def http2(self) -> bool:
        """The client and the server have agreed on HTTP/2 (RFC 7301)."""
        return bool(self._ssl.selected_alpn_protocol() == "h2")

    @property
    def pending(self) -> bool:
        """Whether there are bytes to receive that have left the kernel already."""
        return bool(self._ssl.pending())

    def receive(self, size: int) -> bytes:
        """Return at most `size` bytes; b"" at the end.

        Raises:
            OSError: There is nothing yet (`BlockingIOError`), or the connection is broken.
        """
        try:
            data: bytes = self._ssl.read(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        return data

    def send(self, data: bytes | memoryview) -> int:
        """Send what the socket takes, return how many bytes that were.

        Raises:
            OSError: None at all (`BlockingIOError`), or the connection is broken.
        """
        try:
            sent: int = self._ssl.write(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except ssl.SSLZeroReturnError as exc:
            raise ConnectionResetError from exc
        return sent

    def close_notify(self) -> None:
        """Tell the peer that the end is meant (RFC 8446 6.1)."""
        try:
            self._ssl.shutdown()
        except OSError:
            pass  # it waits for the peer's, or the peer has gone: either way it was sent

    def environ(self) -> dict[str, str]:
        """Return what the application learns of the session, under mod_ssl's names."""
        name, _, bits = self._ssl.cipher()
        environ = {
            "SSL_PROTOCOL": self._ssl.version(),
            "SSL_CIPHER": name,
            "SSL_CIPHER_USEKEYSIZE": str(bits),
            "SSL_CLIENT_VERIFY": "NONE",
        }
        certificate = self._ssl.getpeercert(True)
        if certificate:
            environ["SSL_CLIENT_VERIFY"] = "SUCCESS"
            environ["SSL_CLIENT_CERT"] = ssl.DER_cert_to_PEM_cert(certificate)
            subject = self._ssl.getpeercert(False).get("subject", ())
            for (key, value), *_ in subject:
                if key == "commonName":
                    # PEP 3333: bytes, each as one latin-1 character.
                    environ["SSL_CLIENT_S_DN_CN"] = value.encode().decode("latin-1")
        return environ
