from __future__ import annotations

import http.server
import os
import threading
from functools import partial
from pathlib import Path

import pytest

from conftest import TIMEOUT, WINDOWS, command, free_port, running
from http_server import handle_client, serve
from list_text_files import path_below
from web import MISBEHAVING, REASONS, Run, drip, page, redirect, website

NGINX = b"""<html>\r\n<head><title>Index of /f/</title></head>\r\n<body>\r\n<h1>Index of /f/</h1><hr><pre>
<a href="../">../</a>\r\n<a href="sub/">sub/</a>           21-Nov-2026 10:15       -
<a href="a%20b.txt">a b.txt</a>        21-Nov-2026 10:15       6
<a href="B.TXT">B.TXT</a>\r\n<a href="long-name-that-nginx-cuts.txt">long-name-that-nginx-c..&gt;</a>
<a href="notes.md">notes.md</a>\r\n</pre><hr></body>\r\n</html>"""
APACHE = b"""<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">\n<table><tr><th><img src="/icons/blank.gif"></th>
<th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A.txt">Last modified</a></th></tr>
<tr><td><a href="/">Parent Directory</a></td></tr><tr><td><a href="sub/">sub/</a></td></tr>
<tr><td><a href="a%20b.txt"><img src="/icons/text.gif"></a></td><td><a href="a%20b.txt">a b.txt</a></td></tr>
<tr><td><A HREF='B.TXT'>B.TXT</A></td></tr></table>"""
OTHERS = b"""<a name=x.txt>no link</a><a href>none</a><a href="">self</a><![foo[><a href=/f/x.txt?v=1#top>x</a>
<a href="//127.0.0.2/f/y.txt">other host</a><a href="/y.txt">above</a><a href="../y.txt">above</a>
<a href="ftp://127.0.0.1/f/y.txt">other scheme</a><a href="y.txt/">folder</a><a href="http://[::1/y.txt">broken</a>
<a href=" &#x7a;.txt\n">z</a><a href="%ff%0a%1b[2J.txt">odd</a><!-- <a href="y.txt"> -->
<a href="caf\xc3\xa9.txt">e</a><title><a href="y.txt"></title><a href="&notit.txt?&copy=1">n</a>"""


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://h/f/", b""),
        ("http://h/f/a%20b%2F.txt", b"a b/.txt"),
        ("http://h/%66/s/x.txt?q", b"s/x.txt"),
        ("http://h/", None),
        ("http://h/fx.txt", None),
        ("http://h:1/f/x.txt", None),
        ("https://h/f/x.txt", None),
    ],
)
def test_path_below(url: str, path: bytes | None) -> None:
    assert path_below("http://h/f/index.html", url) == path


@pytest.mark.parametrize(
    ("listing", "names"),
    [
        (NGINX, ["a b.txt", "B.TXT", "long-name-that-nginx-cuts.txt"]),
        (APACHE, ["a b.txt", "B.TXT"]),
        (OTHERS, ["x.txt", "z.txt", r"\xff\n\x1b[2J.txt", "café.txt", "&notit.txt"]),
        (b'<base href="http://["><base href="/f/g/"><base href="/"><a href="x.txt">', ["g/x.txt"]),
        (
            b'<a href="x.txt"><a href="%78.txt"><a href="y.txt" href="z.txt"><a href="%2e%2e/q.txt">',
            ["x.txt", "y.txt"],
        ),
        (b"", []),
    ],
    ids=["nginx", "apache", "others", "base", "twice", "empty"],
)
def test_listings(listing: bytes, names: list[str], web: Run) -> None:
    with website({"/f": redirect("/f/"), "/f/": page(listing)}) as site:
        assert web(f"{site}/f") == (0, names, "")


@pytest.mark.parametrize("charset", ["punycode", "idna", "undefined", "none", "utf-16"])
def test_charsets(charset: str, web: Run) -> None:
    """A few are understood, and no other one is tried: some of Python's take for ever."""
    html = ('<a href="x.txt">' + "x" * 100_000).encode("utf-16" if charset == "utf-16" else "ascii")
    with website({"/": page(html, f"text/html; charset={charset}")}) as site:
        assert web(site, "--timeout", "5") == (0, ["x.txt"], "")


def test_suffix(web: Run) -> None:
    with website({"/": page(NGINX)}) as site:
        assert web(site, "--suffix", ".MD") == (0, ["notes.md"], "")


