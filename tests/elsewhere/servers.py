"""WSGI servers of others, and gserver: each a process that serves the applications of `apps`.

A server that is missing skips its tests, or fails them in CI; setup.cfg and the Makefile name what
to install.
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from clients import RawClient, Response
from conftest import ROOT, ServerProcess, need
from exchange import Headers, Http1Exchange
from websocket_stage import until

HERE = Path(__file__).parent
APACHE = Path("/usr/sbin/apache2")
APACHE_MODULES = Path("/usr/lib/apache2/modules")


def hold_port() -> socket.socket:
    """Return a socket at a port that nobody else is given, for servers that cannot ask for any.

    They can listen there because it does not, and both allow it (SO_REUSEADDR).
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


class Place:
    """A folder with the applications, and room for what they note.

    Not one of pytest's, which are closed to the user that Apache becomes where root starts it.

    Attributes:
        stack: What is to be undone when the server has stopped.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.folder = Path(tempfile.mkdtemp(prefix="gserver-elsewhere-"))
        stack.callback(shutil.rmtree, self.folder)
        self.folder.chmod(0o755)
        self.notes = self.folder / "notes"
        self.notes.mkdir()
        self.notes.chmod(0o777)
        shutil.copy(HERE / "apps.py", self.folder)


# -- recipes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """How a server is started.

    Attributes:
        command: Returns the command that serves the applications of a place.
        ready: What it prints when it listens; the first group is the port.
        module: The Python module that it is.
    """

    command: Callable[[Place], list[str]]
    ready: str
    module: str = ""


_URL = r"http://127\.0\.0\.1:(\d+)"


def _python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def _gserver(application: str) -> Recipe:
    command = _python("-m", "gserver", f"apps:{application}", "--bind", "127.0.0.1:0")
    return Recipe(lambda place: command, _URL, "gserver")


def keep_control_socket(folder: Path) -> None:
    """Have a gunicorn that is started in a folder keep its control socket there."""
    # By its configuration file: older ones know no such option.
    control = f"control_socket = {str(folder / 'control')!r}\n"
    (folder / "gunicorn.conf.py").write_text(control)


def _gunicorn(worker: str) -> Recipe:
    def command(place: Place) -> list[str]:
        keep_control_socket(place.folder)
        bind = ("-b", "127.0.0.1:0")
        return _python("-m", "gunicorn", "-k", worker, *bind, "apps:application")

    return Recipe(command, f"Listening at: {_URL}", "gunicorn")


def _program(module: str, source: str) -> Recipe:
    """Return the recipe of a server whose own command does not tell the port, or that has none."""
    return Recipe(lambda place: _python("-c", source), _URL, module)


_CHEROOT = """
from cheroot.wsgi import Server
from apps import application

server = Server(("127.0.0.1", 0), application)
server.prepare()
print(f"http://127.0.0.1:{server.bind_addr[1]}", flush=True)
server.serve()
"""
_WSGIREF = """
from wsgiref.simple_server import make_server
from wsgiref.validate import validator
from apps import application

with make_server("127.0.0.1", 0, validator(application)) as server:
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
"""
_HTTPD_CONF = """
ServerRoot {folder}
ServerName localhost
PidFile {folder}/pid
DefaultRuntimeDir {folder}
ErrorLog /dev/stderr
# Only where root starts it.
User "#65534"
Group "#65534"
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule wsgi_module {modules}/mod_wsgi.so
WSGISocketPrefix {folder}/wsgi
WSGIDaemonProcess apps threads=4 python-path={folder}/alone
WSGIProcessGroup apps
WSGIApplicationGroup %{{GLOBAL}}
WSGIChunkedRequest On
WSGIScriptAlias / {folder}/apps.py
<Location />
    Require all granted
</Location>
"""


def _mod_wsgi(place: Place) -> list[str]:
    """Write a configuration; mod_wsgi runs Debian's Python, which has `gserver.api` and no more."""
    need(str(APACHE))
    if not (APACHE_MODULES / "mod_wsgi.so").exists():
        need("mod_wsgi.so")  # no program has this name
    package = place.folder / "alone" / "gserver"
    shutil.copytree(ROOT / "gserver" / "api", package / "api")
    shutil.copy(ROOT / "gserver" / "__init__.py", package)
    conf = place.folder / "httpd.conf"
    conf.write_text(_HTTPD_CONF.format(folder=place.folder, modules=APACHE_MODULES))
    for path in place.folder.rglob("*"):
        path.chmod(path.stat().st_mode | 0o555)  # whatever the umask of those who checked it out
    port = place.stack.enter_context(hold_port()).getsockname()[1]
    listen = f"Listen 127.0.0.1:{port}"  # not in the file: so it is printed
    return [str(APACHE), "-f", str(conf), "-C", listen, "-DFOREGROUND"]


