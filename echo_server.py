"""Echo server: sends every byte back unchanged, over TCP or UDP (RFC 862), and answers a few commands.

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

A message is a line (LF or CRLF), or what arrived without a line end in one piece: a client that sends just b"Hello"
and waits gets its echo at once. So b"ST" and then b"ATS\\n" are two messages, and no command. Commands are answered,
not echoed and not counted. Any bytes, any length. With --raw there are no commands, and every piece is a message.
With --password PASSWORD a client says "AUTH PASSWORD" first, answered by "OK".

Try it:

    python3 echo_server.py
    nc localhost 9000
"""

import argparse
import hmac
import logging
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from io import BytesIO
from queue import SimpleQueue
from typing import Any

HOST, PORT = "localhost", 9000
TIMEOUT = 30.0  # seconds without a byte
COMMANDS = {word + end for word in (b"QUIT", b"STATS", b"TIME", b"HISTORY") for end in (b"", b"\n", b"\r", b"\r\n")}
LONGEST_COMMAND = max(map(len, COMMANDS))
MAX_SHOWN = 200  # characters of a message in the log and in HISTORY
MAX_KEPT = 4 * MAX_SHOWN  # bytes of a message kept for them: a character of UTF-8 has at most 4
MAX_ATTEMPTS = 3  # wrong passwords
DONT_WAIT = getattr(socket, "MSG_DONTWAIT", 0)  # not on Windows
MAX_PIECE = 256 * 1024  # bytes
FIRST_PIECE = 512 if DONT_WAIT else MAX_PIECE  # bytes to ask for until more come: what an idle client costs
MAX_DATAGRAM = 65_535  # bytes
UDP_BUFFER = 4 * 1024 * 1024  # bytes that may wait while it is busy
LOWEST_PORT = 1024  # datagrams from below may come from another echo service: a loop without end (CVE-2024-2169)
STACK = 256 * 1024  # bytes a thread
BACKLOG = 4096  # clients that may queue until they are accepted
SPARE = 64  # threads that may wait for the next client
POLL = 0.05  # seconds between two looks at the stop event
LINGER = 1.0  # seconds a client has to take the last reply

Address = tuple[Any, ...]

log = logging.getLogger(__name__)


class Client:
    """One client's account under the rules of the command line. Only its own thread writes here: no lock."""

    def __init__(self, rules: argparse.Namespace) -> None:
        self.rules = rules
        self.messages = self.size = self.attempts = 0
        self.recent: deque[bytes] = deque(maxlen=rules.history)
        if rules.rate:
            self.times: deque[float] = deque(maxlen=rules.rate)
        self.authenticated = not rules.password
        self.leaving = False
        self.special = bool(rules.password or rules.rate or log.isEnabledFor(logging.INFO))  # each message on its own

    def count(self, message: bytes) -> None:
        """Add one message."""
        self.messages += 1
        self.size += len(message)
        self.recent.append(message[:MAX_KEPT])

    def answer(self, piece: bytes, now: float, crowd: "Crowd") -> Iterable[bytes]:
        """Return the replies to what came in one piece at `now` (seconds); each is made when asked for."""
        one = self.rules.raw or piece.find(b"\n", 0, -1) < 0
        if one and len(piece) > LONGEST_COMMAND and not self.special:  # the usual case, and the fastest
            self.count(piece)
            return (piece,)
        messages = [piece] if one else BytesIO(piece).readlines()
        short = [message for message in messages if len(message) <= LONGEST_COMMAND]
        if self.special or (short and not self.rules.raw and COMMANDS.intersection(short)):
            return (self.reply(message, now, crowd) for message in messages if not self.leaving)
        self.messages += len(messages)
        self.size += len(piece)
        self.recent.extend([message[:MAX_KEPT] for message in messages[-self.rules.history :]])
        return (piece,)

    def reply(self, message: bytes, now: float, crowd: "Crowd") -> bytes:
        """Return the reply to one message: itself, as a rule."""
        rules, line = self.rules, without_end(message)
        if not self.authenticated or (rules.password and is_auth(line)):
            return self.authenticate(line)
        log.info("Received: %s", shown(message))
        if message in COMMANDS and not rules.raw:
            return self.obey(line, crowd)
        if rules.rate:
            if len(self.times) == rules.rate and now - self.times[0] < 1:
                return b"ERROR rate limit\n"
            self.times.append(now)
        self.count(message)
        log.info("Echoed: %s", shown(message))
        return message

    def authenticate(self, line: bytes) -> bytes:
        """Return the reply to what offers the password, or comes before it. Neither is logged: it may be a secret."""
        if hmac.compare_digest(line, b"AUTH " + self.rules.password):
            self.authenticated = True
            return b"OK\n"
        self.attempts += is_auth(line)
        self.leaving = self.attempts == MAX_ATTEMPTS
        return b"ERROR authentication required\n"

    def obey(self, command: bytes, crowd: "Crowd") -> bytes:
        """Return the reply to one of COMMANDS."""
        if command == b"QUIT":
            self.leaving = True
            return b"BYE\n"
        if command == b"STATS":
            return f"STATS messages={self.messages} {crowd.stats()}\n".encode()
        if command == b"TIME":
            return f"{datetime.now().astimezone().isoformat(timespec='seconds')}\n".encode()
        return "\n".join([f"HISTORY {len(self.recent)}", *map(shown, self.recent), ""]).encode()


