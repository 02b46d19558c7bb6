"""What is asked of a solution of one's own: a list of requirements for each script, checked from the outside.

`pytest --solutions DIR` runs the scripts in DIR as processes and checks them (see check_solutions.py). Nothing here
looks into a script: what counts is what it says to a client, to a server, and to the one who started it.
"""

from __future__ import annotations

import email
import hashlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import battery
from conftest import ROOT, WINDOWS, LineClient, free_port

HELP, NOBODY = "--help", "says that nobody listens"  # which a script that does nothing meets, too
PATIENCE = 3.0  # seconds that a solution has for anything
KEPT = 1_000_000  # bytes of what a program prints
TOLD = 2000  # characters of it that a feedback tells
FLOOD = 32_000_000  # bytes: more than any answer has
SHOWN = 12  # messages on the wire that a feedback shows

EXERCISES = sorted(path.name for path in ROOT.glob("*.py"))
wire: list[str] = []  # what was said in the check that runs
working: dict[str, int] = {}  # how many steps of the dialogue, where not all


class Unmet(AssertionError):
    """A requirement is not met; the text tells what happened."""


class Requirement(NamedTuple):
    """Something that is asked of a script, and what is usually wrong if it fails."""

    name: str
    check: Callable[[Path], None]
    cause: str


class Recorder(LineClient):
    """A client that remembers what went over the wire, and waits for nothing too long."""

    def __init__(self, address: Any) -> None:
        self.end = time.monotonic() + 3 * PATIENCE
        try:
            super().__init__(address, PATIENCE)
        except OSError:
            wire.append("could not connect")
            raise

    def send(self, data: bytes) -> None:
        wire.append(f"sent     {shortened(data)}")
        super().send(data)
        if len(data) == 1:
            time.sleep(0.002)  # or what should come in pieces might come as one

    def half_close(self) -> None:
        wire.append("sent     (the end: nothing more will come)")
        super().half_close()

    def line(self) -> str:
        """Return the next line; of a reply in several lines, as in mail, the last one."""
        try:
            line = self.stream.readline(FLOOD)
        except TimeoutError:
            wire.append("received nothing more, for too long")
            raise
        self.mind_the_time(len(line))
        wire.append(f"received {shortened(line)}" if line else "received (the end)")
        if not line.endswith(b"\n"):
            raise Unmet(f"expected a line, got {line[:80]!r} and the end")
        return self.line() if re.match(rb"[0-9]{3}-", line) else line.decode().rstrip("\r\n")

    def rest(self) -> bytes:
        data = bytearray()
        try:
            while piece := self.stream.read1(65536):
                data += piece
                self.mind_the_time(len(data))
        except TimeoutError:
            wire.append(f"received {shortened(bytes(data))} and no end: the connection stays open")
            raise
        wire.append(f"received {shortened(bytes(data))} and the end" if data else "received (the end)")
        return bytes(data)

    def mind_the_time(self, size: int) -> None:
        if size >= FLOOD or time.monotonic() > self.end:
            wire.append("received more and more")
            raise Unmet("it sends without end")


def shortened(data: bytes) -> str:
    return repr(data) if len(data) <= 100 else f"{data[:60]!r}... {len(data)} bytes in all"


