"""What is asked of a solution of one's own: a list of requirements for each script, checked from the outside.

`pytest --solutions DIR` runs the scripts in DIR as processes and checks them (see check_solutions.py). Nothing here
looks into a script: what counts is what it says to a client, to a server, and to the one who started it.
"""

from __future__ import annotations

import hashlib
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

PATIENCE = 3.0  # seconds that a solution has for anything
KEPT = 2000  # characters of what a program prints
FLOOD = 32_000_000  # bytes: more than any answer has
SHOWN = 12  # messages on the wire that a feedback shows

EXERCISES = sorted(path.name for path in ROOT.glob("*.py"))
wire: list[str] = []  # what was said in the check that runs


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
        try:
            line = self.stream.readline(FLOOD)
        except TimeoutError:
            wire.append("received nothing more, for too long")
            raise
        self.mind_the_time(len(line))
        wire.append(f"received {shortened(line)}" if line else "received (the end)")
        if not line.endswith(b"\n"):
            raise Unmet(f"expected a line, got {line[:80]!r} and the end")
        return line.decode().rstrip("\r\n")

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
        out, err = (bytes(stream).decode("utf-8", "replace").strip() for stream in (self.out, self.err))
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
    """Return the dialogue of our script; the words after ERROR, and after the codes of SMTP, are free."""
    talk = battery.dialogue(ROOT / script.name)
    mail = ("C", "DATA") in talk

    def free(text: str) -> str:
        if text.startswith(("ERROR", '{"error"')):
            return text.partition(" ")[0] + "..."
        return re.sub(r"^([0-9]{3}[ -])(?!SIZE|PIPE|8BIT|SMTPUTF8).*", r"\1...", text) if mail else text

    return [(side, free(text) if side == "S" else text) for side, text in talk]


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
        if not battery.matches(said, f"Server listening on ...:{port}..."):
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
        Requirement("dialogue", bound(replay, folder), "the docstring of our script shows the protocol"),
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


EVAL = "eval() runs whatever a client sends: parse the expression instead"
BOUNDS = "a few characters can ask for a number that fills the memory: check before you calculate"
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
    "file_server.py": [("stays inside", stays_inside, "os.path.realpath() tells where a name leads: compare it")],
}


# The requirements of clients, and of servers with our clients


class Case(NamedTuple):
    """A client with arguments, in which PORT stands for the port, that says this at a server with these options."""

    client: str
    args: list[str]
    output: list[str]  # "..." is anything; the last lines count
    server: str
    options: Sequence[str] = ()
    stdin: str | None = None
    files: Mapping[str, str] = MappingProxyType({})  # that are there before
    after: Mapping[str, str] = MappingProxyType({})  # that are there afterwards
    there: Mapping[str, str] = MappingProxyType({})  # what files at the server hold afterwards


WEB = {
    "notes.txt": "Hello",
    "get.json": '{"origin": "192.0.2.1", "headers": {"Host": "h"}}',
    "dot.gif": "GIF89a",
    "page.html": "<img src=dot.gif>",
}
SITE = "http://127.0.0.1:PORT/"
ECHOED = ["Sent: Hello", "Received: Hello", "Sent: World", "Received: World"]
CASES = [
    Case("echo_client.py", ["--port", "PORT", "Hello", "World"], ECHOED, "echo_server.py"),
    Case("calc_client.py", ["--port", "PORT", "2 + 3", "1 / 3"], ["5", "0.333333333333"], "calc_server.py"),
    Case("guess_client.py", ["--port", "PORT", "--auto"], ["42: correct: 42 in 7 guesses"], "guess_server.py",
         ["--number", "42"]),
    Case("sum_client.py", ["--port", "PORT", "1", "2", "3"], ["6"], "sum_server.py"),
    Case("json_client.py", ["--port", "PORT", "a.json", "name"], ['"Ada"'], "json_server.py",
         files={"a.json": '{"name": "Ada"}'}),
    Case("greeting_client.py", ["127.0.0.1", "PORT"], ["Time: ...", "Address: 127.0.0.1", "Port: ..."],
         "greeting_server.py"),
    Case("chat_client.py", ["--port", "PORT", "--name", "alice"], ["BYE"], "chat_server.py", stdin="/quit\n"),
    Case("udp_sender.py", ["127.0.0.1", "PORT", "x" * 3000], ["Sent 3000 bytes to 127.0.0.1:PORT"], "udp_logger.py",
         there={"udp_log.txt": "\t3000\t" + hashlib.md5(b"x" * 3000).hexdigest() + "\t"}),
    Case("file_client.py", ["--port", "PORT", "x.txt"], ["..."], "file_server.py", ["--directory", "."],
         files={"x.txt": "Hello"}, after={"x.txt": "Hello"}),
    Case("smtp_client.py", ["--port", "PORT", "--from", "a@b.c", "--to", "d@e.f", "--body", "x"], ["...d@e.f..."],
         "smtp_server.py", there={"mail/*.eml": "Return-Path: <a@b.c>"}),
    Case("list_text_files.py", [SITE], ["notes.txt"], "http_server.py", files=WEB),
    Case("fetch_page.py", [SITE + "get.json"], ["...192.0.2.1...", "...", "..."], "http_server.py", files=WEB),
    Case("url_report.py", [SITE + "notes.txt", "--output", "../there/r"], [], "http_server.py", files=WEB,
         there={"r": "8b1a9953c4611296a827abf8c47804d7"}),
    Case("download_images.py", [SITE + "page.html"], ["..."], "http_server.py", files=WEB, after={"dot.gif": "GIF89a"}),
]  # fmt: skip
ALONE = {
    "url_tools.py": (["https://example.org/products/view?id=123&sort=asc", "--set", "user=42"],
                     ["https://example.org/products/view?id=123&sort=asc&user=42"]),
    "email_builder.py": ([], ["...Advanced Python Test...", "...", "...This is a test email sent from Python...."]),
}  # fmt: skip


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
        with Program(client, here, *args, stdin=case.stdin) as run:
            code = run.end()
            lines = run.out.decode("utf-8", "replace").splitlines()
        wanted = [line.replace("PORT", str(port)) for line in case.output]
        got = lines[-len(wanted) :] if wanted else []
        wire.append(f"ran      {client.name} {' '.join(args)}")
        if code != 0 or len(got) < len(wanted) or not all(map(battery.matches, got, wanted)):
            expected = "\n".join(wanted)
            raise Unmet(
                f"status {code}, expected 0; expected on stdout:\n{expected}{run.said()}\nserver:{program.said()}"
            )
        for pattern, text in case.there.items():
            end = time.monotonic() + PATIENCE
            while not any(text in path.read_text() for path in there.glob(pattern)):
                if time.monotonic() > end:
                    raise Unmet(f"no file {pattern} with {text!r} on the server's side{run.said()}")
                time.sleep(0.02)
        for name, text in case.after.items():
            if not (here / name).exists() or (here / name).read_text() != text:
                raise Unmet(f"the file {name} should hold {text!r}{run.said()}")


