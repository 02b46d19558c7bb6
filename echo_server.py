"""Echo server: sends every byte back unchanged (RFC 862), over TCP or UDP.

    C: Hello
    S: Hello
    C: STATS
    S: STATS messages=1 total=... clients=...
    C: TIME
    S: 20...T...
    C: HISTORY
    S: HISTORY 1
    S: Hello
    C: QUIT
    S: BYE

A message is a line (LF or CRLF), or what recv() returns without a line ending:
a client that sends just "Hello" and waits gets its echo at once. The four
commands are answered, not echoed and not counted. Any bytes, any length; more
than 4096 bytes in one piece are data, and not searched for lines and commands.
With --raw there are no commands at all. With --password PASSWORD a client must
first send "AUTH PASSWORD", and gets "OK".

Try it:

    python3 echo_server.py
    nc localhost 9000  # in another terminal

Left out: a command that arrives in two pieces ("ST", then "ATS") is not
recognized. Waiting for the rest of a line would make "Hello" wait, too.

Experiment:

    - while piece := connection.recv(PIECE):
    + while piece := connection.makefile("rb").readline():
    `pytest -k "echo_server and without_line_end"` fails: readline() waits for
    a line ending that never comes.
"""

import argparse
import hmac
import logging
import os
import signal
import socket
import sys
import threading
import time
import unicodedata
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from functools import partial
from io import BytesIO
from typing import Any

HOST, PORT = "localhost", 9000
TIMEOUT = 30.0  # seconds without a byte
PIECE = 64 * 1024  # bytes to ask for at once
MAX_TEXT = 4096  # bytes: a longer piece is not searched for lines and commands
MAX_SHOWN = 200  # characters of a message in the log and in HISTORY
MAX_KEPT = 4 * MAX_SHOWN  # bytes: a character of UTF-8 has up to 4
MAX_ATTEMPTS = 3  # wrong passwords
MAX_DATAGRAM = 65_535  # bytes
MIN_PORT = 1024  # a datagram from a lower port may be another echo service's: an endless loop

Address = tuple[Any, ...]  # (host, port), and two more values for IPv6

log = logging.getLogger(__name__)


class Totals:
    """What all clients did. If two threads run `+=` at once, one can be lost: hence the lock."""

    def __init__(self) -> None:
        self.clients = self.connected = self.messages = self.size = 0  # size in bytes
        self.lock = threading.Lock()


class Client:
    """What the server knows about one client. Only that client's thread uses it."""

    def __init__(self, options: Namespace) -> None:
        self.messages = self.size = self.attempts = 0  # size in bytes
        self.history: deque[bytes] = deque(maxlen=options.history)
        self.times: deque[float] = deque(maxlen=options.rate)  # when messages arrived
        self.authenticated = not options.password
        self.leaving = False


def handle_client(
    connection: socket.socket, address: Address, totals: Totals, options: Namespace
) -> str:
    """Echo what one client sends until it leaves; return a summary for the log."""
    connection.settimeout(options.timeout or None)
    start = time.monotonic()
    client = Client(options)
    with totals.lock:
        totals.clients += 1
        totals.connected += 1
    try:
        for message in read_messages(connection, options.raw):
            now = time.monotonic()
            connection.sendall(handle_message(message, client, totals, options, now))
            if client.leaving:
                break
    except OSError as error:  # not left to serve(), so that the counts are logged, too
        log.info("Connection lost %s: %s", address, error)
    finally:
        with totals.lock:
            totals.connected -= 1
    counts = format_counts(client.messages, client.size)
    return f"{counts}, {time.monotonic() - start:.1f} s"


def read_messages(connection: socket.socket, raw: bool) -> Iterator[bytes]:
    """Yield what arrives, as messages. Raises OSError.

    Where a piece of a TCP stream ends means nothing, as a rule. Here it has to: a message without
    a line ending ends where the piece does.
    """
    try:
        while piece := connection.recv(PIECE):
            if raw or len(piece) > MAX_TEXT:
                yield piece
            else:
                yield from BytesIO(piece)  # its lines; splitlines() would split at a lone CR, too
    except TimeoutError:
        if not raw:
            connection.sendall(b"ERROR timeout\n")


def handle_message(
    message: bytes, client: Client, totals: Totals, options: Namespace, now: float
) -> bytes:
    """Return the reply to a message that arrived at `now` (seconds): as a rule, the message."""
    line = message.removesuffix(b"\n").removesuffix(b"\r")
    if options.password and (not client.authenticated or is_auth(line)):
        return authenticate(line, client, options.password)
    text = format_message(line) if log.isEnabledFor(logging.INFO) else ""  # escaping takes time
    log.info("Received: %s", text)
    if not options.raw and (reply := run_command(line, client, totals)):
        return reply
    if options.rate:
        if len(client.times) == options.rate and now - client.times[0] < 1:
            return b"ERROR rate limit\n"
        client.times.append(now)
    client.messages += 1
    client.size += len(message)
    client.history.append(line[:MAX_KEPT])
    with totals.lock:
        totals.messages += 1
        totals.size += len(message)
    log.info("Echoed: %s", text)
    return message


def run_command(line: bytes, client: Client, totals: Totals) -> bytes:
    """Return the reply to a command; b"" if `line` is not one."""
    if line == b"QUIT":
        client.leaving = True
        return b"BYE\n"
    if line == b"STATS":
        counts = f"messages={client.messages} total={totals.messages} clients={totals.connected}"
        return f"STATS {counts}\n".encode()
    if line == b"TIME":
        return f"{datetime.now().astimezone().isoformat(timespec='seconds')}\n".encode()
    if line == b"HISTORY":
        lines = [f"HISTORY {len(client.history)}", *map(format_message, client.history), ""]
        return "\n".join(lines).encode()
    return b""


