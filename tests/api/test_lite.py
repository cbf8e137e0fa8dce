"""`gserver.api.lite` by itself, without a server: adapters in both directions."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from types import FunctionType, MethodType
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from gserver.api import WSGIViolation, bind, is_lite, lighten, lite, mark_lite, to_wsgi
from gserver.api.lite import LightenedApplication, LiteApplication, native
from lite_tools import (
    CLOSING,
    Body,
    Boom,
    Closer,
    Environ,
    Headers,
    StartResponse,
    fail,
    run_wsgi,
    with_closing,
)


@lite
def hello_lite(environ: Environ) -> tuple[str, Headers, list[bytes]]:
    """Say hello."""
    return "200 Lite", [("X-A", "1")], [b"hello"]


def hello_wsgi(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Say hello."""
    start_response("200 WSGI", [("X-A", "1")])
    return [b"hello"]


# -- both adapters -------------------------------------------------------------------------------


@pytest.mark.parametrize("app", [hello_lite, lighten(hello_wsgi)], ids=["lite", "lightened"])
def test_both_calls_work(app: Any) -> None:
    status, headers, body = app({})
    assert (headers, list(body)) == ([("X-A", "1")], [b"hello"])
    # What tells the calls apart is whether the second argument is None, nothing else.
    assert app({}, None) == (status, headers, body)
    assert run_wsgi(app) == (status, headers, b"hello")


@pytest.mark.parametrize("app", [hello_lite, lighten(hello_wsgi)], ids=["lite", "lightened"])
def test_name_and_docstring_are_kept(app: Any) -> None:
    assert app.__name__ in ("hello_lite", "hello_wsgi")
    assert app.__qualname__ == app.__name__
    assert app.__doc__ == "Say hello."
    assert app.__module__ == __name__
    assert next(iter(inspect.signature(app).parameters)) == "environ"


def test_adapters_leave_alone_what_is_lite() -> None:
    lightened = lighten(hello_wsgi)
    for app in (hello_lite, lightened):
        assert lite(app) is app
        assert lighten(app) is app


def test_lite_returns_the_applications_own_objects() -> None:
    response = ("200 OK", [("X-A", "1")], [b"hello"])
    assert lite(lambda environ: response)({}) is response


def test_lightened_returns_the_applications_own_objects() -> None:
    headers: Headers = [("X-A", "1")]
    body = [b"", b"hello"]

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", headers)
        return body

    response = lighten(app)({})
    assert response[1] is headers
    assert response[2] is body


def test_the_environ_is_passed_on_as_it_is() -> None:
    seen: list[Environ] = []

    def app(environ: Environ) -> Any:
        seen.append(environ)
        return "200 OK", [], []

    environ: Environ = {}
    lite(app)(environ)
    run_wsgi(lite(app), environ)
    assert seen[0] is seen[1] is environ


def test_a_dict_subclass_is_an_environ_too() -> None:
    """The original took anything that is not exactly a dict for `self`."""
    assert hello_lite(OrderedDict())[0] == "200 Lite"
    assert lighten(hello_wsgi)(OrderedDict())[0] == "200 WSGI"
    assert run_wsgi(hello_lite, OrderedDict())[0] == "200 Lite"


def test_a_plain_application_stays_what_it_is() -> None:
    lighten(hello_wsgi)
    assert not is_lite(hello_wsgi)
    environ: Environ = {}
    assert run_wsgi(hello_wsgi, environ) == ("200 WSGI", [("X-A", "1")], b"hello")
    assert CLOSING not in environ


@pytest.mark.parametrize("adapter", [lite, lighten])
@pytest.mark.parametrize("thing", ["name", None, 1, {}, [hello_wsgi]], ids=type)
def test_what_cannot_be_called_is_refused(adapter: Any, thing: Any) -> None:
    with pytest.raises(TypeError, match="takes"):
        adapter(thing)


@pytest.mark.parametrize("arguments", [(), (hello_wsgi, "doc")])
def test_lighten_takes_one_argument(arguments: Any) -> None:
    with pytest.raises(TypeError):
        lighten(*arguments)


