from __future__ import annotations

import math

import pytest

from conftest import ROOT, Server, command, scripted

SERVER = ROOT / "guess_server.py"


@pytest.mark.parametrize("number", [1, 2, 37, 99, 100])
def test_auto_wins_by_bisection(number: int) -> None:
    options = ["--number", str(number), "--max-guesses", "8"]
    with Server(SERVER, "--quiet", *options) as server:
        result = command("guess_client.py", "--auto", "--port", str(server.address[1]))
    greeting, *moves = result.stdout.splitlines()
    assert (result.returncode, result.stderr) == (0, "")
    assert greeting == "Guess a number between 1 and 100"
    assert moves[-1].startswith(f"{number}: correct: {number} in {len(moves)} guess")
    assert len(moves) <= math.ceil(math.log2(100)) + 1


def test_auto_with_another_range() -> None:
    with Server(SERVER, "--quiet", "--low", "-1000", "--high", "-1", "--number", "-1") as server:
        result = command("guess_client.py", "--auto", "--port", str(server.address[1]))
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) - 1 <= math.ceil(math.log2(1000)) + 1


def test_auto_that_runs_out_of_guesses_has_not_won() -> None:
    with Server(SERVER, "--quiet", "--number", "1", "--max-guesses", "2") as server:
        result = command("guess_client.py", "--auto", "--port", str(server.address[1]))
    assert (result.returncode, result.stderr) == (
        1,
        "guess_client.py: error: the game was not won\n",
    )
    assert result.stdout.endswith("25: ERROR out of guesses: it was 1\n")


def test_by_hand() -> None:
    with Server(SERVER, "--quiet", "--number", "42") as server:
        result = command(
            "guess_client.py", "--port", str(server.address[1]), stdin="50\nx\n42\n1\n"
        )
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.splitlines() == [
            "Guess a number between 1 and 100",
            "lower",
            "ERROR not a whole number: 'x'",
            "correct: 42 in 2 guesses",
        ]
        assert (
            command(
                "guess_client.py", "--port", str(server.address[1]), stdin="1\nquit\n"
            ).returncode
            == 1
        )
        assert (
            command("guess_client.py", "--port", str(server.address[1]), stdin="1\n").returncode
            == 1
        )


@pytest.mark.parametrize(
    ("replies", "complaint"),
    [
        (b"Guess a number between 1 and 2\n" + 9 * b"higher\n", "the server contradicts itself"),
        (b"Hello\x1b[2J\n", r"no range to guess in: Hello\x1b[2J"),
        (b"Guess a number between 1 and 2\n", "the server hung up"),
        (b"", "the server hung up"),
    ],
    ids=["lies", "no range", "gone", "silent"],
)
def test_broken_server(replies: bytes, complaint: str) -> None:
    with scripted(replies) as port:
        result = command("guess_client.py", "--auto", "--host", "127.0.0.1", "--port", str(port))
    assert result.returncode == 1
    assert result.stderr == f"guess_client.py: error: 127.0.0.1:{port}: {complaint}\n"