def is_auth(line: bytes) -> bool:
    """Tell whether `line` offers a password."""
    return line.split(b" ")[0] == b"AUTH"


def authenticate(line: bytes, client: Client, password: str) -> bytes:
    """Return the reply to AUTH, or to what comes before it. Neither is logged: it may be secret."""
    # Not ==, which takes longer the more of the password is right.
    if hmac.compare_digest(line, b"AUTH " + os.fsencode(password)):
        client.authenticated = True
        return b"OK\n"
    client.attempts += is_auth(line)
    client.leaving = client.attempts == MAX_ATTEMPTS
    return b"ERROR authentication required\n"


def format_message(line: bytes) -> str:
    """Return a line as the log and HISTORY show it: escaped, and cut."""
    return escape(line[:MAX_KEPT])[:MAX_SHOWN]


def format_counts(messages: int, size: int) -> str:
    """Return the numbers for the log: 1 message, 5 bytes."""
    return f"{messages} message{'s' * (messages != 1)}, {size} byte{'s' * (size != 1)}"


def echo_datagrams(listener: socket.socket, stop: list[int]) -> None:
    """Send each datagram back to where it came from until `stop` is filled."""
    datagrams = size = 0
    listener.settimeout(POLL)
    while not stop:
        try:
            data, address = listener.recvfrom(MAX_DATAGRAM)
            if address[1] >= MIN_PORT:
                listener.sendto(data, address)
                datagrams, size = datagrams + 1, size + len(data)
                log.info("Echoed %d bytes to %s", len(data), address)
        except TimeoutError:
            pass
        except OSError as error:  # of one datagram only: the next one may fare better
            log.info("Cannot echo: %s", error)
    log.info("Server stopped: %d datagrams, %d bytes", datagrams, size)


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


def escape(text: str | bytes) -> str:
    """Return `text` with backslash escapes for all that could control a terminal or forge a line.

    Not by str.isprintable(): it rejects spaces that Japanese and French use, and the joiners of
    Persian and of emoji.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return "".join(
        ascii(c)[1:-1]
        if unicodedata.category(c) in "Cc Cf Cs Cn Zl Zp" and c not in "\u200c\u200d"
        else c
        for c in text
    )


def pin_to_one_core() -> None:
    """Keep all threads on one core: up to 4 times as fast with 50 busy clients.

    The threads take turns at one lock (the GIL), and waking another core for a turn takes longer
    than the turn itself. A Python without the GIL uses all cores.
    """
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        with suppress(AttributeError, OSError):  # Linux only
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})


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
    option("--udp", action="store_true", help="echo datagrams instead, without commands")
    option("--raw", action="store_true", help="no commands: every piece is echoed")
    password = os.environ.get("ECHO_PASSWORD") or None
    option("--password", default=password, help="ask for AUTH PASSWORD first ($ECHO_PASSWORD)")
    option("--rate", type=int, metavar="N", help="messages per second (default: unlimited)")
    option("--history", type=int, default=10, metavar="N", help="messages kept (default: 10)")
    args = parser.parse_args(argv)
    if not (args.host and 0 <= args.port <= 65535 and 0 <= args.timeout <= 1e6):
        parser.error(
            "--host must not be empty; --port must be from 0 to 65535, --timeout from 0 to 1000000"
        )
    if not (args.rate is None or 1 <= args.rate <= 1e6) or not 0 <= args.history <= 1e6:
        parser.error("--rate must be from 1 to 1000000, --history from 0 to 1000000")
    if args.password is not None and len(args.password.splitlines()) != 1:
        parser.error("the password must be one line")
    if (args.raw or args.udp) and (args.password or args.rate):
        parser.error("--raw and --udp cannot be combined with a password or --rate")
    logging.basicConfig(
        level=logging.ERROR if args.quiet else logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    host, family = args.host, socket.AF_INET
    if ":" in host:
        host, family = f"[{host}]", socket.AF_INET6
    try:
        if args.udp:
            listener = socket.socket(family, socket.SOCK_DGRAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_DATAGRAM)  # 9216 on macOS
            listener.bind((args.host, args.port))
        else:
            address = (args.host, args.port)
            listener = socket.create_server(address, family=family, backlog=MAX_CLIENTS)
    except (OSError, UnicodeError) as error:
        host = escape(host)
        reason = f"cannot listen on {host}:{args.port}: {error}; choose another --host or --port"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    stop: list[int] = []  # not KeyboardInterrupt: a second Ctrl-C would raise it in the clean-up
    for number in (signal.SIGINT, getattr(signal, "SIGBREAK", signal.SIGTERM)):
        signal.signal(number, lambda number, _: stop.append(number))
    pin_to_one_core()
    totals = Totals()
    with listener:
        print(f"Server listening on {host}:{listener.getsockname()[1]}...", flush=True)
        if args.udp:
            echo_datagrams(listener, stop)
        else:
            serve(listener, partial(handle_client, totals=totals, options=args), stop)
    if not args.udp:
        clients = f"{totals.clients} client{'s' * (totals.clients != 1)}"
        log.info("Server stopped: %s, %s", clients, format_counts(totals.messages, totals.size))
    return 0


if __name__ == "__main__":
    sys.exit(main())
