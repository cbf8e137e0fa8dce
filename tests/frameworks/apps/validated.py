"""Every framework in one process, each under its name and inside `wsgiref.validate`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.util import shift_path_info
from wsgiref.validate import validator

NAMES = ("bottle", "django", "falcon", "flask", "pyramid", "webob")
APPS = {name: validator(importlib.import_module(f"{name}_app").app) for name in NAMES}


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    name = shift_path_info(environ)
    assert name
    return APPS[name](environ, start_response)
