"""Guessing game server: thinks of a number, and says whether it is higher or lower than your guess.

    S: Guess a number between 1 and 100
    C: 50
    S: lower
    C: 25
    S: higher
    C: many
    S: ERROR not a whole number: 'many'
    C: 42
    S: correct: 42 in 3 guesses

Each client gets a number of its own. What is not a whole number in the range is not counted. "quit" leaves. UTF-8;
lines end in LF or CRLF and have at most 100 bytes.

Try it:

    python3 guess_server.py --number 42
    nc localhost 9003
"""

import argparse
import logging
import os
import random
import re
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

HOST, PORT = "localhost", 9003
TIMEOUT = 300.0  # seconds without a guess
MAX_LINE = 100  # bytes
FARTHEST = 10**18  # the numbers to guess are no farther from 0
TELNET = re.compile(rb"\xff(?:\xfa.*?\xff\xf0|[\xfb-\xfe].|[^\xfa-\xfe])", re.DOTALL)  # options (RFC 854)
CHUNK = 64 * 1024  # bytes to ask for
BACKLOG = 4096  # clients that may queue until they are accepted
SPARE = 64  # threads that may wait for the next client
POLL = 0.05  # seconds between two looks at the stop event
LINGER = 1.0  # seconds a client has to take the last reply

Address = tuple[Any, ...]

log = logging.getLogger(__name__)


class Game:
    """One game: a secret from `low` to `high`, and the guesses so far, `limit` at most (0: as many as it takes)."""

    def __init__(self, low: int, high: int, secret: int, limit: int = 0) -> None:
        self.low, self.high, self.secret, self.limit = low, high, secret, limit
        self.guesses = 0
        self.over = False

    def answer(self, line: bytes) -> str:
        """Return the reply to a line as it came; `over` tells whether it is the last one."""
        if len(line) > MAX_LINE:
            return f"ERROR line too long: at most {MAX_LINE} bytes"
        text = TELNET.sub(b"", line).decode("utf-8", "backslashreplace").strip()
        if not re.fullmatch("[-+]?[0-9]+", text):
            return f"ERROR not a whole number: {text!r}"
        if not self.low <= int(text) <= self.high:
            return f"ERROR out of range: {self.low} to {self.high}"
        self.guesses += 1
        if int(text) == self.secret:
            self.over = True
            return f"correct: {self.secret} in {self.guesses} {'guess' if self.guesses == 1 else 'guesses'}"
        if self.guesses == self.limit:
            self.over = True
            return f"ERROR out of guesses: it was {self.secret}"
        return "higher" if self.secret > int(text) else "lower"


def receive(connection: socket.socket, size: int, farewell: bytes) -> bytes:
    """Return the next bytes, `size` at most; b"" at the end. Raises TimeoutError, after a `farewell`; OSError."""
    try:
        return connection.recv(size)
    except (BlockingIOError, TimeoutError):
        connection.sendall(farewell)
        raise TimeoutError("silent for too long") from None


def lines(connection: socket.socket, farewell: bytes) -> Iterator[bytes]:
    """Yield the lines that come, without LF or CRLF; the last one need not end so. Beyond MAX_LINE they are cut."""
    rest = bytearray()
    while piece := receive(connection, CHUNK, farewell) or (rest and b"\n"):
        *whole, last = piece.split(b"\n")
        for line in whole:
            rest += line[: MAX_LINE + 2 - len(rest)]
            yield bytes(rest.removesuffix(b"\r"))
            rest.clear()
        rest += last[: MAX_LINE + 2 - len(rest)]


