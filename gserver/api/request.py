"""A request, to be read: the environ by the names of things.

A small view for applications without a framework, and for middleware. It parses what one asks for
when one asks for it. ::

    @lite(request=Request)
    def app(environ, request):
        return responses.text(f"Hello, {request.query['name']}!")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from http.cookies import SimpleCookie
from json import JSONDecoder
from typing import Any, ClassVar, Final, Literal
from urllib.parse import quote

from gserver.api.errors import LocalProtocolError, RemoteProtocolError
from gserver.api.forms import Content, Fields, Form, Limits, MissingField, Upload, parse_urlencoded
from gserver.api.forwarded import Proxies
from gserver.api.multipart import parse_multipart

__all__ = ["Headers", "Request"]

_CONTENT: Final = "gserver.content"
"""Where in the environ the `_Taken` is: middleware and application may have a Request each."""


class Request(Limits):
    """What a WSGI or Lite application is asked; also the rule that binds one.

    What the client got wrong is raised as `RemoteProtocolError`, or `RequestTooLarge`, by the
    attribute that finds it: text that is not UTF-8, a form or JSON that is malformed, a name that
    is not there. Let it pass, and gserver answers with the status that says so; see
    `gserver.api.responses.error` for other servers.

    Settings are attributes of a class derived from this one::

        class LargeRequest(Request):
            max_content = 1 << 30
            proxies = ["10.0.0.0/8"]

    Attributes:
        max_content: Bytes of content that are accepted, with the files of a form (16 MiB).
        max_memory: Bytes of `body`, of JSON, or of a form's fields together (1 MiB).
        max_fields: Fields of a form, or of the query (1000).
        max_files: Files of a form (100).
        library: Parses forms with files: "werkzeug" or "webob"; None for the first of them that
            is installed.
        proxies: Addresses and networks of proxies that are believed what they say about `client`;
            "unix" for whoever asks over a Unix socket.
        proxies_header: Where they say it. They must do so in each request, or else the client can.
        environ: What it is a view of.
    """

    library: ClassVar[Literal["werkzeug", "webob"] | None] = None
    proxies: ClassVar[Sequence[str]] = ()
    proxies_header: ClassVar[Literal["X-Forwarded-For", "Forwarded"]] = "X-Forwarded-For"
    _proxies: ClassVar[Proxies] = Proxies()

    def __init_subclass__(cls) -> None:
        cls._proxies = Proxies(cls.proxies, cls.proxies_header)

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ
        self._query: Fields[str] | None = None
        self._cookies: Fields[str] | None = None
        self._urlencoded: Form | None = None

    @classmethod
    def __wsgi_bind__(cls, environ: dict[str, Any]) -> Iterator[Request]:
        yield cls(environ)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {self.target}>"

    # -- the head ----------------------------------------------------------------------------

    @property
    def method(self) -> str:
        """GET, POST ..."""
        method: str = self.environ["REQUEST_METHOD"]
        return method

    @property
    def target(self) -> str:
        """Path and query as the client sent them, or close to it if the server does not tell."""
        environ = self.environ
        target: str = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
        if not target:
            path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
            query = environ.get("QUERY_STRING", "")
            target = quote(path, encoding="latin-1") + (f"?{query}" if query else "")
        return target

    @property
    def path(self) -> str:
        """The path below the one at which the application stands, decoded."""
        return _decode(self.environ.get("PATH_INFO", ""))

    @property
    def headers(self) -> Headers:
        """The header fields, by names in any case."""
        return Headers(self.environ)

    @property
    def query(self) -> Fields[str]:
        """The fields of the query."""
        if self._query is None:
            query: str = self.environ.get("QUERY_STRING", "")
            self._query = parse_urlencoded(query.encode("latin-1"), self.max_fields)
        return self._query

    @property
    def cookies(self) -> Fields[str]:
        """The cookies; of those with the same name the first has the closest path."""
        if self._cookies is None:
            self._cookies = Fields(_cookies(self.environ.get("HTTP_COOKIE", "")))
        return self._cookies

    @property
    def client(self) -> str:
        """The address of the client; "" if that is not known.

        The one at the other end of the connection or, if that is one of `proxies`, whom it asks
        for.
        """
        return self._proxies.client(self.environ)

    @property
    def content_type(self) -> str:
        """The type of the content, without parameters, in lower case; "" if there is none."""
        content_type: str = self.environ.get("CONTENT_TYPE", "")
        return content_type.partition(";")[0].strip().lower()

    # -- the content -------------------------------------------------------------------------

    @property
    def body(self) -> bytes:
        """The content, up to `max_memory`; blocks until it has come."""
        body: bytes = self._take("body", self._read)
        return body

    def json(self) -> Any:
        """Return what the content says, which must be JSON by its type, too; blocks like `body`."""
        kind = self.content_type
        if kind != "application/json" and not kind.endswith("+json"):
            # A page of another site can send JSON, but not under this name without being allowed.
            raise RemoteProtocolError("the content must be application/json", 415)
        try:
            return _decode_json(self.body.decode())
        except (ValueError, RecursionError):
            raise RemoteProtocolError("the content is not JSON") from None

    @property
    def form(self) -> Fields[str]:
        """The fields of the form that is the content; blocks until it has come."""
        return self._form().fields

    @property
    def files(self) -> Fields[Upload]:
        """The files of the form that is the content; blocks until it has come.

        Needs Werkzeug or WebOb.
        """
        return self._form().files

    def _form(self) -> Form:
        kind = self.content_type
        if kind == "multipart/form-data":
            form: Form = self._take("form", self._read_multipart)
            return form
        if kind == "application/x-www-form-urlencoded":
            if self._urlencoded is None:
                self._urlencoded = Form(parse_urlencoded(self.body, self.max_fields), Fields())
            return self._urlencoded
        if kind:
            raise RemoteProtocolError("the content must be a form", 415)
        return Form(Fields(), Fields())

    def _read(self) -> bytes:
        return Content(self.environ, self.max_memory).read_all()

    def _read_multipart(self) -> Form:
        environ = self.environ
        content = Content(environ, self.max_content)
        closing = environ.get("wsgi_lite.closing", _keep)
        return parse_multipart(content, environ["CONTENT_TYPE"], self, self.library, closing)

    def _take(self, what: str, read: Callable[[], Any]) -> Any:
        """Return what `read` makes of the content; the same for all who ask for it."""
        environ = self.environ
        source = environ["wsgi.input"]
        taken = environ.get(_CONTENT)
        if taken is None or taken.source is not source:
            taken = environ[_CONTENT] = _Taken(source, what)
            taken.value = read()
        elif taken.what != what or taken.value is None:
            raise LocalProtocolError(f"the content has been read already, as a {taken.what}")
        return taken.value


class _Taken:
    """What has become of the content of a request; no value if that has failed."""

    def __init__(self, source: object, what: str) -> None:
        self.source = source
        self.what = what
        self.value: Any = None


class Headers(Mapping[str, str]):
    """The header fields of a request; one that is not there raises as `Fields` do."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ

    def __getitem__(self, name: str) -> str:
        key = name.upper().replace("-", "_")
        bare = key in _BARE
        value: str | None = self._environ.get(key if bare else "HTTP_" + key)
        if value is None or (bare and not value):
            raise MissingField(name)
        return value

    def __iter__(self) -> Iterator[str]:
        for key, value in self._environ.items():
            if key.startswith("HTTP_"):
                yield key[5:].replace("_", "-").title()
            elif key in _BARE and value:
                yield key.replace("_", "-").title()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)})"


# Servers give them without HTTP_, and empty ones where there are none.
_BARE: Final = ("CONTENT_TYPE", "CONTENT_LENGTH")


def _keep(thing: Any) -> Any:
    """Stand in for ``wsgi_lite.closing``: what is forgotten is closed all the same."""
    return thing


def _decode(text: str) -> str:
    """Return what WSGI gives as latin-1 as the UTF-8 that it is."""
    return text.encode("latin-1").decode(errors="replace")


def _cookies(header: str) -> Iterator[tuple[str, str]]:
    # One by one: SimpleCookie.load gives up at the first that it does not like.
    for pair in header.split(";"):
        name, equals, value = pair.partition("=")
        if equals:
            yield _decode(name.strip()), _decode(_unquote(value.strip())[0])


_unquote: Final = SimpleCookie().value_decode


def _refuse(constant: str) -> None:
    raise ValueError(constant)


# NaN and Infinity are Python's, and not JSON (RFC 8259 6).
_decode_json: Final = JSONDecoder(parse_constant=_refuse).decode
