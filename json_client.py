"""JSON lookup client: reads a dictionary from a file, and asks json_server.py for the value of a key.

The file holds one JSON object, in UTF-8. The value is printed as JSON; with --raw a string is printed bare.

Try it:

    python3 json_server.py
    echo '{"name": "Ada"}' > ada.json
    python3 json_client.py ada.json name
"""

import argparse
import json
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

HOST, PORT = "localhost", 9005
TIMEOUT = 60.0  # seconds without an answer
MAX_ANSWER = 128 * 1024 * 1024  # bytes
CHUNK = 64 * 1024  # bytes to send at a time


def read_dictionary(path: str) -> dict[str, Any]:
    """Return the JSON object in the file `path`. Raises OSError, or ValueError if it holds none."""
    with open(path, encoding="utf-8-sig") as file:
        data = json.load(file)
    if not isinstance(data, dict):
        raise ValueError("the top level is not an object")
    return data


def as_request(data: dict[str, Any], key: str) -> bytes:
    """Return the line that asks for the value of `key`. Raises ValueError for NaN and Infinity, RecursionError."""
    request = {"data": data, "key": key}
    try:
        text = json.dumps(request, ensure_ascii=False, allow_nan=False).encode()  # much shorter, if it is UTF-8
    except UnicodeEncodeError:  # half a surrogate pair
        text = json.dumps(request, allow_nan=False).encode()
    return text + b"\n"


def talk(connection: socket.socket, request: bytes, key: str, raw: bool) -> int:
    """Send a request for `key`, and print the value; return 0 if it was found. Raises OSError."""
    for start in range(0, len(request), CHUNK):  # the time limit is for each piece
        connection.sendall(request[start : start + CHUNK])
    with connection.makefile("rb") as answers:
        line = answers.readline(MAX_ANSWER)
    try:
        reply = json.loads(line)
        if "error" in reply:
            return fail(f"refused: {escape(str(reply['error']))}")
        if not reply["found"]:
            return fail(f"no such key: {key!r}")
        value = reply["value"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return fail(f"not an answer of a JSON server: {escape(line[:60])!r}")
    if raw and isinstance(value, str):
        show_raw(value)
    else:
        show(as_json(value))
    return 0


def show_raw(text: str) -> None:
    """Print `text` as it is, or escaped if it goes to a terminal."""
    if not sys.stdout or sys.stdout.isatty():
        show(text)
    else:
        with suppress(BrokenPipeError), open(1, "wb", closefd=False) as stdout:
            stdout.write(text.encode("utf-8", "backslashreplace") + b"\n")


def as_json(value: Any) -> str:
    """Return `value` as JSON, escaped where a terminal should not see it as it is, or cannot."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8", "surrogatepass")
    except UnicodeEncodeError:
        text = json.dumps(value)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


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
    parser.add_argument("file", metavar="FILE", help="a JSON object")
    parser.add_argument("key", metavar="KEY")
    parser.add_argument("--raw", action="store_true", help="print a string without quotes")
    args = parser.parse_args(argv)
    try:
        request = as_request(read_dictionary(args.file), args.key)
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return fail(f"cannot read {args.file}: {error.strerror}")
    except ValueError as error:
        return fail(f"{args.file} holds no JSON object: {str(error).partition(';')[0]}")
    except (RecursionError, MemoryError):
        return fail(f"{args.file} is nested too deeply")
    return call(args, partial(talk, request=request, key=args.key, raw=args.raw), socket.create_connection)


if __name__ == "__main__":
    sys.exit(main())