def converse(connection: socket.socket, address: Address, args: argparse.Namespace) -> str:
    """Play a game with one client; return a summary."""
    connection.settimeout(args.timeout or None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    secret = random.SystemRandom().randint(args.low, args.high) if args.number is None else args.number
    game = Game(args.low, args.high, secret, args.max_guesses)
    connection.sendall(f"Guess a number between {args.low} and {args.high}\n".encode())
    for line in lines(connection, b"ERROR timeout\n"):
        if TELNET.sub(b"", line).strip() == b"quit":
            break
        connection.sendall(f"{game.answer(line)}\n".encode())
        if game.over:
            break
    return f"{game.guesses} guesses"


def serve(listener: socket.socket, converse: Callable[..., str], stop: threading.Event | None = None) -> None:
    """Hold `converse(connection, address)`, which returns a summary for the log, with each client, until `stop` is set.

    Each client has a thread to itself. When it has left, the thread waits for another one, as long as few do: to start
    one costs more than a short conversation. On the way out live connections are shut down and all threads joined.
    """
    stop = stop or threading.Event()
    live: set[socket.socket] = set()
    threads: set[threading.Thread] = set()
    free: list[threading.Thread] = []
    clients: SimpleQueue[tuple[socket.socket, Address] | None] = SimpleQueue()  # for each there is a free thread

    def attend() -> None:
        while client := clients.get():
            connection, address = client
            try:
                with connection:
                    log.info("Connection from %s", address[:2])
                    summary = converse(connection, address)
                    hang_up(connection)
                log.info("Connection closed %s: %s", address[:2], summary)
            except (OSError, MemoryError) as error:
                log.info("Connection lost %s: %s", address[:2], error)
            finally:
                live.remove(connection)
            if len(free) >= SPARE:
                break
            free.append(threading.current_thread())
        threads.discard(threading.current_thread())

    listener.settimeout(POLL)
    try:
        while not stop.is_set():
            connection = None
            try:
                connection, address = listener.accept()
                if not free:
                    thread = threading.Thread(target=attend, daemon=True)
                    thread.start()
                    threads.add(thread)
                    free.append(thread)
            except TimeoutError:
                if free:  # a quiet moment: one thread less
                    free.pop()
                    clients.put(None)
            except (OSError, RuntimeError, MemoryError) as error:  # out of descriptors or threads, say
                log.warning("Cannot accept a client: %s", error)
                if connection:
                    connection.close()
                time.sleep(POLL)  # or else this would spin
            else:
                free.pop()
                live.add(connection)
                clients.put((connection, address))
    finally:
        for connection in list(live):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for _ in list(threads):
            clients.put(None)
        for thread in list(threads):
            thread.join()


def hang_up(connection: socket.socket) -> None:
    """End `connection` so that the last reply arrives: to close it with bytes unread would reset it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(LINGER)
        deadline = time.monotonic() + LINGER
        while connection.recv(65536) and time.monotonic() < deadline:
            pass


def between(low: float, high: float, kind: Callable[[str], float] = int) -> Callable[[str], float]:
    """Return an argparse type that takes a number from `low` to `high`."""

    def number(text: str) -> float:
        if low <= (value := kind(text)) <= high:
            return value
        raise argparse.ArgumentTypeError(f"{text} is not from {low:.0f} to {high:.0f}")

    return number


def server_parser() -> argparse.ArgumentParser:
    """Return a parser of the options that all servers have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=HOST, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=between(0, 65535), default=PORT, help="0: a free one (default: %(default)s)")
    patience = "seconds a client may be silent, 0: for ever (default: %(default)g)"
    parser.add_argument("--timeout", type=between(0, 1e6, float), default=TIMEOUT, metavar="SECONDS", help=patience)
    parser.add_argument("--quiet", action="store_true", help="no log")
    return parser


class Log(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to stderr; what nobody reads for a second is dropped, since a full pipe must not stop a server."""

    patience = 1.0  # seconds

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, TypeError, ValueError):  # no stderr, or Windows, which selects sockets only
            self.patience = 1.0 if select.select([], [self.stream], [], self.patience)[1] else 0.0
        if self.patience:
            super().emit(record)


def run(args: argparse.Namespace, serve: Callable[..., None], listen: Callable[..., socket.socket]) -> int:
    """Listen, announce it, and `serve(listener, stop=...)` until Ctrl-C or SIGTERM; return the exit status."""
    level = logging.ERROR if args.quiet else logging.INFO
    form = "%(asctime)s %(message)s"
    logging.basicConfig(level=level, format=form, datefmt="%Y-%m-%dT%H:%M:%S", handlers=[Log()])
    stop, first = threading.Event(), threading.Lock()

    def interrupt(number: int, frame: object) -> None:
        if first.acquire(blocking=False):  # or else a second signal in the midst of set() would wait for the first
            stop.set()

    signals = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    for number in signals:  # the last one is Windows' Ctrl-Break
        signal.signal(number, interrupt)
    host = f"[{args.host}]" if ":" in args.host else args.host
    try:
        family, _, _, _, address = min(socket.getaddrinfo(args.host, args.port))  # IPv4 where there is a choice
        listener = listen(address, family=family)
    except (OSError, UnicodeError) as error:
        return fail(f"cannot listen on {host}:{args.port}: {error}; choose another --host or --port")
    with listener:
        if sys.stdout:
            with suppress(OSError), open(1, "w", closefd=False) as stdout:  # goes on serving if nobody reads it
                print(f"Server listening on {host}:{listener.getsockname()[1]}...", file=stdout)
        serve(listener, stop=stop)
    for number in signals:
        signal.signal(number, signal.SIG_IGN)  # while Python itself shuts down
    return 0


def fail(reason: str) -> int:
    """Say on stderr, in one line, why the job failed; return the exit status."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in reason)
    if sys.stderr:
        print(f"{os.path.basename(sys.argv[0])}: error: {line}", file=sys.stderr)
    return 1


def main(argv: list[str] | None = None) -> int:
    parser = server_parser()
    whole = between(-FARTHEST, FARTHEST)
    parser.add_argument("--low", type=whole, default=1, metavar="N", help="smallest number (default: %(default)s)")
    parser.add_argument("--high", type=whole, default=100, metavar="N", help="largest number (default: %(default)s)")
    parser.add_argument("--number", type=whole, metavar="N", help="the number to guess (default: a random one)")
    parser.add_argument("--max-guesses", type=between(1, 1e9), default=0, metavar="N", help="default: no limit")
    args = parser.parse_args(argv)
    if not args.low <= (args.low if args.number is None else args.number) <= args.high:
        parser.error("--low, --number and --high must not be out of order")
    attend = partial(serve, converse=partial(converse, args=args))
    return run(args, attend, partial(socket.create_server, backlog=BACKLOG))


if __name__ == "__main__":
    sys.exit(main())