class Crowd:
    """All clients: those who are here, and the sums of those who left."""

    def __init__(self) -> None:
        self.here: set[Client] = set()
        self.clients = self.messages = self.size = 0
        self.lock = threading.Lock()

    @contextmanager
    def seat(self, client: Client) -> Iterator[bool]:
        """Count `client` in and out; the value tells whether there is room for it."""
        with self.lock:
            self.here.add(client)
            room = len(self.here) <= client.rules.max_clients
        try:
            yield room
        finally:
            with self.lock:
                self.here.remove(client)
                self.clients += 1
                self.messages += client.messages
                self.size += client.size

    def stats(self) -> str:
        """Return the number of all messages, and of the clients here now."""
        with self.lock:
            total = self.messages + sum(client.messages for client in self.here)
            return f"total={total} clients={len(self.here)}"


def without_end(message: bytes) -> bytes:
    """Return `message` without its line end."""
    return message.removesuffix(b"\n").removesuffix(b"\r")


def is_auth(line: bytes) -> bool:
    """Tell whether `line` offers a password."""
    return line.split(b" ")[0] == b"AUTH"


def shown(message: bytes) -> str:
    """Return `message` as the log shows it: escaped, on one line, cut."""
    return escape(without_end(message[:MAX_KEPT]))[:MAX_SHOWN]


def escape(text: str | bytes) -> str:
    """Return `text` with backslash escapes for all that could steer a terminal or forge a line."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def receive(connection: socket.socket, size: int, farewell: bytes) -> bytes:
    """Return the next bytes, `size` at most; b"" at the end. Raises TimeoutError, after a `farewell`; OSError."""
    try:
        return connection.recv(size)
    except (BlockingIOError, TimeoutError):
        connection.sendall(farewell)
        raise TimeoutError("silent for too long") from None


def converse(connection: socket.socket, address: Address, rules: argparse.Namespace, crowd: Crowd) -> str:
    """Echo what one client sends until it leaves; return a summary."""
    start = time.monotonic()
    tune(connection, rules.timeout)
    client = Client(rules)
    size = FIRST_PIECE
    farewell = b"" if rules.raw else b"ERROR timeout\n"
    try:
        with crowd.seat(client) as room:
            if not room:
                connection.sendall(b"ERROR server busy\n")
            while room and not client.leaving and (piece := receive(connection, size, farewell)):
                if len(piece) == size < MAX_PIECE:
                    size = MAX_PIECE
                    with suppress(BlockingIOError):
                        piece += connection.recv(MAX_PIECE, DONT_WAIT)
                for reply in client.answer(piece, time.monotonic(), crowd):
                    connection.sendall(reply)
    except OSError as error:
        log.info("Connection lost %s: %s", address[:2], error)
    return f"{client.messages} messages, {client.size} bytes, {time.monotonic() - start:.1f} s"


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


def echo_datagrams(listener: socket.socket, stop: threading.Event) -> None:
    """Send each datagram back to where it came from, until `stop` is set."""
    buffer = bytearray(MAX_DATAGRAM)
    datagrams = total = 0
    listener.settimeout(POLL)
    with suppress(OSError):  # some refuse that much
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_BUFFER)
    while not stop.is_set():
        try:
            size, address = listener.recvfrom_into(buffer)
            if address[1] >= LOWEST_PORT:
                listener.sendto(memoryview(buffer)[:size], address)
                datagrams, total = datagrams + 1, total + size
                log.info("Echoed %d bytes to %s", size, address[:2])
        except TimeoutError:
            continue
        except OSError as error:  # the trouble of one datagram
            log.info("Cannot echo: %s", error)
    log.info("Server stopped: %d datagrams, %d bytes", datagrams, total)


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


def tune(connection: socket.socket, timeout: float) -> None:
    """Send replies at once, and let no wait last longer than `timeout` seconds (0: for ever): then BlockingIOError.

    settimeout() would do, but costs a poll() before each recv() and send().
    """
    milliseconds = int(timeout * 1000 + 0.999)
    timeval = struct.pack("ll", milliseconds // 1000, milliseconds % 1000 * 1000)
    value = struct.pack("L", milliseconds) if sys.platform == "win32" else timeval
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def stay_on_one_core() -> None:
    """Make many busy threads two to three times as fast: they take turns at one lock, and so need not wake a core."""
    with suppress(AttributeError, OSError):  # Linux only
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})


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
    parser.add_argument("--udp", action="store_true", help="echo datagrams instead, without commands")
    parser.add_argument("--raw", action="store_true", help="no commands: all that comes is echoed")
    parser.add_argument("--password", help="ask for AUTH PASSWORD first (default: the variable ECHO_PASSWORD)")
    parser.add_argument(
        "--rate", type=between(1, 1e6), default=0, metavar="N", help="messages a client may send a second"
    )
    parser.add_argument("--history", type=between(0, 1e6), default=10, metavar="N", help="messages that HISTORY tells")
    parser.add_argument("--max-clients", type=between(1, 1e6), default=1000, metavar="N", help="clients at once")
    rules = parser.parse_args(argv)
    text = os.environ.get("ECHO_PASSWORD") or None if rules.password is None else rules.password
    rules.password = os.fsencode(text or "")
    if text is not None and rules.password.splitlines() != [rules.password]:
        parser.error("the password must be one line, without a line end")
    if (rules.raw or rules.udp) and (rules.password or rules.rate):
        parser.error("--raw and --udp go without --password (or ECHO_PASSWORD) and --rate")
    if rules.udp:
        return run(rules, echo_datagrams, bind)
    crowd = Crowd()
    threading.stack_size(STACK)
    stay_on_one_core()
    attend = partial(serve, converse=lambda connection, address: converse(connection, address, rules, crowd))
    status = run(rules, attend, partial(socket.create_server, backlog=BACKLOG))
    if not status:
        log.info("Server stopped: %d clients, %d messages, %d bytes", crowd.clients, crowd.messages, crowd.size)
    return status


if __name__ == "__main__":
    sys.exit(main())
