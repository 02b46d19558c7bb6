"""List text files: prints the names of the .txt files that a web server's listing of a folder links.

It understands the listings of http_server.py, `python -m http.server`, nginx and Apache: what counts is where a link
leads, not what it looks like. With --recursive the folders below are read too, and paths are printed.

Try it:

    python3 http_server.py
    python3 list_text_files.py http://localhost:8000/
"""

import argparse
import gzip
import http.client
import io
import os
import re
import socket
import ssl
import string
import sys
import threading
import time
import urllib.error
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from html.entities import html5
from html.parser import HTMLParser
from http.client import HTTPResponse
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit, urlunsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, UnknownHandler

SUFFIX = ".txt"
AGENT = "list_text_files/1.0"
TIMEOUT = 20.0  # seconds for everything
MAX_SIZE = 16 * 1024 * 1024  # bytes of a page
MAX_REDIRECTS = 10
MAX_DEPTH = 40  # folders
PIECE = 64 * 1024  # bytes to read at a time
POLL = 0.05  # seconds between two looks for Ctrl-C
# Others are not for the web, and some of Python's own take a time that grows with the square of the length.
CHARSETS = re.compile(
    "us-ascii|utf-(8|16)|iso-8859-1?[1-9]|windows-125[0-8]|koi8-r|gb18030|gbk|big5|euc-(jp|kr)|shift_jis"
)


class WebError(ValueError):
    """A URL that cannot be asked, or a reply that is not what it should be."""


class Links(HTMLParser):
    """Collects in `urls` where the links of a page lead, absolute."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.page = page
        self.base = ""
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in ("textarea", "title"):
            self.set_cdata_mode(tag)  # what is in them is text
        target = next((value for name, value in attributes if name == "href" and value), "").strip()
        with suppress(ValueError):
            if tag == "base" and target and not self.base:
                self.base = urljoin(self.page, target)
            elif tag == "a" and target:
                self.urls.append(urljoin(self.base or self.page, target))

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Skip `<![...>`, for which the library raises AssertionError."""
        return self.parse_bogus_comment(i)


def page_text(reply: HTTPResponse, body: bytes) -> str:
    """Return the HTML in a reply's body. Raises WebError if it says that it holds something else."""
    kind = reply.headers["Content-Type"]
    if kind is not None and reply.headers.get_content_type() not in ("text/html", "application/xhtml+xml"):
        raise WebError(f"not a page but {kind}")
    charset = reply.headers.get_content_charset("")
    text = body.decode(charset if CHARSETS.fullmatch(charset) else "utf-8", "replace")
    # In an attribute `&copy=1` and `&copyright` are no ©, for which the library takes them (HTML, 13.2.5.73).
    return re.sub("&([A-Za-z0-9]+[;=]?)", lambda found: found[0] if found[1] in html5 else f"&amp;{found[1]}", text)


def below(start: str, url: str) -> bytes | None:
    """Return the path from the folder that is listed at `start` to `url`, decoded, or None if that leads elsewhere."""
    base, target = urlsplit(start), urlsplit(url)
    folder, path = unquote_to_bytes(base.path.rpartition("/")[0] + "/"), unquote_to_bytes(target.path)
    same = (base.scheme, base.netloc.lower()) == (target.scheme, target.netloc.lower())
    return path.removeprefix(folder) if same and path.startswith(folder) and b".." not in path.split(b"/") else None


def names(args: argparse.Namespace, complain: Callable[[str, Exception], None]) -> Iterator[bytes]:
    """Yield the paths of the files that the command line asks for.

    Of a folder below that cannot be read, `complain(url, error)`. Raises WebError, OSError, HTTPException.
    """
    end = time.monotonic() + (args.timeout or float("inf"))
    start = ""
    seen: set[object] = set()
    folders = [args.url]
    while folders:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        folder = folders.pop(0)
        try:
            reply, body = within(left, fetch, folder, args.timeout or None, args.max_size)
            text = page_text(reply, body)
        except (OSError, ValueError, http.client.HTTPException) as error:
            if not start or time.monotonic() >= end:
                raise
            complain(folder, error)
            continue
        start = start or reply.url
        if reply.url in seen:  # a link has led to a folder that was read before
            continue
        seen.add(reply.url)
        parser = Links(reply.url)
        parser.feed(text)
        deeper = []
        for link in parser.urls:
            link, _, _ = link.partition("#")[0].partition("?")
            path = below(start, link)
            if not path or path in seen:
                continue
            seen.add(path)
            if not path.endswith(b"/"):
                if path.lower().endswith(args.suffix.lower().encode()):
                    yield path
            elif args.recursive and below(reply.url, link) and path.count(b"/") <= MAX_DEPTH:
                deeper.append(link)
        folders = deeper + folders


