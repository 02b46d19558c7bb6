"""URL tools: read, add, replace and remove the parameters of a URL.

A parameter is `name=value` between "?", "&" and "#"; the rest stays as it is.
Names are compared decoded, so `%61` and `a` are the same name; a new name or
value is given as it is and encoded once, in UTF-8 (RFC 3986). Without options
the script shows an example. Options are carried out in the order in which they
are given; the URL "-" stands for one on each line of stdin.

Try it:

    python3 url_tools.py 'https://example.org/view?id=123' --set user=42
    echo 'https://example.org/?a=1&b=2' | python3 url_tools.py - --remove a

Left out: an empty query, a "?" with nothing after it, may get lost.

Experiment:

    - rest, mark, fragment = url.partition("#")
    + rest, mark, fragment = url, "", ""
    `pytest -k "url_tools and test_get"` fails: what comes after "#" is never
    sent to a server, and no parameter.
"""

import argparse
import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from functools import partial
from urllib.parse import quote, unquote_plus

URL = re.compile(
    r"""(?P<scheme> [A-Za-z][A-Za-z0-9+.-]* ) ://
        ( [^/?#]* @ )?
        (?P<host> \[ [0-9A-Fa-f:.]+ (%25 [^]/?#]+)? ] | [^]:@/?#[]* )
        ( : (?P<port> [0-9]* ) )?
        (?![^/?#])""",
    re.VERBOSE,
)
EXAMPLE = "https://example.org/products/view?id=123&sort=asc"


def get_params(url: str, name: str) -> list[str]:
    """Return all values of the parameter `name`, decoded, in their order."""
    return [value for key, value in read_params(url) if key == name]


def get_param(url: str, name: str) -> str | None:
    """Return the first value of the parameter `name`, decoded, or None if there is none."""
    return next((value for key, value in read_params(url) if key == name), None)


def read_params(url: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of each parameter. Bytes that are not UTF-8 become lone surrogates."""
    _, query, _ = split_url(url)
    for part in query.split("&"):
        if part:
            key, _, value = part.partition("=")
            yield decode(key), decode(value)


def set_param(url: str, name: str, value: str) -> str:
    """Return `url` with the parameter `name` set: in its first place, or else at the end."""
    head, query, tail = split_url(url)
    parts = []
    found = False
    if name in query or "%" in query or "+" in query:  # else it is not there: twice as fast
        for part in query.split("&"):
            key = part.partition("=")[0]
            if not part or decode(key) != name:
                parts.append(part)
            elif not found:
                parts.append(f"{key}={encode(value)}")
                found = True
    return f"{head}?{'&'.join(parts)}{tail}" if found else append_param(url, name, value)


def append_param(url: str, name: str, value: str) -> str:
    """Return `url` with one more parameter at the end."""
    head, query, tail = split_url(url)
    return f"{head}?{query}{'&' * bool(query)}{encode(name)}={encode(value)}{tail}"


def remove_param(url: str, name: str) -> str:
    """Return `url` without the parameter `name`; without any parameter left, without "?"."""
    head, query, tail = split_url(url)
    parts = query.split("&")
    kept = [part for part in parts if not part or decode(part.partition("=")[0]) != name]
    if len(kept) == len(parts):
        return url
    return f"{head}?{'&'.join(kept)}{tail}" if any(kept) else head + tail


def split_url(url: str) -> tuple[str, str, str]:
    """Return what comes before "?", the query, and the fragment with its "#"."""
    rest, mark, fragment = url.partition("#")
    head, _, query = rest.partition("?")
    return head, query, mark + fragment


def decode(text: str) -> str:
    """Return a name or value without its percent-encoding."""
    if "%" not in text and "+" not in text:
        return text
    return unquote_plus(text, errors="surrogateescape")


def encode(text: str) -> str:
    """Return `text` percent-encoded for a query."""
    if text.isalnum() and text.isascii():
        return text
    return quote(text, safe="", errors="surrogateescape")


def describe(url: str) -> dict[str, object]:
    """Return the parts of `url` by their names. Raises ValueError if it is not a URL."""
    match = URL.match(url)
    if not match or not (match["host"] or match["scheme"] == "file"):
        raise ValueError("expected a scheme and a host, as in https://example.org/")
    port = (match["port"] or "").lstrip("0")
    if len(port) > 5 or int(port or 0) > 65535:
        raise ValueError("the port is not from 0 to 65535")
    if not url.isprintable() or " " in match[0]:
        raise ValueError("there is a character that has to be percent-encoded")
    head, _, tail = split_url(url)
    return {
        "url": url,
        "scheme": match["scheme"].lower(),
        "host": match["host"].strip("[]").lower() or None,
        "port": int(port or 0) if match["port"] else None,
        "path": head[match.end() :],
        "params": list(read_params(url)),
        "fragment": tail[1:],
    }


def run_steps(url: str, steps: list[tuple[str, ...]], as_json: bool) -> Iterator[str]:
    """Carry out the options in order; yield the lines to print. Raises ValueError, KeyError."""
    describe(url)
    for action, name, *value in steps:
        if action == "get":
            found = get_param(url, name)
            if found is None:
                raise KeyError(f"no parameter {name!r} in {url}")
            yield found
        elif action == "all":
            yield from get_params(url, name)
        elif action == "remove":
            url = remove_param(url, name)
        else:
            url = {"set": set_param, "append": append_param}[action](url, name, *value)
    if as_json:
        yield json.dumps(describe(url))
    elif not {action for action, *_ in steps} <= {"get", "all"} or not steps:
        yield url


# The rest is output and the command line.


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


def parse_pair(action: str, text: str) -> tuple[str, str, str]:
    """Return (action, name, value), for argparse."""
    name, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return action, name, value


def read_urls() -> Iterator[str]:
    """Yield the lines of stdin."""
    for line in sys.stdin.buffer if sys.stdin else ():
        if text := line.rstrip(b"\r\n").decode("utf-8", "surrogateescape"):
            yield text


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", nargs="?", metavar="URL", help="- for one on each line of stdin")
    step = partial(parser.add_argument, action="append", dest="steps", default=[])
    step("--get", type=lambda name: ("get", name), metavar="NAME", help="print its first value")
    step("--all", type=lambda name: ("all", name), metavar="NAME", help="print all its values")
    step("--set", type=partial(parse_pair, "set"), metavar="NAME=VALUE", help="add or replace it")
    step("--append", type=partial(parse_pair, "append"), metavar="NAME=VALUE", help="add it again")
    step("--remove", type=lambda name: ("remove", name), metavar="NAME", help="remove every value")
    parser.add_argument("--json", action="store_true", help="print the parts of the URL")
    args = parser.parse_args(argv)
    if args.url is None and (args.steps or args.json):
        parser.error("give a URL")
    urls: Iterable[str] = read_urls() if args.url == "-" else [args.url]
    steps = args.steps
    status = 0
    try:
        if args.url is None:
            print_line(EXAMPLE)
            urls, steps = [EXAMPLE], [("get", "id"), ("get", "sort"), ("set", "user", "42")]
        for url in urls:
            try:
                for line in run_steps(url, steps, args.json):
                    print_line(line)
            except (ValueError, KeyError) as error:
                if isinstance(error, KeyError):
                    reason = error.args[0]
                else:
                    reason = f"not a URL: {url!r}: {error}"
                print(f"{parser.prog}: error: {escape(reason)}", file=sys.stderr)
                status = 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # nobody reads stdout any more, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the flush at exit
        return 0
    except OSError as error:
        parser.exit(1, f"{parser.prog}: error: cannot read or write: {error.strerror}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