class Program:
    """A script that runs in a folder of its own, with its output in the background, whatever it does."""

    def __init__(self, script: Path, folder: Path, *args: str, stdin: str | None = None) -> None:
        self.mark = secrets.token_hex(8)  # its children inherit it, wherever they go
        self.process = subprocess.Popen(
            [sys.executable, str(script), *args],
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "SOLUTION": self.mark},
            start_new_session=not WINDOWS,
            creationflags=0x200 if WINDOWS else 0,
        )
        self.out, self.err = bytearray(), bytearray()
        streams = ((self.process.stdout, self.out), (self.process.stderr, self.err))
        self.threads = [threading.Thread(target=drain, args=pair, daemon=True) for pair in streams]
        for thread in self.threads:
            thread.start()
        if stdin is not None and self.process.stdin:
            with suppress(OSError):
                self.process.stdin.write(stdin.encode())
                self.process.stdin.close()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it, with its children."""
        if WINDOWS:
            self.process.kill()
        else:
            with suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"SOLUTION={self.mark}".encode() in environment.read_bytes():
                    os.kill(int(environment.parent.name), signal.SIGKILL)
        self.process.wait()
        for thread in self.threads:
            thread.join(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream and not any(thread.is_alive() for thread in self.threads):
                with suppress(OSError):
                    stream.close()

    def end(self) -> int:
        """Wait for its end; return the exit status. Raises Unmet if it does not come."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Unmet(f"it still runs after {PATIENCE:g} seconds{self.said()}") from None
        for thread in self.threads:
            thread.join(PATIENCE)
        return code

    def said(self) -> str:
        out, err = (bytes(stream).decode("utf-8", "replace").strip()[:TOLD] for stream in (self.out, self.err))
        return (f"\non stdout: {out}" if out else "") + (f"\non stderr: {err}" if err else "")


def drain(stream: Any, kept: bytearray) -> None:
    """Read all that comes, and keep the beginning."""
    with suppress(OSError, ValueError):
        while piece := os.read(stream.fileno(), 65536):
            kept += piece[: KEPT - len(kept)] if len(kept) < KEPT else b""


@contextmanager
def serving(script: Path, folder: Path, *options: str) -> Iterator[tuple[Program, Any]]:
    """Run a server; yield it and its address as soon as it takes connections, whether or not it says so."""
    battery.prepare(ROOT / script.name, folder)
    port = free_port()
    with Program(script, folder, "--port", str(port), *options) as program:
        end = time.monotonic() + PATIENCE
        datagrams = script.name == "udp_logger.py"
        while time.monotonic() < end:
            if program.process.poll() is not None:
                program.end()
                status = program.process.returncode
                raise Unmet(f"`{script.name} --port {port}` ended with status {status}{program.said()}")
            if datagrams:
                if program.out:
                    break
            else:
                with suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), PATIENCE).close()
                    break
            time.sleep(0.02)
        else:
            if not datagrams:
                raise Unmet(f"nobody listens on port {port} of 127.0.0.1 after {PATIENCE:g} seconds{program.said()}")
        yield program, ("127.0.0.1", port)


# The requirements of servers that speak in lines

CAUSES = {
    "slow_reader": "send() may send less than all, and tells how much: use sendall()",
    "one_segment": "the reply stopped at the first segment: one recv is not one message. Collect, and cut into lines",
    "half_close": "recv() that returns b'' is the end, and no error: answer what has come, and hang up",
    "early_end": "recv() that returns b'' is the end: leave the loop, or it spins for ever",
    "reset": "recv() and send() raise ConnectionError when a client vanishes: catch that, for this client alone",
    "over_long_line": "a line without end must not be collected for ever, and refusing it must not end the server",
    "no_line_end": "a line without end must not be collected for ever, and refusing it must not end the server",
    "bad_utf_8": "decode() raises UnicodeDecodeError for bytes that are no UTF-8: catch it, and refuse the line",
    "nul_bytes": "odd bytes must not end the server: refuse the line",
    "control_characters": "odd bytes must not end the server: refuse the line",
    "silent_client": "one client that says nothing holds up all others: give each a thread of its own",
    "crowd": "listen() with a long queue, and give each client a thread of its own",
}
PIECES = "a line that comes in pieces is one line: one recv is not one message. Collect until the line ends"


def relaxed(script: Path) -> battery.Dialogue:
    """Return the dialogue of our script, as far as it works; the words after ERROR, and of a mail server, are free."""
    talk = battery.dialogue(ROOT / script.name)
    mail = ("C", "DATA") in talk

    def free(text: str) -> str:
        if text.startswith(("ERROR", '{"error"')):
            return text.partition(" ")[0] + "..."
        return text[:4] + "..." if mail else text

    talk = [(side, free(text) if side == "S" else text) for side, text in talk]
    talk = [(side, text) for side, text in talk if side == "C" or not re.match("[0-9]{3}-", text)]  # see Recorder.line
    return talk[: working.get(script.name)]


