"""Sum client: sends numbers to sum_server.py, and prints their sum.

The numbers are the arguments, or else what stands on stdin, separated by white space: as many as you like.

Try it:

    python3 sum_server.py
    python3 sum_client.py 1 2 3
"""

import argparse
import os
import re
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

HOST, PORT = "127.0.0.1", 1234
TIMEOUT = 60.0  # seconds without an answer
MAX_ANSWER = 64 * 1024  # bytes
CHUNK = 64 * 1024  # bytes to read at a time


def wire_format(number: bytes) -> bytes:
    """Return `number` as it goes over the wire."""
    text = re.sub(rb"^([-+]?)\.", rb"\g<1>0.", number.strip())  # a leading point would end the list
    return text.replace(b"|", b"?") + b"|"


def talk(connection: socket.socket, batches: Iterable[list[bytes]]) -> int:
    """Send the numbers and print their sum. Raises OSError, also for numbers that the server refuses."""
    with suppress(BrokenPipeError, ConnectionResetError):  # it has refused one, and says so
        for numbers in batches:
            connection.sendall(b"".join(map(wire_format, numbers)))
        connection.sendall(b".")
    with connection.makefile("rb") as answers:
        answer = answers.readline(MAX_ANSWER)
    if not answer.endswith(b"\n"):
        raise ConnectionError("the server hung up")
    if answer.startswith(b"ERROR "):
        raise ConnectionError(escape(answer.removeprefix(b"ERROR ").rstrip()))
    if not re.fullmatch(rb"[-+]?[0-9.]+(e[-+]?[0-9]+)?\s*", answer, re.IGNORECASE):
        raise ConnectionError(f"not a sum: {escape(answer[:80].rstrip())}")
    show(answer.rstrip(b"\r\n"))
    return 0


def typed() -> Iterator[list[bytes]]:
    """Yield the words of stdin, as many at a time as there are."""
    stdin: Any = sys.stdin  # None where there is no console
    rest = b""
    while stdin and (piece := stdin.buffer.read1(CHUNK)):
        words = (rest + piece).split()
        rest = b"" if piece[-1:].isspace() or not words else words.pop()
        yield words
    yield rest.split()


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


def main(argv: list[str] | None = None) -> int:
    parser = client_parser()
    parser.add_argument("numbers", nargs="*", metavar="NUMBER", help="default: the words of stdin")
    args = parser.parse_args(argv)
    batches = [list(map(os.fsencode, args.numbers))] if args.numbers else typed()
    return call(args, partial(talk, batches=batches), socket.create_connection)


if __name__ == "__main__":
    sys.exit(main())
