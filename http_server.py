"""HTTP server: shows a folder to browsers and to programs, and nothing outside of it (RFC 9110, RFC 9112).

A folder is shown as its index.html, or else as a list of what is in it. A part of a file can be asked for (Range), or
a file only if it is newer (If-Modified-Since), so that a browser can seek in a video, and `curl -C -` can resume.
Connections are kept open between requests. Whatever leads out of the folder, such as a symbolic link, is not found,
and neither is anything but files and folders.

Try it:

    python3 http_server.py
    curl http://localhost:8000/
"""

import argparse
import errno
import html
import logging
import mimetypes
import os
import re
import select
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from email.utils import formatdate, parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO
from urllib.parse import quote, unquote_to_bytes

HOST, PORT = "localhost", 8000
TIMEOUT = 30.0  # seconds that a connection may be idle
BACKLOG = 4096  # clients that may queue until they are accepted
POLL = 0.05  # seconds between two looks at the stop event
LINGER = 1.0  # seconds a client has to take the last reply
BUFFER = 64 * 1024  # bytes of a reply that go out with its head
INDEX = "index.html"
LATEST = datetime(3000, 1, 1).timestamp()  # a date that Windows, too, can write

STYLE = """
:root { color-scheme: light dark; --line: #d8dee4; --soft: #59636e; --link: #0757ba; --hover: #f3f6f9 }
@media (prefers-color-scheme: dark) { :root { --line: #30363d; --soft: #9198a1; --link: #6cb2ff; --hover: #1b222b } }
@media (prefers-color-scheme: dark) { body { background: #0d1117; color: #e6edf3 } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 0 auto; padding: 1.5rem 1rem 3rem }
nav { font-size: 1.25rem; font-weight: 600; margin-bottom: 1rem; overflow-wrap: anywhere }
nav i { color: var(--soft); font-style: normal; font-weight: 400; padding: 0 .3em }
a { color: var(--link); text-decoration: none }
a:hover { text-decoration: underline }
table { border-collapse: collapse; width: 100% }
th, td { padding: .45rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line) }
th { color: var(--soft); font-size: .8rem; font-weight: 600 }
tr:hover td { background: var(--hover) }
td:first-child { width: 100%; overflow-wrap: anywhere }
td:nth-child(n+2), th:nth-child(n+2) { color: var(--soft); white-space: nowrap; font-variant-numeric: tabular-nums }
td:nth-child(2), th:nth-child(2) { text-align: right }
@media (max-width: 34rem) { td:nth-child(3), th:nth-child(3) { display: none } }
"""

Address = tuple[Any, ...]

log = logging.getLogger(__name__)


def locate(root: str, target: str) -> str:
    """Return the real path of what the path of a URL names in the folder `root`, itself a real path.

    Raises OSError or ValueError if it is not there, or outside, which nobody outside can tell apart.
    """
    names = [name for name in unquote_to_bytes(target.encode("latin-1")).split(b"/") if name]
    if b".." in names:
        raise FileNotFoundError
    path = inside(root, os.path.join(root, *map(os.fsdecode, names)))
    if (target.endswith("/") or names[-1:] == [b"."]) and not os.path.isdir(path):
        raise NotADirectoryError
    return path


def inside(root: str, path: str) -> str:
    """Return the real path of a file or folder in `root`. Raises OSError or ValueError if it is none."""
    path = os.path.realpath(path, strict=True)
    if os.path.commonpath([root, path]) == root and (os.path.isfile(path) or os.path.isdir(path)):
        return path
    raise FileNotFoundError


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """Return where the part begins that a Range header asks for, and where it ends, exclusive (RFC 9110, 14.1.2).

    None means all: it asks for several parts, or cannot be understood. Raises IndexError if there is no such part.
    """
    match = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", header.replace(" ", "").lower())
    if not match or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise IndexError
    return start, end


def media_type(path: str) -> str:
    """Return the Content-Type of a file, by its name."""
    kind, encoding = mimetypes.guess_type(path)
    if encoding or not kind:
        return "application/gzip" if encoding == "gzip" else "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") and kind != "text/html" else kind


