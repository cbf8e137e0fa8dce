"""A connectrpc WSGI service, asked by its own client in each of its protocols, and by grpcio."""
# mypy: disallow-subclassing-any=False

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from conftest import Serve

# It needs Python 3.11.
pytest.importorskip("connectrpc")

from connectrpc.client import ConnectClientSync
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.protocol import ProtocolType
from connectrpc.request import RequestContext
from connectrpc.server import ConnectWSGIApplication, EndpointSync
from protobuf.wkt import StringValue
from pyqwest import HTTPVersion, SyncClient, SyncHTTPTransport

SERVICE = "tests.Words"
Context = RequestContext[StringValue, StringValue]


def describe(name: str, kind: StreamType) -> MethodInfo[StringValue, StringValue]:
    return MethodInfo(
        name=name,
        service_name=SERVICE,
        input=StringValue,
        output=StringValue,
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=kind,
    )


UPPER = describe("Upper", StreamType.UNARY)
JOIN = describe("Join", StreamType.CLIENT_STREAM)
SPLIT = describe("Split", StreamType.SERVER_STREAM)
ECHO = describe("Echo", StreamType.BIDI_STREAM)


def upper(request: StringValue, context: Context) -> StringValue:
    if not request.value:
        raise ConnectError(Code.INVALID_ARGUMENT, "a word, s'il vous plaît")
    return StringValue(value=request.value.upper())


def join(requests: Iterator[StringValue], context: Context) -> StringValue:
    return StringValue(value=" ".join(one.value for one in requests))


def split(request: StringValue, context: Context) -> Iterator[StringValue]:
    context.response_trailers["words"] = str(len(request.value.split()))
    for word in request.value.split():
        if word == "stop":
            raise ConnectError(Code.ABORTED, "stopped")
        yield StringValue(value=word)


def echo(requests: Iterator[StringValue], context: Context) -> Iterator[StringValue]:
    yield from requests


class Words(ConnectWSGIApplication):
    """What generated code would make of the service."""

    def __init__(self) -> None:
        endpoints: dict[str, Any] = {
            f"{self.path}/Upper": EndpointSync.unary(method=UPPER, function=upper),
            f"{self.path}/Join": EndpointSync.client_stream(method=JOIN, function=join),
            f"{self.path}/Split": EndpointSync.server_stream(method=SPLIT, function=split),
            f"{self.path}/Echo": EndpointSync.bidi_stream(method=ECHO, function=echo),
        }
        super().__init__(endpoints=endpoints)

    @property
    def path(self) -> str:
        return f"/{SERVICE}"


class Asker:
    """A client of the service; each method is a kind of call, and ConnectError its failure."""

    def __init__(self, client: ConnectClientSync) -> None:
        self._client = client

    def upper(self, text: str) -> str:
        request = StringValue(value=text)
        return self._client.execute_unary(request=request, method=UPPER).value

    def join(self, texts: list[str]) -> str:
        requests = (StringValue(value=text) for text in texts)
        return self._client.execute_client_stream(request=requests, method=JOIN).value

    def split(self, text: str) -> Iterator[str]:
        request = StringValue(value=text)
        for one in self._client.execute_server_stream(request=request, method=SPLIT):
            yield one.value

    def echo(self, texts: list[str]) -> list[str]:
        requests = (StringValue(value=text) for text in texts)
        answers = self._client.execute_bidi_stream(request=requests, method=ECHO)
        return [one.value for one in answers]


class GrpcAsker(Asker):
    """The same by grpcio."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def _call(self, kind: str, method: MethodInfo[Any, Any], messages: Any) -> Iterator[str]:
        make = getattr(self._channel, kind)
        path = f"/{SERVICE}/{method.name}"
        call = make(path, lambda one: one.to_binary(), StringValue.from_binary)
        try:
            yield from self._results(call(messages, timeout=10))
        except grpc.RpcError as exc:
            raise ConnectError(Code[exc.code().name], exc.details() or "") from exc

    def _results(self, outcome: Any) -> Iterator[str]:
        for one in [outcome] if isinstance(outcome, StringValue) else outcome:
            yield one.value

    def upper(self, text: str) -> str:
        return next(self._call("unary_unary", UPPER, StringValue(value=text)))

    def join(self, texts: list[str]) -> str:
        messages = (StringValue(value=text) for text in texts)
        return next(self._call("stream_unary", JOIN, messages))

    def split(self, text: str) -> Iterator[str]:
        return self._call("unary_stream", SPLIT, StringValue(value=text))

    def echo(self, texts: list[str]) -> list[str]:
        messages = (StringValue(value=text) for text in texts)
        return list(self._call("stream_stream", ECHO, messages))


CLIENTS = [*(protocol.name.lower() for protocol in ProtocolType), "grpcio"]


@pytest.fixture(params=CLIENTS)
def asker(request: pytest.FixtureRequest, serve: Serve, engine: str) -> Iterator[Asker]:
    # In clear: the client's TLS, rustls, takes no certificate that is its own authority.
    url = serve(Words(), http2_engine=engine).url
    if request.param == "grpcio":
        target = url.removeprefix("http://")
        with grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0)]) as channel:
            yield GrpcAsker(channel)
    else:
        protocol = ProtocolType[request.param.upper()]
        with SyncHTTPTransport(http_version=HTTPVersion.HTTP2) as transport:
            client = SyncClient(transport)
            yield Asker(
                ConnectClientSync(url, protocol=protocol, http_client=client, timeout_ms=10_000)
            )


def test_unary(asker: Asker) -> None:
    assert asker.upper("grün") == "GRÜN"
    assert asker.upper("x" * 1_000_000) == "X" * 1_000_000


def test_failure(asker: Asker) -> None:
    with pytest.raises(ConnectError) as caught:
        asker.upper("")
    assert (caught.value.code, caught.value.message) == (
        Code.INVALID_ARGUMENT,
        "a word, s'il vous plaît",
    )
    assert asker.upper("on") == "ON"


def test_client_streaming(asker: Asker) -> None:
    texts = [f"word{number}" for number in range(300)]
    assert asker.join(texts) == " ".join(texts)


def test_server_streaming(asker: Asker) -> None:
    texts = [f"word{number}" for number in range(300)]
    assert list(asker.split(" ".join(texts))) == texts


def test_server_streaming_of_nothing(asker: Asker) -> None:
    assert list(asker.split("")) == []


def test_failure_behind_answers(asker: Asker) -> None:
    answers = asker.split("one two stop")
    assert [next(answers), next(answers)] == ["one", "two"]
    with pytest.raises(ConnectError) as caught:
        next(answers)
    assert (caught.value.code, caught.value.message) == (Code.ABORTED, "stopped")


def test_bidirectional(asker: Asker) -> None:
    texts = [f"word{number}" for number in range(300)]
    assert asker.echo(texts) == texts
