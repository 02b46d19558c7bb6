"""Exercise 8: a client that asks a server for the value of a key in a dictionary."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from ..process import Program
from ..recorder import FakeServer, Visit
from ..report import output_of
from ..requirement import NotMet, Script
from ..trial import ANSWER, Trial
from .common import (
    exercise,
    has_help,
    listens,
    looks_like_a_message,
    no_server,
    of_line_server,
    read_line,
    robust,
    server_hangs_up,
    take_one_piece,
    with_ours,
    word,
)
from .ways import Way, run_ways

KEYS = ("name", "key", "age", "city", "title", "email", "id", "value", "a", "b", "x", "country")
FILE = "data.json"


def keys_of(trial: Trial) -> list[str]:
    """Return keys that a client may have in its code: usual ones, and those of its own files."""
    found = list(KEYS)
    for path in trial.folder.glob("*.json"):
        with suppress(OSError, ValueError):
            content = json.loads(path.read_text(encoding="utf-8"))
            found += list(content) if isinstance(content, dict) else []
    return found


def files(trial: Trial, dictionary: dict[str, str]) -> dict[str, bytes]:
    """Return the dictionary in a file, and in each of those that a learner has."""
    data = json.dumps(dictionary).encode()
    return dict.fromkeys((FILE, *(path.name for path in trial.folder.glob("*.json"))), data)


def client_ways(port: int, key: str) -> list[Way]:
    port_option = ["--port", str(port)]
    return [
        Way([*port_option, FILE, key], f"{FILE}\n{key}\n"),
        Way([FILE, key], f"{FILE}\n{key}\n"),
        Way([FILE], f"{key}\n"),
        Way([], f"{FILE}\n{key}\n"),
        Way([key], f"{key}\n"),
        Way([*port_option, key], f"{key}\n"),
        Way(port_option, f"{key}\n"),
        Way(port_option, f"{FILE}\n{key}\n"),
        Way([], f"{key}\n"),
        Way(["127.0.0.1", str(port), FILE, key]),
    ]


def lookup(trial: Trial, server: FakeServer, found: bool) -> tuple[str, str, Program]:
    """Let the client ask for a key that is there, or for one that is not."""
    key, value = word(), word(12)
    others = [word(12), word(12)]
    content = {word(): others[0], **dict.fromkeys([key, *keys_of(trial)], value),
               word(): others[1]}  # fmt: skip
    trial.facts["other values"] = others
    if not found:
        content = {"other": value}

    def good(program: Program) -> bool:
        return value in program.printed if found else program.ended()

    program = run_ways(trial, server, client_ways(server.port, key), good, script="json_client.py",
                       files=files(trial, content), values={"file": FILE, "key": key})  # fmt: skip
    return key, value, program


def our_server(visit: Visit) -> None:
    """What our json_server.py does."""
    while line := visit.line():
        try:
            request = json.loads(line)
            data, key = request["data"], request["key"]
            found = key in data
            reply = {"found": True, "value": data[key]} if found else {"found": False}
        except (ValueError, KeyError, TypeError) as error:
            reply = {"error": f"not an object with data and key: {type(error).__name__}"}
        visit.send(json.dumps(reply).encode() + b"\n")


def with_any_server(trial: Trial, check: Callable[[FakeServer], None]) -> None:
    """Try a client with the learner's own server, if there is one, and else with ours."""
    if trial.has("json_server.py"):
        try:
            check(trial.relay(trial.serve(script="json_server.py")))
            return
        except NotMet:
            if not trial.aside(lambda: check(trial.fake(our_server))):
                raise
        return
    trial.evidence.add("note", "there is no json_server.py here: tried with ours")
    check(trial.fake(our_server))


