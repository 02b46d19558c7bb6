"""Sum server: adds up a list of numbers, exactly.

    C: 1|2|3|.
    S: 6

Each number is followed by "|"; a "." where a number would begin ends the list, and after the sum the server hangs up.
Numbers have up to 4000 digits: 12, -12, 0.5, but not .5, as that would be the end. White space around a number does not
count. The list may be as long as you like: it is summed up as it comes.

Try it:

    python3 sum_server.py
    echo '1|2|3|.' | nc 127.0.0.1 1234
"""

import argparse
import logging
import os
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

HOST, PORT = "127.0.0.1", 1234
TIMEOUT = 60.0  # seconds without a byte
MAX_DIGITS = 4000
MAX_TOKEN = MAX_DIGITS + len("-.") + 2  # bytes, with one space on either side
NUMBER = re.compile(rb"[-+]?[0-9]+(\.[0-9]+)?")
CHUNK = 64 * 1024  # bytes to ask for
BACKLOG = 4096  # clients that may queue until they are accepted
SPARE = 64  # threads that may wait for the next client
POLL = 0.05  # seconds between two looks at the stop event
LINGER = 1.0  # seconds a client has to take the last reply

Address = tuple[Any, ...]

log = logging.getLogger(__name__)


class Sum:
    """A sum that grows: an integer, and how many of its last digits stand behind the point (`scale` is 10**places)."""

    def __init__(self) -> None:
        self.total = self.places = self.count = 0
        self.scale = 1

    def add(self, token: bytes) -> None:
        """Add the number that `token` spells. Raises ValueError if it is none."""
        token = token.strip()
        if not NUMBER.fullmatch(token) or sum(map(token.count, b"0123456789")) > MAX_DIGITS:
            raise ValueError(f"not a number: '{escape(token[:60])}'")
        whole, _, decimals = token.partition(b".")
        if len(decimals) > self.places:
            self.total *= 10 ** (len(decimals) - self.places)
            self.places = len(decimals)
            self.scale = 10**self.places
        self.total += int(whole + decimals) * (10 ** (self.places - len(decimals)) if decimals else self.scale)
        self.count += 1

    def __str__(self) -> str:
        whole, decimals = divmod(abs(self.total), self.scale)
        sign = "-" if self.total < 0 else ""
        return f"{sign}{whole}.{decimals:0{self.places or 1}}".rstrip("0").rstrip(".")


def add_up(pieces: Iterator[bytes]) -> Sum:
    """Return the sum of the list that comes in `pieces`. Raises ValueError if it is not well-formed."""
    result = Sum()
    rest = b""
    for piece in pieces:
        *tokens, rest = (rest + piece).split(b"|")
        for token in tokens:
            if token.lstrip().startswith(b"."):
                return result
            result.add(token)
        if rest.lstrip().startswith(b"."):
            return result
        rest = squeezed(rest)
        if len(rest) > MAX_TOKEN:
            result.add(rest)
    raise ValueError("the list has no end: the '.' is missing")


def squeezed(token: bytes) -> bytes:
    """Return the beginning of a token with at most one space on either side, so that white space fills no memory."""
    core = token.strip()
    return b" " * (token[:1].isspace()) + core + b" " * (token[-1:].isspace() and bool(core))


def converse(connection: socket.socket, address: Address, timeout: float) -> str:
    """Answer one client with the sum of its list; return a summary."""
    connection.settimeout(timeout or None)
    try:
        result = add_up(iter(partial(connection.recv, CHUNK), b""))
    except ValueError as error:
        connection.sendall(f"ERROR {error}\n".encode())
        return str(error)
    except TimeoutError:
        connection.sendall(b"ERROR timeout\n")
        return "timeout"
    connection.sendall(f"{result}\n".encode())
    return f"{result.count} numbers"


def escape(text: str | bytes) -> str:
    """Return `text` with backslash escapes for all that could steer a terminal or forge a line."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


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
    args = server_parser().parse_args(argv)
    attend = partial(serve, converse=partial(converse, timeout=args.timeout))
    return run(args, attend, partial(socket.create_server, backlog=BACKLOG))


if __name__ == "__main__":
    sys.exit(main())
