"""Connection: an accepted socket, until it is known what is spoken on it.

Runs in the hub.
"""

from __future__ import annotations

import _socket
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gserver.api.errors import RemoteProtocolError
from gserver.http1 import Http1
from gserver.http1.parser import Limits
from gserver.transport import Context, Transport

if TYPE_CHECKING:
    from gserver.tls import TlsContext, TlsSession

logger = logging.getLogger("gserver.error")


@dataclass(frozen=True)
class Endpoint(Context):
    """What all connections accepted at one address share."""

    limits: Limits
    tls: TlsContext | None


class Connection(Transport):
    """One accepted socket, and the choice of its protocol."""

    def __init__(self, endpoint: Endpoint, sock: _socket.socket, address: Any) -> None:
        super().__init__(endpoint, sock, address)
        self._limits = endpoint.limits
        if endpoint.tls is None:
            self.speak_http1()
        else:
            session = endpoint.tls.session(sock)
            self.encrypt(session)
            handshake = _Handshake(self, session)
            self.start_reading(handshake, handshake.proceed)

    def speak_http1(self) -> Http1:
        """Expect HTTP/1.x from now on."""
        self.deadline = self.clock.after(self.config.header_timeout)
        http1 = Http1(self, self._limits)
        self.start_reading(http1)
        return http1


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
            connection.tls_environ = self._session.environ()
            connection.speak_http1()

    def receive_data(self, data: bytes) -> None:
        """Never called: nothing is received before the handshake is finished."""

    def receive_eof(self) -> None:
        """Give up."""
        self._connection.abort()

    expire = drain = receive_eof
