"""Download images: fetches all images of a web page, several at a time, into a folder.

Takes the src of each <img>, or with --all also srcset, <source> and data-src; an image in a data: URL is saved, too.
Connections are kept for the next image. Each URL is fetched once, no file is ever overwritten, and a reply that is no
image is refused. Names come from the URLs, made safe for every platform; of two that are the same the second gets -1.

Try it:

    python3 download_images.py https://www.python.org/
    python3 download_images.py https://www.python.org/ --all --output-dir images
"""

import argparse
import base64
import http.client
import mimetypes
import os
import re
import secrets
import socket
import ssl
import string
import sys
import threading
import time
import urllib.error
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager, suppress
from functools import partial
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
MAX_REDIRECTS = 10
PIECE = 64 * 1024  # bytes to read at a time
POLL = 0.05  # seconds between two looks at the clock
LINGER = 1.0  # seconds to clean up after Ctrl-C
RESERVED = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(\..*)?", re.IGNORECASE)  # names that Windows keeps


class WebError(ValueError):
    """A URL that cannot be asked, or a reply that is not what it should be."""


class Images(HTMLParser):
    """Collects in `urls` the images of a page, absolute, without their fragments, each once."""

    def __init__(self, base: str, everything: bool) -> None:
        super().__init__()
        self.base = base
        self.everything = everything
        self.urls: dict[str, None] = {}

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in reversed(attributes) if value}  # the first of several counts
        if tag == "base" and "href" in found:
            self.base = urljoin(self.base, found["href"])
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
                url = urldefrag(urljoin(self.base, url)).url
            self.urls[url] = None

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        """Skip `<![...>`, for which the library raises AssertionError."""
        return self.parse_bogus_comment(i)


def candidates(srcset: str) -> list[str]:
    """Return the URLs of a srcset, which have a width, a density or nothing after them, and a comma (HTML, 4.8.4.2)."""
    return re.findall(r"[\s,]*(\S*[^\s,])(?:\s[^,]*)?", srcset)


def file_name(url: str, kind: str) -> str:
    """Return a name for an image of the type `kind`, safe on every platform: the last part of the URL's path."""
    name = "" if url.startswith("data:") else unquote(urlsplit(url).path.rpartition("/")[2])
    name = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in name).strip(". ")
    if RESERVED.fullmatch(name):
        name = f"_{name}"
    stem, extension = os.path.splitext(name or "image")
    if not extension:
        extension = mimetypes.guess_extension(kind) or "." + re.sub("[^a-z0-9]", "", kind.partition("/")[2][:20])
    return shortened(stem, extension)


def shortened(stem: str, end: str) -> str:
    """Return stem and end with so much of the stem that together they have MAX_NAME bytes at most."""
    room = max(MAX_NAME - len(end.encode()), 1)
    return (stem.encode()[:room].decode("utf-8", "ignore") + end).encode()[:MAX_NAME].decode("utf-8", "ignore")


def data_image(url: str) -> tuple[str, bytes]:
    """Return the type and the bytes of a data: URL (RFC 2397). Raises WebError, ValueError."""
    head, comma, data = url.removeprefix("data:").partition(",")
    kind, *parameters = head.split(";")
    if not comma:
        raise WebError("a data: URL without data")
    content = unquote_to_bytes(data)
    return kind, base64.b64decode(content) if "base64" in parameters else content


