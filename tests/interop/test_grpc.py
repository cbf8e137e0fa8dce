"""grpcio as the client of the example: a gRPC service that is a blocking Lite application."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue, UInt32Value

from conftest import ServerProcess
from exchange import ENGINES
from interop.conftest import example

OPTIONS = [("grpc.enable_http_proxy", 0)]
DEADLINE = 10


@pytest.fixture(scope="module", params=ENGINES)
def server(request: pytest.FixtureRequest, certificate: tuple[str, str]) -> Iterator[ServerProcess]:
    with example("grpc.words", certificate, "--http2-engine", request.param) as running:
        yield running


def open_channel(server: ServerProcess, certificate: str | None = None) -> grpc.Channel:
    scheme = "https" if certificate else "http"
    match = re.search(rf"{scheme}://(127.0.0.1:\d+)", server.text)
    assert match, server.text
    if certificate is None:
        return grpc.insecure_channel(match[1], OPTIONS)
    with open(certificate, "rb") as file:
        return grpc.secure_channel(match[1], grpc.ssl_channel_credentials(file.read()), OPTIONS)


@pytest.fixture(params=["clear", "secure"])
def channel(
    request: pytest.FixtureRequest, server: ServerProcess, certificate: tuple[str, str]
) -> Iterator[grpc.Channel]:
    with open_channel(server, certificate[0] if request.param == "secure" else None) as channel:
        yield channel


def method(channel: grpc.Channel, kind: str, name: str, answer: Any = StringValue) -> Any:
    """Return a method of the service as generated code would make it."""
    make = getattr(channel, kind)
    path = f"/examples.Words/{name}"
    call = make(path, StringValue.SerializeToString, answer.FromString)
    return lambda messages, **more: call(messages, **{"timeout": DEADLINE, **more})


def words(*texts: str) -> list[StringValue]:
    return [StringValue(value=text) for text in texts]


def test_unary(channel: grpc.Channel) -> None:
    upper = method(channel, "unary_unary", "Upper")
    assert upper(StringValue(value="grün")).value == "GRÜN"


def test_server_streaming(channel: grpc.Channel) -> None:
    split = method(channel, "unary_stream", "Split")
    sentence = " ".join(map(str, range(1000)))
    answers = [one.value for one in split(StringValue(value=sentence))]
    assert answers == sentence.split()


def test_server_streaming_of_nothing(channel: grpc.Channel) -> None:
    call = method(channel, "unary_stream", "Split")(StringValue())
    assert list(call) == []
    assert call.code() is grpc.StatusCode.OK


def test_client_streaming(channel: grpc.Channel) -> None:
    count = method(channel, "stream_unary", "Count", UInt32Value)
    assert count(iter(words("one", "two and three") * 300)).value == 1200


def test_bidirectional_in_lock_step(channel: grpc.Channel) -> None:
    answered = threading.Semaphore(1)

    def ask() -> Iterator[StringValue]:
        for number in range(50):
            assert answered.acquire(timeout=DEADLINE)
            yield StringValue(value=str(number))

    answers = []
    for answer in method(channel, "stream_stream", "Echo")(ask()):
        answers.append(answer.value)
        answered.release()
    assert answers == [f"{number}!" for number in range(50)]


def test_large_messages(channel: grpc.Channel) -> None:
    text = "x" * 3_000_000
    assert method(channel, "unary_unary", "Upper")(StringValue(value=text)).value == text.upper()


def failure(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str | None]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def test_status_and_message_of_a_failure(channel: grpc.Channel) -> None:
    upper = method(channel, "unary_unary", "Upper")
    told = failure(lambda: upper(StringValue()))
    assert told == (grpc.StatusCode.INVALID_ARGUMENT, "a word, s'il vous plaît")
    assert upper(StringValue(value="on")).value == "ON"


def test_unknown_method(channel: grpc.Channel) -> None:
    told = failure(lambda: method(channel, "unary_unary", "Lower")(StringValue()))
    assert told == (grpc.StatusCode.UNIMPLEMENTED, "there is no such method")


def test_compressed_message_is_refused(channel: grpc.Channel) -> None:
    upper = method(channel, "unary_unary", "Upper")
    told = failure(lambda: upper(StringValue(value="x" * 1000), compression=grpc.Compression.Gzip))
    assert told == (grpc.StatusCode.UNIMPLEMENTED, "compressed messages are not understood")


def test_cancelled_call(channel: grpc.Channel) -> None:
    over = threading.Event()

    def ask() -> Iterator[StringValue]:
        yield StringValue(value="one")
        over.wait(DEADLINE)

    call = method(channel, "stream_stream", "Echo")(ask())
    assert next(call).value == "one!"
    call.cancel()
    over.set()
    assert call.code() is grpc.StatusCode.CANCELLED
    assert method(channel, "unary_unary", "Upper")(StringValue(value="on")).value == "ON"


def test_calls_at_once(channel: grpc.Channel) -> None:
    upper = method(channel, "unary_unary", "Upper")
    texts = [f"word {number}" for number in range(200)]
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda one: upper(one).value, words(*texts)))
    assert answers == [text.upper() for text in texts]
