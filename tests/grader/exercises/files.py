"""Exercise: a file transfer."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from ..process import Program, free_port
from ..recorder import FakeServer, Visit
from ..report import output_of
from ..requirement import NotMet, Script
from ..trial import ANSWER, SHORT, START, Server, Trial, new_files
from .common import (
    ask,
    exercise,
    has_help,
    listens,
    looks_like_a_message,
    no_server,
    of_line_server,
    robust,
    with_ours,
    word,
)
from .ways import Way, known_way, run_ways, start_way


def plant(server: Server, name: str, data: bytes) -> None:
    """Put a file where the server may look for it: into its folder, and those in it."""
    folders = [path for path in server.folder.iterdir() if path.is_dir()]
    for path in (server.folder, *folders):
        (path / name).write_bytes(data)
        server.program.given[str((path / name).relative_to(server.folder))] = data


def client_ways(port: int, name: str) -> list[Way]:
    port_option = ["--port", str(port)]
    return [
        Way([*port_option, name], f"{name}\n"),
        Way([name], f"{name}\n"),
        Way(port_option, f"{name}\n"),
        Way([], f"{name}\n"),
        Way(port_option, f"{name}\ncopy-{name}\n"),
        Way([], f"{name}\ncopy-{name}\n"),
        Way([], f"127.0.0.1\n{port}\n{name}\n"),
        Way(["127.0.0.1", str(port), name]),
        Way([name, f"copy-{name}"]),
    ]


def values(name: str) -> dict[str, str]:
    return {"file": name, "copy": f"copy-{name}"}


def content(size: int = 50_000) -> bytes:
    """Return bytes that are no text, with all that a protocol might take for its own."""
    return b"\r\nEOF\0END\n.\r\n" + random.randbytes(size) + b"\r\n"


def saved(program: Program, data: bytes) -> bool:
    return data in new_files(program).values()


def fetch(trial: Trial, server: FakeServer, name: str, data: bytes) -> Program:
    return run_ways(trial, server, client_ways(server.port, name),
                    lambda program: saved(program, data),
                    script="file_client.py", values=values(name))  # fmt: skip


def our_server(files: dict[str, bytes]) -> Callable[[Visit], None]:
    """What our file_server.py does with GET."""

    def converse(visit: Visit) -> None:
        while line := visit.line():
            verb, _, name = line.decode("utf-8", "replace").strip().partition(" ")
            if verb == "QUIT":
                visit.send(b"BYE\n")
                return
            data = files.get(name)
            if verb != "GET" or data is None:
                visit.send(f"ERROR file not found: {name!r}\n".encode())
            else:
                visit.send(f"OK {len(data)}\n".encode() + data)

    return converse


def with_any_server(
    trial: Trial, name: str, data: bytes | None, check: Callable[[FakeServer], None]
) -> None:
    """Try a client with the learner's own server, if there is one, and else with ours."""
    ours = our_server({name: data} if data is not None else {})
    if not trial.has("file_server.py"):
        trial.evidence.add("note", "there is no file_server.py here: tried with ours")
        check(trial.fake(ours))
        return
    try:
        server = trial.serve(script="file_server.py")
        if data is not None:
            plant(server, name, data)
        check(trial.relay(server))
    except NotMet:
        if not trial.aside(lambda: check(trial.fake(ours))):
            raise


def fault(program: Program, data: bytes) -> NotMet:
    """Return what is wrong with the file that was saved, or that none was."""
    files = {name: held for name, held in new_files(program).items() if held}
    if not files:
        return NotMet("no file was saved", f"a file of {len(data)} bytes")
    name, held = max(files.items(), key=lambda item: len(item[1]))
    cause = ""
    if data.startswith(held):
        cause = f"the file is cut at {len(held)} bytes"
    elif data in held:
        cause = f"the file holds {len(held) - len(data)} bytes more than were in it"
    return NotMet(f"{name} holds {len(held)} bytes", f"the same {len(data)} bytes", cause)


def downloads(trial: Trial, size: int) -> None:
    name, data = f"{word()}.bin", content(size)

    def check(server: FakeServer) -> None:
        program = fetch(trial, server, name, data)
        if not server.visits:
            raise NotMet("it does not connect", "a connection")
        if not saved(program, data):
            raise fault(program, data)

    with_any_server(trial, name, data, check)


