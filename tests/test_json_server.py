from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest

import json_server
from conftest import ROOT, TIMEOUT, LineClient, Server, running
from json_server import MAX_LINE


def answer(line: bytes) -> Any:
    return json.loads(json_server.answer(line))


def request(data: Any, key: Any) -> bytes:
    return json.dumps({"data": data, "key": key}).encode()


@pytest.mark.parametrize(
    "value",
    [1, 1.5, "é\n\x1b", None, True, [1, [2]], {"a": {}}, "", 10**4000],
    ids=lambda v: str(v)[:9],
)
def test_found(value: Any) -> None:
    assert answer(request({"other": 0, "name": value}, "name")) == {"found": True, "value": value}


def test_long_value_over_little_room() -> None:
    """The server has room for less than a piece: send() would take only a part of it."""

    def with_little_room(connection: socket.socket, address: Any) -> str:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return json_server.handle_client(connection, address, timeout=TIMEOUT)

    value = "x" * 3_000_000
    with running(json_server.serve, with_little_room) as address, LineClient(address) as client:
        client.send(request({"long": value}, "long") + b"\n")
        assert json.loads(client.line()) == {"found": True, "value": value}


def test_not_found() -> None:
    assert answer(request({"a": 1}, "b")) == {"found": False}
    assert answer(request({}, "")) == {"found": False}


def test_repeated_name_counts_last() -> None:
    assert answer(b'{"data": {"a": 1, "a": 2}, "key": "a", "key": "a"}') == {
        "found": True,
        "value": 2,
    }


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b'{"data": {}} x', "Extra data"),
        (b"[1]", "not an object"),
        (b"null", "not an object"),
        (b'{"key": "a"}', '"data" is missing'),
        (b'{"data": {}}', '"key" is missing'),
        (b'{"data": [], "key": "a"}', '"data" is not an object'),
        (b'{"data": {}, "key": 1}', '"key" is not a string'),
        (b'{"data": {}, "key": null}', '"key" is not a string'),
        (b'{"data": {"a": NaN}, "key": "a"}', "NaN is not JSON"),
        (b'{"data": {"a": -Infinity}, "key": "a"}', "-Infinity is not JSON"),
        (
            b'{"data": {"a": 1e999}, "key": "a"}',
            "number too large, too small or too long for a float: 1e999",
        ),
        (b'{"data": {"a": 1e-400}, "key": "a"}', "number too large, too small or too long"),
        (b'{"data": {"a": 12345678901234567890.5}, "key": "a"}', "number too large, too small"),
        (b'{"data": {"a": 1e99999999999999999999}, "key": "a"}', "number too large, too small"),
        (b'{"data": {"a": 1e-99999999999999999999}, "key": "a"}', "number too large, too small"),
        (
            b'{"data": {"a": ' + b"9" * 5000 + b'}, "key": "a"}',
            "number too large: more than 4300 digits",
        ),
        (
            b'{"data": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b'}, "key": "a"}',
            "nested too deeply",
        ),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"data": {"\xff": 1}, "key": "a"}', "not UTF-8"),
        (b" " * (MAX_LINE + 1), "line too long: at most 16777216 bytes"),
    ],
    ids=lambda value: value[:24],
)
def test_error(line: bytes, error: str) -> None:
    reply = answer(line)
    assert reply.keys() == {"error"}
    assert reply["error"].startswith(error)


def test_deepest_nesting_that_can_be_read_can_be_written() -> None:
    with Server(ROOT / "json_server.py", "--quiet") as server, LineClient(server.address) as client:
        for depth in (*range(900, 1010, 5), 10_000, 50_000):
            reply = client.ask('{"data": {"a": ' + "[" * depth + "]" * depth + '}, "key": "a"}')
            assert reply.startswith(('{"found": true', '{"error": "nested too deeply"}')), depth


def test_conversation_goes_on_after_an_error() -> None:
    with Server(ROOT / "json_server.py", "--quiet") as server, LineClient(server.address) as client:
        assert "error" in json.loads(client.ask("no"))
        assert "error" in json.loads(client.ask("x" * (MAX_LINE + 10)))
        client.send(request({"a": "é"}, "a") + b"\r\n")
        assert client.line() == '{"found": true, "value": "\\u00e9"}'


@pytest.mark.big
def test_largest_request_is_read_in_linear_time() -> None:
    text = "x" * (MAX_LINE - 100)
    with Server(ROOT / "json_server.py", "--quiet") as server, LineClient(server.address) as client:
        start = time.monotonic()
        reply = json.loads(client.ask(json.dumps({"data": {"a": text}, "key": "a"})))
        assert time.monotonic() - start < 10
    assert reply == {"found": True, "value": text}


@pytest.mark.big
def test_a_slow_reader_is_not_idle() -> None:
    """Ten megabytes in two seconds, of which none is silent, with a time limit of half a second."""
    with (
        Server(ROOT / "json_server.py", "--quiet", "--timeout", "0.5") as server,
        LineClient(server.address) as client,
    ):
        client.send(request({"a": "x" * 10_000_000}, "a") + b"\n")
        data = b""
        for _ in range(40):
            time.sleep(0.05)  # what is tested is time
            data += client.stream.read(250_000)
        assert (data + client.stream.readline())[-4:] == b'x"}\n'
