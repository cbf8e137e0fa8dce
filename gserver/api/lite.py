"""WSGI Lite: applications without start_response.

A Lite application is called with the environ alone and returns ``(status, headers, body)``. It
carries the mark ``__wsgi_lite__`` and can also be called as plain WSGI, with a second argument, so
that it runs under any server and inside any middleware. gserver calls it directly.

``environ["wsgi_lite.closing"]`` takes an object with ``close()``, returns it, and closes it when
the response is over, the last registered first. gserver provides it for every request; under
other servers the outermost decorated application does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, Protocol, TypeAlias, TypeVar, overload

from gserver.api.adapter import (
    Adapter,
    Body,
    Environ,
    ExcInfo,
    Headers,
    Response,
    StartResponse,
    WSGIApplication,
)
from gserver.api.bindings import Bound, Rule, Rules, find, merged, saved
from gserver.api.closing import serve_lite, serve_wsgi
from gserver.api.translation import Habits, Translation

__all__ = [
    "Body",
    "Environ",
    "ExcInfo",
    "Headers",
    "LiteApplication",
    "Response",
    "StartResponse",
    "WSGIApplication",
    "is_lite",
    "lighten",
    "lite",
    "mark_lite",
    "native",
    "to_wsgi",
]

_Any = TypeVar("_Any")
_Target = TypeVar("_Target")
_Target_co = TypeVar("_Target_co", covariant=True)
_Result = TypeVar("_Result")

if TYPE_CHECKING:
    # Of functions and of methods.
    LiteFunction: TypeAlias = Callable[[Environ], Response] | Callable[[Any, Environ], Response]
    _Bindable: TypeAlias = (
        Callable[Concatenate[Environ, ...], Response]
        | Callable[Concatenate[Any, Environ, ...], Response]
    )

_USAGE = "lite takes one callable or rules: @lite, @lite(**rules), lite(name, doc, module, **rules)"


class _Kind(type):
    """The type of classes that are applications themselves."""

    __wsgi_lite__ = True

    @overload
    def __call__(cls, environ: Environ) -> Response: ...
    @overload
    def __call__(cls, environ: Environ, start_response: None) -> Response: ...
    @overload
    def __call__(cls, environ: Environ, start_response: StartResponse) -> Body: ...
    def __call__(cls, environ: Environ, start_response: StartResponse | None = None) -> Any:
        """Make an instance with the environ and run its `app`."""
        if start_response is None:
            return cls.__lite__(environ)
        return serve_lite(cls.__lite__, environ, start_response)

    def __lite__(cls, environ: Environ) -> Response:
        response: Response = type.__call__(cls, environ).app(environ)
        return response


class lite:
    """Make a Lite application of a function of the environ; WSGI can call it too.

    Works on functions, methods and callable objects. What is Lite already is returned as it is.
    With rules for arguments this is a decorator that binds them, too (see `bind`)::

        @lite(path="PATH_INFO", user=["shop.user", "REMOTE_USER"])
        def app(environ, path, user=None): ...

    Args:
        application: The function; or the name of the decorator, if it is kept, and its docstring
            and module.
        rules: Where arguments come from.
    """

    @overload
    def __new__(cls, application: type[lite.app], /) -> LiteApplication: ...
    @overload
    def __new__(cls, application: LiteFunction, /) -> LiteApplication: ...
    @overload
    def __new__(
        cls,
        name: str | None = None,
        /,
        __doc__: str | None = None,
        __module__: str | None = None,
        **rules: Rule,
    ) -> _Decorator: ...
    def __new__(  # noqa: D102 - the class is told about as the function that it is
        cls,
        application: Any = None,
        /,
        __doc__: str | None = None,
        __module__: str | None = None,
        **rules: Rule,
    ) -> Any:
        if rules and (application is None or isinstance(application, str)):
            return saved(_bindable, application, __doc__, __module__, rules)
        if rules or __doc__ is not None or __module__ is not None or not callable(application):
            raise TypeError(_USAGE)
        return application if is_lite(application) else _applied(application)

    class app(metaclass=_Kind):
        """The base of classes that are applications themselves.

        A request makes an instance and calls its `app`, which may be decorated by `lite`.
        ``__init__`` gets the environ; `bind` can give it more.
        """

        def __init__(self, environ: Environ) -> None:
            pass

        if TYPE_CHECKING:
            app: Any  # a function or a LiteApplication
        else:

            def app(self, environ: Environ) -> Response:
                """Answer the request."""
                raise NotImplementedError(f"{type(self).__name__} has no method app(environ)")

    @staticmethod
    def wraps(target: _Target, **rules: Rule) -> _Wraps[_Target]:
        """Return a decorator for the inner function of decorators, of functions and of methods.

        The function is called with `target`, or with that as a method of its object, and the
        environ. `target` need not be an application, the function may call it as it likes; the
        result is marked as Lite if `target` is. Bind arguments of the function here or below.
        """

        def decorate(wrapper: Callable[..., Any], /) -> Any:
            return _Wrapped(target, wrapper, rules)

        return decorate


if TYPE_CHECKING:
    # Checkers go by what __new__ returns only if that is of the class.
    _lite = lite

    class _Decorator(lite):
        def __call__(self, function: _Bindable, /) -> LiteApplication: ...
else:
    _lite = object


class _Wraps(Protocol[_Target_co]):
    """What `lite.wraps` returns."""

    @overload
    def __call__(
        self, wrapper: Callable[Concatenate[_Target_co, Environ, ...], Response], /
    ) -> LiteApplication: ...
    @overload
    def __call__(
        self, wrapper: Callable[Concatenate[_Target_co, Environ, ...], _Result], /
    ) -> Callable[[Environ], _Result]: ...


class Application(Adapter):
    """What both kinds of adapter have in common: the mark, and two ways of being called."""

    __wsgi_lite__ = True

    @overload
    def __call__(self, environ: Environ) -> Response: ...
    @overload
    def __call__(self, environ: Environ, start_response: None) -> Response: ...
    @overload
    def __call__(self, environ: Environ, start_response: StartResponse) -> Body: ...
    @overload
    def __call__(self, owner: type, environ: Environ, /) -> Response: ...
    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Run the application, in the manner that the second argument asks for.

        Of a method that is called by way of its class, the first argument is the object.
        """
        if len(arguments) == 1 and not named:
            return self.__lite__(arguments[0])
        *owner, environ, start_response = _sorted(*arguments, **named)
        application = self.__get__(*owner) if owner else self
        if start_response is None:
            return application.__lite__(environ)
        return application.__wsgi__(environ, start_response)

    def __lite__(self, environ: Environ) -> Response:
        raise NotImplementedError

    def __wsgi__(self, environ: Environ, start_response: StartResponse) -> Body:
        raise NotImplementedError


