"""Fetch page: asks a web server for JSON, and prints fields of the reply.

Follows redirects, to http and https only, and reads gzip. --timeout bounds the whole job, from the name's lookup to the
last byte; a reply may have --max-size bytes.

Try it:

    python3 fetch_page.py
    python3 fetch_page.py https://httpbin.org/get --field url --field headers
"""

import argparse
import gzip
import http.client
import io
import json
import os
import socket
import ssl
import string
import sys
import threading
import time
import urllib.error
import zlib
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from typing import Any
from urllib.parse import quote, urljoin, urlsplit, urlunsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, UnknownHandler

URL = "https://httpbin.org/get"
FIELDS = ["origin", "headers"]
AGENT = "fetch_page/1.0"
TIMEOUT = 20.0  # seconds for everything
MAX_SIZE = 16 * 1024 * 1024  # bytes of a page
MAX_REDIRECTS = 10
PIECE = 64 * 1024  # bytes to read at a time
POLL = 0.05  # seconds between two looks for Ctrl-C
BEGINNING = 60  # characters to show of what is no JSON


class WebError(ValueError):
    """A URL that cannot be asked, or a reply that is not what it should be."""


def json_object(body: bytes, kind: str) -> dict[str, object]:
    """Return the JSON object in `body`, which is said to be of the type `kind`. Raises WebError if it is none."""
    try:
        page = json.loads(body)
    except (ValueError, RecursionError, MemoryError) as error:
        raise WebError(f"not JSON but {kind}, which begins with {body[:BEGINNING]!r}") from error
    if not isinstance(page, dict):
        raise WebError(f"not a JSON object but {body[:BEGINNING]!r}")
    return page


def field_lines(name: str, value: object) -> Iterator[str]:
    """Yield the lines that show a field: an object has a line for each of its own."""
    if isinstance(value, dict):
        yield f"{name}:"
        yield from (f"  {key}: {text(item)}" for key, item in value.items())
    else:
        yield f"{name}: {text(value)}"


def text(value: object) -> str:
    """Return a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


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
    parser.add_argument("url", nargs="?", default=URL, metavar="URL", help="default: %(default)s")
    fields = f"print this field (default: {' and '.join(FIELDS)})"
    parser.add_argument("--field", action="append", dest="fields", metavar="NAME", help=fields)
    patience = "seconds for everything, 0: for ever (default: %(default)g)"
    parser.add_argument("--timeout", type=between(0, 1e6, float), default=TIMEOUT, metavar="SECONDS", help=patience)
    size = "the longest reply (default: %(default)s)"
    parser.add_argument("--max-size", type=between(0, 1e12), default=MAX_SIZE, metavar="BYTES", help=size)
    args = parser.parse_args(argv)
    try:
        reply, body = within(args.timeout, fetch, args.url, args.timeout or None, args.max_size)
        page = json_object(body, reply.headers.get("Content-Type", "of no type"))
        for name in args.fields or FIELDS:
            if name not in page:
                raise WebError(f"no field {name!r}; there is: {', '.join(page) or 'none'}")
            for line in field_lines(name, page[name]):
                show(line)
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, RuntimeError, http.client.HTTPException) as error:
        return fail(f"{args.url}: {trouble(error)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
