"""HTTP server: shows a folder to browsers, and nothing from outside of it.

A folder is shown as its index.html, or else as a list of what is in it. A
client may ask for a part of a file (Range), so that a browser can seek in a
video and `curl -C -` can resume, or for a file only if it is newer
(If-Modified-Since). Connections are kept open between requests. Only files and
folders are shown, and no symbolic link leads out of the folder. RFC 9110 and
RFC 9112.

Try it:

    python3 http_server.py
    curl http://localhost:8000/  # in another terminal, or open it in a browser

Left out: HTTPS, uploads, compression, several ranges at once, and ETags: a
file that changes twice within a second has the same date.

Experiment:

    - if os.path.commonpath([root, path]) == root and (
    + if (
    `pytest -k "http_server and nothing_outside"` fails: a symbolic link can
    lead out of the folder.
"""

import argparse
import errno
import html
import logging
import mimetypes
import os
import re
import signal
import socket
import stat
import sys
import time
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timezone
from email.message import Message
from email.utils import formatdate, parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, BinaryIO
from urllib.parse import quote, unquote_to_bytes

HOST, PORT = "localhost", 8000
TIMEOUT = 30.0  # seconds that a connection may be idle
BUFFER = 64 * 1024  # bytes of a reply that are sent in one piece with its headers
INDEX = "index.html"
LATEST = datetime(2999, 12, 1, tzinfo=timezone.utc).timestamp()  # Windows cannot show later dates

STYLE = """
:root { color-scheme: light dark; --line: #d8dee4; --soft: #59636e; --link: #0757ba }
:root { --hover: #f3f6f9 }
@media (prefers-color-scheme: dark) {
  :root { --line: #30363d; --soft: #9198a1; --link: #6cb2ff; --hover: #1b222b }
  body { background: #0d1117; color: #e6edf3 }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 0 auto }
body { padding: 1.5rem 1rem 3rem }
nav { font-size: 1.25rem; font-weight: 600; margin-bottom: 1rem; overflow-wrap: anywhere }
nav i { color: var(--soft); font-style: normal; font-weight: 400; padding: 0 .3em }
a { color: var(--link); text-decoration: none }
a:hover { text-decoration: underline }
table { border-collapse: collapse; width: 100% }
th, td { padding: .45rem .6rem; text-align: left; vertical-align: top }
th, td { border-bottom: 1px solid var(--line) }
th { color: var(--soft); font-size: .8rem; font-weight: 600 }
tr:hover td { background: var(--hover) }
td:first-child { width: 100%; overflow-wrap: anywhere }
td:nth-child(n+2), th:nth-child(n+2) { color: var(--soft); white-space: nowrap }
td:nth-child(n+2) { font-variant-numeric: tabular-nums }
td:nth-child(2), th:nth-child(2) { text-align: right }
@media (max-width: 34rem) { td:nth-child(3), th:nth-child(3) { display: none } }
"""

Address = tuple[Any, ...]  # (host, port), and two more values for IPv6

log = logging.getLogger(__name__)


def locate(root: str, target: str) -> str:
    """Return the real path of what the path of a URL names in the folder `root`, a real path.

    Raises OSError or ValueError if it is not there, or outside: the client must not learn which.
    """
    names = [name for name in unquote_to_bytes(target.encode("latin-1")).split(b"/") if name]
    if b".." in names:
        raise FileNotFoundError
    path = real_path(root, os.path.join(root, *map(os.fsdecode, names)))
    if (target.endswith("/") or names[-1:] == [b"."]) and not os.path.isdir(path):
        raise NotADirectoryError
    return path


def real_path(root: str, path: str) -> str:
    """Return the real path of a file or folder in `root`. Raises OSError or ValueError."""
    path = os.path.realpath(path, strict=True)  # follows symbolic links
    if os.path.commonpath([root, path]) == root and (os.path.isfile(path) or os.path.isdir(path)):
        return path
    raise FileNotFoundError


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """Return start and end (exclusive) of the part that a Range header asks for (RFC 9110, 14.1.2).

    None stands for the whole file: the header asks for several parts, or is wrong. Raises
    IndexError if the file has no such part.
    """
    match = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", header.replace(" ", "").lower())
    if not match or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if not first:  # the last so many bytes
        if not size and int(last):
            return None
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise IndexError
    return start, end


