"""tcp_proxy.py has no exercise text: what it does without its options stands for one."""

from __future__ import annotations

from ..recorder import Visit
from ..requirement import NotMet, Script
from ..trial import ANSWER, Server, Trial
from .common import announces_server, ended_well, exercise, has_help, hung_up, robust, word


def echo(visit: Visit) -> None:
    while data := visit.piece():
        visit.send(data)


def proxy(trial: Trial, *options: str) -> Server:
    """Start it between us and an echo server of ours."""
    server = trial.fake(echo)
    return trial.serve("--to", f"127.0.0.1:{server.port}", *options)


def listens(trial: Trial) -> None:
    proxy(trial)


def passes_on(trial: Trial) -> None:
    with trial.connect(proxy(trial)) as client:
        for size in (10, 5000):
            data = word(size).encode()
            client.send(data)
            reply = client.receive(lambda got, size=size: len(got) >= size)  # type: ignore[misc]
            if reply != data:
                raise NotMet(f"{reply!r}" if reply else "no answer", f"{data!r}")


def passes_the_end_on(trial: Trial) -> None:
    server = proxy(trial)
    with trial.connect(server) as client:
        data = word().encode()
        client.send(data)
        client.half_close()
        if (rest := hung_up(trial, server, client)) != data:
            raise NotMet(f"{rest!r}", f"{data!r} and the end of the stream")


def several(trial: Trial) -> None:
    server = proxy(trial)
    clients = [trial.connect(server, f"client {number}") for number in (1, 2, 3)]
    for client in reversed(clients):
        data = word().encode()
        client.send(data)
        if client.receive(lambda got: len(got) >= 8) != data:
            raise NotMet("a client gets no answer while others are connected", f"{data!r}")


def makes_pieces(trial: Trial) -> None:
    pieces: list[bytes] = []

    def converse(visit: Visit) -> None:
        while data := visit.piece():
            pieces.append(data)
            visit.send(data)

    server = trial.fake(converse)
    at = trial.serve("--to", f"127.0.0.1:{server.port}", "--pieces", "1")
    with trial.connect(at) as client:
        data = word(100).encode()  # so many that a busy machine does not see all as one piece
        client.send(data)
        client.receive(lambda got: len(got) >= len(data), trial.at_most(2 * ANSWER))
    if b"".join(pieces) != data or len(pieces) < 2:
        raise NotMet(f"the server got {pieces}", "pieces of one byte")


def cuts(trial: Trial) -> None:
    with trial.connect(proxy(trial, "--cut", "5")) as client:
        client.send(b"Hello World")
        rest = client.rest(trial.at_most(ANSWER))
        if not client.ended or len(rest) > 5:
            raise NotMet(f"{rest!r}", "the end after 5 bytes")


def announces(trial: Trial) -> None:
    announces_server(trial, proxy(trial))


def stops(trial: Trial) -> None:
    server = proxy(trial)
    client = trial.connect(server)
    client.send(b"x")
    client.receive(lambda got: bool(got))
    trial.evidence.add("pressed", "Ctrl-C")
    server.program.interrupt()
    ended_well(trial, server.program)


TCP_PROXY = Script(
    "tcp_proxy.py",
    "proxy",
    [
        "tcp_proxy.py --to HOST:PORT: each client gets a connection of its own to that server.",
        "Bytes go both ways unchanged, and so does the end of each side's stream.",
    ],
    [
        exercise("listens", "A server between a client and a server.", listens),
        exercise("passes on what both sides say", "Bytes go both ways unchanged.", passes_on),
        exercise("passes the end of a stream on", "Half-closes are passed on.", passes_the_end_on),
        exercise("serves several clients at once", "Each client has a connection of its own.",
                 several),
        robust("makes pieces (--pieces 1)", "What comes is passed on in small segments.",
               makes_pieces),
        robust("cuts a connection (--cut 5)", "The connection ends after so many bytes.", cuts),
        robust("announces its address", "The first line on stdout tells where it listens.",
               announces),
        robust("stops on Ctrl-C", "With status 0, without a traceback.", stops),
        has_help,
    ],
    imports=("socket", "threading"),
    port=9100,
    arguments=('"--to", required=True',),
)  # fmt: skip
