"""Calculator client: sends expressions to calc_server.py, and prints the answers.

With expressions as arguments it prints one answer for each, and exits with 1 if any of them is an ERROR. Without, it
reads them line by line from a terminal or a pipe.

Try it:

    python3 calc_server.py
    python3 calc_client.py '2 + 3' '1 / 3'
"""

import argparse
import os
import re
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial

HOST, PORT = "localhost", 9002
TIMEOUT = 10.0  # seconds without an answer
MAX_LINE = 4096  # bytes of an answer


def talk(connection: socket.socket, expressions: Iterable[bytes], lenient: bool) -> int:
    """Print the answers to `expressions`; return 1 if any is an ERROR, unless `lenient`, else 0. Raises OSError."""
    failed = total = 0
    with connection.makefile("rb") as answers:
        for expression in expressions:
            connection.sendall(b" ".join(expression.splitlines()) + b"\n")
            answer = answers.readline(MAX_LINE)
            if not answer.endswith(b"\n"):
                raise ConnectionError("the server hung up")
            show(answer.rstrip(b"\r\n"))
            failed += answer.startswith(b"ERROR")
            total += 1
    if failed and not lenient:
        return fail(f"{failed} of {total} expressions have no value")
    return 0


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
    parser.add_argument("expressions", nargs="*", metavar="EXPRESSION", help="default: the lines of stdin")
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args([f" {word}" if re.match(r"-[\d.(]", word) else word for word in words])  # no options
    expressions = (os.fsencode(text.lstrip()) for text in args.expressions) if args.expressions else typed_lines()
    at_prompt = bool(not args.expressions and sys.stdin and sys.stdin.isatty())  # where a typing error is no failure
    return call(args, partial(talk, expressions=expressions, lenient=at_prompt), socket.create_connection)


if __name__ == "__main__":
    sys.exit(main())
