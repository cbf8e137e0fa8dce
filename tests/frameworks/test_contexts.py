"""What belongs to a request, what to its greenlet: context variables, thread-locals, pools.

Greenlets are reused for one request after the other. A request begins with an empty context, so
that no context variable of another one is ever seen. Thread-locals behave as on a pool of threads:
what a request leaves there, a later request on the same greenlet finds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from clients import ConnectionEnded, RawClient
from conftest import Launch, ServerProcess


@pytest.fixture(scope="module")
def server(launch: Launch) -> ServerProcess:
    return launch("context_app:app")


@pytest.fixture
def client(server: ServerProcess) -> Iterator[RawClient]:
    with server.client() as client:
        yield client


def lines(body: bytes) -> list[Any]:
    return [json.loads(line) for line in body.splitlines()]


def ask(client: RawClient, target: str) -> Any:
    return json.loads(client.get(target).body)


def ask_together(server: ServerProcess, *targets: str) -> list[bytes]:
    """Send all requests before any answer is read; return the answers."""
    with ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for _ in targets]
        for client, target in zip(clients, targets, strict=True):
            client.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return [client.response().body for client in clients]


def test_greenlets_are_reused(client: RawClient) -> None:
    """Without it, the tests below would prove nothing."""
    assert len({ask(client, "/identity")["greenlet"] for _ in range(5)}) == 1


def test_context_variables_end_with_the_request(client: RawClient) -> None:
    for name in ("ada", "bob", "eve"):
        assert lines(client.get(f"/log-in?user={name}").body) == ["nobody", name, name]


def test_context_variables_end_with_a_request_that_failed(server: ServerProcess) -> None:
    for _ in range(3):
        with server.client() as client, pytest.raises(ConnectionEnded):
            client.get("/log-in?user=ada&fail=1")
        with server.client() as client:
            assert lines(client.get("/log-in?user=bob").body) == ["nobody", "bob", "bob"]


def test_context_variables_of_requests_at_the_same_time(server: ServerProcess) -> None:
    for _ in range(5):
        ada, bob = ask_together(server, "/log-in?user=ada&meet=1", "/log-in?user=bob&meet=1")
        assert lines(ada) == ["nobody", "ada", "ada"]
        assert lines(bob) == ["nobody", "bob", "bob"]


def test_context_variables_of_helpers(server: ServerProcess) -> None:
    """Greenlets and threads that a handler starts are given its context, or begin without one."""
    ada, bob = ask_together(server, "/helpers?user=ada&meet=2", "/helpers?user=bob&meet=2")
    assert json.loads(ada) == {"copied": ["ada", "ada"], "bare": ["nobody", "nobody"]}
    assert json.loads(bob) == {"copied": ["bob", "bob"], "bare": ["nobody", "nobody"]}


def test_thread_locals_of_requests_at_the_same_time(server: ServerProcess) -> None:
    for _ in range(3):
        answers = ask_together(
            server, "/thread-local?user=ada&meet=3", "/thread-local?user=bob&meet=3"
        )
        assert [json.loads(one)[1] for one in answers] == ["ada", "bob"]


def test_thread_locals_stay_with_the_greenlet(client: RawClient) -> None:
    """As on a pool of threads: who must not find them there, clears them."""
    ask(client, "/thread-local?user=ada")
    assert ask(client, "/thread-local?user=bob") == ["ada", "bob"]
    assert ask(client, "/thread-local?user=eve") == ["bob", "eve"]


def test_each_greenlet_is_a_thread_to_python(server: ServerProcess) -> None:
    one, two = map(json.loads, ask_together(server, *["/identity?meet=4"] * 2))
    assert one["thread"] != two["thread"]
    assert one["logged"] != two["logged"]
    for answer in (one, two):
        assert answer["logged"][0] == answer["thread"]
        assert (answer["same"], answer["main"]) == (True, False)


def test_scoped_session_is_given_back(server: ServerProcess, client: RawClient) -> None:
    """Ten requests share two connections; each has one to itself for as long as it takes."""
    for body in ask_together(server, *["/database"] * 10):
        number, same, _ = lines(body)
        assert number in (0, 1)
        assert same is True
    assert ask(client, "/pool") == {"idle": 2}


def test_scoped_session_is_given_back_after_an_error(server: ServerProcess) -> None:
    for _ in range(3):  # more often than there are connections
        with server.client() as client, pytest.raises(ConnectionEnded):
            client.get("/database?fail=1")
    with server.client() as client:
        assert ask(client, "/pool") == {"idle": 2}


def test_scoped_session_is_given_back_when_the_client_leaves(server: ServerProcess) -> None:
    for _ in range(3):
        with server.client() as client:
            client.send(b"GET /database?size=10000000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.chunk(client.head())
    # Blocks until a connection is free.
    with server.client() as client:
        assert lines(client.get("/database").body)[1] is True


def test_what_a_greenlet_held_goes_when_it_ends(launch: Launch) -> None:
    """After a crowd fewer greenlets stay: thread-locals and thread objects do not pile up."""
    crowded = launch("context_app:app")
    answers = ask_together(crowded, *["/keep"] * 200)
    assert b"200" in answers  # at first; some end while others still answer
    with crowded.client() as client:
        held, threads = ask(client, "/kept")
    assert held < 150
    assert threads < 150
