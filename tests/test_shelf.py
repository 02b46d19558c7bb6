"""A shelf of small broken servers, each with one classic bug: the battery must reject every one of them.

The sound one answers a line with the same in capitals, and its length.
"""

from __future__ import annotations

import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest

import battery
from conftest import LineClient, Server


def in_pieces(address: Any, talk: battery.Dialogue) -> None:
    """The dialogue, byte by byte."""
    battery.replay(address, talk, size=1)


def with_crlf(address: Any, talk: battery.Dialogue) -> None:
    """The dialogue, with CRLF."""
    battery.replay(address, talk, end=b"\r\n")


TALK = [("C", "hello"), ("S", "HELLO 5"), ("C", "world"), ("S", "WORLD 5")]

SOUND = """
import os, signal, socket, sys, threading

signal.signal(signal.SIGINT, lambda *_: sys.exit(0))

def shout(line):
    line = line.strip().upper()
    return b"%s %d\\n" % (line, len(line))

def converse(connection):
    with connection, connection.makefile("rb") as lines:
        try:
            for line in lines:
                connection.sendall(shout(line))
        except OSError:
            pass

def start(connection):
    threading.Thread(target=converse, args=(connection,), daemon=True).start()

# BUG
listener = socket.create_server(("127.0.0.1", 0), backlog=512)
print(f"Server listening on 127.0.0.1:{listener.getsockname()[1]}...", flush=True)
while True:
    try:
        connection, _ = listener.accept()
    except OSError:  # Windows: the client is gone already
        continue
    start(connection)
"""

# What a broken server does in place of the sound one, and the check that has to notice.
BUGS = {
    "one recv is one message": (
        battery.one_segment,
        """
        def converse(connection):
            with connection:
                while message := connection.recv(1024):
                    connection.sendall(shout(message))
        """,
    ),
    "pieces are messages": (
        in_pieces,
        """
        def converse(connection):
            with connection:
                while message := connection.recv(3):
                    connection.sendall(shout(message))
        """,
    ),
    "send for sendall": (
        battery.slow_reader,
        """
        def converse(connection):
            with connection, connection.makefile("rb") as lines:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                connection.settimeout(30)  # from then on send() sends what fits
                answers = b""
                for line in lines:
                    answers += shout(line)
                    if len(answers) > 10_000:
                        connection.send(answers)
                        answers = b""
        """,
    ),
    "the end of file is ignored": (
        battery.half_close,
        """
        def converse(connection):
            pending = b""
            while True:
                pending += connection.recv(1024)
                while b"\\n" in pending:
                    line, _, pending = pending.partition(b"\\n")
                    connection.sendall(shout(line))
        """,
    ),
    "the end of file is not noticed without a request": (
        battery.early_end,
        """
        def converse(connection):
            line = b""
            while not line.endswith(b"\\n"):
                line += connection.recv(1)
            connection.sendall(shout(line))
            connection.close()
        """,
    ),
    "one request a connection": (
        battery.one_segment,
        """
        def converse(connection):
            with connection, connection.makefile("rb") as lines:
                connection.sendall(shout(lines.readline()))
        """,
    ),
    "a last line without an end is lost": (
        battery.half_close,
        """
        def converse(connection):
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    if line.endswith(b"\\n"):
                        connection.sendall(shout(line))
        """,
    ),
    "CR is part of the answer": (
        with_crlf,
        """
        def shout(line):
            line = line.removesuffix(b"\\n").upper()
            return b"%s %d\\n" % (line, len(line))
        """,
    ),
    "bad UTF-8 kills the server": (
        battery.bad_utf_8,
        """
        def start(connection):
            with connection, connection.makefile("r", encoding="utf-8") as lines:
                for line in lines:
                    connection.sendall(shout(line.encode()))
        """,
    ),
    "NUL kills the server": (
        battery.nul_bytes,
        """
        def shout(line):
            if b"\\0" in line:
                os._exit(1)
            line = line.strip().upper()
            return b"%s %d\\n" % (line, len(line))
        """,
    ),
    "a long line kills the server": (
        battery.over_long_line,
        """
        def shout(line):
            if len(line) > 100_000:
                os._exit(1)
            line = line.strip().upper()
            return b"%s %d\\n" % (line, len(line))
        """,
    ),
    "one client at a time": (
        battery.silent_client,
        """
        def start(connection):
            converse(connection)
        """,
    ),
    "a reset kills the server": (
        battery.reset,
        """
        def start(connection):
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    connection.sendall(shout(line))
        """,
    ),
    "room for a hundred": (
        battery.many_clients,
        """
        seats = threading.Semaphore(100)
        def start(connection):
            if seats.acquire(blocking=False):
                threading.Thread(target=converse, args=(connection,), daemon=True).start()
            else:
                connection.close()
        """,
    ),
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less for what will not come."""
    monkeypatch.setattr("conftest.TIMEOUT", 0.3)
    monkeypatch.setattr("battery.TIMEOUT", 0.3)


def start(folder: Path, bug: str) -> Server:
    script = folder / "shouting_server.py"
    script.write_text(SOUND.replace("# BUG", textwrap.dedent(bug)), encoding="utf-8")
    return Server(script)


@pytest.mark.parametrize(
    "check", [*battery.CHECKS, in_pieces, with_crlf], ids=lambda check: check.__name__
)
def test_sound_server_passes(tmp_path: Path, check: battery.Check) -> None:
    with start(tmp_path, "") as server:
        check(server.address, TALK)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("bug", BUGS)
def test_battery_rejects(tmp_path: Path, bug: str) -> None:
    check, code = BUGS[bug]
    with start(tmp_path, code) as server, pytest.raises((AssertionError, OSError)):
        check(server.address, TALK)


@pytest.mark.usefixtures("quick")
def test_no_hang_up_on_stop_is_rejected(tmp_path: Path) -> None:
    bug = """
    signal.signal(getattr(signal, "SIGBREAK", signal.SIGINT), signal.SIG_IGN)
    """
    with (
        start(tmp_path, bug) as server,
        LineClient(server.address),
        pytest.raises(subprocess.TimeoutExpired),
    ):
        server.stop()
