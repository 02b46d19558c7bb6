"""Greeting server: tells each client when and from where it has connected, and hangs up.

    S: Time: ...
    S: Address: ...
    S: Port: ...

It waits for nothing. UTF-8, lines end in LF, the time is as in an e-mail (RFC 5322). Each connection becomes a line in
a file, too: time (ISO 8601), address and port, separated by TAB.

Try it:

    python3 greeting_server.py
    nc localhost 9006
"""

import argparse
import errno
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from email.utils import format_datetime
from functools import partial
from queue import SimpleQueue
from typing import Any

HOST, PORT = "localhost", 9006
TIMEOUT = 10.0  # seconds to take the greeting
LOG = "connections.txt"
BACKLOG = 4096  # clients that may queue until they are accepted
SPARE = 64  # threads that may wait for the next client
POLL = 0.05  # seconds between two looks at the stop event
LINGER = 1.0  # seconds a client has to take the last reply

Address = tuple[Any, ...]

log = logging.getLogger(__name__)


def greeting(address: Address, now: datetime) -> str:
    """Return what a client at `address` is told, `now` with its UTC offset."""
    return f"Time: {format_datetime(now)}\nAddress: {address[0]}\nPort: {address[1]}\n"


def record(address: Address, now: datetime) -> str:
    """Return the line for the file."""
    return f"{now.isoformat(timespec='milliseconds')}\t{address[0]}\t{address[1]}\n"


def appending(path: str) -> int:
    """Open a file, to append whole lines to it, and return its descriptor. Raises OSError."""
    binary = getattr(os, "O_BINARY", 0)  # or Windows writes CR LF for LF
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | binary, 0o666)
    with suppress(OSError), open(path, "rb") as old:
        old.seek(-1, os.SEEK_END)
        if old.read(1) != b"\n":
            os.write(file, b"\n")  # or the first line would become part of what somebody has left half-written
    return file


def converse(connection: socket.socket, address: Address, file: int, timeout: float) -> str:
    """Greet one client, and write it down; return a summary. Raises OSError."""
    connection.settimeout(timeout or None)
    now = datetime.now().astimezone()
    text = greeting(address, now)
    for line in text.splitlines():
        log.info("%s", line)
    try:
        entry = record(address, now).encode()
        done = os.write(file, entry)  # at one go, so that no other client's comes in between
        if done < len(entry):
            os.ftruncate(file, os.fstat(file).st_size - done)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        log.error("Cannot write down %s: %s", address[:2], error)
    connection.sendall(text.encode())
    return "greeted"


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
    parser.add_argument("--log", default=LOG, metavar="FILE", help="append to this file (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        file = appending(args.log)
    except OSError as error:
        return fail(f"cannot write {args.log}: {error.strerror}; choose another --log")
    attend = partial(serve, converse=partial(converse, file=file, timeout=args.timeout))
    return run(args, attend, partial(socket.create_server, backlog=BACKLOG))


if __name__ == "__main__":
    sys.exit(main())