# -- arguments -----------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Any, Environ, StartResponse], Any]] = {
    "by position": lambda app, environ, start: app(environ, start),
    "the second by keyword": lambda app, environ, start: app(environ, start_response=start),
    "by keyword": lambda app, environ, start: app(start_response=start, environ=environ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_arguments_may_have_names(call: Any, kind: Any) -> None:
    """In the original they had none, and what is not exactly a dict was taken for `self`."""
    apps: list[Any] = [hello_lite, lighten(hello_wsgi), Site().method, Site.of_class, App]
    for app in apps:
        heads: list[str] = []
        blocks = list(call(app, kind(), lambda status, headers, heads=heads: heads.append(status)))
        assert len(heads) == 1
        assert call(app, kind(), None) == (heads[0], call(app, kind(), None)[1], blocks)
        assert app(environ=kind())[0] == heads[0]


@pytest.mark.parametrize("app", [hello_lite, lighten(hello_wsgi)], ids=["lite", "lightened"])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), {}),
        ((), {"start_response": str}),
        ((object(), {}, str, str), {}),
        (({},), {"path": "/"}),
    ],
    ids=["none", "no environ", "too many", "unknown"],
)
def test_other_arguments_are_an_error(app: Any, arguments: Any, named: Any) -> None:
    with pytest.raises(TypeError):
        app(*arguments, **named)


# -- is_lite, mark_lite, native ------------------------------------------------------------------


class Member:
    """A callable that is no descriptor, as functions are."""

    def __call__(self, environ: Environ) -> Any:
        return "200 member", [], [b""]


class Site:
    """Applications as members of a class."""

    def __init__(self, name: str = "site") -> None:
        self.name = name

    @lite
    def method(self, environ: Environ) -> Any:
        return f"200 {self.name}", [], [b""]

    @classmethod
    @lite
    def of_class(cls, environ: Environ) -> Any:
        return f"200 {cls.__name__}", [], [b""]

    @staticmethod
    @lite
    def static(environ: Environ) -> Any:
        return "200 static", [], [b""]

    @lite
    @staticmethod
    def static_inside(environ: Environ) -> Any:
        return "200 static", [], [b""]

    @lighten
    def wsgi(self, environ: Environ, start_response: StartResponse) -> Any:
        start_response(f"200 {self.name}", [])
        return [b""]

    @classmethod
    @lighten
    def wsgi_of_class(cls, environ: Environ, start_response: StartResponse) -> Any:
        start_response(f"200 {cls.__name__}", [])
        return [b""]

    member = lite(Member())


class App(lite.app):
    """A class that is an application itself."""

    def __init__(self, environ: Environ) -> None:
        self.status = environ.get("status", "200 App")

    def app(self, environ: Environ) -> Any:
        return self.status, [], [b""]


class LiteApp(lite.app):
    """Has a method that is an application, too."""

    @lite
    def app(self, environ: Environ) -> Any:
        return "200 LiteApp", [], [b""]


class LightenedApp(App):
    """Has a method in the old manner, and inherits the rest."""

    @lighten
    def app(self, environ: Environ, start_response: StartResponse) -> Any:
        start_response(f"{self.status} lightened", [])
        return [b""]


class Callable_:
    """Its instances are applications."""

    @lite
    def __call__(self, environ: Environ) -> Any:
        return "200 instance", [], [b""]


class Marked:
    """Keeps to both conventions by itself."""

    @mark_lite
    def __call__(self, environ: Environ, start_response: Any = None) -> Any:
        return "200 marked", [], [b""]


class MarkedClass:
    """A class whose mark says that calling the class itself is Lite."""

    __wsgi_lite__ = True


class Falsely:
    """Says that it is not."""

    __wsgi_lite__ = False

    def __call__(self, environ: Environ) -> Any:
        raise NotImplementedError


class Holder:
    """Has a Lite application, and is none."""

    app = hello_lite

    def __call__(self, environ: Environ, start_response: StartResponse) -> Any:
        raise NotImplementedError


class Borrower:
    """Its __call__ is bound to something else: calling it has another meaning."""

    def __init__(self, instance: Any) -> None:
        self.__call__ = instance.__call__