def precondition(headers: Message, modified: float) -> HTTPStatus | None:
    """Return the status for a request whose conditions do not hold (RFC 9110, 13.2.2).

    `modified` is in seconds since 1970. As we send no ETag, only "*" matches a file.
    """

    def is_after(name: str) -> bool | None:
        with suppress(TypeError, ValueError, OverflowError):  # no such header, or not a date
            return int(modified) > parsedate_to_datetime(headers[name]).timestamp()
        return None

    if "If-Match" in headers:
        if headers["If-Match"].strip() != "*":
            return HTTPStatus.PRECONDITION_FAILED
    elif is_after("If-Unmodified-Since"):
        return HTTPStatus.PRECONDITION_FAILED
    if "If-None-Match" in headers:
        return HTTPStatus.NOT_MODIFIED if headers["If-None-Match"].strip() == "*" else None
    return HTTPStatus.NOT_MODIFIED if is_after("If-Modified-Since") is False else None


def media_type(path: str) -> str:
    """Return the Content-Type of a file, by its name."""
    kind, encoding = mimetypes.guess_type(path)
    if encoding or not kind:
        return "application/gzip" if encoding == "gzip" else "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") and kind != "text/html" else kind


def list_folder(root: str, folder: str) -> str:
    """Return the page that shows what is in `folder`: folders first, by name. Raises OSError."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError, ValueError):  # it leads outside, or is gone by now
                if entry.is_symlink():
                    path = real_path(root, entry.path)
                    if os.path.commonpath([folder, path]) == path:
                        continue  # a loop: who follows all links would never finish
                status = entry.stat()
                is_file = stat.S_ISREG(status.st_mode)
                if is_file or stat.S_ISDIR(status.st_mode):
                    found.append((is_file, entry.name.casefold(), entry.name, status))
    names = path_names(root, folder)
    links = ['<a href="/">Home</a>']
    for depth, name in enumerate(names, 1):
        links.append(f'<a href="{folder_url(names[:depth])}">{show_name(name)}</a>')
    rows = [format_row(name, is_file, status) for is_file, _, name, status in sorted(found)]
    table = "\n".join(rows) or "<tr><td>This folder is empty.<td><td>"
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{show_name("/".join(names) or "Home")}</title>
<style>{STYLE}</style>
<nav>{"<i>/</i>".join(links)}</nav>
<table>
<tr><th>Name<th>Size<th>Changed
{table}
</table>
"""


def path_names(root: str, folder: str) -> list[str]:
    """Return the names on the way from `root` to `folder`."""
    return [] if folder == root else os.path.relpath(folder, root).split(os.sep)


def folder_url(names: list[str]) -> str:
    """Return the path of a folder in a URL."""
    return "/" + "".join(f"{quote_name(name)}/" for name in names)


def format_row(name: str, is_file: bool, status: os.stat_result) -> str:
    """Return the row of the table for a file or folder."""
    slash = "" if is_file else "/"
    size = f'<td title="{status.st_size} bytes">{show_size(status.st_size)}' if is_file else "<td>"
    link = f'<a href="{quote_name(name)}{slash}">{show_name(name)}{slash}</a>'
    return (
        f"<tr><td>{link}{size}<td>{time.strftime('%Y-%m-%d %H:%M', time.localtime(mtime(status)))}"
    )


def mtime(status: os.stat_result) -> float:
    """Return when a file was changed, in seconds since 1970, or the nearest time to be shown."""
    return min(max(status.st_mtime, 0), LATEST)


def quote_name(name: str) -> str:
    """Return the name of a file, whatever its bytes, for a URL."""
    return quote(os.fsencode(name), safe="")


def show_name(name: str) -> str:
    """Return the name of a file, whatever its bytes, for a page."""
    return html.escape(escape(os.fsencode(name)))


