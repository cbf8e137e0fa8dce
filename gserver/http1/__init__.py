"""HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112).

`parser` turns bytes into requests, `protocol` decides what a connection does with them, `stream`
writes the response and hands over the content.
"""

from gserver.http1.protocol import Http1

__all__ = ["Http1"]