def sends_both(trial: Trial) -> None:
    def check(server: FakeServer) -> None:
        _, value, _ = lookup(trial, server, True)
        if not server.visits:
            raise NotMet("it does not connect", "a connection")
        if not server.said:
            raise NotMet("it sends nothing", "the dictionary and the key")
        if value.encode() not in server.said and len(server.said) < 30:
            raise NotMet(f"it sent {server.said!r}", "the dictionary, with the key")

    with_any_server(trial, check)


def displays_the_value(trial: Trial) -> None:
    def check(server: FakeServer) -> None:
        _, value, program = lookup(trial, server, True)
        others = trial.facts["other values"]
        if value in program.printed and any(one in program.printed for one in others):
            raise NotMet(f"the output is {program.printed!r}", f"the value alone: {value}")
        if value not in program.printed and not shows_answer(server, program):
            raise NotMet(f"the output is {program.printed!r}", f"the value: {value}")

    with_any_server(trial, check)
    silent = trial.fake(take_one_piece)
    lines = trial.evidence.lines[:]
    _, value, program = lookup(trial, silent, True)
    if value in program.printed:
        raise NotMet("it shows the value although the server has answered nothing",
                     "the value that the server sends",
                     "it looks the key up itself")  # fmt: skip
    trial.evidence.lines[:] = lines


def shows_answer(server: FakeServer, program: Program) -> bool:
    """Tell whether it shows what a server answered that is wrong itself."""
    answered = server.answered
    text = answered.decode("utf-8", "replace").strip().strip('"')
    return text.isalnum() and text in program.printed


def displays_an_error(trial: Trial) -> None:
    def check(server: FakeServer) -> None:
        good_key, value, good = lookup(trial, server, True)
        template = good.printed
        trial.forget([good])
        key, _, program = lookup(trial, server, False)
        text = output_of(program)
        if "Traceback" in text:
            raise NotMet("a traceback", "an error message")
        if not looks_like_a_message(text, template, value, good_key, key, "data.json"):
            raise NotMet(f"the output is {text!r}" if text.strip() else "it says nothing",
                         "an error message")  # fmt: skip

    with_any_server(trial, check)


def sends_the_value(trial: Trial) -> None:
    """Met with their own client, if there is one; or else by our protocol."""
    if trial.has("json_client.py"):
        relay = trial.relay(trial.serve())
        _, value, program = lookup(trial, relay, True)
        if value in program.printed and value_came(relay, value):
            answered = relay.answered
            only_the_value(answered, value, trial.facts["other values"])
            return
        if not trial.aside(partial(answers_our_protocol, trial)):
            raise NotMet(f"the output of json_client.py is {program.printed!r}",
                         f"the value: {value}")  # fmt: skip
    else:
        trial.evidence.add("note", "there is no json_client.py here: tried by our protocol")
        answers_our_protocol(trial)


def answers_our_protocol(trial: Trial) -> None:
    key, value, others = word(), word(12), [word(12), word(12)]
    server = trial.serve()
    server.program.probed = True
    with trial.connect(server) as client:
        client.send(
            json.dumps({"data": {"a": others[0], key: value, "z": others[1]}, "key": key}).encode()
            + b"\n"
        )
        reply = client.receive(lambda data: value.encode() in data, trial.at_most(ANSWER))
        only_the_value(reply, value, others)
        if value.encode() not in reply:
            raise NotMet(f"{reply!r}" if reply else "no answer", f"the value: {value}")


def only_the_value(answered: bytes, value: str, others: list[str]) -> None:
    """Raise NotMet if values of other keys come, too."""
    if value.encode() in answered and any(one.encode() in answered for one in others):
        raise NotMet(f"{answered[:200]!r}", f"the value alone: {value}",
                     "it sends the values of other keys, too")  # fmt: skip


def value_came(relay: FakeServer, value: str) -> bool:
    """Tell whether the server has answered: with the value, or with anything that is not text."""
    answered = relay.answered
    return bool(answered) and (value.encode() in answered or not answered.isascii())