IS_LITE: dict[str, tuple[Any, bool]] = {
    "lite function": (hello_lite, True),
    "lightened function": (lighten(hello_wsgi), True),
    "plain function": (hello_wsgi, False),
    "lambda": (lambda environ: None, False),
    "builtin": (len, False),
    "method": (Site().method, True),
    "method of the class": (Site.method, True),
    "classmethod": (Site.of_class, True),
    "classmethod of an instance": (Site().of_class, True),
    "staticmethod": (Site.static, True),
    "lightened method": (Site().wsgi, True),
    "plain method": (Site().__init__, False),  # type: ignore[misc]
    "instance with a lite __call__": (Callable_(), True),
    "class with a lite __call__": (Callable_, False),
    "class that is an application": (App, True),
    "instance of that": (type.__call__(App, {}), False),
    "method of that": (App.app, False),
    "lite method of that": (LiteApp.app, True),
    "the base of all": (lite.app, True),
    "bound function": (bind()(hello_lite.__wrapped__), False),
    "instance with a marked __call__": (Marked(), True),
    "class with a marked __call__": (Marked, False),
    "marked class": (MarkedClass, True),
    "falsely marked": (Falsely(), False),
    "holder": (Holder(), False),
    "borrower": (Borrower(Callable_()), False),
    "no application": (None, False),
    "string": ("app", False),
}


@pytest.mark.parametrize(("thing", "expected"), IS_LITE.values(), ids=IS_LITE)
def test_is_lite(thing: Any, expected: bool) -> None:
    assert is_lite(thing) is expected


MEMBERS = {
    "method": (Site("a").method, "200 a"),
    "another instance": (Site("b").method, "200 b"),
    "classmethod": (Site.of_class, "200 Site"),
    "classmethod of an instance": (Site().of_class, "200 Site"),
    "staticmethod": (Site.static, "200 static"),
    "staticmethod of an instance": (Site().static, "200 static"),
    "staticmethod inside": (Site().static_inside, "200 static"),
    "lightened method": (Site("c").wsgi, "200 c"),
    "lightened classmethod": (Site.wsgi_of_class, "200 Site"),
    "instance": (Callable_(), "200 instance"),
    "class": (App, "200 App"),
    "class with a lite method": (LiteApp, "200 LiteApp"),
    "class with a lightened method": (LightenedApp, "200 App lightened"),
    "classmethod of Python 3.13": (
        MethodType(Site.__dict__["of_class"].__func__, Site),
        "200 Site",
    ),
    "callable in a class": (Site().member, "200 member"),
}


@pytest.mark.parametrize(("app", "status"), MEMBERS.values(), ids=MEMBERS)
def test_members_of_classes_are_applications(app: Any, status: str) -> None:
    assert app({})[0] == status
    assert app({}, None)[0] == status
    assert run_wsgi(app) == (status, [], b"")
    called, _ = native(app)
    assert callable(called)


class Below(Site):
    """Calls what it overrides by way of the class."""

    @lite
    def method(self, environ: Environ) -> Any:
        status, headers, body = Site.method(self, environ)  # type: ignore[call-overload]
        assert Site.method(self, environ, None)[0] == status  # type: ignore[call-overload]
        return f"{status} below", headers, body

    @lighten
    def wsgi(self, environ: Environ, start_response: StartResponse) -> Any:
        return Site.wsgi(self, environ, start_response)  # type: ignore[call-overload]


def test_a_method_is_called_by_way_of_its_class() -> None:
    below = Below("a")
    environs: list[Environ] = [{}, OrderedDict()]
    for environ in environs:
        assert below.method(environ)[0] == "200 a below"
        assert run_wsgi(below.method, environ)[0] == "200 a below"
        assert run_wsgi(below.wsgi, environ)[0] == "200 a"


def test_the_environ_s_owner_may_be_a_dict_itself() -> None:
    class Registry(dict[str, Any]):
        @lite
        def page(self, environ: Environ) -> Any:
            return f"200 {len(self)} {len(environ)}", [], []

    assert Registry(a=1).page({})[0] == "200 1 0"
    assert Registry.page(Registry(a=1), {})[0] == "200 1 0"  # type: ignore[call-overload]


def test_a_class_is_an_application() -> None:
    assert lite(App)({"status": "204 No Content"}) == ("204 No Content", [], [b""])
    assert run_wsgi(App, {"status": "204 No Content"})[0] == "204 No Content"


def test_a_class_without_a_method_is_none() -> None:
    class Forgotten(lite.app):
        pass

    with pytest.raises(NotImplementedError, match="Forgotten has no method app"):
        Forgotten({})