def show_size(size: float) -> str:
    """Return a size in bytes for people: three digits and a unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # HTTP/0.9, the default, has no place for errors
    server_version = "http_server/2.0"
    sys_version = ""
    wbufsize = BUFFER
    raw_requestline: bytes

    def __init__(self, connection: socket.socket, address: Address, root: str) -> None:
        """Handle all requests that come over `connection`. Raises OSError."""
        self.root = root
        self.requests = 0
        super().__init__(connection, address, None)  # type: ignore[arg-type]  # serve() does it

    def parse_request(self) -> bool:
        """Parse a request; return whether it is one."""
        line = self.raw_requestline
        # Without its end the line was cut off; an empty one is ignored (RFC 9112, 2.2).
        if not line.endswith(b"\n") or not line.strip():
            self.close_connection = bool(line.strip())
            return False
        self.requests += 1
        if not super().parse_request():
            return False
        hosts = len(self.headers.get_all("Host", []))
        if hosts > 1 or (not hosts and self.request_version == "HTTP/1.1") or self.headers.defects:
            self.send_error(HTTPStatus.BAD_REQUEST.value)  # RFC 9112, 3.2 and 5.1
            return False
        return True

    def do_GET(self) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # an unread body must not become the next request
        target, mark, query = re.sub("^https?://[^/?]*", "", self.path, flags=re.I).partition("?")
        try:
            path = locate(self.root, target)
            if os.path.isdir(path):
                location = folder_url(path_names(self.root, path))
                if unquote_to_bytes(target.encode("latin-1")) != unquote_to_bytes(location):
                    headers = {"Location": location + mark + query}
                    return self.send_reply(HTTPStatus.MOVED_PERMANENTLY, headers)
                with suppress(OSError, ValueError):
                    index = real_path(self.root, os.path.join(path, INDEX))
                    path = index if os.path.isfile(index) else path
            if os.path.isdir(path):
                page = list_folder(self.root, path).encode()
                headers = {"Content-Type": "text/html; charset=utf-8"}
                return self.send_reply(HTTPStatus.OK, headers, page)
            file = open(path, "rb")  # closed below
        except PermissionError:
            return self.send_error(HTTPStatus.FORBIDDEN.value)
        except (OSError, ValueError) as error:
            busy = getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE, errno.EIO)
            status = HTTPStatus.SERVICE_UNAVAILABLE if busy else HTTPStatus.NOT_FOUND
            return self.send_error(status.value)
        with file:
            return self.send_file(file, media_type(path))

    do_HEAD = do_GET

    def send_file(self, file: BinaryIO, kind: str) -> None:
        """Send a file, or the part of it that the request asks for."""
        status = os.fstat(file.fileno())
        size, modified = status.st_size, formatdate(mtime(status), usegmt=True)
        headers = {"Content-Type": kind, "Last-Modified": modified, "Accept-Ranges": "bytes"}
        if failed := precondition(self.headers, mtime(status)):
            return self.send_reply(failed, {"Last-Modified": modified})
        part = None
        if self.command == "GET" and self.headers.get("If-Range", modified) == modified:
            try:
                part = byte_range(self.headers.get("Range", ""), size)
            except IndexError:
                headers = {"Content-Range": f"bytes */{size}"}
                return self.send_reply(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers)
        start, end = part or (0, size)
        if part:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        self.send_head(HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK, headers, end - start)
        if self.command == "HEAD":
            return None
        if end - start <= BUFFER:
            file.seek(start)
            sent = self.wfile.write(file.read(end - start))  # in one piece with the headers
        else:
            self.wfile.flush()
            sent = self.connection.sendfile(file, start, end - start)
        if sent < end - start:  # the file got shorter: only the end of the connection can tell that
            self.close_connection = True
        return None

    def send_reply(self, status: HTTPStatus, headers: dict[str, str], body: bytes = b"") -> None:
        """Send a reply that is in memory."""
        self.send_head(status, headers, len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_head(self, status: HTTPStatus, headers: dict[str, str], size: int) -> None:
        """Send status line and headers of a reply with a body of `size` bytes."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(size))
        if self.close_connection or self.request_version == "HTTP/1.0":
            self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        self.end_headers()

    def log_error(self, *_: object) -> None:
        """Log nothing: the request is logged with its status."""

    def log_message(self, format: str, *args: object) -> None:
        log.info("%s %s", self.client_address, escape(format % args))


def handle_client(connection: socket.socket, address: Address, root: str, timeout: float) -> str:
    """Answer the requests of one client; return a summary for the log. Raises OSError."""
    connection.settimeout(timeout or None)
    return f"requests: {Handler(connection, address, root).requests}"


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
    option("--directory", default=".", help="folder to show (default: the current one)")
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
