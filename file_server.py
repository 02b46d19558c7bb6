"""File server: sends the files of a folder, and nothing from outside of it.

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

After "OK size" come exactly that many bytes. A line of the list is size, tab,
name; files in subfolders have "/" in their names. Control characters and
backslashes in names are written as in a Python string (\\n, \\x1b, \\\\), in
requests, too. UTF-8; lines end in LF or CRLF and have at most 8192 bytes. The
hash is SHA-256.

Try it:

    mkdir -p files && echo Hello > files/hello.txt
    python3 file_server.py --directory files
    python3 file_client.py hello.txt  # in another terminal

Left out: uploads, and parts of a file.

Experiment:

    - if os.path.commonpath([root, path]) != root
    + if not path.startswith(root)
    `pytest -k "file_server and nothing_outside"` fails: the folder "root-too"
    begins like the folder "root", and is another one.
"""

import argparse
import errno
import hashlib
import logging
import os
import re
import signal
import socket
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, BinaryIO

HOST, PORT = "localhost", 9004
TIMEOUT = 60.0  # seconds
MAX_LINE = 8192  # bytes
PIECE = 256 * 1024  # bytes of a file to read, hash and send at once

Address = tuple[Any, ...]  # (host, port), and two more values for IPv6

log = logging.getLogger(__name__)


def encode_name(name: str) -> str:
    """Return the name of a file as it stands in a line."""
    return escape(name.replace("\\", r"\\"))


def decode_name(text: str) -> str:
    """Return the name that encode_name() wrote as `text`. Raises ValueError if there is none."""
    if re.search(r"\\(?!\\|[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})", text.replace(r"\\", "")):
        raise ValueError("not an escape sequence")
    escapes = r"\\(\\|[nrt]|x..|u....|U........)"
    return re.sub(escapes, lambda match: match[0].encode().decode("unicode_escape"), text)


def local_path(root: str, name: str) -> str:
    """Return the real path of the file `name` in the folder `root`, itself a real path.

    Raises OSError or ValueError if it is not there, or outside: the client must not learn which.
    """
    parts = name.split("/")
    if {"", ".", ".."}.intersection(parts):
        raise FileNotFoundError
    path = os.path.realpath(os.path.join(root, *parts), strict=True)  # follows symbolic links
    if os.path.commonpath([root, path]) != root or not os.path.isfile(path):
        raise FileNotFoundError
    return path


def open_file(root: str, text: str) -> BinaryIO:
    """Open the file in the folder `root` whose encoded name is `text`. Raises FileNotFoundError.

    Raises another OSError if the server is out of file descriptors.
    """

    def no_wait(path: str, flags: int) -> int:  # else open() of a FIFO would wait for a writer
        return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))

    with ExitStack() as stack:  # closes the file, unless it is returned
        try:
            name = decode_name(text)
            path = local_path(root, name)
            file = stack.enter_context(open(path, "rb", opener=no_wait))
            # Somebody may have put a link there since the check: compare with what is open.
            if os.path.samestat(os.fstat(file.fileno()), os.stat(local_path(root, name))):
                stack.pop_all()
                return file
        except (OSError, ValueError) as error:
            check_descriptors(error)
    raise FileNotFoundError


def check_descriptors(error: Exception) -> None:
    """Raise `error` if the server is out of file descriptors: the file may well be there."""
    if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
        raise error


def list_files(root: str) -> list[tuple[str, int]]:
    """Return names and sizes in bytes of all readable files in `root`, sorted by name.

    Raises OSError if the server is out of file descriptors, rather than leave out files.
    """
    files = []
    for folder, _, names in os.walk(root, onerror=check_descriptors):
        for name in names:
            name = os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")
            with suppress(OSError, ValueError):  # outside, or gone in the meantime
                path = local_path(root, name)
                if os.access(path, os.R_OK):
                    files.append((name, os.path.getsize(path)))
    return sorted(files)


def send_file(connection: socket.socket, file: BinaryIO) -> None:
    """Send a file with its size in front. Raises OSError, also if it gets shorter meanwhile."""
    size = os.fstat(file.fileno()).st_size
    head = f"OK {size}\n".encode()
    if size <= PIECE:
        data = file.read(size)
        sent = len(data)
        connection.sendall(head + data)  # a small file in one piece with its size
    else:
        connection.sendall(head)
        sent = connection.sendfile(file, 0, size)  # the kernel copies it: Python never sees it
    if sent < size:
        raise ConnectionAbortedError("the file got shorter: only hanging up can tell that")


def hash_file(connection: socket.socket, file: BinaryIO) -> str:
    """Return the SHA-256 of a file in hex. Raises OSError, also when the connection ends."""
    sha256 = hashlib.sha256()
    while piece := file.read(PIECE):
        sha256.update(piece)
        connection.send(b"")  # fails if serve() has shut the connection down
    return sha256.hexdigest()