def test_what_a_class_registers_is_closed() -> None:
    """Also when already the making of the instance fails."""
    events: list[str] = []

    class Opening(lite.app):
        @bind(closing=CLOSING)
        def __init__(self, environ: Environ, closing: Any) -> None:
            self.thing = closing(Closer(events, "thing"))
            if "fail" in environ:
                raise Boom

        @lite(closing=CLOSING)
        def app(self, environ: Environ, closing: Any) -> Any:
            closing(Closer(events, "another"))
            return "200 OK", [], [b"a"]

    assert run_wsgi(Opening)[2] == b"a"
    assert events == ["another", "thing"]
    with pytest.raises(Boom):
        run_wsgi(Opening, {"fail": True})
    assert events == ["another", "thing", "thing"]


# -- to_wsgi ---------------------------------------------------------------------------------------

TO_WSGI: dict[str, Any] = {
    "lite": hello_lite,
    "lightened": lighten(hello_wsgi),
    "method": Site().method,
    "instance": Callable_(),
    "class": App,
}


@pytest.mark.parametrize("app", TO_WSGI.values(), ids=TO_WSGI)
def test_to_wsgi_makes_a_plain_function(app: Any) -> None:
    plain = to_wsgi(app)
    assert type(plain) is FunctionType
    assert list(inspect.signature(plain).parameters) == ["environ", "start_response"]
    assert not is_lite(plain)
    assert run_wsgi(plain) == run_wsgi(app)
    assert plain.__doc__ == app.__doc__
    assert to_wsgi(plain) is plain


def test_to_wsgi_closes_things() -> None:
    events: list[str] = []

    @lite(closing=CLOSING)
    def app(environ: Environ, closing: Any) -> Any:
        closing(Closer(events, "thing"))
        return "200 OK", [], Body(events, [b"a"])

    assert run_wsgi(to_wsgi(app))[2] == b"a"
    assert events == ["body", "thing"]


def test_to_wsgi_takes_what_is_marked() -> None:
    @mark_lite
    def both(environ: Environ, start_response: Any = None) -> Any:
        if start_response is None:
            raise NotImplementedError
        start_response("200 OK", [])
        return [b"a"]

    assert run_wsgi(to_wsgi(both))[2] == b"a"


def test_to_wsgi_leaves_alone_what_is_wsgi() -> None:
    assert to_wsgi(hello_wsgi) is hello_wsgi
    with pytest.raises(TypeError, match="to_wsgi takes an application"):
        to_wsgi("app")  # type: ignore[arg-type]


# -- what is adapted is still there ------------------------------------------------------------


def test_mark_lite_returns_what_it_marked() -> None:
    def app(environ: Environ, start_response: Any = None) -> Any:
        return "200 OK", [], []

    assert not is_lite(app)
    assert mark_lite(app) is app
    assert is_lite(app)
    assert lite(app) is app
    assert lighten(app) is app


def test_attributes_of_what_is_adapted_are_reached() -> None:
    """A framework's application object is more than a callable."""

    class Framework:
        def __init__(self) -> None:
            self.config = {"debug": True}
            self.mutable = 1

        def __call__(self, environ: Environ, start_response: StartResponse) -> Any:
            return hello_wsgi(environ, start_response)

        def route(self) -> str:
            return "route"

    framework = Framework()
    app = lighten(framework)
    framework.mutable = 2
    assert app.config is framework.config
    assert app.route() == "route"
    assert app.mutable == 2
    assert not hasattr(app, "other")
    assert run_wsgi(app)[2] == b"hello"


def test_attributes_of_what_is_adapted_are_changed() -> None:
    """A response that is lightened and then changed must send what it was changed to."""

    class Answer:
        status = "200 OK"

        def __call__(self, environ: Environ, start_response: StartResponse) -> Any:
            start_response(self.status, [])
            return []

    answer = Answer()
    app = lighten(answer)
    app.status = "404 Not Found"
    assert answer.status == app.status == "404 Not Found"
    assert run_wsgi(app)[0] == "404 Not Found"
    del app.status
    assert run_wsgi(app)[0] == "200 OK"
    mark_lite(app)
    assert not is_lite(answer)


def test_attributes_of_a_function_are_reached_but_not_changed() -> None:
    def app(environ: Environ) -> Any:
        return "200 OK", [], []

    app.csrf_exempt = True  # type: ignore[attr-defined]
    adapted = lite(app)
    assert adapted.csrf_exempt
    adapted.name = "page"
    assert adapted.name == "page"
    assert not hasattr(app, "name")
    del adapted.name
    assert not hasattr(adapted, "name")