def says_that_nobody_listens(case: Case, folder: Path, client: Path) -> None:
    """Without a server: one line on stderr, and status 1."""
    lay(case, folder)
    args = [word.replace("PORT", str(free_port())) for word in case.args]
    with Program(client, folder, *args, stdin=case.stdin) as run:
        code = run.end()
    if code != 1 or run.err.count(b"\n") != 1:
        raise Unmet(f"status {code}, expected 1; and one line on stderr, without a traceback{run.said()}")


def works_alone(args: list[str], output: list[str], folder: Path, script: Path) -> None:
    with Program(script, folder, *args) as run:
        code = run.end()
    lines = run.out.decode("utf-8", "replace").splitlines()
    if code != 0 or len(lines) != len(output) or not all(map(battery.matches, lines, output)):
        expected = "\n".join(output)
        raise Unmet(f"status {code}, expected 0; expected on stdout:\n{expected}{run.said()}")


def lists_a_folder(folder: Path, script: Path) -> None:
    """A small FTP server with two files and a folder."""
    from test_ftp_list import ftp

    listing = [b"type=cdir; .\r\n", b"type=dir; pub\r\n", b"type=file; b\r\n", b"type=file; a\r\n"]
    with ftp({}, listing, wire) as (_, port):
        works_alone(["--host", "127.0.0.1", "--port", str(port), "--limit", "2"], ["pub/", "b"], folder, script)


def has_help(folder: Path, script: Path) -> None:
    with Program(script, folder, "--help") as run:
        code = run.end()
    if code != 0 or b"usage" not in run.out.lower():
        raise Unmet(f"--help ended with status {code}{run.said()}")


def meaning(asked: Requirement) -> str:
    """Return what a requirement of the battery is about, in a sentence."""
    checks = {check.__name__.replace("_", " "): check for check in battery.CHECKS}
    return (checks[asked.name].__doc__ or "").partition("\n")[0] if asked.name in checks else ""


def requirements(script: str, folder: Path) -> list[Requirement]:
    """Return all that is asked of `script`. What runs, runs in `folder`."""
    asked = [Requirement("--help", partial(has_help, folder), "argparse does it for you")]
    if ROOT / script in battery.line_servers():
        asked += of_line_server(script, folder)
    lost = "compare what both sides say with the protocol in our docstring"
    for case in CASES:
        if case.client == script:
            both = lambda path, case=case: works_together(case, folder, path, ROOT / case.server)  # noqa: E731
            asked.append(Requirement(f"works with our {case.server}", both, lost))
            if case.server != "udp_logger.py":
                nobody = partial(says_that_nobody_listens, case, folder / "nobody")
                why = "connect() raises OSError: catch it, say what and where, and end with status 1"
                asked.append(Requirement("says that nobody listens", nobody, why))
        if case.server == script:
            both = lambda path, case=case: works_together(case, folder, ROOT / case.client, path)  # noqa: E731
            asked.append(Requirement(f"works with our {case.client}", both, lost))
    if script == "udp_logger.py":
        asked.append(Requirement("announces its address", partial(announces, folder), "print it with flush=True"))
    if script == "ftp_list.py":
        asked.append(Requirement("lists a folder", partial(lists_a_folder, folder), "see MLSD in RFC 3659"))
    if script in ALONE:
        asked.append(
            Requirement("output", partial(works_alone, *ALONE[script], folder), "see the exercise in the README")
        )
    return asked
