from __future__ import annotations

import base64
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import ROOT, TIMEOUT, WINDOWS, free_port, started
from download_images import Images, file_name, parse_data_url, parse_srcset
from web import MISBEHAVING, REASONS, Run, drip, page, redirect, website

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def image(content: bytes = PNG, kind: str = "image/png") -> bytes:
    return page(content, kind)


def saved(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def urls(text: str, everything: bool = False) -> list[str]:
    parser = Images("http://h/f/page.html", everything)
    parser.feed(text)
    return list(parser.urls)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('<img src="a.png">', ["http://h/f/a.png"]),
        ("<IMG SRC='a.png?x=1&amp;y=2'>", ["http://h/f/a.png?x=1&y=2"]),
        ("<img alt=x src=a.png/><img src=/b.png>", ["http://h/f/a.png/", "http://h/b.png"]),
        ('<img\nsrc="\n a\n.png\t" />', ["http://h/f/a.png"]),
        ('<base href="//cdn/x/"><img src="a.png">', ["http://cdn/x/a.png"]),
        ('<img src="a.png#x"><img src="a.png"><img src="./a.png">', ["http://h/f/a.png"]),
        ('<img src="a.png" src="b.png">', ["http://h/f/a.png"]),
        (
            '<base href="http://["><base href="/x/"><base href="/y/"><img src="a.png">',
            ["http://h/x/a.png"],
        ),
        ('<img src="#f"><img src=" #"><img src="a.png#f">', ["http://h/f/a.png"]),
        ('<img src=""><img src><img alt="src=x.png"><p src="x.png">', []),
        (
            '<script>"<img src=x.png>"</script><!-- <img src=y.png> --><![foo><img src=z.png>',
            ["http://h/f/z.png"],
        ),
        (
            "<title><img src=x.png></title><textarea><img src=y.png></textarea><img src=z.png>",
            ["http://h/f/z.png"],
        ),
        (
            '<img src="&#x61;.png"><img src="http://[::1/b.png">',
            ["http://h/f/a.png", "http://[::1/b.png"],
        ),
        (
            '<img src="a.png" srcset="b.png 2x" data-src="c.png"><source srcset="d.png">',
            ["http://h/f/a.png"],
        ),
    ],
)
def test_images(text: str, found: list[str]) -> None:
    assert urls(text) == found


def test_all_images() -> None:
    text = '<img src="a.png" srcset="b.png 2x, c.png" data-src="d.png"><source srcset="e.png"><video src="f.mp4">'
    assert [url[-5] for url in urls(text, everything=True)] == ["a", "d", "b", "c", "e"]


@pytest.mark.parametrize(
    ("srcset", "found"),
    [
        ("", []),
        ("a.png", ["a.png"]),
        ("a.png 1x, b.png 2x", ["a.png", "b.png"]),
        (" a.png,\n b,c.png 100w ,d.png", ["a.png", "b,c.png", "d.png"]),
        ("data:image/png;base64,xy== 1x, b.png", ["data:image/png;base64,xy==", "b.png"]),
        (",, a.png ,", ["a.png"]),
        ("a.png,", ["a.png"]),
        ("a.png (1,2) 1x, b.png calc(1px, 2px), c.png", ["a.png", "b.png", "c.png"]),
        ("a\u00a0b.png 1x,c.png", ["a\u00a0b.png", "c.png"]),
        ("a.png " + "(" * 200_000, ["a.png"]),
        (" " * 200_000 + "a" + "," * 200_000, ["a"]),
    ],
)
def test_parse_srcset(srcset: str, found: list[str]) -> None:
    assert parse_srcset(srcset) == found


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h/f/a.png?x=/y.gif", "a.png"),
        ("http://h/a%20b%C3%A4.jpg", "a bä.jpg"),
        ("http://h/", "image.png"),
        ("http://h", "image.png"),
        ("http://h/photo", "photo.png"),
        ("http://h/..", "image.png"),
        ("http://h/%2e%2e%2Fetc%2Fpasswd", "_etc_passwd.png"),
        ("http://h/..%5c..%5cx.png", "_._x.png"),
        ("http://h/a...b..png", "a.b.png"),
        ("http://h/a%00b%0Ac%1b.png", "a_b_c_.png"),
        ("http://h/C:x.png", "C_x.png"),
        ("http://h/con.png", "_con.png"),
        ("http://h/NUL", "_NUL.png"),
        ("http://h/.htaccess", "htaccess.png"),
        ("http://h/a.png.", "a.png"),
        ("http://h/%3Cb%3E%22%7C%3F*.png", "_b_____.png"),
        ("", "image.png"),
        ("http://h/a.b.webp!a-very-long-one-after-it", "a.b.webp!a-very-long-one-after-it.png"),
        ("http://h/COM%C2%B9%20.x", "_COM¹ .x"),
    ],
)
def test_file_name(url: str, name: str) -> None:
    assert file_name(url, "image/png") == name


