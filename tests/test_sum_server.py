from __future__ import annotations

import io
import random
import re
import tracemalloc
from collections.abc import Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from conftest import ROOT, LineClient, Server
from sum_server import EXACT, format_number, read_numbers

SUMS = {
    b"1|2|3|.": "6",
    b".": "0",
    b"  .": "0",
    b"0.1|0.2|.": "0.3",
    b"1.5|1.5|.": "3",
    b"1.5|2|.": "3.5",
    b"-1|-2.5|.": "-3.5",
    b"-0.5|0.25|.": "-0.25",
    b"0.5|-0.5|.": "0",
    b"-0|.": "0",
    b"+5|007|.": "12",
    b"10.50|.": "10.5",
    b"100|.": "100",
    b" 1 |\r\n2\t|\n 3|\n . ": "6",
    b"1|.|2|.": "1",
    b"1|.5|": "1",
    b"9" * 4000 + b"|1|.": "1" + "0" * 4000,
    b"0." + b"3" * 3999 + b"|" + b"9" * 4000 + b"|.": "9" * 4000 + "." + "3" * 3999,
}

REFUSED = {
    b"abc|.": "not a number: 'abc'",
    b"1||.": "not a number: ''",
    b"|": "not a number: ''",
    b"1 2|.": "not a number: '1 2'",
    b"1e3|.": "not a number: '1e3'",
    b"nan|.": "not a number: 'nan'",
    b"1_000|.": "not a number: '1_000'",
    b"1.|.": "not a number: '1.'",
    b"1.2.3|.": "not a number: '1.2.3'",
    b"--1|.": "not a number: '--1'",
    "٣|.".encode(): "not a number: '٣'",
    b"\x1b[2J\xff|.": "not a number: '\\x1b[2J\\\\xff'",
    b"1|2|3|": "the list has no end: the '.' is missing",
    b"1|2|3": "the list has no end: the '.' is missing",
    b"": "the list has no end: the '.' is missing",
    b"9" * 4001 + b"|.": "not a number: '" + "9" * 60 + "'",
    b"9" * 4010: "not a number: '" + "9" * 60 + "'",
}


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


class Pieces(io.RawIOBase):
    """A stream that arrives in these pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = iter(pieces)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = next(self.pieces, b"")
        buffer[: len(piece)] = piece
        return len(piece)


def add_up(pieces: Iterable[bytes]) -> str:
    total = Decimal(0)
    for number in read_numbers(io.BufferedReader(Pieces(pieces), 100_000)):
        total = EXACT.add(total, number)
    return format_number(total)


@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
@pytest.mark.parametrize("data", SUMS, ids=lambda data: data[:20])
def test_sum(data: bytes, size: int) -> None:
    assert add_up(pieces(data, size)) == SUMS[data]


@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
@pytest.mark.parametrize("data", REFUSED, ids=lambda data: data[:20])
def test_refused(data: bytes, size: int) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(REFUSED[data])}$"):
        add_up(pieces(data, size))


def test_agrees_with_fractions() -> None:
    generator = random.Random(1234)
    numbers = [f"{generator.randint(-999, 999)}.{generator.randint(0, 99999)}" for _ in range(1000)]
    result = add_up(iter(["|".join([*numbers, "."]).encode()]))
    assert Fraction(result) == sum(map(Fraction, numbers))


@pytest.mark.big
def test_memory_is_constant() -> None:
    """A hundred thousand numbers, and a megabyte of white space, in no more memory than a few."""

    def much() -> Iterator[bytes]:
        for _ in range(100):
            yield b"1|" * 1000
        yield b"7"
        for _ in range(1000):
            yield b" " * 1000
        yield b"|"
        for _ in range(1000):
            yield b"\n" * 1000
        yield b"."

    tracemalloc.start()
    try:
        assert add_up(much()) == "100007"
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_list_in_many_pieces() -> None:
    """It is longer than what recv() is usually asked for, and there is no half-close to end it."""
    with Server(ROOT / "sum_server.py", "--quiet") as server, LineClient(server.address) as client:
        client.send(b"1|" * 100_000)
        client.send(b".")
        assert client.rest() == b"100000\n"


def test_answers_before_the_client_closes() -> None:
    with Server(ROOT / "sum_server.py", "--quiet") as server:
        for data, answer in ((b"1|2|3|.", b"6\n"), (b"1|x|", b"ERROR not a number: 'x'\n")):
            with LineClient(server.address) as client:
                client.send(data)
                assert client.rest() == answer
