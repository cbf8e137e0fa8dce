"""Chromium opens WebSockets: in clear, with TLS, and as streams of the page's HTTP/2 connection."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from conftest import Serve, ServerProcess, ServerThread
from exchange import ENGINES
from interop.browser import Browser, Tab, chromium
from interop.conftest import example
from interop.sockets import Sockets, check

pytestmark = pytest.mark.slow

TRANSPORTS: dict[str, tuple[str, dict[str, Any]]] = {
    "clear": ("HTTP/1.1", {}),
    "tls": ("HTTP/1.1", {"http2": False}),
    **{engine: ("HTTP/2", {"http2_engine": engine}) for engine in ENGINES},
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


class Scene(NamedTuple):
    """A server, and a tab that shows its page."""

    sockets: Sockets
    server: ServerThread
    tab: Tab
    protocol: str


@pytest.fixture(params=TRANSPORTS)
def scene(
    request: pytest.FixtureRequest, serve: Serve, browser: Browser, certificate: tuple[str, str]
) -> Iterator[Scene]:
    protocol, options = TRANSPORTS[request.param]
    sockets = Sockets()
    addresses = ("http://127.0.0.1:0", "https://127.0.0.1:0")
    cert, key = certificate
    server = serve(sockets.application, bind=addresses, certfile=cert, keyfile=key, **options)
    clear, secure = server.server.urls
    tab = browser.tab()
    tab.open(clear if request.param == "clear" else secure)
    yield Scene(sockets, server, tab, protocol)
    tab.close()


in_clear = pytest.mark.parametrize("scene", ["clear"], indirect=True)
on_http2 = pytest.mark.parametrize("scene", ENGINES, indirect=True)
on_one_of_each = pytest.mark.parametrize("scene", ["clear", "nghttp2"], indirect=True)


def test_visits(scene: Scene) -> None:
    def talk(visits: list[dict[str, Any]]) -> Any:
        return scene.tab.run(f"visitAll(openHere, {json.dumps(visits)})")

    check(scene.sockets, talk, protocol=scene.protocol)


# Opens all, lets each echo in turn while the others are open, and closes.
SEVERAL = """
(async count => {
  const all = Array.from({ length: count }, () => openHere("/echo"));
  const event = (ws, name) => new Promise(
    resolve => ws.addEventListener(name, resolve, { once: true }));
  await Promise.all(all.map(ws => event(ws, "open")));
  const answers = [];
  for (const [index, ws] of all.entries()) {
    const answer = event(ws, "message");
    ws.send(`${index}`);
    answers.push((await answer).data);
  }
  const closed = all.map(ws => event(ws, "close"));
  all.forEach(ws => ws.close());
  await Promise.all(closed);
  return answers;
})(8)
"""


@pytest.mark.parametrize("scene", ["clear", *ENGINES], indirect=True)
def test_several_at_once(scene: Scene) -> None:
    assert scene.tab.run(SEVERAL) == [str(number) for number in range(8)]
    assert scene.sockets.protocols == {scene.protocol}
    assert len(scene.sockets.opened) == 8
    if scene.protocol == "HTTP/2":
        # RFC 8441: streams of the connection that the page came over.
        assert scene.sockets.peers == {scene.sockets.page_peer}
    else:
        assert len(scene.sockets.peers) == 8


@in_clear
def test_page_of_another_origin(scene: Scene) -> None:
    secure = scene.server.server.urls[1].replace("https", "wss")
    seen = {}
    for path in ("/echo", "/missing", "/anywhere"):
        told = scene.tab.run(
            f"""visit(
              () => new WebSocket({secure + path!r}), {{ messages: ["hello"], close: [1000] }})"""
        )
        seen[path] = told["answers"]
    assert seen == {"/echo": [], "/missing": [], "/anywhere": ["hello"]}
    assert len(scene.sockets.opened) == 1


@on_http2
def test_refusals_leave_the_connection_as_it_is(scene: Scene) -> None:
    told = scene.tab.run(
        """(async () => {
          const refused = await visit(openHere, { path: "/missing", messages: [] });
          const opened = await visit(
            openHere, { path: "/echo", messages: ["hello"], close: [1000] });
          const page = await fetch("/again");
          return [refused.closed, opened.answers, page.status];
        })()"""
    )
    assert told == [["not clean", 1006, ""], ["hello"], 404]
    assert scene.sockets.peers == {scene.sockets.page_peer}


@in_clear
def test_no_subprotocol_in_common(scene: Scene) -> None:
    told = scene.tab.run(
        'visit(openHere, { path: "/chat", messages: ["hello"], close: [], protocols: ["other"] })'
    )
    # It is the client that must leave then.
    assert (told["answers"], told["closed"]) == ([], ["not clean", 1006, ""])


@on_one_of_each
def test_tab_is_closed(scene: Scene) -> None:
    scene.tab.run('new Promise(resolve => openHere("/echo").onopen = () => resolve())')
    scene.tab.close()
    [(code, _)] = scene.sockets.ends(1)
    # Chromium resets a stream before it has written the Close to it.
    assert code in ({1001, 1006} if scene.protocol == "HTTP/2" else {1001})


@on_one_of_each
def test_server_stops(scene: Scene) -> None:
    scene.tab.run(
        """new Promise(resolve => {
          const ws = openHere("/echo");
          ws.onopen = () => resolve();
          globalThis.seen = new Promise(resolve => {
            ws.onclose = ({ code, wasClean }) => resolve([code, wasClean]);
          });
        })"""
    )
    scene.server.stop()
    assert scene.tab.run("seen") == [1001, True]


# -- examples/chat ---------------------------------------------------------------------------


@pytest.fixture
def chat(certificate: tuple[str, str]) -> Iterator[ServerProcess]:
    with example("chat", certificate) as running:
        yield running


def enter(browser: Browser, url: str, name: str) -> Tab:
    tab = browser.tab()
    tab.open(url)
    tab.run(f"$('name').value = {name!r}; $('enter').requestSubmit()")
    tab.wait(f"[...$('people').children].some(one => one.textContent.endsWith({name!r}))")
    return tab


def say(tab: Tab, text: str) -> None:
    tab.run(f"$('text').value = {text!r}; $('write').requestSubmit()")


def shows(tab: Tab, who: str, text: str) -> None:
    """Wait until somebody's message is the last thing in the log."""
    tab.wait(
        f"""(last => last?.querySelector("p")?.textContent === {text!r}
          && last.querySelector("small bdi").textContent === {who!r})($("log").lastElementChild)"""
    )


