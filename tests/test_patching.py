"""Monkey-patching: it comes before the application, and what came too early is told.

Patching cannot be undone, so all of this happens in processes of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Command

ADVICE = "import these modules later, or call gevent.monkey.patch_all() before them"
REPORT = "import json; from gserver.patching import patch; print(json.dumps(patch()))"

# Modules that are imported before patching, and what they keep.
EARLY = {
    "a_function": ("from time import sleep", "time.sleep"),
    "another_name": ("import time; pause = time.sleep", "time.sleep"),
    "two_things": ("from socket import socket, getaddrinfo", "socket.getaddrinfo, socket.socket"),
    "a_subclass": ("import socket\nclass Mine(socket.socket): pass", "socket.socket"),
    "an_instance": ("import threading; data = threading.local()", "threading.local"),
    "a_lock": ("import threading; lock = threading.Lock()", "threading.Lock"),
    "a_queue": ("import queue; jobs = queue.Queue()", "queue.Queue"),
    "a_context": ("from ssl import SSLContext", "ssl.SSLContext"),
    "a_process": ("from subprocess import run, CompletedProcess", "subprocess.run"),
    "modules_only": ("import time, socket, ssl, threading, queue, select, subprocess", None),
    "constants": ("from socket import AF_INET, SOCK_STREAM, timeout", None),
    "other_functions": ("from time import time, monotonic, strftime", None),
    "harmless": ("from threading import get_ident\nfrom subprocess import CompletedProcess", None),
    "objects": (
        "import sys, types\n"
        "class Lazy:\n"
        "    @property\n"
        "    def __class__(self): raise RuntimeError('woken')\n"
        "sys.modules['slots'] = type('Slots', (), {'__slots__': ()})()\n"
        "sys.modules['nothing'] = None\n",
        None,
    ),
}


def run(code: str, folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    lines: list[str] = json.loads(done.stdout)
    return lines


def test_what_was_imported_too_early_is_told_and_nothing_else(tmp_path: Path) -> None:
    for name, (source, _) in EARLY.items():
        (tmp_path / f"{name}.py").write_text(source)
    lines = run(f"import {', '.join(EARLY)}; {REPORT}", tmp_path)
    assert lines == [
        *sorted(
            f"{name} was imported too early to be patched: it keeps the blocking {held}"
            for name, (_, held) in EARLY.items()
            if held
        ),
        ADVICE,
    ]


def test_third_party_that_was_imported_too_early(tmp_path: Path) -> None:
    lines = run(f"import requests; {REPORT}", tmp_path)
    told = "urllib3.util.ssl_ was imported too early to be patched: it keeps the blocking "
    assert f"{told}ssl.SSLContext" in lines
    assert lines[-1] == ADVICE
    # Also known as requests.packages.urllib3.
    assert len(lines) == len({line.split()[0] for line in lines})


@pytest.mark.parametrize(
    "before",
    [
        "",
        "import gserver, gserver.api, gserver.config, gserver.cli, gserver.server, gserver.tls",
        "import gevent.monkey; gevent.monkey.patch_all(); import requests",
        "from gserver.patching import patch; patch(); import requests",
        "import coverage; coverage.Coverage(data_file=None).start()",
    ],
)
def test_nothing_to_tell(before: str, tmp_path: Path) -> None:
    assert run(f"{before}\n{REPORT}", tmp_path) == []


APP = """
import socket, threading, time
import gevent.socket, gevent.hub, gevent.lock
from gserver.api import lite

patched = (socket.socket, time.sleep) == (gevent.socket.socket, gevent.hub.sleep)
assert patched, "the application was imported before patching"

@lite
def app(environ):
    return "200 OK", [], [b"served"]
"""


@pytest.mark.parametrize("program", [["-m", "gserver"], ["-m", "coverage", "run", "-m", "gserver"]])
def test_clean_start_patches_first_and_warns_of_nothing(
    program: list[str], command: Command, tmp_path: Path
) -> None:
    running = command(
        *("app:app", "--bind", "127.0.0.1:0"),
        app=APP,
        program=[sys.executable, "-W", "always", *program],
        environment={"COVERAGE_FILE": str(tmp_path / "coverage")},
    ).wait_ready()
    with running.client() as client:
        assert client.get().body == b"served"
    running.signal(15)
    assert running.wait() == 0
    assert "WARN" not in running.text.upper()


def test_start_by_a_program_that_imported_too_much(command: Command) -> None:
    launcher = "import requests\nfrom gserver.cli import main\nmain()"
    running = command(
        *("app:app", "--bind", "127.0.0.1:0"), app=APP, program=[sys.executable, "-c", launcher]
    ).wait_ready()
    told = "[WARNING] urllib3.util.ssl_ was imported too early to be patched: it keeps the blocking"
    assert f"{told} ssl.SSLContext\n" in running.text
    assert f"[WARNING] {ADVICE}\n" in running.text
    with running.client() as client:
        assert client.get().body == b"served"
    running.signal(15)
    assert running.wait() == 0
