"""Echo client: sends messages, and checks that each comes back unchanged.

A message is sent as it is, without a line ending; with --udp as one datagram.
--file sends a whole file and checks every byte; if a line of it may read QUIT,
start the server with --raw. --ping measures round trips. -i sends the lines
that you type and prints the answers: try STATS, TIME, HISTORY, QUIT.

Try it:

    python3 echo_server.py
    python3 echo_client.py Hello World  # in another terminal

Experiment:

    - while len(echo) < len(message) and message.startswith(echo):
    + for _ in range(1):
    `pytest -k "echo_client and in_pieces"` fails: one send() may come back in
    several pieces.
"""

import argparse
import hashlib
import os
import socket
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice

HOST, PORT = "localhost", 9000
TIMEOUT = 10.0  # seconds without an answer
MESSAGES = ["Hello", "Advanced", "Python"]
PING_SIZE = 64  # bytes
PIECE = 64 * 1024  # bytes of a file at once
MAX_DATAGRAM = 65_535  # bytes
MAX_LINE = 64 * 1024  # bytes of a line with -i


def talk(connection: socket.socket, args: argparse.Namespace) -> None:
    """Do what the command line asks for. Raises OSError, also if an echo is missing or wrong."""
    print("Connected to server", flush=True)
    if args.interactive:
        interact(connection)
    elif args.ping:
        times = []
        for number in range(1, args.ping + 1):
            message = b"%*d" % (PING_SIZE, number)
            start = time.perf_counter()
            exchange(connection, message)
            times.append((time.perf_counter() - start) * 1000)
            ping = f"{PING_SIZE} bytes from {args.host}:{args.port}: seq={number}"
            print_line(f"{ping} time={times[-1]:.3f} ms")
        average = sum(times) / len(times)
        summary = f"{min(times):.3f}/{average:.3f}/{max(times):.3f} ms"
        print(f"{len(times)} round trips, min/avg/max = {summary}")
    elif args.file is not None:
        size = exchange_file(connection, args.file)
        print_line(f"Sent: {args.file}")
        print(f"Received: the same {size} bytes")
    else:
        for message in map(os.fsencode, args.messages or MESSAGES):
            print_line(b"Sent: " + message)
            exchange(connection, message)
            print_line(b"Received: " + message)


def exchange(connection: socket.socket, message: bytes) -> None:
    """Send `message` and wait for its echo. Raises OSError."""
    connection.sendall(message)
    if connection.type == socket.SOCK_DGRAM:
        echo = connection.recv(MAX_DATAGRAM)
    else:
        echo = b""
        while len(echo) < len(message) and message.startswith(echo):
            piece = connection.recv(MAX_DATAGRAM)
            if not piece:
                missing = f"{len(echo)} of {len(message)} bytes came back, then the end"
                raise ConnectionError(f"missing echo: {missing}")
            echo += piece
    if echo != message:
        raise ConnectionError(f"wrong echo: sent {message[:80]!r}, received {echo[:80]!r}")


def exchange_file(connection: socket.socket, path: str) -> int:
    """Send the file `path` and check what comes back meanwhile; return its size. Raises OSError.

    If it sent everything before it reads, both sides would wait for the other to read.
    """
    sent, received = hashlib.sha256(), hashlib.sha256()
    size = 0

    def send() -> int:
        total = 0
        try:
            while piece := file.read(PIECE):
                sent.update(piece)
                connection.sendall(piece)
                total += len(piece)
        finally:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        return total

    with open(path, "rb") as file, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        try:
            pieces = iter(lambda: connection.recv(PIECE), b"")
            for piece in progress(pieces, os.fstat(file.fileno()).st_size):
                received.update(piece)
                size += len(piece)
        finally:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes send(), if it still waits
        try:
            total = sending.result()
        except (ConnectionError, TimeoutError) as error:
            message = f"missing echo: {size} bytes came back, then the end"
            raise ConnectionError(message) from error
        except OSError as error:
            error.filename = path
            raise
    if size < total:
        raise ConnectionError(f"missing echo: {size} of {total} bytes came back, then the end")
    if received.digest() != sent.digest():
        raise ConnectionError(f"wrong echo: {total} bytes sent, {size} received, and not the same")
    return size