def test_an_adapter_shows_what_is_in_it() -> None:
    assert repr(hello_lite).startswith("<LiteApplication of <function hello_lite at ")
    assert repr(lighten(hello_wsgi)).startswith("<LightenedApplication of <function hello_wsgi at")


def test_an_adapter_can_be_copied() -> None:
    assert copy(hello_lite)({}) == hello_lite({})


def test_native_takes_the_adapters_off() -> None:
    """A server calls the function itself, in its own convention."""
    assert native(hello_lite) == (hello_lite.__wrapped__, True)
    assert native(lighten(hello_wsgi)) == (hello_wsgi, False)
    assert native(hello_wsgi) == (hello_wsgi, False)
    marked = Marked()
    assert native(marked) == (marked, True)
    assert isinstance(hello_lite, LiteApplication)
    assert isinstance(lighten(hello_wsgi), LightenedApplication)


# -- wsgi_lite.closing ---------------------------------------------------------------------------


def test_the_outermost_application_provides_closing() -> None:
    inner: list[Any] = []

    @lite
    def child(environ: Environ) -> Any:
        inner.append(environ[CLOSING])
        return "200 OK", [], []

    @lite
    def parent(environ: Environ) -> Any:
        inner.append(environ[CLOSING])
        return child(environ)

    run_wsgi(parent)
    assert inner[0] is inner[1]


def test_a_lightened_application_provides_closing_to_its_children() -> None:
    present: list[bool] = []

    def app(environ: Environ, start_response: StartResponse) -> Any:
        present.append(CLOSING in environ)
        return hello_wsgi(environ, start_response)

    run_wsgi(lighten(app))
    run_wsgi(app)
    assert present == [True, False]


def test_closing_is_not_provided_to_a_lite_call() -> None:
    """Its caller has done that; what were registered here nobody would close."""
    environ: Environ = {}
    hello_lite(environ)
    lighten(hello_wsgi)(environ)
    assert environ == {}


@pytest.mark.parametrize("kind", ["lite", "lightened"])
def test_a_provider_that_is_there_is_used(kind: str) -> None:
    """In the order of registration; and the body need not be wrapped."""
    things = [object(), object()]
    body = [b"a"]

    def run(environ: Environ) -> None:
        for thing in things:
            assert environ[CLOSING](thing) is thing

    def as_lite(environ: Environ) -> Any:
        run(environ)
        return "200 OK", [], body

    def as_wsgi(environ: Environ, start_response: StartResponse) -> Any:
        run(environ)
        start_response("200 OK", [])
        return body

    app: Any = lite(as_lite) if kind == "lite" else lighten(as_wsgi)
    registered: list[Any] = []
    assert app(with_closing(registered), lambda *_: None) is body
    assert registered == things


def test_closing_returns_its_argument_and_closes_in_reverse() -> None:
    events: list[str] = []

    @lite
    def app(environ: Environ) -> Any:
        for name in ("first", "second", "third"):
            thing = Closer(events, name)
            assert environ[CLOSING](thing) is thing
        return "200 OK", [], Body(events, [b"a"])

    assert run_wsgi(app)[2] == b"a"
    assert events == ["body", "third", "second", "first"]


@pytest.mark.parametrize("exhaust", [True, False], ids=["exhausted", "not exhausted"])
@pytest.mark.parametrize("times", [0, 1, 3], ids="close() {} times".format)
def test_things_are_closed_at_most_once(exhaust: bool, times: int) -> None:
    """When the body ends or is closed, whichever comes first."""
    events: list[str] = []

    @lite
    def app(environ: Environ) -> Any:
        environ[CLOSING](Closer(events, "thing"))
        return "200 OK", [], Body(events, [b"a", b"b"])

    body = app({}, lambda *_: None)
    blocks = iter(body)
    assert next(blocks) == b"a"
    assert events == []
    if exhaust:
        assert list(blocks) == [b"b"]
    for _ in range(times):
        body.close()  # type: ignore[attr-defined]
    assert events == (["body", "thing"] if exhaust or times else [])


def test_all_things_are_closed_even_if_some_raise() -> None:
    events: list[str] = []

    @lite
    def app(environ: Environ) -> Any:
        environ[CLOSING](Closer(events, "first"))
        environ[CLOSING](Closer(events, "second", fail))
        environ[CLOSING](Closer(events, "third", sys.exit))
        environ[CLOSING](Closer(events, "fourth"))
        return "200 OK", [], Body(events, [])

    body: Any = app({}, lambda *_: None)
    with pytest.raises(Boom) as caught:
        body.close()
    assert isinstance(caught.value.__context__, SystemExit)
    assert events == ["body", "fourth", "third", "second", "first"]
    body.close()
    assert len(events) == 5


