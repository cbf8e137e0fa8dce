# cython: language_level=3, annotation_typing=False
"""Requests out of bytes, on httptools (llhttp, the parser of Node.js).

llhttp is the only one who parses; what RFC 9112 asks beyond it is checked here on what it found:
the exact shape of the request line, target, Host, Transfer-Encoding and every size and count.
All of this runs in the hub, except that `feed_body` also runs in handlers' greenlets. Nothing
blocks. No httptools object or exception leaves this module.

llhttp cannot be stopped at the end of a message, and a client may send the next request with the
same packet. Almost none do, so bytes are fed whole; only when a second message shows up are they
parsed again, cut behind every empty line, because a message can end nowhere else: not before the
CRLF CRLF behind its header section or its trailers, and content with a length is counted, not fed.
"""

from __future__ import annotations

import re
from typing import Any, Final

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from gserver.api.errors import RemoteProtocolError, RequestTooLarge
from gserver.environ import Environ, decode_path, field_key
from gserver.request import (
    GOOD_HOSTS,
    GOOD_PATHS,
    HeaderMap,
    Limits,
    check_host,
    check_target,
    is_host,
    is_method,
)

COMPILED: Final = not __file__.endswith(".py")
"""Whether this module was compiled when gserver was installed."""

CHUNKED: Final = -1
"""`RequestParser.length` of content that tells its length only by its end."""

# Chunk extensions and trailers may be this long; each byte of content allows some more, for small
# chunks are no attack. Without a bound a client could send for ever without sending content
# (CVE-2023-39326). Go's figures.
_MAX_CHUNK_OVERHEAD: Final = 16384
_CHUNK_ALLOWANCE: Final = 18

# RFC 9112 2.2 wants at least one empty line before a request to be ignored.
_MAX_EMPTY_LINES: Final = b"\r\n" * 8

_SPACE: Final = 0x20
_CR: Final = 0x0D
_SLASH: Final = 0x2F
_END_OF_SECTION: Final = b"\r\n\r\n"
_METHODS: Final[dict[bytes, str]] = {}
# Environ keys by header name as the wire spells it; bounded, for the names are the client's choice.
_NAMES: Final[dict[bytes, str]] = {}
_MAX_NAMES: Final = 1024
# What frames the message: never to be had by a look-alike with an underscore.
_FRAMING: Final = frozenset({"CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"})

_GOOD_HOSTS: Final = GOOD_HOSTS
_GOOD_PATHS: Final = GOOD_PATHS
_ABSOLUTE: Final = re.compile(r"https?://([^/?]+)([^?]*)(?:\?(.*))?", re.IGNORECASE).fullmatch


class _AnotherMessage(Exception):
    """A second message begins in the bytes of the first."""


