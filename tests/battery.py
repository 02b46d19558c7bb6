"""What every line server must stand. Each check takes a server's address and the dialogue in its docstring.

A dialogue is a list of ("C", line) and ("S", line); in a server's line "..." stands for anything.
"""

from __future__ import annotations

import ast
import re
import shlex
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from conftest import ROOT, TIMEOUT, LineClient

Dialogue = list[tuple[str, str]]
Check = Callable[[Any, Dialogue], None]

MANY = 200  # clients at once
COME_AND_GO = re.compile(r"\* \S+ (joined|left|is now \S+)")
OVER_LONG = 1024 * 1024  # bytes
UNREAD = 100_000  # bytes of answers: more than fits into the sockets
STALL = 0.3  # seconds in which a server surely fills them


def docstring(script: Path) -> str:
    return ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""


def dialogue(script: Path) -> Dialogue:
    """Return the dialogue in the docstring of `script`."""
    return re.findall(r"^ +([CS]): ?(.*)$", docstring(script), re.MULTILINE)


def usage(script: Path) -> list[str]:
    """Return the commands with which the docstring of `script` says to try it."""
    section = docstring(script).partition("Try it:\n\n")[2].partition("\n\n")[0]
    section = section.replace("\\\n", " ")
    return [line.partition("  #")[0].strip() for line in section.splitlines()]


def options(script: Path) -> list[str]:
    """Return the options with which the docstring of `script` says to try it: the dialogue may need them."""
    [line, *_] = [line for line in usage(script) if line.startswith(f"python3 {script.name}")]
    return shlex.split(line)[2:]


def prepare(script: Path, folder: Path) -> None:
    """Do in `folder` what the docstring of `script` says to do before a server or client is started.

    By hand: a shell takes as long as the rest of many tests, and Windows has none.
    """
    for line in usage(script):
        if line.startswith(("python3 ", "nc ")) or "| nc " in line:
            continue
        for part in line.split(" && "):
            match shlex.split(part):
                case ["mkdir", "-p", name]:
                    (folder / name).mkdir(parents=True, exist_ok=True)
                case ["echo", text, ">", name]:
                    (folder / name).write_bytes(f"{text}\n".encode())
                case _:
                    raise AssertionError(f"prepare() cannot do {part!r}")


def line_servers(folder: Path = ROOT) -> list[Path]:
    """Return the scripts that hold a dialogue."""
    return [script for script in sorted(folder.glob("*_server.py")) if dialogue(script)]