class LiteApplication(Application, Bound, _lite):
    """A Lite application that can also be called as WSGI; made by `lite`."""

    def __lite__(self, environ: Environ) -> Response:
        return self.__native__()(environ)

    def __native__(self) -> Callable[[Environ], Response]:
        """Return what does the work when it is called with the environ."""
        function, rules = self.__wrapped__, self.__rules__
        if not rules:
            return function
        # For those who call it often: a closure finds these in half the time that attributes take.
        return lambda environ: function(environ, **find(rules, environ))

    def __wsgi__(self, environ: Environ, start_response: StartResponse) -> Body:
        return serve_lite(self.__native__(), environ, start_response)


class _Wrapped(LiteApplication):
    """What a decorator has made of its target by means of `lite.wraps`."""

    def __init__(self, target: Any, wrapper: Callable[..., Any], rules: Rules) -> None:
        function, bound = _apart(wrapper)
        super().__init__(target, merged(function, bound, rules))
        self.__wrapper__ = function
        self.__wsgi_lite__ = is_lite(target)

    def __native__(self) -> Callable[[Environ], Response]:
        target, wrapper, rules = self.__wrapped__, self.__wrapper__, self.__rules__
        return lambda environ: wrapper(target, environ, **find(rules, environ))

    def __rebind__(self, rules: Rules) -> Bound:
        raise TypeError("bind arguments below lite.wraps: above it they would be the target's")


class LightenedApplication(Application):
    """A WSGI application that can also be called as Lite; made by `lighten`."""

    def __init__(self, wrapped: Callable[..., Any], writes: bool) -> None:
        super().__init__(wrapped)
        self.__habits__ = Habits(writes)

    def __lite__(self, environ: Environ) -> Response:
        return Translation(self.__wrapped__, environ, self.__habits__).response()

    def __wsgi__(self, environ: Environ, start_response: StartResponse) -> Body:
        return serve_wsgi(self.__wrapped__, environ, start_response)


