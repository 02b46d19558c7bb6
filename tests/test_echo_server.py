from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any

import pytest

import echo_server
from conftest import ROOT, TIMEOUT, LineClient, Server, called, command, running
from echo_server import Client, Totals, handle_message, read_messages

SCRIPT = ROOT / "echo_server.py"


def options(**changes: Any) -> Namespace:
    defaults = {"raw": False, "password": None, "rate": None, "history": 10, "timeout": TIMEOUT}
    return Namespace(**defaults | changes)


@contextmanager
def echoing(**changes: Any) -> Iterator[Any]:
    """An echo server in a thread; yields its address."""
    handler = partial(echo_server.handle_client, totals=Totals(), options=options(**changes))
    with running(echo_server.serve, handler) as address:
        yield address


class Pieces:
    """A connection from which these pieces come."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = iter(pieces)

    def recv(self, _: int) -> bytes:
        return next(self.pieces, b"")


def answers(*pieces: bytes, now: float = 0.0, **changes: Any) -> bytes:
    """Return the replies to a client from which `pieces` come, one after the other."""
    rules, totals = options(**changes), Totals()
    client, replies = Client(rules), b""
    totals.connected = 1
    connection: Any = Pieces(*pieces)
    for message in read_messages(connection, rules.raw):
        if not client.leaving:
            replies += handle_message(message, client, totals, rules, now)
    return replies


# The pure part


@pytest.mark.parametrize(
    "piece",
    [b"Hello", b"Hello\n", b"a\r\nb\r\n", b"\n", b"\0\xff\x80", b"QUITE\n", b" QUIT\n", b"quit\n"],
)
def test_all_but_commands_come_back(piece: bytes) -> None:
    assert answers(piece) == piece


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r"])
def test_command_with_any_line_end(end: bytes) -> None:
    assert answers(b"STATS" + end) == b"STATS messages=0 total=0 clients=1\n"
    assert answers(b"QUIT" + end) == b"BYE\n"


def test_two_commands_in_one_piece_are_two() -> None:
    assert (
        answers(b"one\nSTATS\nHISTORY\n")
        == b"one\nSTATS messages=1 total=1 clients=1\nHISTORY 1\none\n"
    )


def test_command_has_one_line_end() -> None:
    assert (
        answers(b"QUIT\r\r\n", b"STATS\n\r") == b"QUIT\r\r\nSTATS messages=1 total=1 clients=1\n\r"
    )


def test_command_in_pieces_is_none() -> None:
    assert answers(b"ST", b"ATS\n", b"STATS\n") == b"STATS\nSTATS messages=2 total=2 clients=1\n"


def test_nothing_is_answered_after_quit() -> None:
    assert answers(b"one\nQUIT\ntwo\n") == b"one\nBYE\n"


def test_more_than_4_kib_is_data() -> None:
    """One message, and no command is looked for in it."""
    bulk = b"STATS\n" * 683
    assert len(bulk) > echo_server.MAX_TEXT
    assert answers(bulk, b"STATS\n") == bulk + b"STATS messages=1 total=1 clients=1\n"
    bulk = bulk[: echo_server.MAX_TEXT]
    assert answers(bulk, b"STATS\n").startswith(b"STATS messages=0 total=0 clients=1\n" * 600)


def test_raw_knows_no_command() -> None:
    assert answers(b"QUIT\n", b"STATS", raw=True) == b"QUIT\nSTATS"


def test_history_is_escaped_cut_and_bounded() -> None:
    pieces = [b"%d\n" % number for number in range(5)]
    assert answers(*pieces, b"HISTORY\n", history=3).endswith(b"4\nHISTORY 3\n2\n3\n4\n")
    assert answers(*pieces, b"HISTORY\n", history=0).endswith(b"4\nHISTORY 0\n")
    assert answers(b"\x1b[2J\xff\r\n", b"HISTORY\n").endswith(b"HISTORY 1\n\\x1b[2J\\xff\n")
    assert answers(b"x" * 9000, b"HISTORY\n").endswith(
        b"HISTORY 1\n" + b"x" * echo_server.MAX_SHOWN + b"\n"
    )


def test_rate_holds_in_any_second() -> None:
    rules, totals = options(rate=2), Totals()
    client = Client(rules)
    times = [0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
    got = [handle_message(b"x\n", client, totals, rules, now) for now in times]
    refused = b"ERROR rate limit\n"
    assert got == [b"x\n", b"x\n", refused, b"x\n", refused, b"x\n", refused]
    assert client.messages == totals.messages == 4


def test_password_comes_first() -> None:
    required = b"ERROR authentication required\n"
    secret: dict[str, Any] = {"password": "geheim é"}
    assert answers(b"Hello\n", b"QUIT\n", b"AUTH\n", b"AUTH geheim\n", **secret) == 4 * required
    assert answers("AUTH geheim é\r\nHello\n".encode(), **secret) == b"OK\nHello\n"
    assert (
        answers("AUTH geheim é".encode(), b"AUTH wrong", b"Hello", **secret)
        == b"OK\n" + required + b"Hello"
    )
    assert answers(*[b"AUTH x\n"] * 9, **secret) == 3 * required
    assert answers("AUTH geheim é\n".encode(), b"AUTHOR\n", **secret) == b"OK\nAUTHOR\n"


def test_secrets_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        answers(
            b"geheim\n",
            b"AUTH geheim2\n",
            b"AUTH geheim\n",
            b"AUTH geheim\n",
            b"open\n",
            password="geheim",
        )
    assert "open" in caplog.text
    assert "geheim" not in caplog.text


# Over a socket


def test_message_without_line_end_is_echoed_at_once() -> None:
    with echoing() as address, LineClient(address) as client:
        for message in (b"Hello", b"Advanced", b"Python"):
            client.send(message)
            assert client.socket.recv(100) == message


def test_flood_of_costly_commands_does_not_delay_the_stop() -> None:
    with echoing() as address, LineClient(address) as client:
        for _ in range(10):
            assert len(client.ask("\x01" * 800)) == 800
        client.send(b"HISTORY\n" * 500)
        assert client.line() == "HISTORY 10"
        client.send(b"HISTORY\n" * 500)
        start = time.monotonic()
    assert time.monotonic() - start < 2


def test_time_is_local_with_offset() -> None:
    with echoing() as address, LineClient(address) as client:
        answer = client.ask("TIME")
        now = datetime.now().astimezone()
        then = datetime.fromisoformat(answer)
        assert then.utcoffset() == now.utcoffset()
        assert abs((now - then).total_seconds()) < TIMEOUT


def test_stats_add_up_over_clients() -> None:
    with echoing() as address:
        with LineClient(address) as one, LineClient(address) as two:
            assert one.ask("a") == "a"
            assert two.ask("b") == "b"
            assert two.ask("c") == "c"
            assert one.ask("STATS") == "STATS messages=1 total=3 clients=2"
            two.send(b"QUIT\n")
            assert two.rest() == b"BYE\n"
        with LineClient(address) as three:
            assert re.fullmatch(r"STATS messages=0 total=3 clients=[12]", three.ask("STATS"))


def test_history_is_the_clients_own() -> None:
    with echoing() as address, LineClient(address) as one, LineClient(address) as two:
        assert one.ask("mine") == "mine"
        assert two.ask("HISTORY") == "HISTORY 0"


@pytest.mark.parametrize("raw", [False, True])
def test_stream_comes_back_byte_for_byte(raw: bool) -> None:
    """More than all buffers hold, in which a reader that is late must not lose anything."""
    block = os.urandom(1 << 20)
    with echoing(raw=raw) as address, LineClient(address) as client:

        def send() -> None:
            for _ in range(32):
                client.send(block)
            client.half_close()

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        for number in range(32):
            assert client.stream.read(len(block)) == block, f"block {number}"
        assert client.rest() == b""
        thread.join()


@pytest.mark.parametrize(("raw", "farewell"), [(False, b"ERROR timeout\n"), (True, b"")])
def test_idle_client_is_told(raw: bool, farewell: bytes) -> None:
    with echoing(timeout=0.1, raw=raw) as address, LineClient(address) as client:
        assert client.rest() == farewell


def test_three_wrong_passwords_close() -> None:
    with echoing(password="x") as address, LineClient(address) as client:
        client.send(b"Hello\n" * 5 + b"AUTH y\n" * 9)
        assert client.rest() == b"ERROR authentication required\n" * 8


def test_silent_reader_stops_only_itself() -> None:
    """One client sends and never reads; another one is served, and the server stops all the same."""
    with echoing() as address, LineClient(address) as deaf, LineClient(address) as other:
        deaf.socket.settimeout(0.2)
        with suppress(TimeoutError):
            while True:
                deaf.send(bytes(1 << 20))
        assert other.ask("Hello") == "Hello"


def test_stop_hangs_up() -> None:
    with echoing() as address:
        client = LineClient(address)
        assert client.ask("Hello") == "Hello"
    with client:
        assert client.rest() == b""


# As a command


def test_console() -> None:
    with Server(SCRIPT) as server:
        with LineClient(server.address) as client:
            for message in (b"Hello", b"Advanced\n", b"\x1b[2J\xff"):
                client.send(message)
                assert client.socket.recv(100) == message
            host, port = client.socket.getsockname()
        code, out, err = server.stop()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d "
    assert re.sub(r"\d\.\d s$", "N s", re.sub(f"(?m)^{stamp}", "", err), flags=re.MULTILINE) == (
        f"Connection from ('{host}', {port})\n"
        "Received: Hello\nEchoed: Hello\n"
        "Received: Advanced\nEchoed: Advanced\n"
        "Received: \\x1b[2J\\xff\nEchoed: \\x1b[2J\\xff\n"
        f"Connection closed ('{host}', {port}): 3 messages, 19 bytes, N s\n"
        "Server stopped: 1 client, 3 messages, 19 bytes\n"
    )
    assert (code, out) == (0, "")


@pytest.mark.parametrize(
    "wrong",
    [
        ["--password", "x", "--raw"],
        ["--password", "x", "--udp"],
        ["--password", ""],
        ["--password", "a\nb"],
        ["--rate", "1", "--raw"],
        ["--rate", "0"],
        ["--history", "-1"],
    ],
    ids=" ".join,
)
def test_wrong_usage(wrong: list[str]) -> None:
    result = called(SCRIPT, wrong)
    assert (result.returncode, result.stdout) == (2, "")
    assert "echo_server.py: error: " in result.stderr


def test_password_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHO_PASSWORD", "geheim")
    with Server(SCRIPT) as server, LineClient(server.address) as client:
        assert client.ask("AUTH geheim") == "OK"
    assert command(SCRIPT, "--raw").returncode == 2


# UDP


@contextmanager
def datagrams() -> Iterator[tuple[Server, socket.socket]]:
    with (
        Server(SCRIPT, "--udp") as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(TIMEOUT)
        client.connect(server.address)
        yield server, client


def test_datagram_comes_back() -> None:
    with datagrams() as (server, client):
        for datagram in (b"Hello", b"", b"QUIT", b"\xff\0\n", os.urandom(65_507)):
            client.send(datagram)
            assert client.recv(65_535) == datagram
        code, out, err = server.stop(signal.SIGTERM)
    assert (code, out) == (0, "")
    assert err.count("Echoed") == 5
    assert "Server stopped: 5 datagrams, 65519 bytes" in err


def low_port(client: socket.socket) -> None:
    """Bind `client` to a free port below 1024, which takes root on most systems."""
    for port in range(1023, 511, -1):
        with suppress(OSError):
            client.bind(("127.0.0.1", port))
            return
    pytest.skip("may not bind a port below 1024")


def test_low_ports_are_ignored() -> None:
    """Two echo services that answer each other would never stop."""
    with (
        datagrams() as (server, client),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service,
    ):
        low_port(service)
        service.sendto(b"loop", server.address)
        client.send(b"Hello")
        assert client.recv(100) == b"Hello"
        service.setblocking(False)
        with pytest.raises(BlockingIOError):
            service.recv(100)


def test_udp_over_ipv6() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with (
        Server(SCRIPT, "--udp", "--host", "::1") as server,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(TIMEOUT)
        client.sendto(b"Hello", server.address)
        assert client.recv(100) == b"Hello"


def test_udp_port_in_use() -> None:
    with Server(SCRIPT, "--udp", "--host", "127.0.0.1") as server:
        result = command(SCRIPT, "--udp", "--host", "127.0.0.1", "--port", str(server.address[1]))
    assert result.returncode == 1
    assert re.fullmatch(r"echo_server\.py: error: cannot listen on .+\n", result.stderr)
