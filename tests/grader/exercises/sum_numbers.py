"""Exercise 7: a server that adds up numbers, and its client."""

from __future__ import annotations

import random
import re

from ..process import Program
from ..recorder import FakeServer, Visit, number_in
from ..requirement import NotMet, Script
from ..trial import ANSWER, Server, Trial
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
    started,
    with_ours,
)
from .ways import Way, bluffs, run_ways, ways

LIST = re.compile(rb"((?:\s*[-+]?[\d.]*\d\s*\|)+)\s*\.")


def numbers(count: int = 3) -> list[int]:
    """Return numbers whose sum is none of them."""
    return random.sample(range(1000, 9999), count)


def listed(some: list[int]) -> bytes:
    return "".join(f"{one}|" for one in some).encode() + b"."


def sums(trial: Trial, some: list[int], server: Server | None = None) -> None:
    with trial.connect(server or trial.serve()) as client:
        client.send(listed(some))
        reply = client.receive(lambda data: number_in(sum(some), data), trial.at_most(ANSWER))
        if number_in(sum(some), reply):
            return
    readable = re.search(rb"\d", reply) and reply.isascii()
    own = not readable and trial.has("sum_client.py")
    if own and trial.aside(lambda: works_with_own_client(trial)):
        return
    found = f"{reply!r}" if reply else "no answer"
    raise NotMet(f"{found} to {listed(some).decode()!r}", f"the sum: {sum(some)}",
                 cause_of(some, reply))  # fmt: skip


def cause_of(some: list[int], reply: bytes) -> str:
    if reply and number_in(sum(some[:-1]), reply):
        return f"the reply is the sum without the last number, {some[-1]}"
    if reply and number_in(sum(some[1:]), reply):
        return f"the reply is the sum without the first number, {some[0]}"
    return ""


def works_with_own_client(trial: Trial) -> bool:
    """Their client shows the sum of what it has sent to their server: any reply will do."""
    relay = trial.relay(trial.serve(script="sum_server.py"))

    def good(program: Program) -> bool:
        return shows_total(relay, program)

    return good(run_ways(trial, relay, client_ways(relay.port), good, script="sum_client.py"))


def shows_total(server: FakeServer, program: Program) -> bool:
    return bool(LIST.search(server.said)) and number_in(total(server.said), program.printed)


def total(said: bytes) -> float:
    match = LIST.search(said)
    assert match
    return sum(float(one) for one in match[1].decode().split("|") if one.strip())


def first_sum(trial: Trial) -> None:
    sums(trial, numbers())


def other_sums(trial: Trial) -> None:
    """One after the other at the same server, unless it is for one client only."""
    server = trial.serve()
    before: list[int] = []
    for some in ([*numbers(5)], [random.randint(100, 999)]):
        try:
            sums(trial, some, server)
        except NotMet as problem:
            whole = sum(before + some)
            if before and f"'{whole}" in problem.found:
                problem.cause = "the total goes on from the list before"
            raise
        trial.closers.pop()()
        server.program.wait(0.2)
        server = trial.restarted(server)
        before += some


def client_ways(port: int) -> list[Way]:
    some = [str(one) for one in numbers()]
    return ways(port, some, [" ".join(some)], [*some, ""], [*some, "."], ["3", *some],
                [",".join(some)], [*some, "q"], [*some, "done"])  # fmt: skip


def until_dot(visit: Visit, answer: bytes) -> None:
    while not LIST.search(visit.said) and visit.pull():
        pass
    if LIST.search(visit.said):
        visit.send(answer)


def sends_the_list(trial: Trial) -> None:
    server = trial.fake(lambda visit: until_dot(visit, b"123456\n"))
    run_ways(trial, server, client_ways(server.port), lambda _: whole_list(server))
    if not whole_list(server):
        raise NotMet(f"it sent {server.said!r}" if server.visits else "it does not connect",
                     "numbers, each followed by '|', and '.' at the end")  # fmt: skip


def whole_list(server: FakeServer) -> bool:
    """Tell whether all numbers have come: each way of starting a client gives it several."""
    match = LIST.search(server.said)
    return match is not None and match[1].count(b"|") > 1


