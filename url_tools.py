"""URL tools: read, add, replace and remove the parameters of a URL, and leave every other byte of it as it is.

A parameter is `name=value` between `?`, `&` and `#`. Names are compared decoded, so `%61` and `a` are the same name; a
new name or value is given raw and encoded once, in UTF-8 (RFC 3986). Without options the script shows an example;
options are done in the order in which they are given, and a URL of - means one on each line of stdin.

Try it:

    python3 url_tools.py 'https://example.org/products/view?id=123&sort=asc' --get id --get sort --set user=42
    echo 'https://example.org/?a=1&b=2' | python3 url_tools.py - --remove a
"""

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator
from functools import partial

FORM = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*@)?(?P<host>\[[0-9A-Fa-f:.]+(%25[^]/?#]+)?]|[^]:@/?#[]*)(:(?P<port>[0-9]{0,5}))?(?![^/?#])"
)
WIDTH = 120  # columns of the help
EXAMPLE = "https://example.org/products/view?id=123&sort=asc"


def get_params(url: str, name: str) -> list[str]:
    """Return all values of the parameter `name`, decoded, in their order."""
    return [value for key, value in params(url) if key == name]


def get_param(url: str, name: str) -> str | None:
    """Return the first value of the parameter `name`, decoded, or None if there is none."""
    return next((value for key, value in params(url) if key == name), None)


def params(url: str) -> Iterator[tuple[str, str]]:
    """Yield name and value, decoded, of each parameter. Bytes that are no UTF-8 become lone surrogates."""
    _, query, _ = split(url)
    for part in query.split("&"):
        if part:
            key, _, value = part.partition("=")
            yield decode(key), decode(value)


def set_param(url: str, name: str, value: str) -> str:
    """Return `url` with `name` set to `value`: at its first place, all others are removed, or else at the end."""
    head, query, tail = split(url)
    kept = []
    found = False
    if name in query or "%" in query or "+" in query:  # or else no part can be it, which saves half of the time
        for part in query.split("&"):
            key = part.partition("=")[0]
            if not part or decode(key) != name:
                kept.append(part)
            elif not found:
                kept.append(f"{key}={encode(value)}")
                found = True
    return f"{head}?{'&'.join(kept)}{tail}" if found else append_param(url, name, value)


def append_param(url: str, name: str, value: str) -> str:
    """Return `url` with one more parameter at the end."""
    head, query, tail = split(url)
    joint = "&" if query and query[-1] != "&" else ""
    return f"{head}?{query}{joint}{encode(name)}={encode(value)}{tail}"


def remove_param(url: str, name: str) -> str:
    """Return `url` without the parameter `name`; without a parameter left, without the `?`."""
    head, query, tail = split(url)
    parts = query.split("&")
    kept = [part for part in parts if not part or decode(part.partition("=")[0]) != name]
    if len(kept) == len(parts):
        return url
    return f"{head}?{'&'.join(kept)}{tail}" if any(kept) else head + tail


def split(url: str) -> tuple[str, str, str]:
    """Return what stands before the `?`, the query, and the fragment with its `#`."""
    rest, mark, fragment = url.partition("#")
    head, _, query = rest.partition("?")
    return head, query, mark + fragment


def decode(text: str) -> str:
    """Return a name or a value as its author meant it."""
    if "%" not in text and "+" not in text:
        return text
    from urllib.parse import unquote_plus

    return unquote_plus(text, errors="surrogateescape")


def encode(text: str) -> str:
    """Return `text` so that it may stand in a query."""
    if text.isalnum() and text.isascii():
        return text
    from urllib.parse import quote

    return quote(text, safe="", errors="surrogateescape")


def describe(url: str) -> dict[str, object]:
    """Return the parts of `url` by their names. Raises ValueError if it is none."""
    match = FORM.match(url)
    if not match or not (match["host"] or match["scheme"] == "file"):
        raise ValueError("there is no scheme and host, as in https://example.org/")
    port = int(match["port"]) if match["port"] else None
    if port and port > 65535:
        raise ValueError("the port is not from 0 to 65535")
    if not url.isprintable() or " " in match[0]:
        raise ValueError("there is a character that has to be percent-encoded")
    head, _, tail = split(url)
    return {
        "url": url,
        "scheme": match["scheme"].lower(),
        "host": match["host"].strip("[]").lower() or None,
        "port": port,
        "path": head[match.end() :],
        "params": list(params(url)),
        "fragment": tail[1:],
    }


def answer(url: str, steps: list[tuple[str, ...]], as_json: bool) -> Iterator[str]:
    """Do the steps one after the other, and yield the lines to print. Raises ValueError, for no URL, and KeyError."""
    describe(url)
    for option, name, *value in steps:
        if option == "get":
            found = get_param(url, name)
            if found is None:
                raise KeyError(f"no parameter {name!r} in {url}")
            yield found
        elif option == "all":
            yield from get_params(url, name)
        elif option == "remove":
            url = remove_param(url, name)
        else:
            url = {"set": set_param, "append": append_param}[option](url, name, *value)
    if as_json:
        import json

        yield json.dumps(describe(url))
    elif not {option for option, *_ in steps} <= {"get", "all"} or not steps:
        yield url


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


def step(option: str, name: str) -> tuple[str, str]:
    """Return both, for argparse."""
    return option, name


def pair(option: str, text: str) -> tuple[str, str, str]:
    """Return (option, name, value), for argparse."""
    name, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return option, name, value


def main(argv: list[str] | None = None) -> int:
    form = partial(argparse.RawDescriptionHelpFormatter, width=WIDTH)  # to ask for the terminal's costs an import
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("url", nargs="?", metavar="URL", help="-: one on each line of stdin")
    more = partial(parser.add_argument, action="append", dest="steps", default=[])
    more("--get", type=partial(step, "get"), metavar="NAME", help="print the first value")
    more("--all", type=partial(step, "all"), metavar="NAME", help="print all values")
    more("--set", type=partial(pair, "set"), metavar="NAME=VALUE", help="add or replace")
    more("--append", type=partial(pair, "append"), metavar="NAME=VALUE", help="add at the end")
    more("--remove", type=partial(step, "remove"), metavar="NAME", help="remove all of that name")
    parser.add_argument("--json", action="store_true", help="print the parts of the URL")
    args = parser.parse_args(argv)
    if args.url is None and (args.steps or args.json):
        parser.error("which URL?")
    steps = args.steps
    urls: Iterable[str] = [args.url]
    if args.url is None:
        show(EXAMPLE)
        urls, steps = [EXAMPLE], [("get", "id"), ("get", "sort"), ("set", "user", "42")]
    elif args.url == "-":
        lines = (
            line.rstrip(b"\r\n").decode("utf-8", "surrogateescape") for line in (sys.stdin.buffer if sys.stdin else ())
        )
        urls = filter(None, lines)
    status = 0
    try:
        for url in urls:
            try:
                for line in answer(url, steps, args.json):
                    show(line)
            except ValueError as error:
                status = fail(f"not a URL: {url!r}: {error}")
            except KeyError as error:
                status = fail(error.args[0])
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return fail(f"cannot read or write: {error.strerror}")
    return status


if __name__ == "__main__":
    sys.exit(main())
