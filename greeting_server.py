"""Greeting server: tells each client when and from where it connected.

    S: Time: ...
    S: Address: ...
    S: Port: ...

The server speaks first, reads nothing, and hangs up. UTF-8, lines end in LF;
the time is written as in an e-mail (RFC 5322). Each connection is also
appended to a file: time (ISO 8601), address and port, separated by tabs.

Try it:

    python3 greeting_server.py
    nc localhost 9006  # in another terminal

Left out: if the disk is full, a line of the file may be cut off.

Experiment:

    - file = open(args.log, "ab", buffering=0)
    + file = open(args.log, "ab")
    `pytest -k "greeting_server and at_once"` fails: the lines wait in a
    buffer, and are lost if the server is killed.
"""

import argparse
import logging
import signal
import socket
import sys
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
FILE = "connections.txt"

Address = tuple[Any, ...]  # (host, port), and two more values for IPv6

log = logging.getLogger(__name__)


def format_greeting(address: Address, now: datetime) -> str:
    """Return the greeting for a client at `address`; `now` has a UTC offset."""
    return f"Time: {format_datetime(now)}\nAddress: {address[0]}\nPort: {address[1]}\n"


def format_record(address: Address, now: datetime) -> str:
    """Return the line for the file."""
    return f"{now.isoformat(timespec='milliseconds')}\t{address[0]}\t{address[1]}\n"


def handle_client(
    connection: socket.socket, address: Address, file: BinaryIO, timeout: float
) -> str:
    """Greet one client and record it in `file`; return a summary for the log. Raises OSError."""
    connection.settimeout(timeout or None)
    now = datetime.now().astimezone()
    try:
        file.write(format_record(address, now).encode())  # in one piece: lines do not mix
    except OSError as error:  # a full disk is no reason to turn clients away
        log.error("Cannot record %s: %s", address, error)
    text = format_greeting(address, now)
    connection.sendall(text.encode())
    return text.replace("\n", ", ").removesuffix(", ")


# The rest is the same in every server: a thread for each client, and the command line.

MAX_CLIENTS = 5000  # at once; the next one waits until one leaves
POLL = 0.05  # seconds: accept() cannot notice `stop`, so it gives up this often to check
LINGER = 1.0  # seconds to wait for the client to close its side


def serve(listener: socket.socket, handle_client: Callable[..., str], stop: list[int]) -> None:
    """Call `handle_client(connection, address)` in a thread for each client until `stop` is filled.

    `listener` is bound and listening; `handle_client` returns a summary for the log. At the end
    the live connections are shut down, and all threads have ended.
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
        while not stop:
            try:
                connection, address = listener.accept()
                connections.add(connection)
                pool.submit(run_client, connection, address)
            except TimeoutError:
                pass
            except (OSError, RuntimeError) as error:  # out of file descriptors or threads
                log.warning("Cannot accept a client: %s", error)
                time.sleep(POLL)  # let some clients leave; do not spin
        for connection in list(connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes its thread
                if sys.platform == "win32":  # only closing it does, there
                    socket.close(connection.detach())


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
    option("--log", default=FILE, metavar="FILE", help="append to this file (default: %(default)s)")
    args = parser.parse_args(argv)
    if not (args.host and 0 <= args.port <= 65535 and 0 <= args.timeout <= 1e6):
        parser.error(
            "--host must not be empty; --port must be from 0 to 65535, --timeout from 0 to 1000000"
        )
    logging.basicConfig(
        level=logging.ERROR if args.quiet else logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    try:
        file = open(args.log, "ab", buffering=0)  # each write goes to the file at once
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
    stop: list[int] = []  # not KeyboardInterrupt: a second Ctrl-C would raise it in the clean-up
    for number in (signal.SIGINT, getattr(signal, "SIGBREAK", signal.SIGTERM)):
        signal.signal(number, lambda number, _: stop.append(number))
    with listener, file:
        print(f"Server listening on {host}:{listener.getsockname()[1]}...", flush=True)
        serve(listener, partial(handle_client, file=file, timeout=args.timeout), stop)
    log.info("Server stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
