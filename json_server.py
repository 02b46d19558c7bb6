"""JSON lookup server: looks up a key in a dictionary that the client sends along.

    C: {"data": {"name": "Ada", "born": 1815}, "key": "name"}
    S: {"found": true, "value": "Ada"}
    C: {"data": {}, "key": "name"}
    S: {"found": false}
    C: ["name"]
    S: {"error": "not an object"}

One JSON object per line (RFC 8259, UTF-8, up to 16 MiB, ended by LF or CRLF),
one reply per line. A value may be null; the last of two equal names counts.
NaN, Infinity and numbers that Python could not give back exactly are refused.

Try it:

    python3 json_server.py
    python3 json_client.py data.json name  # in another terminal

Left out: a memory. Each request brings its own dictionary.

Experiment:

    - {"found": True, "value": data[key]} if key in data
    + {"found": True, "value": data[key]} if data.get(key)
    `pytest -k "json_server and found"` fails: null, 0 and "" are values, too.
"""

import argparse
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Any

HOST, PORT = "localhost", 9005
TIMEOUT = 60.0  # seconds without a byte
MAX_LINE = 16 * 1024 * 1024  # bytes
MAX_DIGITS = 4300  # of an integer; to convert more takes too long, and Python refuses it
PIECE = 64 * 1024  # bytes to send at once

Address = tuple[Any, ...]  # (host, port), and two more values for IPv6

log = logging.getLogger(__name__)


def answer(line: bytes) -> str:
    """Return the reply to one request: JSON in ASCII, without control characters."""
    try:
        if len(line) > MAX_LINE:
            raise ValueError(f"line too long: at most {MAX_LINE} bytes")
        return json.dumps(look_up(parse(line.decode())))
    except UnicodeDecodeError:
        reason = "not UTF-8"
    except ValueError as error:
        reason = str(error)
    except RecursionError:
        reason = "nested too deeply"
    return json.dumps({"error": reason})


def look_up(request: Any) -> dict[str, Any]:
    """Return the value that `request` asks for. Raises ValueError if it is not a request."""
    if not isinstance(request, dict):
        raise ValueError("not an object")
    for name, kind, description in (("data", dict, "an object"), ("key", str, "a string")):
        if name not in request:
            raise ValueError(f'"{name}" is missing')
        if not isinstance(request[name], kind):
            raise ValueError(f'"{name}" is not {description}')
    data, key = request["data"], request["key"]
    return {"found": True, "value": data[key]} if key in data else {"found": False}


def parse(text: str) -> Any:
    """Return the value of a JSON text. Raises ValueError or RecursionError."""
    return json.loads(text, parse_int=parse_int, parse_float=parse_float, parse_constant=refuse)


def parse_int(text: str) -> int:
    """Return an integer. Raises ValueError."""
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"number too large: more than {MAX_DIGITS} digits")
    return int(text)


def parse_float(text: str) -> float:
    """Return a float. Raises ValueError if json.dumps() would write another number for it."""
    value = float(text)
    with suppress(ArithmeticError):  # the exponent is too much even for Decimal
        if repr(value) == text or Decimal(repr(value)) == Decimal(text):
            return value
    raise ValueError(f"number too large, too small or too long for a float: {text[:60]}")


def refuse(text: str) -> None:
    """Refuse NaN and Infinity. Raises ValueError."""
    raise ValueError(f"{text} is not JSON")


def handle_client(connection: socket.socket, address: Address, timeout: float) -> str:
    """Answer the requests of one client; return a summary for the log."""
    connection.settimeout(timeout or None)
    count = 0
    for line in read_lines(connection, b'{"error": "timeout"}\n'):
        reply = f"{answer(line)}\n".encode()
        for start in range(0, len(reply), PIECE):  # the timeout applies to each piece
            connection.sendall(reply[start : start + PIECE])
        count += 1
    return f"requests: {count}"


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


def read_lines(connection: socket.socket, timeout_reply: bytes) -> Iterator[bytes]:
    """Yield each line without its LF or CRLF, however it was cut into pieces on the way.

    The last line may lack its ending. A line longer than MAX_LINE is cut, but stays longer than
    MAX_LINE. An idle client gets `timeout_reply` before TimeoutError is raised. Raises OSError.
    """
    with connection.makefile("rb") as stream:
        try:
            while line := stream.readline(MAX_LINE + 2):
                rest = line
                while rest and not rest.endswith(b"\n"):  # too long: skip the rest
                    rest = stream.readline(MAX_LINE)
                yield line.removesuffix(b"\n").removesuffix(b"\r")
        except TimeoutError:
            connection.sendall(timeout_reply)
            raise


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
