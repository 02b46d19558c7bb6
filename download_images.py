"""Download images: fetches all images of a web page, several at a time, into a folder.

Takes the src of each <img>, or with --all also srcset, <source> and data-src; an image in a data: URL is saved, too.
Connections are kept for the next image. Each URL is fetched once, no file is ever overwritten, and a reply that is no
image is refused. Names come from the URLs, made safe for every platform; of two that are the same the second gets -1.

Try it:

    python3 download_images.py https://www.python.org/
    python3 download_images.py https://www.python.org/ --all --output-dir images
"""

from __future__ import annotations

import argparse
import base64
import http.client
import mimetypes
import os
import re
import secrets
import signal
import socket
import ssl
import string
import sys
import tempfile
import threading
import time
import urllib.error
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from html.entities import html5
from html.parser import HTMLParser
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from itertools import count
from typing import Any
from urllib.parse import quote, unquote, unquote_to_bytes, urldefrag, urljoin, urlsplit, urlunsplit

AGENT = "download_images/1.0"
JOBS = 8
TIMEOUT = 30.0  # seconds for the page, and for each image
MAX_PAGE = 16 * 1024 * 1024  # bytes
MAX_SIZE = 256 * 1024 * 1024  # bytes of an image
MAX_NAME = 255  # bytes
MAX_EXTENSION = 20  # characters
EXTENSIONS = {"image/x-icon": ".ico", "image/pjpeg": ".jpg", "image/x-png": ".png"}  # what Python does not know
MAX_REDIRECTS = 10
PIECE = 64 * 1024  # bytes to read at a time
POLL = 0.05  # seconds between two looks at the clock
LINGER = 1.0  # seconds to clean up after Ctrl-C
# Others are not for the web, and some of Python's own take a time that grows with the square of the length.
CHARSETS = re.compile(
    "us-ascii|utf-(8|16)|iso-8859-1?[1-9]|windows-125[0-8]|koi8-r|gb18030|gbk|big5|euc-(jp|kr)|shift_jis"
)
# Names that Windows keeps.
RESERVED = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]) *(\..*)?", re.IGNORECASE)


class WebError(ValueError):
    """A URL that cannot be asked, or a reply that is not what it should be."""


class Images(HTMLParser):
    """Collects in `urls` the images of a page, absolute, without their fragments, each once."""

    def __init__(self, page: str, everything: bool) -> None:
        super().__init__()
        self.page = page
        self.base = ""
        self.everything = everything
        self.urls: dict[str, None] = {}

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in ("textarea", "title"):
            self.set_cdata_mode(tag)  # what is in them is text
        found = {name: value for name, value in reversed(attributes) if value}  # the first of several counts
        if tag == "base" and "href" in found and not self.base:
            with suppress(ValueError):
                self.base = urljoin(self.page, found["href"])
        if tag == "img":
            self.add(found.get("src", ""))
        if self.everything and tag in ("img", "source"):
            self.add(found.get("data-src", ""))
            for url in candidates(found.get("srcset", "")):
                self.add(url)

    def add(self, url: str) -> None:
        url = re.sub("[\t\r\n]", "", url).strip()
        if url:
            with suppress(ValueError):
                url = urldefrag(urljoin(self.base or self.page, url)).url
            self.urls[url] = None

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        """Skip `<![...>`, for which the library raises AssertionError."""
        return self.parse_bogus_comment(i)


def candidates(srcset: str) -> list[str]:
    """Return the URLs of a srcset, which have a width, a density or nothing after them, and a comma (HTML, 4.8.4.2)."""
    found = re.findall(r"[^\s,]\S*(?:(?<!,)\s[^,]*)?", srcset)  # takes a time that grows with the length alone
    return [one.split()[0].rstrip(",") for one in found]


def safe(name: str) -> str:
    """Return the last part of a path as the name of a file on any platform; it may be empty."""
    name = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in name).strip(". ")
    return f"_{name}" if RESERVED.fullmatch(name) else name


