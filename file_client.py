"""File client: fetches files from a file server, whole or not at all.

A file is written under another name until it is complete; a file that exists
is replaced only with --force. Names are as --list shows them: control
characters and backslashes as in a Python string. Files are put into the
current folder, whatever folder they are in on the server.

Try it:

    mkdir -p files && echo Hello > files/hello.txt
    python3 file_server.py --directory files
    python3 file_client.py hello.txt --verify  # in another terminal

Left out: resuming. After a broken connection, start again.

Experiment:

    - with atomic_write(path) as file:
    + with open(path, "wb") as file:
    `pytest -k "file_client and whole"` fails: the old file is lost, and half
    of the new one takes its place.
"""

import argparse
import hashlib
import os
import re
import secrets
import signal
import socket
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from typing import Any, BinaryIO

HOST, PORT = "localhost", 9004
TIMEOUT = 60.0  # seconds without a byte
PIECE = 1024 * 1024  # bytes of a file to read at once
MAX_LINE = 64 * 1024  # bytes of a reply
MAX_NAME = 255  # bytes, on most file systems
# Names that Windows reserves for devices.
RESERVED = re.compile(
    r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]) *(\..*)?", re.IGNORECASE
)


class ServerError(OSError):
    """The server sends something that it should not: the conversation cannot go on."""


class Refused(ServerError):
    """This file cannot be fetched, but the next one can."""


def target_path(text: str, output: str | None) -> str:
    """Return where to put the file whose encoded name is `text`. Raises Refused."""
    path = output or "."
    if os.path.isdir(path):
        try:
            name = safe_name(decode_name(text).rpartition("/")[2])
        except ValueError:
            name = ""
        name = name.encode()[:MAX_NAME].decode("utf-8", "ignore")
        if not name:
            raise Refused("that gives no name for the file here; choose one with --output")
        path = os.path.join(output, name) if output else name
    elif path.endswith(("/", os.sep)):
        raise Refused(f"{path} is no folder")
    return path


def safe_name(name: str) -> str:
    """Return `name` made safe as a file name on any platform; it may become empty."""
    name = "".join("_" if c in '/\\:*?"<>|' or escape(c) != c else c for c in name).strip(". ")
    return f"_{name}" if RESERVED.fullmatch(name) else name


def decode_name(text: str) -> str:
    """Return the name that encode_name() wrote as `text`. Raises ValueError if there is none."""
    if re.search(r"\\(?!\\|[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})", text.replace(r"\\", "")):
        raise ValueError("not an escape sequence")
    escapes = r"\\(\\|[nrt]|x..|u....|U........)"
    return re.sub(escapes, lambda match: match[0].encode().decode("unicode_escape"), text)


def read_line(stream: BinaryIO) -> str:
    """Return the next line. Raises OSError."""
    line = stream.readline(MAX_LINE + 1)
    if len(line) > MAX_LINE:
        raise ServerError(f"not a file server: it says {line[:80]!r}...")
    if not line.endswith(b"\n"):
        raise ServerError("the server hung up")
    return line.decode("utf-8", "backslashreplace").rstrip("\r\n")


def read_reply(stream: BinaryIO, pattern: str) -> str:
    """Return what follows OK, which matches `pattern`. Raises OSError."""
    line = read_line(stream)
    kind, _, rest = line.partition(" ")
    if kind == "ERROR":
        raise Refused(rest)
    if kind != "OK" or not re.fullmatch(pattern, rest):
        raise ServerError(f"not a file server: it says {line[:80]!r}")
    return rest


def read_pieces(stream: BufferedReader, size: int) -> Iterator[Any]:
    """Yield the next `size` bytes in pieces. Raises OSError."""
    left = size
    buffer = memoryview(bytearray(min(size, PIECE)))  # used again for each piece: twice as fast
    while left:
        count = stream.readinto1(buffer[:left])
        if not count:
            raise ServerError(f"the file ends early: {size - left} of {size} bytes have come")
        left -= count
        yield buffer[:count]


def fetch_file(stream: BufferedReader, path: str, verify: bool, force: bool) -> int:
    """Write the next file of `stream` to `path`; return its size. Raises OSError."""
    try:
        size = int(read_reply(stream, "[0-9]{1,18}"))
    except Refused:
        if verify:
            with suppress(ServerError):
                read_reply(stream, ".*")  # to HASH: refused, too
        raise
    sha256 = hashlib.sha256()
    try:
        with atomic_write(path) as file:
            for piece in progress(read_pieces(stream, size), size):
                file.write(piece)
                if verify:
                    sha256.update(piece)
            if verify and read_reply(stream, ".*") != sha256.hexdigest():
                raise Refused("checksum mismatch: damaged on the way, or changed in the meantime")
            if os.path.isfile(path) and not force:
                raise Refused(f"{path} exists by now; use --force to replace it")
    except (ServerError, ConnectionError, TimeoutError):
        raise
    except OSError as error:  # the disk is full, for example
        error.filename = path
        raise
    return size


