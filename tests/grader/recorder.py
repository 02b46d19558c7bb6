"""Clients and servers that remember what went over the wire: the evidence of a verdict."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .process import STILL

LOOK = 0.1  # seconds between two looks at whether anything can still come
SHOWN = 14  # lines of evidence in a feedback
LONG = 110  # bytes of a message that are shown whole
FLOOD = 40_000_000  # bytes: more than any answer has
MOST_WAIT = 15.0  # seconds for an answer that comes slowly, piece by piece
SETTLE = 0.03  # seconds of silence that end an answer without a line end
Address = tuple[str, int]
Stuck = Callable[[float], bool]  # see Trial.stuck()


def shortened(data: bytes) -> str:
    """Return bytes as in Python, which also makes them harmless for a terminal."""
    if len(data) <= LONG:
        return repr(data)
    return f"{data[:60]!r}... ({len(data)} bytes in all)"


class Evidence:
    """What happened in one check, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.commands: list[str] = []  # to do the same by hand
        self.closings: list[float] = []  # when we hung up, or ended a program
        self.lock = threading.Lock()

    def add(self, what: str, text: str) -> None:
        with self.lock:
            self.lines.append(f"{what:10} {text}")

    def shown(self) -> list[str]:
        lines = list(self.lines)
        if len(lines) > SHOWN:
            cut = len(lines) - SHOWN
            lines = [*lines[:3], f"{'...':10} ({cut} more)", *lines[3 - SHOWN :]]
        return lines


def receive_some(connection: socket.socket, seconds: float, stuck: Stuck) -> bytes | None:
    """Wait for bytes; return None if none came and nothing can come any more.

    Raises TimeoutError after `seconds`, and OSError if the connection broke.
    """
    start = time.monotonic()
    while True:
        left = start + seconds - time.monotonic()
        connection.settimeout(max(min(left, LOOK), 0.001))
        try:
            return connection.recv(65536)
        except TimeoutError:
            if left <= LOOK:
                raise
        if stuck(STILL) and time.monotonic() - start > STILL:
            return None


