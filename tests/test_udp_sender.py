from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator

import pytest

from conftest import EARLY, TIMEOUT, WINDOWS, command

LONGEST_ARGUMENT = (
    32_000 if WINDOWS else 100_000
)  # characters; all of a command has 32,767 on Windows


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(TIMEOUT)
        yield receiver


def to(receiver: socket.socket, *args: str, stdin: str = "") -> tuple[int, str, str]:
    host, port = receiver.getsockname()
    result = command("udp_sender.py", host, str(port), *args, stdin=stdin)
    return result.returncode, result.stdout.replace(f"{host}:{port}", "TARGET"), result.stderr


@pytest.mark.parametrize("message", ["Hello", "", "grüß\tdich", "x" * 65_507])
def test_sends_one_datagram(receiver: socket.socket, message: str) -> None:
    data = message.encode()
    words, stdin = ([message], "") if len(data) < LONGEST_ARGUMENT else (["-"], message)
    assert to(receiver, *words, stdin=stdin) == (0, f"Sent {len(data)} bytes to TARGET\n", "")
    assert receiver.recv(65_535) == data


def test_bytes_of_stdin(receiver: socket.socket) -> None:
    assert to(receiver, "-", stdin="a\nb\n") == (0, "Sent 4 bytes to TARGET\n", "")
    assert receiver.recv(65_535) == b"a\nb\n"


def test_count_and_interval(receiver: socket.socket) -> None:
    start = time.monotonic()
    assert to(receiver, "x", "--count", "3", "--interval", "0.1") == (
        0,
        3 * "Sent 1 byte to TARGET\n",
        "",
    )
    assert time.monotonic() - start > 0.2 - EARLY
    assert [receiver.recv(10) for _ in range(3)] == [b"x"] * 3


@pytest.mark.parametrize("stdin", [False, True])
def test_too_long(receiver: socket.socket, stdin: bool) -> None:
    message = "x" * 65_508
    if not stdin and len(message) > LONGEST_ARGUMENT:
        pytest.skip("no argument can be that long here")
    code, out, err = to(receiver, "-" if stdin else message, stdin=message if stdin else "")
    assert (code, out) == (1, "")
    assert err == "udp_sender.py: error: message too long: a datagram takes 65507 bytes at most\n"


@pytest.mark.parametrize("host", ["no.such.host.invalid", "x" * 70, "a..b"])
def test_unknown_host(host: str) -> None:
    result = command("udp_sender.py", host, "9007", "x")
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(
        rf"udp_sender\.py: error: {host}:9007: unknown host; check its name\n", result.stderr
    )


@pytest.mark.parametrize(
    "wrong",
    ["", "localhost 9007", "localhost 0 x", "localhost 65536 x", "localhost 9007 x --count 0"],
)
def test_wrong_usage(wrong: str) -> None:
    result = command("udp_sender.py", *wrong.split())
    assert (result.returncode, result.stdout) == (2, "")


def test_help_says_that_there_is_no_receipt() -> None:
    assert "UDP gives no receipt" in command("udp_sender.py", "--help").stdout


@pytest.mark.skipif(WINDOWS or not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_ipv6() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("::1", 0))
        port = receiver.getsockname()[1]
        assert (
            command("udp_sender.py", "::1", str(port), "x").stdout
            == f"Sent 1 byte to [::1]:{port}\n"
        )
        assert receiver.recv(10) == b"x"
