"""HTTP/2 (RFC 9113): one connection, many streams, each an ordinary blocking request."""

from gserver.http2.protocol import Http2

__all__ = ["Http2"]
