"""Greeting client: connects to an address and prints what the server sends.

Try it:

    python3 greeting_server.py
    python3 greeting_client.py localhost 9006  # in another terminal

Experiment:

    - while line:
    + if line:
    `pytest -k "greeting_client and prints"` fails: a greeting of three lines
    needs three reads.
"""

import argparse
import socket
import sys
import unicodedata

TIMEOUT = 10.0  # seconds without a byte
MAX_LINE = 4096  # bytes; a longer line is printed in parts


def talk(connection: socket.socket) -> None:
    """Print the lines that come until the server hangs up. Raises OSError."""
    with connection.makefile("rb") as stream:
        line = stream.readline(MAX_LINE)
        if not line:
            raise ConnectionError("the server said nothing")
        while line:
            print_line(line.rstrip(b"\r\n"))
            line = stream.readline(MAX_LINE)


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
    option("host", metavar="ADDR", help="name or address of the server")
    option("port", metavar="PORT", type=int, help="port of the server")
    option(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help="longest wait for the server; 0: no limit (default: %(default)g)",
    )
    args = parser.parse_args(argv)
    if not (1 <= args.port <= 65535 and 0 <= args.timeout <= 1e6):
        parser.error("PORT must be from 1 to 65535, --timeout from 0 to 1000000")
    try:
        with socket.create_connection((args.host, args.port), args.timeout or None) as connection:
            talk(connection)
    except KeyboardInterrupt:
        return interrupted()
    except (OSError, UnicodeError) as error:
        host = f"[{args.host}]" if ":" in args.host else escape(args.host)
        reason = f"{host}:{args.port}: {describe_error(error)}"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
