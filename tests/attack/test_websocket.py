"""Clients of WebSockets that flood, lie, inflate, dawdle or vanish."""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from conftest import ServerProcess
from gserver.config import Config
from gserver.websocket import WebSocket
from gserver.websocket.deflate import negotiate
from http2_attack_tools import ask
from websocket_attack_tools import (
    DEFLATE,
    IMPATIENT,
    MIB,
    PACKET,
    TAKEOVER,
    attacker,
    besieged,
    packet,
    press,
    seconds_until_closed,
    squeeze,
    started,
)
from websocket_client import (
    RSV1,
    Close,
    Op,
    Pong,
    TransportEnded,
    WebSocketClient,
    encode,
    fragments,
)

ATTACKERS = 8


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Return a server with the default options, which tests share."""
    with started(tmp_path_factory.mktemp("target")) as server:
        yield server


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Return a server that keeps the windows of compression from message to message."""
    with started(tmp_path_factory.mktemp("keeper"), *TAKEOVER) as server:
        yield server


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Return a server whose timeouts are one second each."""
    with started(tmp_path_factory.mktemp("impatient"), *IMPATIENT) as server:
        yield server


# -- much work for few bytes ----------------------------------------------------------------------


def compressed(data: bytes, op: int = Op.BINARY) -> bytes:
    """Return a compressed message."""
    return encode(op, squeeze(data), rsv=RSV1)


def dynamic_block() -> bytes:
    """Return an empty deflate block with Huffman tables of its own, four times: 45 bytes."""
    bits: list[int] = []

    def put(value: int, size: int) -> None:
        bits.extend(value >> place & 1 for place in range(size))

    for _ in range(4):
        for value, size in ((0, 1), (2, 2), (0, 5), (0, 5), (14, 4)):
            put(value, size)
        for symbol in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1):
            put(symbol in (18, 1), 3)
        # 256 symbols without a code, then the end of the block and one distance.
        for value, size in ((1, 1), (127, 7), (1, 1), (107, 7), (0, 1), (0, 1), (0, 1)):
            put(value, size)
    number = sum(bit << place for place, bit in enumerate(bits))
    return number.to_bytes(len(bits) // 8, "little")


FINAL = b"\x03\x00"
"""An empty deflate block that says it is the last."""
MIBS = compressed(bytes(MIB))
BEGIN = encode(Op.BINARY, fin=False)

FLOODS = {
    "pings": encode(Op.PING),
    "pongs": encode(Op.PONG),
    "empty-messages": encode(Op.TEXT),
    "one-byte-messages": encode(Op.TEXT, b"x"),
    "empty-fragments": encode(Op.CONTINUATION, fin=False),
    "one-byte-fragments": encode(Op.CONTINUATION, b"x", fin=False),
    "messages-of-two-fragments": encode(Op.TEXT, fin=False) + encode(Op.CONTINUATION),
    "compressed-empty-messages": encode(Op.TEXT, b"\0", rsv=RSV1),
    "new-inflaters": encode(Op.TEXT, FINAL * 16, rsv=RSV1),
    "dynamic-blocks": encode(Op.TEXT, dynamic_block() * 350, rsv=RSV1),
    "inflated-messages": MIBS,
    "inflated-text": compressed("\U0001f409".encode() * (MIB // 4), Op.TEXT),
}


def flood(name: str, size: int) -> bytes:
    """Return so many bytes of one kind."""
    data = packet(FLOODS[name], size)
    return BEGIN + data if name.endswith("-fragments") and "messages" not in name else data


class NowhereCarrier:
    """A carrier that takes everything."""

    unsent = 0
    peer = "nobody"

    def attach(self, receiver: Any) -> None:
        """Take whatever is called, and do nothing."""

    pause = resume = finish = abort = lambda self: None
    write = attach


COMPRESSED = [name for name, data in FLOODS.items() if data[0] & RSV1 << 4]


@pytest.mark.parametrize(
    ("name", "takeover"),
    [*((name, False) for name in FLOODS), *((name, True) for name in COMPRESSED)],
)
def test_no_packet_holds_the_hub_for_long(name: str, takeover: bool) -> None:
    """One packet of 64 KiB must cost little, whatever is in it: the hub does nothing else."""
    data = flood(name, PACKET)
    clock = SimpleNamespace(now=0.0, watched=set(), after=lambda seconds: seconds)
    server: Any = SimpleNamespace(config=Config(), clock=clock, hub=gevent.get_hub())
    shortest = 1.0
    for _ in range(3):
        agreed = negotiate(DEFLATE, MIB, takeover)
        assert agreed is not None
        ws = WebSocket(server, NowhereCarrier(), {}, None, agreed[0])
        begin = time.process_time()
        ws.receive_data(data)
        shortest = min(shortest, time.process_time() - begin)
        assert ws.close_code is None
        if shortest < 0.1:
            break
    # A message of 64 KiB costs 0.01 ms, one of a mebibyte inflated 3 ms.
    assert shortest < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOODS)
def test_nobody_waits_for_a_flood(target: ServerProcess, name: str) -> None:
    with besieged(target) as carrier:
        clients = [carrier.open("/sink", extensions=DEFLATE) for _ in range(ATTACKERS)]
        size = PACKET // 4 if name.startswith("inflated") else PACKET
        assert press(clients, flood(name, size)) == 0


def test_pings_whose_answers_are_not_read(target: ServerProcess) -> None:
    count = 12_000
    pings = b"".join(encode(Op.PING, b"%0125d" % number) for number in range(count))
    with besieged(target) as carrier:
        clients = [carrier.open("/sink") for _ in range(2)]
        assert press(clients, pings, read=False) == 0
        for ws in clients:
            answered = iter(ws.event, Pong(b"behind it"))
            numbers = [int(one.payload) for one in answered if isinstance(one, Pong)]
            assert numbers == sorted(numbers)
            assert len(numbers) < count


# -- much memory for few bytes --------------------------------------------------------------------

BLOCK = bytes(400_000)


def final_blocks(data: bytes, count: int) -> bytes:
    """Return deflate streams, each with an end, one behind the other."""
    deflate = zlib.compressobj(9, wbits=-15)
    return (deflate.compress(data) + deflate.flush(zlib.Z_FINISH)) * count


def gibibyte() -> bytes:
    """Return a payload that inflates to more than a gibibyte."""
    deflate = zlib.compressobj(9, wbits=-15)
    piece = deflate.compress(bytes(16 * MIB)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return (piece * (MIB // len(piece)))[:MIB]


BOMBS: dict[str, tuple[Callable[[], bytes], int | bytes]] = {
    # What the server answers: a close code or a message.
    "a-byte-too-much": (lambda: compressed(bytes(MIB + 1)), 1009),
    "a-gibibyte": (lambda: encode(Op.BINARY, gibibyte(), rsv=RSV1), 1009),
    "fragments": (
        lambda: fragments(Op.BINARY, [squeeze(BLOCK) + b"\0\0\xff\xff"] * 100, RSV1),
        1009,
    ),
    "final-blocks": (lambda: encode(Op.BINARY, final_blocks(BLOCK, 10), rsv=RSV1), 1009),
    "too-many-final-blocks": (lambda: encode(Op.BINARY, FINAL * 1000, rsv=RSV1), 1007),
    "empty-blocks": (lambda: encode(Op.BINARY, b"\0\0\0\xff\xff" * 200_000, rsv=RSV1), b""),
    "dynamic-blocks": (lambda: encode(Op.BINARY, dynamic_block() * 20_000, rsv=RSV1), b""),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["target", "keeper"])
def test_bombs(request: pytest.FixtureRequest, kind: str) -> None:
    with besieged(request.getfixturevalue(kind)) as carrier:
        for name, (make, answer) in BOMBS.items():
            bomb = make()
            clients = [carrier.open("/echo", extensions=DEFLATE) for _ in range(3)]
            for ws in clients:
                ws.offer(bomb)
            for ws in clients:
                if isinstance(answer, bytes):
                    assert ws.message() == answer, name
                else:
                    assert ws.verdict() == ([], answer), name


@pytest.mark.slow
def test_packets_full_of_bombs(tmp_path: Path) -> None:
    """None of them is too large for itself."""
    with started(tmp_path) as server:
        for path in ("/deaf", "/pieces", "/sink"):
            with besieged(server) as carrier:
                clients = [carrier.open(path, extensions=DEFLATE) for _ in range(3)]
                for ws in clients:
                    ws.offer(packet(MIBS, PACKET // 2))
                    ws.offer(encode(Op.PING, b"x"))
                if path != "/deaf":
                    for ws in clients:
                        while ws.event() != Pong(b"x"):
                            pass


def test_a_message_of_long_characters(target: ServerProcess) -> None:
    """The limit is one of bytes, not of characters."""
    dragons = "\U0001f409".encode() * (MIB // 16)
    with besieged(target) as carrier:
        ws = carrier.open("/echo")
        ws.offer(fragments(Op.TEXT, [dragons] * 12))
        event = ws.event()
        refused = isinstance(event, Close) and event.code == 1009
        assert refused


def test_long_characters_leave_the_queue_as_they_came(target: ServerProcess) -> None:
    text = "\U0001f409" * 15_000
    message = fragments(Op.TEXT, [text[:7500].encode(), text[7500:].encode()])
    with besieged(target) as carrier, target.client() as client:
        ws = carrier.open("/late")
        ws.send(message * 2)
        ask(target, "/seen?running=1")
        client.send(b"GET /release HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert ws.message() == ws.message() == text
        ws.send(message)
        assert ws.message() == text
        ws.shut()
        assert client.response().status == 200


@pytest.mark.parametrize(("kind", "most"), [("target", 60_000), ("keeper", 220_000)])
def test_idle_websockets_that_compress(
    request: pytest.FixtureRequest, kind: str, most: int
) -> None:
    server: ServerProcess = request.getfixturevalue(kind)
    count = 60
    with besieged(server) as carrier:
        before = server.resident
        clients = [carrier.open("/echo", extensions=DEFLATE) for _ in range(count)]
        for number, ws in enumerate(clients):
            ws.send_message(f"hello {number}" * 1000)
        for ws in clients:
            assert ws.message()
        assert (server.resident - before) / count < most


# -- more than anybody wants ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("payload", [b"", b"x" * 1000], ids=["empty", "kilobyte"])
def test_handlers_that_never_receive(target: ServerProcess, payload: bytes) -> None:
    with besieged(target) as carrier:
        clients = [carrier.open(path) for path in ("/deaf", "/raw_deaf") * 2]
        assert press(clients, packet(encode(Op.BINARY, payload), 24 * MIB), stuck=True) == 4


@pytest.mark.slow
def test_one_message_of_fragments_of_one_byte(target: ServerProcess) -> None:
    one = encode(Op.CONTINUATION, b"x", fin=False)
    with besieged(target) as carrier:
        deaf = carrier.open("/deaf")
        assert press([deaf], BEGIN + one * (12 * MIB // len(one)), stuck=True) == 1
        ws = carrier.open("/echo")
        ws.send(BEGIN + one * 50_000 + encode(Op.CONTINUATION))
        assert ws.message() == b"x" * 50_000


def test_bytes_one_by_one(target: ServerProcess) -> None:
    with besieged(target) as carrier:
        ws = carrier.open("/echo", extensions=DEFLATE)
        ws.send(ws.encode_message("hello" * 100, size=30), 1)
        assert ws.message() == "hello" * 100
        ws.send(ws.encode_message("hello" * 100, compress=False), 1)
        assert ws.message() == "hello" * 100


@pytest.mark.parametrize("length", [1 << 40, (1 << 63) - 1])
def test_frames_that_are_announced_and_never_come(target: ServerProcess, length: int) -> None:
    with besieged(target) as carrier:
        for path in ("/echo", "/deaf", "/pieces"):
            for rsv in (0, RSV1):
                ws = carrier.open(path, extensions=DEFLATE)
                ws.send(encode(Op.BINARY, length=length, rsv=rsv))
                assert ws.verdict() == ([], 1009)


@pytest.mark.parametrize("handler", ["echo", "deaf"])
def test_what_follows_a_close(target: ServerProcess, handler: str) -> None:
    with besieged(target) as carrier:
        ws = carrier.open(f"/{handler}", extensions=DEFLATE)
        ws.send(encode(Op.CLOSE, b"\x03\xe8"))
        ws.offer(packet(MIBS) * 20)
        ws.offer(encode(Op.PING) * 100_000)
        assert ws.rest() == [Close(1000)]


# -- less than agreed -----------------------------------------------------------------------------

HALVES = {
    "nothing": b"",
    "a-byte": b"\x82",
    "half-a-length": encode(Op.BINARY, length=1000)[:3],
    "half-a-mask": encode(Op.BINARY, length=1000)[:6],
    "a-head": encode(Op.BINARY, length=1000),
    "half-a-payload": encode(Op.BINARY, b"x" * 500, length=1000),
    "half-a-ping": encode(Op.PING, b"x" * 50, length=100),
    "half-a-message": BEGIN,
    "half-a-character": encode(Op.TEXT, b"\xf0\x9f", fin=False),
}


@pytest.mark.slow
def test_half_frames_are_cut_off_in_time(impatient: ServerProcess) -> None:
    with besieged(impatient) as carrier:
        clients = [carrier.open("/echo") for _ in HALVES]
        for ws, half in zip(clients, HALVES.values(), strict=True):
            ws.send(half)
        assert min(seconds_until_closed(clients, 6)) > 1
        assert ask(impatient, "/seen?running=0")["ended"] == len(HALVES)


UNREAD = ["/endless", "/spread", "/raw_sending"]


@pytest.mark.slow
def test_who_never_reads_is_cut_off_in_time(impatient: ServerProcess) -> None:
    with besieged(impatient) as carrier:
        begin = time.monotonic()
        for path in UNREAD * 3:
            carrier.open(path)
        # They send, too, but do not read the answers.
        talking = [carrier.open(path) for path in ("/echo", "/raw_echo")]
        assert press(talking, encode(Op.BINARY, bytes(PACKET)) * 400, read=False) == 0
        seen = ask(impatient, f"/seen?running=0&ended={3 * len(UNREAD) + 2}")
        assert seen["running"] == 0
        assert 1 < time.monotonic() - begin < 6


@pytest.mark.slow
def test_who_does_not_answer_a_close_is_cut_off_in_time(impatient: ServerProcess) -> None:
    with besieged(impatient) as carrier:
        clients = [carrier.open("/close") for _ in range(3)]
        # One says nothing, one sends messages for ever, one pings.
        for _ in range(3):
            clients[1].send(encode(Op.TEXT, b"x") * 100)
            clients[2].send(encode(Op.PING) * 100)
        assert ask(impatient, "/seen?running=0&ended=3")["ended"] == 3
        for ws in clients:
            assert ws.rest() == [Close(1000)]


@pytest.mark.slow
def test_handshakes_that_never_end(impatient: ServerProcess) -> None:
    head = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgr"
    with besieged(impatient):
        clients = [impatient.client() for _ in range(20)]
        for client in clients:
            client.send(head)
        for client in clients:
            assert client.response().status == 408
            client.close()


# -- lies -----------------------------------------------------------------------------------------

LIES = {
    "unmasked": encode(Op.TEXT, b"hello", key=None),
    "unmasked-ping": encode(Op.PING, key=None),
    **{f"rsv-{rsv}": encode(Op.TEXT, b"hello", rsv=rsv) for rsv in (1, 2, 3, 5, 6, 7)},
    **{f"opcode-{op}": encode(op) for op in (3, 7, 11, 15)},
    "long-ping": encode(Op.PING, bytes(126)),
    "half-a-ping": encode(Op.PING, fin=False),
    "compressed-ping": encode(Op.PING, rsv=RSV1),
    "not-begun": encode(Op.CONTINUATION),
    "begun-twice": encode(Op.TEXT, fin=False) * 2,
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.slow
def test_lies(target: ServerProcess) -> None:
    with besieged(target) as carrier:
        for name, lie in LIES.items():
            for path in ("/echo", "/deaf", "/pieces"):
                ws = carrier.open(path, extensions=DEFLATE)
                ws.send(lie)
                ws.offer(lie * 1000)
                assert ws.verdict() == ([], 1002), name


@pytest.mark.slow
def test_random_bytes(target: ServerProcess) -> None:
    """Each gets a Close, unless it was the beginning of something; nothing is an error of ours."""
    with besieged(target) as carrier:
        for seed in range(300):
            noise = random.Random(seed)
            ws = carrier.open("/sink" if seed % 2 else "/pieces", extensions=DEFLATE)
            if seed % 3:  # a good head, so that what follows it is looked at
                op = noise.choice([Op.TEXT, Op.BINARY])
                head = encode(op, length=noise.randrange(126), rsv=noise.choice([0, RSV1]))
                ws.send(head)
            ws.offer(noise.randbytes(300))
            try:
                ws.finish()
                events = ws.rest()
            except (OSError, TransportEnded):
                continue  # it was closed meanwhile
            codes = {one.code for one in events if isinstance(one, Close)}
            assert codes <= {1000, 1002, 1005, 1007, 1009} or min(codes) >= 3000, (seed, events)


# -- leaving --------------------------------------------------------------------------------------


def leave_in_many_ways(server: ServerProcess, paths: Sequence[str]) -> None:
    """Open WebSockets and be gone, without a word or in the middle of one."""
    carrier = attacker(server)
    ways: list[Callable[[WebSocketClient], object]] = [
        lambda ws: None,
        WebSocketClient.close,
        WebSocketClient.finish,
        lambda ws: ws.send(encode(Op.BINARY, bytes(9), length=1000)),
        lambda ws: ws.send(encode(Op.BINARY, bytes(1 << 17))),
        lambda ws: ws.send(encode(Op.CLOSE)),
        lambda ws: ws.send(b"\xff" * 100),
        lambda ws: ws.send_message("half", size=1),
    ]
    for path in paths:
        for way in ways:
            for extensions in ("", DEFLATE):
                ws = carrier.open(path, extensions=extensions)
                try:
                    way(ws)
                except (OSError, TransportEnded):
                    pass  # it was closed meanwhile
                if way is not WebSocketClient.close:
                    ws.vanish()
        # In the middle of the handshake, and before the answer to it.
        for wait in (False, True):
            with server.client() as client:
                client.send(b"GET %b HTTP/1.1\r\nHost: localhost\r\n" % path.encode())
                if wait:
                    client.send(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    ask(server, "/release")


@pytest.mark.slow
def test_leaving_at_once_leaks_nothing(tmp_path: Path) -> None:
    paths = ("/echo", "/deaf", "/endless", "/pieces", "/close", "/raw_echo", "/raw_leaving")
    with started(tmp_path) as server, besieged(server):
        leave_in_many_ways(server, paths)
        before = ask(server, "/kept")
        leave_in_many_ways(server, paths)
        deadline = time.monotonic() + 5
        while True:
            kept = ask(server, "/kept")
            # Greenlets are parked, as many as there ever were requests at once.
            more = {name for name in kept if kept[name] > before[name] + 50 * (name == "greenlets")}
            if not more and not any(kept[name] for name in ("WebSocket", "RawSocket", "Offer")):
                break
            assert time.monotonic() < deadline, (more, before, kept)
