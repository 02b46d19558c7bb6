"""What all servers that speak in lines, and all commands, are asked for beyond the exercises."""

from __future__ import annotations

import ast
import json
import random
import re
import shlex
import signal
import socket
import string
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from ..process import WINDOWS, Program, free_port
from ..recorder import Client, Visit
from ..requirement import EXERCISE, EXTRA, ROBUST, NotMet, Requirement
from ..trial import ANSWER, SHORT, Server, Trial

Dialogue = list[tuple[str, str]]
MANY = 200  # clients at once
OVER_LONG = 200_000  # bytes in a line
TRIED_AGAIN = 0.9  # seconds: Linux asks a server with a full queue again after one
UNREAD = 40_000  # bytes of answers
COME_AND_GO = re.compile(r"\* \S+ (joined|left)")
OPEN = "the connection is still open after the end of the stream"
SPINS = OPEN + ", and the program burns CPU: recv() returns b'' then, for ever"


def word(length: int = 8) -> str:
    """Return letters that no program can know."""
    return "".join(random.choices(string.ascii_lowercase, k=length))


def exercise(
    name: str, text: str, check: Callable[[Trial], None], waits_for: str | None = None
) -> Requirement:
    return Requirement(EXERCISE, name, text, check, waits_for)


def robust(
    name: str, text: str, check: Callable[[Trial], None], waits_for: str | None = None
) -> Requirement:
    return Requirement(ROBUST, name, text, check, waits_for)


def extra(
    name: str, text: str, check: Callable[[Trial], None], waits_for: str | None = None
) -> Requirement:
    return Requirement(EXTRA, name, text, check, waits_for)


def listens(trial: Trial) -> None:
    """The first requirement of each TCP server."""
    trial.serve()


def hung_up(trial: Trial, server: Server, client: Client) -> bytes:
    """Return what comes until the server hangs up. Raises NotMet if it does not."""
    before = server.program.cpu_seconds()
    rest = client.rest(trial.at_most(ANSWER))
    if not client.ended:
        after = server.program.cpu_seconds()
        spins = before is not None and after is not None and after - before > 0.5
        raise NotMet(
            "the client has ended the stream, and the server does not hang up",
            "the end of the stream",
            SPINS if spins else OPEN,
        )
    return rest


# The dialogue in the docstring of our script: the protocol to the letter


parser = threading.Lock()  # ast.parse() is not safe in threads before Python 3.12


@cache
def docstring(path: Path) -> str:
    with parser:
        return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def dialogue(trial: Trial) -> Dialogue:
    """Return what client and server say; what follows ERROR, and of mail the words, are free."""
    talk = re.findall(r"^ +([CS]): ?(.*)$", docstring(trial.reference / trial.script), re.MULTILINE)
    mail = ("C", "DATA") in talk

    def free(text: str) -> str:
        if text.startswith(("ERROR", '{"error"')):
            return text.partition(" ")[0] + "..."
        return text[:4] + "..." if mail else text

    lines = [(side, free(text) if side == "S" else text) for side, text in talk]
    lines = [(side, text) for side, text in lines if side == "C" or text[3:4] != "-" or not mail]
    steps = trial.facts.get("steps")
    return lines if steps is None else lines[:steps]


def options(trial: Trial) -> list[str]:
    """Return the options with which the docstring says to try it: the dialogue may need them."""
    found = re.search(
        rf"^ +python3 {trial.script}(.*)$", docstring(trial.reference / trial.script), re.MULTILINE
    )
    return shlex.split(found[1]) if found else []


def prepared(trial: Trial) -> dict[str, bytes]:
    return {"files/hello.txt": b"Hello\n"} if trial.script == "file_server.py" else {}


def started(trial: Trial) -> Server:
    """Start a server as our docstring says: the dialogue in it may need the options."""
    return trial.serve(*options(trial), files=prepared(trial))