def displays_the_sum(trial: Trial) -> None:
    answer = random.randint(10**6, 10**7)  # which is not the sum, so that only the server knows it
    server = trial.fake(lambda visit: until_dot(visit, f"{answer}\n".encode()))

    def displayed(program: Program) -> bool:
        return bool(LIST.search(server.said)) and number_in(answer, program.printed)

    program = run_ways(trial, server, client_ways(server.port), displayed)
    if displayed(program):
        return
    cause = ""
    if shows_total(server, program):
        cause = "it shows a sum of its own, not what the server has answered"
    elif trial.has("sum_server.py") and trial.aside(lambda: works_with_own_client(trial)):
        if not bluffs(trial, client_ways, shows_total):
            return
        cause = "it shows a sum although the server has answered nothing"
    raise NotMet(f"the server answered {answer}, and the output is {program.printed!r}",
                 f"{answer} in the output", cause)  # fmt: skip


def exact_numbers(trial: Trial) -> None:
    with trial.connect(started(trial)) as client:
        client.send(b"0.1|0.2|-7|100000000000000000000|.")
        reply = client.read_line()
        if reply.strip() != b"99999999999999999993.3":
            raise NotMet(f"{reply!r}", "b'99999999999999999993.3\\n'")


def many_numbers(trial: Trial) -> None:
    some = list(range(20_000))
    with trial.connect(started(trial)) as client:
        client.send(listed(some))
        reply = client.receive(lambda data: number_in(sum(some), data))
        if not number_in(sum(some), reply):
            raise NotMet(f"{reply!r} to 20,000 numbers", f"{sum(some)}")


def adds(trial: Trial, server: Server) -> None:
    some = numbers()
    with trial.connect(server) as client:
        client.send(listed(some))
        reply = client.receive(lambda data: number_in(sum(some), data), trial.at_most(ANSWER))
        if not number_in(sum(some), reply):
            raise NotMet(f"{reply!r}" if reply else "no answer", f"the sum: {sum(some)}")


def adds_pieces(trial: Trial) -> None:
    """A list in three pieces, cut within a number."""
    some = numbers()
    data = listed(some)
    with trial.connect(trial.serve()) as client:
        for piece in (data[:7], data[7:10]):
            first_piece(client, piece)
        client.send(data[10:])
        reply = client.receive(lambda got: number_in(sum(some), got), trial.at_most(ANSWER))
        if not number_in(sum(some), reply):
            raise NotMet(f"{reply!r}" if reply else "no answer", f"the sum: {sum(some)}")


SUM_SERVER = Script(
    "sum_server.py",
    "sum",
    [
        "Using socket module, the server will bind to IP 127.0.0.1 and port 1234.",
        'The server will receive all the numbers, each followed by "|", and a final ".".',
        "It will send back to the client the sum of the numbers.",
    ],
    [
        exercise("listens", "The server will bind to IP 127.0.0.1 and port 1234.", listens),
        exercise("sends the sum back",
                 "The server will send back to the client the sum of the numbers.", first_sum),
        exercise("sends the sum of other lists", "A list of numbers.", other_sums),
        *of_line_server(
            robust("refuses what is no number", "int() raises ValueError.",
                   refuses("x|."), "speaks our protocol"),
            robust("adds exactly", "0.1 + 0.2 is 0.3, and integers are as long as you like.",
                   exact_numbers, "speaks our protocol"),
            robust("adds 20,000 numbers", "A list comes in many segments.", many_numbers),
            works=adds,
            in_pieces=adds_pieces,
        ),
    ],
    port=1234,
)  # fmt: skip
SUM_CLIENT = Script(
    "sum_client.py",
    "sum",
    [
        "The client will connect to IP 127.0.0.1 and port 1234.",
        'It will send a list of numbers, each followed by "|", and a final character ".".',
        "The client will display the sum that the server sends back.",
    ],
    [
        exercise("sends the list", 'Each number is followed by "|". After the client sent all the '
                 'numbers it will send a final character ".".', sends_the_list),
        exercise("displays the sum", "The client will display this sum.", displays_the_sum),
        robust("works with our server to the letter", "It prints the sum alone.",
               with_ours("sum_server.py", ["--port", "PORT", "1", "2", "3"], ["6"])),
        server_hangs_up("--port", "PORT", "1"),
        no_server("--port", "PORT", "1"),
        has_help,
    ],
    port=1234,
    arguments=('"numbers", nargs="*"',),
    essential=1,
)  # fmt: skip
