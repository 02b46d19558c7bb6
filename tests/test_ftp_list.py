from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from itertools import count
from typing import Any

import pytest

from conftest import TIMEOUT, free_port, running, scripted
from echo_server import serve
from ftp_list import CLOSED, FtpError, parse_mlsd, parse_nlst
from web import Run

LISTING = [
    b"type=cdir;modify=20261121101500; .",
    b"Type=pdir; ..",
    b"type=dir;size=4096; dists",
    b"modify=20261121101500;type=FILE;size=1; README",
    b"type=OS.unix=slink:/x; link",
    b" plain",
    "type=file; ü ö".encode(),
    b"type=dir; caf\xe9",
]
NAMES = ["dists/", "README", "link", "plain", "ü ö", "café/"]


def ftp(
    replies: dict[str, str], data: Iterable[bytes], said: list[str]
) -> AbstractContextManager[Any]:
    """A server that answers commands with these replies, or as usual, and sends `data` as the listing."""
    usual = {
        "USER": "331 password?",
        "PASS": "230 in",
        "TYPE": "200 ok",
        "QUIT": "221 bye",
        "greeting": "220 fake",
    }

    def converse(connection: socket.socket, address: object) -> str:
        with connection.makefile("rb") as lines, ExitStack() as stack:
            connection.sendall(({**usual, **replies})["greeting"].encode() + b"\r\n")
            while line := lines.readline():
                said.append(line.decode().rstrip("\r\n"))
                verb = line.split()[0].decode()
                reply = {**usual, "MLSD": "150 here", "NLST": "150 here", **replies}.get(
                    verb, "502 no"
                )
                if verb == "PASV" and verb not in replies:
                    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                    listener.settimeout(TIMEOUT)
                    port = listener.getsockname()[1]
                    reply = f"227 (127,0,0,1,{port // 256},{port % 256})"
                connection.sendall(reply.encode() + b"\r\n" if reply else b"")
                if reply.startswith("150"):
                    with listener.accept()[0] as channel, suppress(ConnectionError):
                        for piece in data:
                            channel.sendall(piece)
                    connection.sendall(b"226 done\r\n")
        return ""

    return running(serve, converse)


def crlf(lines: Iterable[bytes]) -> list[bytes]:
    return [line + b"\r\n" for line in lines]


@pytest.fixture
def run(web: Run) -> Callable[..., Any]:
    """What lists the folder /debian of a fake server; takes that server's behaviour, and options."""

    def run(
        replies: dict[str, str], data: Iterable[bytes], *options: str, said: list[str] | None = None
    ) -> Any:
        with ftp(replies, data, [] if said is None else said) as (_, port):
            return web("--host", "127.0.0.1", "--port", str(port), *options)

    return run


@pytest.mark.parametrize(
    "line", [b"", b"README", b"-rw-r--r-- 1 0 0 5 README", b"a=b c", b"=;x y", b"type=file;"]
)
def test_no_lines_of_mlsd(line: bytes) -> None:
    with pytest.raises(FtpError, match="not a line of a listing"):
        parse_mlsd(line)


def test_last() -> None:
    assert list(map(parse_nlst, [b"a", b"/x/a", b"x/a/", b".", b"/x/..", b"", b"/", b"a b"])) == [
        "a",
        "a",
        "a/",
        "",
        "",
        "",
        "",
        "a b",
    ]


def test_mlsd(run: Callable[..., Any]) -> None:
    said: list[str] = []
    assert run({}, crlf(LISTING), said=said) == (0, NAMES, "")
    assert said[:3] == ["USER anonymous", "PASS anonymous@", "TYPE A"]
    assert said[-2:] == ["MLSD /debian", "QUIT"]
    assert run({}, [b"\n".join(LISTING)]) == (0, NAMES, "")


def test_pieces_and_limit(run: Callable[..., Any]) -> None:
    every_byte = (bytes([byte]) for byte in b"".join(crlf(LISTING)))
    assert run({}, every_byte, "--limit", "3") == (0, NAMES[:3], "")


@pytest.mark.parametrize("code", ["500", "502"])
def test_nlst(code: str, run: Callable[..., Any]) -> None:
    said: list[str] = []
    data = [
        b"/debian/dists\r\n",
        b"/debian/.\r\n..\r\nREADME\r\n",
        b"pool/\r\n\xc3\xa4\r\n\xe4\x1b[2J",
    ]
    code_, out, err = run({"MLSD": f"{code} what?"}, data, said=said)
    assert (code_, out, err) == (0, ["dists", "README", "pool/", "ä", r"ä\x1b[2J"], "")
    assert said[-2:] == ["NLST /debian", "QUIT"]


NO_MLSD = {"MLSD": "500 what?"}


