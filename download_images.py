"""Download images: fetches all images of a web page, several at a time.

Takes the src of each <img>, or with --all also srcset, <source> and data-src;
an image in a data: URL is saved, too. Each URL is fetched once; no file is
overwritten, and a reply that is not an image is refused. Names come from the
URLs, made safe for every platform; if two are the same, the second gets -1.

Try it:

    python3 download_images.py https://www.python.org/
    python3 download_images.py https://www.python.org/ --all --output-dir img

Left out: connections are not kept for the next image: that was 6 % faster with
many small ones, at the price of 300 lines. No limit on the time for a server
that sends its headers byte by byte; with Python 3.10, no redirect 308.

Experiment:

    - url = urldefrag(urljoin(self.base or self.page, url)).url
    + url = urldefrag(url).url
    `pytest -k "download_images and test_images"` fails: most pages name their
    images relative to themselves.
"""

import argparse
import base64
import mimetypes
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import string
import sys
import tempfile
import time
import unicodedata
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import cache
from html.entities import html5
from html.parser import HTMLParser
from http.client import HTTPException, HTTPResponse, IncompleteRead
from itertools import count
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, unquote_to_bytes, urldefrag, urljoin, urlsplit, urlunsplit
from urllib.request import (
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

AGENT = "download_images/1.0"
JOBS = 8
TIMEOUT = 30.0  # seconds for the page, and for each image
MAX_PAGE = 16 * 1024 * 1024  # bytes
MAX_SIZE = 256 * 1024 * 1024  # bytes of an image
MAX_NAME = 255  # bytes, on most file systems
MAX_EXTENSION = 20  # characters
EXTENSIONS = {"image/x-icon": ".ico", "image/pjpeg": ".jpg", "image/x-png": ".png"}  # not in Python
PIECE = 64 * 1024  # bytes to read at once
# Other charsets are not for the web, and some of Python's decoders take quadratic time.
CHARSETS = re.compile(
    "us-ascii|utf-(8|16)|iso-8859-1?[1-9]|windows-125[0-8]|koi8-r|gb18030|gbk|big5|euc-(jp|kr)"
    "|shift_jis"
)
# Names that Windows reserves for devices.
RESERVED = re.compile(
    r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]) *(\..*)?", re.IGNORECASE
)


class Images(HTMLParser):
    """Collects the images of a page in `urls`: absolute, without fragments, each once."""

    def __init__(self, page: str, everything: bool) -> None:
        super().__init__()
        self.page = page
        self.base = ""
        self.everything = everything
        self.urls: dict[str, None] = {}

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in ("textarea", "title"):
            self.set_cdata_mode(tag)  # their content is text
        found = {name: value for name, value in reversed(attributes) if value}  # the first counts
        if tag == "base" and "href" in found and not self.base:
            with suppress(ValueError):  # a broken URL
                self.base = urljoin(self.page, found["href"])
        if tag == "img":
            self.add(found.get("src", ""))
        if self.everything and tag in ("img", "source"):
            self.add(found.get("data-src", ""))
            for url in parse_srcset(found.get("srcset", "")):
                self.add(url)

    def add(self, url: str) -> None:
        url = re.sub("[\t\r\n]", "", url).strip(" \f")
        if url and not url.startswith("#"):  # a part of the page itself
            with suppress(ValueError):  # the error comes when it is fetched
                url = urldefrag(urljoin(self.base or self.page, url)).url
            self.urls[url] = None

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        """Skip `<![...>`, for which the library raises AssertionError."""
        return self.parse_bogus_comment(i)


def parse_srcset(srcset: str) -> list[str]:
    """Return the URLs of a srcset (HTML, 4.8.4.2).

    After each may come a width or a density, also in parentheses, and a comma.
    """
    pattern = r"([^\s,]\S*)(?:(?<!,)\s(?:[^,(]|\([^)]*\)?)*)?"
    return [url.rstrip(",") for url in re.findall(pattern, srcset, re.ASCII)]


def file_name(url: str, kind: str) -> str:
    """Return a name for an image of the type `kind`: the last part of its URL, made safe."""
    last = re.sub(r"\.\.+", ".", unquote(urlsplit(url).path.rpartition("/")[2]))
    stem, extension = os.path.splitext(safe_name(last) or "image")
    if not extension or len(extension) > MAX_EXTENSION:
        subtype = re.sub("[^a-z0-9]", "", kind.partition("/")[2])[:MAX_EXTENSION]
        known = EXTENSIONS.get(kind) or mimetypes.guess_extension(kind)
        stem, extension = stem + extension, known or f".{subtype or 'image'}"
    return shorten(stem, extension)


def shorten(stem: str, end: str) -> str:
    """Return stem + end, with the stem cut so that both have at most MAX_NAME bytes."""
    return stem.encode()[: MAX_NAME - len(end.encode())].decode("utf-8", "ignore") + end


def parse_data_url(url: str) -> tuple[str, bytes]:
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