def _uwsgi(place: Place) -> list[str]:
    program = str(Path(sys.executable).parent / "pyuwsgi")
    options = ["--http-socket", "127.0.0.1:0", "--die-on-term", "--need-app"]
    return [program, *options, "--module", "apps:application"]


def _waitress(place: Place) -> list[str]:
    # Without the second option it never tells that a client has gone.
    options = ["--listen=127.0.0.1:0", "--channel-request-lookahead=1"]
    return _python("-m", "waitress", *options, "apps:application")


def _twisted(place: Place) -> list[str]:
    listen = ("--listen", "tcp:0:interface=127.0.0.1")
    return _python("-m", "twisted", "web", *listen, "--wsgi", "apps.application")


RECIPES = {
    "gserver": _gserver("application"),
    "gunicorn-sync": _gunicorn("sync"),
    "gunicorn-gthread": _gunicorn("gthread"),
    "gunicorn-gevent": _gunicorn("gevent"),
    "uwsgi": Recipe(_uwsgi, r"bound to TCP address 127\.0\.0\.1:(\d+)", "pyuwsgi"),
    "mod_wsgi": Recipe(_mod_wsgi, r"Command line: .*Listen 127\.0\.0\.1:(\d+)"),
    "waitress": Recipe(_waitress, f"Serving on {_URL}", "waitress"),
    "cheroot": _program("cheroot", _CHEROOT),
    "twisted": Recipe(_twisted, r"Site starting on (\d+)", "twisted"),
    "wsgiref": _program("wsgiref", _WSGIREF),
}
"""By name. "gserver" calls plain WSGI, as the others do; `NATIVE` is what it does best."""

NATIVE = _gserver("router")

FOREIGN = [name for name in RECIPES if name != "gserver"]


# -- what runs ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """What an example is asked.

    Attributes:
        name: The example.
        rest: Path and query behind its name.
        chunked: The body is sent in two chunks instead of with its length.
        version: Of HTTP.
    """

    name: str
    rest: str = ""
    method: str = "GET"
    headers: Headers = ()
    body: bytes = b""
    chunked: bool = False
    version: str = "1.1"


class Client(RawClient):
    """Takes responses of HTTP/1.0 too."""

    def head(self) -> Response:
        version, _, rest = self.line().partition(" ")
        code, _, reason = rest.partition(" ")
        return Response(version, int(code), reason, self.fields())


class Notes:
    """What the application notes of one request, which has the header X-Note with this name."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path

    def wait(self, count: int) -> list[str]:
        """Wait until there are so many, and return all of them."""
        until(lambda: len(self._read()) >= count)
        return self._read()

    def _read(self) -> list[str]:
        return self._path.read_text().splitlines() if self._path.exists() else []

    def tell_left(self) -> None:
        """Tell the application that the client has gone."""
        self._path.with_suffix(".left").touch()


class Asked(Http1Exchange):
    """A request on its way.

    Attributes:
        client: The connection, on which nothing else is.
        notes: What the application notes.
    """

    def __init__(self, address: tuple[str, int], request: Request, kind: str, notes: Notes) -> None:
        self.client = client = Client(address)
        super().__init__(client, request.method, request.chunked)
        self.notes = notes
        framing = f"Content-Length: {len(request.body)}"
        body = request.body
        if request.chunked:
            framing = "Transfer-Encoding: chunked"
            body = b"1\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (body[:1], len(body) - 1, body[1:])
        lines = [
            f"{request.method} /{kind}/{request.name}{request.rest} HTTP/{request.version}",
            "Host: localhost",
            f"X-Note: {notes.name}",
            *(f"{name}: {value}" for name, value in request.headers),
            *([framing] if body else []),
        ]
        try:
            client.send("\r\n".join([*lines, "", ""]).encode() + body)
        except OSError:
            client.close()
            raise

    def __enter__(self) -> Asked:
        return self

    def __exit__(self, *args: object) -> None:
        self.client.close()


class Running:
    """A server that runs.

    Attributes:
        address: Where it listens.
    """

    def __init__(self, recipe: Recipe) -> None:
        if recipe.module and find_spec(recipe.module) is None:
            need(recipe.module)  # which no program is called
        with ExitStack() as stack:
            place = Place(stack)
            self._process = ServerProcess(recipe.command(place), place.folder, ready=recipe.ready)
            stack.callback(self._process.kill)
            stack.callback(self._stop)
            self._process.wait_ready()
            port = re.findall(recipe.ready, self._process.text)[0]
            self._stack = stack.pop_all()
        self.address = ("127.0.0.1", int(port))
        self._notes = place.notes
        self._requests = 0

    def _stop(self) -> None:
        self._process.signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)

    def close(self) -> None:
        """Stop the server."""
        self._stack.close()

    def notes(self) -> Notes:
        """Return room for the notes of one request."""
        self._requests += 1
        return Notes(self._notes / str(self._requests))

    def send(self, request: Request, kind: str = "lite") -> Asked:
        """Send a request to the application of a kind."""
        return Asked(self.address, request, kind, self.notes())
