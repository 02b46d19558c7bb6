"""How a client of theirs may be started: with arguments, at its keyboard, or as its usage says."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ..person import Keyboard, Values
from ..process import Program
from ..recorder import MOST_WAIT, FakeServer, Visit
from ..report import misled
from ..trial import ANSWER, SHORT, START, Trial

ALL_WAYS = 25.0  # seconds after which no other way is tried


@dataclass(frozen=True)
class Way:
    """Arguments, and what is typed at its keyboard: all at once, or as it asks for it."""

    args: Sequence[str]
    typed: str = ""
    values: Values | None = None


def ways(port: int, args: Sequence[str] = (), *typed: Sequence[str]) -> list[Way]:
    """Return the ways in which a client may take its inputs: from its arguments, or typed."""
    texts = ["".join(line + "\n" for line in lines) for lines in typed or [args]]
    listed = [Way(["--port", str(port), *args], texts[0])]
    if args:
        listed.append(Way(args, texts[0]))
    for text in texts:
        listed += [Way(["--port", str(port)], text), Way([], text)]
    listed += [Way(["127.0.0.1", str(port), *args], texts[0]), Way([str(port), *args], texts[0])]
    return listed


def as_a_person(trial: Trial, script: str, port: int, values: Values) -> list[Way]:
    """Return the ways that someone would find who reads its usage, its code, and its prompts."""
    values = {"host": "127.0.0.1", "port": str(port), **values}
    return [Way(args, values=values) for args in (*trial.arguments(script, values), [])]


def known_way(
    trial: Trial, script: str, port: int, listed: Sequence[Way], values: Values
) -> tuple[list[Way], int | None]:
    """Return all ways, as far as they are known, and the number of the one that has worked."""
    number = trial.facts.get(f"way of {script} {len(listed)}")
    late = number is not None and number >= len(listed)
    return [*listed, *(as_a_person(trial, script, port, values) if late else [])], number


def start_way(
    trial: Trial, port: int, way: Way, script: str = "", files: Mapping[str, bytes] | None = None
) -> Program:
    """Start a client; wherever it wants to connect to, it gets to `port`."""
    if way.values is None:
        return trial.run_client(port, *way.args, script=script, stdin=way.typed, files=files)
    program = trial.run_client(
        port, *way.args, script=script, stdin=None, keep_stdin=True, files=files
    )
    Keyboard(program, way.values, trial.evidence)
    return program


def run_ways(
    trial: Trial,
    server: FakeServer,
    listed: Sequence[Way],
    good: Callable[[Program], bool],
    *,
    script: str = "",
    files: Mapping[str, bytes] | None = None,
    values: Values | None = None,
) -> Program:
    """Run a client in one way after the other until `good`; return the last, or the best, run.

    `values` is what a person would enter, by the roles of person.py: so it is run at the end.
    """
    script = script or trial.script
    key = f"way of {script} {len(listed)}"
    all_ways, known = known_way(trial, script, server.port, listed, values or {})
    order = list(range(len(all_ways)))
    if known is not None:
        order.sort(key=lambda number: number != known)
    evidence, programs = trial.evidence, trial.programs
    start, first = len(evidence.lines), len(programs)
    commands: dict[int, str] = {}  # the one that is shown is that of the best run
    best: tuple[int, list[str], Program] | None = None
    visits: list[Visit] = []
    given = dict(files or {})
    wanted = f"files that {script} wants"
    if given:
        given |= dict.fromkeys(trial.facts.get(wanted, ()), next(iter(given.values())))
    end = time.monotonic() + ALL_WAYS
    number = 0
    said = ""  # by all runs: one may have shown its usage

    def met(program: Program) -> bool:
        return b"--port" not in server.said and good(program)  # it takes it for an input

    while number < len(order):
        way = all_ways[order[number]]
        server.visits.clear()
        program = start_way(trial, server.port, way, script, given)
        commands[id(program)] = evidence.commands.pop()
        comes = partial(has_come, server, met, program)
        came = program.wait_for(comes, trial.at_most(START))
        if comes_slowly(trial, server, program, partial(met, program)):
            trial.facts[key] = order[number]
            best, visits = (99, evidence.lines[start:], program), list(server.visits)
            break
        visited = len(server.visits) + sum(bool(visit.said) for visit in server.visits)
        visited = 0 if b"--port" in server.said else visited
        program.settle(0.1)
        said += program.output
        hangs = not came and not program.ended()
        evidence.closings.append(time.monotonic())
        program.kill()
        worse = best and ("usage:" in best[2].errors or misled(best[2]))
        if not best or visited > best[0] or (visited == best[0] and worse):
            best, visits = (visited, evidence.lines[start:], program), list(server.visits)
        del evidence.lines[start:]
        missing = re.search(r"No such file or directory: '([\w./-]+)'", program.errors)
        if missing and given and missing[1] not in given and ".." not in missing[1]:
            given[missing[1].lstrip("/")] = next(iter(given.values()))
            trial.facts[wanted] = {*trial.facts.get(wanted, ()), missing[1].lstrip("/")}
            continue  # the same way, with the file that it wants
        if known is not None or hangs or trial.late() or time.monotonic() > end:
            break
        number += 1
        if values is not None and number == len(order) == len(listed):
            trial.note_usage(script, said)
            more = as_a_person(trial, script, server.port, values)
            all_ways += more
            order += range(number, number + len(more))
    assert best
    server.visits[:] = visits
    evidence.lines[start:] = best[1]
    evidence.commands.append(commands[id(best[2])])
    programs[first:] = [entry for entry in programs[first:] if entry[2] is best[2]] + [
        ("", True, entry[2]) for entry in programs[first:] if entry[2] is not best[2]
    ]
    return best[2]


def comes_slowly(
    trial: Trial, server: FakeServer, program: Program, good: Callable[[], bool]
) -> bool:
    """Wait until `good`, and longer while a server still sends."""
    end = time.monotonic() + MOST_WAIT
    seconds, before = ANSWER + SHORT, -1
    while not program.wait_for(good, trial.at_most(seconds)):
        passed = sum(len(visit.answered) for visit in server.visits)
        if passed in (0, before) or time.monotonic() > end or program.ended() or trial.late():
            if program.ended():
                server.settle()
            return good()
        seconds, before = ANSWER, passed
    return True


def has_come(server: FakeServer, good: Callable[[Program], bool], program: Program) -> bool:
    return bool(server.visits) or good(program)


def bluffs(
    trial: Trial,
    listed: Callable[[int], Sequence[Way]],
    shown: Callable[[FakeServer, Program], bool],
    values: Values | None = None,
) -> bool:
    """Tell whether a client shows a result although the server never answers."""

    def converse(visit: Visit) -> None:
        while visit.pull():
            pass

    server = trial.fake(converse, SHORT)
    lines = len(trial.evidence.lines)
    program = run_ways(
        trial, server, listed(server.port), lambda one: shown(server, one), values=values
    )
    bluffed = shown(server, program)
    if not bluffed:
        del trial.evidence.lines[lines:]
    return bluffed