def file_name(url: str, kind: str) -> str:
    """Return a name for an image of the type `kind`: the last part of the URL's path, made safe."""
    last = re.sub(r"\.\.+", ".", unquote(urlsplit(url).path.rpartition("/")[2]))
    stem, extension = os.path.splitext(safe(last) or "image")
    if not extension or len(extension) > MAX_EXTENSION:
        subtype = re.sub("[^a-z0-9]", "", kind.partition("/")[2])[:MAX_EXTENSION]
        known = EXTENSIONS.get(kind) or mimetypes.guess_extension(kind)
        stem, extension = stem + extension, known or f".{subtype or 'image'}"
    return shortened(stem, extension)


def shortened(stem: str, end: str) -> str:
    """Return stem and end with so much of the stem that together they have MAX_NAME bytes at most."""
    return stem.encode()[: MAX_NAME - len(end.encode())].decode("utf-8", "ignore") + end


def data_image(url: str) -> tuple[str, bytes]:
    """Return the type and the bytes of a data: URL (RFC 2397). Raises WebError, ValueError."""
    head, comma, data = url.partition(":")[2].partition(",")
    kind, *parameters = head.lower().replace(" ", "").split(";")
    if not comma:
        raise WebError("a data: URL without data")
    content = unquote_to_bytes(data)
    if "base64" in parameters:
        digits = b"".join(content.split()).rstrip(b"=")
        content = base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    return kind or "text/plain", content


class Job:
    """A URL to fetch, and what came of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.end = float("inf")  # when it has to be done
        self.done = threading.Event()
        self.result: Any = None
        self.error: Exception | None = None


class Fetcher(threading.Thread):
    """Does jobs, one after the other, over a connection that it keeps as long as they are for the same site."""

    def __init__(self, todo: deque[Job], task: Callable[[Fetcher, str], Any], timeout: float) -> None:
        super().__init__(daemon=True)
        self.todo, self.task, self.timeout = todo, task, timeout or float("inf")
        self.end = float("inf")
        self.site = ""
        self.connection = HTTPConnection("")  # to nowhere
        self.socket: socket.socket | None = None

    def run(self) -> None:
        with suppress(IndexError):
            while True:
                job = self.todo.popleft()
                job.end = self.end = time.monotonic() + self.timeout
                try:
                    job.result = self.task(self, job.url)
                except Exception as error:
                    job.error = TimeoutError() if time.monotonic() > self.end else error
                    self.connection.close()  # what is left of the reply is no answer to the next request
                self.end = float("inf")
                job.done.set()
        self.connection.close()

    def cut(self) -> None:
        """End what this thread is waiting for."""
        if self.socket:
            with suppress(OSError):
                socket.socket.shutdown(self.socket, socket.SHUT_RDWR)  # below TLS, in the midst of a read

    @contextmanager
    def open(self, url: str) -> Iterator[tuple[str, HTTPResponse, Iterator[bytes]]]:
        """Ask for `url`; yield where that led, the reply, if its status is 200, and its body as it comes.

        Raises WebError, OSError, HTTPException, also for the body.
        """
        for _ in range(MAX_REDIRECTS + 1):
            url = to_ascii(url)
            reply = self.ask(url)
            target = redirection(reply, url)
            if target is None:
                break
            reply.close()
            self.connection.close()
            url = target
        else:
            raise WebError(f"more than {MAX_REDIRECTS} redirects")
        with reply:
            if reply.status != 200:
                raise WebError(f"HTTP status {reply.status} {reply.reason}")
            yield url, reply, self.body(reply)

    def ask(self, url: str) -> HTTPResponse:
        """Ask for `url`; once more over a new connection, if the server has closed the old one meanwhile."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        parts = urlsplit(url)
        site = f"{parts.scheme}://{parts.netloc}"
        if site != self.site:
            self.connection.close()
            kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
            self.site, self.connection = site, kind(parts.netloc)
        connection = self.connection
        fresh = connection.sock is None
        try:
            if fresh:
                connection.timeout = None if left == float("inf") else left
                connection.connect()
            self.socket = connection.sock
            connection.request("GET", url.removeprefix(site), headers={"User-Agent": AGENT})
            return connection.getresponse()
        except ConnectionError:
            connection.close()
            if fresh:
                raise
            return self.ask(url)

    def body(self, reply: HTTPResponse) -> Iterator[bytes]:
        yield from pieces(reply)
        if time.monotonic() > self.end:  # cut off, which can look like the end of the reply
            raise TimeoutError


