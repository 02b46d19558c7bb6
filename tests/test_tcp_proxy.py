from __future__ import annotations

import errno
import logging
import os
import random
import re
import signal
import socket
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import tcp_proxy
from battery import MANY
from conftest import (
    EARLY,
    ROOT,
    TIMEOUT,
    WINDOWS,
    LineClient,
    Server,
    command,
    free_port,
    limited,
    running,
    scripted,
)
from echo_server import serve as serve_threads

SCRIPT = ROOT / "tcp_proxy.py"
MEGABYTES = 3_000_000  # bytes: more than all buffers hold, and no multiple of any of them
STALL = 32_000_000  # bytes that sockets and proxy never take while nobody reads them
PAIR = re.compile(r"\d+\.\d{3} ([CS])(?:: (.*)| closes)")

Handler = Callable[[socket.socket], object]


@contextmanager
def serving(handler: Handler) -> Iterator[Any]:
    """A server that does `handler(connection)` for each client; yields its address."""

    def handle_client(connection: socket.socket, address: object) -> str:
        connection.settimeout(TIMEOUT)
        with suppress(ConnectionError):
            handler(connection)
        return "done"

    with running(serve_threads, handle_client) as address:
        yield address


@contextmanager
def proxy_to(address: Any, record: Path | None = None, **changes: Any) -> Iterator[Any]:
    """A proxy in a thread, to the server with this address; yields its own."""
    defaults = {"to": address[:2], "pieces": None, "merge": 0.0, "delay": 0.0}
    defaults |= {"jitter": 0.0, "rate": None, "cut": None, "reset": False}
    defaults |= {"seed": 0, "quiet": False}
    args = Namespace(**defaults | {"record": record} | changes)
    with ExitStack() as stack:
        file = stack.enter_context(open(record, "wb", buffering=0)) if record else None
        yield stack.enter_context(running(tcp_proxy.serve, file, args))


@contextmanager
def proxied(handler: Handler, **changes: Any) -> Iterator[Any]:
    """A proxy before such a server; yields the proxy's address."""
    with serving(handler) as server, proxy_to(server, **changes) as address:
        yield address


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


def receive_all(connection: socket.socket) -> bytes:
    received = bytearray()
    while data := connection.recv(65536):
        received += data
    return bytes(received)


def exchange(address: Any, data: bytes) -> bytes:
    """Send `data` and close this side, while reading what comes until the other side closes."""
    with LineClient(address) as client:

        def send() -> None:
            with suppress(OSError):
                client.send(data)
                client.half_close()

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        try:
            return client.rest()
        finally:
            sender.join(TIMEOUT)


def receive_pieces(address: Any, count: int) -> list[bytes]:
    """Return what each recv() of a client gives, until there are so many bytes."""
    received: list[bytes] = []
    with LineClient(address) as client:
        while len(b"".join(received)) < count:
            received.append(client.socket.recv(65536))
            assert received[-1], f"the end after {received}"
    return received


def parse_piece(text: str) -> bytes:
    """Return the bytes that a line of a record shows."""
    return text.encode("ascii").decode("unicode_escape").encode("latin-1")


def parse_record(path: Path) -> tuple[dict[str, bytes], list[str]]:
    """Return what each side of a single client's record said, and who closed, in order."""
    said, closed = {"C": b"", "S": b""}, []
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        match = PAIR.fullmatch(line)
        assert match, f"no line of a record: {line!r}"
        if match[2] is None:
            closed.append(match[1])
        else:
            said[match[1]] += parse_piece(match[2])
    return said, closed


# Forwarding


@pytest.mark.parametrize("changes", [{}, {"merge": 0.001}, {"pieces": 30_000}], ids=str)
def test_bytes_pass_unchanged_both_ways(changes: dict[str, Any]) -> None:
    data = random.Random(1).randbytes(MEGABYTES)
    with proxied(echo, **changes) as address:
        assert exchange(address, data) == data


def test_half_close_of_the_client_is_passed_on() -> None:
    def answer_at_the_end(connection: socket.socket) -> None:
        connection.sendall(receive_all(connection)[::-1])

    with proxied(answer_at_the_end) as address:
        assert exchange(address, b"Hello") == b"olleH"