def listing(root: str, folder: str) -> str:
    """Return the page that shows what is in `folder`: folders first, by name. Raises OSError."""
    found = []
    for entry in os.scandir(folder):
        with suppress(OSError, ValueError):  # not for the outside, or gone meanwhile
            path = inside(root, entry.path)
            if folder == path or folder.startswith(path + os.sep):
                continue  # a link back up: whoever follows all links would never come to an end
            status = os.stat(path)
            found.append((stat.S_ISREG(status.st_mode), entry.name.casefold(), entry.name, status))
    names = steps(root, folder)
    trail = ['<a href="/">Home</a>']
    trail += [f'<a href="{url(names[:depth])}">{visible(name)}</a>' for depth, name in enumerate(names, 1)]
    table = [row(name, is_file, status) for is_file, _, name, status in sorted(found, key=lambda one: one[:3])]
    rows = "\n".join(table) or "<tr><td>Nothing here.<td><td>"
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{visible("/".join(names) or "Home")}</title>
<style>{STYLE}</style>
<nav>{"<i>/</i>".join(trail)}</nav>
<table>
<tr><th>Name<th>Size<th>Changed
{rows}
</table>
"""


def steps(root: str, folder: str) -> list[str]:
    """Return the names on the way from `root` to `folder`."""
    return [] if folder == root else os.path.relpath(folder, root).split(os.sep)


def url(names: list[str]) -> str:
    """Return the path of a folder in a URL."""
    return "/" + "".join(f"{href(name)}/" for name in names)


def row(name: str, is_file: bool, status: os.stat_result) -> str:
    """Return the line of the table for one file or folder."""
    slash = "" if is_file else "/"
    size = f'<td title="{status.st_size} bytes">{human(status.st_size)}' if is_file else "<td>"
    when = datetime.fromtimestamp(changed(status))
    return f'<tr><td><a href="{href(name)}{slash}">{visible(name)}{slash}</a>{size}<td>{when:%Y-%m-%d %H:%M}'


def changed(status: os.stat_result) -> float:
    """Return when a file was changed last, in seconds, or the nearest time that a date can tell."""
    return min(max(status.st_mtime, 0), LATEST)


def href(name: str) -> str:
    """Return a file's name, whatever its bytes, for a URL."""
    return quote(os.fsencode(name), safe="")


def visible(name: str) -> str:
    """Return a file's name, whatever its bytes, for a page."""
    return html.escape(escape(os.fsencode(name)))