def images(everything: bool, fetcher: Fetcher, url: str) -> list[str]:
    """Return the URLs of the images of a page. Raises WebError, OSError, HTTPException."""
    page = bytearray()
    with fetcher.open(url) as (final, reply, body):
        for piece in body:
            page += piece
            if len(page) > MAX_PAGE:
                raise WebError(f"a page of more than {MAX_PAGE} bytes")
    parser = Images(final, everything)
    parser.feed(page_text(reply, bytes(page)))
    return list(parser.urls)


def save(folder: str, max_size: int, fetcher: Fetcher, url: str) -> tuple[str, str]:
    """Fetch an image into a file in `folder`; return its path, and the name it should have.

    Raises WebError, OSError, HTTPException.
    """
    if url[:5].lower() == "data:":
        kind, data = data_image(url)
        return write(folder, kind, [data], max_size), file_name("", kind)
    with fetcher.open(url) as (_, reply, body):
        kind = reply.headers.get_content_type()
        return write(folder, kind, body, max_size), file_name(url, kind)


def write(folder: str, kind: str, body: Iterable[bytes], max_size: int) -> str:
    """Write `body` into a new file in `folder`, and return its path. Raises WebError if it is no image."""
    if not kind.startswith("image/"):
        raise WebError(f"not an image but {kind}")
    path = os.path.join(folder, secrets.token_hex(8))
    with open(path, "xb") as file:
        for piece in body:
            file.write(piece)
            if file.tell() > max_size:
                raise WebError(f"more than {max_size} bytes; try a larger --max-size")
    return path


def publish(path: str, folder: str, name: str) -> str:
    """Move a file into `folder`, as `name`, or with the first free number behind it; return that. Raises OSError."""
    stem, extension = os.path.splitext(name)
    for number in count(1):
        with suppress(FileExistsError):
            open(os.path.join(folder, name), "xb").close()
            os.replace(path, os.path.join(folder, name))
            break
        name = shortened(stem, f"-{number}{extension}")
    return name


def do(task: Callable[[Fetcher, str], Any], urls: list[str], threads: int, timeout: float) -> Iterator[Job]:
    """Do `task(fetcher, url)` for all URLs, `timeout` seconds for each (0: any), and yield the jobs, in their order."""
    jobs = list(map(Job, urls))
    todo = deque(jobs)
    fetchers = [Fetcher(todo, task, timeout) for _ in range(min(threads, len(jobs)))]
    try:
        with suppress(RuntimeError):  # out of threads: some are enough
            for fetcher in fetchers:
                fetcher.start()
        if jobs and not fetchers[0].ident:
            raise OSError("out of threads")
        for job in jobs:
            while not job.done.wait(POLL):
                now = time.monotonic()
                for fetcher in fetchers:
                    if now > fetcher.end:
                        fetcher.cut()
                if now > job.end + LINGER:  # in the lookup of a name, say, which nothing can cut
                    job.error = TimeoutError()
                    break
            yield job
    finally:
        todo.clear()
        end = time.monotonic() + LINGER
        for fetcher in fetchers:
            if fetcher.is_alive():
                fetcher.end = 0
                fetcher.cut()
                fetcher.join(max(end - time.monotonic(), 0))


def bar(done: int, total: int) -> None:
    """Draw a progress bar on stderr, if that is a terminal; erase it when all is done."""
    if sys.stderr and sys.stderr.isatty():
        picture = f"[{'#' * round(40 * done / total):40}] {done} of {total}" if done < total else ""
        print(f"\r\x1b[K{picture}", end="", file=sys.stderr, flush=True)


def redirection(reply: HTTPResponse, url: str) -> str | None:
    """Return the URL that the reply to `url` redirects to, or None (RFC 9110, 15.4)."""
    location: str | None = reply.headers["Location"]
    if reply.status not in (301, 302, 303, 307, 308) or location is None:
        return None
    return urljoin(url, location.encode("latin-1", "replace").decode("utf-8", "replace"))


def to_ascii(url: str) -> str:
    """Return `url` as it goes over the wire (RFC 3986, RFC 5890), without its fragment. Raises WebError."""
    try:
        scheme, netloc, path, query, _ = parts = urlsplit(url)
        usable = scheme in ("http", "https") and parts.hostname and parts.port != 0
        if not usable or set(netloc) & set(" @") or not netloc.isprintable():
            raise ValueError("want http://HOST/ or https://HOST/")
        host, colon, port = netloc.partition(":")  # an IPv6 address is left as it is
        netloc = host.encode("idna").decode() + colon + port
    except ValueError as error:
        raise WebError(f"bad URL {url!r}: {error}") from error
    path, query = (quote(part, safe=string.punctuation) for part in (path, query))
    return urlunsplit((scheme, netloc, path or "/", query, ""))