def matches(line: str, pattern: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\.\.\.", ".*"), line) is not None


def expect(client: LineClient, pattern: str) -> None:
    """Expect a line that matches; in a chat others may come and go before it."""
    line = client.line()
    while COME_AND_GO.fullmatch(line) and not matches(line, pattern):
        line = client.line()
    assert matches(line, pattern), f"expected {pattern!r}, got {line!r}"


def line_end(talk: Dialogue) -> bytes:
    """Return what ends the lines of the client: CRLF in mail, where nothing else ends a message (RFC 5321)."""
    return b"\r\n" if ("C", "DATA") in talk else b"\n"


def requests(talk: Dialogue) -> bytes:
    """Return all that the client says."""
    return b"".join(text.encode() + line_end(talk) for side, text in talk if side == "C")


def expect_answers(client: LineClient, talk: Dialogue) -> None:
    """Expect all that the server says, and the end."""
    for side, text in talk:
        if side == "S":
            expect(client, text)
    rest = client.rest()
    assert rest == b"", f"more came than the dialogue has: {rest!r}"


def replay(address: Any, talk: Dialogue, end: bytes = b"", size: int = 0) -> None:
    """Hold the dialogue, each line sent in pieces of `size` bytes (0: whole)."""
    end = end or line_end(talk)
    with LineClient(address) as client:
        for side, text in talk:
            if side == "S":
                expect(client, text)
                continue
            data = text.encode() + end
            for start in range(0, len(data), size or len(data)):
                client.send(data[start : start + (size or len(data))])
        client.half_close()
        assert client.rest() == b""


def still_answers(address: Any, talk: Dialogue) -> None:
    replay(address, talk)


def one_segment(address: Any, talk: Dialogue) -> None:
    """All requests arrive at once: each is answered, in order."""
    with LineClient(address) as client:
        client.send(requests(talk))
        client.half_close()
        expect_answers(client, talk)


def half_close(address: Any, talk: Dialogue) -> None:
    """The last line has no end, and the client has closed its side (nc -N): it gets all answers, and then the end."""
    with LineClient(address) as client:
        client.send(requests(talk).removesuffix(b"\n"))
        client.half_close()
        expect_answers(client, talk)


def early_end(address: Any, talk: Dialogue) -> None:
    """The client closes its side before it has said anything: the server hangs up."""
    with LineClient(address) as client:
        client.half_close()
        client.rest()


def reset(address: Any, talk: Dialogue) -> None:
    """Clients vanish in the middle: the others don't notice."""
    for cut in (0, 1, len(requests(talk)) // 2):
        client = LineClient(address)
        client.send(requests(talk)[:cut])
        client.reset()
    still_answers(address, talk)


def over_long_line(address: Any, talk: Dialogue) -> None:
    """A line of a megabyte, which may be refused, but harms nobody."""
    hostile(address, b"x" * OVER_LONG + b"\n")
    still_answers(address, talk)


def no_line_end(address: Any, talk: Dialogue) -> None:
    """A megabyte without a line end."""
    hostile(address, b"x" * OVER_LONG)
    still_answers(address, talk)


def bad_utf_8(address: Any, talk: Dialogue) -> None:
    hostile(address, b"\xff\xfe\x80\xc3\x28\n\xed\xa0\x80\n")
    still_answers(address, talk)


def nul_bytes(address: Any, talk: Dialogue) -> None:
    hostile(address, b"\0\0\0\n\0" + requests(talk))
    still_answers(address, talk)


def control_characters(address: Any, talk: Dialogue) -> None:
    hostile(address, b"\x1b[2J\x07\r\r\n\x9b\x08\n")
    still_answers(address, talk)


def hostile(address: Any, data: bytes) -> bytes:
    """Send `data` while reading what comes back, then hang up; return the answer, if there is one."""
    with LineClient(address) as client:

        def send() -> None:
            try:
                client.send(data)
                client.half_close()
            except OSError:
                pass  # refused before the end: the server's right

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        try:
            return client.rest()
        except ConnectionError:
            return b""
        finally:
            thread.join()


def silent_client(address: Any, talk: Dialogue) -> None:
    """One client connects and says nothing; another is served meanwhile."""
    with LineClient(address):
        still_answers(address, talk)


def many_clients(address: Any, talk: Dialogue) -> None:
    """Many clients at once, all connected before the first one speaks."""
    with ExitStack() as stack:
        clients = [stack.enter_context(LineClient(address)) for _ in range(MANY)]
        for client in clients:
            client.send(requests(talk))
            client.half_close()
        for client in clients:
            for side, text in talk:
                if side == "S":
                    expect(client, text)
            client.rest()


def slow_reader(address: Any, talk: Dialogue) -> None:
    """A client that asks much and reads late gets every answer whole."""
    triples = zip(talk, talk[1:], talk[2:], strict=False)
    pairs = [(one[1], two[1]) for one, two, three in triples if one[0] + two[0] + three[0] == "CSC"]
    pairs = [(request, answer) for request, answer in pairs if "..." not in answer]
    if talk[0][0] == "S" or not pairs:
        return  # such a server has one short answer for a client
    request, answer = max(pairs, key=lambda pair: len(pair[1]))  # fewer of them
    count = UNREAD // len(answer)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(TIMEOUT)
        connection.connect(address[:2])
        thread = threading.Thread(
            target=connection.sendall, args=((request.encode() + b"\n") * count,), daemon=True
        )
        thread.start()
        thread.join(STALL)
        with connection.makefile("rb") as lines:
            for number in range(count):
                line = lines.readline()
                assert matches(line.decode().rstrip("\r\n"), answer), (
                    f"answer {number} of {count} is {line!r}"
                )
        thread.join()


CHECKS: list[Check] = [
    slow_reader,
    one_segment,
    half_close,
    early_end,
    reset,
    over_long_line,
    no_line_end,
    bad_utf_8,
    nul_bytes,
    control_characters,
    silent_client,
    many_clients,
]
