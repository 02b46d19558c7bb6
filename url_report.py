"""URL report: writes into a file what a web server replies: status, type, size, time, and the MD5 of each 1000 bytes.

The reply is not kept in memory, however long it is. A status such as 404 is reported like any other; a reply that ends
early makes the last line `incomplete`. The fragments are those of `split -b 1000 --filter=md5sum`.

Try it:

    python3 url_report.py https://www.python.org/
    cat report.txt
"""

import argparse
import hashlib
import http.client
import os
import secrets
import signal
import socket
import ssl
import string
import sys
import time
import urllib.error
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from itertools import chain
from typing import BinaryIO
from urllib.parse import quote, urljoin, urlsplit, urlunsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, UnknownHandler

OUTPUT = "report.txt"
AGENT = "url_report/1.0"
TIMEOUT = 20.0  # seconds of silence
FRAGMENT = 1000  # bytes
INCOMPLETE = "incomplete"
MAX_REDIRECTS = 10
PIECE = 64 * 1024  # bytes to read at a time
BAR = 0.1  # seconds between two pictures of the progress bar


class WebError(ValueError):
    """A URL that cannot be asked, or a reply that is not what it should be."""


def fragments(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the bytes of `pieces` in fragments of exactly `size` bytes, of which the last may be shorter.

    What came before an exception is yielded before that is raised.
    """
    rest = b""
    error = None
    try:
        for piece in pieces:
            rest += piece
            whole = len(rest) - len(rest) % size
            yield from (rest[start : start + size] for start in range(0, whole, size))
            rest = rest[whole:]
    except (OSError, http.client.HTTPException) as early:
        error = early
    if rest:
        yield rest
    if error:
        raise error


def report(url: str, timeout: float | None) -> Iterator[str]:
    """Yield the lines of the report on `url`; the last one is `incomplete` if the reply ends early.

    `timeout` is the longest silence in seconds. Raises WebError, OSError, HTTPException.
    """
    start = time.monotonic()
    with open_url(url, timeout, {}) as reply:
        waited = time.monotonic() - start
        declared = reply.headers.get("Content-Length", "")
        yield f"URL: {url}"
        yield f"Final URL: {reply.url}"
        yield f"Status: {reply.status} {reply.reason}"
        yield f"Type: {reply.headers['Content-Type'] or 'unknown'}"
        yield f"Declared size: {f'{declared} bytes' if declared.isdecimal() else 'unknown'}"
        yield f"Time to the first byte: {waited:.3f} s"
        size = 0
        complete = True
        try:
            for number, fragment in enumerate(fragments(progress(pieces(reply), reply.length or 0), FRAGMENT), 1):
                size += len(fragment)
                yield f"Fragment {number}: {hashlib.md5(fragment, usedforsecurity=False).hexdigest()}"
        except (OSError, http.client.HTTPException):
            complete = False
        yield f"Size received: {size} bytes"
        yield f"Total time: {time.monotonic() - start:.3f} s"
        if not complete:
            yield INCOMPLETE


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
    parser.add_argument("--output", default=OUTPUT, metavar="FILE", help="default: %(default)s")
    patience = "the longest silence in seconds, 0: any (default: %(default)g)"
    parser.add_argument("--timeout", type=between(0, 1e6, float), default=TIMEOUT, metavar="SECONDS", help=patience)
    args = parser.parse_args(argv)
    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # to leave nothing behind
    line, where = "", args.url
    try:
        lines = report(args.url, args.timeout or None)
        first = next(lines)  # no file, and none lost, if there is no reply at all
        where = args.output
        with replacing(args.output) as file:
            for line in chain([first], lines):
                file.write(f"{escape(line)}\n".encode())
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, http.client.HTTPException) as error:
        return fail(f"{where}: {trouble(error)}")
    if line == INCOMPLETE:
        return fail(f"{args.url}: the reply ended early; {args.output} is about what came")
    return 0


if __name__ == "__main__":
    sys.exit(main())
