"""gserver: a gevent server for blocking Python, WSGI and Lite.

``Server`` and ``Config`` run a server from a program, ``Worker`` is the gunicorn worker class.
They are imported when they are first used, so that application code can import `gserver.api`
without gevent.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gserver.asgi import from_asgi as from_asgi
    from gserver.config import Config as Config
    from gserver.server import Server as Server
    from gserver.worker import Worker as Worker

__all__ = ["Config", "Server", "Worker", "__version__", "from_asgi"]

__version__ = "0.1.0"

_MODULES = {
    "Config": "gserver.config",
    "Server": "gserver.server",
    "Worker": "gserver.worker",
    "from_asgi": "gserver.asgi",
}


if os.environ.get("GSERVER_PURE"):
    # Have the compiled modules' Python files imported instead: to measure coverage, to debug.
    for folder in ("", "http1", "http2", "websocket"):
        path = os.path.join(__path__[0], folder).rstrip(os.sep)
        sys.path_importer_cache[path] = FileFinder(
            path, (SourceFileLoader, SOURCE_SUFFIXES), (ExtensionFileLoader, EXTENSION_SUFFIXES)
        )


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
