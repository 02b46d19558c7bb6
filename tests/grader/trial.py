"""What a check may use: programs, clients and servers, all of them recorded and ended again."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .person import Keyboard, Values, arguments
from .process import LOOK, STILL, Program, copy_folder, free_port, kill_marked
from .recorder import Address, Client, Evidence, FakeServer, Visit, relay
from .requirement import NotMet

START = 10.0  # seconds that a program may take to start
ANSWER = 3.0  # seconds that it may take for an answer
SHORT = 1.0  # seconds after which one tries something else


LIVING: list[Trial] = []  # those that are not closed
OVER = threading.Event()  # nothing is started any more


class Server:
    """A solution that listens."""

    def __init__(self, program: Program, address: Address, script: str) -> None:
        self.program, self.address, self.script = program, address, script
        self.folder = program.folder

    @property
    def port(self) -> int:
        return self.address[1]


class Trial:
    """All checks of one script: where it is, and what was learned about it."""

    def __init__(
        self,
        script: str,
        folder: Path,
        reference: Path,
        python: str,
        port: int = 0,
        deadline: float = float("inf"),
    ) -> None:
        self.script, self.folder, self.reference, self.python = script, folder, reference, python
        self.default_port, self.deadline = port, deadline
        self.scratch = Path(tempfile.mkdtemp(prefix="exercise-"))
        self.mark = secrets.token_hex(8)
        self.facts: dict[str, Any] = {}  # that one check finds out for another
        self.count = 0
        self.lock = threading.Lock()
        self.still_for = self.looked = 0.0  # see stuck()
        self.still_slow = 0.0  # seconds after which a slow server of ours may still say something
        self.begin()
        LIVING.append(self)

    def again(self) -> Trial:
        """Return another one, to be used at the same time."""
        return Trial(self.script, self.folder, self.reference, self.python, self.default_port,
                     self.deadline)  # fmt: skip

    # One check

    def begin(self) -> None:
        self.evidence = Evidence()
        self.programs: list[tuple[str, bool, Program]] = []
        self.closers: list[Callable[[], object]] = []
        self.ports: dict[int, int] = {}  # those that were free, and those of the exercise
        self.gone: set[int] = set()  # those of our own servers in this process
        self.connections = 0  # of ours to the server
        self.still: list[tuple[str, ...] | None] = []  # what all programs wait for
        self.still_slow = 0.0

    def finish(self) -> None:
        for close in reversed(self.closers):
            with suppress(OSError):
                close()
        for _, _, program in self.programs:
            program.kill()
            shutil.rmtree(program.folder, ignore_errors=True)

    def close(self) -> None:
        kill_marked(self.mark)
        shutil.rmtree(self.scratch, ignore_errors=True)
        LIVING.remove(self)

    def at_most(self, seconds: float) -> float:
        """Return how long to wait: `seconds`, or less if the time for all is nearly up."""
        return max(0.05, min(seconds, self.deadline - time.monotonic()))

    def late(self) -> bool:
        return time.monotonic() > self.deadline

    def stuck(self, seconds: float) -> bool:
        """Tell whether all programs wait for others, without a time limit, for so long already.

        No message is on its way then, since it would have woken one of them: to wait for longer
        shows nothing new.
        """
        with self.lock:
            now = time.monotonic()
            if now > self.looked + 0.1:
                # Where a whole machine stood still for a second, nobody had the time to go on.
                self.still_for += min(now - self.looked, 0.2)
                self.looked = now
                running = [(ours, one) for _, ours, one in self.programs[:] if not one.ended()]
                still = [one.waits(ours) for ours, one in running]
                if None in still or not any(still) or still != self.still:
                    self.still, self.still_for = still, 0.0
            return self.still_for > seconds + self.still_slow

    # Programs

    def has(self, script: str) -> bool:
        return (self.folder / script).is_file()

    def workplace(self, ours: bool = False) -> Path:
        """Return a new folder with a copy of the learner's scripts."""
        self.count += 1
        folder = self.scratch / f"run{self.count}"
        if ours:
            folder.mkdir()
        else:
            template = self.scratch / "copy"
            if not template.exists():
                copy_folder(self.folder, template)
            shutil.copytree(template, folder, copy_function=share)
        return folder

    def launch(
        self,
        args: Sequence[str],
        script: str = "",
        ours: bool = False,
        stdin: str | None = None,
        keep_stdin: bool = False,
        files: Mapping[str, bytes] | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Program:
        """Start a script of the learner, or one of ours."""
        if OVER.is_set():
            raise NotMet("interrupted")
        script = script or self.script
        folder = folder or self.workplace(ours)
        for name, data in (files or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        path = str(self.reference / script) if ours else script
        typing = stdin is not None or keep_stdin
        before = snapshot(folder)
        program = Program(
            [self.python, path, *args], folder, self.mark, dict(environment or {}), typing
        )
        program.before, program.stuck, program.given = before, self.stuck, dict(files or {})
        self.programs.append((script, ours, program))
        words = [script, *(word if len(word) < 60 else word[:50] + "..." for word in args)]
        whose = " (ours)" if ours else ""
        self.evidence.add("ran", f"python3 {shlex.join(words)}{whose}")
        whole = ["python3", path if ours else script, *args]
        self.evidence.commands.append(" ".join(map(quoted, whole)))
        if stdin is not None:
            if stdin:
                self.evidence.add("typed", repr(stdin))
            program.say(stdin, close=not keep_stdin)
        return program

    def by_hand(self, command: str) -> str:
        """Return a command with the port that a person would use."""

        def usual(match: re.Match[str]) -> str:
            return str(self.ports.get(int(match[0])) or match[0])

        return re.sub(r"\b\d{4,5}\b", usual, command)

    def serve(
        self,
        *options: str,
        script: str = "",
        ours: bool = False,
        kind: str = "tcp",
        files: Mapping[str, bytes] | None = None,
    ) -> Server:
        """Start a server, and return it as soon as it listens; nobody connects to find that out.

        --port is tried first; then its own port; then the port as its only argument; then what a
        person would do who reads its usage and its prompts.
        """
        script = script or self.script
        known = f"how {script} is started" + (" (ours)" if ours else "")
        ways = [self.facts[known]] if known in self.facts else [0] if ours else [*range(5)]
        ends: list[Program] = []
        spare: tuple[Server, int] | None = None
        for way in ways:
            port = free_port()
            self.ports[port] = self.default_port
            values = {"host": "127.0.0.1", "port": str(port), "folder": ".", "file": "log.txt"}
            first = [["--port", str(port)], [], [str(port)], [], []][way]
            if way == 3:  # as its usage says, if there is one
                if known not in self.facts:
                    self.note_usage(script, "".join(one.output for one in ends))
                first = next(iter(self.arguments(script, values)), [])
                if not first:
                    continue
            line = len(self.evidence.lines)
            program = self.launch(
                [*first, *options],
                script,
                ours,
                keep_stdin=way > 2,
                files=files,
                environment={"EXERCISE_PORT": str(port)},
            )
            if way > 2:
                Keyboard(program, values, self.evidence)
            address = self.find(program, port, kind)
            if address:
                server = Server(program, address, script)
                asked = [one for _, one in program.asked_for("bind") if one and one != port]
                if asked and way == 0 and len(ways) > 1:
                    spare = server, line  # it may take --port for something else
                    continue
                if spare:
                    self.forget([spare[0].program, *ends])
                    del self.evidence.lines[spare[1] : line]
                    del self.evidence.commands[-2 - len(ends) : -1]
                    line = spare[1]
                self.facts[known] = way
                if asked and way < 2:
                    self.facts[f"own port of {script}"] = asked[0]
                    self.evidence.lines[line] += f"  (it listens on its own port, {asked[0]})"
                    self.ports[port] = asked[0]
                return server
            if not program.ended():
                raise NotMet(
                    f"it runs, but does not listen on a {kind.upper()} port",
                    "a socket that is bound" + (" and listens" if kind == "tcp" else ""),
                )
            ends.append(program)
        if spare:
            self.forget(ends)
            del self.evidence.lines[spare[1] + 1 :], self.evidence.commands[-len(ends) :]
            self.facts[known] = 0
            return spare[0]
        wrong_usage = [one for one in ends if self.plain_usage(one)]
        told = next((one for one in ends if one not in wrong_usage), ends[0])
        self.programs = [(name, ours or one is not told, one) for name, ours, one in self.programs]
        self.evidence.commands = self.evidence.commands[ends.index(told) - len(ends) :][:1]
        refused = re.search(r"(?m)^.*error: (unrecognized arguments: .*)$", told.errors)
        raise NotMet(
            f"it ended with status {told.process.returncode}, and nobody listens"
            + (f": {refused[1]}" if refused and options else ""),
            "a server that listens, and goes on running",
        )

    def forget(self, tried: Sequence[Program]) -> None:
        """Do not show programs that were tried for nothing."""
        for program in tried:
            program.kill()
        self.programs = [(name, ours or one in tried, one) for name, ours, one in self.programs]

    def note_usage(self, script: str, printed: str) -> None:
        """Remember what a script has printed: its usage may be in it."""
        self.facts[f"usage of {script}"] = printed

    def arguments(self, script: str, values: Values) -> list[list[str]]:
        """Return the arguments that a script may want by its usage, or by its code."""
        path = self.folder / script
        code = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        return arguments(self.facts.get(f"usage of {script}", ""), code, values)

    @staticmethod
    def plain_usage(program: Program) -> bool:
        """Tell whether it ended because of the arguments that we gave it."""
        words = ("usage:", "IndexError: list index", "invalid literal for int() with base 10: '-")
        return program.process.returncode == 2 or any(word in program.errors for word in words)

    def find(self, program: Program, port: int, kind: str) -> Address | None:
        end = time.monotonic() + self.at_most(START)
        while time.monotonic() < end:
            if address := program.listens(port, kind):
                return address
            if kind == "udp" and program.asked_for("listen"):
                return None  # it takes connections, and no datagrams
            if program.ended():
                program.wait(1)
                return None
            with program.news:
                program.news.wait(LOOK)
        return None

    def restarted(self, server: Server) -> Server:
        """Return the server if it still runs, or else a new one: it may be for one client only."""
        if not server.program.ended() and server.program.listens(server.port, "tcp"):
            return server
        return self.serve(script=server.script)

    # Conversations

    def connect(self, server: Server, name: str = "", seconds: float = ANSWER) -> Client:
        self.connections += 1
        try:
            client = Client(self.evidence, server.address, self.at_most(seconds), name, self.stuck)
        except OSError as error:
            self.evidence.add("...", f"could not connect: {type(error).__name__}")
            raise NotMet("it takes no connection", "a connection") from None
        self.closers.append(client.close)
        return client

    def fake(self, converse: Callable[[Visit], None], seconds: float = ANSWER) -> FakeServer:
        server = FakeServer(converse, self.evidence, self.at_most(seconds), self.stuck)
        self.closers.append(server.close)
        self.ports[server.port] = self.default_port
        self.gone.add(server.port)
        return server

    def relay(
        self,
        server: Server,
        mute: bool = False,
        change: Callable[[bytes], bytes] | None = None,
    ) -> FakeServer:
        """Pass on what comes to `server`, or to a new one if it was for one client only."""
        known = [server]

        def find() -> Address:
            try:
                known[0] = self.restarted(known[0])
            except NotMet:
                raise OSError("it does not listen any more") from None
            return known[0].address

        return self.fake(relay(find, mute, change))

    def run_client(
        self,
        port: int,
        *args: str,
        script: str = "",
        stdin: str | None = "",
        keep_stdin: bool = False,
        files: Mapping[str, bytes] | None = None,
        redirect: bool = True,
        ours: bool = False,
    ) -> Program:
        """Start a client; wherever it wants to connect to, it gets to `port`."""
        environment = {"EXERCISE_CONNECT": f"*={port}"} if redirect else {}
        return self.launch(args, script, ours, stdin, keep_stdin, files, environment)

    def aside(self, other: Callable[[], object]) -> bool:
        """Try something else; if it returns False or raises NotMet, forget that it was tried."""
        lines, commands = self.evidence.lines[:], self.evidence.commands[:]
        count = len(self.programs)
        try:
            worked = other() is not False
        except NotMet:
            worked = False
        if not worked:
            self.evidence.lines[:], self.evidence.commands[:] = lines, commands
            self.forget([program for _, _, program in self.programs[count:]])
        return worked

    # What a failure shows

    def culprits(self) -> list[Program]:
        """Return the learner's programs of this check."""
        return [program for _, ours, program in self.programs if not ours]


def quoted(word: str) -> str:
    """Return a word for a shell, also if it holds a line break."""
    return shlex.quote(word) if word.isprintable() else f"${word!a}"


def give_up() -> None:
    """Kill all that runs, and remove all that was written."""
    OVER.set()
    end = time.monotonic() + 5
    left = True
    while left and time.monotonic() < end:  # a program may have been about to start
        for trial in LIVING[:]:
            for _, _, program in trial.programs[:]:
                with suppress(OSError):
                    program.process.kill()
            kill_marked(trial.mark)
            shutil.rmtree(trial.scratch, ignore_errors=True)
        time.sleep(0.2)
        left = any(trial.scratch.exists() for trial in LIVING[:])


def share(source: str, target: str) -> None:
    """Copy a file; what is a program anyway is not copied, but linked, which is faster."""
    if source.endswith(".py"):
        with suppress(OSError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def snapshot(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return what files there are, with their sizes and times of change."""
    found = {}
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file():
                status = path.stat()
                found[path] = (status.st_size, status.st_mtime_ns)
    return found


def new_files(program: Program) -> dict[str, bytes]:
    """Return the files that a program has written or changed in its folder."""
    before = program.before
    found = {}
    for path, state in snapshot(program.folder).items():
        if before.get(path) != state:
            with suppress(OSError):
                found[str(path.relative_to(program.folder))] = path.read_bytes()
    return found


def wait_until(good: Callable[[], bool], seconds: float, program: Program | None = None) -> bool:
    """Wait for something that happens in a file: nothing tells, so look again and again."""
    start = time.monotonic()
    end = start + seconds
    while not good():
        now = time.monotonic()
        late = now > end
        still = program is not None and program.stuck(2 * STILL) and now > start + 2 * STILL
        over = still or (program is not None and program.ended())
        if late or over:
            return good()
        time.sleep(LOOK)
    return True
