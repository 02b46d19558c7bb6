from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from conftest import ROOT, TIMEOUT, WINDOWS, Server, command, free_port, started

SCRIPT = ROOT / "echo_client.py"
ECHO = ROOT / "echo_server.py"


@contextmanager
def peer(converse: Callable[[socket.socket], None]) -> Iterator[list[str]]:
    """A server for one client, not a sound one; yields the options with which the client finds it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT)

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(TIMEOUT)
                converse(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield ["--host", "127.0.0.1", "--port", str(listener.getsockname()[1])]
        finally:
            thread.join(TIMEOUT)


@pytest.fixture(scope="module")
def echo() -> Iterator[Server]:
    with Server(ECHO, "--quiet") as server:
        yield server


def to(server: Server, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    host, port = server.address
    return command(SCRIPT, "--host", host, "--port", str(port), *args, stdin=stdin)


@pytest.mark.parametrize("udp", [[], ["--udp"]], ids=["TCP", "UDP"])
def test_default_messages(udp: list[str]) -> None:
    with Server(ECHO, *udp) as server:
        result = to(server, *udp)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (
        "Connected to server\n"
        "Sent: Hello\nReceived: Hello\n"
        "Sent: Advanced\nReceived: Advanced\n"
        "Sent: Python\nReceived: Python\n"
    )


def test_own_messages(echo: Server) -> None:
    result = to(echo, "grüß dich", "a\nb", "\x1b[2J", "x" * 100_000)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "Connected to server",
        "Sent: grüß dich",
        "Received: grüß dich",
        "Sent: a\\nb",
        "Received: a\\nb",
        "Sent: \\x1b[2J",
        "Received: \\x1b[2J",
        "Sent: " + "x" * 100_000,
        "Received: " + "x" * 100_000,
    ]


def test_command_is_no_echo(echo: Server) -> None:
    result = to(echo, "STATS")
    assert result.returncode == 1
    assert "wrong echo: sent b'STATS', received b'STATS messages=0" in result.stderr


def test_echo_in_pieces() -> None:
    def converse(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(3):
            for byte in connection.recv(100):
                connection.sendall(bytes([byte]))

    with peer(converse) as options:
        result = command(SCRIPT, *options)
    assert (result.returncode, result.stderr) == (0, "")


def test_long_echo_in_pieces() -> None:
    """It is longer than what the client asks recv() for, which so cannot return it at once."""
    message = "x" * 200_000

    def converse(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream, suppress(OSError):  # if the client gives up
            connection.sendall(stream.read(len(message)))

    with peer(converse) as options:
        result = command(SCRIPT, *options, message)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith(f"Received: {message}\n")


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        (b"hello", "wrong echo"),
        (b"", "missing echo"),
        (b"Hel", "missing echo"),
        (b"Hello\n", "wrong echo"),
    ],
)
def test_no_echo(reply: bytes, complaint: str) -> None:
    def converse(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(reply)

    with peer(converse) as options:
        result = command(SCRIPT, *options)
    assert (result.returncode, result.stdout) == (1, "Connected to server\nSent: Hello\n")
    assert re.fullmatch(
        rf"echo_client\.py: error: 127\.0\.0\.1:\d+: {complaint}.*\n", result.stderr
    )


@pytest.mark.parametrize(
    "job", [[], ["--ping", "1"], ["--file", str(SCRIPT)]], ids=["messages", "ping", "file"]
)
def test_silent_server(job: list[str]) -> None:
    with peer(silence) as options:
        result = command(SCRIPT, *options, "--timeout", "0.2", *job)
    assert result.returncode == 1
    complaint = "missing echo" if "--file" in job else "no answer in time"
    assert re.fullmatch(
        rf"echo_client\.py: error: 127\.0\.0\.1:\d+: {complaint}.*\n", result.stderr
    )


def silence(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def test_reset() -> None:
    def converse(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with peer(converse) as options:
        result = command(SCRIPT, *options)
    assert result.returncode == 1
    assert re.fullmatch(r"echo_client\.py: error: .*\n", result.stderr)


def test_file_larger_than_all_buffers(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1 << 20) * 16)
    with Server(ECHO, "--raw", "--quiet") as server:
        result = to(server, "--file", str(path))
    assert (result.returncode, result.stderr) == (0, "")
    assert (
        result.stdout == f"Connected to server\nSent: {path}\nReceived: the same {16 << 20} bytes\n"
    )


def test_empty_file(echo: Server, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    result = to(echo, "--file", str(path))
    assert (result.returncode, result.stdout[-13:]) == (0, "same 0 bytes\n")


def test_file_that_quits(echo: Server, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\nQUIT\n" + bytes(1000))
    result = to(echo, "--file", str(path))
    assert result.returncode == 1
    assert re.fullmatch(r"echo_client\.py: error: .* echo: .*\n", result.stderr)


@pytest.mark.parametrize(
    "damage", [lambda piece: piece[:-1] + b"!", lambda piece: piece[1:], lambda piece: piece * 2]
)
def test_file_comes_back_damaged(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    def converse(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            connection.sendall(damage(stream.read()))

    with peer(converse) as options:
        result = command(SCRIPT, *options, "--file", str(path))
    assert result.returncode == 1
    assert re.search(r": (wrong|missing) echo: ", result.stderr)


def test_missing_file(echo: Server, tmp_path: Path) -> None:
    result = to(echo, "--file", str(tmp_path / "none"))
    assert result.returncode == 1
    assert (
        result.stderr == f"echo_client.py: error: {tmp_path / 'none'}: No such file or directory\n"
    )


@pytest.mark.parametrize("udp", [[], ["--udp"]], ids=["TCP", "UDP"])
def test_ping(udp: list[str]) -> None:
    with Server(ECHO, *udp) as server:
        result = to(server, *udp, "--ping", "3")
    host, port = server.address
    lines = result.stdout.splitlines()
    assert lines[0] == "Connected to server"
    for number, line in enumerate(lines[1:4], 1):
        assert re.fullmatch(rf"64 bytes from {host}:{port}: seq={number} time=\d+\.\d+ ms", line)
    assert re.fullmatch(r"3 round trips, min/avg/max = \d+\.\d+/\d+\.\d+/\d+\.\d+ ms", lines[4])
    assert (result.returncode, len(lines)) == (0, 5)


def test_interactive_reads_a_pipe(echo: Server) -> None:
    result = to(echo, "-i", stdin="one\ntwo\nHISTORY\nTIMES\nQUIT\nnever\n")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "Connected to server",
        "one",
        "two",
        "HISTORY 2",
        "one",
        "two",
        "TIMES",
        "BYE",
    ]


def test_interactive_line_that_is_too_long(echo: Server) -> None:
    result = to(echo, "-i", stdin="x" * 70_000 + "\nHello\n")
    assert (result.returncode, result.stdout) == (1, "Connected to server\n")
    assert result.stderr.endswith(": line too long: send it with --file\n")


@pytest.mark.skipif(WINDOWS, reason="closes a descriptor by a POSIX shell")
def test_interactive_without_stdin() -> None:
    with Server(ECHO) as server:
        line = f"{sys.executable} {SCRIPT} --port {server.address[1]} -i <&-"
        result = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    assert (result.returncode, result.stdout, result.stderr) == (0, "Connected to server\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
def test_file_that_cannot_be_read() -> None:
    with Server(ECHO, "--raw") as server:
        result = to(server, "--file", "/proc/self/mem")
    assert (result.returncode, result.stderr) == (
        1,
        "echo_client.py: error: /proc/self/mem: Input/output error\n",
    )


def test_error_is_one_line() -> None:
    result = command(SCRIPT, "--host", "a\nb\x1b[31m")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert result.stderr[:-1].isprintable()


def test_interactive_without_server() -> None:
    with peer(lambda connection: None) as options:
        result = command(SCRIPT, *options, "-i", stdin="one\n")
    assert result.returncode == 1
    assert re.fullmatch(r"echo_client\.py: error: .*\n", result.stderr)


def test_udp_without_server() -> None:
    result = command(
        SCRIPT, "--udp", "--host", "127.0.0.1", "--port", str(free_port()), "--timeout", "1"
    )
    assert result.returncode == 1
    assert re.fullmatch(r"echo_client\.py: error: .*\n", result.stderr)


def test_datagram_that_is_too_long() -> None:
    with Server(ECHO, "--udp") as server:
        result = to(server, "--udp", "x" * 65_508)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)


def test_unknown_host() -> None:
    for host in ("no.such.host.invalid", "x" * 70):
        result = command(SCRIPT, "--host", host)
        assert result.returncode == 1
        assert re.fullmatch(rf"echo_client\.py: error: {host}:9000: .+\n", result.stderr)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--ping", "0"],
        ["--udp", "--file", ""],
        ["--ping", "1", "-i"],
        ["--port", "65536"],
        ["--port", "0"],
    ],
)
def test_wrong_usage(wrong: list[str]) -> None:
    result = command(SCRIPT, *wrong)
    assert (result.returncode, result.stdout) == (2, "")


@pytest.mark.skipif(WINDOWS, reason="signals a process group")
def test_interrupt_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        words = [sys.executable, str(SCRIPT), "--host", "127.0.0.1", "--port", port]
        with (
            started(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
            listener.accept()[0] as connection,
        ):
            assert connection.recv(100) == b"Hello"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out, err) == (130, "Connected to server\nSent: Hello\n", "")