def running(trial: Trial) -> Server:
    """Start a server, without options that it may not know."""
    return trial.serve(files=prepared(trial))


def line_end(talk: Dialogue) -> bytes:
    """Return what ends the lines of a client: CRLF in mail (RFC 5321)."""
    return b"\r\n" if ("C", "DATA") in talk else b"\n"


def requests(talk: Dialogue) -> bytes:
    return b"".join(text.encode() + line_end(talk) for side, text in talk if side == "C")


def matches(line: str, pattern: str) -> bool:
    if line == pattern:
        return True
    with suppress(ValueError):
        if pattern.startswith("{") and json.loads(line) == json.loads(pattern):
            return True
    return re.fullmatch(re.escape(pattern).replace(r"\.\.\.", ".*"), line) is not None


def read_line(client: Client, pattern: str = "") -> str:
    """Return the next line; of a reply in several lines, as in mail, the last one."""
    line = client.read_line()
    if not line.endswith(b"\n"):
        if client.ended:
            whole = bool(line) and matches(line.decode("utf-8", "replace"), pattern)
            cause = "the line end is missing" if whole else ""
            found = f"{line!r} and the end of the stream"
            raise NotMet(found, pattern and f"{pattern!r}", cause)
        cause = "the line end is missing" if line else ""
        found = f"{line!r}, and no line end" if line else "no answer"
        raise NotMet(f"{found} {client.limit(client.timeout)}", pattern and f"{pattern!r}", cause)
    if re.match(rb"[0-9]{3}-", line):
        return read_line(client, pattern)
    return line.decode("utf-8", "replace").rstrip("\r\n")


def expect(client: Client, pattern: str) -> None:
    line = read_line(client, pattern)
    while COME_AND_GO.fullmatch(line) and not matches(line, pattern):
        line = read_line(client, pattern)
    if not matches(line, pattern):
        raise NotMet(f"{line!r}", f"{pattern!r}")


def ask(client: Client, text: str) -> str:
    client.send(text.encode() + b"\n")
    return read_line(client)


def read_until(client: Client, end: str) -> list[str]:
    lines = [read_line(client, "..." + end)]
    while not lines[-1].endswith(end):
        lines.append(read_line(client, "..." + end))
    return lines


def replay(trial: Trial, server: Server, talk: Dialogue, end: bytes = b"") -> None:
    """Hold the dialogue."""
    end = end or line_end(talk)
    with trial.connect(server) as client:
        for step, (side, text) in enumerate(talk):
            trial.facts["step"] = step
            if side == "S":
                expect(client, text)
            else:
                client.send(text.encode() + end)
        client.half_close()
        rest = hung_up(trial, server, client)
        if rest:
            raise NotMet(f"more came than the dialogue has: {rest!r}")


Start = Callable[[Trial], Server]
Works = Callable[[Trial, Server], None]


def holds_dialogue(trial: Trial, server: Server) -> None:
    replay(trial, server, dialogue(trial))


def still_works(trial: Trial, server: Server, what: str, works: Works) -> None:
    try:
        works(trial, server)
    except NotMet as problem:
        raise NotMet(f"after {what}: {problem.found}", problem.expected, problem.cause) from None


def holds(trial: Trial) -> None:
    """The whole dialogue. What is before the first wrong answer is enough for other checks."""
    server = started(trial)
    server.program.probed = True
    talk = dialogue(trial)
    try:
        replay(trial, server, talk)
    except NotMet:
        step = trial.facts["step"]
        while step and talk[step - 1][0] == "C":  # back to the last answer that was right
            step -= 1
        if step < len(talk) and step > 0:
            trial.facts["steps"] = step
        raise


def speaks_our_protocol(trial: Trial) -> None:
    """The first answer of the dialogue: without it nothing else can be tried."""
    server = started(trial)
    server.program.probed = True
    talk = dialogue(trial)
    first = next((i for i, (side, _) in enumerate(talk) if side == "S" and i), 0)
    with trial.connect(server) as client:
        for side, text in talk[: first + 1]:
            if side == "S":
                expect(client, text)
            else:
                client.send(text.encode() + line_end(talk))