def interact(connection: socket.socket) -> None:
    """Send the lines of stdin and print the answers. Raises OSError."""
    if connection.type == socket.SOCK_DGRAM:
        for line in input_lines():
            exchange(connection, line)
            print_line(line)
        return
    with connection.makefile("rb") as stream:
        for line in input_lines():
            if len(line) > MAX_LINE:  # more than the sockets hold: see exchange_file()
                raise ConnectionError("line too long: send it with --file")
            connection.sendall(line + b"\n")
            reply = stream.readline(MAX_LINE + 2)
            if not reply:
                raise ConnectionError("missing echo: the server hung up")
            print_line(reply.rstrip(b"\r\n"))
            if line == b"QUIT" and reply == b"BYE\n":
                return
            count = reply.removeprefix(b"HISTORY ").strip()
            if line == b"HISTORY" and count.isdigit():
                for message in islice(stream, int(count)):
                    print_line(message.rstrip(b"\r\n"))


# The rest is the same in every client: output, errors, and the command line.


def input_lines() -> Iterator[bytes]:
    """Yield the lines of stdin without their endings; on a terminal, with a prompt."""
    if not sys.stdin:  # closed, by `<&-` for example
        return
    if not sys.stdin.isatty():
        yield from (line.rstrip(b"\r\n") for line in sys.stdin.buffer)
        return
    with suppress(ImportError):  # on Windows the terminal itself edits lines
        import readline  # noqa: F401
    with suppress(EOFError):
        while True:
            yield os.fsencode(input("> "))
    print()


def progress(pieces: Iterable[bytes], total: int) -> Iterator[bytes]:
    """Yield `pieces`, `total` bytes in all; on a terminal, draw a progress bar on stderr."""
    start = drawn = time.monotonic()
    done = 0
    for piece in pieces:
        yield piece
        done += len(piece)
        now = time.monotonic()
        if sys.stderr.isatty() and now - drawn >= 0.1:  # seconds: more often would flicker
            drawn = now
            share, rate = done / max(total, done), done / (now - start) / 1e6
            bar = f"[{'#' * round(40 * share):40}] {share:4.0%} {rate:7.1f} MB/s"
            print(f"\r{bar}", end="", file=sys.stderr, flush=True)
    if drawn != start:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def print_line(line: str | bytes) -> None:
    """Print a line at once, with escapes for what stdout cannot show."""
    encoding = sys.stdout.encoding
    print(escape(line).encode(encoding, "backslashreplace").decode(encoding), flush=True)


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


def describe_error(error: Exception) -> str:
    """Return what went wrong with a connection, and what to do about it."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; start the server, or check host and port"
    if isinstance(error, TimeoutError):
        return "no answer in time; try a longer --timeout"
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "unknown host; check its name"
    return getattr(error, "strerror", None) or str(error)


def interrupted() -> int:
    """Return the exit status for Ctrl-C; on a terminal, end the line that shows "^C"."""
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return 130


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--host", default=HOST, help="name or address of the server (default: %(default)s)")
    option("--port", type=int, default=PORT, help="port of the server (default: %(default)s)")
    option(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help="longest wait for the server; 0: no limit (default: %(default)g)",
    )
    option("--udp", action="store_true", help="send datagrams")
    job = parser.add_mutually_exclusive_group().add_argument
    job("--file", metavar="PATH", help="send a file and check every byte; see --raw of the server")
    job("--ping", type=int, metavar="N", help="measure N round trips")
    job("-i", "--interactive", action="store_true", help="send the lines of stdin")
    job("messages", nargs="*", default=[], metavar="MESSAGE", help=f"default: {' '.join(MESSAGES)}")
    args = parser.parse_args(argv)
    if not (1 <= args.port <= 65535 and 0 <= args.timeout <= 1e6):
        parser.error("--port must be from 1 to 65535, --timeout from 0 to 1000000")
    if args.ping is not None and args.ping < 1:
        parser.error("--ping must be at least 1")
    if args.udp and args.file is not None:
        parser.error("--file needs TCP, which loses nothing")
    try:
        if args.udp:
            family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
            connection = socket.socket(family, socket.SOCK_DGRAM)
            connection.settimeout(args.timeout or None)
            connection.connect((args.host, args.port))
        else:
            address = (args.host, args.port)
            connection = socket.create_connection(address, args.timeout or None)
        with connection:
            talk(connection, args)
    except KeyboardInterrupt:
        return interrupted()
    except (OSError, UnicodeError) as error:
        host = f"[{args.host}]" if ":" in args.host else args.host
        where = escape(getattr(error, "filename", None) or f"{host}:{args.port}")
        parser.exit(1, f"{parser.prog}: error: {where}: {describe_error(error)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
