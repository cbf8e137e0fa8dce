"""What stands in for an application: the types of WSGI and Lite, and the base of all adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import update_wrapper
from types import FunctionType, MethodType, TracebackType
from typing import Any, TypeAlias, TypeVar

__all__ = [
    "Adapter",
    "Body",
    "Environ",
    "ExcInfo",
    "Headers",
    "Response",
    "StartResponse",
    "WSGIApplication",
]

Environ: TypeAlias = dict[str, Any]
Headers: TypeAlias = list[tuple[str, str]]
Body: TypeAlias = Iterable[bytes]
Response: TypeAlias = tuple[str, Headers, Body]
ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]
StartResponse: TypeAlias = Callable[..., Any]
WSGIApplication: TypeAlias = Callable[[Environ, StartResponse], Body]

_Self = TypeVar("_Self", bound="Adapter")


class Adapter:
    """Stands in for a callable: has its name, its attributes, and is a method where that is one.

    Its own attributes have names with two underscores. All others are those of what is wrapped,
    which may be more than a function: a WebOb response, say. Of a function, which others may use
    in other ways, they are read but not changed.
    """

    __self__: object
    __wrapped__: Callable[..., Any]

    def __init__(self, wrapped: Callable[..., Any]) -> None:
        update_wrapper(self, wrapped, updated=())  # type: ignore[arg-type]  # some can be called

    def __get__(self: _Self, instance: object, owner: type | None = None) -> _Self:
        wrapped = self.__wrapped__
        if instance is None or not hasattr(type(wrapped), "__get__"):
            return self
        bound = object.__new__(type(self))
        # It is done for every call of a method: the quick way, and not __init__ again.
        bound.__dict__.update(self.__dict__)
        bound.__dict__["__wrapped__"] = wrapped.__get__(instance, owner)
        bound.__dict__["__self__"] = instance
        return bound

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(self.__wrapped__, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__") or isinstance(self.__wrapped__, (FunctionType, MethodType)):
            super().__setattr__(name, value)
        else:
            setattr(self.__wrapped__, name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__:
            super().__delattr__(name)
        else:
            delattr(self.__wrapped__, name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.__wrapped__!r}>"
