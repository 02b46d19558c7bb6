"""Web servers for the tests, well-behaved ones and others, and a way to run a web script against them."""

from __future__ import annotations

import importlib
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from conftest import running
from echo_server import serve

Pages = Mapping[str, "bytes | Callable[[socket.socket], object]"]


def page(
    body: bytes = b"", kind: str = "text/html", status: str = "200 OK", **headers: str
) -> bytes:
    """Return a reply; a header whose name has a hyphen is given with `_`."""
    head = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*head, "", ""]).encode() + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return page(b"elsewhere", status=status, Location=location)


@contextmanager
def website(pages: Pages, asked: list[str] | None = None) -> Iterator[str]:
    """A server that answers the request for a path with these bytes and hangs up; yields its URL, without a path.

    What is no bytes is called with the connection. `asked` gets the requests, with their headers.
    """

    def handle_client(connection: socket.socket, address: object) -> str:
        request = b""
        while b"\r\n\r\n" not in request:
            piece = connection.recv(65536)
            if not piece:
                return "no request"
            request += piece
        if asked is not None:
            asked.append(request.decode())
        reply = pages.get(request.split()[1].decode(), page(b"gone", status="404 Not Found"))
        with suppress(ConnectionError):
            if isinstance(reply, bytes):
                connection.sendall(reply)
            else:
                reply(connection)
        return "answered"

    with running(serve, handle_client) as address:
        yield f"http://127.0.0.1:{address[1]}"


def drip(beginning: bytes) -> Callable[[socket.socket], None]:
    """Return what sends `beginning` and then a byte every 50 ms, until the client goes."""

    def send(connection: socket.socket) -> None:
        connection.sendall(beginning)
        connection.settimeout(0.05)
        while True:
            connection.sendall(b"x")
            with suppress(TimeoutError):
                if not connection.recv(1):
                    return

    return send


def endless_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    with suppress(ConnectionError):
        while True:
            connection.sendall(b"X-More: headers\r\n")


MISBEHAVING: Pages = {
    "/short": page(b"{}" * 50)[:-1],
    "/garbage": b"\x00\xffgarbage\r\n\r\n",
    "/nothing": b"",
    "/endless": endless_headers,
    "/loop": redirect("/loop"),
    "/file": redirect("file:///etc/passwd"),
    "/ftp": redirect("ftp://127.0.0.1/x"),
    "/drip": drip(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n"),
    "/long": page(b"x" * 2000),
    "/status": page(b"sorry", status="503 Service Unavailable"),
    "/early": b"HTTP/1.1 103 Early Hints\r\n\r\n" + page(b"{}"),
}
REASONS = {
    "/short": "the reply ended early",
    "/garbage": "broken reply: BadStatusLine",
    "/nothing": "broken reply: RemoteDisconnected",
    "/endless": "broken reply: HTTPException got more than 100 headers",
    "/loop": "more than 10 redirects",
    "/file": "Found - Redirection to url 'file:///etc/passwd' is not allowed",
    "/ftp": "bad URL 'ftp://127.0.0.1/x'",
    "/drip": "timed out",
    "/long": "more than 1000 bytes",
    "/status": "HTTP status 503 Service Unavailable",
    "/early": "HTTP status 103 Early Hints, and no other one is understood",
}


class Result(NamedTuple):
    code: int
    out: list[str]
    err: str


Run = Callable[..., Result]


@pytest.fixture
def web(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run:
    """What runs the script that the test's file is named after, in an empty folder, in this process."""
    name = request.path.stem.removeprefix("test_")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    capfd: pytest.CaptureFixture[str] = request.getfixturevalue("capfd")

    def run(*args: str) -> Result:
        try:
            code = importlib.import_module(name).main(list(args))
        except SystemExit as end:
            if end.code == 2:  # wrong usage
                raise
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        return Result(code, out.splitlines(), err)

    return run
