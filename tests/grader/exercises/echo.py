"""Exercise: a TCP echo server and its client."""

from __future__ import annotations

import re
import socket

from ..recorder import Client, Visit
from ..requirement import NotMet, Requirement, Script
from ..trial import ANSWER, SHORT, START, Server, Trial
from .common import (
    ask,
    exercise,
    extra,
    has_help,
    hung_up,
    listens,
    no_server,
    of_line_server,
    robust,
    with_ours,
    word,
)


def bare(data: bytes) -> bytes:
    return data.strip(b"\r\n\0 ")


def echoed(trial: Trial, client: Client, message: str) -> None:
    """Send a message as the exercise does, without a line end; and with one, if nothing comes."""
    data = message.encode()

    def whole(reply: bytes) -> bool:
        return len(bare(reply)) >= len(data)

    known = trial.facts.get("end", b"")
    slow = "slow" in trial.facts
    client.send(data + known)
    reply = client.receive(whole, trial.at_most(ANSWER if known or slow else SHORT))
    if not reply and not client.ended and not known and not slow:
        client.send(b"\n")
        reply = client.receive(whole, trial.at_most(ANSWER))
        if data in reply and b"\n" not in reply:  # it is only slow: now the line end comes
            client.receive(lambda got: b"\n" in got, trial.at_most(ANSWER))
            trial.facts["slow"] = True
        elif data in reply:
            trial.facts["end"] = b"\n"
    lines = [bare(line) for line in reply.splitlines()]
    if data not in lines and bare(reply) != data:
        cause = ""
        if data[: len(bare(reply))] == bare(reply) and bare(reply):
            cause = f"the reply is cut after {len(bare(reply))} of {len(data)} bytes"
        raise NotMet(f"{reply!r}" if reply else no_answer(client), f"{data!r}", cause)


def no_answer(client: Client) -> str:
    return "the end of the stream" if client.ended else "no answer"


def first_answer(trial: Trial) -> None:
    with trial.connect(trial.serve()) as client:
        echoed(trial, client, f"Hello {word()}")


def second_answer(trial: Trial) -> None:
    with trial.connect(trial.serve()) as client:
        for message in (f"Hello {word()}", f"Advanced {word()}", f"Python-{word()}", word(200)):
            echoed(trial, client, message)


def end_of_stream(trial: Trial) -> None:
    server = trial.serve()
    with trial.connect(server) as client:
        echoed(trial, client, f"Hello {word()}")
        client.half_close()
        hung_up(trial, server, client)


def many_clients(trial: Trial) -> None:
    server = trial.serve()
    names = [f"client {number}" for number in (1, 2, 3)]
    clients = [trial.connect(server, name) for name in names]
    for client in reversed(clients):
        try:
            echoed(trial, client, f"Hello {word()}")
        except NotMet as problem:
            raise NotMet(
                f"with {len(clients)} clients connected: {problem.found}", problem.expected
            ) from None


def echoes(trial: Trial, server: Server) -> None:
    with trial.connect(server) as client:
        echoed(trial, client, f"Hello {word()}")


def next_client(trial: Trial) -> None:
    server = trial.serve()
    with trial.connect(server, "first") as client:
        echoed(trial, client, f"Hello {word()}")
    with trial.connect(server, "second") as client:
        echoed(trial, client, f"Hello {word()}")


def command(text: str, pattern: str) -> Requirement:
    def check(trial: Trial) -> None:
        with trial.connect(trial.serve()) as client:
            echoed(trial, client, f"Hello {word()}")
            end = trial.facts.get("end", b"")
            client.send(text.encode() + (end or b"\n"))
            reply = client.receive(lambda data: bool(data.strip()), trial.at_most(SHORT))
            if text == "QUIT":
                client.rest(trial.at_most(SHORT))
                if not client.ended:
                    raise NotMet("the connection is still open", "the end of the stream")
            elif not re.search(pattern, reply.decode("utf-8", "replace")):
                raise NotMet(f"{reply!r}", "a message count" if text == "STATS" else "a time")

    said = {"QUIT": "disconnect", "STATS": "get message count", "TIME": "get server time"}[text]
    return extra(f"knows {text}", f'Send "{text}" to {said}.', check)


def time_without_end(trial: Trial) -> float:
    """Return how long to wait: less if it is known already that nothing comes."""
    return trial.at_most(SHORT if "end" in trial.facts else ANSWER)


def message_without_line_end(trial: Trial) -> None:
    with trial.connect(trial.serve()) as client:
        data = f"Hello {word()}".encode()
        client.send(data)
        reply = client.receive(lambda got: len(got) >= len(data), time_without_end(trial))
        if reply != data:
            raise NotMet(f"{reply!r}" if reply else "no answer", f"{data!r}",
                         "" if reply else "it waits for a line end that does not come")  # fmt: skip


def binary(trial: Trial) -> None:
    with trial.connect(trial.serve("--raw")) as client:
        data = bytes(range(256)) * 50
        client.send(data)
        reply = client.receive(lambda got: len(got) >= len(data), time_without_end(trial))
        if reply != data:
            raise NotMet(f"{len(reply)} bytes, which are not the same", "the same bytes")


def udp(trial: Trial) -> None:
    server = trial.serve("--udp", kind="udp")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(trial.at_most(SHORT))
        data = word().encode()
        client.sendto(data, server.address)
        try:
            reply = client.recv(65536)
        except OSError:
            raise NotMet("no answer", f"{data!r}") from None
        if reply != data:
            raise NotMet(f"{reply!r}", f"{data!r}")