def lighten(application: Callable[..., Any], *, writes: bool = False) -> Application:
    """Return a WSGI application in a form that can also be called as Lite.

    What is Lite already is returned as it is.

    Args:
        application: The application.
        writes: It is known to call write(). Where `threading.local` is patched this has its first
            response, too, come out block by block; the page about Lite tells why.
    """
    if is_lite(application):
        return application  # type: ignore[return-value]
    if not callable(application):
        raise TypeError(f"lighten takes a WSGI application, not {application!r}")
    return LightenedApplication(application, writes)


def mark_lite(application: _Any) -> _Any:
    """Mark an object that keeps to both calling conventions by itself; returns it."""
    application.__wsgi_lite__ = True  # type: ignore[attr-defined]
    return application


def is_lite(application: object) -> bool:
    """Tell whether `application` may be called with the environ alone."""
    if getattr(application, "__wsgi_lite__", False):
        return True
    if isinstance(application, type):
        return False  # its instances may be, calling the class makes one
    call = getattr(application, "__call__", None)  # noqa: B004 - the attribute is what counts
    return getattr(call, "__wsgi_lite__", False) and getattr(call, "__self__", None) is application


def to_wsgi(application: Callable[..., Any]) -> WSGIApplication:
    """Return an application as WSGI and nothing else, for those who look at what they call.

    Of a Lite application it makes a function of two arguments. What is not Lite is returned as it
    is.
    """
    if not callable(application):
        raise TypeError(f"to_wsgi takes an application, not {application!r}")
    if not is_lite(application):
        return application
    call, _ = native(application)
    serve: Callable[..., Body] = _pass
    if isinstance(application, LightenedApplication):
        serve = serve_wsgi
    elif isinstance(application, (LiteApplication, _Kind)):
        serve = serve_lite

    def wsgi(environ: Environ, start_response: StartResponse) -> Body:
        return serve(call, environ, start_response)

    update_wrapper(wsgi, application, updated=())
    del wsgi.__wrapped__  # type: ignore[attr-defined]  # whose signature they would look at
    return wsgi


def native(application: Callable[..., Any]) -> tuple[Callable[..., Any], bool]:
    """Return what a server calls directly, and whether with the environ alone.

    The adapters are for servers and middleware that know one convention only.
    """
    if not is_lite(application):
        return application, False
    if isinstance(application, LightenedApplication):
        return application.__wrapped__, False
    if isinstance(application, LiteApplication):
        return application.__native__(), True
    if isinstance(application, _Kind):
        return application.__lite__, True
    return application, True


def _pass(application: WSGIApplication, environ: Environ, start_response: StartResponse) -> Body:
    return application(environ, start_response)


def _applied(function: Callable[..., Any]) -> LiteApplication:
    return LiteApplication(*_apart(function))


def _apart(function: Callable[..., Any]) -> tuple[Callable[..., Any], Rules]:
    """Return what decorators that bind arguments were put around, and their rules."""
    if type(function) in (Bound, LiteApplication):
        return function.__wrapped__, function.__rules__  # type: ignore[attr-defined]
    return function, {}


def _bindable(function: Callable[..., Any]) -> Bound:
    if isinstance(function, LiteApplication):
        return function
    if is_lite(function):
        raise TypeError(f"{function!r} is Lite, but not made by lite: no argument can be bound")
    return _applied(function)


def _sorted(*arguments: Any, **named: Any) -> tuple[Any, ...]:
    """Return environ and start_response, and before them the object if that was given, too.

    Methods have no object where they are called by way of their class. Since Python 3.13
    @classmethod, too, calls what it decorates with the class, instead of binding it.
    """
    if named:
        arguments = _by_position(*arguments, **named)
    count = len(arguments)
    if count == 1 or (count == 2 and _has_object(*arguments)):
        return *arguments, None
    if count in (2, 3):
        return arguments
    raise TypeError(f"an application takes environ and start_response, not {count} arguments")


def _has_object(first: object, second: object) -> bool:
    """Tell whether two arguments are an object and the environ."""
    return isinstance(second, dict) or isinstance(first, type)


def _by_position(*arguments: Any, environ: Any = ..., start_response: Any = ...) -> tuple[Any, ...]:
    if environ is not ...:
        arguments += (environ,)
    if start_response is not ... and arguments:
        arguments += (start_response,)
    return arguments
