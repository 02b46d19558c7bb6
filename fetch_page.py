"""Fetch page: asks a web server for JSON, and prints fields of the reply.

Try it:

    python3 fetch_page.py
    python3 fetch_page.py https://httpbin.org/get --field url --field headers

Left out: compressed replies, which a server sends only to those who ask for
them; a limit on the time for the lookup of a name and for a server that sends
its headers byte by byte; with Python 3.10, the redirect 308.

Experiment:

    - if size > max_size:
    + if False:
    `pytest -k "fetch_page and misbehaving"` fails: without a limit the server
    decides how much memory the client needs.
"""

import argparse
import json
import socket
import ssl
import string
import sys
import time
import unicodedata
from collections.abc import Iterator
from functools import cache
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any
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

URL = "https://httpbin.org/get"
FIELDS = ["origin", "headers"]
AGENT = "fetch_page/1.0"
TIMEOUT = 20.0  # seconds
MAX_SIZE = 16 * 1024 * 1024  # bytes of a page
PIECE = 64 * 1024  # bytes to read at once
BEGINNING = 60  # bytes to show of what is not JSON


def fetch_json(url: str, timeout: float, max_size: int) -> dict[str, object]:
    """Return the JSON object at `url`. Raises WebError, OSError, HTTPException."""
    deadline = time.monotonic() + (timeout or float("inf"))
    with open_url(url, timeout) as reply:
        check_reply(reply)
        body = b"".join(read_body(reply, max_size, deadline))
    return parse_object(body, reply.headers.get("Content-Type", "of no type"))


def parse_object(body: bytes, kind: str) -> dict[str, object]:
    """Return the JSON object in `body`, of the Content-Type `kind`. Raises WebError."""
    try:
        page = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WebError(f"not JSON but {kind}, which begins with {body[:BEGINNING]!r}") from error
    if not isinstance(page, dict):
        raise WebError(f"not a JSON object but {body[:BEGINNING]!r}")
    return page


def format_field(name: str, value: object) -> Iterator[str]:
    """Yield the lines that show a field: an object has a line for each of its own fields."""
    if isinstance(value, dict):
        yield f"{name}:"
        yield from (f"  {key}: {format_value(item)}" for key, item in value.items())
    else:
        yield f"{name}: {format_value(value)}"


def format_value(value: object) -> str:
    """Return a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# The rest is the same in every script that asks a web server.


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


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("url", nargs="?", default=URL, metavar="URL", help="default: %(default)s")
    option(
        "--field",
        action="append",
        dest="fields",
        metavar="NAME",
        help=f"field to print, repeatable (default: {' and '.join(FIELDS)})",
    )
    option(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help="longest wait for the reply; 0: no limit (default: %(default)g)",
    )
    option(
        "--max-size",
        type=int,
        default=MAX_SIZE,
        metavar="BYTES",
        help="longest reply (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    if not (0 <= args.timeout <= 1e6 and args.max_size >= 0):
        parser.error("--timeout must be from 0 to 1000000, --max-size from 0")
    try:
        page = fetch_json(args.url, args.timeout, args.max_size)
        for name in args.fields or FIELDS:
            if name not in page:
                raise WebError(f"no field {name!r}; there is: {', '.join(page) or 'none'}")
            for line in format_field(name, page[name]):
                print_line(line)
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, HTTPException) as error:
        reason = f"{args.url}: {describe_web_error(error)}"
        parser.exit(1, f"{parser.prog}: error: {escape(reason)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