class Fetcher:
    """Fetches over connections that are kept, each thread over its own; cut() ends what takes too long."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout or None
        self.kept = threading.local()
        self.live: dict[int, tuple[socket.socket, float]] = {}  # of each thread, and when it has to be done

    @contextmanager
    def open(self, url: str) -> Iterator[tuple[str, HTTPResponse, Iterator[bytes]]]:
        """Ask for `url`, and yield where that led, the reply, if its status is 200, and its body as it comes.

        Raises WebError, HTTPException, OSError, also for the body.
        """
        connections: dict[str, HTTPConnection] = self.kept.__dict__
        end = time.monotonic() + (self.timeout or float("inf"))
        try:
            for _ in range(MAX_REDIRECTS + 1):
                url = to_ascii(url)
                parts = urlsplit(url)
                kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
                site = f"{parts.scheme}://{parts.netloc}"
                connection = connections.setdefault(site, kind(parts.netloc, timeout=self.timeout))
                reply = self.ask(connection, url.removeprefix(site), end)
                location = reply.headers["Location"]
                if reply.status not in (301, 302, 303, 307, 308) or location is None:
                    break
                reply.close()
                connection.close()
                url = urljoin(url, location.encode("latin-1", "replace").decode("utf-8", "replace"))
            else:
                raise WebError(f"more than {MAX_REDIRECTS} redirects")
            with reply:
                if reply.status != 200:
                    raise WebError(f"HTTP status {reply.status} {reply.reason}")
                yield url, reply, self.body(reply, end)
        except (OSError, ValueError, http.client.HTTPException):
            self.hang_up()  # what is left of the reply is no answer to the next request
            if time.monotonic() > end:
                raise TimeoutError from None
            raise
        finally:
            self.live.pop(threading.get_ident(), None)

    def body(self, reply: HTTPResponse, end: float) -> Iterator[bytes]:
        yield from pieces(reply)
        if time.monotonic() > end:  # cut off, which can look like the end of the reply
            raise TimeoutError

    def ask(self, connection: HTTPConnection, target: str, end: float) -> HTTPResponse:
        """Ask over `connection`; once more over a new one, if the server has closed it since the last time."""
        fresh = connection.sock is None
        try:
            if fresh:
                connection.connect()
            self.live[threading.get_ident()] = connection.sock, end
            connection.request("GET", target, headers={"User-Agent": AGENT})
            return connection.getresponse()
        except ConnectionError:
            connection.close()
            if fresh or time.monotonic() > end:
                raise
            return self.ask(connection, target, end)

    def hang_up(self) -> None:
        """Close the connections of this thread."""
        for connection in self.kept.__dict__.values():
            connection.close()

    def cut(self, now: float) -> None:
        """Shut down what should have been done before `now`."""
        for connection, end in list(self.live.values()):
            if end < now:
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)  # below TLS, in the midst of a read


def images(fetcher: Fetcher, everything: bool, url: str) -> list[str]:
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


def save(fetcher: Fetcher, folder: str, max_size: int, url: str) -> tuple[str, str]:
    """Fetch an image into a temporary file in `folder`; return its path, and the name it should have.

    Raises WebError, OSError, HTTPException.
    """
    if url.startswith("data:"):
        kind, data = data_image(url)
        return write(folder, kind, [data], max_size), file_name(url, kind)
    with fetcher.open(url) as (_, reply, body):
        kind = reply.headers.get_content_type()
        return write(folder, kind, body, max_size), file_name(url, kind)


def write(folder: str, kind: str, body: Iterable[bytes], max_size: int) -> str:
    """Write `body` into a temporary file in `folder`, and return its path. Raises WebError if it is no image."""
    if not kind.startswith("image/"):
        raise WebError(f"not an image but {kind}")
    path = os.path.join(folder, f".{secrets.token_hex(8)}.part")
    with open(path, "xb") as file:
        try:
            for piece in body:
                file.write(piece)
                if file.tell() > max_size:
                    raise WebError(f"more than {max_size} bytes; try a larger --max-size")
        except BaseException:
            file.close()
            os.unlink(path)
            raise
    return path


def publish(temporary: str, name: str) -> str:
    """Give a file in its folder the name `name`, or the first free one with a number; return that. Raises OSError."""
    folder = os.path.dirname(temporary)
    stem, extension = os.path.splitext(name)
    for number in count(1):
        with suppress(FileExistsError):
            open(os.path.join(folder, name), "xb").close()
            os.replace(temporary, os.path.join(folder, name))
            break
        name = shortened(stem, f"-{number}{extension}")
    return name


def start(fetcher: Fetcher, function: Callable[[str], Any], urls: list[str], jobs: int) -> list[Future[Any]]:
    """Call `function` with each URL, in `jobs` threads, which end with the process; return what will come of it."""
    futures: list[Future[Any]] = [Future() for _ in urls]
    todo = deque(zip(futures, urls, strict=True))

    def work() -> None:
        while todo:
            future, url = todo.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(url))
                except Exception as error:
                    future.set_exception(error)
        fetcher.hang_up()

    for _ in range(min(jobs, len(urls))):
        threading.Thread(target=work, daemon=True).start()
    return futures


def finish(future: Future[Any], fetcher: Fetcher) -> Any:
    """Return what comes of `future`, or raise its exception; meanwhile cut off what takes too long."""
    while not future.done():
        wait([future], POLL)
        fetcher.cut(time.monotonic())
    return future.result()


def give_up(futures: list[Future[Any]], fetcher: Fetcher) -> None:
    """End all that is under way, and remove the files of what is done."""
    for future in futures:
        future.cancel()
    fetcher.cut(float("inf"))
    done, _ = wait(futures, LINGER)
    for future in done:
        with suppress(CancelledError, Exception):
            os.unlink(future.result()[0])


def bar(done: int, total: int) -> None:
    """Draw a progress bar on stderr, if that is a terminal; erase it when all is done."""
    if sys.stderr.isatty():
        picture = f"[{'#' * round(40 * done / total):40}] {done} of {total}" if done < total else ""
        print(f"\r\x1b[K{picture}", end="", file=sys.stderr, flush=True)


def to_ascii(url: str) -> str:
    """Return `url` as it goes over the wire (RFC 3986, RFC 5890), without its fragment. Raises WebError."""
    try:
        scheme, netloc, path, query, _ = parts = urlsplit(url)
        if scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or set(netloc) & set(" @\x7f"):
            raise ValueError("want http://HOST/ or https://HOST/")
        host = netloc.encode("idna").decode()
    except ValueError as error:
        raise WebError(f"bad URL {url!r}: {error}") from error
    path, query = (quote(part, safe=string.punctuation) for part in (path, query))
    return urlunsplit((scheme, host, path or "/", query, ""))


def pieces(reply: HTTPResponse) -> Iterator[bytes]:
    """Yield the body of `reply` as it comes. Raises IncompleteRead if it ends early, OSError."""
    left = reply.length
    while left is None or left > 0:
        piece = reply.read1(PIECE if left is None else min(PIECE, left))
        if not piece and left:
            raise http.client.IncompleteRead(b"", left)
        if not piece:
            return
        if left is not None:
            left -= len(piece)
        yield piece


def page_text(reply: HTTPResponse, body: bytes) -> str:
    """Return the HTML in a reply's body. Raises WebError if it holds something else."""
    if reply.headers.get_content_type() not in ("text/html", "application/xhtml+xml"):
        raise WebError(f"not a page but {reply.headers.get('Content-Type', 'of no type')}")
    try:
        return body.decode(reply.headers.get_content_charset("utf-8"), "replace")
    except LookupError:
        return body.decode("utf-8", "replace")


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
    encoding = getattr(sys.stdout, "encoding", "utf-8")
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
    print(f"{os.path.basename(sys.argv[0])}: error: {line}", file=sys.stderr)
    return 1


