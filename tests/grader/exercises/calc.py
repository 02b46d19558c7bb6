"""Exercise: a calculator server and its client."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import partial

from ..process import Program
from ..recorder import Client, FakeServer, Visit, number_in
from ..requirement import NotMet, Script
from ..trial import ANSWER, SHORT, Server, Trial
from .common import (
    exercise,
    first_piece,
    has_help,
    listens,
    no_server,
    of_line_server,
    refuses,
    robust,
    server_hangs_up,
    with_ours,
)
from .ways import Way, bluffs, run_ways, ways


def operands() -> tuple[int, int]:
    """Return numbers such that the results of all operators are different."""
    return random.randint(1000, 1999), random.randint(10, 99)


def evaluates(trial: Trial, *expressions: tuple[str, float]) -> None:
    """Ask for all expressions as text, or by their own client if they do not speak in text."""
    problem = trial.facts.get("not in text")
    if not problem:
        try:
            evaluates_text(trial, expressions)
            return
        except NotMet as unmet:
            problem = unmet
    asks = partial(pair_evaluates, trial, expressions)
    if not trial.has("calc_client.py") or not trial.aside(asks):
        raise problem
    trial.facts["not in text"] = problem


def ask_pair(trial: Trial, text: str, value: float) -> tuple[bytes, Program]:
    """Let their client ask their server; return what that answered, and the client."""
    relay = trial.relay(trial.serve(script="calc_server.py"))
    program = run_ways(trial, relay, listed_ways(relay.port, text), partial(shows_value, value),
                       script="calc_client.py", values={"expression": text})  # fmt: skip
    return relay.answered, program


def pair_evaluates(trial: Trial, expressions: Sequence[tuple[str, float]]) -> bool:
    """Tell whether their client shows what their server has answered, and it is right."""
    for text, value in expressions:
        answered, program = ask_pair(trial, text, value)
        sent = number_in(value, answered) or not answered.isascii()
        if not (sent and shows_value(value, program)):
            return False
    return True


def shows_value(value: float, program: Program) -> bool:
    return number_in(value, program.printed)


def evaluates_text(trial: Trial, expressions: Sequence[tuple[str, float]]) -> None:
    """Ask on one connection if the server keeps it, or else on several."""
    server = trial.serve()
    client = greeted(trial, server)
    for text, value in expressions:
        if client.ended:
            server = trial.restarted(server)
            client = greeted(trial, server)
        known = trial.facts.get("end")
        good = partial(number_in, value)
        client.send(text.encode() + (known or b""))
        reply = client.receive(good, trial.at_most(SHORT if known is None else ANSWER))
        if known is None and not reply.strip() and not client.ended:
            client.send(b"\n")  # it may wait for the end of a line
            reply = client.receive(good, trial.at_most(ANSWER))
            trial.facts["end"] = b"\n"
        elif reply.strip():
            trial.facts.setdefault("end", b"")
        if not number_in(value, reply):
            found = repr(reply) if reply else "no answer"
            raise NotMet(f"{found} to {text!r}", f"{value:g}", rounded(value, reply))
        client.pull(0.05)
        client.buffer.clear()


def greeted(trial: Trial, server: Server) -> Client:
    """Connect; what it says before it is asked is no answer."""
    client = trial.connect(server)
    client.receive(lambda data: False, 0.1)
    return client


def rounded(value: float, reply: bytes) -> str:
    return f"the digits after the point are lost: {value:g}" if value % 1 and number_in(
        int(value), reply) else ""  # fmt: skip


def first_answer(trial: Trial) -> None:
    a, b = operands()
    evaluates(trial, (f"{a} + {b}", a + b))


def operators(trial: Trial) -> None:
    a, b = operands()
    evaluates(
        trial,
        (f"{a} - {b}", a - b),
        (f"{a} * {b}", a * b),
        (f"{b * 7} / {b}", 7),
        (f"{b * 2 + 1} / 2", b + 0.5),
    )


def executes_no_code(trial: Trial) -> None:
    """A harmless canary: the number of its process."""
    for canary in ("__import__('os').getpid()", "[].__class__.__name__", "(lambda: 7000 + 123)()"):
        server = trial.serve()
        with trial.connect(server) as client:
            client.send(canary.encode() + b"\n")
            reply = client.receive(lambda data: bool(data.strip()), trial.at_most(SHORT), 0.1)
            pid = server.program.process.pid
            if number_in(pid, reply) or number_in(7123, reply) or reply.strip() in (b"list",):
                raise NotMet(f"{reply!r} to {canary!r}", "a refusal",
                             "it executes any Python code that a client sends")  # fmt: skip


def survives_zero(trial: Trial) -> None:
    server = trial.serve()
    end = trial.facts.get("end", b"\n")
    for text in (b"1 / 0", b"2 + x", b"2 +"):
        with trial.connect(server) as client:
            client.send(text + (end or b"\n"))
            client.receive(lambda data: bool(data.strip()), trial.at_most(SHORT))
            client.close()
    with trial.connect(server) as client:
        client.send(b"1200 + 34" + end)
        reply = client.receive(lambda data: number_in(1234, data), trial.at_most(ANSWER))
        if not number_in(1234, reply):
            raise NotMet("after 1 / 0, 2 + x and 2 + it answers no more", "1234")


# The client


def answers(visit: Visit, answer: str) -> None:
    """Answer each line, or piece, with a number that only the server knows."""
    while data := visit.piece():
        if data.strip() and data.strip().lower() not in (b"quit", b"exit", b"q"):
            visit.send(answer.encode() + b"\n")


def listed_ways(port: int, expression: str) -> list[Way]:
    return ways(port, [expression], [expression, "quit", "exit"], [expression, ""], [expression])


def sent_by(said: bytes) -> bool:
    return bool(re.search(rb"\d\s*[-+*/]\s*\d", said))


def sends_the_expression(trial: Trial) -> None:
    """To their own server, if there is one: a client may wait for its greeting."""
    a, b = operands()

    def sends_to(server: FakeServer) -> bool:
        run_ways(trial, server, listed_ways(server.port, f"{a} + {b}"),
                 lambda _: sent_by(server.said),
                 values={"expression": f"{a} + {b}"})  # fmt: skip
        return sent_by(server.said)

    if trial.has("calc_server.py") and trial.aside(
        lambda: sends_to(trial.relay(trial.serve(script="calc_server.py")))
    ):
        return
    server = trial.fake(lambda visit: answers(visit, "1"))
    if not sends_to(server):
        raise NotMet(f"it sent {server.said!r}" if server.visits else "it does not connect",
                     f"'{a} + {b}' on the wire")  # fmt: skip


def shows_the_result(trial: Trial) -> None:
    a, b = operands()
    values = {"expression": f"{a} + {b}"}
    answer = random.randint(10**6, 10**7)  # which is not the result: only the server knows it
    server = trial.fake(lambda visit: answers(visit, str(answer)))

    shown, right = partial(shows_value, answer), partial(shows_value, a + b)
    program = run_ways(trial, server, listed_ways(server.port, f"{a} + {b}"), shown,
                       values=values)  # fmt: skip
    if shown(program):
        if trial.has("calc_server.py"):
            keeps_step(trial, f"{a} + {b}", a + b)
        return
    if trial.has("calc_server.py") and not right(program):
        _, pair = ask_pair(trial, f"{a} + {b}", a + b)
        if right(pair) and not bluffs(
            trial, lambda port: listed_ways(port, f"{a} + {b}"), lambda _, one: right(one), values
        ):
            return
    cause = "it computes the result itself" if right(program) else ""
    raise NotMet(f"the server answered {answer}, and the output is {program.printed!r}",
                 f"{answer} in the output", cause)  # fmt: skip


def keeps_step(trial: Trial, text: str, value: int) -> None:
    """Raise NotMet if their own server answers right, and the client does not show it."""
    lines = trial.evidence.lines[:]
    try:
        answered, program = ask_pair(trial, text, value)
    except NotMet:
        return
    if number_in(value, answered) and not shows_value(value, program):
        raise NotMet(f"calc_server.py answered {value}, and the output is {program.printed!r}",
                     f"{value} in the output")  # fmt: skip
    trial.evidence.lines[:] = lines


def bounded(trial: Trial) -> None:
    server = trial.serve()
    with trial.connect(server, "greedy") as client:
        client.send(b"9 ** 9 ** 9\n")
        with trial.connect(server, "other") as other:
            other.send(b"1200 + 34\n")
            reply = other.receive(lambda data: number_in(1234, data), trial.at_most(ANSWER))
            if not number_in(1234, reply):
                raise NotMet("9 ** 9 ** 9 stops the server for all others", "1234")


def calculates(trial: Trial, server: Server) -> None:
    a, b = operands()
    with greeted(trial, server) as client:
        client.send(f"{a} + {b}".encode() + trial.facts.get("end", b"\n"))
        reply = client.receive(partial(number_in, a + b), trial.at_most(ANSWER))
        if not number_in(a + b, reply):
            raise NotMet(f"{reply!r}" if reply else "no answer", f"{a + b}")


def calculates_pieces(trial: Trial) -> None:
    a, b = operands()
    with greeted(trial, trial.serve()) as client:
        first_piece(client, f"{a} ".encode())
        client.send(f"+ {b}\n".encode())
        reply = client.receive(partial(number_in, a + b), trial.at_most(ANSWER))
        if not number_in(a + b, reply):
            raise NotMet(f"{reply!r}" if reply else "no answer", f"{a + b}")


CALC_SERVER = Script(
    "calc_server.py",
    "calc",
    [
        'Clients can send simple arithmetic expressions (e.g., "2 + 3") to the server.',
        "The server evaluates these expressions and sends back the result to the client.",
    ],
    [
        exercise("listens", "Create a server using the socket module.", listens),
        exercise("sends the result back", 'E.g. "2 + 3".', first_answer),
        exercise("knows + - * /", "Simple arithmetic expressions.", operators),
        robust("executes no code", "eval() of what a stranger sends runs any program.",
               executes_no_code),
        robust("survives what it cannot compute", "1 / 0, and what is no expression.",
               survives_zero),
        robust("bounds a power", "9 ** 9 ** 9 must not stop all others.", bounded),
        *of_line_server(
            robust("refuses what it does not know", "A line ERROR, and the talk goes on.",
                   refuses("__import__('os')"), "speaks our protocol"),
            works=calculates,
            in_pieces=calculates_pieces,
        ),
    ],
    port=9002,
)  # fmt: skip
CALC_CLIENT = Script(
    "calc_client.py",
    "calc",
    [
        'The client sends a simple arithmetic expression (e.g., "2 + 3") to the server.',
        "It shows the result that the server sends back.",
    ],
    [
        exercise("sends the expression", 'Clients can send expressions (e.g., "2 + 3").',
                 sends_the_expression),
        exercise("shows the result", "The server sends back the result to the client.",
                 shows_the_result),
        robust("works with our server to the letter", "It prints an answer a line.",
               with_ours("calc_server.py", ["--port", "PORT", "2 + 3", "1 / 3"],
                         ["...5", "...0.333333333333"])),
        server_hangs_up("--port", "PORT", "2 + 3"),
        no_server("--port", "PORT", "2 + 3"),
        has_help,
    ],
    port=9002,
    arguments=('"expression"',),
    essential=1,
)  # fmt: skip
