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
from collections.abc import Callable
from typing import Any

from gserver.api.errors import ConfigError


def load_application(name: str) -> Callable[..., Any]:
    """Import and return the application called `name`.

    Raises:
        ConfigError: There is no such module or attribute, or it is not callable. What the module
            itself raises while it is imported, is its `__cause__`.
    """
    module_name, _, expression = name.partition(":")
    if not module_name or not all(map(str.isidentifier, module_name.split("."))):
        hint = ""
        if module_name.endswith(".py") or "/" in module_name:
            guess = os.path.relpath(module_name.removesuffix(".py")).replace(os.sep, ".")
            hint = f"; try {guess}:{expression or 'app'}"
        raise ConfigError(f"{name!r} is not of the form MODULE:APP{hint}")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    module = _import(module_name)
    application = _evaluate(module, module_name, expression or "application")
    if not callable(application):
        raise ConfigError(
            f"{name} is of type {type(application).__name__}, which is not callable: "
            "no WSGI or Lite application"
        )
    return application


def _import(module_name: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        missing = exc.name or ""
        if module_name == missing or module_name.startswith(missing + "."):
            raise ConfigError(
                f"there is no module {missing!r} in {os.getcwd()} or on the Python path"
                f"{_similar_module(missing)}"
            ) from None
        raise ConfigError(f"importing {module_name} failed: {exc}") from exc
    except Exception as exc:
        raise ConfigError(f"importing {module_name} failed: {type(exc).__name__}: {exc}") from exc


def _similar_module(name: str) -> str:
    files = [entry.removesuffix(".py") for entry in os.listdir() if entry.endswith(".py")]
    close = difflib.get_close_matches(name, files, 1)
    return f"; did you mean {close[0]}?" if close else ""


def _evaluate(module: Any, module_name: str, expression: str) -> Any:
    try:
        tree = ast.parse(expression, mode="eval").body
        call = tree if isinstance(tree, ast.Call) else None
        target = call.func if call else tree
        args = [ast.literal_eval(one) for one in call.args] if call else []
        named = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords} if call else {}
        names = ast.unparse(target).split(".")
        if not all(map(str.isidentifier, names)):
            raise ValueError
    except (SyntaxError, ValueError):
        raise ConfigError(
            f"{expression!r} is neither a name in {module_name} nor a call with literal arguments"
        ) from None
    found = module
    for name in names:
        try:
            found = getattr(found, name)
        except AttributeError:
            public = [one for one in dir(found) if not one.startswith("_")]
            close = difflib.get_close_matches(name, public, 1)
            if not close:
                close = [one for one in ("app", "application", "wsgi_app") if one in public]
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ConfigError(f"module {module_name} has no attribute {name!r}{hint}") from None
    if call is None:
        return found
    if not callable(found):
        raise ConfigError(f"{module_name}:{'.'.join(names)} is not callable: no factory")
    try:
        return found(*args, **named)
    except Exception as exc:
        raise ConfigError(
            f"the factory {module_name}:{expression} failed: {type(exc).__name__}: {exc}"
        ) from exc


def describe_cause(error: BaseException) -> str:
    """Return the traceback of what the application raised, without the frames of the import."""
    cause = error.__cause__
    if cause is None:
        return ""
    frames = [
        frame
        for frame in traceback.extract_tb(cause.__traceback__)
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    lines = traceback.format_list(frames) + traceback.format_exception_only(cause)
    return "Traceback (most recent call last):\n" + "".join(lines)