def test_half_close_of_the_server_is_passed_on() -> None:
    """It closes its side first, and still gets all that the client goes on to say."""
    received: list[bytes] = []
    done = threading.Event()

    def close_first(connection: socket.socket) -> None:
        connection.sendall(b"Go on\n")
        connection.shutdown(socket.SHUT_WR)
        received.append(receive_all(connection))
        done.set()

    with proxied(close_first) as address, LineClient(address) as client:
        assert client.rest() == b"Go on\n"
        for _ in range(100):
            client.send(b"x" * 1000)
        client.half_close()
        assert done.wait(TIMEOUT)
    assert received == [b"x" * 100_000]


@pytest.mark.parametrize("side", ["client", "server"])
def test_side_that_does_not_read_slows_the_other(side: str) -> None:
    """What the proxy takes meanwhile is bounded, and nothing is lost as soon as it is read."""
    go_on = threading.Event()
    result: list[int] = []

    def send_until_full(connection: socket.socket) -> int:
        """Send until nothing is taken for a while; return how much was."""
        connection.settimeout(0.2)
        sent = 0
        try:
            while sent < 2 * STALL:
                sent += connection.send(bytes(65536))
        except TimeoutError:
            pass
        connection.settimeout(TIMEOUT)
        connection.shutdown(socket.SHUT_WR)
        return sent

    def handler(connection: socket.socket) -> None:
        if side == "client":
            result.append(send_until_full(connection))
            go_on.set()
            receive_all(connection)
        else:
            go_on.wait(TIMEOUT)
            result.append(len(receive_all(connection)))

    with proxied(handler) as address, LineClient(address) as client:
        if side == "client":
            assert go_on.wait(TIMEOUT)
            assert len(client.rest()) == result[0] < STALL
        else:
            sent = send_until_full(client.socket)
            go_on.set()
            client.rest()
            assert result[0] == sent < STALL


