from __future__ import annotations

import pytest

from conftest import ROOT, Server, command, scripted


def test_prints_what_it_gets(tmp_path: object) -> None:
    with Server(ROOT / "greeting_server.py", "--quiet", "--log", f"{tmp_path}/log.txt") as server:
        result = command("greeting_client.py", server.address[0], str(server.address[1]))
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [
        "Time",
        "Address",
        "Port",
    ]


def test_escapes_what_it_gets() -> None:
    with scripted(b"\x1b[2J\xff\r\nno end") as port:
        result = command("greeting_client.py", "127.0.0.1", str(port))
    assert (result.returncode, result.stdout) == (0, "\\x1b[2J\\xff\nno end\n")


def test_silent_server() -> None:
    with scripted(b"") as port:
        result = command("greeting_client.py", "127.0.0.1", str(port))
    assert (
        result.stderr == f"greeting_client.py: error: 127.0.0.1:{port}: the server said nothing\n"
    )
    assert result.returncode == 1


@pytest.mark.parametrize(
    "wrong", ["", "localhost", "localhost 0", "localhost 65536", "localhost x", "localhost -1"]
)
def test_wrong_usage(wrong: str) -> None:
    result = command("greeting_client.py", *wrong.split())
    assert (result.returncode, result.stdout) == (2, "")
