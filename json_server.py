"""JSON lookup server: looks up a key in a dictionary that the client sends along.

    C: {"data": {"name": "Ada", "born": 1815}, "key": "name"}
    S: {"found": true, "value": "Ada"}
    C: {"data": {}, "key": "name"}
    S: {"found": false}
    C: ["name"]
    S: {"error": "not an object"}

One JSON object a line (RFC 8259, UTF-8, at most 16 MiB, ended by LF or CRLF), one answer a line. A value may be
null; of a repeated name the last one counts. NaN, Infinity and numbers too large to be exact are refused.

Try it:

    python3 json_server.py
    nc localhost 9005
"""

import argparse
import json
import logging
import os
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

HOST, PORT = "localhost", 9005
TIMEOUT = 60.0  # seconds without a byte
MAX_LINE = 16 * 1024 * 1024  # bytes
MAX_DIGITS = 4300  # of an integer; Python's own limit, where it has one
CHUNK = 64 * 1024  # bytes to ask for
BACKLOG = 4096  # clients that may queue until they are accepted
SPARE = 64  # threads that may wait for the next client
POLL = 0.05  # seconds between two looks at the stop event
LINGER = 1.0  # seconds a client has to take the last reply

Address = tuple[Any, ...]

log = logging.getLogger(__name__)


def answer(line: bytes) -> dict[str, Any]:
    """Return the reply to one request."""
    if len(line) > MAX_LINE:
        return {"error": f"line too long: at most {MAX_LINE} bytes"}
    try:
        return look_up(parse(line.decode()))
    except UnicodeDecodeError:
        return {"error": "not UTF-8"}
    except ValueError as error:
        return {"error": str(error)}
    except (RecursionError, MemoryError):
        return {"error": "nested too deeply"}


def look_up(request: Any) -> dict[str, Any]:
    """Return the value that `request` asks for. Raises ValueError if it is not a request."""
    if not isinstance(request, dict):
        raise ValueError("not an object")
    for name, kind, words in (("data", dict, "an object"), ("key", str, "a string")):
        if name not in request:
            raise ValueError(f'"{name}" is missing')
        if not isinstance(request[name], kind):
            raise ValueError(f'"{name}" is not {words}')
    data, key = request["data"], request["key"]
    return {"found": True, "value": data[key]} if key in data else {"found": False}


def parse(text: str) -> Any:
    """Return what a JSON text means. Raises ValueError, RecursionError or MemoryError."""
    return json.loads(text, parse_int=whole, parse_float=broken, parse_constant=constant)


def whole(text: str) -> int:
    """Return an integer. Raises ValueError if it has too many digits, whose conversion would take too long."""
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"number too large: more than {MAX_DIGITS} digits")
    return int(text)


def broken(text: str) -> float:
    """Return a float. Raises ValueError if it would become infinite."""
    if abs(value := float(text)) == float("inf"):
        raise ValueError(f"number too large: {text[:60]}")
    return value


def constant(text: str) -> None:
    """Refuse NaN and Infinity. Raises ValueError."""
    raise ValueError(f"{text} is not JSON")


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


def converse(connection: socket.socket, address: Address, timeout: float) -> str:
    """Answer the requests of one client; return a summary."""
    connection.settimeout(timeout or None)
    count = 0
    for line in lines(connection, encoded({"error": "timeout"})):
        reply = encoded(answer(line))
        for start in range(0, len(reply), CHUNK):  # the time limit is for each piece
            connection.sendall(reply[start : start + CHUNK])
        count += 1
    return f"{count} requests"


def encoded(reply: dict[str, Any]) -> bytes:
    """Return a reply as it goes over the wire: in ASCII, with no control character."""
    return json.dumps(reply).encode() + b"\n"


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
