"""Sum client: sends numbers to sum_server.py, and prints their sum.

The numbers are the arguments, or else the words of stdin, as many as you like.

Try it:

    python3 sum_server.py
    python3 sum_client.py 1 2 3  # in another terminal

Experiment:

    - connection.sendall(b"".join(map(wire_format, numbers)))
    + connection.send(b"".join(map(wire_format, numbers)))
    `pytest -k "sum_client and sent_whole"` fails: send() sends what fits into
    the buffers, and only returns how much that was.
"""

import argparse
import os
import re
import socket
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

HOST, PORT = "127.0.0.1", 1234
TIMEOUT = 60.0  # seconds without an answer
MAX_REPLY = 64 * 1024  # bytes
PIECE = 64 * 1024  # bytes of stdin to read at once


def wire_format(number: bytes) -> bytes:
    """Return `number` as it is sent."""
    text = re.sub(rb"^([-+]?)\.", rb"\g<1>0.", number.strip())  # a leading "." would end the list
    return text.replace(b"|", b"?") + b"|"  # "1|2" is not a number, and must not become two


def talk(connection: socket.socket, batches: Iterable[list[bytes]]) -> None:
    """Send the numbers and print their sum. Raises OSError, also if the answer is not a sum."""
    with suppress(BrokenPipeError, ConnectionResetError):  # it refused one, and says so
        for numbers in batches:
            connection.sendall(b"".join(map(wire_format, numbers)))
        connection.sendall(b".")
    with connection.makefile("rb") as stream:
        reply = stream.readline(MAX_REPLY)
    if not reply.endswith(b"\n"):
        raise ConnectionError("the server hung up")
    if reply.startswith(b"ERROR "):
        raise ConnectionError(escape(reply.removeprefix(b"ERROR ").rstrip()))
    if not re.fullmatch(rb"[-+]?[0-9.]+(e[-+]?[0-9]+)?\s*", reply, re.IGNORECASE):
        raise ConnectionError(f"not a sum: {escape(reply[:80].rstrip())}")
    print_line(reply.rstrip())


def read_words() -> Iterator[list[bytes]]:
    """Yield the words of stdin as they come, so that it may be endless."""
    if not sys.stdin:  # closed, by `<&-` for example
        return
    stdin: Any = sys.stdin.buffer
    rest = b""
    while piece := stdin.read1(PIECE):
        words = (rest + piece).split()
        rest = b"" if piece[-1:].isspace() or not words else words.pop()  # the last word may go on
        yield words
    yield rest.split()


# The rest is the same in every client: output, errors, and the command line.


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
    option("numbers", nargs="*", metavar="NUMBER", help="what to add up (default: words of stdin)")
    args = parser.parse_args(argv)
    if not (1 <= args.port <= 65535 and 0 <= args.timeout <= 1e6):
        parser.error("--port must be from 1 to 65535, --timeout from 0 to 1000000")
    batches = [list(map(os.fsencode, args.numbers))] if args.numbers else read_words()
    try:
        with socket.create_connection((args.host, args.port), args.timeout or None) as connection:
            talk(connection, batches)
    except KeyboardInterrupt:
        return interrupted()
    except (OSError, UnicodeError) as error:
        host = f"[{args.host}]" if ":" in args.host else escape(args.host)
        reason = f"{host}:{args.port}: {describe_error(error)}"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
