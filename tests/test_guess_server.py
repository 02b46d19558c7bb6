from __future__ import annotations

import pytest

from conftest import ROOT, LineClient, Server, called
from guess_server import Game

SCRIPT = ROOT / "guess_server.py"


def test_hints() -> None:
    game = Game(1, 100, 42)
    lines = [b"50\n", b" 25 \r\n", b"+41", b"42"]
    assert [game.answer(line) for line in lines] == [
        "lower",
        "higher",
        "higher",
        "correct: 42 in 4 guesses",
    ]
    assert game.over


def test_one_guess() -> None:
    assert Game(1, 1, 1).answer(b"1") == "correct: 1 in 1 guess"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", "ERROR not a whole number: ''"),
        (b"4.2", "ERROR not a whole number: '4.2'"),
        (b"1_0", "ERROR not a whole number: '1_0'"),
        ("٣".encode(), "ERROR not a whole number: '٣'"),
        (b"\x1b[2J\xff", "ERROR not a whole number: '\\x1b[2J\\\\xff'"),
        (b"0", "ERROR out of range: 1 to 100"),
        (b"101", "ERROR out of range: 1 to 100"),
        (b"-5", "ERROR out of range: 1 to 100"),
        (b"9" * 100, "ERROR out of range: 1 to 100"),
        (b"9" * 101, "ERROR line too long: at most 100 bytes"),
    ],
    ids=str,
)
def test_what_is_no_guess_is_not_counted(line: bytes, expected: str) -> None:
    game = Game(1, 100, 42)
    assert game.answer(line) == expected
    assert game.answer(b"42") == "correct: 42 in 1 guess"


def test_out_of_guesses() -> None:
    game = Game(1, 100, 42, limit=2)
    assert [game.answer(line) for line in (b"1", b"x", b"2")] == [
        "higher",
        "ERROR not a whole number: 'x'",
        "ERROR out of guesses: it was 42",
    ]
    assert game.over
    assert Game(1, 100, 42, limit=1).answer(b"42") == "correct: 42 in 1 guess"


def test_game_over_hangs_up() -> None:
    with Server(
        SCRIPT, "--quiet", "--number", "7", "--low", "-5", "--high", "9", "--max-guesses", "1"
    ) as server:
        for guess, reply in (
            ("7", "correct: 7 in 1 guess"),
            ("8", "ERROR out of guesses: it was 7"),
        ):
            with LineClient(server.address) as client:
                assert client.line() == "Guess a number between -5 and 9"
                client.send(f"{guess}\n1\n".encode())
                assert client.rest().decode() == reply + "\n"


def test_quit_leaves() -> None:
    with Server(SCRIPT, "--quiet") as server, LineClient(server.address) as client:
        client.line()
        client.send(b"quit\r\n50\n")
        assert client.rest() == b""


def test_each_client_has_a_number_of_its_own() -> None:
    with Server(SCRIPT, "--quiet", "--high", "1000000000", "--max-guesses", "1") as server:
        answers = set()
        for _ in range(5):
            with LineClient(server.address) as client:
                client.line()
                answers.add(client.ask("1"))
    assert len(answers) == 5


@pytest.mark.parametrize(
    "wrong", ["--low 5 --high 4", "--number 101", "--low x", "--max-guesses 0", "--high 1e9"]
)
def test_wrong_usage(wrong: str) -> None:
    result = called(SCRIPT, wrong.split())
    assert (result.returncode, result.stdout) == (2, "")
    assert "guess_server.py: error: " in result.stderr