class Client:
    """A connection to a server."""

    def __init__(
        self, evidence: Evidence, address: Address, timeout: float, name: str, stuck: Stuck
    ) -> None:
        self.evidence, self.timeout, self.stuck = evidence, timeout, stuck
        self.waits = False  # the server waits for us, and so nothing will come
        self.name = f"{name}: " if name else ""
        self.buffer = bytearray()
        self.ended = False  # the server has closed its side
        self.broken = ""  # why the connection broke
        self.sent = b""
        self.socket = socket.create_connection(address, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.end = time.monotonic() + 20 * timeout

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> Address:
        host, port = self.socket.getsockname()[:2]
        return str(host), int(port)

    def log(self, what: str, text: str) -> None:
        self.evidence.add(what, self.name + text)

    def send(self, data: bytes, quietly: bool = False) -> None:
        """Send all of `data`; that the server does not take it is shown by what does not come."""
        if not quietly:
            self.log("sent", shortened(data))
        self.sent += data if len(self.sent) < LONG else b""
        try:
            self.socket.sendall(data)
        except OSError as error:
            self.broken = type(error).__name__
            self.log("...", f"the connection broke while sending ({self.broken})")

    def half_close(self) -> None:
        self.log("sent", "(the end of the stream)")
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def pull(self, seconds: float) -> bool:
        """Wait for some bytes; return False if none came."""
        self.waits = False
        try:
            piece = receive_some(self.socket, seconds, self.stuck)
        except TimeoutError:
            return False
        except OSError as error:
            self.broken, self.ended = type(error).__name__, True
            return False
        if piece is None:
            self.waits = True
            return False
        if not piece:
            self.ended = True
            return False
        self.buffer += piece
        return True

    def limit(self, seconds: float) -> str:
        """Return how long was waited in vain, as the end of a sentence."""
        return "while the program waits for more" if self.waits else f"within {seconds:.3g} s"

    def receive(
        self, enough: Callable[[bytes], bool], seconds: float | None = None, settle: float = SETTLE
    ) -> bytes:
        """Return what comes until `enough` says so and then nothing more for a moment.

        What came is returned on a timeout and at the end of the stream, too.
        """
        seconds = self.timeout if seconds is None else seconds
        end = time.monotonic() + seconds
        last = time.monotonic() + MOST_WAIT
        late, before = False, len(self.buffer)
        while not self.ended and len(self.buffer) < FLOOD and not late:
            if enough(bytes(self.buffer)):
                if not (settle and self.pull(settle)):
                    break
            else:
                self.pull(end - time.monotonic())
            if before < len(self.buffer):  # it goes on: a slow sender
                end = max(end, min(last, time.monotonic() + seconds))
            late, before = self.waits or time.monotonic() >= end, len(self.buffer)
        data = bytes(self.buffer)
        self.buffer.clear()
        tail = self.closing() if self.ended else ""
        if not tail and not enough(data):
            tail = f", and nothing more {self.limit(seconds)}"
        self.log("received", (shortened(data) if data else "nothing") + tail)
        return data

    def closing(self) -> str:
        if self.broken:
            return f", and the connection broke ({self.broken})"
        return ", and the end of the stream"

    def read_line(self) -> bytes:
        """Return the next line, with its end; less at the end of the stream or on a timeout."""
        end = time.monotonic() + self.timeout
        while b"\n" not in self.buffer and not self.ended and time.monotonic() < end:
            self.pull(end - time.monotonic())
            if len(self.buffer) >= FLOOD or self.waits:
                break
        line, newline, rest = bytes(self.buffer).partition(b"\n")
        self.buffer[:] = rest
        whole = line + newline
        if newline:
            self.log("received", shortened(whole))
        else:
            tail = self.closing() if self.ended else f", and no line end {self.limit(self.timeout)}"
            self.log("received", (shortened(whole) if whole else "nothing") + tail)
        return whole

    def rest(self, seconds: float | None = None) -> bytes:
        """Return all that comes until the server hangs up; `ended` tells whether it did."""
        end = time.monotonic() + (seconds or self.timeout)
        while not self.ended and time.monotonic() < end and len(self.buffer) < FLOOD:
            if not self.pull(end - time.monotonic()) and self.waits:
                break
        data = bytes(self.buffer)
        self.buffer.clear()
        tail = self.closing() if self.ended else ", and the connection is still open"
        self.log("received", (shortened(data) if data else "nothing") + tail)
        return data

    def close(self) -> None:
        """Hang up: politely, unless the server has done so already: its port is free at once."""
        if self.ended:
            self.reset()
        elif self.socket.fileno() >= 0:
            self.evidence.closings.append(time.monotonic())
            with suppress(OSError):
                self.socket.close()

    def reset(self) -> None:
        """Vanish without a goodbye: the server sees a connection reset."""
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.socket.close()


class Visit:
    """What a program has done at one of our servers."""

    def __init__(
        self, connection: socket.socket, evidence: Evidence, timeout: float, stuck: Stuck
    ) -> None:
        self.socket, self.evidence, self.timeout = connection, evidence, timeout
        self.stuck = stuck
        self.said = bytearray()  # by the program
        self.answered = bytearray()  # by us
        self.buffer = bytearray()
        self.ended = False
        connection.settimeout(timeout)

    def send(self, data: bytes) -> None:
        self.answered += data
        self.evidence.add("answered", shortened(data))
        with suppress(OSError):
            self.socket.sendall(data)

    def pull(self) -> bool:
        try:
            piece = receive_some(self.socket, self.timeout, self.stuck)
        except OSError:
            return False
        if not piece:
            if piece is not None and not self.ended:
                self.evidence.add("it sent", "(the end of the stream)")
            self.ended = self.ended or piece is not None
            return False
        self.evidence.add("it sent", shortened(piece))
        self.said += piece
        self.buffer += piece
        return True

    def line(self) -> bytes:
        """Return the next line, or what came before the end or a long silence."""
        while b"\n" not in self.buffer and self.pull():
            pass
        line, newline, rest = bytes(self.buffer).partition(b"\n")
        self.buffer[:] = rest
        return line + newline

    def piece(self) -> bytes:
        """Return what came, line or not."""
        if not self.buffer:
            self.pull()
        data = bytes(self.buffer)
        self.buffer.clear()
        return data


class FakeServer:
    """A server of ours for a program of theirs: `converse` speaks with each that comes."""

    def __init__(
        self,
        converse: Callable[[Visit], None],
        evidence: Evidence,
        timeout: float,
        stuck: Stuck,
    ) -> None:
        self.converse, self.evidence, self.timeout = converse, evidence, timeout
        self.stuck = stuck
        self.visits: list[Visit] = []
        self.news = threading.Condition()
        self.threads: list[threading.Thread] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self.listener.getsockname()[1])
        self.stopped = False
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self) -> None:
        while not self.stopped:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            if self.stopped:
                connection.close()
                return
            visit = Visit(connection, self.evidence, self.timeout, self.stuck)
            self.evidence.add("it", "connected")
            thread = threading.Thread(target=self.serve, args=(visit,), daemon=True)
            with self.news:
                thread.start()
                self.threads.append(thread)
                self.visits.append(visit)
                self.news.notify_all()

    def serve(self, visit: Visit) -> None:
        with visit.socket, suppress(OSError, ValueError, UnicodeError):
            self.converse(visit)
            if not visit.ended and not visit.answered:
                self.evidence.closings.append(time.monotonic())

    def wait(self, good: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        with self.news:
            while not good():
                left = end - time.monotonic()
                if left <= 0:
                    return False
                self.news.wait(min(left, 0.05))
        return True

    def settle(self, seconds: float = 0.5) -> None:
        """Read what a program said before it ended: that may still be on its way."""
        end = time.monotonic() + seconds
        with self.news:
            threads = self.threads[:]
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))

    @property
    def said(self) -> bytes:
        """All that programs have said."""
        return b"".join(bytes(visit.said) for visit in self.visits)

    @property
    def answered(self) -> bytes:
        """All that they got."""
        return b"".join(bytes(visit.answered) for visit in self.visits)

    def close(self) -> None:
        self.stopped = True
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            pass  # wakes accept() up, on every system
        self.listener.close()
        for visit in self.visits:
            with suppress(OSError):
                visit.socket.shutdown(socket.SHUT_RDWR)
        for thread in [self.thread, *self.threads]:
            thread.join(1)


