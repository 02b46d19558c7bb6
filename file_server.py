"""File server: hands out the files of a folder, and nothing outside of it.

    C: LIST
    S: OK 1
    S: 6...hello.txt
    C: HASH hello.txt
    S: OK 66a045b452102c59d840ec097d59d9467e13a3f34f6494e539ffd32c1bb35f18
    C: GET hello.txt
    S: OK 6
    S: Hello
    C: GET ../hello.txt
    S: ERROR file not found: '../hello.txt'
    C: QUIT
    S: BYE

After `OK size` come exactly that many bytes. A line of the list is size, TAB, name; the names of files in subfolders
hold `/`. Control characters and backslashes in names are written as in a Python string (`\\n`, `\\x1b`, `\\\\`), in
requests too. UTF-8, lines end in LF or CRLF and have at most 8192 bytes. The hash is SHA-256.

Try it:

    mkdir -p files && echo Hello > files/hello.txt
    python3 file_server.py --directory files
    python3 file_client.py hello.txt
"""

import argparse
import errno
import hashlib
import logging
import os
import re
import select
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, BinaryIO

HOST, PORT = "localhost", 9004
TIMEOUT = 60.0  # seconds
MAX_LINE = 8192  # bytes
CHUNK = 64 * 1024  # bytes to read at a time
PIECE = 1024 * 1024  # bytes of a file to hash at a time
BACKLOG = 4096  # clients that may queue until they are accepted
SPARE = 64  # threads that may wait for the next client
POLL = 0.05  # seconds between two looks at the stop event
LINGER = 1.0  # seconds a client has to take the last reply

Address = tuple[Any, ...]

log = logging.getLogger(__name__)


def written(name: str) -> str:
    """Return the name of a file as it stands in a line."""
    return escape(name.replace("\\", r"\\"))


def meant(text: str) -> str:
    """Return the name that written() has written so. Raises ValueError if it cannot have."""
    if re.search(r"\\(?!\\|[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})", text.replace(r"\\", "")):
        raise ValueError("not an escape sequence")
    return re.sub(r"\\(\\|[nrt]|x..|u....|U........)", lambda match: match[0].encode().decode("unicode_escape"), text)


def find(root: str, name: str) -> str:
    """Return the real path of the file `name` in the folder `root`, itself a real path.

    Raises OSError or ValueError if it is not there, or outside, which nobody outside can tell apart.
    """
    parts = name.split("/")
    if "" in parts or ".." in parts or parts[-1] == ".":
        raise FileNotFoundError
    path = inside(root, os.path.join(root, *parts))
    if os.path.isdir(path):
        raise IsADirectoryError
    return path


def inside(root: str, path: str) -> str:
    """Return the real path of a file or folder in `root`. Raises OSError or ValueError if it is none."""
    path = os.path.realpath(path, strict=True)
    if os.path.commonpath([root, path]) == root and (os.path.isfile(path) or os.path.isdir(path)):
        return path
    raise FileNotFoundError


def catalogue(root: str) -> list[tuple[str, int]]:
    """Return names and sizes of all files in `root` that can be read, sorted by code point. Raises OSError."""
    files = []
    folders = [root]
    while folders:
        with suppress(PermissionError, FileNotFoundError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                    continue
                with suppress(OSError, ValueError, RecursionError):  # not for the outside, or gone meanwhile
                    path = inside(root, entry.path)
                    if os.path.isfile(path) and os.access(path, os.R_OK):
                        name = os.path.relpath(entry.path, root).replace(os.sep, "/")
                        files.append((name, os.path.getsize(path)))
    return sorted(files)


def opened(root: str, text: str) -> BinaryIO | None:
    """Return the file whose name is written as `text`, open, or None. Raises OSError if out of descriptors."""
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)  # for what may have taken its place meanwhile
    with ExitStack() as stack:
        try:
            path = find(root, meant(text))
            file = stack.enter_context(open(path, "rb", opener=lambda path, mode: os.open(path, mode | flags)))
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and os.path.samestat(status, os.stat(find(root, meant(text)))):
                stack.pop_all()
                return file
        except (OSError, ValueError, RecursionError) as error:
            if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise
    return None


def digest(file: BinaryIO, connection: socket.socket) -> str:
    """Return the SHA-256 of a file in hex. Raises OSError, also if the connection ends meanwhile."""
    sha256 = hashlib.sha256()
    while piece := file.read(PIECE):
        sha256.update(piece)
        connection.send(b"")
    return sha256.hexdigest()


