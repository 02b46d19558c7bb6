"""Echo client: sends messages to an echo server and checks that each comes back unchanged (RFC 862).

A message goes out as it is, without a line end; with --udp as one datagram. --file sends a whole file and checks every
byte (one that may hold a line such as QUIT needs a server with --raw). --ping measures round trips. -i sends the lines
that you type and shows the answers, so that it can also ask for STATS, TIME, HISTORY and QUIT.

Try it:

    python3 echo_server.py
    python3 echo_client.py Hello World
"""

import argparse
import hashlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import islice

HOST, PORT = "localhost", 9000
TIMEOUT = 10.0  # seconds without an answer
MESSAGES = ["Hello", "Advanced", "Python"]
PING_SIZE = 64  # bytes
CHUNK = 64 * 1024  # bytes of a file at a time
MAX_DATAGRAM = 65_535  # bytes
MAX_LINE = 64 * 1024  # bytes of an answer to a line typed
BAR = 0.1  # seconds between two pictures of the progress bar


class EchoError(OSError):
    """What came back is not what was sent."""


def exchange(connection: socket.socket, message: bytes) -> None:
    """Send `message` and wait for its echo. Raises EchoError if another one comes, or none; OSError."""
    connection.sendall(message)
    if connection.type == socket.SOCK_DGRAM:
        echo = connection.recv(MAX_DATAGRAM)
    else:
        echo = b""
        while len(echo) < len(message) and message.startswith(echo):
            piece = connection.recv(MAX_DATAGRAM)
            if not piece:
                raise EchoError(f"missing echo: {len(echo)} of {len(message)} bytes came back, then the end")
            echo += piece
    if echo != message:
        raise EchoError(f"wrong echo: sent {message[:80]!r}, received {echo[:80]!r}")


def ping(connection: socket.socket, count: int) -> Iterator[float]:
    """Yield the times of `count` round trips, in milliseconds. Raises like exchange()."""
    for number in range(1, count + 1):
        message = b"%*d" % (PING_SIZE, number)
        start = time.perf_counter()
        exchange(connection, message)
        yield (time.perf_counter() - start) * 1000


def exchange_file(connection: socket.socket, path: str) -> int:
    """Send the file `path` and check what comes back meanwhile; return its size in bytes. Raises like exchange()."""
    sent, received = hashlib.sha256(), hashlib.sha256()
    size = 0

    def send() -> int:
        total = 0
        try:
            while piece := file.read(CHUNK):
                sent.update(piece)
                connection.sendall(piece)
                total += len(piece)
        finally:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        return total

    with open(path, "rb") as file, ThreadPoolExecutor(1) as executor:
        sending = executor.submit(send)
        try:
            pieces = iter(lambda: connection.recv(CHUNK), b"")
            for piece in progress(pieces, os.fstat(file.fileno()).st_size):
                received.update(piece)
                size += len(piece)
        finally:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes send(), should it still wait for room
        try:
            total = sending.result()
        except (ConnectionError, TimeoutError) as error:
            raise EchoError(f"missing echo: {size} bytes came back, then the end") from error
        except OSError as error:
            error.filename = path
            raise
    if size < total:
        raise EchoError(f"missing echo: {size} of {total} bytes came back, then the end")
    if received.digest() != sent.digest():
        raise EchoError(f"wrong echo: {total} bytes sent, {size} bytes received, and not the same")
    return size


def interact(connection: socket.socket) -> None:
    """Send the lines of stdin, and show the answers. Raises EchoError when the server hangs up before QUIT; OSError."""
    if connection.type == socket.SOCK_DGRAM:
        for line in typed_lines():
            exchange(connection, line)
            show(line)
        return
    with connection.makefile("rb") as answers:
        for line in typed_lines():
            if len(line) > MAX_LINE:  # more than the sockets hold would have to be read while it is sent
                raise EchoError("line too long: send it with --file")
            connection.sendall(line + b"\n")
            answer = answers.readline(MAX_LINE + 2)
            if not answer:
                raise EchoError("missing echo: the server hung up")
            show(answer.rstrip(b"\r\n"))
            if line == b"QUIT" and answer == b"BYE\n":
                return
            if line == b"HISTORY" and (count := answer.removeprefix(b"HISTORY ").strip()).isdigit():
                for message in islice(answers, int(count)):
                    show(message.rstrip(b"\r\n"))


def typed_lines() -> Iterator[bytes]:
    """Yield the lines of stdin without their ends; on a terminal with a prompt and line editing."""
    if not sys.stdin:
        return
    if not sys.stdin.isatty():
        yield from (line.rstrip(b"\r\n") for line in sys.stdin.buffer)
        return
    with suppress(ImportError):
        import readline  # noqa: F401
    with suppress(EOFError):
        while True:
            yield os.fsencode(input("> "))
    print()


