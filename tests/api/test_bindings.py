"""Arguments that come out of the environ: rules, `bind`, `lite` with rules."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from gserver.api import bind, is_lite, iter_bindings, lighten, lite, mark_lite, with_bindings
from gserver.api.lite import LiteApplication, native
from lite_tools import CLOSING, Closer, Environ, StartResponse, run_wsgi

ENVIRON: Environ = {"w": 0, "x": 1, "y": 2, "z": 3}


def some(environ: Environ) -> Iterator[Any]:
    """Find whatever of two keys there is."""
    for key in ("x", "y"):
        if key in environ:
            yield environ[key]


class Request:
    """A class that is its own rule."""

    def __init__(self, environ: Environ) -> None:
        self.environ = environ

    @classmethod
    def __wsgi_bind__(cls, environ: Environ) -> Iterator[Request]:
        yield cls(environ)


class Both:
    """Can be called and bound; bound it is what counts."""

    @staticmethod
    def __wsgi_bind__(environ: Environ) -> Iterator[Any]:
        return some(environ)

    def __call__(self, environ: Environ) -> Any:
        raise NotImplementedError


class Text(str):
    """No key of the environ is of a subclass of str."""


# -- iter_bindings ---------------------------------------------------------------------------------

RULES: dict[str, tuple[Any, list[Any]]] = {
    "a key": ("x", [1]),
    "a key that is missing": ("missing", []),
    "several": (["x", "y"], [1, 2]),
    "several, one missing": (("missing", "y"), [2]),
    "none": ((), []),
    "nested": (["w", ["x", ("y",)], "z"], [0, 1, 2, 3]),
    "a function": (some, [1, 2]),
    "a function that finds nothing": (lambda environ: (), []),
    "a function among others": (["w", some, "z"], [0, 1, 2, 3]),
    "a function that gives a list": (lambda environ: [environ["x"]], [1]),
    "an object with __wsgi_bind__": (Both(), [1, 2]),
    "a class with __wsgi_bind__": (Both, [1, 2]),
    "a class among others": (["w", Both], [0, 1, 2]),
    "a generator": ((key for key in "xy"), [1, 2]),
}


@pytest.mark.parametrize(("rule", "found"), RULES.values(), ids=RULES)
def test_a_rule_finds(rule: Any, found: list[Any]) -> None:
    assert list(iter_bindings(rule, ENVIRON)) == found


@pytest.mark.parametrize("rule", [1, None, 1.5, Text("x"), ["w", 1]], ids=repr)
def test_what_is_no_rule_is_refused(rule: Any) -> None:
    with pytest.raises(TypeError, match="a rule is a key, a function"):
        list(iter_bindings(rule, ENVIRON))


def test_nothing_is_looked_up_before_it_is_asked_for() -> None:
    def fail(environ: Environ) -> Iterator[Any]:
        raise NotImplementedError
        yield

    assert next(iter_bindings(["x", fail], ENVIRON)) == 1


# -- with_bindings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "value"),
    [("x", 1), (["missing", "y"], 2), (["y", "x"], 2), (some, 1), ("missing", 99), ((), 99)],
    ids=["key", "second", "both", "callable", "missing", "empty"],
)
def test_the_first_that_is_found_is_taken(rule: Any, value: int) -> None:
    """And if there is none, the default of the function."""
    assert with_bindings({"a": rule}, lambda environ, a=99: a, ENVIRON) == value


def test_a_value_of_none_is_one() -> None:
    assert with_bindings({"a": "x"}, lambda environ, a=99: a, {"x": None}) is None


def test_no_more_is_looked_up_than_the_first() -> None:
    calls: list[str] = []

    def found(environ: Environ) -> Iterator[Any]:
        calls.append("found")
        yield 1
        calls.append("more")

    assert with_bindings({"a": [found, found]}, lambda environ, a: a, {}) == 1
    assert calls == ["found"]


def test_an_argument_that_nothing_is_found_for_is_missing() -> None:
    with pytest.raises(TypeError, match="'a'"):
        with_bindings({"a": "missing"}, lambda environ, a: a, ENVIRON)


# -- decorators ------------------------------------------------------------------------------------

Decorators = pytest.mark.parametrize("decorator", [bind, lite], ids=["bind", "lite"])


@Decorators
def test_a_decorator_that_is_kept_has_a_name(decorator: Any) -> None:
    with_x = decorator("with_x", "Bind x.", "shop", x="x")
    assert (with_x.__name__, with_x.__doc__, with_x.__module__) == ("with_x", "Bind x.", "shop")
    named = decorator("with_x", __doc__="Bind x.", __module__="shop", x="x")
    assert (named.__name__, named.__doc__, named.__module__) == ("with_x", "Bind x.", "shop")


@Decorators
def test_a_decorator_that_has_no_name_is_given_one(decorator: Any) -> None:
    assert decorator(x="x").__name__ == "with_x"
    assert decorator(x="x", y="y").__name__ == "with_x_y"
    assert decorator(x="x").__doc__ is None
    assert isinstance(decorator(x="x").__module__, str)


@Decorators
@pytest.mark.parametrize(
    "function",
    [
        lambda environ, y: y,
        lambda environ: None,
        lambda x, /, environ: None,
        lambda environ, *x: None,
    ],
    ids=["another", "none", "by position only", "*x"],
)
def test_an_argument_that_the_function_lacks_is_refused(decorator: Any, function: Any) -> None:
    with pytest.raises(TypeError, match="has no argument 'x'"):
        decorator(x="x")(function)


def by_keyword(environ: Environ, *, x: int) -> int:
    return x


def by_any_keyword(environ: Environ, **named: Any) -> Any:
    return named["x"]


class Taking:
    def __call__(self, environ: Environ, x: int) -> int:
        return x

    def method(self, environ: Environ, x: int) -> int:
        return x


@Decorators
@pytest.mark.parametrize(
    "function",
    [by_keyword, by_any_keyword, Taking(), Taking().method, partial(by_keyword)],
    ids=["keyword only", "**named", "object", "method", "partial"],
)
def test_arguments_are_bound_by_keyword(decorator: Any, function: Any) -> None:
    assert decorator(x="x")(function)(ENVIRON) == 1


def test_a_method_s_arguments_are_checked_too() -> None:
    with pytest.raises(TypeError, match="has no argument 'y'"):
        bind(y="y")(Taking().method)


def takes_both(environ: Environ, x: int, y: int = 99) -> tuple[int, int]:
    return x, y


Order = pytest.mark.parametrize("order", [["x", "y"], ["y", "x"]], ids=str)


@Order
@pytest.mark.parametrize("kinds", [[bind, bind], [lite, lite], [bind, lite], [lite, bind]])
def test_decorators_are_stacked_in_any_order_and_are_one(order: Any, kinds: Any) -> None:
    function: Any = takes_both
    for name, kind in zip(order, kinds, strict=True):
        function = kind(**{name: name})(function)
    assert function(ENVIRON) == (1, 2)
    assert function.__wrapped__ is takes_both
    assert is_lite(function) is (lite in kinds)
    assert type(function) is (LiteApplication if lite in kinds else type(bind()(takes_both)))


def test_bare_lite_keeps_what_is_bound() -> None:
    function = lite(bind(x="x")(takes_both))  # type: ignore[arg-type]
    assert is_lite(function)
    assert function.__wrapped__ is takes_both
    assert function(ENVIRON) == (1, 99)  # type: ignore[comparison-overlap]


def test_what_is_decorated_stays_what_it_is() -> None:
    """The original changed it, and all others who used it."""
    once: Any = bind(x="x")(takes_both)
    twice: Any = bind(y="y")(once)
    assert once(ENVIRON) == (1, 99)
    assert twice(ENVIRON) == (1, 2)


@Decorators
def test_an_argument_is_not_bound_in_two_ways(decorator: Any) -> None:
    with pytest.raises(TypeError, match="x is bound to 'a' already, not to 'b'"):
        decorator(x="b")(decorator(x="a")(takes_both))
    with pytest.raises(TypeError, match="x is bound to"):
        decorator(x=("a",))(decorator(x=["a"])(takes_both))


@Decorators
def test_an_argument_may_be_bound_twice_in_the_same_way(decorator: Any) -> None:
    assert decorator(x="x")(decorator(x="x")(takes_both))(ENVIRON) == (1, 99)
    assert decorator(x=["x"])(decorator(x=["x"])(takes_both))(ENVIRON) == (1, 99)


def test_what_is_lite_but_not_made_by_lite_cannot_be_bound() -> None:
    def wsgi(environ: Environ, start_response: StartResponse, x: int = 0) -> Any:
        raise NotImplementedError

    class Instance:
        @lite
        def __call__(self, environ: Environ) -> Any:
            raise NotImplementedError

    apps: list[Any] = [lighten(wsgi), mark_lite(lambda e, s=None: None), Instance(), lite.app]
    for app in apps:
        with pytest.raises(TypeError, match="no argument can be bound"):
            lite(x="x")(app)


# -- what is bound ---------------------------------------------------------------------------------


def noted(self: Any, environ: Environ, x: int, y: int = 99) -> tuple[Any, int, int]:
    """Return what it got."""
    return self, x, y


class Site:
    """Members that `bind` has decorated, above @classmethod and below."""

    method: Any = bind(y="y")(bind(x="x")(noted))
    of_class: Any = classmethod(bind(x="x")(noted))

    @staticmethod
    @bind(x="x")
    def static(environ: Environ, x: int) -> int:
        return x

    @bind(x="x")
    def __init__(self, environ: Environ, x: int) -> None:
        self.x = x


class Below(Site):
    def method(self, environ: Environ) -> Any:
        return "below", *Site.method(self, environ)


@pytest.mark.parametrize("kind", [dict, type("Environment", (dict,), {})], ids=["dict", "subclass"])
def test_methods_are_bound(kind: Any) -> None:
    environ = kind(ENVIRON)
    site = Site(environ)
    assert site.x == 1
    assert site.method(environ) == (site, 1, 2)
    assert Site.method(site, environ) == (site, 1, 2)
    assert Site.of_class(environ) == site.of_class(environ) == (Site, 1, 99)
    assert Below.of_class(environ) == (Below, 1, 99)
    assert Site.static(environ) == site.static(environ) == 1
    below = Below(environ)
    assert below.method(environ) == ("below", below, 1, 2)


def test_what_is_bound_keeps_its_name() -> None:
    function: Any = bind(x="x")(noted)
    assert (function.__name__, function.__doc__) == ("noted", "Return what it got.")
    assert function.__module__ == __name__
    assert not is_lite(function)


def test_a_rule_may_have_rules() -> None:
    events: list[str] = []

    @bind(closing=CLOSING)
    def temporary(environ: Environ, closing: Callable[[Any], Any]) -> Iterator[Closer]:
        yield closing(Closer(events, "temporary"))

    class Session:
        def __init__(self, user: str) -> None:
            self.user = user

        @classmethod
        @bind(user="REMOTE_USER")
        def __wsgi_bind__(cls, environ: Environ, user: str = "nobody") -> Iterator[Session]:
            yield cls(user)

    @lite(one=temporary, two=temporary, session=Session)
    def app(environ: Environ, one: Closer, two: Closer, session: Session) -> Any:
        assert one is not two
        return "200 OK", [], [session.user.encode()]

    assert run_wsgi(app, {"REMOTE_USER": "you"})[2] == b"you"
    assert run_wsgi(app)[2] == b"nobody"
    assert events == ["temporary"] * 4


def test_values_are_those_from_before_the_call() -> None:
    """WSGI lets whoever is called change the environ."""

    @lite
    def inner(environ: Environ) -> Any:
        environ["PATH_INFO"] = "/changed"
        return "200 OK", [], []

    @lite(path="PATH_INFO")
    def outer(environ: Environ, path: str) -> Any:
        inner(environ)
        return "200 OK", [], [path.encode()]

    assert run_wsgi(outer, {"PATH_INFO": "/asked"})[2] == b"/asked"


# -- Lite applications with rules --------------------------------------------------------------


@lite(path="PATH_INFO", request=Request, user=["shop.user", "REMOTE_USER"])
def page(environ: Environ, path: str, request: Request, user: str = "nobody") -> Any:
    """Show a page."""
    assert request.environ is environ
    return "200 OK", [("X-A", "1")], [f"{path} for {user}".encode()]


class Pages:
    @lite(path="PATH_INFO")
    def method(self, environ: Environ, path: str) -> Any:
        return "200 OK", [("X-A", "1")], [f"{path} for nobody".encode()]

    @classmethod
    @lite(path="PATH_INFO")
    def of_class(cls, environ: Environ, path: str) -> Any:
        return cls().method(environ)

    @lite(path="PATH_INFO")
    def __call__(self, environ: Environ, path: str) -> Any:
        return self.method(environ)


class Page(lite.app):
    @bind(user=["shop.user", "REMOTE_USER"])
    def __init__(self, environ: Environ, user: str = "nobody") -> None:
        self.user = user

    @lite(path="PATH_INFO")
    def app(self, environ: Environ, path: str) -> Any:
        return "200 OK", [("X-A", "1")], [f"{path} for {self.user}".encode()]


BOUND: dict[str, Any] = {
    "function": page,
    "method": Pages().method,
    "classmethod": Pages.of_class,
    "instance": Pages(),
    "class": Page,
}


@pytest.mark.parametrize("app", BOUND.values(), ids=BOUND)
def test_a_bound_application_is_called_in_all_ways(app: Any) -> None:
    expected = ("200 OK", [("X-A", "1")], [b"/tea for nobody"])
    environ = {"PATH_INFO": "/tea"}
    assert app(environ) == expected
    assert app(environ, None) == expected
    assert run_wsgi(app, environ) == (*expected[:2], b"/tea for nobody")
    called, with_environ_alone = native(app)
    assert called(environ) == expected
    assert with_environ_alone
    assert is_lite(app)


def test_the_server_s_call_goes_through_no_adapter() -> None:
    callers: list[str] = []

    @lite(x="x")
    def app(environ: Environ, x: int) -> Any:
        callers.append(sys._getframe(1).f_code.co_name)
        callers.append(sys._getframe(2).f_code.co_name)
        return "200 OK", [], []

    native(app)[0](ENVIRON)
    assert callers == ["<lambda>", "test_the_server_s_call_goes_through_no_adapter"]


# -- how lite is not used ------------------------------------------------------------------------

MISUSES: dict[str, Callable[[], object]] = {
    "no argument": lambda: lite(),
    "a name without rules": lambda: lite("with_x"),
    "a function and a docstring": lambda: lite(page, "Bind x."),  # type: ignore[call-overload]
    "a module without rules": lambda: lite(__module__="shop"),
    "a function and rules": lambda: lite(page, x="x"),  # type: ignore[call-overload]
    "neither function nor name": lambda: lite(1, x="x"),  # type: ignore[call-overload]
}


@pytest.mark.parametrize("use", MISUSES.values(), ids=MISUSES)
def test_misuse_of_lite_tells_the_right_use(use: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match=r"@lite, @lite\(\*\*rules\)"):
        use()


# -- lite.wraps ------------------------------------------------------------------------------------


def polite(app: Any) -> Any:
    """Ask for a user first."""

    @lite.wraps(app, user="REMOTE_USER")
    def wrapper(app: Any, environ: Environ, user: str | None = None) -> Any:
        if user is None:
            return "401 Unauthorized", [], [b"who?"]
        status, headers, body = app(environ)
        return status, [*headers, ("X-User", user)], body

    return wrapper


@polite
def function(environ: Environ) -> Any:
    """Say hello."""
    return "200 OK", [], [b"hello"]


@polite
@lite(path="PATH_INFO")
def bound_function(environ: Environ, path: str = "") -> Any:
    return "200 OK", [], [b"hello"]


class Members:
    @polite
    def method(self, environ: Environ) -> Any:
        assert isinstance(self, Members)
        return "200 OK", [], [b"hello"]

    @classmethod
    @polite
    def of_class(cls, environ: Environ) -> Any:
        assert cls is Members
        return "200 OK", [], [b"hello"]

    @polite
    @lite
    def lite_method(self, environ: Environ) -> Any:
        assert isinstance(self, Members)
        return "200 OK", [], [b"hello"]

    @polite
    @lite(path="PATH_INFO")
    def bound_method(self, environ: Environ, path: str = "") -> Any:
        assert isinstance(self, Members)
        return "200 OK", [], [b"hello"]

    @lite
    @polite
    def marked_method(self, environ: Environ) -> Any:
        assert isinstance(self, Members)
        return "200 OK", [], [b"hello"]

    @polite
    @lite
    def __call__(self, environ: Environ) -> Any:
        assert isinstance(self, Members)
        return "200 OK", [], [b"hello"]


class PolitePage(lite.app):
    @polite
    def app(self, environ: Environ) -> Any:
        return "200 OK", [], [b"hello"]


WRAPPED: dict[str, tuple[Any, bool]] = {
    "function": (function, False),
    "lite function": (polite(lite(lambda environ: ("200 OK", [], [b"hello"]))), True),
    "bound function": (bound_function, True),
    "method": (Members().method, False),
    "classmethod": (Members.of_class, False),
    "lite method": (Members().lite_method, True),
    "bound method": (Members().bound_method, True),
    "lite around it": (Members().marked_method, True),
    "instance": (Members(), True),
    "lite.app": (PolitePage, True),
    "lightened": (polite(lighten(lambda e, s: s("200 OK", []) and [b"hello"])), True),
}


@pytest.mark.parametrize(("app", "lite_itself"), WRAPPED.values(), ids=WRAPPED)
def test_decorators_by_wraps_fit_all_kinds_of_targets(app: Any, lite_itself: bool) -> None:
    known = {"REMOTE_USER": "you"}
    assert app(dict(known)) == ("200 OK", [("X-User", "you")], [b"hello"])
    assert app({}) == ("401 Unauthorized", [], [b"who?"])
    assert run_wsgi(app, dict(known)) == ("200 OK", [("X-User", "you")], b"hello")
    assert run_wsgi(app)[0] == "401 Unauthorized"
    assert is_lite(app) is lite_itself
    called, with_environ_alone = native(app)
    assert with_environ_alone is lite_itself
    if with_environ_alone:
        assert called(dict(known))[0] == "200 OK"
    else:
        assert run_wsgi(called, dict(known))[0] == "200 OK"


def test_a_wrapped_function_keeps_its_name() -> None:
    assert (function.__name__, function.__doc__) == ("function", "Say hello.")


def test_a_target_need_not_be_an_application() -> None:
    def as_text(target: Any) -> Any:
        @lite.wraps(target)
        def wrapper(target: Any, environ: Environ) -> Any:
            return "200 OK", [], [str(target(environ, 20)).encode()]

        return lite(wrapper)

    @as_text
    def double(environ: Environ, number: int) -> int:
        return 2 * number + int(environ["more"])

    class Sums:
        @as_text
        def triple(self, environ: Environ, number: int) -> int:
            return 3 * number + int(environ["more"])

    assert run_wsgi(double, {"more": 2})[2] == b"42"
    assert run_wsgi(Sums().triple, {"more": 2})[2] == b"62"


def test_a_wrapper_need_not_answer() -> None:
    """Decorators of this kind can be put on top of each other."""

    def doubled(target: Any) -> Any:
        @lite.wraps(target)
        def wrapper(target: Any, environ: Environ) -> Any:
            return 2 * target(environ)

        return wrapper

    number = doubled(doubled(lambda environ: environ["number"]))
    assert number({"number": 3}) == 12


@pytest.mark.parametrize("decorator", [bind(z="z"), lite(z="z")], ids=["bind", "lite"])
def test_arguments_of_a_wrapper_are_bound_below(decorator: Any) -> None:
    def wrapper(app: Any, environ: Environ, x: int, z: int) -> Any:
        return x, z, app(environ)

    def decorate(app: Any) -> Any:
        return lite.wraps(app, x="x")(decorator(wrapper))

    assert decorate(lambda environ: environ["y"])(ENVIRON) == (1, 3, 2)
    with pytest.raises(TypeError, match=r"below lite\.wraps"):
        decorator(decorate(takes_both))


def test_an_argument_that_a_wrapper_lacks_is_refused() -> None:
    def wrapper(app: Any, environ: Environ) -> Any:
        raise NotImplementedError

    with pytest.raises(TypeError, match="has no argument 'x'"):
        lite.wraps(page, x="x")(wrapper)