def send_file(connection: socket.socket, file: BinaryIO) -> None:
    """Send a file with its size in front. Raises OSError, also if it becomes shorter meanwhile."""
    size = os.fstat(file.fileno()).st_size
    head = f"OK {size}\n".encode()
    if size <= CHUNK:
        data = file.read(size)
        sent = len(data)
        connection.sendall(head + data)
    else:
        connection.sendall(head)
        sent = connection.sendfile(file, 0, size)
    if sent < size:
        raise ConnectionAbortedError("the file has become shorter: only hanging up can tell that")


def converse(connection: socket.socket, address: Address, root: str, timeout: float) -> str:
    """Answer the requests of one client; return a summary. Raises OSError."""
    connection.settimeout(timeout or None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    count = 0
    for line in lines(connection, b"ERROR timeout\n"):
        text = line.decode("utf-8", "replace")
        log.info("%s %s", address[:2], escape(text))
        command, _, name = text.partition(" ")
        if len(line) > MAX_LINE:
            answer = "ERROR line too long"
        elif command in ("GET", "HASH"):
            file = opened(root, name)
            if not file:
                answer = f"ERROR file not found: '{escape(name)}'"
            else:
                with file:
                    if command == "GET":
                        send_file(connection, file)
                        count += 1
                        continue
                    answer = f"OK {digest(file, connection)}"
        elif text == "LIST":
            files = catalogue(root)
            answer = "\n".join([f"OK {len(files)}", *(f"{size}\t{written(name)}" for name, size in files)])
        elif text == "QUIT":
            connection.sendall(b"BYE\n")
            break
        else:
            answer = f"ERROR not a request: '{escape(text[:80])}'; there is GET name, HASH name, LIST and QUIT"
        data = f"{answer}\n".encode()
        for start in range(0, len(data), CHUNK):  # the time limit is for each piece
            connection.sendall(data[start : start + CHUNK])
    return f"{count} files sent"


def lines(connection: socket.socket, farewell: bytes) -> Iterator[bytes]:
    """Yield the lines that come, without LF or CRLF; the last one need not end so. Beyond MAX_LINE they are cut."""
    rest = bytearray()
    while piece := receive(connection, CHUNK, farewell) or (rest and b"\n"):
        *whole, last = piece.split(b"\n")
        for line in whole:
            rest += line[: MAX_LINE + 2 - len(rest)]
            yield bytes(rest.removesuffix(b"\r"))
            rest.clear()
        rest += last[: MAX_LINE + 2 - len(rest)]


def receive(connection: socket.socket, size: int, farewell: bytes) -> bytes:
    """Return the next bytes, `size` at most; b"" at the end. Raises TimeoutError, after a `farewell`; OSError."""
    try:
        return connection.recv(size)
    except (BlockingIOError, TimeoutError):
        connection.sendall(farewell)
        raise TimeoutError("silent for too long") from None


def serve(listener: socket.socket, converse: Callable[..., str], stop: threading.Event | None = None) -> None:
    """Hold `converse(connection, address)`, which returns a summary for the log, with each client, until `stop` is set.

    Each client has a thread to itself. When it has left, the thread waits for another one, as long as few do: to start
    one costs more than a short conversation. On the way out live connections are shut down and all threads joined.
    """
    stop = stop or threading.Event()
    live: set[socket.socket] = set()
    threads: set[threading.Thread] = set()
    free: list[threading.Thread] = []
    clients: SimpleQueue[tuple[socket.socket, Address] | None] = SimpleQueue()  # for each there is a free thread

    def attend() -> None:
        while client := clients.get():
            connection, address = client
            try:
                with connection:
                    log.info("Connection from %s", address[:2])
                    summary = converse(connection, address)
                    hang_up(connection)
                log.info("Connection closed %s: %s", address[:2], summary)
            except (OSError, MemoryError) as error:
                log.info("Connection lost %s: %s", address[:2], error)
            finally:
                live.remove(connection)
            if len(free) >= SPARE:
                break
            free.append(threading.current_thread())
        threads.discard(threading.current_thread())

    listener.settimeout(POLL)
    try:
        while not stop.is_set():
            connection = None
            try:
                connection, address = listener.accept()
                if not free:
                    thread = threading.Thread(target=attend, daemon=True)
                    thread.start()
                    threads.add(thread)
                    free.append(thread)
            except TimeoutError:
                if free:  # a quiet moment: one thread less
                    free.pop()
                    clients.put(None)
            except (OSError, RuntimeError, MemoryError) as error:  # out of descriptors or threads, say
                log.warning("Cannot accept a client: %s", error)
                if connection:
                    connection.close()
                time.sleep(POLL)  # or else this would spin
            else:
                free.pop()
                live.add(connection)
                clients.put((connection, address))
    finally:
        for connection in list(live):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for _ in list(threads):
            clients.put(None)
        for thread in list(threads):
            thread.join()


def hang_up(connection: socket.socket) -> None:
    """End `connection` so that the last reply arrives: to close it with bytes unread would reset it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(LINGER)
        deadline = time.monotonic() + LINGER
        while connection.recv(65536) and time.monotonic() < deadline:
            pass


def between(low: float, high: float, kind: Callable[[str], float] = int) -> Callable[[str], float]:
    """Return an argparse type that takes a number from `low` to `high`."""

    def number(text: str) -> float:
        if low <= (value := kind(text)) <= high:
            return value
        raise argparse.ArgumentTypeError(f"{text} is not from {low:.0f} to {high:.0f}")

    return number


def server_parser() -> argparse.ArgumentParser:
    """Return a parser of the options that all servers have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=HOST, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=between(0, 65535), default=PORT, help="0: a free one (default: %(default)s)")
    patience = "seconds a client may be silent, 0: for ever (default: %(default)g)"
    parser.add_argument("--timeout", type=between(0, 1e6, float), default=TIMEOUT, metavar="SECONDS", help=patience)
    parser.add_argument("--quiet", action="store_true", help="no log")
    return parser