class RequestParser:
    """Finds one request after the other in what `feed` is given.

    Attributes:
        request: The environ of the request whose head is complete; None until then.
        length: Bytes of content it announces; 0 for none, `CHUNKED` if it does not say.
        http11: It speaks HTTP/1.1, not 1.0.
        keep_alive: The client wants the connection kept.
        chunks: Content that came and was not taken yet.
        complete: All of the request has come.
        trailers: Its trailer fields; all of them once it is complete.
        unused: Bytes behind its end.
        upgrade: It asks for another protocol (RFC 9110 7.8).
    """

    def __init__(self, limits: Limits, template: Environ) -> None:
        self._limits = limits
        self._template = template
        self._most_keys = len(template) + limits.fields
        self._parser = HttpRequestParser(self)
        # Where fields go: an environ, or trailers apart; None between requests.
        self._environ: Any = None
        self._target = b""
        self._data = b""
        self._head = b""  # what came of the head in earlier packets
        self._tail = b""  # the last bytes fed, in case an empty line is cut in two
        self._extra = 0  # fields that the environ does not count
        self._suspect = False  # something in the head needs a second look
        self._overhead = 0  # bytes since the last byte of content
        self.trailers: list[tuple[str, str]] = []
        self.request: Environ | None = None
        self.length = 0
        self.http11 = True
        self.keep_alive = False
        self.chunks: list[bytes] = []
        self.complete = False
        self.unused = b""
        self.upgrade = False

    @property
    def idle(self) -> bool:
        """Nothing has come of the next request yet."""
        return self._environ is None and not self._head

    def next(self) -> None:
        """Leave the request behind and look for the next one."""
        if not self.complete or self._tail:
            # Counted content that was not fed, or a head cut in pieces: llhttp stands elsewhere.
            self._start_over()
            return
        self.request = self._environ = None
        self.complete = False
        self.unused = b""
        self._extra = 0
        self._suspect = False
        if self.chunks or self.trailers:
            self.chunks = []
            self.trailers = []

    def _start_over(self) -> None:
        self._parser = HttpRequestParser(self)
        self._environ = self.request = None
        self._head = self._tail = self.unused = b""
        self._extra = self._overhead = 0
        self._suspect = self.upgrade = False
        self.chunks = []
        self.trailers = []
        self.complete = False

    # -- bytes in ----------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Parse what came while no request was complete.

        Raises:
            RemoteProtocolError: It is no request that this server takes.
        """
        if self._head:
            self._feed_cut(data)
            return
        self._data = data
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as exc:
            if self.request is None:
                raise self._refusal(exc) from exc
            self._start_over()
            self._feed_cut(data)
            return
        if self.request is None:
            self._incomplete(data)
        elif not self.complete:
            self._tail = data[-3:]
        elif data[-1] == _CR:
            # Perhaps half of an empty line before the next request: llhttp must not keep it.
            self._start_over()
            self._feed_cut(data)

    def feed_body(self, data: bytes) -> None:
        """Parse more of a chunked request's content, into `chunks`.

        Raises:
            RemoteProtocolError: It is malformed.
        """
        self._feed_cut(data)

    def _feed_cut(self, data: bytes) -> None:
        joined = self._tail + data
        start = len(self._tail)
        search = 0
        while start < len(joined) and not self.complete:
            end = joined.find(_END_OF_SECTION, search) + len(_END_OF_SECTION)
            if end < len(_END_OF_SECTION):
                end = len(joined)
            had_head = self.request is not None
            self._feed_piece(joined[start:end])
            start = end
            search = end - 3
            if self.request is not None and not had_head and self.length > 0:
                # Counted, not fed: `next` makes a new llhttp.
                end = start + self.length
                self.chunks = [joined[start:end]] if start < len(joined) else []
                self.complete = end <= len(joined)
                start = min(end, len(joined))
                break
        self._tail = joined[max(0, start - 3) : start]
        self.unused = joined[start:]

    def _feed_piece(self, piece: bytes) -> None:
        self._data = piece
        self._overhead += len(piece)
        try:
            self._parser.feed_data(piece)
        except HttpParserUpgrade:
            # RFC 9110 7.8: an upgrade may be ignored. llhttp stops for it, and has not looked at
            # the content.
            self._parser = HttpRequestParser(self)
            self.upgrade = True
            self.complete = self.length == 0
            if self.length == CHUNKED:
                self._expect_chunks()
        except HttpParserError as exc:
            if not self.complete:
                raise self._refusal(exc) from exc
        if self.request is None:
            self._incomplete(piece)
        elif self._overhead > _MAX_CHUNK_OVERHEAD and self.length == CHUNKED:
            raise RemoteProtocolError("chunk extensions or trailers are too long")

    def _expect_chunks(self) -> None:
        """Make the new llhttp believe that it has just seen the head of a chunked request."""
        request, environ, keep_alive = self.request, self._environ, self.keep_alive
        self._environ = self.request = None
        self._data = b"POST / HTTP/1.1\r\nHost:\r\nTransfer-Encoding: chunked\r\n\r\n"
        self._head = b""
        self._parser.feed_data(self._data)
        self.request, self._environ, self.keep_alive = request, environ, keep_alive

    def _incomplete(self, data: bytes) -> None:
        """Bound a head of which more must come."""
        self._head += data
        self._tail = self._head[-3:]
        if len(self._target) > self._limits.line:
            raise RequestTooLarge("request target too long", 414)
        if self._environ is None and len(self._head) > len(_MAX_EMPTY_LINES):
            raise RequestTooLarge("nothing but empty lines", 400)
        line, found, _ = self._head.lstrip(b"\r\n").partition(b"\r\n")
        if found and b" HTTP/" not in line:
            raise RemoteProtocolError("malformed request line")
        if len(self._head) > self._limits.head:
            raise RequestTooLarge("header section too long", 431 if found else 414)

    # -- callbacks of llhttp -----------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request at the first byte of its method."""
        if self.request is not None:
            raise _AnotherMessage
        self._environ = self._template.copy()
        self._target = b""

    def on_url(self, target: bytes) -> None:
        """Take the target, or a piece of it."""
        self._target = self._target + target if self._target else target

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field, or a trailer field once the head is complete."""
        try:
            key = _NAMES[name]
        except KeyError:
            key = self._new_name(name)
            if not key:
                return
        environ: Environ = self._environ
        # llhttp leaves trailing white space, which RFC 9112 5.1 excludes from the value.
        if value and value[-1] <= _SPACE:
            value = value.rstrip()
        text = value.decode("latin-1")
        if len(text) > 1:
            # One look-up where `in` and [] would be two.
            if environ.setdefault(key, text) is not text:
                self._repeated(key, text)
        elif key in environ:  # single characters are shared: identity tells nothing of them
            self._repeated(key, text)
        else:
            environ[key] = text

    def on_headers_complete(self) -> None:
        """Check what llhttp does not, and finish the environ."""
        environ: Environ = self._environ
        target = self._target
        try:
            method = _METHODS[self._parser.get_method()]
        except KeyError:
            method = self._new_method()
        size = len(self._data)
        self.http11 = True
        # The request line must be exactly as RFC 9112 3 has it; this also tells the version.
        if not self._data.startswith(b" HTTP/1.1\r\n", len(method) + 1 + len(target)) or self._head:
            size += len(self._head)
            self._check_line(method)
        self.keep_alive = self._parser.should_keep_alive()
        if size > self._limits.small or self._suspect or len(environ) > self._most_keys:
            self._check_fields(size)
        environ["REQUEST_METHOD"] = method
        path = _GOOD_PATHS.get(target)
        if path is None:
            self._take_target(method, target)
        else:
            environ["RAW_URI"] = environ["REQUEST_URI"] = environ["PATH_INFO"] = path
        if environ.get("HTTP_HOST") not in _GOOD_HOSTS:
            self._check_host()
        self.length = 0
        if "CONTENT_LENGTH" in environ or "HTTP_TRANSFER_ENCODING" in environ:
            self._announce_content()
        self.request = environ

    def on_body(self, data: bytes) -> None:
        """Take content."""
        self._overhead = max(0, self._overhead - _CHUNK_ALLOWANCE * len(data))
        self.chunks.append(data)

    def on_message_complete(self) -> None:
        """Note that all has come."""
        self.complete = True
        if self.length == CHUNKED and self._environ:
            self.trailers.extend(
                (key.removeprefix("HTTP_").lower().replace("_", "-"), value)
                for key, value in self._environ.items()
            )

    # -- what is off the straight path -------------------------------------------------------

    def _new_name(self, name: bytes) -> str:
        """Return the environ key of a name that is not in the cache; "" drops the field."""
        key = field_key(name)
        if b"_" in name:
            # Not cached: another server of this process may treat them otherwise.
            if self._limits.header_map is HeaderMap.REFUSE:
                raise RemoteProtocolError("header names with an underscore are refused here")
            if self._limits.header_map is HeaderMap.DANGEROUS and key not in _FRAMING:
                return key
            self._extra += 1
            self._suspect = True
            return ""
        if key == "HTTP_EXPECT":
            self._suspect = True  # instead of a look-up for each request
            return key
        if len(_NAMES) < _MAX_NAMES:
            _NAMES[name] = key
        return key

    def _new_method(self) -> str:
        name: bytes = self._parser.get_method()
        if name == b"CONNECT":
            raise RemoteProtocolError("CONNECT is not supported here", 501)
        return _METHODS.setdefault(name, name.decode("ascii"))

    def _repeated(self, key: str, text: str) -> None:
        if key == "HTTP_HOST":
            raise RemoteProtocolError("more than one Host field")
        # RFC 9110 5.3, and RFC 6265 5.4 for cookies.
        comma = "; " if key == "HTTP_COOKIE" else ","
        self._environ[key] += comma + text
        self._extra += 1
        self._suspect = True

    def _check_line(self, method: str) -> None:
        head = self._head + self._data
        start = 0
        while head.startswith(b"\r\n", start):
            start += 2
        version: str = self._parser.get_http_version()
        line = b"%b %b HTTP/%b\r\n" % (method.encode(), self._target, version.encode())
        if version == "0.9" or start > len(_MAX_EMPTY_LINES) or not head.startswith(line, start):
            raise RemoteProtocolError("malformed request line")
        if version not in ("1.0", "1.1"):
            raise RemoteProtocolError(f"HTTP/{version} is not supported here", 505)
        if version == "1.0":
            self.http11 = False
            self._environ["SERVER_PROTOCOL"] = "HTTP/1.0"

    def _check_fields(self, size: int) -> None:
        limits = self._limits
        if size > limits.head:
            head = (self._head + self._data).lstrip(b"\r\n")
            if head.find(_END_OF_SECTION) + len(_END_OF_SECTION) > limits.head:
                raise RequestTooLarge("header section too long", 431)
        if len(self._target) > limits.line:
            raise RequestTooLarge("request target too long", 414)
        fields = {k: v for k, v in self._environ.items() if k not in self._template}
        if len(fields) + self._extra > limits.fields:
            raise RequestTooLarge("too many header fields", 431)
        if any(len(key) + len(value) > limits.field for key, value in fields.items()):
            raise RequestTooLarge("header field too long", 431)
        if fields.get("HTTP_EXPECT", "100-continue").lower() != "100-continue":
            raise RemoteProtocolError("unknown expectation", 417)

    def _take_target(self, method: str, target: bytes) -> None:
        environ = self._environ
        environ["RAW_URI"] = environ["REQUEST_URI"] = path = check_target(target)
        if "?" in path:
            path, _, environ["QUERY_STRING"] = path.partition("?")
        if target[0] != _SLASH:
            path = self._unusual_target(method, environ["RAW_URI"])
        environ["PATH_INFO"] = decode_path(path) if "%" in path else path

    def _unusual_target(self, method: str, target: str) -> str:
        """Return the path of a target in absolute or asterisk form (RFC 9112 3.2)."""
        environ = self._environ
        if target == "*" and method == "OPTIONS":
            return ""
        match = _ABSOLUTE(target)
        if match is None or not is_host(match[1]):
            raise RemoteProtocolError("malformed request target")
        self._check_host()
        # RFC 9112 3.2.2: the target's authority replaces the Host field.
        environ["HTTP_HOST"] = match[1]
        environ["QUERY_STRING"] = match[3] or ""
        return match[2] or "/"

    def _check_host(self) -> None:
        host = self._environ.get("HTTP_HOST")
        if host is None:
            if self.http11:
                raise RemoteProtocolError("no Host field")
        else:
            check_host(host)

    def _announce_content(self) -> None:
        environ = self._environ
        coding = environ.get("HTTP_TRANSFER_ENCODING")
        if coding is None:
            # Zeros first: int() refuses thousands of digits, llhttp does not.
            self.length = int(environ["CONTENT_LENGTH"].lstrip("0") or 0)
            if self._limits.body and self.length > self._limits.body:
                raise RequestTooLarge("content too large")
            return
        if not self.http11:
            raise RemoteProtocolError("Transfer-Encoding in HTTP/1.0")  # RFC 9112 6.1
        if coding.lower() != "chunked":
            first, _, last = coding.lower().rpartition(",")
            if last.strip() == "chunked" and first:
                raise RemoteProtocolError(f"transfer coding {first} is not supported", 501)
            # RFC 9112 6.3: nobody can tell where the content ends.
            raise RemoteProtocolError("chunked is not the last transfer coding")
        self.length = CHUNKED
        self._overhead = 0
        self._environ = {}  # fields from here on are trailers

    def _refusal(self, exc: Exception) -> RemoteProtocolError:
        """Return the error of ours for one of httptools."""
        if isinstance(exc, HttpParserCallbackError):
            cause = exc.__context__
            if isinstance(cause, RemoteProtocolError):
                return cause
            raise cause or exc  # a defect of this module
        if isinstance(exc, HttpParserInvalidMethodError):
            method = (self._head + self._data).lstrip(b"\r\n").partition(b" ")[0]
            if is_method(method):
                return RemoteProtocolError("unknown method", 501)
            if method[:1] == b"\x16":  # the first byte of a TLS handshake (RFC 8446 5.1)
                return RemoteProtocolError("TLS was spoken to a port that has none")
            return RemoteProtocolError("malformed request line")
        text = str(exc)
        if "HTTP version" in text or "PRI" in text:
            return RemoteProtocolError("this version of HTTP is not supported here", 505)
        if "method for HTTP" in text:
            return RemoteProtocolError("unknown method", 501)
        return RemoteProtocolError(f"malformed request: {text}")
