"""UDP logger: appends one line to a file for each datagram, and keeps up with bursts.

A line has six fields, separated by TAB: time of arrival (ISO 8601, with microseconds and UTC offset), address, port,
length in bytes, MD5 and SHA-256 of the datagram in hex. The datagram itself is not written. Datagrams have 0 to 65,507
bytes. While more of them wait, lines are written in batches; else at once.

Try it:

    python3 udp_logger.py
    python3 udp_sender.py localhost 9007 Hello
"""

import argparse
import hashlib
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
from functools import lru_cache, partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

HOST, PORT = "localhost", 9007
OUTPUT = "udp_log.txt"
MAX_DATAGRAM = 65_535  # bytes
BUFFER = 16 * 1024 * 1024  # bytes that may wait in the kernel, if it grants them
BATCH = 1000  # lines written at once
POLL = 0.05  # seconds between two looks at the stop event
DRAIN = 2.0  # seconds after which a flood is left to itself at the end

Address = tuple[Any, ...]

log = logging.getLogger(__name__)


def entry(now: float, address: Address, datagram: memoryview) -> bytes:
    """Return the line for a datagram that came from `address` at `now` (seconds since 1970)."""
    second = int(now)
    date_and_time, offset = clock(second)
    md5 = hashlib.md5(datagram, usedforsecurity=False).hexdigest()
    sha256 = hashlib.sha256(datagram).hexdigest()
    when = f"{date_and_time}.{int((now - second) * 1e6):06}{offset}"
    return f"{when}\t{address[0]}\t{address[1]}\t{len(datagram)}\t{md5}\t{sha256}\n".encode()


@lru_cache(maxsize=1)
def clock(second: int) -> tuple[str, str]:
    """Return local date and time, and the UTC offset, of a second since 1970."""
    text = datetime.fromtimestamp(second).astimezone().isoformat()
    return text[:19], text[19:]


class Journal:
    """A file to which a thread of its own appends whole lines: who calls put() never waits for the disk."""

    def __init__(self, path: str) -> None:
        """Open `path` for appending. Raises OSError; if writing fails later, `error` tells."""
        self.file = appending(path)
        self.error: OSError | None = None
        self.written = self.lost = 0  # lines
        self.batches: SimpleQueue[list[bytes]] = SimpleQueue()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def put(self, lines: list[bytes]) -> None:
        """Have `lines` written."""
        self.batches.put(lines)

    def close(self) -> None:
        """Wait until all is written, or has failed to be."""
        self.batches.put([])
        self.thread.join()
        os.close(self.file)

    def run(self) -> None:
        while lines := self.batches.get():
            if self.error is None:
                self.append(b"".join(lines))
            else:
                self.lost += len(lines)

    def append(self, data: bytes) -> None:
        """Write lines. If that fails in the middle, cut the file behind the last whole one."""
        size, done = os.fstat(self.file).st_size, 0
        try:
            while done < len(data):
                done += os.write(self.file, data[done:])
        except OSError as error:
            done = data.rfind(b"\n", 0, done) + 1
            with suppress(OSError):  # not every file can be cut
                os.ftruncate(self.file, size + done)
            self.error = error
        self.written += data.count(b"\n", 0, done)
        self.lost += data.count(b"\n", done)


def appending(path: str) -> int:
    """Open a file, to append whole lines to it, and return its descriptor. Raises OSError."""
    binary = getattr(os, "O_BINARY", 0)  # or Windows writes CR LF for LF
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | binary, 0o666)
    with suppress(OSError), open(path, "rb") as old:
        old.seek(-1, os.SEEK_END)
        if old.read(1) != b"\n":
            os.write(file, b"\n")  # or the first line would become part of what somebody has left half-written
    return file