def handle_client(connection: socket.socket, address: Address, root: str, timeout: float) -> str:
    """Answer the requests of one client; return a summary for the log. Raises OSError."""
    connection.settimeout(timeout or None)
    count = 0
    for line in read_lines(connection, b"ERROR timeout\n"):
        text = line.decode("utf-8", "replace")
        log.info("%s %s", address, escape(text))
        command, _, name = text.partition(" ")
        if len(line) > MAX_LINE:
            reply = "ERROR line too long"
        elif command in ("GET", "HASH"):
            try:
                with open_file(root, name) as file:
                    if command == "GET":
                        send_file(connection, file)
                        count += 1
                        continue
                    reply = f"OK {hash_file(connection, file)}"
            except FileNotFoundError:
                reply = f"ERROR file not found: '{escape(name)}'"
        elif text == "LIST":
            files = list_files(root)
            lines = [f"{size}\t{encode_name(name)}" for name, size in files]
            reply = "\n".join([f"OK {len(files)}", *lines])
        elif text == "QUIT":
            connection.sendall(b"BYE\n")
            break
        else:
            requests = "GET name, HASH name, LIST or QUIT"
            reply = f"ERROR not a request: '{escape(text[:80])}'; send {requests}"
        data = f"{reply}\n".encode()
        for start in range(0, len(data), PIECE):  # the timeout applies to each piece
            connection.sendall(data[start : start + PIECE])
    return f"files sent: {count}"


# The rest is the same in every server: a thread for each client, and the command line.

MAX_CLIENTS = 5000  # at once; the next one waits until one leaves
POLL = 0.05  # seconds: accept() cannot notice `stop`, so it gives up this often to check
LINGER = 1.0  # seconds to wait for the client to close its side


def serve(listener: socket.socket, handle_client: Callable[..., str], stop: list[int]) -> None:
    """Call `handle_client(connection, address)` in a thread for each client until `stop` is filled.

    `listener` is bound and listening; `handle_client` returns a summary for the log. At the end
    the live connections are shut down, and all threads have ended.
    """
    connections: set[socket.socket] = set()

    def run_client(connection: socket.socket, address: Address) -> None:
        log.info("Connection from %s", address)
        try:
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # reply at once
                summary = handle_client(connection, address)
                hang_up(connection)
            log.info("Connection closed %s: %s", address, summary)
        except OSError as error:
            log.info("Connection lost %s: %s", address, error)
        except Exception:  # a bug costs one client; the pool swallows exceptions
            log.exception("Connection failed %s", address)
        connections.remove(connection)

    listener.settimeout(POLL)
    with ThreadPoolExecutor(MAX_CLIENTS) as pool:  # reuses threads; waits for them at the end
        while not stop:
            try:
                connection, address = listener.accept()
                connections.add(connection)
                pool.submit(run_client, connection, address)
            except TimeoutError:
                pass
            except (OSError, RuntimeError) as error:  # out of file descriptors or threads
                log.warning("Cannot accept a client: %s", error)
                time.sleep(POLL)  # let some clients leave; do not spin
        for connection in list(connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes its thread
                if sys.platform == "win32":  # only closing it does, there
                    socket.close(connection.detach())


def hang_up(connection: socket.socket) -> None:
    """End `connection` so that the last reply arrives.

    Closing a socket that holds unread bytes resets the connection, and a reset can destroy a
    reply on its way. So send the end of the stream, and read until the client closes as well.
    """
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(LINGER)
        deadline = time.monotonic() + LINGER
        while connection.recv(65536) and time.monotonic() < deadline:
            pass


def read_lines(connection: socket.socket, timeout_reply: bytes) -> Iterator[bytes]:
    """Yield each line without its LF or CRLF, however it was cut into pieces on the way.

    The last line may lack its ending. A line longer than MAX_LINE is cut, but stays longer than
    MAX_LINE. An idle client gets `timeout_reply` before TimeoutError is raised. Raises OSError.
    """
    with connection.makefile("rb") as stream:
        try:
            while line := stream.readline(MAX_LINE + 2):
                rest = line
                while rest and not rest.endswith(b"\n"):  # too long: skip the rest
                    rest = stream.readline(MAX_LINE)
                yield line.removesuffix(b"\n").removesuffix(b"\r")
        except TimeoutError:
            connection.sendall(timeout_reply)
            raise


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


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--host", default=HOST, help="address to listen on (default: %(default)s)")
    option("--port", type=int, default=PORT, help="0 for a free one (default: %(default)s)")
    option(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help="disconnect a client that is idle this long; 0: never (default: %(default)g)",
    )
    option("--quiet", action="store_true", help="log errors only")
    option("--directory", default=".", help="folder to serve (default: the current one)")
    args = parser.parse_args(argv)
    if not (args.host and 0 <= args.port <= 65535 and 0 <= args.timeout <= 1e6):
        parser.error(
            "--host must not be empty; --port must be from 0 to 65535, --timeout from 0 to 1000000"
        )
    root = os.path.realpath(args.directory)
    if not os.path.isdir(root):
        reason = f"{args.directory}: not a folder; choose another --directory"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    logging.basicConfig(
        level=logging.ERROR if args.quiet else logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    host, family = args.host, socket.AF_INET
    if ":" in host:
        host, family = f"[{host}]", socket.AF_INET6
    try:
        listener = socket.create_server((args.host, args.port), family=family, backlog=MAX_CLIENTS)
    except (OSError, UnicodeError) as error:
        reason = f"cannot listen on {host}:{args.port}: {error}; choose another --host or --port"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    stop: list[int] = []  # not KeyboardInterrupt: a second Ctrl-C would raise it in the clean-up
    for number in (signal.SIGINT, getattr(signal, "SIGBREAK", signal.SIGTERM)):
        signal.signal(number, lambda number, _: stop.append(number))
    with listener:
        print(f"Server listening on {host}:{listener.getsockname()[1]}...", flush=True)
        serve(listener, partial(handle_client, root=root, timeout=args.timeout), stop)
    log.info("Server stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
