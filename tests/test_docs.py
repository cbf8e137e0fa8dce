"""The documentation tells the truth: what can be compared is compared, what can be run is run."""

from __future__ import annotations

import ast
import configparser
import doctest
import hashlib
import inspect
import json
import re
import shlex
import ssl
import string
import subprocess
import sys
import textwrap
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import KNOWN_SETTINGS

import gserver
import gserver.api
import gserver.websocket
from conftest import ROOT, Command, Serve
from gserver.api import errors, handshake
from gserver.api.errors import ConfigError
from gserver.cli import read_settings
from gserver.config import OPTIONS, Option, from_file
from gserver.log import Format
from websocket_client import Carrier, Close, WebSocketClient

DOCS = ROOT / "docs"
PAGES = {path.name: path.read_text("utf-8") for path in sorted(DOCS.glob("*.rst"))}
PAGES["README.rst"] = (ROOT / "README.rst").read_text("utf-8")
CODE = re.compile(
    r"^\.\. code-block:: (?P<language>\w+)\n(?:   :caption: (?P<caption>.*)\n)?\n"
    r"(?P<code>(?:   .*\n|\n)+)",
    re.MULTILINE,
)


def blocks(page: str, language: str) -> list[tuple[str, str]]:
    """Return caption and code of the blocks of a page."""
    return [
        (match["caption"] or "", textwrap.dedent(match["code"]).strip() + "\n")
        for match in CODE.finditer(PAGES[page])
        if match["language"] == language
    ]


def block(page: str, caption: str, language: str = "python") -> str:
    """Return the code of the one block with this caption."""
    (code,) = [code for found, code in blocks(page, language) if found == caption]
    return code


def application(source: str) -> Callable[..., Any]:
    """Return ``app`` of a module with this source."""
    namespace: dict[str, Any] = {"__name__": __name__}  # Pyramid looks for the module
    exec(source, namespace)
    app: Callable[..., Any] = namespace["app"]
    return app


def section(page: str, title: str) -> str:
    """Return a section of a page."""
    found = re.search(
        rf"^{re.escape(title)}\n-+\n(.*?)(?=^[^\n]+\n-{{3,}}\n|\Z)", PAGES[page], re.M | re.S
    )
    assert found, title
    return found[1]


def terms(text: str) -> set[str]:
    """Return what the definition lists in a text define."""
    return set(re.findall(r"^``([^`]+)``$", text, re.M))


# -- what stands there as code ---------------------------------------------------------------


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if ">>>" in text])
def test_sessions_give_what_is_printed_there(page: str) -> None:
    results = doctest.testfile(str(DOCS / page), False, optionflags=doctest.ELLIPSIS)
    assert results.failed == 0
    assert results.attempted > 0


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_python_is_python(page: str) -> None:
    for _, code in blocks(page, "python"):
        ast.parse(code)


def test_the_readme_s_application_greets(serve: Serve) -> None:
    (_, code), _ = blocks("README.rst", "python")
    with serve(application(code)).client() as client:
        assert client.get("/?you").text == "Hello, you!\n"
        assert client.get("/").text == "Hello, world!\n"


def test_the_readme_s_websocket_echoes(open_ws: OpenTo) -> None:
    _, (_, code) = blocks("README.rst", "python")
    ws = open_ws(code.replace("echo", "app"))
    ws.send_message("hello")
    assert ws.message() == "hello"


def test_the_first_page_s_application_greets(serve: Serve) -> None:
    with serve(application(block("index.rst", "hello.py"))).client() as client:
        assert client.get("/").text == "Hello!\n"


def test_the_tutorial_s_first_application_greets(serve: Serve) -> None:
    with serve(application(block("tutorial.rst", "hello.py"))).client() as client:
        assert client.get("/?name=you").text == "Hello, you!\n"
        assert client.get("/").text == "Hello, world!\n"


def test_the_page_of_capabilities_hints(serve: Serve) -> None:
    with serve(application(block("capabilities.rst", "hints.py"))).client() as client:
        hint = client.get()
        assert (hint.status, hint["Link"]) == (103, "</style.css>; rel=preload; as=style")
        response = client.response()
        assert (response.status, response["Link"]) == (200, hint["Link"])


