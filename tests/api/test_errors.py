"""The tree of errors: what each is, what it carries, and how it reads."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import gserver.api.errors
from gserver.api import (
    BodyTimeout,
    ClosedError,
    ClosedOK,
    ConfigError,
    ConnectionClosed,
    Disconnected,
    GServerError,
    HandshakeError,
    LocalProtocolError,
    MessageTooBig,
    NotSupported,
    ProtocolError,
    RemoteProtocolError,
    RequestTimeout,
    RequestTooLarge,
    WebSocketError,
)

BASES: list[tuple[type[BaseException], tuple[type[BaseException], ...]]] = [
    (GServerError, (Exception,)),
    (ConfigError, (GServerError, ValueError)),
    (NotSupported, (GServerError,)),
    (Disconnected, (GServerError, ConnectionError, OSError)),
    (ProtocolError, (GServerError,)),
    (LocalProtocolError, (ProtocolError,)),
    (RemoteProtocolError, (ProtocolError,)),
    (RequestTooLarge, (RemoteProtocolError,)),
    (BodyTimeout, (RemoteProtocolError, TimeoutError, OSError)),
    (WebSocketError, (GServerError, ConnectionError)),
    (HandshakeError, (WebSocketError,)),
    (ConnectionClosed, (WebSocketError,)),
    (ClosedOK, (ConnectionClosed,)),
    (ClosedError, (ConnectionClosed,)),
    (MessageTooBig, (ClosedError,)),
    (RequestTimeout, (BaseException,)),
]


@pytest.mark.parametrize(("error", "bases"), BASES, ids=[error.__name__ for error, _ in BASES])
def test_errors_are_what_applications_catch(
    error: type[BaseException], bases: tuple[type[BaseException], ...]
) -> None:
    for base in bases:
        assert issubclass(error, base)


def test_the_tree_is_complete() -> None:
    assert sorted(error.__name__ for error, _ in BASES) == gserver.api.errors.__all__


def test_errors_of_the_client_are_not_those_of_the_application() -> None:
    assert not issubclass(RemoteProtocolError, LocalProtocolError)
    assert not issubclass(LocalProtocolError, RemoteProtocolError)
    assert not issubclass(Disconnected, ProtocolError)


def test_request_timeout_passes_frameworks_by() -> None:
    """They turn every Exception into a page of their own."""
    assert not issubclass(RequestTimeout, Exception)


STATUSES: list[tuple[ProtocolError, int]] = [
    (ProtocolError("why"), 500),
    (LocalProtocolError("why"), 500),
    (RemoteProtocolError("why"), 400),
    (RequestTooLarge("why"), 413),
    (BodyTimeout("why"), 408),
    (RemoteProtocolError("why", 501), 501),
    (RequestTooLarge("why", 431), 431),
    (BodyTimeout("why", status=400), 400),
]


@pytest.mark.parametrize(("error", "status"), STATUSES, ids=str)
def test_protocol_errors_carry_status_and_reason(error: ProtocolError, status: int) -> None:
    assert type(error.status) is int
    assert (error.status, error.reason, str(error)) == (status, "why", "why")


TEXTS: list[tuple[BaseException, str]] = [
    (Disconnected(), "the client has disconnected"),
    (Disconnected("why"), "why"),
    (ConfigError("bind: why"), "bind: why"),
    (NotSupported("why"), "why"),
    (RequestTimeout(30), "the request took longer than 30 seconds"),
    (RequestTimeout(0.5), "the request took longer than 0.5 seconds"),
]


@pytest.mark.parametrize(("error", "text"), TEXTS)
def test_texts(error: BaseException, text: str) -> None:
    assert str(error) == text


def test_request_timeout_carries_the_limit() -> None:
    assert RequestTimeout(1.5).seconds == 1.5


@pytest.mark.parametrize(
    "error", [error for error, _ in STATUSES] + [error for error, _ in TEXTS], ids=repr
)
def test_errors_survive_pickling(error: Any) -> None:
    """Task queues and loggers of applications send them to other processes."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
