from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from conftest import ROOT, TIMEOUT, Server, command, decoded, scripted, started


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    with Server(ROOT / "sum_server.py", "--quiet") as server:
        yield str(server.address[1])


@pytest.mark.parametrize(
    ("numbers", "total"),
    [
        ("1 2 3", "6"),
        ("0.1 0.2", "0.3"),
        (".5 -.25", "0.25"),
        ("1,\t.5 ,2", "3.5"),
        ("-1", "-1"),
        ("9" * 4000 + " 1", "1" + "0" * 4000),
    ],
)
def test_prints_the_sum(port: str, numbers: str, total: str) -> None:
    result = command(
        "sum_client.py",
        "--port",
        port,
        *(numbers.split(",") if "," in numbers else numbers.split()),
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, total + "\n", "")


def test_numbers_from_stdin(port: str) -> None:
    result = command("sum_client.py", "--port", port, stdin="1 2\n3\n" * 20_000)
    assert (result.returncode, result.stdout) == (0, "120000\n")
    assert command("sum_client.py", "--port", port).stdout == "0\n"


def test_numbers_go_out_as_they_come() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        words = [
            sys.executable,
            str(ROOT / "sum_client.py"),
            "--port",
            str(listener.getsockname()[1]),
        ]
        with started(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as stream:
                assert process.stdin
                process.stdin.write(b"1 2\n3")
                process.stdin.flush()
                assert stream.read(4) == b"1|2|"
                process.stdin.write(b"4 .5")
                process.stdin.close()
                assert stream.read(8) == b"34|0.5|."
                connection.sendall(b"37.5\n")
            assert process.stdout
            assert decoded(process.stdout.read()) == "37.5\n"


def test_long_list_is_sent_whole() -> None:
    """More than all buffers hold, so that one send() cannot take it."""
    numbers = ["9" * 4000] * 4000
    sent: list[int] = []

    def add_up() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            sent.append(len(stream.read(4000 * 4001 + 1)))
            with suppress(OSError):  # the client has given up
                connection.sendall(b"0\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=add_up, daemon=True)
        thread.start()
        port = str(listener.getsockname()[1])
        result = command("sum_client.py", "--port", port, "--timeout", "3", *numbers)
        thread.join(TIMEOUT)
    assert sent == [4000 * 4001 + 1]
    assert (result.returncode, result.stdout, result.stderr) == (0, "0\n", "")


@pytest.mark.parametrize("bad", ["abc", "1|2", ".", "1e3"])
def test_what_is_no_number(port: str, bad: str) -> None:
    result = command("sum_client.py", "--port", port, "1", bad, *["2"] * 10)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"sum_client.py: error: 127.0.0.1:{port}: not a number: '")
    assert result.stderr.count("\n") == 1


@pytest.mark.big
def test_refusal_in_a_long_list(port: str) -> None:
    result = command("sum_client.py", "--port", port, stdin="x " + "1 " * 500_000)
    assert (result.returncode, result.stderr) == (
        1,
        f"sum_client.py: error: 127.0.0.1:{port}: not a number: 'x'\n",
    )


@pytest.mark.parametrize(
    "answer", ["Time: noon", "ERROR", "HTTP/1.1 400 Bad\r", "nan", "1_0", "\x1b"]
)
def test_what_is_no_sum(answer: str) -> None:
    with scripted(f"{answer}\n".encode()) as port:
        result = command("sum_client.py", "--port", str(port), "1")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"sum_client.py: error: 127.0.0.1:{port}: not a sum: ")


def test_hang_up() -> None:
    with scripted(b"6") as port:
        result = command("sum_client.py", "--port", str(port), "1")
    assert (result.returncode, result.stderr) == (
        1,
        f"sum_client.py: error: 127.0.0.1:{port}: the server hung up\n",
    )
