"""Calculator client: sends expressions to calc_server.py, and prints the answers.

With expressions as arguments it prints an answer for each, and the exit status
is 1 if any of them is an ERROR. Without arguments it reads lines from stdin.

Try it:

    python3 calc_server.py
    python3 calc_client.py '2 + 3' '1 / 3'  # in another terminal

Experiment:

    - b" ".join(expression.splitlines()) + b"\\n"
    + expression + b"\\n"
    `pytest -k "calc_client and two_lines"` fails: one expression becomes two,
    and every later answer belongs to the expression before.
"""

import argparse
import os
import re
import socket
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress

HOST, PORT = "localhost", 9002
TIMEOUT = 10.0  # seconds without an answer
MAX_REPLY = 4096  # bytes


def talk(connection: socket.socket, expressions: Iterable[bytes]) -> tuple[int, int]:
    """Print the answers; return how many are an ERROR, and how many there are. Raises OSError."""
    failed = total = 0
    with connection.makefile("rb") as stream:
        for expression in expressions:
            connection.sendall(b" ".join(expression.splitlines()) + b"\n")
            reply = stream.readline(MAX_REPLY)
            if not reply.endswith(b"\n"):
                raise ConnectionError("the server hung up")
            print_line(reply.rstrip(b"\r\n"))
            failed += reply.startswith(b"ERROR")
            total += 1
    return failed, total


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
    option("expressions", nargs="*", metavar="EXPRESSION", help="default: the lines of stdin")
    words = sys.argv[1:] if argv is None else argv
    # "-2 + 3" is an expression, not an option: a space in front tells argparse so.
    args = parser.parse_args([f" {word}" if re.match(r"-[\d.(]", word) else word for word in words])
    if not (1 <= args.port <= 65535 and 0 <= args.timeout <= 1e6):
        parser.error("--port must be from 1 to 65535, --timeout from 0 to 1000000")
    given = [os.fsencode(expression.lstrip()) for expression in args.expressions]
    try:
        with socket.create_connection((args.host, args.port), args.timeout or None) as connection:
            failed, total = talk(connection, given or input_lines())
    except KeyboardInterrupt:
        return interrupted()
    except (OSError, UnicodeError) as error:
        host = f"[{args.host}]" if ":" in args.host else escape(args.host)
        reason = f"{host}:{args.port}: {describe_error(error)}"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    if failed and (given or not sys.stdin.isatty()):  # at the prompt a mistake is no failure
        parser.exit(1, f"{parser.prog}: error: {failed} of {total} expressions have no value\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