def test_a_body_whose_close_fails_does_not_keep_the_things_open() -> None:
    events: list[str] = []
    body = Body(events, [])

    @lite
    def app(environ: Environ) -> Any:
        environ[CLOSING](Closer(events, "thing"))
        return "200 OK", [], Closer(events, "closed body", fail)

    body = app({}, lambda *_: None)  # type: ignore[assignment]
    with pytest.raises(Boom):
        body.close()
    assert events == ["closed body", "thing"]


def test_things_registered_while_closing_are_closed_next() -> None:
    events: list[str] = []

    @lite
    def app(environ: Environ) -> Any:
        closing = environ[CLOSING]
        closing(Closer(events, "first"))
        closing(Closer(events, "second", lambda: closing(Closer(events, "third"))))
        return "200 OK", [], []

    run_wsgi(app)
    assert events == ["second", "third", "first"]


def test_things_registered_after_the_end_are_closed_at_once() -> None:
    events: list[str] = []
    environ: Environ = {}
    run_wsgi(hello_lite, environ)
    thing = Closer(events, "late")
    assert environ[CLOSING](thing) is thing
    assert events == ["late"]


def test_things_are_closed_when_the_application_raises() -> None:
    """No body carries the duty on then: the original leaked them."""
    events: list[str] = []

    def register(environ: Environ) -> None:
        environ[CLOSING](Closer(events, "first"))
        environ[CLOSING](Closer(events, "second"))

    @lite
    def as_lite(environ: Environ) -> Any:
        register(environ)
        raise Boom

    @lighten
    def as_wsgi(environ: Environ, start_response: StartResponse) -> Any:
        register(environ)
        raise Boom

    for app in (as_lite, as_wsgi):
        with pytest.raises(Boom):
            run_wsgi(app)
        assert events == ["second", "first"]
        events.clear()


@pytest.mark.parametrize("provided", [False, True], ids=["", "closing is provided"])
def test_everything_is_closed_when_start_response_raises(provided: bool) -> None:
    """The server never sees the body, so it is the adapter's to close."""
    events: list[Any] = []
    registered: list[Any] = []

    @lite
    def app(environ: Environ) -> Any:
        environ[CLOSING](Closer(events, "thing"))
        return "200 OK", [("X-A", "\n")], Body(events, [b"a"])

    def start_response(status: str, headers: Headers) -> Any:
        raise Boom

    with pytest.raises(Boom):
        app(with_closing(registered) if provided else {}, start_response)
    assert events == (["body"] if provided else ["body", "thing"])


@pytest.mark.parametrize("result", [None, (), ("200 OK", []), ("200 OK", [], [], [])], ids=repr)
def test_things_are_closed_when_the_response_is_no_triple(result: Any) -> None:
    events: list[str] = []

    @lite
    def app(environ: Environ) -> Any:
        environ[CLOSING](Closer(events, "thing"))
        return result

    with pytest.raises((TypeError, ValueError)):
        run_wsgi(app)
    assert events == ["thing"]


# -- the body of an application that provides closing --------------------------------------------


def body_of(body: Any) -> Any:
    return lite(lambda environ: ("200 OK", [], body))({}, lambda *_: None)


def test_a_length_is_passed_on() -> None:
    assert len(body_of([b"a", b"b"])) == 2
    assert len(body_of([])) == 0


def test_a_body_without_length_has_none() -> None:
    body = body_of(iter([b"a"]))
    assert not hasattr(body, "__len__")
    assert bool(body)
    assert list(body) == [b"a"]


def test_each_block_comes_by_itself() -> None:
    """PEP 3333: at least one block for each of the inner application's, empty ones too."""
    taken: list[bytes] = []

    def generate() -> Iterator[bytes]:
        for block in (b"a", b"", b"b"):
            taken.append(block)
            yield block

    blocks = iter(body_of(generate()))
    assert (next(blocks), taken) == (b"a", [b"a"])
    assert (next(blocks), taken) == (b"", [b"a", b""])
    assert (next(blocks), taken) == (b"b", [b"a", b"", b"b"])
    assert list(blocks) == []


