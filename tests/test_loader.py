"""Applications by name: what is found, and what the user is told about what is not."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gserver.api.errors import ConfigError
from gserver.loader import Reference, describe_cause

MODULE = """
def app(environ, start_response): ...
class Site:
    def __call__(self, environ, start_response): ...
    wsgi = app
def create(*args, **named):
    def made(environ, start_response): return args, named
    return made
application = site = Site()
nothing = None
words = {"app": app}
def broken(): raise KeyError("name")
def leaving(): raise SystemExit(3)
def empty(): return None
"""

Write = Callable[..., str]
numbers = itertools.count()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Return a function that puts a module into the current folder and returns its name."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(source: str, name: str = "") -> str:
        name = name or f"module{next(numbers)}"
        path = tmp_path / (name.replace(".", "/") + ".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
        return name

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def failure(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        Reference.parse(text).load()
    return caught.value


# -- the form --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello", ("hello", ("application",), None)),
        ("hello:", ("hello", ("application",), None)),
        ("hello:app", ("hello", ("app",), None)),
        ("site.wsgi:app", ("site.wsgi", ("app",), None)),
        ("hello:site.wsgi", ("hello", ("site", "wsgi"), None)),
        ("hello:make()", ("hello", ("make",), ([], {}))),
        ("hello:Site.make()", ("hello", ("Site", "make"), ([], {}))),
        (
            "hello:make('a:b', -1, debug=True, on=[1, {2: None}])",
            ("hello", ("make",), (["a:b", -1], {"debug": True, "on": [1, {2: None}]})),
        ),
    ],
)
def test_form(text: str, expected: tuple[object, ...]) -> None:
    found = Reference.parse(text)
    assert (found.module, found.path, found.arguments) == expected


NO_FORM = "{!r} is not of the form MODULE:APP"
NO_NAME = "{!r} is neither a name in hello nor a call with literal arguments"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", NO_FORM),
        (":app", NO_FORM),
        ("hello world", NO_FORM),
        ("my-site:app", NO_FORM),
        (".hello:app", NO_FORM),
        ("../hello.py", NO_FORM),
        ("my-site.py", NO_FORM),
        ("hello.py", NO_FORM + "; try hello:app"),
        ("./hello.py:site", NO_FORM + "; try hello:site"),
        ("site/hello.py:make()", NO_FORM + "; try site.hello:make()"),
        ("site/hello:app", NO_FORM + "; try site.hello:app"),
        ("hello:app app", NO_NAME),
        ("hello:app[0]", NO_NAME),
        ("hello:make(", NO_NAME),
        ("hello:make(x)", NO_NAME),
        ("hello:make(*[1])", NO_NAME),
        ("hello:make(**{})", NO_NAME),
        ("hello:make()()", NO_NAME),
        ("hello:'app'.make()", NO_NAME),
        ("hello:app:app", NO_NAME),
    ],
)
def test_no_form(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Reference.parse(text)
    subject = text if message.startswith(NO_FORM) else text.partition(":")[2]
    assert str(caught.value) == message.format(subject)


@given(st.text(), st.text(alphabet="abc.:()[]*='\", 1"))
def test_any_text_is_a_reference_or_a_config_error(before: str, after: str) -> None:
    for text in (before, after, f"hello:{before}", f"hello:{after}"):
        try:
            found = Reference.parse(text)
        except ConfigError:
            continue
        assert found.text == text
        assert found.path


# -- what is found ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", ":", ":app", ":site", ":site.wsgi", ":Site()", ":create(1)"])
def test_found(name: str, write: Write) -> None:
    assert callable(Reference.parse(write(MODULE) + name).load())


def test_factory_gets_its_arguments(write: Write) -> None:
    application = Reference.parse(write(MODULE) + ":create('a', 2, debug=False)").load()
    assert application({}, None) == (("a", 2), {"debug": False})


def test_module_in_a_package_and_module_that_imports_its_neighbour(write: Write) -> None:
    write(MODULE, "neighbour_of_site")
    write("from neighbour_of_site import app", "package_of_site.wsgi")
    assert callable(Reference.parse("package_of_site.wsgi:app").load())


def test_current_folder_comes_first_and_is_added_once(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one not in ("", str(tmp_path))])
    name = write(MODULE)
    for _ in range(2):
        Reference.parse(name).load()
        assert sys.path[0] == str(tmp_path)
        assert sys.path.count(str(tmp_path)) == 1


# -- what is not -----------------------------------------------------------------------------


def test_no_such_module(write: Write, tmp_path: Path) -> None:
    write(MODULE, "storefront")
    write(MODULE, "backoffice.wsgi")
    where = f"in {tmp_path} or on the Python path"
    for text, message in {
        "xyzzy:app": f"there is no module 'xyzzy' {where}",
        "storfront:app": f"there is no module 'storfront' {where}; did you mean storefront?",
        "backofice.wsgi:app": f"there is no module 'backofice' {where}; did you mean backoffice?",
        "backoffice.xyz:app": f"there is no module 'backoffice.xyz' {where}",
        "storefront.app": f"there is no module 'storefront.app' {where}; "
        "did you mean storefront:app?",
    }.items():
        error = failure(text)
        assert str(error) == message
        assert describe_cause(error) == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (":ap", "{} has no attribute 'ap'; did you mean app?"),
        (":xyzzy", "{} has no attribute 'xyzzy'; did you mean app?"),
        (":site.x", "{}:site has no attribute 'x'"),
        (":site.wsgy", "{}:site has no attribute 'wsgy'; did you mean wsgi?"),
        (":xyzzy()", "{} has no attribute 'xyzzy'; did you mean app?"),
        (":words()", "{}:words is not callable: no factory"),
        (
            ":words",
            "{}:words is of type dict, which is not callable: no WSGI, Lite or ASGI application",
        ),
        (
            ":nothing",
            "{}:nothing is of type NoneType, which is not callable: "
            "no WSGI, Lite or ASGI application",
        ),
        (
            ":empty()",
            "{}:empty() is of type NoneType, which is not callable: "
            "no WSGI, Lite or ASGI application",
        ),
    ],
)
def test_no_such_application(name: str, message: str, write: Write) -> None:
    module = write(MODULE)
    error = failure(module + name)
    assert str(error) == message.format(module)
    assert describe_cause(error) == ""


# -- what the application itself does wrong --------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message", "lines"),
    [
        ("\ndef app(:", "SyntaxError: invalid syntax ({}.py, line 2)", ["{}.py", "line 2"]),
        ("import xyzzy", "ModuleNotFoundError: No module named 'xyzzy'", ["line 1, in <module>"]),
        ("from os import xyzzy", "ImportError: cannot import name 'xyzzy' from 'os' ", ["line 1"]),
        ("assert 0", "AssertionError", ["assert 0"]),
        ("raise ValueError('one\\ntwo')", "ValueError: one", ["ValueError: one\ntwo"]),
        ("raise SystemExit(3)", "SystemExit: 3", ["SystemExit: 3"]),
        (
            "try: 1 / 0\nexcept Exception as exc: raise ValueError('x') from exc",
            "ValueError: x",
            ["1 / 0", "ZeroDivisionError", "direct cause", "ValueError: x"],
        ),
        (
            "try: 1 / 0\nexcept Exception: raise ValueError('x')",
            "ValueError: x",
            ["1 / 0", "ZeroDivisionError", "another exception", "ValueError: x"],
        ),
        (
            "import json; json.loads('x')",
            "JSONDecodeError: Expecting value",
            ["json/decoder.py", "Expecting value"],
        ),
    ],
)
def test_error_while_importing(source: str, message: str, lines: list[str], write: Write) -> None:
    name = write(source)
    error = failure(f"{name}:app")
    assert str(error).startswith(f"importing {name} failed: {message.format(name)}")
    assert "\n" not in str(error)
    traceback = describe_cause(error)
    position = -1
    for line in lines:
        position = traceback.index(line.format(name), position + 1)
    assert "importlib" not in traceback
    assert "gserver/loader.py" not in traceback


def test_error_while_importing_what_the_module_imports(write: Write) -> None:
    inner = write("1 / 0")
    outer = write(f"import {inner}")
    traceback = describe_cause(failure(f"{outer}:app"))
    frames = [line for line in traceback.splitlines() if line.startswith("  File ")]
    assert [outer in frames[0], inner in frames[1]] == [True, True]
    assert len(frames) == 2


@pytest.mark.parametrize(
    ("factory", "message", "line"),
    [
        ("broken()", "KeyError: 'name'", "in broken"),
        ("leaving()", "SystemExit: 3", "in leaving"),
        (
            "empty(1)",
            "TypeError: empty() takes 0 positional arguments but 1 was given",
            "TypeError",
        ),
    ],
)
def test_error_in_the_factory(factory: str, message: str, line: str, write: Write) -> None:
    name = write(MODULE)
    error = failure(f"{name}:{factory}")
    path = factory.partition("(")[0]
    assert str(error) == f"the factory {name}:{path} failed: {message}"
    assert line in describe_cause(error)
    assert "loader.py" not in describe_cause(error)


def test_interrupt_is_not_an_error_of_the_application(write: Write) -> None:
    with pytest.raises(KeyboardInterrupt):
        Reference.parse(write("raise KeyboardInterrupt")).load()
