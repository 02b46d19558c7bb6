"""File client: fetches files from a file server, whole or not at all.

A file is written under another name until it is complete; a file that is there already is replaced only with --force.
Names are as --list shows them: control characters and backslashes as in a Python string. Files come into the current
folder, whatever folder they are in on the server.

Try it:

    mkdir -p files && echo Hello > files/hello.txt
    python3 file_server.py --directory files
    python3 file_client.py hello.txt --verify
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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, BinaryIO

HOST, PORT = "localhost", 9004
TIMEOUT = 60.0  # seconds without a byte
BUFFER = 1024 * 1024  # bytes to read at a time
MAX_LINE = 64 * 1024  # bytes of an answer
MAX_NAME = 255  # bytes
AHEAD = 4096  # bytes of requests that may be sent before their answers are read
BAR = 0.1  # seconds between two pictures of the progress bar
# Names that Windows keeps.
RESERVED = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]) *(\..*)?", re.IGNORECASE)


class FileError(OSError):
    """What the server sends is not what it should be."""


class Refused(FileError):
    """There is no such file, here or there; the next one can be asked for."""


def meant(text: str) -> str:
    """Return the name that written() has written so. Raises ValueError if it cannot have."""
    if re.search(r"\\(?!\\|[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})", text.replace(r"\\", "")):
        raise ValueError("not an escape sequence")
    return re.sub(r"\\(\\|[nrt]|x..|u....|U........)", lambda match: match[0].encode().decode("unicode_escape"), text)


def safe(name: str) -> str:
    """Return the last part of a path as the name of a file on any platform; it may be empty."""
    name = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in name).strip(". ")
    return f"_{name}" if RESERVED.fullmatch(name) else name


def target(text: str, output: str | None, force: bool) -> str:
    """Return where to put the file whose name in requests is `text`. Raises Refused."""
    path = output or "."
    if os.path.isdir(path):
        try:
            name = safe(meant(text).rpartition("/")[2]).encode()[:MAX_NAME].decode("utf-8", "ignore")
        except ValueError:
            name = ""
        if not name:
            raise Refused("that gives no name for the file here; choose one with --output")
        path = os.path.join(output, name) if output else name
    elif path.endswith(("/", os.sep)):
        raise Refused(f"{path} is no folder")
    if os.path.isfile(path) and not force:
        raise Refused(f"{path} is here already; --force replaces it")
    return path


class Answers:
    """Takes lines and files out of what the server sends, however it arrives."""

    def __init__(self, connection: socket.socket) -> None:
        self.stream = connection.makefile("rb")
        self.buffer = memoryview(bytearray(BUFFER))

    def line(self) -> str:
        """Return the next line, of MAX_LINE bytes at most. Raises FileError, OSError."""
        line = self.stream.readline(MAX_LINE + 1)
        if len(line) > MAX_LINE:
            raise FileError(f"not a file server: it says {line[:80]!r}...")
        if not line.endswith(b"\n"):
            raise FileError("the server has hung up")
        return line.decode("utf-8", "backslashreplace").rstrip("\r\n")

    def body(self, size: int) -> Iterator[Any]:
        """Yield the next `size` bytes, each piece in memory that the next one uses again. Raises FileError, OSError."""
        left = size
        while left:
            count = self.stream.readinto1(self.buffer[:left])
            if not count:
                raise FileError(f"the file ends early: {size - left} of {size} bytes have come")
            left -= count
            yield self.buffer[:count]

    def answer(self) -> str:
        """Return what follows OK. Raises Refused, FileError, OSError."""
        line = self.line()
        kind, _, rest = line.partition(" ")
        if kind != "OK":
            raise Refused(rest) if kind == "ERROR" else FileError(f"not a file server: it says {line[:80]!r}")
        return rest

    def number(self) -> int:
        """Return the number that follows OK. Raises FileError, OSError."""
        rest = self.answer()
        if not re.fullmatch("[0-9]{1,18}", rest):
            raise FileError(f"not a file server: it says {rest[:80]!r}")
        return int(rest)


@contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` at the end, or vanishes if an exception is raised. Raises OSError."""
    if os.path.exists(path) and not os.path.isfile(path):  # a terminal, say, is written to
        with open(path, "wb") as file:
            yield file
        return
    if os.path.islink(path):  # which stays one
        path = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(path), f".{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
        with suppress(OSError):
            os.chmod(temporary, os.stat(path).st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            error.filename = path
        raise


def fetch_file(reader: Answers, path: str, verify: bool, force: bool) -> int:
    """Write the file that comes next to `path`; return its size. Raises Refused, FileError, OSError."""
    try:
        size = reader.number()
    except Refused:
        if verify:
            with suppress(FileError):
                reader.answer()
        raise
    sha256 = hashlib.sha256()
    try:
        with replacing(path) as file:
            for piece in progress(reader.body(size), size):
                file.write(piece)
                if verify:
                    sha256.update(piece)
            if verify and reader.answer() != sha256.hexdigest():
                raise Refused("what came has another hash: damaged on the way, or changed meanwhile")
            if os.path.isfile(path) and not force:
                raise Refused(f"{path} has come to be here meanwhile; --force replaces it")
    except (FileError, ConnectionError, TimeoutError):
        raise
    except OSError as error:
        error.filename = path
        raise
    return size


def requests(names: list[str], verify: bool) -> Iterator[tuple[list[str], bytes]]:
    """Yield names, and the requests for these files, as many as may be under way at the same time."""
    batch: list[str] = []
    data = b""
    for name in names:
        request = f"GET {escape(name)}\n".encode() + (f"HASH {escape(name)}\n".encode() if verify else b"")
        if batch and len(data) + len(request) > AHEAD:
            yield batch, data
            batch, data = [], b""
        batch.append(name)
        data += request
    yield batch, data


def talk(connection: socket.socket, args: argparse.Namespace) -> int:
    """Do what the command line asks for; return the exit status. Raises FileError, OSError."""
    reader = Answers(connection)
    if args.list:
        connection.sendall(b"LIST\n")
        for _ in range(reader.number()):
            match = re.fullmatch("([0-9]{1,20})\t(.*)", line := reader.line())
            if not match:
                raise FileError(f"not a file server: it lists {line[:80]!r}")
            with suppress(BrokenPipeError):  # about which show() knows what to do
                print(match[1], end="\t")
            show(match[2])
        return 0
    status = 0
    paths: dict[str, str] = {}
    for name in args.names:
        try:
            path = target(name, args.output, args.force)
            if os.path.normcase(path) in map(os.path.normcase, paths.values()) and name not in paths:
                raise Refused(f"{path} is already the place of another one")
            paths[name] = path
        except Refused as error:
            status = fail(f"{name}: {error}")
    for names, data in requests(list(paths), args.verify):
        connection.sendall(data)
        for name in names:
            try:
                size = fetch_file(reader, paths[name], args.verify, args.force)
            except Refused as error:
                status = fail(f"{name}: {error}")
            else:
                if os.path.isfile(paths[name]):  # and not stdout, say
                    show(f"{paths[name]}: {size} bytes{', verified' if args.verify else ''}")
    return status


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


def client_parser() -> argparse.ArgumentParser:
    """Return a parser of the options that all clients have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=HOST, help="the server's name or address (default: %(default)s)")
    parser.add_argument("--port", type=between(1, 65535), default=PORT, help="the server's port (default: %(default)s)")
    patience = "seconds to wait for an answer, 0: for ever (default: %(default)g)"
    parser.add_argument("--timeout", type=between(0, 1e6, float), default=TIMEOUT, metavar="SECONDS", help=patience)
    return parser


def between(low: float, high: float, kind: Callable[[str], float] = int) -> Callable[[str], float]:
    """Return an argparse type that takes a number from `low` to `high`."""

    def number(text: str) -> float:
        if low <= (value := kind(text)) <= high:
            return value
        raise argparse.ArgumentTypeError(f"{text} is not from {low:.0f} to {high:.0f}")

    return number


def progress(pieces: Iterable[bytes], total: int) -> Iterator[bytes]:
    """Pass `pieces` on, of `total` bytes, and meanwhile draw a bar on stderr if it is a terminal."""
    start = drawn = time.monotonic()
    done = 0
    try:
        for piece in pieces:
            yield piece
            done += len(piece)
            now = time.monotonic()
            if sys.stderr and sys.stderr.isatty() and now - drawn >= BAR:
                drawn = now
                share, rate = done / max(total, done), done / (now - start)
                left = (max(total, done) - done) / rate
                line = f"[{'#' * round(40 * share):40}] {share:4.0%} {rate / 1e6:7.1f} MB/s {left:5.0f} s left"
                print(f"\r{line}", end="", file=sys.stderr, flush=True)
    finally:
        if drawn != start:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def explain(error: Exception) -> str:
    """Return in words what went wrong, and what to do about it."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; start the server, or check address and port"
    if isinstance(error, TimeoutError):
        return "no answer in time; try a longer --timeout"
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "unknown host; check its name"
    return getattr(error, "strerror", None) or str(error)


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


def fail(reason: str) -> int:
    """Say on stderr, in one line, why the job failed; return the exit status."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in reason)
    if sys.stderr:
        print(f"{os.path.basename(sys.argv[0])}: error: {line}", file=sys.stderr)
    return 1


def main(argv: list[str] | None = None) -> int:
    parser = client_parser()
    job = parser.add_mutually_exclusive_group()
    job.add_argument("names", nargs="*", default=[], metavar="NAME", help="fetch these files")
    job.add_argument("--list", action="store_true", help="show what there is: size and name")
    parser.add_argument("--output", metavar="PATH", help="a file, or a folder (default: the current one)")
    parser.add_argument("--verify", action="store_true", help="compare with the hash that the server tells")
    parser.add_argument("--force", action="store_true", help="replace files that are here already")
    args = parser.parse_args(argv)
    if not args.list and not args.names:
        parser.error("which file? There is also --list")
    if len(args.names) > 1 and args.output and not os.path.isdir(args.output):
        parser.error("several files want a folder as --output")
    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # to leave nothing behind
    return call(args, partial(talk, args=args), socket.create_connection)


if __name__ == "__main__":
    sys.exit(main())