# -- WSGI called as Lite -------------------------------------------------------------------------


def test_a_body_with_close_is_registered() -> None:
    registered: list[Any] = []
    body = Body([], [b"a"])

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [])
        return body

    assert lighten(app)(with_closing(registered))[2] is body
    assert registered == [body]


def test_a_body_without_close_is_not_registered() -> None:
    registered: list[Any] = []
    lighten(hello_wsgi)(with_closing(registered))
    assert registered == []


def test_a_body_with_close_needs_somebody_to_close_it() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [])
        return Body([], [])

    with pytest.raises(KeyError, match=CLOSING):
        lighten(app)({})


Parts = Callable[[StartResponse], Iterator[bytes]]


def collect(parts: Parts) -> tuple[str, Headers, list[bytes]]:
    """Call a WSGI generator as Lite and read all of its body."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        return parts(start_response)

    status, headers, body = lighten(app)(with_closing([]))
    return status, headers, list(body)


def late_start(start_response: StartResponse) -> Iterator[bytes]:
    yield b""
    yield b""
    start_response("200 Late", [("X-A", "1")])
    yield b""
    yield b"a"
    yield b"b"


def late_start_without_content(start_response: StartResponse) -> Iterator[bytes]:
    yield b""
    start_response("200 Late", [("X-A", "1")])


def start_again_with_exc_info(start_response: StartResponse) -> Iterator[bytes]:
    yield b""
    start_response("200 OK", [])
    yield b""
    try:
        raise Boom
    except Boom:
        start_response("500 Late", [("X-A", "1")], sys.exc_info())
    yield b"a"


LATE: dict[str, tuple[Parts, str, list[bytes]]] = {
    "after empty blocks": (late_start, "200 Late", [b"a", b"b"]),
    "without content": (late_start_without_content, "200 Late", []),
    "again with exc_info": (start_again_with_exc_info, "500 Late", [b"a"]),
}


@pytest.mark.parametrize(("parts", "status", "blocks"), LATE.values(), ids=LATE)
def test_a_head_that_comes_late_is_waited_for(
    parts: Parts, status: str, blocks: list[bytes]
) -> None:
    assert collect(parts) == (status, [("X-A", "1")], blocks)


def test_a_block_that_was_waited_for_is_not_left_out_of_a_length() -> None:
    """The original's len() did, and a server would have sent a short Content-Length."""

    class Late(Body):
        def __len__(self) -> int:
            return 1

    def app(environ: Environ, start_response: StartResponse) -> Any:
        def blocks() -> Iterator[bytes]:
            start_response("200 OK", [])
            yield b"a"

        return Late([], blocks())

    _, _, body = lighten(app)(with_closing([]))
    assert not hasattr(body, "__len__")
    assert list(body) == [b"a"]


def content_before_start(start_response: StartResponse) -> Iterator[bytes]:
    yield b"a"
    start_response("200 OK", [])


def never_start(start_response: StartResponse) -> Iterator[bytes]:
    yield b""


def start_twice(start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [])
    start_response("201 Created", [])
    yield b"a"


def start_twice_in_content(start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"a"
    start_response("201 Created", [])
    yield b"b"


def write_in_content(start_response: StartResponse) -> Iterator[bytes]:
    write = start_response("200 OK", [])
    yield b"a"
    write(b"b")


VIOLATIONS: dict[str, Parts] = {
    "content before start_response": content_before_start,
    "start_response never called": never_start,
    "start_response called twice": start_twice,
    "start_response called in content": start_twice_in_content,
    "write() called in content": write_in_content,
}


@pytest.mark.parametrize("parts", VIOLATIONS.values(), ids=VIOLATIONS)
def test_violations_of_wsgi_raise(parts: Parts) -> None:
    with pytest.raises(WSGIViolation):
        collect(parts)


def test_an_empty_body_without_start_response_raises() -> None:
    """The original returned a tuple of one item."""
    with pytest.raises(WSGIViolation):
        lighten(lambda environ, start_response: [])({})


def test_a_second_call_before_content_raises_at_once() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [])
        start_response("201 Created", [])
        return []

    with pytest.raises(WSGIViolation, match="second time"):
        lighten(app)({})


def raise_boom() -> None:
    raise Boom("deep")