def never(_: float) -> bool:
    """For who stays connected, whatever does not happen."""
    return False


def relay(
    find: Callable[[], Address], mute: bool = False, change: Callable[[bytes], bytes] | None = None
) -> Callable[[Visit], None]:
    """What passes on all that a client and a server say to each other, and writes it down.

    mute: the server's answers are lost, and the end comes in their place.
    """

    def converse(visit: Visit) -> None:
        server = socket.create_connection(find(), visit.timeout)

        def back() -> None:
            with suppress(OSError):
                while piece := server.recv(65536):
                    if mute:
                        visit.evidence.add("answered", f"{shortened(piece)}: not passed on")
                        break
                    visit.send(change(piece) if change else piece)
            with suppress(OSError):
                visit.socket.shutdown(socket.SHUT_WR)

        with server:
            server.settimeout(MOST_WAIT)
            thread = threading.Thread(target=back, daemon=True)
            thread.start()
            visit.timeout, visit.stuck = MOST_WAIT, never
            while visit.pull():
                with suppress(OSError):
                    server.sendall(visit.piece())
            with suppress(OSError):
                server.shutdown(socket.SHUT_WR)
            thread.join(MOST_WAIT)

    return converse


def number_in(number: Any, text: str | bytes) -> bool:
    """Tell whether `text` holds the number, however it is written: 5, 5.0, 1,000 or 5e3."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    for word in re.findall(r"[-+]?\d[\d_]*(?:\.\d+)?(?:[eE][-+]?\d+)?", text):
        with suppress(ValueError, OverflowError):
            if abs(float(word) - float(number)) <= 1e-6 * max(1.0, abs(float(number))):
                return True
    grouped = re.findall(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", text)
    return any(abs(float(word.replace(",", "")) - float(number)) < 1e-6 for word in grouped)
