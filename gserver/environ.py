"""The WSGI environ: what it holds for every request, and how a request's own keys are named.

PEP 3333, with the extension keys of gunicorn, mod_wsgi and Werkzeug. A request's environ is a
copy of the endpoint's template, to which the protocol adds what came with the request.
"""

from __future__ import annotations

import sys
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import gserver
from gserver.body import EMPTY
from gserver.config import Config
from gserver.files import FileWrapper

Environ = dict[str, Any]

_KNOWN_NAMES: Final = 1024


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
    }
    if scheme == "https":
        environ["HTTPS"] = "on"
    return environ


class NameCache(dict[bytes, str]):
    """Environ keys by header name, as the wire spells it: b"Accept" -> "HTTP_ACCEPT".

    A plain dict look-up on the hot path; `add` fills it, up to a bound, because the names are
    the client's to choose.
    """

    def add(self, name: bytes) -> str:
        """Return the key of a header name that is not known yet."""
        key = name.decode("ascii").upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        if len(self) < _KNOWN_NAMES:
            self[name] = key
        return key


def decode_path(path: str) -> str:
    """Return PATH_INFO: percent-decoded bytes, each as one latin-1 character."""
    return unquote_to_bytes(path).decode("latin-1")