def tells_that_it_is_missing(trial: Trial) -> None:
    """A key that is missing is answered, too, and the next client is served."""
    if trial.has("json_client.py"):
        server = trial.serve()
        relay = trial.relay(server)
        lookup(trial, relay, False)
        if any(visit.answered for visit in relay.visits):
            return
        if not trial.aside(partial(answers_that_it_is_missing, trial)):
            raise NotMet("no answer", "an answer that tells that the key is missing")
    else:
        answers_that_it_is_missing(trial)


def answers_that_it_is_missing(trial: Trial) -> None:
    server = trial.serve()
    server.program.probed = True
    with trial.connect(server) as client:
        client.send(b'{"data": {"a": 1}, "key": "b"}\n')
        reply = client.receive(lambda data: bool(data.strip()), trial.at_most(ANSWER))
        if not reply.strip():
            raise NotMet("no answer", "an answer that tells that the key is missing")


def sends_all(trial: Trial) -> None:
    """An answer of twelve megabytes to a client that reads late."""
    value = "x" * 12_000_000
    with trial.connect(trial.serve()) as client:
        client.send(f'{{"data": {{"a": "{value}"}}, "key": "a"}}\n'.encode())
        trial.evidence.add("waited", "0.3 s before it reads")
        threading.Event().wait(0.3)
        line = read_line(client)
        if value not in line:
            raise NotMet(f"a line of {len(line)} bytes", "12,000,000 bytes and more",
                         f"the reply is cut at {len(line)} bytes")  # fmt: skip


JSON_SERVER = Script(
    "json_server.py",
    "json",
    [
        "Using socket and json modules, the client will send to the server a dictionary",
        "alongside a string representing a key.",
        "The server will send back to the client the value of the key from the given dictionary.",
    ],
    [
        exercise("listens", "Using socket and json modules.", listens),
        exercise("sends the value of the key",
                 "The server will send back the value of the key.", sends_the_value),
        exercise("answers if the key does not exist",
                 "If the key does not exist, the client will display an error message.",
                 tells_that_it_is_missing),
        *of_line_server(
            robust("sends all of a large answer", "12 megabytes, to a client that reads late.",
                   sends_all, "speaks our protocol"),
        ),
    ],
    imports=("json", "socket"),
    port=9005,
)  # fmt: skip
LARGE = "".join(f"{number} " for number in range(30_000))  # more than one recv
JSON_CLIENT = Script(
    "json_client.py",
    "json",
    [
        "Using socket and json modules, the client will read from a file a dictionary in JSON",
        "format, and it will send it to the server alongside a string representing a key.",
        "If the key does not exist, the client will display an error message.",
    ],
    [
        exercise("sends dictionary and key",
                 "It will send the dictionary to the server alongside a key.", sends_both),
        exercise("displays the value", "The server will send back the value of the key.",
                 displays_the_value),
        exercise("displays an error message",
                 "If the key does not exist, the client will display an error message.",
                 displays_an_error),
        robust("works with our server to the letter", "It prints the value as JSON.",
               with_ours("json_server.py", ["--port", "PORT", "a.json", "name"], ['"Ada"'],
                         files={"a.json": b'{"name": "Ada"}'})),
        robust("takes a large value", "One recv() is not one reply.",
               with_ours("json_server.py", ["--port", "PORT", "a.json", "text"], [f'"{LARGE}"'],
                         files={"a.json": json.dumps({"text": LARGE}).encode()})),
        robust("ends with status 1 if the key is missing", "A script that calls it may know.",
               with_ours("json_server.py", ["--port", "PORT", "a.json", "none"],
                         files={"a.json": b'{"name": "Ada"}'}, status=1)),
        server_hangs_up("--port", "PORT", "a.json", "name", files={"a.json": b'{"name": "Ada"}'}),
        no_server("--port", "PORT", "a.json", "name", files={"a.json": b'{"name": "Ada"}'}),
        has_help,
    ],
    imports=("json", "socket"),
    port=9005,
    arguments=('"file"', '"key"'),
)  # fmt: skip