def progress(pieces: Iterable[bytes], total: int) -> Iterator[bytes]:
    """Pass `pieces` on, of `total` bytes, and meanwhile draw a bar on stderr if it is a terminal."""
    start = drawn = time.monotonic()
    done = 0
    try:
        for piece in pieces:
            yield piece
            done += len(piece)
            now = time.monotonic()
            if sys.stderr and sys.stderr.isatty() and now - drawn >= BAR:
                drawn = now
                share, rate = done / max(total, done), done / (now - start)
                left = (max(total, done) - done) / rate
                line = f"[{'#' * round(40 * share):40}] {share:4.0%} {rate / 1e6:7.1f} MB/s {left:5.0f} s left"
                print(f"\r{line}", end="", file=sys.stderr, flush=True)
    finally:
        if drawn != start:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def show(line: str | bytes) -> None:
    """Print a line at once, with escapes for what the terminal cannot show; end here if nobody reads on (`| head`)."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        print(escape(line).encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        sys.exit(0)


def escape(text: str | bytes) -> str:
    """Return `text` with backslash escapes for all that could steer a terminal or forge a line."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def explain(error: Exception) -> str:
    """Return in words what went wrong, and what to do about it."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; start the server, or check address and port"
    if isinstance(error, TimeoutError):
        return "no answer in time; try a longer --timeout"
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "unknown host; check its name"
    return getattr(error, "strerror", None) or str(error)


def between(low: float, high: float, kind: Callable[[str], float] = int) -> Callable[[str], float]:
    """Return an argparse type that takes a number from `low` to `high`."""

    def number(text: str) -> float:
        if low <= (value := kind(text)) <= high:
            return value
        raise argparse.ArgumentTypeError(f"{text} is not from {low:.0f} to {high:.0f}")

    return number


def client_parser() -> argparse.ArgumentParser:
    """Return a parser of the options that all clients have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=HOST, help="the server's name or address (default: %(default)s)")
    parser.add_argument("--port", type=between(1, 65535), default=PORT, help="the server's port (default: %(default)s)")
    patience = "seconds to wait for an answer, 0: for ever (default: %(default)g)"
    parser.add_argument("--timeout", type=between(0, 1e6, float), default=TIMEOUT, metavar="SECONDS", help=patience)
    return parser


def connect_udp(address: tuple[str, int], timeout: float | None) -> socket.socket:
    """Return a UDP socket that talks to `address` alone, over IPv4 where there is a choice. Raises OSError."""
    family, _, _, _, peer = min(socket.getaddrinfo(*address, type=socket.SOCK_DGRAM))
    connection = socket.socket(family, socket.SOCK_DGRAM)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_DATAGRAM)  # macOS would send 9216 bytes at most
    connection.settimeout(timeout)
    connection.connect(peer)
    return connection


def call(args: argparse.Namespace, talk: Callable[..., int], connect: Callable[..., socket.socket]) -> int:
    """Connect and `talk(connection)`; return its exit status, 1 if something failed, told in a line, 130 for Ctrl-C."""
    try:
        with connect((args.host, args.port), args.timeout or None) as connection:
            return talk(connection)
    except KeyboardInterrupt:
        return 130
    except (OSError, UnicodeError) as error:
        host = f"[{args.host}]" if ":" in args.host else args.host
        return fail(f"{getattr(error, 'filename', None) or f'{host}:{args.port}'}: {explain(error)}")


def fail(reason: str) -> int:
    """Say on stderr, in one line, why the job failed; return the exit status."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in reason)
    if sys.stderr:
        print(f"{os.path.basename(sys.argv[0])}: error: {line}", file=sys.stderr)
    return 1


def talk(connection: socket.socket, args: argparse.Namespace) -> int:
    """Do with `connection` what the command line asks for; return the exit status."""
    show("Connected to server")
    host = f"[{args.host}]" if ":" in args.host else args.host
    if args.file is not None:
        size = exchange_file(connection, args.file)
        show(f"Sent: {args.file}")
        show(f"Received: the same {size} bytes")
    elif args.ping:
        times = []
        for milliseconds in ping(connection, args.ping):
            times.append(milliseconds)
            show(f"{PING_SIZE} bytes from {host}:{args.port}: seq={len(times)} time={milliseconds:.3f} ms")
        average = sum(times) / len(times)
        show(f"{len(times)} round trips, min/avg/max = {min(times):.3f}/{average:.3f}/{max(times):.3f} ms")
    elif args.interactive:
        interact(connection)
    else:
        for message in map(os.fsencode, args.messages or MESSAGES):
            show(b"Sent: " + message)
            exchange(connection, message)
            show(b"Received: " + message)
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = client_parser()
    parser.add_argument("--udp", action="store_true", help="send datagrams")
    job = parser.add_mutually_exclusive_group()
    job.add_argument("--file", metavar="PATH", help="send a file and check every byte; see --raw of the server")
    job.add_argument("--ping", type=between(1, 1e6), metavar="N", help="measure N round trips")
    job.add_argument("-i", "--interactive", action="store_true", help="send the lines of stdin")
    job.add_argument("messages", nargs="*", default=[], metavar="MESSAGE", help=f"default: {' '.join(MESSAGES)}")
    args = parser.parse_args(argv)
    if args.udp and args.file is not None:
        parser.error("--file goes over TCP, which loses nothing")
    return call(args, partial(talk, args=args), connect_udp if args.udp else socket.create_connection)


if __name__ == "__main__":
    sys.exit(main())
