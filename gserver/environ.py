"""The WSGI environ: what it holds for every request, and how a request's own keys are named.

PEP 3333, with the extension keys of gunicorn, mod_wsgi and Werkzeug. A request's environ is a
copy of the endpoint's template, to which the protocol adds what came with the request.
"""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import unquote_to_bytes

import gserver
from gserver.body import EMPTY
from gserver.config import Config
from gserver.files import FileWrapper

Environ = dict[str, Any]


class ErrorStream:
    """``wsgi.errors``: standard error, whatever that is at the moment, taking any text."""

    def write(self, text: str) -> int:
        """Write text; characters that the terminal lacks are escaped."""
        stream = sys.stderr
        try:
            return stream.write(text)
        except UnicodeEncodeError:
            encoding = stream.encoding or "ascii"
            return stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def writelines(self, lines: list[str]) -> None:
        """Write all of `lines`."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what is buffered."""
        sys.stderr.flush()


def template(config: Config, scheme: str, server: tuple[str, str]) -> Environ:
    """Return what the environs of one endpoint have in common.

    Args:
        config: The server's options.
        scheme: "http" or "https".
        server: SERVER_NAME and SERVER_PORT, both non-empty.
    """
    environ: Environ = {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": EMPTY,
        "wsgi.input_terminated": True,
        "wsgi.errors": ErrorStream(),
        # True: the greenlets of one process enter the application at the same time.
        "wsgi.multithread": True,
        "wsgi.multiprocess": config.multiprocess,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "SERVER_SOFTWARE": f"gserver/{gserver.__version__}",
        "SERVER_NAME": server[0],
        "SERVER_PORT": server[1],
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SCRIPT_NAME": "",
        # Set anew for each request. Being here already, they make the copy of this dict large
        # enough for a browser's headers: growing it would cost half a microsecond.
        "REQUEST_METHOD": "",
        "RAW_URI": "",
        "REQUEST_URI": "",
        "PATH_INFO": "",
        "QUERY_STRING": "",
        "REMOTE_ADDR": "",
        "REMOTE_PORT": "",
        "wsgi_lite.closing": None,
        "wsgi.early_hints": None,
        "wsgi.ext.http.send_trailers": None,
        "wsgi.associated_content": None,
    }
    if scheme == "https":
        environ["HTTPS"] = "on"
    return environ


def field_key(name: bytes) -> str:
    """Return the environ key of a header name: HTTP_ACCEPT for b"Accept"."""
    key = name.decode("ascii").upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


def decode_path(path: str) -> str:
    """Return PATH_INFO: percent-decoded bytes, each as one latin-1 character."""
    return unquote_to_bytes(path).decode("latin-1")