def test_the_page_of_capabilities_sends_a_checksum(serve: Serve) -> None:
    with serve(application(block("capabilities.rst", "checksum.py"))).client() as client:
        response = client.get()
        digest = b64encode(hashlib.sha256(response.body).digest()).decode()
        assert response.trailers == [("Content-Digest", f"sha-256=:{digest}:")]


def test_the_page_of_responses_goes_on_where_it_stopped(serve: Serve) -> None:
    with serve(application(block("requests.rst", "prices.py"))).client() as client:
        event = "event: price\nid: 6\nretry: 1000\ndata: 6 €\n\n".encode()
        assert client.get("/", "Last-Event-ID: 5").chunks[:2] == [b":\n\n", event]


@pytest.mark.slow
def test_the_tutorial_s_ticker_notices_that_its_reader_left(command: Command) -> None:
    running = command(
        "app:app",
        "--bind",
        "127.0.0.1:0",
        app=block("tutorial.rst", "ticker.py"),
        environment={"PYTHONUNBUFFERED": "1"},
    ).wait_ready()
    with running.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        response = client.head()
        assert response["Content-Type"] == "text/event-stream"
        assert re.fullmatch(rb"data: [0-9:]{8}\n\n", client.chunk(response))
    running.wait_output("somebody left")


def test_the_tutorial_s_films_are_sent_whole(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = bytes(range(256)) * 1000
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "alps.mkv").write_bytes(film)
    monkeypatch.chdir(tmp_path)
    with serve(application(block("tutorial.rst", "films.py"))).client() as client:
        response = client.get("/alps.mkv")
        assert (response.status, response["Content-Length"]) == (200, "256000")
        assert response.body == film
        assert client.get("/../films/alps.mkv").status == 404


@pytest.mark.slow
def test_the_tutorial_s_patience_ends(command: Command) -> None:
    source = block("tutorial.rst", "patient.py")
    running = command("app:app", "--bind", "127.0.0.1:0", app=source).wait_ready()
    with running.client() as client:
        assert client.get("/").status == 504


@pytest.mark.slow
def test_the_tutorial_s_test_passes(tmp_path: Path) -> None:
    for name in ("hello.py", "test_hello.py"):
        (tmp_path / name).write_text(block("tutorial.rst", name))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_hello.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_what_computes_in_a_thread_answers(serve: Serve) -> None:
    with serve(application(block("greenlets.rst", "passwords.py"))).client() as client:
        assert re.fullmatch(r"[0-9a-f]{64}", client.post("/", b"secret").text)


@pytest.mark.slow
def test_flask_can_be_told_what_to_do_with_errors_of_the_client(serve: Serve) -> None:
    app = application(block("errors.rst", "shop.py"))
    running = serve(app, body_timeout=0.2, limit_request_body=10)
    with running.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc")
        assert client.response().status == 408
    with running.client() as client:
        chunked = b"10\r\n0123456789abcdef\r\n0\r\n\r\n"
        assert client.get_with_body("/", chunked, "Transfer-Encoding: chunked").status == 413


def test_the_configuration_file_is_one(tmp_path: Path) -> None:
    path = tmp_path / "gserver.toml"
    path.write_text(block("deployment.rst", "gserver.toml", "toml"))
    assert from_file(str(path))["limit_request_body"] == 10_000_000


# -- WebSocket -------------------------------------------------------------------------------

OpenTo = Callable[..., WebSocketClient]

# By the caption of an example: the path, messages and the answers to them.
TALKS: dict[str, tuple[str, dict[str | bytes, str]]] = {
    "echo.py": ("/", {"hello": "hello"}),
    "pages.py": ("/echo", {"hello": "hello"}),
    "bottle_chat.py": ("/chat/tea", {"hello": "somebody in tea: hello"}),
    "pyramid_chat.py": ("/chat/tea", {"hello": "somebody in tea: hello"}),
    "shout.py": ("/", {"hello": "HELLO"}),
    "recipe.py": ("/echo", {"hello": "hello"}),
    "sums.py": ("/", {"[1, 2]": '{"sum":3}', b"[]": '{"sum":0}'}),
    "checksum_socket.py": ("/", {b"hello": hashlib.sha256(b"hello").hexdigest()}),
}
# Those that say something unasked, or need something else, have tests of their own.
OTHERS = {"choice.py", "clock.py", "flask_chat.py", "partners.py", "room.py", "views.py"}

DJANGO = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from views import chat

settings.configure(
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="secret",
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
)


def login(request, name):
    request.session["user"] = name
    return HttpResponse()