def test_reset_by_the_server_reaches_the_client_after_its_last_words() -> None:
    """Also where they are sent in pieces, which takes longer than the reset."""

    def say_and_reset(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(b"0123456789" * 10)
        received.wait(TIMEOUT)  # so the proxy has read them: asyncio loses what it has not
        connection.close()  # with unread bytes: a reset

    for pieces in (None, 1):
        received = threading.Event()
        with proxied(say_and_reset, pieces=pieces) as address, LineClient(address) as client:
            client.send(b"many words")
            first = client.stream.read(1)
            received.set()
            assert first + client.stream.read(99) == b"0123456789" * 10
            with pytest.raises(ConnectionResetError):
                client.socket.recv(1)


def test_reset_by_the_client_reaches_the_server() -> None:
    seen: list[Exception] = []
    done = threading.Event()

    def handler(connection: socket.socket) -> None:
        try:
            connection.sendall(b"Hello\n")
            receive_all(connection)
        except ConnectionError as error:
            seen.append(error)
        done.set()

    with proxied(handler) as address:
        client = LineClient(address)
        assert client.line() == "Hello"
        client.reset()
        assert done.wait(TIMEOUT)
    assert isinstance(seen[0], ConnectionResetError)


def test_client_that_goes_away_in_the_middle_ends_the_server_s_stream() -> None:
    ended = threading.Event()

    def endless(connection: socket.socket) -> None:
        try:
            while True:
                connection.sendall(bytes(65536))
        except ConnectionError:
            ended.set()

    with proxied(endless) as address:
        with LineClient(address) as client:
            client.stream.read(100_000)
        assert ended.wait(TIMEOUT)


# A bad network


@pytest.fixture
def long_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave even a reader on a busy machine the time to read a piece before the next one comes."""
    monkeypatch.setattr(tcp_proxy, "PAUSE", 0.05)


@pytest.mark.usefixtures("long_pause")
@pytest.mark.parametrize("size", [1, 7])
def test_pieces_are_read_alone(size: int) -> None:
    text = b"Hello\nWorld\n"[: 5 * size]

    def handler(connection: socket.socket) -> None:
        connection.sendall(text)
        receive_all(connection)

    with proxied(handler, pieces=size) as address:
        received = receive_pieces(address, len(text))
    assert b"".join(received) == text
    assert all(len(piece) <= size for piece in received)


@pytest.mark.usefixtures("long_pause")
def test_pieces_on_the_way_to_the_server() -> None:
    received: list[bytes] = []

    def handler(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            received.append(data)

    with proxied(handler, pieces=3) as address:
        assert exchange(address, b"0123456789") == b""
    assert received == [b"012", b"345", b"678", b"9"]


def test_merge_makes_one_piece_of_several() -> None:
    received: list[bytes] = []

    def handler(connection: socket.socket) -> None:
        received.append(connection.recv(65536))
        connection.sendall(b"thanks")
        connection.shutdown(socket.SHUT_WR)  # or the proxy would wait for more of this, too
        received.append(connection.recv(65536))

    with proxied(handler, merge=0.5) as address, LineClient(address) as client:
        start = time.monotonic()
        for number in range(10):
            client.send(b"%d" % number)
        assert client.socket.recv(6) == b"thanks"
        assert time.monotonic() - start >= 0.5 * 0.9 - EARLY
    assert received == [b"0123456789", b""]


def test_merge_does_not_wait_at_the_end_of_the_stream() -> None:
    with proxied(echo, merge=TIMEOUT) as address:
        start = time.monotonic()
        assert exchange(address, b"last words") == b"last words"
        assert time.monotonic() - start < TIMEOUT / 2


def test_delay_is_added_in_each_direction() -> None:
    with proxied(echo, delay=0.05) as address, LineClient(address) as client:
        for _ in range(2):
            start = time.monotonic()
            client.send(b"x\n")
            client.line()
            assert 0.1 * 0.95 - 2 * EARLY <= time.monotonic() - start < TIMEOUT / 2


def test_jitter_is_the_same_with_the_same_seed(tmp_path: Path) -> None:
    """Each piece is held back for as long as the seed says, in each direction for itself."""

    def waits(seed: str) -> list[float]:
        record = tmp_path / "record"
        proxy = proxied(echo, record=record, jitter=0.02, seed=seed)
        with proxy as address, LineClient(address) as client:
            for _ in range(4):
                assert client.ask("x") == "x"
            client.half_close()
            client.rest()
        times = [float(line.split()[0]) for line in record.read_text().splitlines()]
        return [later - earlier for earlier, later in zip([0.0, *times], times, strict=False)]

    expected = {}
    for seed in ("1", "1", "2"):
        spreads = [random.Random(f"{seed} 1 {side}") for side in "CS"]  # seed, client, side
        expected[seed] = [0.02 * spreads[turn % 2].random() for turn in range(8)]
        measured = waits(seed)
        assert len(measured) == 10  # the two ends are not held back
        for least, wait in zip(expected[seed], measured, strict=False):
            assert wait >= least - 0.002 - EARLY
        assert sum(measured) < sum(expected[seed]) + TIMEOUT / 2
    assert expected["1"] != expected["2"]


def test_rate_is_kept() -> None:
    """20 pieces a second, of which the first comes at once."""

    def handler(connection: socket.socket) -> None:
        connection.sendall(bytes(25_000))

    with proxied(handler, rate=100_000) as address:
        start = time.monotonic()
        received = receive_pieces(address, 25_000)
        assert 0.2 * 0.9 - 4 * EARLY <= time.monotonic() - start < 2
    assert max(map(len, received)) <= 5_000


def test_low_rate_is_kept_byte_by_byte() -> None:
    def handler(connection: socket.socket) -> None:
        connection.sendall(b"ab")

    with proxied(handler, rate=4) as address:
        start = time.monotonic()
        assert receive_pieces(address, 2) == [b"a", b"b"]
        assert 0.25 * 0.9 - EARLY <= time.monotonic() - start < 2


@pytest.mark.parametrize("pieces", [1, 5, None])
@pytest.mark.parametrize("cut", [1, 7, 10])
def test_cut_ends_after_exactly_so_many_bytes_with_a_fin(cut: int, pieces: int | None) -> None:
    def handler(connection: socket.socket) -> None:
        connection.sendall(b"0123456789")
        receive_all(connection)

    with proxied(handler, cut=cut, pieces=pieces) as address, LineClient(address) as client:
        assert client.rest() == b"0123456789"[:cut]


def test_cut_counts_each_direction_and_ends_both() -> None:
    received: list[bytes] = []

    def handler(connection: socket.socket) -> None:
        connection.sendall(b"0123")
        received.append(receive_all(connection))

    with proxied(handler, cut=5) as address, LineClient(address) as client:
        assert client.stream.read(4) == b"0123"
        client.send(b"abcdefgh")
        assert client.rest() == b""
    assert received == [b"abcde"]


def test_cut_in_the_middle_of_megabytes() -> None:
    data = random.Random(2).randbytes(MEGABYTES)

    def handler(connection: socket.socket) -> None:
        connection.sendall(data)

    with proxied(handler, cut=1_234_567) as address, LineClient(address) as client:
        assert client.rest() == data[:1_234_567]


def test_cut_with_a_reset() -> None:
    ended: list[Exception] = []

    def handler(connection: socket.socket) -> None:
        connection.sendall(b"0123456789")
        try:
            receive_all(connection)
        except ConnectionError as error:
            ended.append(error)

    with proxied(handler, cut=5, reset=True) as address, LineClient(address) as client:
        assert client.stream.read(5) == b"01234"
        with pytest.raises(ConnectionResetError):
            client.socket.recv(1)
    assert isinstance(ended[0], ConnectionResetError)


# When something is wrong


@pytest.mark.parametrize("host", ["127.0.0.1", "x" * 70, "no.such.host.invalid", "a..b"])
def test_server_that_cannot_be_reached(host: str) -> None:
    """The client sees the end, the log says why in one line, and the proxy goes on."""
    port = free_port()
    options = ["--host", "127.0.0.1", "--quiet", "--to", f"{host}:{port}"]
    with Server(SCRIPT, *options) as proxy:
        for _ in range(2):
            with LineClient(proxy.address) as client:
                assert client.rest() == b""
        code, _, err = proxy.stop()
    assert code == 0
    first, second = err.splitlines()
    assert first.split(" ", 1)[1] == second.split(" ", 1)[1]
    assert re.fullmatch(rf"\S+ Cannot connect to {re.escape(host)}:{port}: .+", first)


@pytest.mark.skipif(sys.platform != "linux", reason="others refuse whom they cannot queue")
def test_server_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tcp_proxy, "TIMEOUT", 0.1)
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # fill its queue
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            assert waiting.connect_ex(server.getsockname()) == errno.EINPROGRESS
        address = stack.enter_context(proxy_to(server.getsockname()))
        with LineClient(address) as client:
            assert client.rest() == b""
    [message] = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert message.endswith(": no answer in time")


def test_stop_while_it_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        proxy = stack.enter_context(
            Server(SCRIPT, "--host", "127.0.0.1", "--to", f"127.0.0.1:{server.getsockname()[1]}")
        )
        client = stack.enter_context(LineClient(proxy.address))
        assert "Connection from" in proxy.log_line()
        code, _, err = proxy.stop()
        assert (code, "Traceback" in err) == (0, False)
        assert client.rest() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_full_disk_under_the_record_stops_nobody() -> None:
    with serving(echo) as server:
        options = ["--to", f"127.0.0.1:{server[1]}", "--record", "/dev/full", "--quiet"]
        with Server(SCRIPT, "--host", "127.0.0.1", *options) as proxy:
            assert exchange(proxy.address, b"Hello") == b"Hello"
            code, out, err = proxy.stop()
    assert (code, out) == (0, "")
    assert err
    for line in err.splitlines():
        assert re.fullmatch(r"\S+ Cannot write /dev/full: \S.+", line)


def test_record_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "no such folder" / "record"
    result = command(SCRIPT, "--port", "0", "--to", "localhost:1", "--record", str(path))
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(r"tcp_proxy\.py: error: cannot write .*: No such file .*\n", result.stderr)


def test_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        result = command(SCRIPT, "--host", "127.0.0.1", "--port", port, "--to", "localhost:1")
    assert (result.returncode, result.stdout) == (1, "")
    pattern = rf"tcp_proxy\.py: error: cannot listen on 127\.0\.0\.1:{port}: .+\n"
    assert re.fullmatch(pattern, result.stderr)


WRONG = """
--port 1|--to|--to 9000|--to :9000|--to host|--to host:|--to host:0|--to host:65536|--to host:x
--port -1|--port 65536|--port x|--pieces 0|--pieces x|--merge -1|--merge nan|--delay -1
--delay nan|--delay inf|--jitter -1|--jitter x|--rate -1|--rate 0.5|--cut 0|--cut -1|--reset
"""


@pytest.mark.parametrize("wrong", WRONG.strip().replace("\n", "|").split("|"))
def test_wrong_usage(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    to = [] if wrong in ("--port 1", "--to") or wrong.startswith("--to ") else ["--to", "a:1"]
    with pytest.raises(SystemExit, match="2"):
        tcp_proxy.main([*to, *wrong.split()])
    out, err = capsys.readouterr()
    assert out == ""
    assert "tcp_proxy.py: error: " in err or ": error: " in err


# The log and the record


@contextmanager
def proxy_process(handler: Handler, *options: str) -> Iterator[Server]:
    """A proxy as a process, before such a server."""
    with serving(handler) as server:
        words = ["--host", "127.0.0.1", "--to", f"127.0.0.1:{server[1]}", *options]
        with Server(SCRIPT, *words) as proxy:
            yield proxy


STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d "


def test_log_is_the_dialogue() -> None:
    with proxy_process(echo) as proxy:
        with LineClient(proxy.address) as client:
            assert client.ask("Hello") == "Hello"
            client.half_close()
            assert client.rest() == b""
        code, out, err = proxy.stop()
    assert (code, out) == (0, "")
    lines = [re.fullmatch(STAMP + "(.*)", line) for line in err.splitlines()]
    texts = [line[1] for line in lines if line]
    assert len(texts) == len(lines)
    assert [re.sub(r"\d\.\d{3}", "T", text) for text in texts[1:-2]] == [
        "T C: Hello\\n",
        "T S: Hello\\n",
        "T C closes",
        "T S closes",
    ]
    assert "Connection from ('127.0.0.1', " in texts[0]
    assert "Connection closed ('127.0.0.1', " in texts[-2]
    assert texts[-1] == "Server stopped"


def logged(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines of the dialogue in the log, without the time of the day."""
    return [line.partition(" ")[2] for line in capsys.readouterr().err.splitlines()]


def test_log_of_several_clients_is_numbered(capsys: pytest.CaptureFixture[str]) -> None:
    with proxied(echo) as address, LineClient(address) as one:
        assert one.ask("one") == "one"
        with LineClient(address) as two:
            assert two.ask("two") == "two"
        assert one.ask("one again") == "one again"
    texts = logged(capsys)
    for text in texts:
        if re.search("[CS]: ", text):
            assert re.match(r"#2 \d\.\d{3} [CS]: two" if "two" in text else r"\d\.\d{3} ", text)
    assert sum(text.startswith("#2 ") for text in texts) >= 2


HOSTILE = (
    b"\x1b[2J\x07\r\n2026-01-01T00:00:00 forged\n\xff\xfe\xe2\x80\xae\xc2\x85\x85\0caf\xc3\xa9\\n"
)


def test_log_escapes_what_is_hostile_or_binary(capsys: pytest.CaptureFixture[str]) -> None:
    with proxied(echo) as address:
        assert exchange(address, HOSTILE) == HOSTILE
    texts = logged(capsys)
    assert all(text.isprintable() for text in texts)
    [text] = [text.partition("C: ")[2] for text in texts if "C: " in text]
    assert text == (
        r"\x1b[2J\x07\r\n2026-01-01T00:00:00 forged\n"
        r"\xff\xfe\xe2\x80\xae\xc2\x85\x85\x00caf\xc3\xa9\\n"
    )


def test_log_cuts_long_pieces_and_gives_their_length(capsys: pytest.CaptureFixture[str]) -> None:
    with proxied(echo) as address, LineClient(address) as client:
        assert len(client.ask("x" * 999)) == 999
    [text] = [text for text in logged(capsys) if "C: " in text]
    assert text.endswith("C: " + "x" * tcp_proxy.MAX_SHOWN + "... (1000 bytes)")


def test_quiet_logs_errors_only() -> None:
    with proxy_process(echo, "--quiet") as proxy:
        assert exchange(proxy.address, b"Hello") == b"Hello"
        assert proxy.stop() == (0, "", "")


@pytest.mark.parametrize("pieces", [3, None])
def test_record_holds_every_byte_of_both_sides(
    pieces: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All bytes, all pairs with those that may continue a character, and escapes of escapes."""
    monkeypatch.setattr(tcp_proxy, "PAUSE", 0)  # the record has the pieces, however they arrive
    record = tmp_path / "record"
    data = bytes(range(256)) + HOSTILE + "ü ñ 漢字 \u200d\u2028\U000e0001\xad\ufeff".encode()
    data += b"\\x41\\\\n\\" + bytes(byte for first in range(256) for byte in (first, 0x85, 0xAD))

    def reverse(connection: socket.socket) -> None:
        connection.sendall(receive_all(connection)[::-1])

    with proxied(reverse, record=record, pieces=pieces) as address:
        assert exchange(address, data) == data[::-1]
    said, closed = parse_record(record)
    assert said == {"C": data, "S": data[::-1]}
    assert closed == ["C", "S"]
    text = record.read_text(encoding="utf-8").replace("\n", "")
    assert not re.search("[\x00-\x1f\x7f-\x9f\xad\u2028\u202e\ufeff]", text)


def test_record_of_random_bytes(tmp_path: Path) -> None:
    record = tmp_path / "record"
    data = random.Random(3).randbytes(2 * tcp_proxy.PIECE)
    with proxied(echo, record=record) as address:
        assert exchange(address, data) == data
    assert parse_record(record) == ({"C": data, "S": data}, ["C", "S"])


def test_record_by_the_command_line(tmp_path: Path) -> None:
    """It is complete before the proxy ends."""
    record = tmp_path / "record"
    with proxy_process(echo, "--record", str(record), "--quiet") as proxy:
        with LineClient(proxy.address) as client:
            assert client.ask("Hello") == "Hello"
            client.half_close()
            assert client.rest() == b""
        lines = record.read_text().splitlines()
    assert [re.sub(r"^\d\.\d{3} ", "", line) for line in lines] == [
        r"C: Hello\n",
        r"S: Hello\n",
        "C closes",
        "S closes",
    ]


# The process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stops_at_once_with_idle_clients(number: int) -> None:
    with proxy_process(echo) as proxy, ExitStack() as stack:
        clients = [stack.enter_context(LineClient(proxy.address)) for _ in range(3)]
        for client in clients:
            assert client.ask("here") == "here"
        start = time.monotonic()
        code, out, err = proxy.stop(number)
        assert time.monotonic() - start < TIMEOUT / 2
        assert (code, out) == (0, "")
        assert "Traceback" not in err
        assert err.endswith("Server stopped\n")
        for client in clients:
            assert client.rest() == b""


def test_stops_at_once_with_a_side_that_does_not_read() -> None:
    full = threading.Event()

    def flood(connection: socket.socket) -> None:
        connection.settimeout(0.1)
        try:
            while True:
                connection.sendall(bytes(65536))
        except TimeoutError:
            full.set()
            connection.settimeout(TIMEOUT)
            receive_all(connection)

    with proxy_process(flood, "--quiet") as proxy, LineClient(proxy.address):
        assert full.wait(TIMEOUT)
        start = time.monotonic()
        assert proxy.stop() == (0, "", "")
        assert time.monotonic() - start < TIMEOUT / 2


@pytest.mark.skipif(WINDOWS, reason="its Ctrl-Break comes once")
def test_two_signals_at_once() -> None:
    with proxy_process(echo, "--quiet") as proxy, LineClient(proxy.address) as client:
        assert client.ask("x") == "x"
        proxy.process.send_signal(signal.SIGTERM)
        assert proxy.stop() in ((0, "", ""), (-signal.SIGINT, "", ""))


def test_many_clients() -> None:
    """All are connected before the first one speaks."""
    with proxied(echo) as address, ExitStack() as stack:
        clients = [stack.enter_context(LineClient(address)) for _ in range(MANY)]
        for number, client in enumerate(clients):
            client.send(b"client %d\n" % number)
        for number, client in enumerate(clients):
            assert client.line() == f"client {number}"


@pytest.mark.big
@pytest.mark.skipif(WINDOWS, reason="no descriptor limit to lower")
def test_survives_without_descriptors(tmp_path: Path) -> None:
    """Out of descriptors it waits, without spinning, and serves again as soon as there are some."""
    with serving(echo) as server:
        options = ["--host", "127.0.0.1", "--to", f"127.0.0.1:{server[1]}"]
        with Server(limited(SCRIPT, tmp_path, "RLIMIT_NOFILE", 20), *options) as proxy:
            clients = [LineClient(proxy.address) for _ in range(40)]
            while "Cannot accept a client" not in proxy.log_line():
                pass
            before = os.times()
            for client in clients:
                client.__exit__()
            end, answer = time.monotonic() + TIMEOUT, b""
            while answer != b"Hello":
                assert time.monotonic() < end
                with suppress(ConnectionError):  # it has none for the server yet
                    answer = exchange(proxy.address, b"Hello")
            code, _, err = proxy.stop()
            after = os.times()
    assert code == 0
    assert "Traceback" not in err
    assert err.count("Cannot accept") < 50
    assert after.children_user - before.children_user < TIMEOUT / 2


@pytest.mark.skipif(sys.platform != "linux", reason="no list of descriptors here")
def test_no_descriptor_is_left_behind() -> None:
    def handler(connection: socket.socket) -> None:
        connection.sendall(connection.recv(10))

    with proxy_process(handler, "--quiet", "--cut", "3") as proxy:
        folder = Path(f"/proc/{proxy.process.pid}/fd")
        exchange(proxy.address, b"12345")
        before = len(list(folder.iterdir()))
        for number in range(30):
            if number % 3 == 0:
                client = LineClient(proxy.address)
                client.send(b"1")
                client.reset()
            else:
                exchange(proxy.address, b"12345" if number % 3 == 1 else b"")
        end = time.monotonic() + TIMEOUT
        while len(list(folder.iterdir())) > before:
            assert time.monotonic() < end, "descriptors are left"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_ipv6() -> None:
    def handle_client(connection: socket.socket, address: object) -> str:
        echo(connection)
        return "done"

    with ExitStack() as stack:
        server = stack.enter_context(running(serve_threads, handle_client, host="::1"))
        words = ["--host", "::1", "--to", f"[::1]:{server[1]}"]
        proxy = stack.enter_context(Server(SCRIPT, *words))
        assert proxy.announcement == f"Server listening on [::1]:{proxy.address[1]}...\n"
        assert exchange(proxy.address, b"Hello") == b"Hello"


def test_a_dialogue_of_a_script_without_a_reader() -> None:
    """What the server says before it closes arrives, whatever the client says."""
    with scripted(b"220 ready\r\n") as port, proxy_to(("127.0.0.1", port)) as address:
        assert exchange(address, b"QUIT\r\n") == b"220 ready\r\n"


@pytest.mark.big
@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no peak of memory here")
def test_gibibyte_in_constant_memory() -> None:
    size = 1 << 30

    def handler(connection: socket.socket) -> None:
        chunk = bytes(1 << 20)
        for _ in range(size // len(chunk)):
            connection.sendall(chunk)

    with proxy_process(handler, "--quiet") as proxy, LineClient(proxy.address) as client:
        client.half_close()
        got = 0
        while data := client.socket.recv(1 << 20):
            got += len(data)
        status = Path(f"/proc/{proxy.process.pid}/status").read_text()
    assert got == size
    assert int(status.partition("VmHWM:")[2].split()[0]) < 64 * 1024  # KiB


@pytest.mark.big
@pytest.mark.timeout(300)
def test_many_bytes_one_by_one() -> None:
    """Each takes a millisecond, and all arrive, in order."""
    data = random.Random(4).randbytes(3000)
    with proxied(echo, pieces=1) as address:
        assert exchange(address, data) == data