def open_url(url: str, timeout: float | None, headers: dict[str, str]) -> HTTPResponse:
    """Ask for `url`, at most through MAX_REDIRECTS redirects, and return the reply, whatever its status.

    `timeout` is the longest silence in seconds. Raises WebError, OSError, HTTPException.
    """
    opener = OpenerDirector()  # the usual one would open file: and ftp: too, and raise for a 404
    for handler in (ProxyHandler, HTTPHandler, HTTPSHandler, UnknownHandler):
        opener.add_handler(handler())
    for _ in range(MAX_REDIRECTS + 1):
        url = to_ascii(url)
        request = Request(url, headers={"User-Agent": AGENT} | headers)
        reply: HTTPResponse = opener.open(request, timeout=timeout)
        if reply.status < 200:
            reply.close()
            raise WebError(f"HTTP status {reply.status} {reply.reason}, and nothing after it that is understood here")
        target = redirection(reply, url)
        if target is None:
            return reply
        reply.close()
        url = target
    raise WebError(f"more than {MAX_REDIRECTS} redirects")


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


def fetch(url: str, timeout: float | None, max_size: int) -> tuple[HTTPResponse, bytes]:
    """Return the reply to a GET of `url`, with its whole body, unpacked. Raises WebError, OSError, HTTPException."""
    with open_url(url, timeout, {"Accept-Encoding": "gzip"}) as reply:
        if reply.status != 200:
            raise WebError(f"HTTP status {reply.status} {reply.reason}")
        body = bytearray()
        for piece in pieces(reply):
            body += piece
            if len(body) > max_size:
                raise WebError(f"more than {max_size} bytes; try a larger --max-size")
    if reply.headers.get("Content-Encoding", "").strip().lower() not in ("gzip", "x-gzip"):
        return reply, bytes(body)
    try:
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(body)).read(max_size + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise WebError(f"broken gzip: {error}") from error
    if len(unpacked) > max_size:
        raise WebError(f"more than {max_size} bytes, unpacked; try a larger --max-size")
    return reply, unpacked


def within(seconds: float, job: Callable[..., Any], *args: Any) -> Any:
    """Return `job(*args)`, or raise TimeoutError after `seconds` (0: never), leaving its thread to the process's end.

    That bounds what no socket's timeout does: a name's lookup, and a server that drips a byte a second.
    """
    results: list[Any] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(job(*args))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    end = time.monotonic() + (seconds or float("inf"))
    while thread.is_alive():
        if time.monotonic() > end:
            raise TimeoutError
        thread.join(POLL)
    if errors:
        raise errors[0]
    return results[0]


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
    parser.add_argument("--suffix", default=SUFFIX, help="how the names end, in any case (default: %(default)s)")
    parser.add_argument("--recursive", action="store_true", help="read the folders below too")
    patience = "seconds for everything, 0: for ever (default: %(default)g)"
    parser.add_argument("--timeout", type=between(0, 1e6, float), default=TIMEOUT, metavar="SECONDS", help=patience)
    size = "the longest page (default: %(default)s)"
    parser.add_argument("--max-size", type=between(0, 1e12), default=MAX_SIZE, metavar="BYTES", help=size)
    args = parser.parse_args(argv)
    status = 0

    def complain(url: str, error: Exception) -> None:
        nonlocal status
        status = fail(f"{url}: {trouble(error)}")

    try:
        for name in names(args, complain):
            show(name)
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, RuntimeError, http.client.HTTPException) as error:
        return fail(f"{args.url}: {trouble(error)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