urlpatterns = [path("chat/<room>", chat), path("login/<name>", login)]
app = get_wsgi_application()
"""


@pytest.fixture
def open_ws(serve: Serve) -> Iterator[OpenTo]:
    """Return a function that serves ``app`` of a module with this source and opens a WebSocket."""
    carriers: dict[str, Carrier] = {}
    with ExitStack() as stack:

        def start(source: str, *arguments: Any, **options: Any) -> WebSocketClient:
            if source not in carriers:
                carriers[source] = Carrier(serve(application(source)), http2=False)
                stack.callback(carriers[source].close)
            return carriers[source].open(*arguments, **options)

        yield start


def example(caption: str) -> str:
    return block("websocket.rst", caption)


def test_every_example_of_a_websocket_is_tried() -> None:
    assert {caption for caption, _ in blocks("websocket.rst", "python")} == OTHERS | set(TALKS)


@pytest.mark.parametrize("caption", TALKS)
def test_an_example_of_a_websocket_answers(open_ws: OpenTo, caption: str) -> None:
    path, talk = TALKS[caption]
    ws = open_ws(example(caption), path)
    assert ws.accepted, ws.response.body
    for message, answer in talk.items():
        ws.send_message(message)
        assert ws.message() == answer
    assert ws.shut(1000) == Close(1000)


def log_in(client: Any) -> tuple[str, str]:
    """Return the header that says who one is."""
    with client:
        return "Cookie", client.get("/login/you")["Set-Cookie"].partition(";")[0]


def check_members_only(carrier: Carrier, client: Any) -> None:
    refused = carrier.open("/chat/tea")
    assert refused.status == 401
    ws = carrier.open("/chat/tea", log_in(client))
    ws.send_message("hello")
    assert ws.message() == "you in tea: hello"
    assert ws.shut(1000) == Close(1000)


def test_flask_s_view_knows_who_it_is(serve: Serve) -> None:
    running = serve(application(example("flask_chat.py")))
    carrier = Carrier(running, http2=False)
    check_members_only(carrier, running.client())
    carrier.close()


@pytest.mark.slow
def test_django_s_view_knows_who_it_is(command: Command, tmp_path: Path) -> None:
    (tmp_path / "views.py").write_text(example("views.py"))
    running = command("app:app", "--bind", "127.0.0.1:0", app=DJANGO).wait_ready()
    there = SimpleNamespace(address=("127.0.0.1", running.port), call=None)
    carrier = Carrier(there, http2=False)
    check_members_only(carrier, running.client())
    carrier.close()


def test_who_asks_for_a_page_gets_what_the_examples_say(serve: Serve) -> None:
    with serve(application(example("pages.py"))).client() as client:
        assert client.get("/").body.startswith(b"<!doctype html>")
        assert client.get("/echo").status == 426
    with serve(application(example("recipe.py"))).client() as client:
        assert client.get("/echo").status == 400


def test_the_page_s_subprotocol_is_chosen(open_ws: OpenTo) -> None:
    source = example("choice.py")
    for theirs, chosen in ((["v1.chat", "v2.chat"], "v1.chat"), (["v3.chat"], None)):
        ws = open_ws(source, subprotocols=theirs)
        assert ws.subprotocol == chosen
        assert ws.message() == f"We speak {chosen}."


def test_the_page_s_partners_are_welcome(open_ws: OpenTo) -> None:
    source = example("partners.py")
    for origin in ("https://www.shop.example", "https://localhost", None):
        assert open_ws(source, "/", ("Origin", origin)).message() == "Come in."
    assert open_ws(source, "/", ("Origin", "https://evil.example")).status == 403


def test_what_is_no_json_closes_as_on_the_page(open_ws: OpenTo) -> None:
    ws = open_ws(example("sums.py"))
    ws.send_message("1, 2")
    assert ws.event() == Close(1007, "JSON, please")


def test_the_page_s_clock_ticks_and_listens(open_ws: OpenTo) -> None:
    ws = open_ws(example("clock.py"))
    tick = ws.message()
    assert isinstance(tick, str)
    assert re.fullmatch("[0-9:]{8}", tick)
    ws.send_message("hello")
    while (heard := ws.message()) != "You said hello":
        assert re.fullmatch("[0-9:]{8}", str(heard))
    ws.close_frame(1000)
    assert ws.rest()[-1] == Close(1000)


def test_the_page_s_room_tells_everybody(open_ws: OpenTo) -> None:
    people = [open_ws(example("room.py")) for _ in range(3)]
    for ws in people:
        assert ws.sync() == []  # now all of them are there
    people[0].send_message("hello")
    assert [ws.message() for ws in people] == ["hello"] * 3
    assert [ws.shut(1000) for ws in people] == [Close(1000)] * 3


def test_the_tutorial_s_websocket_answers_backwards(open_ws: OpenTo) -> None:
    ws = open_ws(block("tutorial.rst", "backwards.py"))
    ws.send_message("hello")
    assert ws.message() == "olleh"


def test_the_page_of_websockets_has_all_statuses_of_the_handshake() -> None:
    raised = re.findall(r"HandshakeError\((\d{3}),", Path(handshake.__file__).read_text("utf-8"))
    table = section("websocket.rst", "How the answer travels")
    assert set(re.findall(r"^   \* - (\d{3})$", table, re.M)) == set(raised)


def test_the_page_of_websockets_leads_to_all_of_their_options() -> None:
    named = set(re.findall(r":confval:`(\w+)`", PAGES["websocket.rst"]))
    assert {name for name in OPTIONS if name.startswith("websocket")} <= named <= set(OPTIONS)


# -- who comes from elsewhere ----------------------------------------------------------------

SHOP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Tea\\n"]
"""
ASK = """
from urllib.request import urlopen

print(urlopen(f"http://127.0.0.1:{server.PORT}/", timeout=10).read())
server.stop()
"""
# By the caption of an example: the path, and what is said to what.
MOVED: dict[str, tuple[str, str, str]] = {
    "louder.py": ("/ws", "hello", "HELLO"),
    "line_by_line.py": ("/", "hello", "You said hello"),
    "as_a_loop.py": ("/", "hello", "You said hello"),
}
# What uWSGI's options are called here; the rest is not the file's affair.
UWSGI = {
    "http-socket": "bind",
    "gevent": "worker_connections",
    "listen": "backlog",
    "buffer-size": "limit_request_head",
    "limit-post": "limit_request_body",
    "harakiri": "request_timeout",
}


