"""What type checkers must accept; never run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from typing_extensions import assert_type

from gserver.api import (
    WSGIViolation,
    bind,
    is_lite,
    iter_bindings,
    lighten,
    lite,
    mark_lite,
    to_wsgi,
    with_bindings,
)
from gserver.api.lite import LiteApplication, Response

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
LiteFunction = Callable[[Environ], Response]


def start_response(status: str, headers: Headers) -> Callable[[bytes], None]:
    raise NotImplementedError


def wsgi(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [])
    return [b"content"]


# -- functions -------------------------------------------------------------------------------------


@lite
def of_list(environ: Environ) -> tuple[str, Headers, list[bytes]]:
    return "200 OK", [], [b"content"]


@lite
def of_generator(environ: Environ) -> tuple[str, Headers, Iterator[bytes]]:
    return "200 OK", [("Content-Type", "text/plain")], (block for block in [b"content"])


@lite
def of_another(environ: Environ) -> Response:
    return of_list(environ)


@lite
def of_base(environ: dict[str, object]) -> Response:
    return "200 OK", [], []


assert_type(of_list, LiteApplication)
assert_type(of_list({}), Response)
assert_type(of_list(environ={}), Response)
assert_type(of_list({}, None), Response)
assert_type(of_list({}, start_response), Iterable[bytes])
assert_type(of_list({}, start_response=start_response), Iterable[bytes])
assert_type(lite(of_list), LiteApplication)
assert_type(lite(lambda environ: ("200 OK", [], [b"content"])), LiteApplication)
status, headers, body = of_generator({})
assert_type(status, str)
assert_type(headers, Headers)
assert_type(body, Iterable[bytes])
as_function: LiteFunction = of_list
as_wsgi: Callable[[Environ, Callable[..., Any]], Iterable[bytes]] = of_list

# -- WSGI ------------------------------------------------------------------------------------------

assert_type(lighten(wsgi)({}), Response)
assert_type(lighten(wsgi, writes=True)({}, start_response), Iterable[bytes])
assert_type(lighten(of_list)({}), Response)
assert_type(to_wsgi(of_list)({}, start_response), Iterable[bytes])
assert_type(is_lite(wsgi), bool)
assert_type(mark_lite(wsgi)({}, start_response), list[bytes])
lighten(wsgi).config["DEBUG"] = True

try:
    lighten(wsgi)({})
except WSGIViolation as violation:
    assert_type(violation.status, int)

# -- bindings --------------------------------------------------------------------------------------


class Request:
    def __init__(self, environ: Environ) -> None:
        self.environ = environ

    @classmethod
    def __wsgi_bind__(cls, environ: Environ) -> Iterator[Request]:
        yield cls(environ)


@bind(user="REMOTE_USER")
def session(environ: Environ, user: str = "nobody") -> list[str]:
    return [user]


assert_type(session({}), list[str])
assert_type(list(iter_bindings(["a", session, Request], {})), list[Any])
assert_type(with_bindings({"user": "REMOTE_USER"}, lambda environ, user: 1, {}), int)


@lite(path="PATH_INFO", request=Request, user=("shop.user", session, ["REMOTE_USER"]))
def bound(environ: Environ, path: str, request: Request, *, user: str = "nobody") -> Response:
    return "200 OK", [], [path.encode()]


with_path = lite("with_path", "Bind the path.", "shop", path="PATH_INFO")


@with_path
@bind(user="REMOTE_USER")
@lite(request=Request)
def stacked(environ: Environ, path: str, request: Request, user: str = "") -> Response:
    return bound(environ)


assert_type(bound, LiteApplication)
assert_type(bound({}), Response)
assert_type(with_path(stacked)({}, start_response), Iterable[bytes])

# -- methods and classmethods ----------------------------------------------------------------------


class Site:
    @bind(user="REMOTE_USER")
    def __init__(self, environ: Environ, user: str = "") -> None:
        self.user = user

    @lite
    def page(self, environ: Environ) -> Response:
        return "200 OK", [], []

    @lite(path="PATH_INFO")
    def bound_page(self, environ: Environ, path: str) -> Response:
        return self.page(environ)

    @classmethod
    @lite
    def of_class(cls, environ: Environ) -> Response:
        return cls(environ).page(environ)

    @classmethod
    @lite(path="PATH_INFO")
    def bound_of_class(cls, environ: Environ, path: str) -> Response:
        return cls.of_class(environ)

    @staticmethod
    @lite
    def static(environ: Environ) -> Response:
        return "200 OK", [], []

    @lighten
    def old(self, environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
        return wsgi(environ, start_response)

    @bind(user="REMOTE_USER")
    def helper(self, environ: Environ, user: str = "") -> int:
        return len(user)

    @lite
    def __call__(self, environ: Environ) -> Response:
        return self.page(environ)


site = Site({})
assert_type(site, Site)
assert_type(site.page({}), Response)
assert_type(site.page({}, start_response), Iterable[bytes])
assert_type(site.bound_page({}), Response)
assert_type(Site.of_class({}), Response)
assert_type(site.bound_of_class({}), Response)
assert_type(Site.static({}), Response)
assert_type(site.old({}), Response)
assert_type(site.helper({}), int)
assert_type(Site.helper(site, {}), int)
as_method: LiteFunction = site.page
as_classmethod: LiteFunction = Site.of_class

# -- instances and classes -------------------------------------------------------------------------

assert_type(site({}), Response)
assert_type(site({}, start_response), Iterable[bytes])
assert_type(to_wsgi(site)({}, start_response), Iterable[bytes])


class Plain(lite.app):
    def __init__(self, environ: Environ) -> None:
        super().__init__(environ)
        self.path = environ["PATH_INFO"]

    def app(self, environ: Environ) -> Response:
        return "200 OK", [], [self.path.encode()]


class Bound(lite.app):
    @bind(path="PATH_INFO")
    def __init__(self, environ: Environ, path: str) -> None:
        super().__init__(environ)
        self.path = path

    @lite(user="REMOTE_USER")
    def app(self, environ: Environ, user: str = "") -> Response:
        return "200 OK", [], [self.path.encode()]


assert_type(lite(Plain)({}), Response)
assert_type(lighten(Bound)({}, start_response), Iterable[bytes])
assert_type(to_wsgi(Bound)({}, start_response), Iterable[bytes])

# -- decorators ------------------------------------------------------------------------------------


def polite(app: LiteFunction) -> LiteApplication:
    @lite.wraps(app, user="REMOTE_USER")
    def wrapper(app: LiteFunction, environ: Environ, user: str | None = None) -> Response:
        return ("401 Unauthorized", [], []) if user is None else app(environ)

    return wrapper


def as_text(number: Callable[[Environ], int]) -> Callable[[Environ], str]:
    @lite.wraps(number)
    def wrapper(number: Callable[[Environ], int], environ: Environ) -> str:
        return str(number(environ))

    return wrapper


@polite
@lite
def for_users(environ: Environ) -> Response:
    return "200 OK", [], []


assert_type(for_users({}), Response)
assert_type(as_text(lambda environ: 1)({}), str)