def holds_with_crlf(trial: Trial) -> None:
    replay(trial, started(trial), dialogue(trial), b"\r\n")


def first_piece(client: Client, piece: bytes) -> None:
    """Send a piece of a message, and see to it that nothing answers it."""
    client.send(piece)
    if client.pull(0.15):
        answer = bytes(client.buffer)
        client.log("received", repr(answer))
        raise NotMet(
            f"{answer!r} after the piece {piece!r}",
            "no answer before the message has ended",
            "it answered a piece of a message: one recv() is not one message",
        )
    if client.ended:
        raise NotMet(
            f"the end of the stream after the piece {piece!r}",
            "no answer before the message has ended",
            "it took a piece for the whole message: one recv() is not one message",
        )


def takes_pieces(trial: Trial) -> None:
    """Each line of the client arrives in two pieces."""
    server = started(trial)
    talk = dialogue(trial)
    with trial.connect(server) as client:
        for side, text in talk:
            if side == "S":
                expect(client, text)
                continue
            data = text.encode() + line_end(talk)
            half = max(1, len(data) // 2)
            first_piece(client, data[:half])
            client.send(data[half:])
        client.half_close()
        hung_up(trial, server, client)


def all_answers(
    trial: Trial, server: Server, client: Client, talk: Dialogue, echo: bool = False
) -> None:
    """Expect all that the server says. An echo of a line without an end has none either."""
    texts = [text for side, text in talk if side == "S"]
    for text in texts[:-1] if echo else texts:
        expect(client, text)
    if echo:
        line = client.read_line().decode("utf-8", "replace")
        if not matches(line.rstrip("\r\n"), texts[-1]):
            raise NotMet(repr(line), repr(texts[-1]))
    rest = hung_up(trial, server, client)
    if rest:
        raise NotMet(f"more came than the dialogue has: {rest!r}")


def one_segment(trial: Trial) -> None:
    server = started(trial)
    talk = dialogue(trial)
    with trial.connect(server) as client:
        client.send(requests(talk))
        client.half_close()
        all_answers(trial, server, client, talk)


def half_close(trial: Trial) -> None:
    server = started(trial)
    talk = dialogue(trial)
    with trial.connect(server) as client:
        client.send(requests(talk).removesuffix(b"\n"))
        client.half_close()
        all_answers(trial, server, client, talk, echo=trial.script == "echo_server.py")


def early_end(trial: Trial) -> None:
    server = running(trial)
    with trial.connect(server) as client:
        client.half_close()
        hung_up(trial, server, client)


def survives_resets(start: Start, works: Works) -> Callable[[Trial], None]:
    def check(trial: Trial) -> None:
        server = start(trial)
        data = requests(dialogue(trial))
        for cut in (0, 1, len(data) // 2):
            client = trial.connect(server)
            client.send(data[:cut])
            client.reset()
        still_works(trial, server, "clients that vanished", works)

    return check


def flood(trial: Trial, server: Server, data: bytes) -> bytes:
    """Send `data` while reading what comes back, then hang up; return the answer."""
    with trial.connect(server) as client:

        def send() -> None:
            client.send(data)
            client.half_close()

        thread = threading.Thread(target=send)
        thread.start()
        try:
            return client.rest()
        finally:
            client.close()
            thread.join(ANSWER)


def stands(start: Start, data: bytes, what: str, works: Works) -> Callable[[Trial], None]:
    def check(trial: Trial) -> None:
        server = start(trial)
        flood(trial, server, data + (requests(dialogue(trial)) if data[:1] == b"\0" else b""))
        still_works(trial, server, what, works)

    return check


def beside_silence(start: Start, works: Works) -> Callable[[Trial], None]:
    def check(trial: Trial) -> None:
        server = start(trial)
        with trial.connect(server, "silent"):
            still_works(trial, server, "a client that says nothing", works)

    return check


def many_clients(trial: Trial) -> None:
    server = started(trial)
    talk = dialogue(trial)
    clients: list[Client] = []
    again = 0
    end = time.monotonic() + trial.at_most(2 * ANSWER)
    while len(clients) < MANY:
        before = time.monotonic()
        clients.append(trial.connect(server, f"client {len(clients)}"))
        again += time.monotonic() - before > TRIED_AGAIN
        if time.monotonic() > end or again == 2:
            raise NotMet(
                f"{len(clients)} clients could connect, and {again} of them after a second only",
                f"{MANY}",
                "the queue of listen() is full" if again else "",
            )
    for client in clients:
        client.send(requests(talk))
        client.half_close()
    for client in clients:
        for side, text in talk:
            if side == "S":
                expect(client, text)
        hung_up(trial, server, client)


def slow_reader(trial: Trial) -> None:
    """A client that asks much and reads late gets every answer whole."""
    talk = dialogue(trial)
    triples = zip(talk, talk[1:], talk[2:], strict=False)
    pairs = [(one[1], two[1]) for one, two, three in triples if one[0] + two[0] + three[0] == "CSC"]
    if talk[0][0] == "S" or not pairs or "..." in pairs[0][1]:
        return  # such a server has one short answer for a client
    request, answer = pairs[0]
    count = UNREAD // len(answer)
    server = started(trial)
    trial.evidence.add("sent", f"{request!r} {count} times, before anything is read")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(trial.at_most(3 * ANSWER))
        connection.connect(server.address)

        def send() -> None:
            with suppress(OSError):
                connection.sendall((request.encode() + b"\n") * count)

        thread = threading.Thread(target=send)
        thread.start()
        thread.join(0.3)
        try:
            with connection.makefile("rb") as lines:
                for number in range(count):
                    line = lines.readline()
                    if not matches(line.decode("utf-8", "replace").rstrip("\r\n"), answer):
                        raise NotMet(f"answer {number} of {count} is {line!r}", repr(answer))
        except TimeoutError:
            raise NotMet(f"after {number} of {count} answers nothing more came") from None
        except OSError:
            raise NotMet(f"after {number} of {count} answers the connection broke") from None
        finally:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()


def announces(trial: Trial, kind: str = "tcp") -> None:
    announces_server(trial, trial.serve(files=prepared(trial), kind=kind))


def announces_server(trial: Trial, server: Server) -> None:
    server.program.wait_for(lambda: "\n" in server.program.printed, trial.at_most(SHORT))
    first = server.program.printed.partition("\n")[0]
    if not matches(first, f"Server listening on ...:{server.port}..."):
        raise NotMet(f"{first!r}", f"'Server listening on HOST:{server.port}...'")


def announces_udp(trial: Trial) -> None:
    announces(trial, "udp")


def stops(trial: Trial) -> None:
    """Ctrl-C with a client that is in the middle of a line, and one that is silent."""
    server = running(trial)
    busy, silent = trial.connect(server, "busy"), trial.connect(server, "silent")
    busy.send(b"x")
    busy.pull(0.05)
    trial.evidence.add("pressed", "Ctrl-C")
    server.program.interrupt()
    ended_well(trial, server.program)
    for client in (busy, silent):
        client.rest(SHORT)
        if not client.ended:
            raise NotMet("after Ctrl-C a client is not hung up on")


def ended_well(trial: Trial, program: Program) -> None:
    if not program.wait(trial.at_most(ANSWER)):
        raise NotMet("it still runs after Ctrl-C", "the end, with status 0")
    if program.process.returncode != 0 and not WINDOWS:
        code = program.process.returncode
        name = f" ({signal.Signals(-code).name})" if code < 0 else ""
        raise NotMet(f"Ctrl-C ends it with status {code}{name}", "status 0, and no traceback")
    if "Traceback" in program.errors:
        raise NotMet("Ctrl-C ends it with a traceback", "status 0, and no traceback")


def refuses(line: str) -> Callable[[Trial], None]:
    def check(trial: Trial) -> None:
        with trial.connect(started(trial)) as client:
            if dialogue(trial)[0][0] == "S":
                read_line(client)
            answer = ask(client, line)
            if not answer.startswith("ERROR"):
                raise NotMet(repr(answer), "'ERROR ...'")

    return check


def of_line_server(
    *special: Requirement,
    works: Works | None = None,
    in_pieces: Callable[[Trial], None] | None = takes_pieces,
    many: bool = True,
) -> list[Requirement]:
    """Return what is asked of each server that speaks in lines.

    works: what shows that a server still works, whatever its words; without it our dialogue does.
    """
    ours = "speaks our protocol"
    some = None if works else ours  # what the others wait for
    start = running if works else started
    works = works or holds_dialogue
    listed = [
        robust(ours, "`python3 OUR_SERVER --help` shows the protocol: the first answer; ... is any text.",
               speaks_our_protocol),
        robust("holds our dialogue to the letter", "`python3 OUR_SERVER --help` shows the protocol; ... is any text.", holds,
               ours),
        robust("announces its address", "The first line on stdout tells where it listens.",
               announces),
        robust("takes lines that end in CRLF", "telnet ends lines in CRLF.", holds_with_crlf,
               ours),
        robust("takes all requests in one segment", "TCP is a stream: messages may arrive at once.",
               one_segment, ours),
        robust("answers after a half-close", "`nc -N` ends its side after the last line, which "
               "may have no line end, and waits for the answers.", half_close, ours),
        robust("hangs up when a client ends at once", "A client may end before it says anything.",
               early_end),
        robust("survives clients that vanish", "A connection may be reset at any time.",
               survives_resets(start, works), some),
        robust("survives a line of 200,000 bytes", "It may be refused, but harms nobody.",
               stands(start, b"x" * OVER_LONG + b"\n", "a very long line", works), some),
        robust("survives 200,000 bytes without a line end", "They must not be collected for ever.",
               stands(start, b"x" * OVER_LONG, "a line without end", works), some),
        robust("survives bytes that are no UTF-8", "decode() raises UnicodeDecodeError.",
               stands(start, b"\xff\xfe\x80\xc3\x28\n\xed\xa0\x80\n", "bytes that are no UTF-8",
                      works), some),
        robust("survives NUL bytes", "Odd bytes harm nobody.",
               stands(start, b"\0\0\0\n\0", "NUL bytes", works), some),
        robust("survives control characters", "Odd bytes harm nobody.",
               stands(start, b"\x1b[2J\x07\r\r\n\x9b\x08\n", "control characters", works), some),
        robust("serves others beside a silent client", "One client must not hold up all others.",
               beside_silence(start, works), some),
        robust("gives a slow reader every answer", "send() may send less than all of it.",
               slow_reader, ours),
    ]  # fmt: skip
    if in_pieces:
        needed = ours if in_pieces is takes_pieces else None
        listed.insert(0, robust("takes lines in pieces", "TCP is a stream: a line may arrive in "
                                "pieces.", in_pieces, needed))  # fmt: skip
    if many:
        why = "A class may connect at once."
        listed.append(robust(f"serves {MANY} clients at once", why, many_clients, ours))
    stop = robust("stops on Ctrl-C", "With clients connected, with status 0, without a traceback.",
                  stops)  # fmt: skip
    return [*listed, *special, stop, has_help]


def shows_help(trial: Trial) -> None:
    program = trial.launch(["--help"], stdin="", environment={"EXERCISE_PORT": str(free_port())})
    end = time.monotonic() + trial.at_most(START_OF_HELP)
    while not program.wait(0.05) and time.monotonic() < end:
        if any(program.asked_for(what) for what in ("listen", "bind", "connect")):
            raise NotMet("it starts as if nothing were said", "the usage, and status 0")
    if not program.ended():
        raise NotMet("it still runs", "the usage, and status 0")
    if program.process.returncode != 0 or "usage" not in program.printed.lower():
        raise NotMet(f"status {program.process.returncode}", "the usage on stdout, and status 0")


START_OF_HELP = 10.0  # seconds
has_help = robust("has --help", "The usage, on stdout.", shows_help)


def no_server(
    *args: str, files: Mapping[str, bytes] | None = None, url: bool = False
) -> Requirement:
    """Without a server: one line on stderr, and status 1."""

    def check(trial: Trial) -> None:
        port = free_port()
        trial.ports[port] = trial.default_port
        words = [one.replace("PORT", str(port)) for one in args]
        program = trial.launch(words, stdin="", files=files)
        complains(trial, program)

    return robust("says in one line that nobody listens", "One line on stderr, and status 1.",
                  check)  # fmt: skip


def complains(trial: Trial, program: Program, status: int = 1) -> None:
    if not program.wait(trial.at_most(START_OF_HELP)):
        raise NotMet("it still runs", f"one line on stderr, and status {status}")
    if program.process.returncode != status or program.errors.count("\n") != 1:
        lines = program.errors.splitlines()
        last = f": {lines[-1]!r}" if lines else ""
        raise NotMet(
            f"status {program.process.returncode}, and {len(lines)} lines on stderr{last}",
            f"status {status}, and one line on stderr",
        )


def take_one_piece(visit: Visit) -> None:
    visit.piece()


def server_hangs_up(*args: str, files: Mapping[str, bytes] | None = None) -> Requirement:
    """A server that takes the request and hangs up: one line on stderr, and status 1."""

    def check(trial: Trial) -> None:
        server = trial.fake(take_one_piece)
        words = [one.replace("PORT", str(server.port)) for one in args]
        program = trial.run_client(server.port, *words, files=files)
        program.probed = True
        complains(trial, program)

    return robust("ends if the server hangs up", "recv() returns b'' then, for ever.", check)


def with_ours(
    server: str,
    args: Sequence[str],
    output: Sequence[str] = (),
    *,
    stdin: str = "",
    files: Mapping[str, bytes] | None = None,
    there: Mapping[str, bytes] | None = None,
    status: int = 0,
    serve: Sequence[str] = (),
) -> Callable[[Trial], None]:
    """Run the client at our server, and compare what it prints, line by line."""

    def check(trial: Trial) -> None:
        ours = trial.serve(*serve, script=server, ours=True, files=there)
        words = [one.replace("PORT", str(ours.port)) for one in args]
        program = trial.run_client(ours.port, *words, stdin=stdin, files=files)
        program.probed = True
        exact(trial, program, [one.replace("PORT", str(ours.port)) for one in output], status)

    return check


def exact(trial: Trial, program: Program, output: Sequence[str], status: int = 0) -> None:
    if not program.wait(trial.at_most(START_OF_HELP)):
        raise NotMet("it still runs", f"its end, with status {status}")
    lines = iter(program.printed.splitlines())
    for pattern in output:
        if not any(matches(line, pattern) for line in lines):
            raise NotMet("another output", f"a line {pattern[:100]!r} on stdout, at its place")
    if program.process.returncode != status:
        raise NotMet(f"status {program.process.returncode}", f"status {status}")


def looks_like_a_message(text: str, template: str, *parts: str) -> bool:
    """Tell whether `text` is an error message: words, and others than in the good case."""
    if "Traceback (most recent call last)" in text:
        return False

    def bare(given: str) -> set[str]:
        for part in parts:
            given = given.replace(part, " ")
        return set(re.findall(r"[^\W\d_]{2,}", given.lower())) - {"none", "null", "false", "true"}

    return bool(bare(text) - bare(template))