def log_datagrams(listener: socket.socket, journal: Journal, count: int, stop: threading.Event) -> None:
    """Put down each datagram until `stop` is set, and then what is still waiting; `count` of them at most (0: any)."""
    buffer = bytearray(MAX_DATAGRAM)
    listener.setblocking(False)
    verbose = log.isEnabledFor(logging.INFO)
    seen, deadline = 0, float("inf")
    lines: list[bytes] = []
    while seen != count or not count:
        try:
            size, address = listener.recvfrom_into(buffer)
        except BlockingIOError:
            if lines:
                journal.put(lines)
                lines = []
            if stop.is_set() or journal.error:
                break
            select.select([listener], [], [], POLL)
            continue
        except OSError as error:  # Windows tells of datagrams that found nobody
            log.info("Cannot receive: %s", error)
            continue
        lines.append(entry(time.time(), address, memoryview(buffer)[:size]))
        seen += 1
        if verbose:
            log.info("%d bytes from %s", size, address[:2])
        if len(lines) == BATCH:
            journal.put(lines)
            lines = []
            if stop.is_set():
                deadline = min(deadline, time.monotonic() + DRAIN)
            if time.monotonic() > deadline or journal.error:
                break
    if lines:
        journal.put(lines)


def bind_widely(address: Address, family: int, size: int) -> socket.socket:
    """Return a UDP socket bound to `address`, with a receive buffer of `size` bytes or what the kernel grants."""
    listener = bind(address, family)
    while size:
        with suppress(OSError):  # some refuse what is too much, others give less
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
            break
        size //= 2
    return listener


def dropped(listener: socket.socket) -> int:
    """Return how many datagrams the kernel had no room for, as far as it tells (Linux does)."""
    for name in ("udp", "udp6"):
        with suppress(OSError):
            inode = str(os.fstat(listener.fileno()).st_ino)
            for line in Path("/proc/net", name).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[9] == inode:
                    return int(fields[-1])
    return 0


def attend(listener: socket.socket, journal: Journal, args: argparse.Namespace, stop: threading.Event) -> None:
    """Log what comes to `listener`, and at the end tell what the kernel has dropped."""
    granted = listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    log.info("Receive buffer: %d bytes asked for, %d granted", args.buffer, granted)
    log_datagrams(listener, journal, args.count, stop)
    if lost := dropped(listener):
        print(f"the kernel dropped {lost} datagrams: a larger --buffer may help", file=sys.stderr)


def bind(address: Address, family: int) -> socket.socket:
    """Return a UDP socket bound to `address`. Raises OSError."""
    listener = socket.socket(family, socket.SOCK_DGRAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_DATAGRAM)  # macOS would send 9216 bytes at most
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def between(low: float, high: float, kind: Callable[[str], float] = int) -> Callable[[str], float]:
    """Return an argparse type that takes a number from `low` to `high`."""

    def number(text: str) -> float:
        if low <= (value := kind(text)) <= high:
            return value
        raise argparse.ArgumentTypeError(f"{text} is not from {low:.0f} to {high:.0f}")

    return number


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=HOST, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=between(0, 65535), default=PORT, help="0: a free one (default: %(default)s)")
    parser.add_argument("--output", default=OUTPUT, metavar="FILE", help="append to this file (default: %(default)s)")
    parser.add_argument("--count", type=between(0, 1e18), default=0, metavar="N", help="stop after N datagrams")
    parser.add_argument(
        "--buffer", type=between(1, 2**30), default=BUFFER, metavar="BYTES", help="ask for such a buffer"
    )
    parser.add_argument("--quiet", action="store_true", help="no log")
    args = parser.parse_args(argv)
    try:
        journal = Journal(args.output)
    except OSError as error:
        return fail(f"cannot write {args.output}: {error.strerror}; choose another --output")
    try:
        status = run(args, partial(attend, journal=journal, args=args), partial(bind_widely, size=args.buffer))
    finally:
        journal.close()
    if journal.error:
        return fail(f"cannot write {args.output}: {journal.error.strerror}; {journal.lost} datagrams not logged")
    if not status:
        log.info("Server stopped: %d datagrams logged", journal.written)
    return status


if __name__ == "__main__":
    sys.exit(main())
