"""URL report: writes status, type, size, time and MD5s of a reply to a file.

There is one MD5 for each 1000 bytes of the reply, which is not kept in memory,
however long it is. A status such as 404 is reported like any other; if a reply
ends early, the last line is "incomplete". The fragments are the same as those
of `split -b 1000 --filter=md5sum`.

Try it:

    python3 url_report.py https://www.python.org/
    cat report.txt

Left out: a limit on the time in all; with Python 3.10, the redirect 308.

Experiment:

    - rest = rest[whole:]
    + rest = b""
    `pytest -k "url_report and fragments"` fails: the pieces of the network are
    not the fragments of the exercise.
"""

import argparse
import hashlib
import os
import secrets
import signal
import socket
import ssl
import string
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http.client import HTTPException, HTTPResponse, IncompleteRead
from itertools import chain
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit, urlunsplit
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

OUTPUT = "report.txt"
AGENT = "url_report/1.0"
TIMEOUT = 20.0  # seconds of silence
FRAGMENT = 1000  # bytes
PIECE = 64 * 1024  # bytes to read at once
INCOMPLETE = "incomplete"


def report(url: str, timeout: float) -> Iterator[str]:
    """Yield the lines of the report; the last one is INCOMPLETE if the reply ends early.

    Raises WebError, OSError, HTTPException if there is no reply at all.
    """
    start = time.monotonic()
    with open_url(url, timeout) as reply:
        declared = reply.headers.get("Content-Length", "")
        yield f"URL: {url}"
        yield f"Final URL: {reply.url}"
        yield f"Status: {reply.status} {reply.reason}"
        yield f"Type: {reply.headers['Content-Type'] or 'unknown'}"
        yield f"Declared size: {f'{declared} bytes' if declared.isdecimal() else 'unknown'}"
        yield f"Time to the first byte: {time.monotonic() - start:.3f} s"
        size = 0
        pieces = progress(read_body(reply, float("inf"), float("inf")), reply.length or 0)
        complete = True
        try:
            for number, fragment in enumerate(split_fragments(pieces, FRAGMENT), 1):
                size += len(fragment)
                md5 = hashlib.md5(fragment, usedforsecurity=False).hexdigest()
                yield f"Fragment {number}: {md5}"
        except (OSError, HTTPException):
            complete = False
        yield f"Size received: {size} bytes"
        yield f"Total time: {time.monotonic() - start:.3f} s"
        if not complete:
            yield INCOMPLETE


def split_fragments(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the bytes of `pieces` in fragments of `size` bytes, of which the last may be shorter.

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
    except (OSError, HTTPException) as early_end:
        error = early_end
    if rest:
        yield rest
    if error:
        raise error


# The rest is the same in every script that asks a web server, or writes files.


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


@contextmanager
def atomic_write(path: str) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` at the end, or vanishes if an exception is raised.

    Nobody ever sees half a file, and after a failure the old one is still there. Raises OSError.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a device, such as /dev/stdout
        with open(path, "wb") as file:
            yield file
        return
    if os.path.islink(path):  # which stays a link
        path = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(path), f".{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
        with suppress(OSError):  # there is no old file
            os.chmod(temporary, os.stat(path).st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            error.filename = path
        raise


def progress(pieces: Iterable[bytes], total: int) -> Iterator[bytes]:
    """Yield `pieces`, `total` bytes in all; on a terminal, draw a progress bar on stderr."""
    start = drawn = time.monotonic()
    done = 0
    for piece in pieces:
        yield piece
        done += len(piece)
        now = time.monotonic()
        if sys.stderr.isatty() and now - drawn >= 0.1:  # seconds: more often would flicker
            drawn = now
            share, rate = done / max(total, done), done / (now - start) / 1e6
            bar = f"[{'#' * round(40 * share):40}] {share:4.0%} {rate:7.1f} MB/s"
            print(f"\r{bar}", end="", file=sys.stderr, flush=True)
    if drawn != start:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


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
    option("url", metavar="URL", help="what to ask for")
    option("--output", default=OUTPUT, metavar="FILE", help="file to write (default: %(default)s)")
    option(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help="longest silence of the server; 0: no limit (default: %(default)g)",
    )
    args = parser.parse_args(argv)
    if not 0 <= args.timeout <= 1e6:
        parser.error("--timeout must be from 0 to 1000000")
    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # removes the unfinished file
    line, where = "", args.url
    try:
        lines = report(args.url, args.timeout)
        first = next(lines)  # without a reply, the old report stays
        where = args.output
        with atomic_write(args.output) as file:
            for line in chain([first], lines):
                file.write(f"{escape(line)}\n".encode())
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # --output /dev/stdout, and nobody reads it any more
        return 0
    except (OSError, ValueError, HTTPException) as error:
        reason = escape(f"{where}: {describe_web_error(error)}")
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    if line == INCOMPLETE:
        reason = escape(f"{args.url}: the reply ended early; {args.output} is about what came")
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