def downloads_text(trial: Trial) -> None:
    name, data = f"{word()}.txt", f"Hello {word(30)}\n".encode()

    def check(server: FakeServer) -> None:
        program = fetch(trial, server, name, data)
        if not server.visits:
            raise NotMet("it does not connect", "a connection")
        if not saved(program, data):
            raise fault(program, data)

    with_any_server(trial, name, data, check)


def downloads_binary(trial: Trial) -> None:
    downloads(trial, 50_000)


def not_found(trial: Trial) -> None:
    name = f"{word()}.txt"

    def check(server: FakeServer) -> None:
        program = run_ways(trial, server, client_ways(server.port, name),
                           lambda one: one.ended() and bool(server.visits),
                           values=values(name))  # fmt: skip
        text = output_of(program)
        if not program.ended():
            raise NotMet("it still runs", "an error message, and the end")
        if "Traceback" in text:
            raise NotMet("a traceback", "an error message")
        if not looks_like_a_message(text, "enter file name to download filename the of", name):
            raise NotMet(f"the output is {text!r}", "an error message")
        if any(data.strip() for data in new_files(program).values()):
            raise NotMet("a file was saved", "an error message, and no file")
        if looks_successful(text):
            raise NotMet(f"the output is {text!r}", "an error message",
                         "it says that a file was saved which does not exist")  # fmt: skip

    with_any_server(trial, name, None, check)


def looks_successful(text: str) -> bool:
    low = text.lower()
    good = ("successfully", "downloaded", "saved", "complete")
    bad = ("error", "not ", "no such", "fail", "missing", "n't", "does not")
    return any(one in low for one in good) and not any(one in low for one in bad)


def no_connection(trial: Trial) -> None:
    """Nobody listens."""
    port = free_port()
    trial.ports[port] = trial.default_port
    name = f"{word()}.txt"
    ways, known = known_way(trial, trial.script, port, client_ways(port, name), values(name))
    program = start_way(trial, port, ways[known or 0])
    if not program.wait(trial.at_most(START)):
        raise NotMet("it still runs", "an error message")
    text = output_of(program)
    if "Traceback" in text:
        raise NotMet("a traceback", "an error message")
    if not looks_like_a_message(text, "enter file name to download filename the of", name):
        raise NotMet(f"the output is {text!r}", "an error message")


# The server


def sends_file(trial: Trial, data: bytes) -> None:
    """Met with their own client, if there is one; or else by our protocol."""
    if not trial.has("file_client.py"):
        trial.evidence.add("note", "there is no file_client.py here: tried by our protocol")
        sends_by_our_protocol(trial, data)
        return
    name = f"{word()}.bin"
    server = trial.serve()
    plant(server, name, data)
    relay = trial.relay(server)
    program = fetch(trial, relay, name, data)
    answered = relay.answered
    met = saved(program, data) or data in answered
    if not met and not trial.aside(partial(sends_by_our_protocol, trial, data)):
        raise fault(program, data)


def sends_by_our_protocol(trial: Trial, data: bytes) -> None:
    name = f"{word()}.bin"
    server = trial.serve()
    plant(server, name, data)
    server.program.probed = True
    with trial.connect(server) as client:
        client.send(f"GET {name}\n".encode())
        reply = client.receive(lambda got: got.endswith(data), trial.at_most(ANSWER))
        if reply != f"OK {len(data)}\n".encode() + data:
            raise NotMet(f"{reply[:60]!r}" if reply else "no answer",
                         f"'OK {len(data)}', a line end, and the bytes")  # fmt: skip


def sends_text(trial: Trial) -> None:
    sends_file(trial, f"Hello {word(30)}\n".encode())


def sends_binary(trial: Trial) -> None:
    sends_file(trial, content())


def survives_not_found(trial: Trial) -> None:
    """A file that is not there is answered, and the server serves on."""
    server = trial.serve()
    name = f"{word()}.txt"
    if trial.has("file_client.py"):
        relay = trial.relay(server)
        run_ways(
            trial,
            relay,
            client_ways(relay.port, name),
            lambda one: one.ended() and bool(relay.visits),
            script="file_client.py",
            values=values(name),
        )
        answered = relay.answered
        if not answered and not any(visit.said for visit in relay.visits):
            raise NotMet("file_client.py sends no request", "a request")
        broken = server.program.ended() and server.program.process.returncode != 0
        if broken:
            raise NotMet("the server ends with an error", "an answer to the client")
        return
    with trial.connect(server) as client:
        answer = ask(client, f"GET {name}")
        if not answer.startswith("ERROR"):
            raise NotMet(f"{answer!r}", "'ERROR ...'")


OUTSIDE = "not-for-everybody"


