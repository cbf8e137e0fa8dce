"""Starts the servers that are libraries without a command of their own.

Usage: ``python benchmarks/launch.py bjoern|pywsgi APP PORT [CERTFILE KEYFILE]``, where APP is a
name in `apps`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import apps
from servers import BACKLOG

Application = Callable[..., Any]


def serve_bjoern(application: Application, port: int, tls: Sequence[str]) -> None:
    """Serve with bjoern, which has no TLS."""
    assert not tls
    import_module("bjoern").run(application, "127.0.0.1", port, listen_backlog=int(BACKLOG))


def serve_pywsgi(application: Application, port: int, tls: Sequence[str]) -> None:
    """Serve with gevent's own server, as its users do: everything patched, and no access log."""
    import_module("gevent.monkey").patch_all()
    options = dict(zip(("certfile", "keyfile"), tls, strict=True)) if tls else {}
    server = import_module("gevent.pywsgi").WSGIServer(
        ("127.0.0.1", port), application, log=None, backlog=int(BACKLOG), **options
    )
    server.serve_forever()


def main() -> None:
    """Run one server until it is killed.

    A server is imported when it is asked for: none of them has to be installed for another.
    """
    server, application, port, *tls = sys.argv[1:]
    serve = {"bjoern": serve_bjoern, "pywsgi": serve_pywsgi}[server]
    serve(getattr(apps, application), int(port), tls)


if __name__ == "__main__":
    main()