def human(size: float) -> str:
    """Return a size in bytes as one reads it: three digits and a unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    server_version = "http_server/1.0"
    sys_version = ""
    disable_nagle_algorithm = True  # or the end of a reply waits until the client has confirmed its beginning
    wbufsize = BUFFER
    server: "Server"

    def do_GET(self) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body, which nobody reads, is no next request
        root = self.server.root
        target, mark, query = re.sub("^https?://[^/?]*", "", self.path, flags=re.IGNORECASE).partition("?")
        try:
            path = locate(root, target)
            if os.path.isdir(path):
                location = url(steps(root, path))
                if unquote_to_bytes(target.encode("latin-1")) != unquote_to_bytes(location):
                    return self.reply(HTTPStatus.MOVED_PERMANENTLY, {"Location": location + mark + query})
                with suppress(OSError, ValueError):
                    index = inside(root, os.path.join(path, INDEX))
                    path = index if os.path.isfile(index) else path
            if os.path.isdir(path):
                page = listing(root, path).encode()
                return self.reply(HTTPStatus.OK, {"Content-Type": "text/html; charset=utf-8"}, page)
            file = open(path, "rb")  # noqa: SIM115, closed below
        except PermissionError:
            return self.send_error(HTTPStatus.FORBIDDEN.value)
        except (OSError, ValueError) as error:
            busy = getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)
            return self.send_error((HTTPStatus.SERVICE_UNAVAILABLE if busy else HTTPStatus.NOT_FOUND).value)
        with file:
            return self.reply_file(file, media_type(path))

    do_HEAD = do_GET

    def reply_file(self, file: BinaryIO, kind: str) -> None:
        """Send a file, or the part of it that the request asks for."""
        status = os.fstat(file.fileno())
        modified = formatdate(changed(status), usegmt=True)
        size = status.st_size
        head = {"Content-Type": kind, "Last-Modified": modified, "Accept-Ranges": "bytes"}
        if self.is_known(changed(status)):
            return self.reply(HTTPStatus.NOT_MODIFIED, {"Last-Modified": modified})
        part = None
        if self.command == "GET" and self.headers.get("If-Range", modified) == modified:
            try:
                part = byte_range(self.headers.get("Range", ""), size)
            except IndexError:
                return self.reply(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{size}"})
        start, end = part or (0, size)
        if part:
            head["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        self.begin(HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK, head, end - start)
        if self.command == "HEAD":
            return None
        if end - start <= BUFFER:
            file.seek(start)
            sent = self.wfile.write(file.read(end - start))
        else:
            self.wfile.flush()
            sent = self.connection.sendfile(file, start, end - start)
        if sent < end - start:  # the file has become shorter: that the connection ends tells the client
            self.close_connection = True
        return None

    def is_known(self, modified: float) -> bool:
        """Return whether the client has said that it knows this state of the file."""
        if "If-None-Match" in self.headers:  # which would decide, but we have given no ETag
            return False
        with suppress(TypeError, ValueError, OverflowError):
            return int(modified) <= parsedate_to_datetime(self.headers["If-Modified-Since"]).timestamp()
        return False

    def reply(self, status: HTTPStatus, head: dict[str, str], body: bytes = b"") -> None:
        """Send a reply that is in memory."""
        self.begin(status, head, len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def begin(self, status: HTTPStatus, head: dict[str, str], size: int) -> None:
        """Send the head of a reply with a body of `size` bytes."""
        self.send_response(status)
        for name, value in head.items():
            self.send_header(name, value)
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(size))
        if self.close_connection or self.request_version == "HTTP/1.0":
            self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        self.end_headers()

    def log_error(self, *_: object) -> None:
        """Say nothing: the request is logged with its status."""

    def log_message(self, format: str, *args: object) -> None:
        log.info("%s %s", self.client_address[:2], escape(format % args))


class Server(ThreadingHTTPServer):
    """The library's server, on a `listener` that is already bound. Closing it hangs up on everybody."""

    timeout = POLL

    def __init__(self, listener: socket.socket, root: str, patience: float | None) -> None:
        super().__init__(listener.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket, self.root, self.patience = listener, root, patience
        self.live: dict[threading.Thread, socket.socket] = {}

    def get_request(self) -> tuple[socket.socket, Address]:
        try:
            connection, address = super().get_request()
        except OSError as error:  # out of descriptors, say: without a pause this would spin
            log.warning("Cannot accept a client: %s", error)
            time.sleep(POLL)
            raise
        connection.settimeout(self.patience)
        return connection, address

    def process_request(self, connection: Any, address: Any) -> None:
        thread = threading.Thread(target=self.process_request_thread, args=(connection, address), daemon=True)
        self.live[thread] = connection
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:  # out of threads
            log.warning("Cannot serve %s: %s", address[:2], error)
            self.live.pop(thread).close()

    def shutdown_request(self, connection: Any) -> None:
        hang_up(connection)
        connection.close()
        del self.live[threading.current_thread()]

    def handle_error(self, connection: object, address: Any) -> None:
        log.info("Connection lost %s: %s", address[:2], sys.exc_info()[1])

    def server_close(self) -> None:
        for connection in list(self.live.values()):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in list(self.live):
            thread.join()
        super().server_close()


def serve_files(listener: socket.socket, root: str, timeout: float, stop: threading.Event) -> None:
    """Show the folder `root`, a real path, to each client of `listener`, until `stop` is set."""
    with Server(listener, root, timeout or None) as server:
        while not stop.is_set():
            server.handle_request()


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
    parser.add_argument("--directory", default=".", metavar="DIR", help="show this folder (default: the current one)")
    args = parser.parse_args(argv)
    root = os.path.realpath(args.directory)
    if not os.path.isdir(root):
        return fail(f"{args.directory}: not a folder; choose another --directory")
    serve = partial(serve_files, root=root, timeout=args.timeout)
    return run(args, serve, partial(socket.create_server, backlog=BACKLOG))


if __name__ == "__main__":
    sys.exit(main())