def fetch_files(connection: socket.socket, args: argparse.Namespace) -> int:
    """Fetch the files that the command line names; return the exit status. Raises OSError."""
    status = 0
    files: list[tuple[str, str]] = []  # names, and where to put them
    paths: set[str] = set()
    commands = ("GET", "HASH") if args.verify else ("GET",)

    def refuse(name: str, reason: Exception) -> None:
        nonlocal status
        script = os.path.basename(sys.argv[0])
        print(f"{script}: error: {escape(f'{name}: {reason}')}", file=sys.stderr)
        status = 1

    def send_request(name: str) -> None:
        requests = "".join(f"{command} {escape(name)}\n" for command in commands)
        with suppress(BrokenPipeError):  # what the server still said can be read
            connection.sendall(requests.encode())

    for name in args.names:
        try:
            path = target_path(name, args.output)
            if os.path.normcase(path) in paths:
                raise Refused(f"{path} is already the place of another one")
            if os.path.isfile(path) and not args.force:
                raise Refused(f"{path} already exists; use --force to replace it")
            paths.add(os.path.normcase(path))
            files.append((name, path))
        except Refused as error:
            refuse(name, error)
    with connection.makefile("rb") as stream:
        for index, (name, path) in enumerate(files):
            # One request ahead, so that the server need not wait for us between two files.
            for ahead, _ in files[index + bool(index) : index + 2]:
                send_request(ahead)
            try:
                size = fetch_file(stream, path, args.verify, args.force)
            except Refused as error:
                refuse(name, error)
                continue
            if os.path.isfile(path):  # and not stdout, for example
                verified = ", verified" if args.verify else ""
                print_line(f"{path}: {size} byte{'s' * (size != 1)}{verified}")
    return status


def print_list(connection: socket.socket) -> None:
    """Print size and name of each file. Raises OSError."""
    connection.sendall(b"LIST\n")
    with connection.makefile("rb") as stream:
        for _ in range(int(read_reply(stream, "[0-9]{1,18}"))):
            line = read_line(stream)
            size, tab, name = line.partition("\t")
            if not re.fullmatch("[0-9]{1,20}", size) or not tab:
                raise ServerError(f"not a file server: it lists {line[:80]!r}")
            print(size, end="\t")
            print_line(name)


# The rest is the same in every client: output, errors, and the command line.


@contextmanager
def atomic_write(path: str) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` at the end, or vanishes if an exception is raised.

    Nobody ever sees half a file, and after a failure the old one is still there. Raises OSError.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a device, such as /dev/stdout
        with open(path, "wb") as file:
            yield file
        return
    if os.path.islink(path):  # which stays a link
        path = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(path), f".{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
        with suppress(OSError):  # there is no old file
            os.chmod(temporary, os.stat(path).st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            error.filename = path
        raise


def progress(pieces: Iterable[bytes], total: int) -> Iterator[bytes]:
    """Yield `pieces`, `total` bytes in all; on a terminal, draw a progress bar on stderr."""
    start = drawn = time.monotonic()
    done = 0
    for piece in pieces:
        yield piece
        done += len(piece)
        now = time.monotonic()
        if sys.stderr.isatty() and now - drawn >= 0.1:  # seconds: more often would flicker
            drawn = now
            share, rate = done / max(total, done), done / (now - start) / 1e6
            bar = f"[{'#' * round(40 * share):40}] {share:4.0%} {rate:7.1f} MB/s"
            print(f"\r{bar}", end="", file=sys.stderr, flush=True)
    if drawn != start:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


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
    option("names", nargs="*", default=[], metavar="NAME", help="file to fetch, or several")
    option("--list", action="store_true", help="list the files: size and name")
    option("--output", metavar="PATH", help="a file, or a folder (default: the current one)")
    option("--verify", action="store_true", help="compare with the hash that the server computes")
    option("--force", action="store_true", help="replace files that exist already")
    args = parser.parse_args(argv)
    if not (1 <= args.port <= 65535 and 0 <= args.timeout <= 1e6):
        parser.error("--port must be from 1 to 65535, --timeout from 0 to 1000000")
    if args.list == bool(args.names):
        parser.error("give names of files, or --list")
    if len(args.names) > 1 and args.output and not os.path.isdir(args.output):
        parser.error("several files need a folder as --output")
    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # removes the unfinished file
    try:
        with socket.create_connection((args.host, args.port), args.timeout or None) as connection:
            if args.list:
                print_list(connection)
                return 0
            return fetch_files(connection, args)
    except KeyboardInterrupt:
        return interrupted()
    except BrokenPipeError:  # nobody reads stdout any more, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the flush at exit
        return 0
    except (OSError, UnicodeError) as error:
        host = f"[{args.host}]" if ":" in args.host else args.host
        where = escape(getattr(error, "filename", None) or f"{host}:{args.port}")
        parser.exit(1, f"{parser.prog}: error: {where}: {describe_error(error)}\n")


if __name__ == "__main__":
    sys.exit(main())
