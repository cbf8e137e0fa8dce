"""Connection: an accepted socket, until it is known what is spoken on it.

With TLS the client says so in the handshake (ALPN, RFC 7301); in clear its first bytes tell, for
HTTP/2 begins with a preface that is no request (RFC 9113 3.4). Runs in the hub.
"""

from __future__ import annotations

import _socket
import logging
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gserver.api.errors import RemoteProtocolError
from gserver.environ import Environ
from gserver.http1 import Http1
from gserver.http2 import Http2
from gserver.request import Limits
from gserver.transport import Context, Transport

if TYPE_CHECKING:
    from gserver.tls import TlsContext, TlsSession

logger = logging.getLogger("gserver.error")

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass(frozen=True)
class Endpoint(Context):
    """What all connections accepted at one address share."""

    template: Environ
    limits: Limits
    tls: TlsContext | None


class Connection(Transport):
    """One accepted socket, and the choice of its protocol."""

    def __init__(self, endpoint: Endpoint, sock: _socket.socket, address: Any) -> None:
        super().__init__(endpoint, sock, address)
        self._limits = endpoint.limits
        self._template = endpoint.template
        if endpoint.tls is not None:
            session = endpoint.tls.session(sock)
            self.encrypt(session)
            handshake = _Handshake(self, session)
            self.start_reading(handshake, handshake.proceed)
        elif self.config.http2:
            self.deadline = self.clock.after(self.config.header_timeout)
            self.start_reading(_Opening(self))
        else:
            self.speak_http1()

    def share(self, environ: Environ) -> None:
        """Note what all requests of this connection have in common, beside the address.

        For connections that hold tens of kilobytes anyway: adding it to the environ of each
        request would take longer.
        """
        host, port = self.remote
        own = {"REMOTE_ADDR": host, "REMOTE_PORT": port, **environ}
        self._template = {**self._template, **own}

    def speak_http1(self) -> Http1:
        """Expect HTTP/1.x from now on."""
        self.deadline = self.clock.after(self.config.header_timeout)
        http1 = Http1(self, self._limits, self._template)
        self.start_reading(http1)
        return http1

    def speak_http2(self) -> Http2:
        """Speak HTTP/2 from now on."""
        self.deadline = self.clock.after(self.config.header_timeout)
        self.share({"SERVER_PROTOCOL": "HTTP/2"})
        http2 = Http2(self, self._limits, self._template)
        self.start_reading(http2)
        return http2

    def speak_upgraded(self, settings: str, request: Environ, data: bytes) -> None:
        """Go on with HTTP/2, in which `request` is answered; see `Transport`."""
        http2 = self.speak_http2()
        http2.begin_upgraded(urlsafe_b64decode(settings + "=="), request)
        http2.schedule()
        if data:
            self.hand_over(data)


class _Handshake:
    """The protocol of a connection whose TLS handshake is not finished."""

    idle = True

    def __init__(self, connection: Connection, session: TlsSession) -> None:
        self._connection = connection
        self._session = session
        connection.deadline = connection.clock.after(connection.config.handshake_timeout)

    def proceed(self) -> None:
        """Go on with the handshake; the session reads from the socket itself."""
        connection = self._connection
        try:
            finished = self._session.shake_hands()
        except RemoteProtocolError as exc:
            # A client that does not know of TLS is answered in its own language.
            connection.decrypt()
            connection.speak_http1().refuse(exc)
            return
        except OSError as exc:
            logger.info("%s: TLS handshake failed: %s", connection.peer, exc)
            connection.abort()
            return
        if finished:
            connection.share(self._session.environ())
            if self._session.http2:
                # The server's settings need not wait for the client's.
                connection.speak_http2().schedule()
            else:
                connection.speak_http1()

    def receive_data(self, data: bytes) -> None:
        """Never called: nothing is received before the handshake is finished."""

    def receive_eof(self) -> None:
        """Give up."""
        self._connection.abort()

    expire = drain = receive_eof

    def resume_sending(self) -> None:
        """Never called: nothing was sent."""

    closed = resume_sending


class _Opening:
    """The protocol of a connection in clear that has not sent enough to tell."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._data = b""

    @property
    def idle(self) -> bool:
        """Nothing has come yet."""
        return not self._data

    def receive_data(self, data: bytes) -> None:
        """Look whether this is HTTP/2's preface."""
        if self._data:
            data = self._data + data
        if data.startswith(_PREFACE):
            self._connection.speak_http2().receive_data(data)
        elif _PREFACE.startswith(data):
            self._data = data
        else:
            self._connection.speak_http1().receive_data(data)

    def receive_eof(self) -> None:
        """Leave as well."""
        self._connection.close()

    def expire(self) -> None:
        """Give up waiting for the rest; a client that has sent nothing is told nothing."""
        if self._data:
            self._connection.speak_http1().receive_data(self._data)
            self._connection.protocol.expire()
        else:
            self._connection.close()

    def drain(self) -> None:
        """Let it come; it will be the last."""

    resume_sending = closed = drain