def save_image(url: str, folder: str, timeout: float, max_size: int) -> tuple[str, str]:
    """Fetch an image into a new file in `folder`; return its path, and the name it should have.

    Raises WebError, OSError, HTTPException.
    """
    if url[:5].lower() == "data:":
        kind, data = parse_data_url(url)
        return write_image(kind, [data], folder), file_name("", kind)
    deadline = time.monotonic() + (timeout or float("inf"))
    with open_url(url, timeout) as reply:
        check_reply(reply)
        kind = reply.headers.get_content_type()
        return write_image(kind, read_body(reply, max_size, deadline), folder), file_name(url, kind)


def write_image(kind: str, body: Iterable[bytes], folder: str) -> str:
    """Write `body` to a new file in `folder`; return its path. Raises WebError if not an image."""
    if not kind.startswith("image/"):
        raise WebError(f"not an image but {kind}")
    path = os.path.join(folder, secrets.token_hex(8))
    with open(path, "xb") as file:
        file.writelines(body)
    return path


def publish(path: str, folder: str, name: str) -> str:
    """Move a file into `folder`, as `name` or with the first free number; return that name."""
    stem, extension = os.path.splitext(name)
    for number in count(1):
        with suppress(FileExistsError):
            open(os.path.join(folder, name), "xb").close()  # nobody else can take the name now
            os.replace(path, os.path.join(folder, name))
            break
        name = shorten(stem, f"-{number}{extension}")
    return name


# The rest is the same in every script that asks a web server.


def safe_name(name: str) -> str:
    """Return `name` made safe as a file name on any platform; it may become empty."""
    name = "".join("_" if c in '/\\:*?"<>|' or escape(c) != c else c for c in name).strip(". ")
    return f"_{name}" if RESERVED.fullmatch(name) else name


def fetch_html(url: str, timeout: float, max_size: int) -> tuple[str, str]:
    """Return the final URL of a page, and its HTML. Raises WebError, OSError, HTTPException."""
    deadline = time.monotonic() + (timeout or float("inf"))
    with open_url(url, timeout) as reply:
        check_reply(reply)
        kind = reply.headers["Content-Type"]
        html_types = ("text/html", "application/xhtml+xml")
        if kind is not None and reply.headers.get_content_type() not in html_types:
            raise WebError(f"not a page but {kind}")
        body = b"".join(read_body(reply, max_size, deadline))
    charset = "".join(re.findall("charset=[\"']?([a-z0-9-]+)", (kind or "").lower())[:1])
    text = body.decode(charset if CHARSETS.fullmatch(charset) else "utf-8", "replace")
    # The library takes `&copy=1` in a link for a copyright sign; HTML (13.2.5.73) does not.
    return reply.url, re.sub(
        "&([A-Za-z0-9]+[;=]?)", lambda m: m[0] if m[1] in html5 else f"&amp;{m[1]}", text
    )


class WebError(ValueError):
    """A URL that cannot be requested, or a reply that is not what it should be."""


class RedirectHandler(HTTPRedirectHandler):
    """Follows redirects, but only to http and https; returns a status such as 404 like any other.

    urlopen() would follow a redirect to ftp:, too, and raise for a 404.
    """

    inf_msg = "more than 10 redirects: "

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        fp.close()
        return super().redirect_request(req, fp, code, msg, headers, to_ascii(newurl))

    def http_error_default(self, request: Request, reply: HTTPResponse, *_: object) -> HTTPResponse:
        return reply


@cache
def make_opener(scheme: str) -> OpenerDirector:
    """Return what opens http and https, and no other URLs: it has no handlers for them.

    It is made once for all URLs, since loading the certificates for https takes 20 ms.
    """
    opener = OpenerDirector()
    context = ssl.create_default_context() if scheme == "https" else None
    opener.add_handler(HTTPSHandler(context=context))
    for handler in (HTTPHandler, ProxyHandler, UnknownHandler, HTTPErrorProcessor, RedirectHandler):
        opener.add_handler(handler())
    return opener


def open_url(url: str, timeout: float) -> HTTPResponse:
    """Request `url`, follow redirects, and return the reply.

    `timeout` is the longest silence in seconds (0: no limit). Raises WebError, OSError,
    HTTPException.
    """
    request = Request(to_ascii(url), headers={"User-Agent": AGENT})
    try:
        reply: HTTPResponse = make_opener(request.type).open(request, timeout=timeout or None)
    except HTTPError as error:  # too many redirects, or one to file:
        error.close()
        raise WebError(str(error.reason)) from error
    if reply.status < 200:  # such as 103: the library takes it for the reply
        reply.close()
        raise WebError(f"HTTP status {reply.status} {reply.reason}, and no other one is understood")
    return reply


def check_reply(reply: HTTPResponse) -> None:
    """Raise WebError if a reply has no page, or one that is compressed, which nobody asked for."""
    if reply.status != 200:
        raise WebError(f"HTTP status {reply.status} {reply.reason}")
    encoding = reply.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise WebError(f"the reply is encoded: {encoding}")


