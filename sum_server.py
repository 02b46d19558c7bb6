"""Sum server: adds up a list of numbers, exactly.

    C: 1|2|3|.
    S: 6

Each number is followed by "|". A "." where a number would begin ends the list;
the server answers with the sum and hangs up. Numbers are written like 12, -12
or 0.5 (not .5, since that would end the list) and have at most 4000 digits.
Anything else is answered like "ERROR not a number: 'x'". Whitespace around a
number is ignored. The list may be of any length: it is added up as it arrives.

Try it:

    python3 sum_server.py
    echo '1|2|3|.' | nc 127.0.0.1 1234  # in another terminal

Left out: exponents (1e3), fractions (1/3), digits other than 0 to 9.

Experiment:

    - while byte := stream.read(1):
    + for byte in re.findall(b"(?s).", stream.read1(1024)):
    `pytest -k "sum_server and pieces"` fails: one recv() is not one list.
"""

import argparse
import logging
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Context, Decimal
from functools import partial
from typing import Any, BinaryIO

HOST, PORT = "127.0.0.1", 1234
TIMEOUT = 60.0  # seconds without a byte
MAX_DIGITS = 4000
MAX_NUMBER = MAX_DIGITS + len("-. ")  # bytes
NUMBER = re.compile(rb"[-+]?[0-9]+(\.[0-9]+)?")
EXACT = Context(prec=3 * MAX_DIGITS)  # 4000 digits before the point, 4000 after it, and carries

Address = tuple[Any, ...]  # (host, port), and two more values for IPv6

log = logging.getLogger(__name__)


def read_numbers(stream: BinaryIO) -> Iterator[Decimal]:
    """Yield the numbers of the list.

    Raises ValueError if something is not a number or the end is missing; OSError.
    """
    text = bytearray()
    while byte := stream.read(1):  # from a buffer, into which recv() puts whatever has arrived
        if byte == b"." and not text:
            return
        if byte == b"|":
            yield parse_number(bytes(text))
            text.clear()
        elif not byte.isspace() or (text and not text[-1:].isspace()):  # of many spaces keep one
            text += byte
            if len(text) > MAX_NUMBER:
                parse_number(bytes(text))  # raises ValueError
    raise ValueError("the list has no end: the '.' is missing")


def parse_number(text: bytes) -> Decimal:
    """Return the value of a number. Raises ValueError."""
    text = text.strip()
    if not NUMBER.fullmatch(text) or len(re.sub(rb"\D", b"", text)) > MAX_DIGITS:
        raise ValueError(f"not a number: {text[:60].decode(errors='backslashreplace')!r}")
    return Decimal(text.decode())


def format_number(number: Decimal) -> str:
    """Return all digits of a number: 6, 3.5, -0.25."""
    return f"{number.normalize(EXACT):f}" if number else "0"  # normalize: no zeros at the end


def handle_client(connection: socket.socket, address: Address, timeout: float) -> str:
    """Answer one client with the sum of its list; return a summary for the log."""
    connection.settimeout(timeout or None)
    total, count = Decimal(0), 0
    try:
        with connection.makefile("rb") as stream:
            for number in read_numbers(stream):
                total = EXACT.add(total, number)
                count += 1
        reply = format_number(total)
    except ValueError as error:
        reply = f"ERROR {error}"
    except TimeoutError:
        reply = "ERROR timeout"
    connection.sendall(f"{reply}\n".encode())
    return f"numbers: {count}, reply: {reply[:60]}"


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
    with listener:
        print(f"Server listening on {host}:{listener.getsockname()[1]}...", flush=True)
        serve(listener, partial(handle_client, timeout=args.timeout), stop)
    log.info("Server stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
