"""Greeting server: tells each client when and from where it connected, then hangs up.

    S: Time: ...
    S: Address: ...
    S: Port: ...

The server speaks first and reads nothing. UTF-8, lines end in LF; the time is
written as in an e-mail (RFC 5322). Each connection is also appended to a file:
time (ISO 8601), address and port, separated by tabs.

Try it:

    python3 greeting_server.py
    nc localhost 9006  # in another terminal

Left out: the file grows without limit; logrotate and the like take care of
that.

Experiment:

    - connection.sendall(text.encode())
    + connection.sendall(greeting(connection.getsockname(), now).encode())
    `pytest -k "greeting_server and same"` fails: getsockname() is this end of
    the connection, and the client asked for its own.
"""

import argparse
import errno
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from email.utils import format_datetime
from functools import partial
from typing import Any, BinaryIO

HOST, PORT = "localhost", 9006
TIMEOUT = 10.0  # seconds for a client to read the greeting
LOG = "connections.txt"

Address = tuple[Any, ...]  # (host, port), and two more values for IPv6

log = logging.getLogger(__name__)


def greeting(address: Address, now: datetime) -> str:
    """Return the greeting for a client at `address`; `now` has a UTC offset."""
    return f"Time: {format_datetime(now)}\nAddress: {address[0]}\nPort: {address[1]}\n"


def record(address: Address, now: datetime) -> str:
    """Return the line for the file."""
    return f"{now.isoformat(timespec='milliseconds')}\t{address[0]}\t{address[1]}\n"


def handle_client(
    connection: socket.socket, address: Address, file: BinaryIO, timeout: float
) -> str:
    """Greet one client and record it in `file`; return a summary for the log. Raises OSError."""
    connection.settimeout(timeout or None)
    now = datetime.now().astimezone()
    text = greeting(address, now)
    connection.sendall(text.encode())
    for line in text.splitlines():
        log.info(line)
    try:
        append_line(file, record(address, now))
    except OSError as error:  # a full disk is no reason to turn clients away
        log.error("Cannot record %s: %s", address, error)
    return "greeted"


def open_for_append(path: str) -> BinaryIO:
    """Open a file for lines, unbuffered: each write is in the file. Raises OSError."""
    file = open(path, "a+b", buffering=0)  # noqa: SIM115
    with suppress(OSError):  # raised by an empty file and by a device: they have no last byte
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")  # end a line that was cut off, when the machine crashed for example
    return file


def append_line(file: BinaryIO, line: str) -> None:
    """Append the whole line, or nothing if the disk is full. Raises OSError."""
    data = line.encode()
    written = file.write(data)  # in one call, so that lines of several threads do not mix
    if written < len(data):  # only the beginning had room: take it back
        file.truncate(os.fstat(file.fileno()).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# The rest is the same in every server: a thread for each client, and the command line.

MAX_CLIENTS = 5000  # at once; the next one waits until one leaves
POLL = 0.05  # seconds: accept() cannot notice `stop`, so it gives up this often to check
LINGER = 1.0  # seconds for a client to read the last reply and close


def serve(
    listener: socket.socket, handle_client: Callable[..., str], stop: threading.Event | None = None
) -> None:
    """Call `handle_client(connection, address)` in a thread for each client until `stop` is set.

    `listener` is bound and listening; `handle_client` returns a summary for the log. On the way
    out, including after Ctrl-C, live connections are shut down, and all threads have ended.
    Only tests pass `stop`; Ctrl-C raises KeyboardInterrupt in accept().
    """
    connections: set[socket.socket] = set()

    def run_client(connection: socket.socket, address: Address) -> None:
        log.info("Connection from %s", address)
        try:
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # reply at once
                summary = handle_client(connection, address)
                hang_up(connection)
            log.info("Connection closed %s: %s", address, summary)
        except OSError as error:
            log.info("Connection lost %s: %s", address, error)
        except Exception:  # a bug costs one client; the pool swallows exceptions
            log.exception("Connection failed %s", address)
        connections.remove(connection)

    listener.settimeout(POLL)
    with ThreadPoolExecutor(MAX_CLIENTS) as pool:  # reuses threads; waits for them at the end
        try:
            while not (stop and stop.is_set()):
                try:
                    connection, address = listener.accept()
                    connections.add(connection)
                    pool.submit(run_client, connection, address)
                except TimeoutError:
                    pass
                except (OSError, RuntimeError) as error:  # out of file descriptors or threads
                    log.warning("Cannot accept a client: %s", error)
                    time.sleep(POLL)  # let some clients leave; do not spin
        finally:
            for connection in list(connections):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # wakes its thread


def hang_up(connection: socket.socket) -> None:
    """End `connection` so that the last reply arrives.

    Closing a socket that holds unread bytes resets the connection, and a reset can destroy a
    reply on its way. So send the end of the stream, and read until the client closes as well.
    """
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(LINGER)
        deadline = time.monotonic() + LINGER
        while connection.recv(65536) and time.monotonic() < deadline:
            pass


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--host", default=HOST, help="address to listen on (default: %(default)s)")
    option("--port", type=int, default=PORT, help="0 for a free one (default: %(default)s)")
    option(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help="disconnect a client that is idle this long; 0: never (default: %(default)g)",
    )
    option("--quiet", action="store_true", help="log errors only")
    option("--log", default=LOG, metavar="FILE", help="append to this file (default: %(default)s)")
    args = parser.parse_args(argv)
    if not (0 <= args.port <= 65535 and 0 <= args.timeout <= 1e6):
        parser.error("--port must be from 0 to 65535, --timeout from 0 to 1000000")
    logging.basicConfig(
        level=logging.ERROR if args.quiet else logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    try:
        file = open_for_append(args.log)
    except OSError as error:
        reason = f"cannot write {args.log}: {error.strerror}; choose another --log"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    host, family = args.host, socket.AF_INET
    if ":" in host:
        host, family = f"[{host}]", socket.AF_INET6
    try:
        listener = socket.create_server((args.host, args.port), family=family, backlog=MAX_CLIENTS)
    except (OSError, UnicodeError) as error:
        reason = f"cannot listen on {host}:{args.port}: {error}; choose another --host or --port"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    # Ctrl-C raises KeyboardInterrupt; make `kill`, or Ctrl-Break on Windows, do the same.
    signal.signal(getattr(signal, "SIGBREAK", signal.SIGTERM), signal.default_int_handler)
    with listener, file, suppress(KeyboardInterrupt):
        print(f"Server listening on {host}:{listener.getsockname()[1]}...", flush=True)
        serve(listener, partial(handle_client, file=file, timeout=args.timeout))
    log.info("Server stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