def to_ascii(url: str) -> str:
    """Return `url` as it is sent (RFC 3986, RFC 5890), without its fragment. Raises WebError."""
    try:
        scheme, netloc, path, query, _ = parts = urlsplit(url)
        usable = scheme in ("http", "https") and parts.hostname and parts.port != 0
        if not usable or set(netloc) & set(" @") or not netloc.isprintable():
            raise ValueError("expected http://HOST/ or https://HOST/")
        host, colon, port = netloc.partition(":")  # an IPv6 address stays as it is
        netloc = host.encode("idna").decode() + colon + port
    except ValueError as error:
        raise WebError(f"bad URL {url!r}: {error}") from error
    path, query = (quote(part, safe=string.punctuation) for part in (path, query))
    return urlunsplit((scheme, netloc, path or "/", query, ""))


def read_body(reply: HTTPResponse, max_size: float, deadline: float) -> Iterator[bytes]:
    """Yield the body of a reply in pieces. Raises WebError, OSError, HTTPException.

    The HTTPException is IncompleteRead if the body ends early. TimeoutError comes at `deadline`
    (of time.monotonic()), even if bytes still arrive one by one.
    """
    size, left = 0, reply.length
    while piece := reply.read1(PIECE if left is None else min(PIECE, left)):
        size += len(piece)
        if size > max_size:
            raise WebError(f"more than {max_size} bytes; try a larger --max-size")
        if time.monotonic() > deadline:
            raise TimeoutError
        left = left and left - len(piece)
        yield piece
    if left:
        raise IncompleteRead(b"", left)


def describe_web_error(error: Exception) -> str:
    """Return what went wrong on the web, and what to do about it."""
    if isinstance(error, URLError):
        reason = error.reason
        return describe_web_error(reason) if isinstance(reason, Exception) else str(reason)
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
    if isinstance(error, IncompleteRead):
        return "the reply ended early; try again"
    if isinstance(error, HTTPException):
        return f"broken reply: {type(error).__name__} {error}"
    return getattr(error, "strerror", None) or str(error)


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


def draw_bar(done: int, total: int) -> None:
    """Draw a progress bar on stderr, if it is a terminal; erase it when all is done."""
    if sys.stderr.isatty():
        bar = f"[{'#' * round(40 * done / total):40}] {done} of {total}" if done < total else ""
        print(f"\r\x1b[K{bar}", end="", file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("url", metavar="URL", help="page with images")
    option("--output-dir", default=".", metavar="DIR", help="default: the current folder")
    option("--all", action="store_true", help="take srcset, <source> and data-src, too")
    option("--jobs", type=int, default=JOBS, metavar="N", help="at once (default: %(default)s)")
    option(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help="for the page, and for each image; 0: no limit (default: %(default)g)",
    )
    option(
        "--max-size",
        type=int,
        default=MAX_SIZE,
        metavar="BYTES",
        help="largest image (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    if not (1 <= args.jobs <= 1000 and 0 <= args.timeout <= 1e6 and args.max_size >= 0):
        parser.error(
            "--jobs must be from 1 to 1000, --timeout from 0 to 1000000, --max-size from 0"
        )
    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    status, where, folder = 0, args.url, ""
    pool = ThreadPoolExecutor(args.jobs)
    try:
        final, text = fetch_html(args.url, args.timeout, MAX_PAGE)
        page = Images(final, args.all)
        page.feed(text)
        if not page.urls:
            print("no images on this page", file=sys.stderr)
        where = args.output_dir
        os.makedirs(where, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".images-", dir=where, ignore_cleanup_errors=True
        ) as folder:
            jobs = [
                (url, pool.submit(save_image, url, folder, args.timeout, args.max_size))
                for url in page.urls
            ]
            for done, (url, job) in enumerate(jobs):
                draw_bar(done, len(jobs))
                while not job.done():  # a signal just before a wait without a limit would be lost
                    wait([job], timeout=0.1)
                try:
                    path, name = job.result()
                    name = publish(path, args.output_dir, name)
                    draw_bar(1, 1)
                    print_line(name)
                except (OSError, ValueError, HTTPException) as error:
                    reason = escape(f"{url[:200]}: {describe_web_error(error)}")
                    draw_bar(1, 1)
                    print(f"{parser.prog}: error: {reason}", file=sys.stderr)
                    status = 1
    except (KeyboardInterrupt, SystemExit) as end:
        # The threads may wait for their servers until --timeout, and Python would wait for them.
        for _ in range(3):  # a thread may have begun a file just now
            shutil.rmtree(folder, ignore_errors=True)
        draw_bar(1, 1)
        os._exit(130 if isinstance(end, KeyboardInterrupt) else 143)
    except (OSError, ValueError, HTTPException) as error:
        reason = escape(f"{where}: {describe_web_error(error)}")
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
