"""The engine on the h2 library, for where libnghttp2 is not.

h2 keeps the states, the settings and the client's windows, and makes most frames. What it does not
do as RFC 9113 and `gserver.http2.engine` want it, is done here, before h2 sees a frame:

* A malformed request is the end of its stream, not of the connection. So h2 is given HEADERS
  frames without any fields; they are decoded and checked here.
* Frames of streams that are gone are ignored (RFC 9113 5.1); h2 would answer each of them.
* After a GOAWAY, ours or the client's, h2 wants to hear and say nothing more.
* Content passes it by, but for the frames that end it: to h2 each is worth a line in a log.
* It keeps each setting that a client makes up, and as large a table as the client allows.

And h2 leaves to its user whose content is sent next.
"""

from gserver.http2.pure.engine import PureEngine

__all__ = ["PureEngine"]