def main(argv: list[str] | None = None) -> int:
    about = (__doc__ or "").replace("%", "%%")
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", metavar="URL")
    parser.add_argument("--output-dir", default=".", metavar="DIR", help="default: the current folder")
    parser.add_argument("--all", action="store_true", help="srcset, <source> and data-src too")
    parser.add_argument("--jobs", type=between(1, 1000), default=JOBS, metavar="N", help="default: %(default)s")
    patience = "seconds for the page, and for each image, 0: any (default: %(default)g)"
    parser.add_argument("--timeout", type=between(0, 1e6, float), default=TIMEOUT, metavar="SECONDS", help=patience)
    size = "the largest image (default: %(default)s)"
    parser.add_argument("--max-size", type=between(0, 1e12), default=MAX_SIZE, metavar="BYTES", help=size)
    args = parser.parse_args(argv)
    fetcher = Fetcher(args.timeout)
    futures: list[Future[Any]] = []
    status = 0
    try:
        [page] = start(fetcher, partial(images, fetcher, args.all), [args.url], 1)
        urls = finish(page, fetcher)
        os.makedirs(args.output_dir, exist_ok=True)
        futures = start(fetcher, partial(save, fetcher, args.output_dir, args.max_size), urls, args.jobs)
        for number, (url, future) in enumerate(zip(urls, futures, strict=True)):
            bar(number, len(urls))
            try:
                line = publish(*finish(future, fetcher))
            except (OSError, ValueError, http.client.HTTPException) as error:
                bar(1, 1)
                status = fail(f"{url[:200]}: {trouble(error)}")
            else:
                bar(1, 1)
                show(line)
    except KeyboardInterrupt:
        give_up(futures, fetcher)
        return 130
    except (OSError, ValueError, http.client.HTTPException) as error:
        return fail(f"{args.url}: {trouble(error)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