class Log(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to stderr; what nobody reads for a second is dropped, since a full pipe must not stop a server."""

    patience = 1.0  # seconds

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, TypeError, ValueError):  # no stderr, or Windows, which selects sockets only
            self.patience = 1.0 if select.select([], [self.stream], [], self.patience)[1] else 0.0
        if self.patience:
            super().emit(record)


def run(args: argparse.Namespace, serve: Callable[..., None], listen: Callable[..., socket.socket]) -> int:
    """Listen, announce it, and `serve(listener, stop=...)` until Ctrl-C or SIGTERM; return the exit status."""
    level = logging.ERROR if args.quiet else logging.INFO
    form = "%(asctime)s %(message)s"
    logging.basicConfig(level=level, format=form, datefmt="%Y-%m-%dT%H:%M:%S", handlers=[Log()])
    stop, first = threading.Event(), threading.Lock()

    def interrupt(number: int, frame: object) -> None:
        if first.acquire(blocking=False):  # or else a second signal in the midst of set() would wait for the first
            stop.set()

    signals = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    for number in signals:  # the last one is Windows' Ctrl-Break
        signal.signal(number, interrupt)
    host = f"[{args.host}]" if ":" in args.host else args.host
    try:
        family, _, _, _, address = min(socket.getaddrinfo(args.host, args.port))  # IPv4 where there is a choice
        listener = listen(address, family=family)
    except (OSError, UnicodeError) as error:
        return fail(f"cannot listen on {host}:{args.port}: {error}; choose another --host or --port")
    with listener:
        if sys.stdout:
            with suppress(OSError), open(1, "w", closefd=False) as stdout:  # goes on serving if nobody reads it
                print(f"Server listening on {host}:{listener.getsockname()[1]}...", file=stdout)
        serve(listener, stop=stop)
    for number in signals:
        signal.signal(number, signal.SIG_IGN)  # while Python itself shuts down
    return 0


def fail(reason: str) -> int:
    """Say on stderr, in one line, why the job failed; return the exit status."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in reason)
    if sys.stderr:
        print(f"{os.path.basename(sys.argv[0])}: error: {line}", file=sys.stderr)
    return 1


def escape(text: str | bytes) -> str:
    """Return `text` with backslash escapes for all that could steer a terminal or forge a line."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def main(argv: list[str] | None = None) -> int:
    parser = server_parser()
    parser.add_argument(
        "--directory", default=".", metavar="DIR", help="hand out this folder (default: the current one)"
    )
    args = parser.parse_args(argv)
    root = os.path.realpath(args.directory)
    if not os.path.isdir(root):
        return fail(f"{args.directory}: not a folder; choose another --directory")
    attend = partial(serve, converse=partial(converse, root=root, timeout=args.timeout))
    return run(args, attend, partial(socket.create_server, backlog=BACKLOG))


if __name__ == "__main__":
    sys.exit(main())