literally = battery.matches  # which is replaced while solutions are checked


def matches(line: str, pattern: str) -> bool:
    """Tell whether `line` is what was expected; an object in JSON may be written in another way."""
    if line == pattern:
        return True
    with suppress(ValueError):
        if pattern.startswith("{") and json.loads(line) == json.loads(pattern):
            return True
    return literally(line, pattern)


def holds(folder: Path, script: Path) -> None:
    """The whole dialogue. What is before the first answer that is wrong is enough for the other checks."""
    held: battery.Dialogue = []

    def hold(address: Any, talk: battery.Dialogue) -> None:
        def steps() -> Iterator[tuple[str, str]]:
            for step in talk:
                held.append(step)
                yield step

        talking: Any = steps()
        try:
            battery.replay(address, talking, battery.line_end(talk))
        except (AssertionError, OSError, UnicodeError):
            while held and held.pop()[0] == "S":  # back to what was asked
                pass
            working[script.name] = len(held)
            raise

    with_server(hold, folder, script)


def with_server(action: Callable[[Any, battery.Dialogue], None], folder: Path, script: Path) -> None:
    """Start a server as our docstring says, and do `action` with its address and the dialogue."""
    with serving(script, folder, *battery.options(ROOT / script.name)) as (program, address):
        try:
            action(address, relaxed(script))
        except (AssertionError, OSError, UnicodeError) as error:
            ended = program.process.poll()
            state = f"\nThe server has ended meanwhile, with status {ended}." if ended is not None else ""
            raise Unmet(f"{explained(error)}{state}{program.said()}") from error


def explained(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {PATIENCE:g} seconds"
    return str(error).partition("\nassert ")[0] or type(error).__name__  # without what pytest adds


def announces(folder: Path, script: Path) -> None:
    with serving(script, folder, *battery.options(ROOT / script.name)) as (program, (_, port)):
        end = time.monotonic() + PATIENCE
        while b"\n" not in program.out and time.monotonic() < end:
            time.sleep(0.01)
        said = program.out.decode("utf-8", "replace").partition("\n")[0]
        if not matches(said, f"Server listening on ...:{port}..."):
            raise Unmet(f"the first line on stdout is {said!r}, not 'Server listening on HOST:{port}...'")


def stops(folder: Path, script: Path) -> None:
    """Ctrl-C with a client that is in the middle of a line, and one that is silent."""
    with serving(script, folder, *battery.options(ROOT / script.name)) as (program, address):
        with Recorder(address) as busy, Recorder(address) as silent:
            busy.send(b"x")
            program.process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGINT))
            code = program.end()
            for client in (busy, silent):
                with suppress(ConnectionError):
                    client.rest()
        if code != 0:
            raise Unmet(f"Ctrl-C ended it with status {code}, not 0{program.said()}")
        if b"Traceback" in program.err:
            raise Unmet(f"Ctrl-C ended it with a traceback{program.said()}")


def refuses(line: str, folder: Path, script: Path) -> None:
    """A line that must be answered by ERROR."""

    def ask(address: Any, talk: battery.Dialogue) -> None:
        with Recorder(address) as client:
            if talk[0][0] == "S":
                client.line()
            answer = client.ask(line)
            assert answer.startswith("ERROR"), f"expected 'ERROR ...', got {answer[:200]!r}"

    with_server(ask, folder, script)


def keeps_the_secret(folder: Path, script: Path) -> None:
    """Two servers with different numbers say the same until someone guesses."""
    said = []
    for number in ("42", "77"):
        with serving(script, folder, "--number", number) as (_, address), Recorder(address) as client:
            said.append([client.line(), client.ask("many")])
    if said[0] != said[1]:
        raise Unmet(f"with another number it says something else: {said[0]} and {said[1]}")


