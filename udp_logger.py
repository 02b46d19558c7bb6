"""UDP logger: appends a line to a file for each datagram; keeps up with bursts.

A line has six fields, separated by tabs: time of arrival (ISO 8601, with
microseconds and UTC offset), address, port, length in bytes, MD5 and SHA-256
of the datagram in hex. The datagram itself is not written. Datagrams have 0 to
65,507 bytes.

Try it:

    python3 udp_logger.py
    python3 udp_sender.py localhost 9007 Hello  # in another terminal

Left out: replies, which UDP does not have. A sender does not learn what was
lost; how many datagrams the kernel had to drop is reported at the end.

Experiment:

    - md5 = hashlib.md5(datagram, usedforsecurity=False).hexdigest()
    + text = datagram.decode("utf-8", "replace")
    + md5 = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    `pytest -k "udp_logger and every_size"` fails: bytes that are no text do
    not survive decoding.
"""

import argparse
import hashlib
import logging
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

HOST, PORT = "localhost", 9007
OUTPUT = "udp_log.txt"
MAX_DATAGRAM = 65_535  # bytes
BUFFER = 16 * 1024 * 1024  # bytes that may wait in the kernel, if it grants them
BATCH = 1000  # lines written at once: a call for each line would take longer than its hashes
POLL = 0.05  # seconds between two checks of `stop`
DRAIN = 2.0  # seconds for what still waits at the end; a flood would never end

Address = tuple[Any, ...]  # (host, port), and two more values for IPv6

log = logging.getLogger(__name__)


def entry(now: float, address: Address, datagram: bytes) -> bytes:
    """Return the line for a datagram that came from `address` at `now` (seconds since 1970)."""
    second = int(now)
    date_and_time, offset = local_time(second)
    when = f"{date_and_time}.{int((now - second) * 1e6):06}{offset}"
    md5 = hashlib.md5(datagram, usedforsecurity=False).hexdigest()
    sha256 = hashlib.sha256(datagram).hexdigest()
    return f"{when}\t{address[0]}\t{address[1]}\t{len(datagram)}\t{md5}\t{sha256}\n".encode()


@lru_cache(maxsize=1)
def local_time(second: int) -> tuple[str, str]:
    """Return date and time, and the UTC offset: once per second, since this is slow."""
    text = datetime.fromtimestamp(second).astimezone().isoformat()
    return text[:19], text[19:]


def log_datagrams(
    listener: socket.socket, file: BinaryIO, count: int, stop: list[int]
) -> tuple[int, int, OSError | None]:
    """Log datagrams until `stop` is filled, then those that still wait; or `count`, if it is not 0.

    Return how many were logged, how many were not, and why not.
    """
    listener.setblocking(False)
    received = logged = 0
    deadline = float("inf")
    error = None
    lines: list[bytes] = []
    buffer = memoryview(bytearray(MAX_DATAGRAM))  # used again for each datagram
    while not error and not (count and received == count) and time.monotonic() < deadline:
        try:
            size, address = listener.recvfrom_into(buffer)
        except BlockingIOError:  # none waits: write what there is, and wait for the next one
            written, error = append_lines(file, lines)
            logged, lines = logged + written, []
            if stop:
                break
            select.select([listener], [], [], POLL)
            continue
        except OSError as problem:  # of one datagram only
            log.info("Cannot receive: %s", problem)
            continue
        received += 1
        lines.append(entry(time.time(), address, bytes(buffer[:size])))
        log.info("%d bytes from %s", size, address[:2])
        if len(lines) == BATCH:
            written, error = append_lines(file, lines)
            logged, lines = logged + written, []
            if stop:
                deadline = min(deadline, time.monotonic() + DRAIN)
    if not error:
        written, error = append_lines(file, lines)
        logged += written
    return logged, received - logged, error


def append_lines(file: BinaryIO, lines: list[bytes]) -> tuple[int, OSError | None]:
    """Append whole lines; return how many, and what prevented the rest."""
    data = b"".join(lines)
    done = 0
    try:
        while done < len(data):
            done += file.write(data[done:])
    except OSError as error:  # the disk is full, in the middle of a line
        whole = data.rfind(b"\n", 0, done) + 1
        with suppress(OSError):  # a device cannot be truncated
            file.truncate(os.fstat(file.fileno()).st_size - (done - whole))
        return data.count(b"\n", 0, whole), error
    return len(lines), None


def open_for_append(path: str) -> BinaryIO:
    """Open a file for lines, unbuffered: each write is in the file. Raises OSError."""
    file = open(path, "a+b", buffering=0)
    with suppress(OSError):  # raised by an empty file and by a device: they have no last byte
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")  # end a line that was cut off, when the machine crashed for example
    return file


def dropped(listener: socket.socket) -> int:
    """Return how many datagrams the kernel had no room for, as far as it says so (Linux does)."""
    with suppress(OSError):
        inode = str(os.fstat(listener.fileno()).st_ino)
        for name in ("udp", "udp6"):
            for line in Path("/proc/net", name).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[9] == inode:
                    return int(fields[-1])
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--host", default=HOST, help="address to listen on (default: %(default)s)")
    option("--port", type=int, default=PORT, help="0 for a free one (default: %(default)s)")
    option("--output", default=OUTPUT, metavar="FILE", help="append to it (default: %(default)s)")
    option("--count", type=int, default=0, metavar="N", help="stop after N; 0: go on (default: 0)")
    option(
        "--buffer",
        type=int,
        default=BUFFER,
        metavar="BYTES",
        help="receive buffer in the kernel (default: %(default)s)",
    )
    option("--quiet", action="store_true", help="log errors only")
    args = parser.parse_args(argv)
    if not (
        args.host and 0 <= args.port <= 65535 and args.count >= 0 and 1 <= args.buffer <= 2**30
    ):
        parser.error(
            "--host must not be empty; --port must be from 0 to 65535, "
            "--count from 0, --buffer from 1 to 2**30"
        )
    logging.basicConfig(
        level=logging.ERROR if args.quiet else logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    try:
        file = open_for_append(args.output)
    except OSError as error:
        reason = f"cannot write {args.output}: {error.strerror}; choose another --output"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    host, family = args.host, socket.AF_INET
    if ":" in host:
        host, family = f"[{host}]", socket.AF_INET6
    listener = socket.socket(family, socket.SOCK_DGRAM)
    with suppress(OSError):  # some systems refuse what is too much; Linux grants what it has
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, args.buffer)
    try:
        listener.bind((args.host, args.port))
    except (OSError, UnicodeError) as error:
        reason = f"cannot listen on {host}:{args.port}: {error}; choose another --host or --port"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    stop: list[int] = []  # not KeyboardInterrupt: a second Ctrl-C would raise it in the clean-up
    for number in (signal.SIGINT, getattr(signal, "SIGBREAK", signal.SIGTERM)):
        signal.signal(number, lambda number, _: stop.append(number))
    with listener, file:
        print(f"Server listening on {host}:{listener.getsockname()[1]}...", flush=True)
        granted = listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        log.info("Receive buffer: %d bytes asked for, %d granted", args.buffer, granted)
        logged, lost, failure = log_datagrams(listener, file, args.count, stop)
        if count := dropped(listener):
            log.error("the kernel dropped %d datagrams: a larger --buffer may help", count)
    if failure:
        reason = f"cannot write {args.output}: {failure.strerror}; {lost} datagrams not logged"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    log.info("Server stopped: %d datagrams logged", logged)
    return 0


if __name__ == "__main__":
    sys.exit(main())