def moved(caption: str, language: str = "python") -> str:
    return block("coming_from.rst", caption, language)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("caption", "port"), [("with_pywsgi.py", "server_port"), ("with_gserver.py", "port")]
)
def test_a_program_serves_with_pywsgi_as_with_gserver(
    caption: str, port: str, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    program = moved(caption).replace("8000", "0").replace("serve_forever", "start")
    assert program.count("start()") == 1
    (tmp_path / "program.py").write_text(program + ASK.replace("PORT", port))
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "b'Tea\\n'\n", done.stderr


@pytest.mark.parametrize("caption", MOVED)
def test_a_websocket_from_elsewhere_answers(open_ws: OpenTo, caption: str) -> None:
    path, said, answer = MOVED[caption]
    ws = open_ws(moved(caption), path)
    assert ws.accepted, ws.response.body
    ws.send_message(said)
    assert ws.message() == answer
    ws.close_frame(1000)


def test_what_is_beside_a_websocket_from_elsewhere_answers(serve: Serve) -> None:
    with serve(application(moved("louder.py"))).client() as client:
        assert client.get("/").text == "Talk to /ws.\n"
    with serve(application(moved("line_by_line.py"))).client() as client:
        assert client.get("/").status == 426


def test_uwsgi_s_file_says_the_same_as_gserver_s(tmp_path: Path) -> None:
    theirs = configparser.ConfigParser()
    theirs.read_string(moved("shop.ini", "ini"))
    path = tmp_path / "gserver.toml"
    path.write_text(moved("gserver.toml", "toml"))
    ours = {name: str(*v) if name == "bind" else str(v) for name, v in from_file(str(path)).items()}
    assert ours == {UWSGI[name]: v for name, v in theirs["uwsgi"].items() if name in UWSGI}


def test_a_middleware_tells_an_asgi_application_what_the_proxy_says(serve: Serve) -> None:
    with serve(application(moved("proxied.py"))).client() as client:
        told = ("X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.7")
        assert client.get("/", *told).text == "https 192.0.2.7\n"


@pytest.mark.slow
def test_a_view_asks_its_own_server_in_a_loop_of_its_own(command: Command) -> None:
    source = block("from_asgi.rst", "both_at_once.py")
    running = command("app:app", "--bind", "127.0.0.1:0", app=source).wait_ready()
    with running.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % running.port)
        assert json.loads(client.response().body) == ["tea: 2.50", "coffee: 2.50"]


