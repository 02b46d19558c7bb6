from __future__ import annotations

import json
import sys
import zlib

import pytest

from conftest import command, free_port, scripted
from fetch_page import WebError, format_field, parse_object, to_ascii
from web import MISBEHAVING, REASONS, Run, page, redirect, website

GET = {
    "args": {},
    "headers": {"Host": "httpbin.org", "X\x1b": ["a", "ü"]},
    "origin": "192.0.2.1",
    "url": "here",
}
BODY = json.dumps(GET).encode()
PERMANENT = "308 Permanent Redirect" if sys.version_info >= (3, 11) else "307 Temporary Redirect"
SHOWN = ["origin: 192.0.2.1", "headers:", "  Host: httpbin.org", r'  X\x1b: ["a", "ü"]']


def test_format_field() -> None:
    assert list(format_field("a", "b")) == ["a: b"]
    assert list(format_field("a", None)) == ["a: null"]
    assert list(format_field("a", {"b": 1, "c": {"d": "e"}})) == ["a:", "  b: 1", '  c: {"d": "e"}']


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"\xff", b"[" * 100_000, b"9" * 5000, b"[1]", b"{} {}"]
)
def test_parse_refuses(body: bytes) -> None:
    with pytest.raises(
        WebError, match=r"^not (JSON but text/html, which begins with|a JSON object but) b'"
    ):
        parse_object(body, "text/html")


@pytest.mark.parametrize(
    ("url", "wire"),
    [
        ("http://h", "http://h/"),
        ("http://münchen.de:81/ä b?x=ü%20#f", "http://xn--mnchen-3ya.de:81/%C3%A4%20b?x=%C3%BC%20"),
        ("http://пример.рф:8080/", "http://xn--e1afmkfd.xn--p1ai:8080/"),
        ("https://[::1]:8/", "https://[::1]:8/"),
        ("https://[::1]/?a=[1]&b='%zz", "https://[::1]/?a=[1]&b='%zz"),
    ],
)
def test_to_ascii(url: str, wire: str) -> None:
    assert to_ascii(url) == wire


def test_default_fields_and_chosen_ones(web: Run) -> None:
    asked: list[str] = []
    with website({"/get": page(BODY, "application/json")}, asked) as site:
        assert web(f"{site}/get") == (0, SHOWN, "")
        assert web(f"{site}/get", "--field", "url", "--field", "args") == (
            0,
            ["url: here", "args:"],
            "",
        )
        code, out, err = web(f"{site}/get", "--field", "url", "--field", "none")
    assert (code, out) == (1, ["url: here"])
    assert "no field 'none'; there is: args, headers, origin, url" in err
    assert "User-Agent: fetch_page/1.0\r\n" in asked[0]


def test_follows_redirects(web: Run) -> None:
    pages = {
        "/a": redirect("/b?ä ö"),
        "/b?%C3%A4%20%C3%B6": redirect("get", PERMANENT),
        "/get": page(BODY),
    }
    with website({**pages, "/": redirect("/a", "301 Moved Permanently")}) as site:
        assert web(site) == (0, SHOWN, "")


def test_reads_chunks(web: Run) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked += b"".join(b"%x\r\n%c\r\n" % (1, byte) for byte in BODY) + b"0\r\n\r\n"
    pages = {"/chunked": chunked, "/until-close": b"HTTP/1.1 200 OK\r\n\r\n" + BODY}
    with website({**pages, "/cut-chunks": chunked[:-30]}) as site:
        for path in pages:
            assert web(site + path) == (0, SHOWN, "")
        assert "the reply ended early" in web(f"{site}/cut-chunks").err


def test_says_what_came_instead_of_json(web: Run) -> None:
    with website({"/": page(b"<!doctype html>\x1b[2J", "text/html; charset=x")}) as site:
        code, out, err = web(site)
    assert (code, out) == (1, [])
    assert err.startswith(
        f"fetch_page.py: error: {site}: not JSON but text/html; charset=x, which begins with b'<!doc"
    )
    assert err.strip().isprintable()


@pytest.mark.parametrize("path", MISBEHAVING)
def test_misbehaving_servers(path: str, web: Run) -> None:
    with website(MISBEHAVING) as site:
        timeout = "0.15" if "drip" in path else "10"
        code, out, err = web(site + path, "--timeout", timeout, "--max-size", "1000")
    assert (code, out) == (1, [])
    assert err.startswith(f"fetch_page.py: error: {site}{path}: {REASONS[path]}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "data:,{}", "ftp://h/", "h", "", "http://", "http://h:0/", "http://h:x/", "http://[::1",
     "http://u:p@h/", "http://a b/", "http://" + "x" * 70, "http://h\x7f/"],
)  # fmt: skip
def test_bad_urls(url: str, web: Run) -> None:
    code, out, err = web(url)
    assert (code, out) == (1, [])
    assert "bad URL" in err
    assert err.count("\n") == 1


def test_no_such_host_nobody_there_no_tls(web: Run) -> None:
    assert "unknown host" in web("http://no.such.host.invalid/").err
    assert "connection refused" in web(f"http://127.0.0.1:{free_port()}/").err
    with scripted(b"HTTP/1.1 400 This is no TLS\r\n\r\n") as port:
        assert "TLS: " in web(f"https://127.0.0.1:{port}/").err


def test_command() -> None:
    with website({"/": page(zlib.compress(b"x"))}) as site:
        result = command("fetch_page.py", site)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"fetch_page.py: error: {site}: not JSON")
    assert "Traceback" not in result.stderr