@pytest.mark.parametrize("how", ["yield", "write", "returned"])
def test_exc_info_after_content_is_raised_again(how: str) -> None:
    """The original swallowed it where the content had come by write()."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        write = start_response("200 OK", [])
        if how == "write":
            write(b"a")
            fail_with_exc_info()
        return blocks()

    def fail_with_exc_info() -> None:
        try:
            raise_boom()
        except Boom:
            start_response_of["it"]("500 Late", [], sys.exc_info())

    def blocks() -> Iterator[bytes]:
        # "returned": no content yet, but the triple with the first head is in the caller's hands.
        if how == "yield":
            yield b"a"
        fail_with_exc_info()

    start_response_of: dict[str, StartResponse] = {}

    def keeping(environ: Environ, start_response: StartResponse) -> Any:
        start_response_of["it"] = start_response
        return app(environ, start_response)

    with pytest.raises(Boom) as caught:
        list(lighten(keeping)(with_closing([]))[2])
    assert "raise_boom" in [frame.name for frame in traceback.extract_tb(caught.tb)]


def test_exc_info_before_content_replaces_the_head() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [])
        try:
            raise Boom
        except Boom:
            start_response("500 Replaced", [("X-A", "1")], sys.exc_info())
        return [b"a"]

    assert lighten(app)({}) == ("500 Replaced", [("X-A", "1")], [b"a"])


@pytest.mark.parametrize("blocks", [[b"1"], [b"1", b"", b"2"]], ids=["once", "several times"])
@pytest.mark.parametrize("returned", [[], [b"3"], [b"", b"3", b"4"]], ids=len)
def test_written_content_comes_first(blocks: list[bytes], returned: list[bytes]) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        write = start_response("200 OK", [])
        for block in blocks:
            write(block)
        return returned

    status, _, body = lighten(app)({})
    assert status == "200 OK"
    assert b"".join(body) == b"".join(blocks + returned)
    assert not hasattr(body, "__len__")


def test_an_empty_write_is_no_content() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [])(b"")
        try:
            raise Boom
        except Boom:
            start_response("500 Replaced", [], sys.exc_info())
        return []

    assert lighten(app)({}) == ("500 Replaced", [], [])


def test_the_body_is_registered_before_the_first_block_fails() -> None:
    events: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Any:
        def blocks() -> Iterator[bytes]:
            raise Boom
            yield b""

        return Body(events, blocks())

    registered: list[Any] = []
    with pytest.raises(Boom):
        lighten(app)(with_closing(registered))
    assert [type(thing) for thing in registered] == [Body]


# -- stacks of both conventions ------------------------------------------------------------------


def shout(app: Any) -> LiteApplication:
    """Middleware that is written once and serves both kinds of application."""

    @lite
    def middleware(environ: Environ) -> Any:
        status, headers, body = lighten(app)(environ)
        return status, headers, (block.upper() for block in body)

    return middleware


def typed_wsgi(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"hello "
    yield b"world"


def typed_late(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    yield b""
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"hello world"


def typed_write(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"hello ")
    return [b"world"]


@lite
def typed_lite(environ: Environ) -> Any:
    return "200 OK", [("Content-Type", "text/plain")], [b"hello world"]


STACKS: dict[str, Any] = {
    "WSGI": typed_wsgi,
    "WSGI, late": typed_late,
    "WSGI, write()": typed_write,
    "lightened": lighten(typed_wsgi),
    "lite": typed_lite,
    "two middlewares": shout(typed_lite),
}


@pytest.mark.parametrize("app", STACKS.values(), ids=STACKS)
def test_stacks_are_valid_wsgi(app: Any) -> None:
    environ: Environ = {"QUERY_STRING": ""}
    setup_testing_defaults(environ)
    assert run_wsgi(validator(shout(app)), environ)[2] == b"HELLO WORLD"


@pytest.mark.parametrize("app", [typed_wsgi, typed_write, typed_lite])
def test_adapters_call_an_application_as_a_wsgi_server_does(app: Any) -> None:
    environ: Environ = {"QUERY_STRING": ""}
    setup_testing_defaults(environ)
    assert run_wsgi(shout(validator(app)), environ)[2] == b"HELLO WORLD"


@pytest.mark.parametrize("app", STACKS.values(), ids=STACKS)
def test_stacks_can_be_called_as_lite(app: Any) -> None:
    environ = with_closing([])
    status, headers, body = shout(app)(environ)
    assert (status, headers) == ("200 OK", [("Content-Type", "text/plain")])
    assert b"".join(body) == b"HELLO WORLD"
