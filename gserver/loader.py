"""Applications by name: MODULE:APP, as the command line takes them.

The current folder is on the import path, as with gunicorn. MODULE alone means MODULE:application;
MODULE:factory() or MODULE:factory("argument", key=1) calls a factory with literal arguments.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gserver.api.errors import ConfigError

_USUAL_NAMES = ("app", "application", "wsgi_app", "create_app", "make_app")


@dataclass(frozen=True)
class Reference:
    """The name of an application.

    Attributes:
        text: As the user wrote it.
        module: The name of the module.
        path: The names that lead from the module to the application or to its factory.
        arguments: What to call the factory with; None if it is no factory.
    """

    text: str
    module: str
    path: tuple[str, ...]
    arguments: tuple[list[Any], dict[str, Any]] | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Return what a text such as "hello:app" means; imports nothing.

        Raises:
            ConfigError: It is not of the form MODULE:APP.
        """
        module, _, expression = text.partition(":")
        if module.endswith(".py") or not all(map(str.isidentifier, module.split("."))):
            raise ConfigError(f"{text!r} is not of the form MODULE:APP{_for_file(text)}")
        try:
            tree = ast.parse(expression or "application", mode="eval").body
            arguments = _literals(tree) if isinstance(tree, ast.Call) else None
            path = ast.unparse(tree.func if isinstance(tree, ast.Call) else tree).split(".")
        except (SyntaxError, ValueError):
            path = []
        if not path or not all(map(str.isidentifier, path)):
            raise ConfigError(
                f"{expression!r} is neither a name in {module} nor a call with literal arguments"
            )
        return cls(text, module, tuple(path), arguments)

    def load(self) -> Callable[..., Any]:
        """Import and return the application.

        Raises:
            ConfigError: There is no such module or attribute, or it is not callable. What the
                application's own code raised is its `__cause__`.
        """
        here = os.getcwd()
        if here not in sys.path:
            sys.path.insert(0, here)
        found = self._import()
        name = self.module
        for attribute in self.path:
            if not hasattr(found, attribute):
                hint = _did_you_mean(attribute, dir(found), _USUAL_NAMES)
                raise ConfigError(f"{name} has no attribute {attribute!r}{hint}")
            found = getattr(found, attribute)
            name += (":" if name == self.module else ".") + attribute
        if self.arguments is not None:
            if not callable(found):
                raise ConfigError(f"{name} is not callable: no factory")
            args, named = self.arguments
            with _blame(f"the factory {name} failed"):
                found = found(*args, **named)
        if not callable(found):
            raise ConfigError(
                f"{self.text} is of type {type(found).__name__}, which is not callable: "
                "no WSGI, Lite or ASGI application"
            )
        return found  # type: ignore[no-any-return]

    def _import(self) -> Any:
        with _blame(f"importing {self.module} failed"):
            try:
                return importlib.import_module(self.module)
            except ModuleNotFoundError as exc:
                missing = exc.name or ""
                if not f"{self.module}.".startswith(f"{missing}."):
                    raise  # the application's own import
        raise ConfigError(
            f"there is no module {missing!r} in {os.getcwd()} or on the Python path"
            f"{self._other_module(missing)}"
        )

    def _other_module(self, missing: str) -> str:
        parent, _, name = missing.rpartition(".")
        if hasattr(sys.modules.get(parent), name):
            return f"; did you mean {parent}:{name}?"
        if parent:
            return ""
        return _did_you_mean(missing, [entry.removesuffix(".py") for entry in os.listdir()])


def _for_file(text: str) -> str:
    """Return a hint for who has written the path of a file."""
    path, _, application = text.partition(":")
    module = os.path.relpath(path.removesuffix(".py") or ".").replace(os.sep, ".")
    if not all(map(str.isidentifier, module.split("."))):
        return ""
    return f"; try {module}:{application or 'app'}"


def _literals(call: ast.Call) -> tuple[list[Any], dict[str, Any]]:
    named = {one.arg: ast.literal_eval(one.value) for one in call.keywords}
    if None in named:
        raise ValueError("** is no literal")
    return [ast.literal_eval(one) for one in call.args], {str(k): v for k, v in named.items()}


def _did_you_mean(name: str, others: Iterable[str], usual: Iterable[str] = ()) -> str:
    known = [one for one in others if one.isidentifier() and not one.startswith("_")]
    close = difflib.get_close_matches(name, known, 1) or [one for one in usual if one in known]
    return f"; did you mean {close[0]}?" if close else ""


@contextmanager
def _blame(what: str) -> Iterator[None]:
    """Turn whatever the application's code raises into a `ConfigError` that it caused."""
    try:
        yield
    except (Exception, SystemExit) as exc:
        # The rest of a long message stands in the traceback.
        message = f"{type(exc).__name__}: {exc}".splitlines()[0].removesuffix(": ")
        raise ConfigError(f"{what}: {message}") from exc


def describe_cause(error: BaseException) -> str:
    """Return the traceback of what the application raised, without the frames of the import."""
    if error.__cause__ is None:
        return ""
    described = traceback.TracebackException.from_exception(error.__cause__)
    _remove_frames(described)
    return "".join(described.format())


def _remove_frames(described: traceback.TracebackException | None) -> None:
    while described is not None:
        described.stack[:] = [one for one in described.stack if not _of_import(one.filename)]
        _remove_frames(described.__context__)
        described = described.__cause__


def _of_import(filename: str) -> bool:
    return filename.startswith("<frozen importlib") or filename in (importlib.__file__, __file__)