@pytest.mark.parametrize(
    "nlst", ["150 here", "450 No files found", "550 No files found.", "450 empty"]
)
def test_an_empty_folder(nlst: str, run: Callable[..., Any]) -> None:
    assert run({}, []) == (0, [], "")
    assert run({**NO_MLSD, "NLST": nlst}, []) == (0, [], "")


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        (
            {"PASS": "530 Login incorrect."},
            "/debian: login refused: 530 Login incorrect.; try --user and --password",
        ),
        ({"greeting": "421 too many"}, "refused: 421 too many"),
        ({"greeting": "HTTP/1.1 400"}, "not an FTP server: it says 'HTTP/1.1 400'"),
        ({"MLSD": "550 No such folder"}, "/debian: refused: 550 No such folder"),
        ({**NO_MLSD, "CWD": "550 No such folder"}, "/debian: refused: 550 No such folder"),
        ({**NO_MLSD, "NLST": "550 No such folder"}, "/debian: refused: 550 No such folder"),
        (
            {**NO_MLSD, "NLST": "450 /debian: No such folder"},
            "/debian: refused: 450 /debian: No such folder",
        ),
        ({"PASV": "227 nonsense"}, "/debian: not an FTP server: it says '227 nonsense'"),
        ({"PASV": "425 no"}, "/debian: refused: 425 no"),
        ({"PASV": f"227 (127,0,0,1,{free_port() // 256},1)"}, "/debian: connection refused"),
        (
            {"greeting": "220-x\r\n" * 3000 + "220 x"},
            "not an FTP server: it says 'replies without end'",
        ),
        ({"USER": "\x1b[2J"}, r"/debian: not an FTP server: it says '\x1b[2J'"),
        ({"TYPE": ""}, "/debian: no answer in time"),
    ],
)
def test_refusals(replies: dict[str, str], reason: str, run: Callable[..., Any]) -> None:
    code, out, err = run(replies, [], "--timeout", "0.3")
    assert (code, out, err.count("\n")) == (1, [], 1)
    assert err.startswith("ftp_list.py: error: 127.0.0.1:")
    assert reason in err


@pytest.mark.parametrize("data", [[b"garbage\r\n"], [b"\0\xff\r\n"], [b"x" * 10_000]])
def test_garbage(data: list[bytes], run: Callable[..., Any]) -> None:
    code, out, err = run({}, [b"type=file; a\r\n", *data])
    assert (code, out, err.count("\n")) == (1, ["a"], 1)


def test_a_million_names(run: Callable[..., Any]) -> None:
    """It stops reading: a listing without end is no problem."""
    assert run({}, (b"type=file; %d\r\n" % n * 1000 for n in count()), "--limit", "2") == (
        0,
        ["0", "0"],
        "",
    )
    assert run(NO_MLSD, (b"%d\r\n" % n * 1000 for n in count()), "--limit", "1") == (0, ["0"], "")


def test_endless_listing(web: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server goes on with its list only when the client is gone: that has what it wants."""
    monkeypatch.setattr("ftp_list.GOODBYE", 0.1)
    enough = threading.Event()

    def names() -> Iterator[bytes]:
        yield b"type=file; a\r\ntype=file; b\r\n"
        enough.wait(TIMEOUT)

    with ftp({}, names(), []) as (_, port):
        words = ["--host", "127.0.0.1", "--port", str(port), "--timeout", "1", "--limit", "2"]
        result = web(*words)
        enough.set()
    assert result == (0, ["a", "b"], "")


def test_user_path_and_odd_names(run: Callable[..., Any]) -> None:
    said: list[str] = []
    words = ["--user", "żółw", "--password", "enigma", "--path", "/ü ö"]
    assert run({}, [], *words, said=said).code == 0
    assert said[:2] == ["USER żółw", "PASS enigma"]
    assert "MLSD /ü ö" in said
    code, _, err = run({}, [], "--path", "/\r\nDELE x", said=said)
    assert (code, "illegal newline" in err) == (1, True)
    assert "DELE x" not in said


def test_tls_where_there_is_none(run: Callable[..., Any]) -> None:
    code, _, err = run({}, [], "--tls")
    assert (code, "refused: 502 no" in err) == (1, True)


def test_hang_ups(web: Run) -> None:
    for says in (b"", b"220 x\r\n", b"220-x"):
        with scripted(says) as port:
            code, out, err = web("--host", "127.0.0.1", "--port", str(port))
            assert (code, out) == (1, [])
            assert "the server hung up" in err or "not an FTP server" in err
    assert "connection refused" in web("--host", "127.0.0.1", "--port", str(free_port())).err


def test_the_default_host_has_closed(web: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is looked up, and answered as it is here, where there is no network."""

    def nowhere(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    code, out, err = web()
    assert (code, out) == (1, [])
    assert err == f"ftp_list.py: error: ftp.debian.org:21: unknown host; check its name; {CLOSED}\n"