def stays_inside(trial: Trial) -> None:
    """Three ways out of the folder that is served, by our protocol and with their client."""
    server = trial.serve()
    secret = f"{OUTSIDE}-{word()}".encode()
    outside = server.folder.parent / "outside.txt"
    outside.write_bytes(secret)
    names = ["../outside.txt", str(outside)]
    try:
        (server.folder / "link.txt").symlink_to(outside)
        names.append("link.txt")
    except OSError:  # Windows wants a privilege for it
        pass
    for name in names:
        with trial.connect(trial.restarted(server), seconds=SHORT) as client:
            client.send(f"GET {name}\n".encode())
            reply = client.receive(lambda data: bool(data), trial.at_most(SHORT), 0.1)
            leak(secret, name, reply)
    if trial.has("file_client.py"):
        for name in names:
            relay = trial.relay(trial.restarted(server))
            program = run_ways(
                trial,
                relay,
                client_ways(relay.port, name),  # the way that has worked before comes first
                lambda one: one.ended(),
                script="file_client.py",
                values=values(name),
            )
            answered = relay.answered
            leak(secret, name, answered + b"".join(new_files(program).values()))


def leak(secret: bytes, name: str, data: bytes) -> None:
    if secret in data:
        raise NotMet(f"GET {name} sends {secret!r}", "a refusal",
                     "a file from outside of the folder is sent")  # fmt: skip


LARGE = "".join(f"{number} " for number in range(30_000)).encode()


def whole(trial: Trial) -> None:
    ours = trial.serve("--directory", ".", script="file_server.py", ours=True,
                       files={"x.txt": LARGE})  # fmt: skip
    program = trial.run_client(ours.port, "--port", str(ours.port), "x.txt")
    program.probed = True
    program.wait(trial.at_most(START))
    held = new_files(program).get("x.txt")
    if held != LARGE or program.process.returncode != 0:
        raise NotMet(f"x.txt holds {len(held or b'')} bytes", f"{len(LARGE)} bytes, and status 0")


def half_a_file(trial: Trial) -> None:
    """A server that hangs up in the middle of a file."""

    def converse(visit: Visit) -> None:
        visit.line()
        visit.send(b"OK 1000\n" + b"x" * 400)

    server = trial.fake(converse)
    program = trial.run_client(server.port, "--port", str(server.port), "x.txt")
    program.probed = True
    program.wait(trial.at_most(START))
    left = list(new_files(program))
    if left or program.process.returncode != 1:
        raise NotMet(f"status {program.process.returncode}, and the files {left}",
                     "status 1, and no half file")  # fmt: skip


FILE_SERVER = Script(
    "file_server.py",
    "file",
    [
        "The client connects to a server and requests a file to download.",
        "The server sends the requested file to the client.",
        "Ensure error handling for scenarios such as file not found.",
    ],
    [
        exercise("listens", "The client connects to a server.", listens),
        exercise("sends the file", "The server sends the requested file to the client.",
                 sends_text),
        exercise("sends a binary file of 50,000 bytes", "The requested file.", sends_binary),
        exercise("survives a request for a file that is not there",
                 "Ensure error handling for scenarios such as file not found.",
                 survives_not_found),
        robust("sends no file from outside of its folder", "`../`, an absolute path, a link.",
               stays_inside),
        *of_line_server(),
    ],
    port=9004,
)  # fmt: skip
FILE_CLIENT = Script(
    "file_client.py",
    "file",
    [
        "The client connects to a server and requests a file to download.",
        "The server sends the requested file to the client, which saves it locally.",
        "Ensure error handling for file not found or server connection issues.",
    ],
    [
        exercise("saves a file", "The client saves it locally.", downloads_text),
        exercise("saves a binary file of 50,000 bytes", "The requested file.", downloads_binary),
        exercise("says that a file is not there", "Error handling for file not found.",
                 not_found),
        exercise("says that there is no server", "Error handling for server connection issues.",
                 no_connection),
        robust("works with our server to the letter", "The same name, the same bytes, status 0.",
               whole),
        robust("ends with status 1 if a file is missing", "A script that calls it may know.",
               with_ours("file_server.py", ["--port", "PORT", "none.txt"],
                         serve=["--directory", "."], status=1)),
        robust("leaves no half file", "A server may hang up in the middle.", half_a_file),
        no_server("--port", "PORT", "x.txt"),
        has_help,
    ],
    port=9004,
    arguments=('"name"',),
    essential=1,
)  # fmt: skip
