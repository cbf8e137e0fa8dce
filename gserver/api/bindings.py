"""Bindings: arguments of an application that come out of the environ.

A rule says where one argument comes from: a key of the environ; an object with ``__wsgi_bind__``,
usually a class with that as its classmethod; a function of the environ; or several of these, of
which the first that finds something counts. Objects and functions give what they find as an
iterable, an empty one if it is nothing; the argument's default applies then.

Values are looked up before the application is called, which may call others that change the
environ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any, Concatenate, Protocol, TypeAlias, TypeVar, overload

from gserver.api.adapter import Adapter, Environ

__all__ = [
    "Bound",
    "Rule",
    "Rules",
    "bind",
    "find",
    "iter_bindings",
    "merged",
    "saved",
    "with_bindings",
]

_Object = TypeVar("_Object")
_Result = TypeVar("_Result")
_VAR_KEYWORDS = 0x08  # of a code object's co_flags: it has **kwargs


class Bindable(Protocol):
    """What can be a rule by itself."""

    def __wsgi_bind__(self, environ: Environ, /) -> Iterable[Any]:
        """Return what was found, or nothing."""


Rule: TypeAlias = "str | Bindable | Callable[[Environ], Iterable[Any]] | Iterable[Rule]"
Rules: TypeAlias = Mapping[str, Rule]


class Decorator(Protocol):
    """What `bind` returns: it takes functions, and methods."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Environ, ...], _Result], /
    ) -> Callable[[Environ], _Result]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[_Object, Environ, ...], _Result], /
    ) -> Callable[[_Object, Environ], _Result]: ...


def iter_bindings(rule: Rule, environ: Environ) -> Iterator[Any]:
    """Yield all that a rule finds in the environ.

    Raises:
        TypeError: It is no rule. A subclass of str is none: the environ has no such keys.
    """
    if type(rule) is str:
        if rule in environ:
            yield environ[rule]
    elif hasattr(rule, "__wsgi_bind__"):
        yield from rule.__wsgi_bind__(environ)
    elif callable(rule):
        yield from rule(environ)
    elif isinstance(rule, Iterable) and not isinstance(rule, str):
        for one in rule:
            yield from iter_bindings(one, environ)
    else:
        raise TypeError(
            "a rule is a key, a function, an object with __wsgi_bind__ or an iterable of these, "
            f"not {rule!r} ({type(rule).__name__})"
        )


def with_bindings(rules: Rules, application: Callable[..., _Result], environ: Environ) -> _Result:
    """Call an application with the environ and what the rules find in it."""
    return application(environ, **find(rules, environ))


def find(rules: Rules, environ: Environ) -> dict[str, Any]:
    """Return the arguments that rules find: the first value of each that finds any."""
    found = {}
    for name, rule in rules.items():
        if type(rule) is str:  # the usual kind, in a tenth of the time
            if rule in environ:
                found[name] = environ[rule]
        else:
            for value in iter_bindings(rule, environ):
                found[name] = value
                break
    return found


def bind(
    name: str | None = None,
    /,
    __doc__: str | None = None,
    __module__: str | None = None,
    **rules: Rule,
) -> Decorator:
    """Return a decorator that binds arguments of a function of the environ.

    Unlike `lite` it makes no application of it: it is for functions that are rules themselves, for
    ``__init__``, for helpers. Around a Lite application it adds to the rules of that.

    Args:
        name: The decorator's name, with its docstring and module, if it is kept.
        rules: Where the arguments come from.
    """
    return saved(_bound, name, __doc__, __module__, rules)


class Bound(Adapter):
    """A function of the environ whose other arguments are bound; made by `bind`."""

    def __init__(self, wrapped: Callable[..., Any], rules: Rules | None = None) -> None:
        super().__init__(wrapped)
        self.__rules__: Rules = rules or {}

    def __call__(self, *arguments: Any) -> Any:
        """Call the function; a method that is called by way of its class gets its object first."""
        environ = arguments[-1]
        return self.__wrapped__(*arguments, **find(self.__rules__, environ))

    def __rebind__(self, rules: Rules) -> Bound:
        """Return the same with more rules."""
        return type(self)(self.__wrapped__, merged(self.__wrapped__, self.__rules__, rules))


def _bound(function: Callable[..., Any]) -> Bound:
    return function if isinstance(function, Bound) else Bound(function)


def saved(
    make: Callable[[Callable[..., Any]], Bound],
    name: str | None,
    doc: str | None,
    module: str | None,
    rules: Rules,
) -> Callable[..., Any]:
    """Return a decorator that binds arguments of what `make` makes of a function."""

    def decorate(function: Callable[..., Any], /) -> Bound:
        return make(function).__rebind__(rules)

    decorate.__name__ = decorate.__qualname__ = name or "with_" + "_".join(rules)
    decorate.__doc__ = doc
    decorate.__module__ = module or __name__
    return decorate


def merged(function: Callable[..., Any], rules: Rules, more: Rules) -> Rules:
    """Return the rules of two decorators of a function together.

    Raises:
        TypeError: They bind the same argument in different ways, or one that it does not take.
    """
    for name, rule in more.items():
        if name in rules and rules[name] != rule:
            raise TypeError(f"{name} is bound to {rules[name]!r} already, not to {rule!r}")
        if not _takes(function, name):
            raise TypeError(f"{function!r} has no argument {name!r} to bind")
    return {**rules, **more}


def _takes(function: Callable[..., Any], name: str) -> bool:
    """Tell whether a function takes a keyword argument, as far as that can be known."""
    if isinstance(function, MethodType):
        function = function.__func__
    if not isinstance(function, FunctionType):
        return True
    code = function.__code__
    count = code.co_argcount + code.co_kwonlyargcount
    named = code.co_varnames[code.co_posonlyargcount : count]
    return name in named or bool(code.co_flags & _VAR_KEYWORDS)