def test_recursive(web: Run) -> None:
    pages = {
        "/f/": page(
            b'<a href="a.txt"></a><a href="s/"></a><a href="/"></a><a href="z/"></a><a href="b.txt"></a>'
        ),
        "/f/s/": page(
            b'<a href="../"></a><a href="c.txt"></a><a href="d%20e/"></a><a href="../z/"></a><a href="s/"></a>'
        ),
        "/f/s/d%20e/": page(b'<a href="f.txt"></a><a href="../../a.txt"></a>'),
        "/f/s/s/": page(b""),
        "/f/z/": page(b'<a href="y.txt"></a>'),
    }
    asked: list[str] = []
    with website(pages, asked) as site:
        assert web(f"{site}/f/", "--recursive") == (
            0,
            ["a.txt", "b.txt", "s/c.txt", "s/d e/f.txt", "z/y.txt"],
            "",
        )
    assert sorted(request.split()[1] for request in asked) == sorted(pages)


def test_folder_that_cannot_be_read(web: Run) -> None:
    """It is named, and the others are read."""
    with website({"/": page(b"<a href=gone/><a href=s/>"), "/s/": page(b"<a href=a.txt>")}) as site:
        assert web(site) == (0, [], "")
        error = f"list_text_files.py: error: {site}/gone/: HTTP status 404 Not Found\n"
        assert web(site, "--recursive") == (1, ["s/a.txt"], error)


def test_page_without_a_type(web: Run) -> None:
    with website({"/": b"HTTP/1.1 200 OK\r\n\r\n<a href=a.txt>"}) as site:
        assert web(site) == (0, ["a.txt"], "")


def make_files(folder: Path) -> None:
    (folder / "sub" / "deep.txt").mkdir(parents=True)
    for name in ("a b.txt", "B.TXT", "ü#%.txt", "c.md", "sub/d.txt", "sub/deep.txt/e.txt"):
        (folder / name).touch()
    if not WINDOWS:
        (folder / "sub" / "up").symlink_to("..")


def test_our_server(tmp_path: Path, web: Run) -> None:
    make_files(tmp_path)
    root = os.path.realpath(tmp_path)
    with running(serve, partial(handle_client, root=root, timeout=TIMEOUT)) as address:
        url = f"http://127.0.0.1:{address[1]}/"
        assert web(url) == (0, ["a b.txt", "B.TXT", "ü#%.txt"], "")
        names = ["a b.txt", "B.TXT", "ü#%.txt", "sub/d.txt", "sub/deep.txt/e.txt"]
        assert web(url, "--recursive") == (0, names, "")


def test_the_library_s_server(tmp_path: Path, web: Run) -> None:
    make_files(tmp_path)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))
    ) as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        thread.start()
        try:
            assert web(f"http://127.0.0.1:{server.server_port}/") == (
                0,
                ["a b.txt", "B.TXT", "ü#%.txt"],
                "",
            )
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("path", MISBEHAVING)
def test_misbehaving_servers(path: str, web: Run) -> None:
    html = drip(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
    with website({**MISBEHAVING, "/drip": html}) as site:
        code, out, err = web(
            site + path, "--timeout", "0.15" if "drip" in path else "10", "--max-size", "1000"
        )
    assert (code, out) == (1, [])
    assert err.startswith(f"list_text_files.py: error: {site}{path}: {REASONS[path]}")


def test_timeout_is_for_all_folders_together(web: Run) -> None:
    """A listing without end, folders in each folder."""
    html = b'<a href="x.txt"></a>' + b"".join(
        b'<a href="%d/"></a>' % number for number in range(50)
    )

    class Endless(dict[str, bytes]):
        def get(self, path: str, default: object = None) -> bytes:
            return page(html)

    with website(Endless()) as site:
        code, out, err = web(site, "--recursive", "--timeout", "1")
    assert (code, out[:2]) == (1, ["x.txt", "0/x.txt"])
    assert err == f"list_text_files.py: error: {site}: timed out; try a longer --timeout\n"


def test_no_listing_and_nobody_there(web: Run) -> None:
    with website({"/": page(b"{}", "application/json")}) as site:
        assert web(site) == (
            1,
            [],
            f"list_text_files.py: error: {site}: not a page but application/json\n",
        )
    assert "bad URL" in web("file:///").err
    assert (
        "connection refused"
        in command("list_text_files.py", f"http://127.0.0.1:{free_port()}/").stderr
    )
