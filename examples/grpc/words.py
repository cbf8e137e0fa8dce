"""A gRPC service with all four kinds of call: start it with ``gserver examples.grpc.words:app``.

Every call has a greenlet of its own: it reads when it wants to and sleeps when it wants to. The
messages are those that protobuf brings along; any generated ones do the same.
"""

from collections.abc import Iterator

from google.protobuf.wrappers_pb2 import StringValue, UInt32Value

from examples.grpc.wire import INVALID_ARGUMENT, Failed, Method, first, serve


def text(message: bytes) -> str:
    return StringValue.FromString(message).value


def message(value: str) -> bytes:
    return StringValue(value=value).SerializeToString()


def upper(messages: Iterator[bytes]) -> Iterator[bytes]:
    """Unary: a word for a word."""
    word = text(first(messages))
    if not word:
        raise Failed(INVALID_ARGUMENT, "a word, s'il vous plaît")
    yield message(word.upper())


def split(messages: Iterator[bytes]) -> Iterator[bytes]:
    """Server streaming: the words of a sentence, each as a message."""
    yield from map(message, text(first(messages)).split())


def count(messages: Iterator[bytes]) -> Iterator[bytes]:
    """Client streaming: how many words came."""
    yield UInt32Value(value=sum(len(text(one).split()) for one in messages)).SerializeToString()


def echo(messages: Iterator[bytes]) -> Iterator[bytes]:
    """Bidirectional: each word comes back before the next has to be sent."""
    yield from (message(text(one) + "!") for one in messages)


METHODS: dict[str, Method] = {
    "/examples.Words/Upper": upper,
    "/examples.Words/Split": split,
    "/examples.Words/Count": count,
    "/examples.Words/Echo": echo,
}
app = serve(METHODS)
