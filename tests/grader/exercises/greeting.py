"""Exercise 1: a server that tells a client when and from where it has connected."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone

from ..process import Program
from ..recorder import Visit, number_in
from ..report import raised
from ..requirement import NotMet, Script
from ..trial import ANSWER, START, Server, Trial
from .common import exercise, has_help, listens, no_server, of_line_server, robust, word

NEAR = 120  # seconds
LATER = 2.6  # seconds after its start: more than a second that is cut off


def near_now(text: str) -> bool:
    """Tell whether a time of day stands in `text` that is now, here or in UTC."""
    here, there = datetime.now(), datetime.now(timezone.utc)
    nows = [one.hour * 3600 + one.minute * 60 + one.second for one in (here, there)]
    for found in re.finditer(r"(?<!\d)(\d{1,2})[:h.](\d{2})(?:[:m.](\d{2}))?", text):
        seconds = int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3] or 30)
        for now in nows:
            away = abs(seconds - now) % 43200
            if min(away, 43200 - away) <= NEAR:
                return not wrong_year(text)
    return False


def wrong_year(text: str) -> bool:
    """Tell whether a year stands in `text`, and not this one."""
    years = [int(one) for one in re.findall(r"(?<![\d.:])(?:19|20)\d\d(?![\d:])", text)]
    this = time.gmtime().tm_year
    dates = re.search(r"[-/.A-Za-z ,]", text)
    return bool(dates and years) and not any(abs(year - this) <= 1 for year in years)


def greets(trial: Trial, what: str) -> None:
    """What it sends to the client counts, and what it writes to its own console, too."""
    server = trial.serve()
    with trial.connect(server) as client:
        host, port = client.address

        def enough(data: bytes) -> bool:
            return number_in(port, data) and near_now(data.decode("utf-8", "replace"))

        reply = client.receive(enough, trial.at_most(ANSWER)).decode("utf-8", "replace")
        if not reply.strip():
            console = server.program
            console.wait_for(lambda: str(port) in console.output, 0.3)
            trial.evidence.add("note", "nothing came, so what it writes to its console counts")
            reply = console.output
    if what == "time" and not near_now(reply):
        found = f"{reply!r}" if reply else "nothing"
        raise NotMet(found, f"the time now: {datetime.now():%H:%M:%S}")
    if what == "address" and host not in reply:
        raise NotMet(f"{reply!r}", f"the address of the client: {host}")
    if what == "port" and not number_in(port, reply):
        cause = ""
        if number_in(server.port, reply):
            cause = "it is the port of the server, not of the client"
        raise NotMet(f"{reply!r}", f"the port of the client: {port}", cause)
    if what == "port" and server.program.wait(0.1) and crashed(server.program):
        raise NotMet("it ended with an error when it had greeted one client", "it goes on")


def crashed(program: Program) -> bool:
    """Tell whether an exception has ended it; not one that we may have caused by hanging up."""
    error = raised(program)
    return bool(error) and not re.match("BrokenPipe|Connection", error)


def tells_the_time(trial: Trial) -> None:
    greets(trial, "time")


def tells_the_time_of_the_connection(trial: Trial) -> None:
    """Not that of its own start: a client comes later."""
    server = trial.serve()
    time.sleep(LATER)
    with trial.connect(server) as client:
        port = client.address[1]
        now = datetime.now()
        data = client.receive(lambda data: number_in(port, data), trial.at_most(ANSWER))
        console = server.program
        console.wait_for(lambda: bool(data) or str(port) in console.output, 0.5)
        text = data.decode("utf-8", "replace") or console.output
    seconds = now.minute * 60 + now.second
    told = [
        int(one[1]) * 60 + int(one[2]) for one in re.finditer(r"\d[:h.](\d\d)[:m.](\d\d)", text)
    ]
    away = [(seconds - one) % 3600 for one in told]  # only minutes and seconds: zones differ
    if away and all(LATER - 0.6 <= one <= NEAR for one in away):
        raise NotMet(f"{text!r}", f"the time of the connection: {now:%H:%M:%S}",
                     f"the time is {min(away)} s old: that of the start of the server")  # fmt: skip


def tells_the_address(trial: Trial) -> None:
    greets(trial, "address")


def tells_the_port(trial: Trial) -> None:
    greets(trial, "port")


def says_something(trial: Trial, server: Server) -> None:
    with trial.connect(server) as client:
        port = client.address[1]
        reply = client.receive(lambda data: number_in(port, data), trial.at_most(ANSWER))
        console = server.program
        if not number_in(port, reply):
            console.wait_for(lambda: str(port) in console.output, 0.3)
            if str(port) not in console.output:
                raise NotMet(f"{reply!r}" if reply else "no greeting", "a greeting")


def connects(trial: Trial) -> None:
    token = word()
    lines = f"Time: now {token}\nAddress: 127.0.0.1\nPort: 4711\n".encode()

    def converse(visit: Visit) -> None:
        visit.send(lines)

    server = trial.fake(converse)
    program = trial.launch(["127.0.0.1", str(server.port)], stdin="")
    program.wait_for(lambda: bool(server.visits), trial.at_most(START))
    if not server.visits and not program.asked_for("connect"):
        trial.note_usage(trial.script, program.output)
        values = {"host": "127.0.0.1", "port": str(server.port)}
        for args in trial.arguments(trial.script, values)[:1]:
            trial.forget([program])
            program = trial.launch(args, stdin="")
            program.wait_for(lambda: bool(server.visits), trial.at_most(START))
    program.wait(trial.at_most(ANSWER))
    if not server.visits:
        tried = program.asked_for("connect")
        where = f"it connects to {tried[0][0]}:{tried[0][1]}" if tried else "it does not connect"
        raise NotMet(where, f"a connection to 127.0.0.1:{server.port}, from its arguments")
    trial.facts["token"] = token in program.printed


def prints_the_greeting(trial: Trial) -> None:
    token = word()
    server = trial.fake(lambda visit: visit.send(f"Time: {token}\n".encode()))
    program = trial.launch(["127.0.0.1", str(server.port)], stdin="")
    program.wait_for(lambda: token in program.printed, trial.at_most(START))
    if token not in program.printed:
        raise NotMet(f"the output is {program.printed!r}", f"what the server says: {token}")


def three_lines(trial: Trial) -> None:
    server = trial.fake(lambda visit: visit.send(b"Time: x\nAddress: 127.0.0.1\nPort: 1\n"))
    program = trial.launch(["127.0.0.1", str(server.port)], stdin="")
    program.wait(trial.at_most(START))
    if program.printed != "Time: x\nAddress: 127.0.0.1\nPort: 1\n" or program.process.returncode:
        raise NotMet(f"{program.printed!r}", "the three lines of the server, and status 0")


GREETING_SERVER = Script(
    "greeting_server.py",
    "greeting",
    [
        "Implement using the socket module (TCP) a server that writes when a client connects:",
        "the connection time in human-readable format, the address, and the port of the client.",
    ],
    [
        exercise("listens", "A server using the socket module (TCP).", listens),
        exercise("tells the time", "The connection time in human-readable format.",
                 tells_the_time),
        exercise("tells the address", "The address of the client.", tells_the_address, "listens"),
        exercise("tells the port", "The port of the client.", tells_the_port, "listens"),
        exercise("tells the time of the connection", "The connection time.",
                 tells_the_time_of_the_connection),
        *of_line_server(works=says_something, in_pieces=None),
    ],
    port=9006,
)  # fmt: skip
GREETING_CLIENT = Script(
    "greeting_client.py",
    "greeting",
    [
        "Implement a client for the server: a script that receives from the command line",
        "a string addr and an integer port and connects through TCP to the addr address at port.",
    ],
    [
        exercise("connects to the address and port of its arguments",
                 "Connects through TCP to the addr address at the port port.", connects),
        robust("prints what the server says", "The lines of the greeting.",
               prints_the_greeting),
        robust("prints the lines alone", "`Time:`, `Address:`, `Port:`.", three_lines),
        no_server("127.0.0.1", "PORT"),
        has_help,
    ],
    port=9006,
    arguments=('"address"', '"port", type=int'),
    essential=1,
)  # fmt: skip