def password(trial: Trial) -> None:
    secret = word()
    server = trial.serve("--password", secret)
    with trial.connect(server) as client:
        answer = ask(client, f"Hello {word()}")
        if answer.startswith("Hello"):
            raise NotMet(f"{answer!r} without a password", "a refusal")
    with trial.connect(server) as client:
        ask(client, f"AUTH {secret}")
        text = f"Hello {word()}"
        if (answer := ask(client, text)) != text:
            raise NotMet(f"{answer!r}", repr(text))


def history(trial: Trial) -> None:
    with trial.connect(trial.serve()) as client:
        text = f"Hello {word()}"
        ask(client, text)
        client.send(b"HISTORY\n")
        reply = client.receive(lambda data: text.encode() in data, trial.at_most(SHORT))
        if text.encode() not in reply:
            raise NotMet(f"{reply!r}", f"{text!r} among the last messages")


def rate(trial: Trial) -> None:
    with trial.connect(trial.serve("--rate", "2")) as client:
        lines = [f"{word()}" for _ in range(20)]
        client.send("".join(line + "\n" for line in lines).encode())
        reply = client.receive(lambda data: False, 0.5)
        if all(line.encode() in reply for line in lines):
            raise NotMet("20 messages were echoed within 0.5 s", "2 a second")


# The client

MESSAGES = ("Hello", "Advanced", "Python")
OTHER_MESSAGES = ("Hello", "World", "Test")


def run_echo_client(trial: Trial, change: bytes = b"") -> tuple[bytes, str]:
    """Return what the client has sent, and what it printed."""

    def converse(visit: Visit) -> None:
        while data := visit.piece():
            text = data.rstrip(b"\r\n")
            visit.send(change + text + data[len(text) :])

    server = trial.fake(converse)
    known = trial.facts.get("way")
    for way in (0, 1) if known is None else (known,):
        before = len(server.visits)
        program = trial.run_client(
            server.port, *(["--port", str(server.port)] if way == 0 else []),
            stdin="\n".join(MESSAGES) + "\n",
        )  # fmt: skip
        program.wait(trial.at_most(START if not change else ANSWER))
        if len(server.visits) > before:
            if program.ended():
                server.settle()
            trial.facts["way"] = way
            break
    if not server.visits:
        raise NotMet("it does not connect", "a connection")
    return server.said, program.output


def client_connects(trial: Trial) -> None:
    run_echo_client(trial)


def sends_three(trial: Trial) -> None:
    said, _ = run_echo_client(trial)
    text = said.decode("utf-8", "replace")
    for messages in (MESSAGES, OTHER_MESSAGES):
        if re.search(".*".join(messages), text, re.DOTALL):
            return
    raise NotMet(f"it sent {said!r}", " and ".join(repr(one) for one in MESSAGES))


def prints_replies(trial: Trial) -> None:
    """An honest echo, and then one that changes what it was sent."""
    said, printed = run_echo_client(trial)
    text = said.decode("utf-8", "replace")
    # A reset may have cut off the last message of a client that reads nothing.
    messages = OTHER_MESSAGES if OTHER_MESSAGES[1] in text else MESSAGES
    for message in messages:
        if message not in printed:
            raise NotMet(f"the reply {message!r} is not in the output", "the responses")
    mark = word()
    _, other = run_echo_client(trial, mark.encode())
    if mark not in other and sum(other.count(one) for one in messages) >= sum(
        printed.count(one) for one in messages
    ):
        raise NotMet(
            f"a server answered {mark + messages[0]!r}, and the output is the same as before",
            f"{mark + messages[0]!r} in the output",
            "it prints what it has sent, not what it has received",
        )


ECHO_SERVER = Script(
    "echo_server.py",
    "echo",
    [
        "Write a TCP server that listens on localhost:9000.",
        "Accepts multiple client connections (use threads or asyncio).",
        "Echoes back every message received.",
    ],
    [
        exercise("listens", "Create a TCP server that listens.", listens),
        exercise("echoes the first message", "Echo (send back) the received message.",
                 first_answer),
        exercise("echoes every message", "Echoes back every message received.", second_answer),
        exercise("hangs up after the end of the stream", "Handle errors: connection closed.",
                 end_of_stream),
        exercise("serves the next client", "Server should continue accepting new connections.",
                 next_client),
        exercise("serves several clients at once", "Handle multiple clients.", many_clients),
        robust("echoes a message without a line end", "client.sendall(b'Hello'), and then recv().",
               message_without_line_end),
        *of_line_server(works=echoes, in_pieces=None),
        command("QUIT", ""),
        command("STATS", r"\d"),
        command("TIME", r"\d+:\d\d"),
        extra("echoes binary data (--raw)", "Add support for binary data.", binary),
        extra("echoes datagrams (--udp)", "Add support for UDP echo server.", udp),
        extra("asks for a password (--password)", "Add client authentication.", password),
        extra("tells the last messages (HISTORY)", "Implement message history.", history),
        extra("limits the rate (--rate)", "Implement rate limiting.", rate),
    ],
    imports=("socket", "threading"),
    port=9000,
)  # fmt: skip
ECHO_CLIENT = Script(
    "echo_client.py",
    "echo",
    [
        "Write a TCP client that connects to the server.",
        'Sends three messages ("Hello", "Advanced", "Python").',
        "Prints the responses.",
    ],
    [
        exercise("connects", "Connects to the server.", client_connects),
        exercise("sends three messages", 'Sends "Hello", "Advanced", "Python".', sends_three),
        exercise("prints the responses", "Prints the responses.", prints_replies),
        robust("works with our server to the letter", "`Sent: Hello`, `Received: Hello`.",
               with_ours("echo_server.py", ["--port", "PORT", "Hello", "World"],
                         ["Sent: Hello", "Received: Hello", "Sent: World", "Received: World"])),
        no_server("--port", "PORT", "Hello"),
        has_help,
    ],
    port=9000,
)  # fmt: skip
