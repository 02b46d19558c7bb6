"""Exercise 2: a server that writes down what it knows of each datagram, and a sender."""

from __future__ import annotations

import hashlib
import random
import re
import socket
import time
from collections.abc import Callable
from datetime import datetime, timezone

from ..process import Program
from ..recorder import Evidence, number_in, shortened
from ..requirement import NotMet, Script
from ..trial import SHORT, START, Server, Trial, new_files, wait_until
from .common import announces_udp, ended_well, exercise, has_help, robust, word
from .greeting import near_now

WRITTEN = 2.0  # seconds until a datagram is in the file


def binds(trial: Trial) -> None:
    trial.serve(kind="udp")


class Sender:
    """A UDP socket of ours."""

    def __init__(self, evidence: Evidence, server: Server) -> None:
        self.evidence, self.server = evidence, server
        family = socket.AF_INET6 if ":" in server.address[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.connect(server.address)
        self.port = int(self.socket.getsockname()[1])

    def send(self, data: bytes) -> None:
        self.evidence.add("sent", f"{shortened(data)} from port {self.port}")
        self.socket.send(data)


def written(trial: Trial, server: Server, good: Callable[[str], bool]) -> str:
    """Return what the files hold that appeared, and wait until it is good.

    What is still in a buffer when a learner looks is written at the latest when they press Ctrl-C.
    """

    def text() -> str:
        files = new_files(server.program)
        return "\n".join(data.decode("utf-8", "replace") for data in files.values())

    if not wait_until(lambda: good(text()), trial.at_most(WRITTEN), server.program):
        server.program.interrupt()
        server.program.wait(SHORT)
        if not good(text()):
            files = new_files(server.program)
            for name, data in list(files.items())[:2]:
                trial.evidence.add("written", f"{name}: {shortened(data)}")
            if not files:
                trial.evidence.add("written", "no file has appeared")
    return text()


def sent(trial: Trial, data: bytes) -> tuple[Server, Sender]:
    server = trial.serve(kind="udp")
    sender = Sender(trial.evidence, server)
    trial.closers.append(sender.socket.close)
    sender.send(data)
    return server, sender


def writes_md5(trial: Trial, data: bytes | None = None) -> None:
    data = data if data is not None else f"Hello {word(12)}".encode()
    digest = hashlib.md5(data).hexdigest()
    server, _ = sent(trial, data)
    text = written(trial, server, lambda text: digest in text.lower())
    if digest not in text.lower():
        raise NotMet("the MD5 is not in any file" if text else "nothing was written",
                     f"the MD5 in hex: {digest}", cut_cause(data, text))  # fmt: skip


def cut_cause(data: bytes, text: str) -> str:
    """Return after how many bytes a datagram was cut, if a hash or a length shows it."""
    digests = set(re.findall(r"\b[0-9a-f]{32}\b", text.lower()))
    for length in range(len(data)):
        if digests and hashlib.md5(data[:length]).hexdigest() in digests:
            return f"the datagram was cut at {length} bytes of {len(data)}"
    return ""


def writes_sha256(trial: Trial) -> None:
    data = f"Hello {word(12)}".encode()
    digest = hashlib.sha256(data).hexdigest()
    server, _ = sent(trial, data)
    if digest not in written(trial, server, lambda text: digest in text.lower()).lower():
        raise NotMet("the SHA-256 is not in any file", digest)


def without_hashes(text: str) -> str:
    return re.sub(r"\b[0-9a-fA-F]{32,}\b", " ", text)


def writes_length(trial: Trial) -> None:
    data = word(random.randint(1100, 1199) % 900 + 101).encode()
    server, _ = sent(trial, data)

    def good(text: str) -> bool:
        return number_in(len(data), without_hashes(text))

    if not good(written(trial, server, good)):
        raise NotMet("the length is not in any file", f"{len(data)}")


def writes_address(trial: Trial) -> None:
    server, sender = sent(trial, word().encode())

    def good(text: str) -> bool:
        bare = without_hashes(text)
        return number_in(sender.port, bare) and ("127.0.0.1" in bare or "::1" in bare)

    text = written(trial, server, good)
    if not good(text):
        cause = ""
        if number_in(server.port, without_hashes(text)):
            cause = "it is the port of the server, not of the sender"
        raise NotMet("the sender is not in any file", f"127.0.0.1 and port {sender.port}", cause)


def writes_time(trial: Trial) -> None:
    server, _ = sent(trial, word().encode())
    days = [f"{one.day}" for one in (datetime.now(), datetime.now(timezone.utc))]

    def good(text: str) -> bool:
        bare = without_hashes(text)
        dated = any(re.search(rf"(?<!\d)0?{day}(?!\d)", bare) for day in days)
        return near_now(bare) and dated

    if not good(written(trial, server, good)):
        raise NotMet("time and date are not in any file", f"{datetime.now():%Y-%m-%d %H:%M:%S}")


def writes_each(trial: Trial) -> None:
    server = trial.serve(kind="udp")
    sender = Sender(trial.evidence, server)
    trial.closers.append(sender.socket.close)
    datagrams = [word(20).encode() for _ in range(3)]
    digests = [hashlib.md5(one).hexdigest() for one in datagrams]
    for number, data in enumerate(datagrams):
        sender.send(data)
        part = digests[: number + 1]
        wait_for_digest(server, part)
    text = written(trial, server, lambda text: all(one in text.lower() for one in digests))
    found = [one in text.lower() for one in digests]
    if not all(found):
        cause = "each datagram replaces the one before in the file" if found == [
            False, False, True] else ""  # fmt: skip
        lines = len([line for line in text.splitlines() if line.strip()])
        hashes = len(set(re.findall(r"\b[0-9a-f]{32}\b", text.lower())))
        if hashes > sum(found) and not cause:
            raise NotMet(f"{lines} lines, but the hash is wrong in {hashes - sum(found)} of them",
                         "the MD5 of each datagram")  # fmt: skip
        raise NotMet(f"{sum(found)} of 3 datagrams are in the file", "all of them", cause)


def wait_for_digest(server: Server, digests: list[str]) -> bool:
    def good() -> bool:
        text = "\n".join(
            data.decode("utf-8", "replace").lower() for data in new_files(server.program).values()
        )
        return digests[-1] in text

    return wait_until(good, 0.3, server.program)


def writes_long_datagrams(trial: Trial) -> None:
    writes_md5(trial, random.randbytes(9000))


def letter(trial: Trial) -> None:
    data = random.randbytes(3000)
    server, sender = sent(trial, data)
    hashes = f"{hashlib.md5(data).hexdigest()}\t{hashlib.sha256(data).hexdigest()}"
    pattern = rf"(?m)^\d{{4}}-\d\d-\d\dT[^\t]+\t127\.0\.0\.1\t{sender.port}\t3000\t{hashes}$"
    if not re.search(pattern, written(trial, server, lambda t: bool(re.search(pattern, t)))):
        raise NotMet(
            "another line", "time (ISO 8601), address, port, length, MD5, SHA-256 with TAB"
        )


def largest(trial: Trial) -> None:
    writes_md5(trial, random.randbytes(60_000))
    trial.finish()
    trial.begin()
    writes_md5(trial, b"")


def stops_on_ctrl_c(trial: Trial) -> None:
    server = trial.serve(kind="udp")
    server.program.wait_for(lambda: bool(server.program.out), SHORT)
    trial.evidence.add("pressed", "Ctrl-C")
    server.program.interrupt()
    ended_well(trial, server.program)


# The sender


def received(trial: Trial, message: str) -> tuple[bytes | None, str]:
    """Return the datagram that comes, and what is printed; the order of arguments is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(trial.at_most(0.05))
        port = server.getsockname()[1]
        usual = ["127.0.0.1", str(port), message]
        program = trial.launch(usual, stdin="")
        data = datagram(trial, server, program)
        if data is None:
            trial.note_usage(trial.script, program.output)
            values = {"host": usual[0], "port": usual[1], "body": message}
            for args in trial.arguments(trial.script, values)[:1]:
                trial.forget([program])
                program = trial.launch(args, stdin="")
                data = datagram(trial, server, program)
        trial.evidence.add("received", shortened(data) if data is not None else "no datagram")
        program.wait(SHORT)
        return data, program.printed.replace(str(port), "PORT")


def datagram(trial: Trial, server: socket.socket, program: Program) -> bytes | None:
    end = time.monotonic() + trial.at_most(START)
    while time.monotonic() < end:
        over = program.ended()
        try:
            return server.recv(70_000)
        except TimeoutError:
            if over:
                break
    return None


def sends(trial: Trial) -> None:
    message = f"Hello {word()}"
    data, _ = received(trial, message)
    if data is None:
        raise NotMet("no datagram arrives", repr(message))
    if data.rstrip(b"\r\n\0") != message.encode():
        raise NotMet(f"{data!r}", f"{message!r}")


def sends_other(trial: Trial) -> None:
    message = f"{word()} été {word(300)}"
    data, _ = received(trial, message)
    if data is None or data.rstrip(b"\r\n\0") != message.encode():
        raise NotMet("no datagram" if data is None else shortened(data), repr(message))


def tells_what_it_sent(trial: Trial) -> None:
    _, printed = received(trial, "x" * 3000)
    if "Sent 3000 bytes to 127.0.0.1:PORT" not in printed:
        raise NotMet(repr(printed), "'Sent 3000 bytes to 127.0.0.1:PORT'")


UDP_LOGGER = Script(
    "udp_logger.py",
    "udp",
    [
        "Implement using the socket module (UDP) a server that, when it receives a datagram,",
        "writes in a text file: time and date, address, port, length,",
        "md5 hash of the content in hex format, sha256.",
    ],
    [
        exercise("takes datagrams", "A server using the socket module (UDP).", binds),
        exercise("writes the MD5", "md5 hash of the content in hex format.", writes_md5),
        exercise("writes the SHA-256", "sha256.", writes_sha256),
        exercise("writes the length", "length.", writes_length),
        exercise("writes address and port", "address, port.", writes_address),
        exercise("writes time and date", "time and date.", writes_time),
        exercise("writes each datagram", "When it is receiving a UDP packet.", writes_each),
        exercise("takes datagrams of 9,000 bytes, and any bytes", "The hash of the content.",
                 writes_long_datagrams),
        robust("writes our line to the letter", "Six fields, separated by TAB.", letter),
        robust("takes datagrams of 60,000 bytes and of none", "UDP allows 0 to 65,507 bytes.",
               largest),
        robust("announces its address", "The first line on stdout tells where it listens.",
               announces_udp),
        robust("stops on Ctrl-C", "With status 0, without a traceback.", stops_on_ctrl_c),
        has_help,
    ],
    imports=("hashlib", "socket"),
    port=9007,
)  # fmt: skip
UDP_SENDER = Script(
    "udp_sender.py",
    "udp",
    [
        "A script that receives from the command line an addr string, a port integer, and a",
        "string msg, and sends a UDP packet to the addr address, the port port, with msg.",
    ],
    [
        exercise("sends the message", "Sends a UDP packet with the msg content.", sends),
        exercise("sends other messages", "A string msg.", sends_other),
        robust("tells what it sent", "`Sent 3000 bytes to ADDRESS:PORT`.", tells_what_it_sent),
        has_help,
    ],
    arguments=('"address"', '"port", type=int', '"message"'),
    port=9007,
    essential=1,
)  # fmt: skip