def pieces(reply: HTTPResponse) -> Iterator[bytes]:
    """Yield the body of `reply` as it comes. Raises IncompleteRead if it ends early, OSError."""
    left = reply.length
    while piece := reply.read1(PIECE if left is None else min(PIECE, left)):
        if left is not None:
            left -= len(piece)
        yield piece
    if left:
        raise http.client.IncompleteRead(b"", left)


def page_text(reply: HTTPResponse, body: bytes) -> str:
    """Return the HTML in a reply's body. Raises WebError if it says that it holds something else."""
    kind = reply.headers["Content-Type"]
    if kind is not None and reply.headers.get_content_type() not in ("text/html", "application/xhtml+xml"):
        raise WebError(f"not a page but {kind}")
    charset = reply.headers.get_content_charset("")
    text = body.decode(charset if CHARSETS.fullmatch(charset) else "utf-8", "replace")
    # In an attribute `&copy=1` and `&copyright` are no ©, for which the library takes them (HTML, 13.2.5.73).
    return re.sub("&([A-Za-z0-9]+[;=]?)", lambda found: found[0] if found[1] in html5 else f"&amp;{found[1]}", text)


def trouble(error: Exception) -> str:
    """Return in words what went wrong on the web, and what to do about it."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        return trouble(error.reason)
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; check host and port"
    if isinstance(error, TimeoutError):
        return "timed out; try a longer --timeout"
    if isinstance(error, socket.gaierror):
        return "unknown host; check its name, and the network"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: the certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}; is it an https server?"
    if isinstance(error, http.client.IncompleteRead):
        return "the reply ended early; try again"
    if isinstance(error, http.client.HTTPException):
        return f"broken reply: {type(error).__name__} {error}"
    return getattr(error, "strerror", None) or str(error)


def between(low: float, high: float, kind: Callable[[str], float] = int) -> Callable[[str], float]:
    """Return an argparse type that takes a number from `low` to `high`."""

    def number(text: str) -> float:
        if low <= (value := kind(text)) <= high:
            return value
        raise argparse.ArgumentTypeError(f"{text} is not from {low:.0f} to {high:.0f}")

    return number


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", metavar="URL")
    parser.add_argument("--output-dir", default=".", metavar="DIR", help="default: the current folder")
    parser.add_argument("--all", action="store_true", help="srcset, <source> and data-src too")
    parser.add_argument("--jobs", type=between(1, 1000), default=JOBS, metavar="N", help="default: %(default)s")
    patience = "seconds for the page, and for each image, 0: any (default: %(default)g)"
    parser.add_argument("--timeout", type=between(0, 1e6, float), default=TIMEOUT, metavar="SECONDS", help=patience)
    size = "the largest image (default: %(default)s)"
    parser.add_argument("--max-size", type=between(0, 1e12), default=MAX_SIZE, metavar="BYTES", help=size)
    args = parser.parse_args(argv)
    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # to leave nothing behind
    status, where = 0, args.url
    try:
        [page] = do(partial(images, args.all), [args.url], 1, args.timeout)
        if page.error:
            raise page.error
        where = args.output_dir
        os.makedirs(where, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".images-", dir=where, ignore_cleanup_errors=True) as folder:
            bar(0, len(page.result))
            task = partial(save, folder, args.max_size)
            for done, job in enumerate(do(task, page.result, args.jobs, args.timeout), 1):
                bar(1, 1)
                if job.error:
                    status = fail(f"{job.url[:200]}: {trouble(job.error)}")
                else:
                    path, name = job.result
                    name = publish(path, args.output_dir, name)
                    with suppress(SystemExit):  # the images are wanted, also if nobody reads their names
                        show(name)
                bar(done, len(page.result))
    except KeyboardInterrupt:
        bar(1, 1)
        return 130
    except (OSError, ValueError, RuntimeError, http.client.HTTPException) as error:
        return fail(f"{where}: {trouble(error)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