def of_line_server(script: str, folder: Path) -> list[Requirement]:
    replay = battery.replay
    bound = partial(partial, with_server)
    requirements = [
        Requirement("takes connections", bound(lambda address, talk: None, folder), "listen on --port, of 127.0.0.1"),
        Requirement("announces its address", partial(announces, folder), "print it first, with flush=True"),
        Requirement("dialogue", partial(holds, folder), "the docstring of our script shows the protocol"),
        Requirement(
            "dialogue, CRLF", bound(partial(replay, end=b"\r\n"), folder), "telnet ends lines in CRLF: strip()"
        ),
    ]
    if script not in ("echo_server.py",):  # for it a piece is a message
        requirements.append(Requirement("dialogue, in pieces", bound(partial(replay, size=1), folder), PIECES))
    for check in battery.CHECKS:
        if not (check is battery.crowd and script == "chat_server.py"):
            name = check.__name__.replace("_", " ")
            requirements.append(Requirement(name, bound(check, folder), CAUSES[check.__name__]))
    requirements += [Requirement(name, partial(check, folder), cause) for name, check, cause in SPECIAL.get(script, [])]
    stop = "catch KeyboardInterrupt; hang up on the clients that are left, and let no thread keep the process alive"
    return [*requirements, Requirement("stops on Ctrl-C", partial(stops, folder), stop)]


def sends_all(folder: Path, script: Path) -> None:
    """An answer of twelve megabytes to a client that reads late."""

    def ask(address: Any, talk: battery.Dialogue) -> None:
        value = "x" * 12_000_000
        with Recorder(address) as client:
            client.send(f'{{"data": {{"a": "{value}"}}, "key": "a"}}\n'.encode())
            time.sleep(battery.STALL)
            answer = client.line()
            assert value in answer, f"expected a line of 12,000,000 bytes and more, got {len(answer)}"

    with_server(ask, folder, script)


def reaches_the_others(folder: Path, script: Path) -> None:
    """What one says all others hear, and what is said to one nobody else."""

    def ask(address: Any, talk: battery.Dialogue) -> None:
        with Recorder(address) as ann, Recorder(address) as bob, Recorder(address) as eve:
            for name, client in (("ann", ann), ("bob", bob), ("eve", eve)):
                client.send(f"NAME {name}\n".encode())
                client.until(f"is now {name}")
            ann.send(b"MSG bob psst\nhello\n")
            bob.until("psst")
            bob.until("hello")
            heard = eve.until("hello")
            assert not any("psst" in line for line in heard), f"a private message was heard by others: {heard}"
            ann.send(b"GET_NAMES\n")
            while not (line := ann.line()).startswith("NAMES"):
                assert "hello" not in line, f"the speaker has heard it, too: {line!r}"

    with_server(ask, folder, script)


def stays_inside(folder: Path, script: Path) -> None:
    """Three ways out of the folder that is served."""
    inside, outside = folder / "served", folder / "outside.txt"
    inside.mkdir(exist_ok=True)
    outside.write_text("not for everybody")
    names = ["../outside.txt", str(outside)]
    with suppress(OSError):  # Windows wants a privilege for it
        (inside / "link.txt").symlink_to(outside)
        names.append("link.txt")
    with serving(script, inside, "--directory", ".") as (program, address):
        for name in names:
            with Recorder(address) as client:
                answer = client.ask(f"GET {name}")
            if not answer.startswith("ERROR"):
                raise Unmet(f"GET {name} is answered by {answer[:200]!r}, not by 'ERROR ...'{program.said()}")


