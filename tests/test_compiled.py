"""The compiled modules: that they are what is tested, and that they do the same as their source."""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import gserver
from gserver.api.errors import RemoteProtocolError
from gserver.config import Config
from gserver.environ import template
from gserver.http1 import parser as imported
from gserver.request import Limits

MODULES = [
    "gserver.clock",
    "gserver.exchange",
    "gserver.fields",
    "gserver.stream",
    "gserver.transport",
    "gserver.turn",
    "gserver.handler",
    "gserver.http1.parser",
    "gserver.http1.stream",
    "gserver.http1.protocol",
    "gserver.http1.tunnel",
    "gserver.http2.defence",
    "gserver.http2.request",
    "gserver.http2.stream",
    "gserver.http2.protocol",
    "gserver.http2.tunnel",
    "gserver.request",
    "gserver.websocket.frames",
    "gserver.websocket.offer",
    "gserver.websocket.session",
    "gserver.websocket.blocking",
]
PURE = bool(os.environ.get("GSERVER_PURE"))


@pytest.mark.parametrize("name", MODULES)
def test_the_form_that_was_asked_for_is_loaded(name: str) -> None:
    path = Path(importlib.import_module(name).__file__ or "")
    if PURE:
        assert path.suffix == ".py"
    elif shutil.which("cc") is None:
        pytest.skip("cc, a C compiler, is not installed")
    else:
        assert path.suffix == ".so", "not compiled: run make test, or pip install -e ."


@pytest.mark.parametrize("name", MODULES)
def test_the_compiled_module_is_not_older_than_its_source(name: str) -> None:
    path = Path(importlib.import_module(name).__file__ or "")
    folder = Path(gserver.__file__).parent.parent
    source = folder / (name.replace(".", "/") + ".py")
    for one in (source, source.with_suffix(".pxd")):
        if path.suffix == ".so" and one.exists():
            assert path.stat().st_mtime >= one.stat().st_mtime, f"{one.name} changed: run make test"


def load_pure() -> Any:
    path = str(Path(gserver.__file__).parent / "http1" / "parser.py")
    spec = spec_from_loader("pure_parser", SourceFileLoader("pure_parser", path))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pure = load_pure()


def parse(module: Any, pieces: list[bytes]) -> list[Any]:
    """Feed `pieces` as the protocol does, and tell all that the parser says."""
    environ = template(Config(), "http", ("a", "1"))
    parser = module.RequestParser(Limits(Config(limit_request_head=2000)), environ)
    seen: list[Any] = []
    waiting = list(pieces)
    while waiting:
        data = waiting.pop(0)
        try:
            if parser.request is None:
                parser.feed(data)
            else:
                parser.feed_body(data)
        except RemoteProtocolError as exc:
            seen.append((exc.status, exc.reason))
            break
        if parser.request is None:
            continue
        if parser.length > 0 and not parser.complete:
            seen.append(("counted", parser.length, parser.chunks))
            break
        if parser.complete:
            request = {k: v for k, v in parser.request.items() if isinstance(v, str)}
            seen.append((request, parser.length, parser.keep_alive, parser.chunks, parser.trailers))
            unused = parser.unused
            parser.next()
            if unused:
                waiting.insert(0, unused)
    return seen


ALPHABET = [
    b"GET / HTTP/1.1\r\n",
    b"POST /a?b=%20 HTTP/1.1\r\n",
    b"HEAD http://h/x HTTP/1.0\r\n",
    b"Host: a\r\n",
    b"host: b \r\n",
    b"X_Y: 1\r\n",
    b"Cookie: a=b\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: x\r\n",
    b"Expect: 100-continue\r\n",
    b"\r\n",
    b"\n",
    b"abc",
    b"3\r\nabc\r\n",
    b"0\r\n",
    b"X-Trailer: t\r\n",
    b" ",
    b"\x00",
]


CHUNKED_THEN_GET = [
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"3\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
]


@given(st.lists(st.sampled_from(ALPHABET), max_size=14), st.lists(st.integers(0, 200), max_size=4))
@example([b"GET / HTTP/1.1\r\n", b"Host: a\r\n", b"\r\n"] * 2, [])
@example(CHUNKED_THEN_GET, [60])
def test_compiled_and_pure_parser_agree(words: list[bytes], cuts: list[int]) -> None:
    data = b"".join(words)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    assert parse(imported, pieces) == parse(pure, pieces)
