"""List text files: prints which .txt files a web server's listing links to.

It understands the listings of http_server.py, `python -m http.server`, nginx
and Apache: what counts is where a link leads, not what it looks like. With
--recursive the folders below are read, too, and paths are printed.

Try it:

    python3 http_server.py
    python3 list_text_files.py http://localhost:8000/  # in another terminal

Left out: compressed replies, which a server sends only to those who ask for
them; a limit on the time for a server that sends its headers byte by byte;
with Python 3.10, the redirect 308.

Experiment:

    - path = unquote_to_bytes(target.path)
    + path = target.path.encode()
    `pytest -k "list_text_files and listings"` fails: in a link, the name
    "a b.txt" is written a%20b.txt.
"""

import argparse
import os
import re
import socket
import ssl
import string
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from html.entities import html5
from html.parser import HTMLParser
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit, urlunsplit
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

SUFFIX = ".txt"
AGENT = "list_text_files/1.0"
TIMEOUT = 20.0  # seconds in all
MAX_SIZE = 16 * 1024 * 1024  # bytes of a page
MAX_DEPTH = 40  # folders: some servers list new ones without end
PIECE = 64 * 1024  # bytes to read at once
# Other charsets are not for the web, and some of Python's decoders take quadratic time.
CHARSETS = re.compile(
    "us-ascii|utf-(8|16)|iso-8859-1?[1-9]|windows-125[0-8]|koi8-r|gb18030|gbk|big5|euc-(jp|kr)"
    "|shift_jis"
)


class Links(HTMLParser):
    """Collects the targets of the links of a page in `urls`, absolute."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.page = page
        self.base = ""
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in ("textarea", "title"):
            self.set_cdata_mode(tag)  # their content is text
        names = [value for name, value in attributes if name == "href" and value]
        target = names[0].strip() if names else ""
        with suppress(ValueError):  # a broken link
            if tag == "base" and target and not self.base:
                self.base = urljoin(self.page, target)
            elif tag == "a" and target:
                self.urls.append(urljoin(self.base or self.page, target))

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        """Skip `<![...>`, for which the library raises AssertionError."""
        return self.parse_bogus_comment(i)


def path_below(start: str, url: str) -> bytes | None:
    """Return the path from the folder listed at `start` to `url`, decoded; None if outside."""
    base, target = urlsplit(start), urlsplit(url)
    folder = unquote_to_bytes(base.path.rpartition("/")[0] + "/")
    path = unquote_to_bytes(target.path)
    same = (base.scheme, base.netloc.lower()) == (target.scheme, target.netloc.lower())
    if not same or not path.startswith(folder) or b".." in path.split(b"/"):
        return None
    return path.removeprefix(folder)


def find_files(
    args: argparse.Namespace, report: Callable[[str, Exception], None]
) -> Iterator[bytes]:
    """Yield the paths of the files that the command line asks for.

    Call `report(url, error)` for a folder below that cannot be read. Raises WebError, OSError,
    HTTPException.
    """
    deadline = time.monotonic() + (args.timeout or float("inf"))
    start = ""
    seen: set[object] = set()
    folders = [args.url]
    while folders:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        folder = folders.pop(0)
        try:
            url, text = fetch_html(folder, left if args.timeout else 0, args.max_size)
        except (OSError, ValueError, HTTPException) as error:
            if not start or time.monotonic() >= deadline:
                raise
            report(folder, error)
            continue
        start = start or url
        if url in seen:  # another link has led here before
            continue
        seen.add(url)
        parser = Links(url)
        parser.feed(text)
        deeper = []
        for link in parser.urls:
            link = re.split("[?#]", link)[0]
            path = path_below(start, link)
            if not path or path in seen:
                continue
            seen.add(path)
            if not path.endswith(b"/"):
                if path.lower().endswith(args.suffix.lower().encode()):
                    yield path
            elif args.recursive and path_below(url, link) and path.count(b"/") <= MAX_DEPTH:
                deeper.append(link)
        folders = deeper + folders


# The rest is the same in every script that asks a web server.


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


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("url", metavar="URL", help="page that lists files")
    option("--suffix", default=SUFFIX, help="end of the names, in any case (default: %(default)s)")
    option("--recursive", action="store_true", help="read the folders below, too")
    option(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help="longest time in all; 0: no limit (default: %(default)g)",
    )
    option(
        "--max-size",
        type=int,
        default=MAX_SIZE,
        metavar="BYTES",
        help="longest page (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    if not (0 <= args.timeout <= 1e6 and args.max_size >= 0):
        parser.error("--timeout must be from 0 to 1000000, --max-size from 0")
    status = 0

    def report(url: str, error: Exception) -> None:
        nonlocal status
        status = 1
        reason = escape(f"{url}: {describe_web_error(error)}")
        print(f"{parser.prog}: error: {reason}", file=sys.stderr)

    try:
        for name in find_files(args, report):
            print_line(name)
    except BrokenPipeError:  # nobody reads stdout any more, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the flush at exit
        return 0
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, HTTPException) as error:
        reason = f"{args.url}: {describe_web_error(error)}"
        parser.exit(1, f"{parser.prog}: error: {escape(reason)}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