def log(tab: Tab) -> Any:
    return tab.run("Array.from(document.querySelectorAll('.said p'), one => one.textContent)")


def test_chat(browser: Browser, chat: ServerProcess) -> None:
    clear, secure = re.findall(r"https?://127.0.0.1:\d+", chat.text)
    ada, bob = enter(browser, clear, "Ada"), enter(browser, secure, "Bob")
    ada.wait("$('log').textContent.endsWith('Bob came in')")
    say(ada, "good morning")
    shows(bob, "Ada", "good morning")
    # What people type is text.
    html = "<img src=x onerror=\"document.title='hacked'\"><b>&amp;"
    say(bob, html)
    shows(ada, "Bob", html)
    assert ada.run("document.querySelectorAll('#log img, #log b').length") == 0

    bob.run("location.hash = 'garden'")
    ada.wait("$('log').textContent.endsWith('Bob left')")
    ada.wait("$('people').childElementCount === 1")
    bob.wait("$('log').textContent.endsWith('Bob came in')")
    say(bob, "is anybody in the garden?")
    shows(bob, "Bob", "is anybody in the garden?")
    bob.run("location.hash = 'lobby'")
    ada.wait("$('people').childElementCount === 2")
    bob.wait("$('log').textContent.endsWith('Bob came in')")
    assert log(ada) == log(bob) == ["good morning", html]

    bob.close()
    ada.wait("$('people').childElementCount === 1")
    ada.close()


def test_chat_comes_back(browser: Browser, chat: ServerProcess) -> None:
    url = f"http://127.0.0.1:{chat.port}"
    ada, bob = enter(browser, url, "Ada"), enter(browser, url, "Bob")
    say(ada, "one")
    shows(bob, "Ada", "one")
    bob.run("socket.close()")
    bob.wait("!document.body.classList.contains('connected')")
    say(ada, "two")
    bob.wait("document.body.classList.contains('connected')")
    bob.wait("$('log').textContent.endsWith('Bob came in')")
    assert log(bob) == ["one", "two"]
    say(bob, "three")
    shows(ada, "Bob", "three")
    bob.close()
    ada.close()
