"""The public names, and what importing them costs."""

from __future__ import annotations

import inspect
import pkgutil
import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

import gserver
import gserver.api
import gserver.websocket

THIRD_PARTIES = (
    "gevent",
    "greenlet",
    "gunicorn",
    "h2",
    "hpack",
    "httptools",
    "hyperframe",
    "wsproto",
)

IMPORTED = """
import sys
before = set(sys.modules)
import {module}
print(*sorted(set(sys.modules) - before))
"""

# An application runs under another server, on a machine where ours could not.
ELSEWHERE = f"""
import sys
for name in {THIRD_PARTIES!r}:
    sys.modules[name] = None
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator
from gserver.api import HandshakeError, accept, lighten, lite, websocket

class Resource:
    def close(self):
        print("closed")

@lite
def inner(environ):
    environ["wsgi_lite.closing"](Resource())
    return "200 OK", [("Content-Type", "text/plain")], [b"content"]

@lite
def app(environ):
    return lighten(inner)(environ)

@websocket
def echo(ws):
    print("never")

environ = {{"QUERY_STRING": ""}}
setup_testing_defaults(environ)

def run(application):
    body = validator(application)(environ, lambda status, headers, exc_info=None: print(status))
    for block in body:
        print(block)
    body.close()

run(app)
run(echo)
environ |= {{"SERVER_PROTOCOL": "HTTP/1.1", "HTTP_UPGRADE": "websocket"}}
environ |= {{"HTTP_CONNECTION": "upgrade", "HTTP_SEC_WEBSOCKET_VERSION": "13"}}
environ |= {{"HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ=="}}
run(echo)
try:
    accept(environ)
except HandshakeError as error:
    print(error)
"""

WITHOUT_WEBSOCKETS = [
    *("426 Upgrade Required", r"b'this resource is a WebSocket\n'"),
    *("501 Not Implemented", r"b'this server does not speak WebSocket\n'"),
    "this server does not speak WebSocket",
]


def run(program: str) -> str:
    """Run Python in a process of its own and return what it prints."""
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def modules() -> list[ModuleType]:
    """Return the package and all modules in it that say what is public."""
    names = [info.name for info in pkgutil.walk_packages(gserver.__path__, "gserver.")]
    names.remove("gserver.__main__")
    found = [import_module(name) for name in ["gserver", *names]]
    return [module for module in found if hasattr(module, "__all__")]


for_applications = pytest.mark.parametrize(
    "package", [gserver.api, gserver.websocket], ids=["api", "websocket"]
)


@pytest.mark.parametrize(
    "module", ["gserver", "gserver.api", "gserver.api.handshake", "gserver.api.lite"]
)
def test_importing_takes_the_standard_library_only(module: str) -> None:
    """gserver.api is for applications, which run under other servers too."""
    imported = run(IMPORTED.format(module=module)).split()
    assert module in imported
    tops = {name.partition(".")[0] for name in imported}
    assert tops - sys.stdlib_module_names == {"gserver"}
    if module != "gserver":
        ours = {name for name in imported if name.startswith("gserver.")}
        assert all(name.startswith("gserver.api") for name in ours)


def test_an_application_runs_where_the_server_cannot() -> None:
    printed = run(ELSEWHERE).splitlines()
    assert printed[:3] == ["200 OK", "b'content'", "closed"]
    assert printed[3:] == WITHOUT_WEBSOCKETS


@pytest.mark.parametrize("module", modules(), ids=lambda module: str(module.__name__))
def test_all_names_exist(module: ModuleType) -> None:
    names = module.__all__
    assert len(set(names)) == len(names)
    for name in names:
        assert hasattr(module, name), name


@for_applications
def test_there_are_no_other_public_names(package: ModuleType) -> None:
    public = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    names: list[str] = package.__all__
    lazy = set(getattr(package, "_MODULES", ()))
    # A module of the package may not hide what has its name.
    assert public == set(names) - lazy
    assert names == sorted(names)


@for_applications
def test_public_names_are_documented(package: ModuleType) -> None:
    for name in package.__all__:
        assert inspect.getdoc(getattr(package, name)), name


def test_public_names_tell_where_they_are_used_from() -> None:
    """Each of them is defined in the package that it is public in."""
    for name in gserver.api.__all__:
        assert getattr(gserver.api, name).__module__.startswith("gserver.api.")


def test_lazy_names_are_the_real_ones() -> None:
    config = import_module("gserver.config")
    server = import_module("gserver.server")
    assert gserver.Config is config.Config
    assert gserver.Server is server.Server


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Sever'"):
        gserver.Sever  # noqa: B018
    assert not hasattr(gserver.api, "Server")
