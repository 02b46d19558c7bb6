"""JSON lookup client: asks json_server.py for a key of a dictionary in a file.

The file holds one JSON object in UTF-8. The value is printed as JSON; with
--raw a string is printed without quotes.

Try it:

    python3 json_server.py
    echo '{"name": "Ada"}' > ada.json
    python3 json_client.py ada.json name  # in another terminal

Experiment:

    - line = stream.readline(MAX_REPLY)
    + line = connection.recv(1024)
    `pytest -k "json_client and long_value"` fails: one recv() is not one
    reply.
"""

import argparse
import json
import socket
import sys
import unicodedata
from typing import Any

HOST, PORT = "localhost", 9005
TIMEOUT = 60.0  # seconds without an answer
MAX_REPLY = 128 * 1024 * 1024  # bytes
PIECE = 64 * 1024  # bytes to send at once


def make_request(text: str, key: str) -> bytes:
    """Return the line that asks for the value of `key` in the JSON object `text`.

    Raises ValueError if it is not one, or RecursionError. The text is sent as it stands, so that
    its numbers keep all their digits; a line break in it can only be whitespace.
    """
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError("the top level is not an object")
    json.dumps(data, allow_nan=False)  # refuses NaN and Infinity
    line = text.replace("\r", " ").replace("\n", " ")
    return f'{{"data": {line}, "key": {json.dumps(key)}}}\n'.encode()


def talk(connection: socket.socket, request: bytes, key: str) -> Any:
    """Send a request for `key`; return its value. Raises OSError or LookupError."""
    for start in range(0, len(request), PIECE):  # the timeout applies to each piece
        connection.sendall(request[start : start + PIECE])
    with connection.makefile("rb") as stream:
        line = stream.readline(MAX_REPLY)
    try:
        reply = json.loads(line)
        if "error" in reply:
            reason = f"refused: {escape(str(reply['error']))}"
        elif reply["found"]:
            return reply["value"]
        else:
            reason = f"no such key: {key!r}"
    except (ValueError, TypeError, KeyError, RecursionError):
        reason = f"not an answer of a JSON server: {escape(line[:60])!r}"
    raise LookupError(reason)


def print_value(value: Any, raw: bool) -> None:
    """Print a value as JSON, or a string as it is; on a terminal without control characters."""
    if raw and isinstance(value, str):
        if sys.stdout.isatty():
            print_line(value)
        else:
            sys.stdout.buffer.write(value.encode("utf-8", "backslashreplace") + b"\n")
        return
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(value)  # in ASCII
    print_line("".join(c if escape(c) == c else json.dumps(c)[1:-1] for c in text))


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
    option("file", metavar="FILE", help="file with a JSON object")
    option("key", metavar="KEY", help="name to look up in it")
    option("--raw", action="store_true", help="print a string without quotes")
    args = parser.parse_args(argv)
    if not (1 <= args.port <= 65535 and 0 <= args.timeout <= 1e6):
        parser.error("--port must be from 1 to 65535, --timeout from 0 to 1000000")
    try:
        with open(args.file, encoding="utf-8-sig") as file:
            request = make_request(file.read(), args.key)
    except KeyboardInterrupt:
        return interrupted()
    except OSError as error:
        parser.exit(1, f"{parser.prog}: error: cannot read {args.file}: {error.strerror}\n")
    except RecursionError:
        parser.exit(1, f"{parser.prog}: error: {args.file} is nested too deeply\n")
    except ValueError as error:
        reason = str(error).partition(";")[0]
        parser.exit(1, f"{parser.prog}: error: {args.file} holds no JSON object: {reason}\n")
    try:
        with socket.create_connection((args.host, args.port), args.timeout or None) as connection:
            value = talk(connection, request, args.key)
    except LookupError as error:
        parser.exit(1, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        return interrupted()
    except (OSError, UnicodeError) as error:
        host = f"[{args.host}]" if ":" in args.host else escape(args.host)
        reason = f"{host}:{args.port}: {describe_error(error)}"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    try:
        print_value(value, args.raw)
    except OSError as error:
        parser.exit(1, f"{parser.prog}: error: cannot write: {error.strerror}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
