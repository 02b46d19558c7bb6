from __future__ import annotations

from collections.abc import Iterator

import pytest

from conftest import ROOT, Server, command, scripted

ERROR = "calc_client.py: error: "


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    with Server(ROOT / "calc_server.py", "--quiet") as server:
        yield str(server.address[1])


def test_prints_a_result_for_each(port: str) -> None:
    result = command("calc_client.py", "--port", port, "2 + 3", "-2**2", "-(5)", "1 / 3")
    assert (result.returncode, result.stdout, result.stderr) == (
        0,
        "5\n-4\n-5\n0.333333333333\n",
        "",
    )


def test_fails_if_any_failed(port: str) -> None:
    result = command("calc_client.py", "--port", port, "1 / 0", "2 + 3", "")
    assert result.stdout == "ERROR division by zero\n5\nERROR unexpected end of the expression\n"
    assert (result.returncode, result.stderr) == (1, ERROR + "2 of 3 expressions have no value\n")


def test_reads_a_pipe_line_by_line(port: str) -> None:
    result = command("calc_client.py", "--port", port, stdin="2 + 3\n2 * 3\r\n2 ** 3")
    assert (result.returncode, result.stdout, result.stderr) == (0, "5\n6\n8\n", "")


def test_expression_of_two_lines_is_one(port: str) -> None:
    result = command("calc_client.py", "--port", port, "2 +\n3")
    assert (result.returncode, result.stdout) == (0, "5\n")


def test_answers_that_come_together_are_told_apart() -> None:
    with scripted(b"5\n7\n") as port:
        result = command("calc_client.py", "--host", "127.0.0.1", "--port", str(port), "2+3", "3+4")
    assert (result.returncode, result.stdout, result.stderr) == (0, "5\n7\n", "")


def test_hang_up() -> None:
    with Server(ROOT / "calc_server.py", "--quiet") as server:
        result = command("calc_client.py", "--port", str(server.address[1]), "9" * 5000, "1", "1")
        assert result.stdout.startswith("ERROR line too long")
    result = command("calc_client.py", "--port", str(server.address[1]), "1")
    assert result.returncode == 1
    assert result.stderr.startswith(ERROR)