def test_file_name_has_at_most_255_bytes() -> None:
    assert file_name("http://h/" + "%C3%A4" * 300 + ".jpeg", "image/png") == "ä" * 125 + ".jpeg"
    assert file_name("http://h/" + "x" * 300, "image/x-new-kind") == "x" * (255 - 9) + ".xnewkind"
    assert file_name("http://h/a." + "x" * 300, "image/png") == "a." + "x" * 249 + ".png"
    assert file_name("http://h/a", "image/+++") == "a.image"
    assert file_name("http://h/favicon", "image/x-icon") == "favicon.ico"


def test_data_url() -> None:
    assert parse_data_url("data:image/png;base64," + base64.b64encode(PNG).decode()) == (
        "image/png",
        PNG,
    )
    assert parse_data_url("data:image/svg+xml,%3Csvg%3E") == ("image/svg+xml", b"<svg>")
    assert parse_data_url("data:,x") == ("text/plain", b"x")
    assert parse_data_url("DATA:Image/PNG ; BASE64,R0lGOA") == ("image/png", b"GIF8")
    for wrong in ("data:image/png", "data:image/png;base64,x", "data:image/png;base64,%%%"):
        with pytest.raises(ValueError, match=r"data|padding|base64|alphabet"):
            parse_data_url(wrong)


def test_downloads(web: Run, tmp_path: Path) -> None:
    """Names in the page's order, each URL once, nothing overwritten."""
    (tmp_path / "there.png").write_bytes(b"old")
    html = b"""<base href="/img/"><img src="a.png"><img src='b'><img src=a.png><img src="/other/a.png">
        <img src="there.png"><img src="data:image/gif;base64,R0lG"><img src="moved.png"><img src="c%2Fd.webp">"""
    pages = {
        "/page": redirect("/f/page"),
        "/f/page": page(html),
        "/img/a.png": image(),
        "/other/a.png": image(b"other"),
        "/img/b": image(b"b", "image/jpeg"),
        "/img/there.png": image(b"new"),
        "/img/moved.png": redirect("/other/a.png"),
        "/img/c%2Fd.webp": b"HTTP/1.0 200 OK\r\nContent-Type: image/webp\r\n\r\nwebp",
    }
    asked: list[str] = []
    with website(pages, asked) as site:
        code, out, err = web(f"{site}/page")
    assert (code, err) == (0, "")
    assert out == ["a.png", "b.jpg", "a-1.png", "there-1.png", "image.gif", "moved.png", "c_d.webp"]
    files = saved(tmp_path)
    assert files.pop("there.png") == b"old"
    assert list(map(files.get, out)) == [PNG, b"b", b"other", b"new", b"GIF", b"other", b"webp"]
    assert set(files) == set(out)
    assert sorted(request.split()[1] for request in asked) == sorted([*pages, "/other/a.png"])