def shows_nothing_outside(folder: Path, script: Path) -> None:
    """A link out of the folder that is shown, and ways out that no browser would send."""
    inside, outside = folder / "shown", folder / "outside.txt"
    inside.mkdir(exist_ok=True)
    outside.write_text("not for everybody")
    with suppress(OSError):  # Windows wants a privilege for it
        (inside / "link.txt").symlink_to(outside)
    with serving(script, inside) as (program, address):
        for path in ("/../outside.txt", "/%2e%2e/outside.txt", "/..%2foutside.txt", f"/{outside}", "/link.txt"):
            with Recorder(address) as client:
                client.send(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                reply = client.rest()
            if b"not for everybody" in reply:
                raise Unmet(f"GET {path} shows a file outside of the folder{program.said()}")


def offers_its_extensions(folder: Path, script: Path) -> None:
    """EHLO is answered by the extensions, in any order."""

    def ask(address: Any, talk: battery.Dialogue) -> None:
        with LineClient(address, PATIENCE) as client:
            client.send(b"EHLO me\r\nQUIT\r\n")
            said = client.rest().decode()
        wire.extend([r"sent     b'EHLO me\r\nQUIT\r\n'", f"received {said.encode()!r}"])
        for word in ("SIZE", "PIPELINING", "8BITMIME", "SMTPUTF8"):
            assert re.search(rf"(?m)^250[ -]{word}\b", said), f"no {word} in the reply to EHLO"

    with_server(ask, folder, script)


def ends_a_message_at_one_place(folder: Path, script: Path) -> None:
    """A dot between bare LFs is a part of the message: to end it there would let others smuggle in a second one."""

    def ask(address: Any, talk: battery.Dialogue) -> None:
        with Recorder(address) as client:
            client.line()
            for line in (b"EHLO me", b"MAIL FROM:<a@b.c>", b"RCPT TO:<d@e.f>", b"DATA"):
                client.send(line + b"\r\n")
                client.line()
            client.send(b"one\n.\nNOOP\r\n.\r\nQUIT\r\n")
            answers = client.line()[:3], client.line()[:3]
        assert answers == ("250", "221"), f"expected one 250 for all of it, and 221 for QUIT, got {answers}"

    with_server(ask, folder, script)


def shows_what_came(folder: Path, script: Path) -> None:
    """A server that echoes in capitals: the client may complain, but not say that it has received what it sent."""
    came = bytearray()

    def converse() -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(PATIENCE)
                while piece := connection.recv(65536):
                    came.extend(piece)
                    connection.sendall(piece.upper())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        thread = threading.Thread(target=converse)
        thread.start()
        with Program(script, folder, "--port", str(listener.getsockname()[1]), "Hello") as run:
            run.end()
        thread.join()
    if b"Hello" not in came or b"Received: Hello" in run.out:
        raise Unmet(f"it sent {bytes(came[:100])!r}, and was answered in capitals{run.said()}")


EVAL = "eval() runs whatever a client sends: parse the expression instead"
BOUNDS = "a few characters can ask for a number that fills the memory: check before you calculate"
INSIDE = "os.path.realpath() tells where a name leads: compare it"
NAME = "a name without a limit is sent to everybody: limit its length, and its characters"
SPECIAL: dict[str, list[tuple[str, Callable[[Path, Path], None], str]]] = {
    "calc_server.py": [
        ("evaluates no Python", partial(refuses, "__import__('os').getpid()"), EVAL),
        ("bounds the work", partial(refuses, "9**9**9**9"), BOUNDS),
    ],
    "guess_server.py": [
        ("refuses what is no number", partial(refuses, "many"), "int() raises ValueError: catch it"),
        ("keeps the secret", keeps_the_secret, "the number was sent before it was guessed: leave the debugging out"),
    ],
    "sum_server.py": [
        ("refuses what is no number", partial(refuses, "1|two|3|."), "int() raises ValueError: catch it, and say ERROR")
    ],
    "json_server.py": [("sends all of a large answer", sends_all, CAUSES["slow_reader"])],
    "chat_server.py": [
        ("refuses endless names", partial(refuses, "NAME " + "x" * 1000), NAME),
        ("reaches the others", reaches_the_others, "keep a list of all clients, and send to each but the speaker"),
    ],
    "file_server.py": [("stays inside", stays_inside, INSIDE)],
    "smtp_server.py": [
        ("offers its extensions", offers_its_extensions, "EHLO is answered in several lines: 250-, and 250 at the end"),
        ("ends a message at one place", ends_a_message_at_one_place, "only CRLF . CRLF ends it: do not use readline()"),
    ],
}


# The requirements of clients, and of servers with our clients


class Case(NamedTuple):
    """A client with arguments, in which PORT stands for the port, that says this at a server with these options."""

    client: str
    args: list[str]
    output: list[str]  # lines, in this order; others may stand between them, and "..." is anything
    server: str
    options: Sequence[str] = ()
    stdin: str | None = None
    files: Mapping[str, str] = MappingProxyType({})  # that are there before
    after: Mapping[str, str] = MappingProxyType({})  # that are there afterwards
    there: Mapping[str, Sequence[str]] = MappingProxyType({})  # what files at the server hold afterwards
    status: int = 0
    about: str = ""  # which of several cases it is


WEB = {
    "notes.txt": "Hello",
    "get.json": '{"origin": "192.0.2.1", "headers": {"Host": "h"}}',
    "dot.gif": "GIF89a",
    "page.html": "<img src=dot.gif>",
}
SITE = "http://127.0.0.1:PORT/"
LARGE = "".join(f"{number} " for number in range(30_000))  # more than one recv
ECHOED = ["Sent: Hello", "Received: Hello", "Sent: World", "Received: World"]
MAIL = ["--port", "PORT", "--from", "a@b.c", "--to", "d@e.f", "--body"]
CASES = [
    Case("echo_client.py", ["--port", "PORT", "Hello", "World"], ECHOED, "echo_server.py"),
    Case("calc_client.py", ["--port", "PORT", "2 + 3", "1 / 3"], ["...5", "...0.333333333333"], "calc_server.py"),
    Case("guess_client.py", ["--port", "PORT", "--auto"], ["...correct..."], "guess_server.py",
         ["--number", "42"]),
    Case("sum_client.py", ["--port", "PORT", "1", "2", "3"], ["6"], "sum_server.py"),
    Case("json_client.py", ["--port", "PORT", "a.json", "name"], ['"Ada"'], "json_server.py",
         files={"a.json": '{"name": "Ada"}'}),
    Case("json_client.py", ["--port", "PORT", "a.json", "text"], [f'"{LARGE}"'], "json_server.py",
         files={"a.json": f'{{"text": "{LARGE}"}}'}, about="a large value"),
    Case("json_client.py", ["--port", "PORT", "a.json", "none"], [], "json_server.py",
         files={"a.json": '{"name": "Ada"}'}, status=1, about="a key that is missing"),
    Case("greeting_client.py", ["127.0.0.1", "PORT"], ["Time: ...", "Address: 127.0.0.1", "Port: ..."],
         "greeting_server.py"),
    Case("chat_client.py", ["--port", "PORT", "--name", "alice"], ["BYE"], "chat_server.py", stdin="/quit\n"),
    Case("udp_sender.py", ["127.0.0.1", "PORT", "x" * 3000], ["Sent 3000 bytes to 127.0.0.1:PORT"], "udp_logger.py",
         there={"udp_log.txt": ["\t3000\t" + hashlib.md5(b"x" * 3000).hexdigest() + "\t"]}),
    Case("file_client.py", ["--port", "PORT", "x.txt"], [], "file_server.py", ["--directory", "."],
         files={"x.txt": LARGE}, after={"x.txt": LARGE}),
    Case("file_client.py", ["--port", "PORT", "none.txt"], [], "file_server.py", ["--directory", "."],
         status=1, about="a file that is missing"),
    Case("smtp_client.py", [*MAIL, "one\n.two"], [], "smtp_server.py",
         there={"mail/*.eml": ["Return-Path: <a@b.c>", "\none\n.two\n"]}),
    Case("list_text_files.py", [SITE], ["...notes.txt..."], "http_server.py", files=WEB),
    Case("fetch_page.py", [SITE + "get.json"], ["...192.0.2.1...", "...Host...h..."], "http_server.py", files=WEB),
    Case("url_report.py", [SITE + "notes.txt", "--output", "../there/r"], [], "http_server.py", files=WEB,
         there={"r": ["8b1a9953c4611296a827abf8c47804d7"]}),
    Case("download_images.py", [SITE + "page.html"], [], "http_server.py", files=WEB, after={"dot.gif": "GIF89a"}),
]  # fmt: skip
EXERCISE_URL = "https://example.org/products/view?id=123&sort=asc"


def lay(case: Case, folder: Path) -> None:
    """Put the files of a case into `folder`."""
    folder.mkdir(exist_ok=True)
    for name, text in case.files.items():
        (folder / name).write_text(text)


def works_together(case: Case, folder: Path, client: Path, server: Path) -> None:
    """Run the client at the server, and compare what it prints and leaves behind."""
    there, here = folder / "there", folder / "here"
    for place in (there, here):
        place.mkdir()
    lay(case, there if case.server in ("http_server.py", "file_server.py") else here)
    with serving(server, there, *case.options) as (program, (_, port)):
        args = [word.replace("PORT", str(port)) for word in case.args]
        wire.append(f"ran      {client.name} {' '.join(args)[:200]}")
        with Program(client, here, *args, stdin=case.stdin) as run:
            code = run.end()
        context = f"{run.said()}\nserver:{program.said()}"
        expect_output(run, code, [line.replace("PORT", str(port)) for line in case.output], case.status, context)
        for pattern, texts in case.there.items():
            end = time.monotonic() + PATIENCE
            while found := read_all(there, pattern) or [""]:
                if any(all(text in file for text in texts) for file in found):
                    break
                if time.monotonic() > end:
                    state = "; ".join(found)[:TOLD] or "it is not there, or empty"
                    raise Unmet(f"{pattern} of the server should hold {' and '.join(map(repr, texts))}: {state}")
                time.sleep(0.02)
        for name, text in case.after.items():
            held = "".join(read_all(here, name))
            if held != text:
                size = f"these {len(text)} characters, and holds {len(held)}"
                raise Unmet(f"the file {name} should hold {repr(text) if len(text) < 100 else size}{context}")


def read_all(folder: Path, pattern: str) -> list[str]:
    """Return what the files hold whose names match `pattern`."""
    return [path.read_text(encoding="utf-8", errors="replace") for path in folder.glob(pattern)]


def expect_output(run: Program, code: int, wanted: list[str], status: int, context: str) -> None:
    """Complain unless a program has ended with `status`, and printed lines like those, in that order."""
    lines = iter(run.out.decode("utf-8", "replace").splitlines())
    missing = next((pattern for pattern in wanted if not any(matches(line, pattern) for line in lines)), None)
    if missing is not None:
        expected = "\n".join(line[:200] for line in wanted)
        raise Unmet(f"there is no {missing[:200]!r} at its place; expected on stdout:\n{expected}{context}")
    if code != status:
        raise Unmet(f"status {code}, expected {status}{context}")


def says_that_nobody_listens(case: Case, folder: Path, client: Path) -> None:
    """Without a server: one line on stderr, and status 1."""
    lay(case, folder)
    args = [word.replace("PORT", str(free_port())) for word in case.args]
    with Program(client, folder, *args, stdin=case.stdin) as run:
        code = run.end()
    if code != 1 or run.err.count(b"\n") != 1:
        raise Unmet(f"status {code}, expected 1; and one line on stderr, without a traceback{run.said()}")


def works_alone(args: list[str], output: list[str], folder: Path, script: Path) -> None:
    """Run a script that needs no server."""
    with Program(script, folder, *args) as run:
        expect_output(run, run.end(), output, 0, run.said())


def builds_a_message(folder: Path, script: Path) -> None:
    """The file holds the message of the exercise, and what is printed was read back from it."""
    body = "This is a test email sent from Python."
    works_alone([], ["...Advanced Python Test...", f"...{body}..."], folder, script)
    if not (folder / "test_email.eml").exists():
        raise Unmet("there is no file test_email.eml")
    message = email.message_from_bytes((folder / "test_email.eml").read_bytes())
    wanted = {"Subject": "Advanced Python Test", "From": "me@example.com", "To": "you@example.com"}
    held = {name: str(message[name]) for name in wanted}
    if held != wanted or body not in str(message):
        raise Unmet(f"test_email.eml should hold {wanted} and {body!r}, and holds {str(message)[:TOLD]!r}")


def lists_a_folder(folder: Path, script: Path) -> None:
    """A small FTP server with two files and a folder."""
    from test_ftp_list import ftp

    listing = [b"type=cdir; .\r\n", b"type=dir; pub\r\n", b"type=file; b\r\n", b"type=file; a\r\n"]
    with ftp({}, listing, wire) as (_, port):
        args = ["--host", "127.0.0.1", "--port", str(port), "--limit", "2"]
        with Program(script, folder, *args) as run:
            expect_output(run, run.end(), ["pub/", "b"], 0, run.said())
    if run.out.split() != [b"pub/", b"b"]:
        raise Unmet(f"--limit 2 wants the first two names of three{run.said()}")


def has_help(folder: Path, script: Path) -> None:
    with Program(script, folder, "--help") as run:
        code = run.end()
    if code != 0 or b"usage" not in run.out.lower():
        raise Unmet(f"--help should print the usage and end with status 0, not {code}{run.said()}")


def meaning(asked: Requirement) -> str:
    """Return what a requirement of the battery is about, in a sentence."""
    checks = {check.__name__.replace("_", " "): check for check in battery.CHECKS}
    return (checks[asked.name].__doc__ or "").partition("\n")[0] if asked.name in checks else ""


def requirements(script: str, folder: Path) -> list[Requirement]:
    """Return all that is asked of `script`. What runs, runs in `folder`."""
    asked = [Requirement(HELP, partial(has_help, folder), "argparse does it for you")]
    if ROOT / script in battery.line_servers():
        asked += of_line_server(script, folder)
    lost = "compare what both sides say with the protocol in our docstring"
    for case in CASES:
        which = f": {case.about}" if case.about else ""
        if case.client == script:
            both = lambda path, case=case: works_together(case, folder, path, ROOT / case.server)  # noqa: E731
            asked.append(Requirement(f"works with our {case.server}{which}", both, lost))
            if case.server != "udp_logger.py" and not case.about:
                nobody = partial(says_that_nobody_listens, case, folder / "nobody")
                why = "connect() raises OSError: catch it, say what and where, and end with status 1"
                asked.append(Requirement(NOBODY, nobody, why))
        if case.server == script:
            both = lambda path, case=case: works_together(case, folder, ROOT / case.client, path)  # noqa: E731
            asked.append(Requirement(f"works with our {case.client}{which}", both, lost))
    special: dict[str, Requirement] = {
        "echo_client.py": Requirement(
            "shows what came", partial(shows_what_came, folder), "print what recv() gave, not what was sent"
        ),
        "udp_logger.py": Requirement("announces its address", partial(announces, folder), "print it with flush=True"),
        "ftp_list.py": Requirement("lists a folder", partial(lists_a_folder, folder), "see MLSD in RFC 3659"),
        "http_server.py": Requirement("stays inside", partial(shows_nothing_outside, folder), INSIDE),
        "email_builder.py": Requirement("output", partial(builds_a_message, folder), "see the exercise in the README"),
        "url_tools.py": Requirement(
            "output",
            partial(works_alone, [EXERCISE_URL, "--set", "user=42"], [f"{EXERCISE_URL}&user=42"], folder),
            "see the exercise in the README",
        ),
    }
    return [*asked, special[script]] if script in special else asked
