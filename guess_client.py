"""Guessing game client: plays against guess_server.py, by hand or by itself.

By hand it sends what you type, or the lines of a pipe, and prints the answers.
With --auto it halves the range until it has the number, in ceil(log2(N)) + 1
guesses at most. The exit status is 0 only if the game was won.

Try it:

    python3 guess_server.py
    python3 guess_client.py --auto  # in another terminal

Experiment:

    - low = guess + 1
    + low = guess
    `pytest -k "guess_client and bisection"` fails: with two numbers left, the
    same guess comes again and again.
"""

import argparse
import os
import re
import socket
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress

HOST, PORT = "localhost", 9003
TIMEOUT = 10.0  # seconds without an answer
MAX_REPLY = 4096  # bytes


def talk(connection: socket.socket, auto: bool) -> bool:
    """Play; return whether the game was won. Raises OSError."""
    with connection.makefile("rb") as stream:

        def read_reply() -> str:
            line = stream.readline(MAX_REPLY)
            if not line.endswith(b"\n"):
                raise ConnectionError("the server hung up")
            return line.decode("utf-8", "backslashreplace").rstrip("\r\n")

        def send_guess(guess: bytes) -> str:
            connection.sendall(guess + b"\n")
            return read_reply()

        greeting = read_reply()
        print_line(greeting)
        return bisect(greeting, send_guess) if auto else play(send_guess)


def play(send_guess: Callable[[bytes], str]) -> bool:
    """Send the guesses of the user; return whether the game was won."""
    for line in input_lines():
        if line.strip() == b"quit":
            break
        reply = send_guess(line)
        print_line(reply)
        if reply.startswith(("correct", "ERROR out of guesses")):
            return reply.startswith("correct")
    return False


def bisect(greeting: str, send_guess: Callable[[bytes], str]) -> bool:
    """Find the number by bisection; return whether the game was won. Raises ConnectionError."""
    numbers = re.findall(r"-?[0-9]+", greeting)
    if len(numbers) != 2:
        raise ConnectionError(f"no range to guess in: {escape(greeting)}")
    low, high = map(int, numbers)
    while low <= high:
        guess = (low + high) // 2
        reply = send_guess(b"%d" % guess)
        print_line(f"{guess}: {reply}")
        if reply == "higher":
            low = guess + 1
        elif reply == "lower":
            high = guess - 1
        else:
            return reply.startswith("correct")
    raise ConnectionError("the server contradicts itself")


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
    option("--auto", action="store_true", help="let the program play")
    args = parser.parse_args(argv)
    if not (1 <= args.port <= 65535 and 0 <= args.timeout <= 1e6):
        parser.error("--port must be from 1 to 65535, --timeout from 0 to 1000000")
    try:
        with socket.create_connection((args.host, args.port), args.timeout or None) as connection:
            won = talk(connection, args.auto)
    except KeyboardInterrupt:
        return interrupted()
    except (OSError, UnicodeError) as error:
        host = f"[{args.host}]" if ":" in args.host else escape(args.host)
        reason = f"{host}:{args.port}: {describe_error(error)}"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    if not won:
        parser.exit(1, f"{parser.prog}: error: the game was not won\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
