"""Guessing game client: plays against guess_server.py, by hand or by itself.

By hand it sends what you type, or the lines of a pipe, and prints the answers. With --auto it halves the range until
it has the number, in ceil(log2(N)) + 1 guesses at most, and prints its moves. The exit status is 0 only if it won.

Try it:

    python3 guess_server.py
    python3 guess_client.py --auto
"""

import argparse
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

HOST, PORT = "localhost", 9003
TIMEOUT = 10.0  # seconds without an answer
MAX_LINE = 4096  # bytes of an answer


def talk(connection: socket.socket, auto: bool) -> int:
    """Play; return 0 for a win, 1 otherwise. Raises OSError."""
    with connection.makefile("rb") as answers:

        def ask(guess: str) -> str:
            connection.sendall(guess.encode("utf-8", "surrogateescape") + b"\n")
            return read()

        def read() -> str:
            line = answers.readline(MAX_LINE)
            if not line.endswith(b"\n"):
                raise ConnectionError("the server hung up")
            return line.decode("utf-8", "backslashreplace").rstrip("\r\n")

        greeting = read()
        show(greeting)
        won = play_alone(greeting, ask) if auto else play(ask)
    return 0 if won else fail("the game was not won")


def play(ask: Callable[[str], str]) -> bool:
    """Guess what is typed; return whether the game was won."""
    for line in typed_lines():
        if line.strip() == b"quit":
            break
        answer = ask(os.fsdecode(line))
        show(answer)
        if answer.startswith(("correct", "ERROR out of guesses")):
            return answer.startswith("correct")
    return False


def play_alone(greeting: str, ask: Callable[[str], str]) -> bool:
    """Guess by bisection; return whether the game was won. Raises ConnectionError if the answers make no sense."""
    numbers = re.findall(r"-?[0-9]+", greeting)
    if len(numbers) != 2:
        raise ConnectionError(f"no range to guess in: {escape(greeting)}")
    low, high = map(int, numbers)
    while low <= high:
        guess = (low + high) // 2
        answer = ask(str(guess))
        show(f"{guess}: {answer}")
        if answer.startswith("correct"):
            return True
        if answer == "higher":
            low = guess + 1
        elif answer == "lower":
            high = guess - 1
        else:
            return False
    raise ConnectionError("the server contradicts itself")


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
    parser.add_argument("--auto", action="store_true", help="let the program play")
    args = parser.parse_args(argv)
    return call(args, partial(talk, auto=args.auto), socket.create_connection)


if __name__ == "__main__":
    sys.exit(main())