def test_options_that_are_said_to_be_gunicorn_s_are() -> None:
    (same,) = re.findall(r"\* - ((?:``--[a-z-]+``,?\s+)+)- The same\n", PAGES["coming_from.rst"])
    flags = set(re.findall("--[a-z-]+", same))
    assert len(flags) > 10
    theirs = {flag for setting in KNOWN_SETTINGS for flag in setting.cli or ()}
    ours = {"--" + name.replace("_", "-") for name in OPTIONS}
    assert flags <= theirs & ours


# -- commands --------------------------------------------------------------------------------


def gserver_commands() -> list[str]:
    """Return all calls of the command in console sessions, the README and the service's file."""
    lines: list[str] = []
    for page in PAGES:
        for language in ("console", "ini"):
            for _, code in blocks(page, language):
                lines += code.replace("\\\n", " ").splitlines()
    lines += re.findall(r"^    (gserver .*)$", PAGES["README.rst"], re.M)
    calls = [re.search(r"(?<![\w.])gserver ([^&#]*)", line) for line in lines]
    return [call[1].strip() for call in calls if call and not line_is_output(call.string)]


def line_is_output(line: str) -> bool:
    return " serves " in line


@pytest.mark.parametrize("call", gserver_commands())
def test_the_command_takes_every_call_that_is_shown(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gserver.toml").write_text(block("deployment.rst", "gserver.toml", "toml"))
    reference, _ = read_settings(shlex.split(call), {})
    assert reference.text


def test_make_makes_whatever_the_pages_say() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    shown = {
        name
        for text in PAGES.values()
        for name in re.findall(r"(?:``|^    )make ([a-z-]+)(?:``| )", text, re.M)
    }
    assert {"serve", "test"} <= shown <= targets


def test_the_readme_leads_to_pages_that_exist() -> None:
    paths = set(re.findall(r"``((?:docs/[\w/]+|[A-Z]+)\.rst|examples/)``", PAGES["README.rst"]))
    assert len(paths) > 5
    written_by_make_bench = {"docs/benchmarks/results.rst"}
    assert {path for path in paths if not (ROOT / path).exists()} <= written_by_make_bench


# -- references ------------------------------------------------------------------------------


def shown_default(option: Option) -> str:
    value = option.default
    if value is None:
        return "none"
    if option.repeatable:
        return ", ".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if option.type is float else str(value)


def shown_type(option: Option) -> set[str]:
    """Return what the page may call the type of an option."""
    if option.choices:
        return {f"one of {', '.join(option.choices)}"}
    if option.repeatable:
        return {"list of addresses"}
    return {
        bool: {"true or false"},
        float: {"seconds"},
        int: {"bytes", "bytes per second", "number"},
        str: {"text", "file", "OpenSSL cipher list"},
    }[option.type]


OPTION = re.compile(r"^\.\. confval:: (\w+)\n   :type: (.*)\n   :default: ``(.*)``\n\n   \S", re.M)


def test_the_page_of_options_has_all_of_them_in_order() -> None:
    documented = [match[1] for match in OPTION.finditer(PAGES["options.rst"])]
    assert documented == list(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_has_the_default_and_the_type_that_its_page_tells(name: str) -> None:
    documented = {match[1]: match for match in OPTION.finditer(PAGES["options.rst"])}
    assert documented[name][3] == shown_default(OPTIONS[name])
    assert documented[name][2] in shown_type(OPTIONS[name])


def environ_keys(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    environ["wsgi.input"].read()
    body = json.dumps(sorted(environ)).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def test_the_page_of_the_environ_has_what_is_there_in_clear(serve: Serve) -> None:
    always = terms(section("environ.rst", "In every request"))
    sometimes = terms(section("environ.rst", "When the client sent it"))
    running = serve(environ_keys)
    with running.client() as client:
        assert set(json.loads(client.get().body)) == always | {"HTTP_HOST"}
        chunked = client.get_with_body(
            "/", b"1\r\nx\r\n0\r\nSum: 1\r\n\r\n", "Transfer-Encoding: chunked", "Content-Type: a/b"
        )
        counted = client.post("/", b"x")
    seen = set(json.loads(chunked.body)) | set(json.loads(counted.body))
    assert {"HTTP_*" if key.startswith("HTTP_") else key for key in seen - always} == sometimes


def test_the_page_of_the_environ_has_what_a_websocket_brings(serve: Serve) -> None:
    carrier = Carrier(serve(environ_keys), http2=False)
    seen = set(json.loads(carrier.open().response.body))
    carrier.close()
    added = {key for key in seen if not key.startswith("HTTP_")}
    added -= terms(section("environ.rst", "In every request"))
    assert added == terms(section("environ.rst", "When the client asks for a WebSocket"))


def test_the_page_of_the_environ_has_what_is_there_with_tls(
    serve: Serve, certificate: tuple[str, str]
) -> None:
    certfile, keyfile = certificate
    running = serve(
        environ_keys,
        certfile=certfile,
        keyfile=keyfile,
        ca_certs=certfile,
        cert_reqs="optional",
    )
    client_side = ssl.create_default_context(cafile=certfile)
    with running.client(tls=client_side) as client:
        without = set(json.loads(client.get().body))
    client_side.load_cert_chain(certfile, keyfile)
    with running.client(tls=client_side) as client:
        with_certificate = set(json.loads(client.get().body))
    always = terms(section("environ.rst", "In every request")) | {"HTTP_HOST"}
    assert without - always == terms(section("environ.rst", "With TLS"))
    assert with_certificate - without == terms(section("environ.rst", "With a client certificate"))


# What a WebSocket has beside, as a `Session`.
FOR_THE_SERVER = {
    *("cut", "deadline", "drain", "drained", "expire", "leave", "lost"),
    *("receive_data", "receive_eof", "try_send", "try_send_message"),
}


def test_the_page_of_the_api_has_all_of_it() -> None:
    documented = re.findall(r"^\.\. auto\w+:: gserver\.api\.(\w+)$", PAGES["api.rst"], re.M)
    assert sorted(documented) == sorted(gserver.api.__all__)
    more = re.findall(r"^\.\. auto\w+:: gserver\.websocket\.(\w+)$", PAGES["api.rst"], re.M)
    assert sorted(more) == sorted(set(gserver.websocket.__all__) - set(gserver.api.__all__))


def test_the_page_of_the_api_has_all_that_a_websocket_can_do() -> None:
    page = PAGES["api.rst"].partition("autoclass:: gserver.websocket.WebSocket")[2]
    listed = re.findall(r"\w+", page.partition(":members:")[2].partition(":special")[0])
    kind = gserver.websocket.WebSocket
    attributes = re.findall(r"^    (\w+): ", inspect.getdoc(kind) or "", re.M)
    assert len(attributes) == 4
    public = {name for name in dir(kind) if name[0] != "_"}
    assert set(listed) == public - FOR_THE_SERVER - set(attributes)


def test_the_tree_of_errors_is_that_of_the_classes() -> None:
    (_, tree), *_ = blocks("errors.rst", "text")
    above: list[type] = []
    seen = []
    for line in tree.splitlines():
        name = line.split()[0]
        error: type = getattr(errors, name)
        del above[line.index(name) // 2 :]
        assert not above or above[-1] in error.__bases__
        above.append(error)
        seen.append(name)
    assert sorted(seen) == sorted(errors.__all__)


def is_atom(text: str) -> bool:
    try:
        Format(text)
    except ConfigError:
        return False
    return True


def test_the_table_of_atoms_has_all_of_them() -> None:
    documented = re.findall(r"^   \* - ``(%\(.*\)s)``$", PAGES["deployment.rst"], re.M)
    assert all(map(is_atom, documented))
    letters = {atom[2] for atom in documented if len(atom) == 5}
    assert letters == {one for one in string.ascii_letters if is_atom(f"%({one})s")}


def test_the_architecture_has_every_module() -> None:
    package = Path(gserver.__file__).parent
    modules = {str(path.relative_to(package)) for path in package.rglob("*.py")}
    missing = [name for name in modules if f"``{name}``" not in PAGES["architecture.rst"]]
    assert [name for name in missing if not name.endswith("__init__.py")] == []


def test_the_changelog_begins_with_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.rst").read_text("utf-8")
    (latest, *_) = re.findall(r"^(\d+\.\d+\.\d+)\b.*\n-+$", changelog, re.M)
    assert latest == gserver.__version__