def test_goes_on_past_failures(web: Run, tmp_path: Path) -> None:
    """And leaves nothing of what failed."""
    wrong = [path for path in MISBEHAVING if path != "/drip"]  # which takes until --timeout
    others = [
        "/none.png",
        "/page",
        "file:///etc/passwd",
        "data:text/html,x",
        "data:image/png;base64,x",
        "/cut",
    ]
    sources = ["/first.png", *wrong, *others, "/last.png"]
    html = "".join(f'<img src="{source}">' for source in sources)
    pages = {
        **MISBEHAVING,
        "/page": page(html.encode()),
        "/first.png": image(),
        "/last.png": image(),
    }
    pages["/short"] = image(PNG)[:-1]
    pages["/long"] = image(PNG * 4)
    pages["/cut"] = (
        b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"
    )
    with website(pages) as site:
        code, out, err = web(f"{site}/page", "--max-size", "1000", "--output-dir", "new/folder")
    assert (code, out) == (1, ["first.png", "last.png"])
    assert saved(tmp_path / "new" / "folder") == {"first.png": PNG, "last.png": PNG}
    lines = err.splitlines()
    assert len(lines) == len(wrong) + len(others)
    for path, line in zip(wrong, lines, strict=False):
        assert line.startswith(f"download_images.py: error: {site}{path}: {REASONS[path]}")
    reasons = [
        "HTTP status 404 Not Found",
        "not an image but text/html",
        "bad URL",
        "not an image but text/html",
    ]
    for reason, line in zip(
        [*reasons, "", "the reply ended early"], lines[len(wrong) :], strict=True
    ):
        assert reason in line


def test_a_drip_is_cut_off(web: Run, tmp_path: Path) -> None:
    with website({**MISBEHAVING, "/": page(b"<img src=/drip>")}) as site:
        assert web(site, "--timeout", "0.15") == (
            1,
            [],
            f"download_images.py: error: {site}/drip: timed out; try a longer --timeout\n",
        )
    assert saved(tmp_path) == {}


@pytest.mark.parametrize("path", MISBEHAVING)
def test_no_page(path: str, web: Run, tmp_path: Path) -> None:
    with website({**MISBEHAVING, "/long": page(b"x", "text/plain")}) as site:
        code, out, err = web(site + path, "--timeout", "0.3" if "drip" in path else "10")
    assert (code, out, err.count("\n")) == (1, [], 1)
    kinds = {"/long": "text/plain", "/drip": "image/png"}
    reason = f"not a page but {kinds[path]}" if path in kinds else REASONS[path]
    assert err.startswith(f"download_images.py: error: {site}{path}: {reason}")
    assert "connection refused" in web(f"http://127.0.0.1:{free_port()}/").err


def test_jobs_run_at_once(web: Run, tmp_path: Path) -> None:
    """None of the images comes before all of them have been asked for."""
    barrier = threading.Barrier(8, timeout=TIMEOUT)

    def together(connection: socket.socket) -> None:
        barrier.wait()
        connection.sendall(image())

    html = b"".join(b"<img src=/%d.png>" % n for n in range(8))
    with website({"/": page(html), **{f"/{n}.png": together for n in range(8)}}) as site:
        assert web(site).code == 0
    assert len(saved(tmp_path)) == 8


@pytest.mark.skipif(WINDOWS, reason="sends signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_leaves_nothing(number: int, code: int, tmp_path: Path) -> None:
    begun = threading.Event()

    def begin(connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 99\r\n\r\nx"
        )
        begun.set()
        with suppress(ConnectionError):
            connection.recv(1)

    with (
        website(
            {"/": page(b"<img src=1.png><img src=2.png>"), "/1.png": begin, "/2.png": image()}
        ) as site,
        started(
            [sys.executable, ROOT / "download_images.py", site], cwd=tmp_path, stderr=-1
        ) as process,
    ):
        assert begun.wait(TIMEOUT)
        process.send_signal(number)
        _, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, err) == (code, b"")
    assert saved(tmp_path) == {}


def test_nothing_to_do(web: Run) -> None:
    with website({"/": page(b"<p>no image"), "/drip": drip(b"")}) as site:
        assert web(site) == (0, [], "no images on this page\n")
