from __future__ import annotations

import os
import random
import re
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from email.utils import formatdate
from functools import partial
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from conftest import ROOT, TIMEOUT, WINDOWS, LineClient, Server, command, huge, limited, running
from http_server import byte_range, handle_client, locate, media_type, serve, show_size

SCRIPT = ROOT / "http_server.py"
BIG = random.Random(8).randbytes(1_000_000)
MODIFIED = 1_700_000_000
SERVERS_SECRET = b"nobody may see this"
NAMES = [
    b"a b.txt",
    b"q\"'<b>&amp;.txt",
    b"100%25?#.TXT",
    "ü ö.txt".encode(),
    b"bad\xff\xfe.txt",
    b"new\nline\x1b[2J.txt",
]


def showing(root: Path, timeout: float = TIMEOUT) -> AbstractContextManager[tuple[str, int]]:
    return running(serve, partial(handle_client, root=os.path.realpath(root), timeout=timeout))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """The address of a server in this process, for all tests that only ask."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret.txt").write_bytes(SERVERS_SECRET)
    root = folder / "root"
    (root / "sub" / "deep").mkdir(parents=True)
    (folder / "root-too").mkdir()
    (folder / "root-too" / "secret.txt").write_bytes(SERVERS_SECRET)
    (root / "small.txt").write_bytes(b"Hello")
    (root / "empty").touch()
    (root / "big.bin").write_bytes(BIG)
    os.utime(root / "big.bin", (MODIFIED, MODIFIED))
    (root / "sub" / "deep" / "index.html").write_bytes(b"<p>the index")
    (root / "names").mkdir()
    if sys.platform == "linux":
        for name in NAMES:
            (root / "names" / os.fsdecode(name)).write_bytes(name)
    if not WINDOWS:
        (root / "evil.txt").symlink_to("../secret.txt")
        (root / "evil").symlink_to("..")
        (root / "absolute").symlink_to("/etc")
        (root / "good.txt").symlink_to("small.txt")
        (root / "sub" / "up").symlink_to("..")
        (root / "broken").symlink_to("nowhere")
        (root / "ring").symlink_to("ring")
        os.mkfifo(root / "fifo")
    with showing(root) as address:
        yield address


def ask(
    site: tuple[str, int], target: str, method: str = "GET", **headers: str
) -> tuple[HTTPResponse, bytes]:
    """Ask for a target as it is, without what a browser would make of it."""
    connection = HTTPConnection(*site, timeout=TIMEOUT)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("header", "size", "part"),
    [
        ("", 10, None),
        ("bytes=0-3", 10, (0, 4)),
        ("bytes=4-", 10, (4, 10)),
        ("bytes=-3", 10, (7, 10)),
        ("bytes=-30", 10, (0, 10)),
        ("bytes=2-99", 10, (2, 10)),
        ("Bytes = 9-9", 10, (9, 10)),
        ("bytes=3-2", 10, None),
        ("bytes=-", 10, None),
        ("bytes=0-1,4-5", 10, None),
        ("lines=0-1", 10, None),
        ("bytes=" + "9" * 5000 + "-", 10, None),
        ("bytes=x-", 10, None),
        ("bytes=-5", 0, None),
    ],
)
def test_byte_range(header: str, size: int, part: tuple[int, int] | None) -> None:
    assert byte_range(header, size) == part


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=99-99", 10)]
)
def test_byte_range_that_is_not_there(header: str, size: int) -> None:
    with pytest.raises(IndexError):
        byte_range(header, size)


def test_media_type_and_size() -> None:
    names = ["a.txt", "a.html", "a.png", "a.tar.gz", "a", "a.unknown"]
    octets = "application/octet-stream"
    kinds = [
        "text/plain; charset=utf-8",
        "text/html",
        "image/png",
        "application/gzip",
        octets,
        octets,
    ]
    assert list(map(media_type, names)) == kinds
    sizes = [0, 999, 1000, 12_345, 999_499, 999_600, 5 * 10**9, 12 * 10**15]
    assert list(map(show_size, sizes)) == [
        "0 B",
        "999 B",
        "1 kB",
        "12.3 kB",
        "999 kB",
        "1 MB",
        "5 GB",
        "1.2e+04 TB",
    ]


def test_file(site: tuple[str, int]) -> None:
    reply, body = ask(site, "/small.txt?x=1#y")
    assert (reply.status, body, reply.version) == (200, b"Hello", 11)
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.headers["Content-Length"] == "5"
    reply, body = ask(site, "/big.bin")
    assert (reply.status, body) == (200, BIG)
    assert reply.headers["Last-Modified"] == formatdate(MODIFIED, usegmt=True)
    assert ask(site, "/empty")[1] == b""


def test_many_requests_on_one_connection(site: tuple[str, int]) -> None:
    request = b"GET /small.txt HTTP/1.1\r\nHost: h\r\n\r\n"
    with LineClient(site) as client:
        client.send(request * 50 + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert client.rest().count(b"\r\n\r\nHello") == 51


def test_head_has_no_body(site: tuple[str, int]) -> None:
    for target in ("/big.bin", "/", "/none", "/sub"):
        with LineClient(site) as client:
            client.send(f"HEAD {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
            assert client.rest().endswith(b"\r\n\r\n")


def test_a_body_is_no_next_request(site: tuple[str, int]) -> None:
    body = b"GET /big.bin HTTP/1.1\r\nHost: h\r\n\r\n"
    for method in ("GET", "POST"):
        with LineClient(site) as client:
            client.send(
                f"{method} /small.txt HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            assert client.rest().count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    ("header", "part"),
    [("bytes=0-9", BIG[:10]), ("bytes=999990-", BIG[-10:]), ("bytes=-700000", BIG[300_000:])],
)
def test_range(site: tuple[str, int], header: str, part: bytes) -> None:
    reply, body = ask(site, "/big.bin", Range=header)
    assert (reply.status, body) == (206, part)
    first = BIG.index(part)
    assert reply.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{len(BIG)}"
    reply, body = ask(site, "/big.bin", Range=header, If_Range=formatdate(MODIFIED, usegmt=True))
    assert (reply.status, body) == (206, part)
    assert ask(site, "/big.bin", Range=header, If_Range="another")[0].status == 200


def test_range_that_is_not_there(site: tuple[str, int]) -> None:
    reply, body = ask(site, "/big.bin", Range=f"bytes={len(BIG)}-")
    assert (reply.status, body) == (416, b"")
    assert reply.headers["Content-Range"] == f"bytes */{len(BIG)}"


def test_if_modified_since(site: tuple[str, int]) -> None:
    status = {}
    for since in (MODIFIED - 1, MODIFIED, MODIFIED + 1):
        status[since - MODIFIED] = ask(
            site, "/big.bin", If_Modified_Since=formatdate(since, usegmt=True)
        )[0].status
    assert status == {-1: 200, 0: 304, 1: 304}
    assert ask(site, "/big.bin", If_Modified_Since="no date")[0].status == 200
    both = {"If_Modified_Since": formatdate(MODIFIED, usegmt=True), "If_None_Match": '"x"'}
    assert ask(site, "/big.bin", **both)[0].status == 200


ESCAPES = [
    "/../secret.txt",
    "/%2e%2e/secret.txt",
    "/%2E%2E%2fsecret.txt",
    "/sub/../../secret.txt",
    "/sub/..%2f..%2fsecret.txt",
    "/..%5csecret.txt",
    "/..\\secret.txt",
    "/%252e%252e/secret.txt",
    "/....//secret.txt",
    "/../root-too/secret.txt",
    "/..",
    "/sub/..",
    "//etc/passwd",
    "/%2fetc/passwd",
    "/C:/Windows/win.ini",
    "/evil.txt",
    "/evil/secret.txt",
    "/evil/",
    "/evil/root-too/secret.txt",  # begins like the root
    "/absolute/passwd",
    "/broken",
    "/ring",
    "/fifo",
    "/small.txt%00",
    "/small.txt%00.html",
    "/small.txt/",
    "/small.txt/.",
    "/none",
    "/" + "x" * 300,
    "/%ff%fe",
]


@pytest.mark.parametrize("target", ESCAPES)
def test_nothing_outside(site: tuple[str, int], target: str) -> None:
    reply, body = ask(site, target)
    assert (reply.status, SERVERS_SECRET in body) == (404, False)


@pytest.mark.skipif(WINDOWS, reason="needs symbolic links")
def test_links_inside_work(site: tuple[str, int]) -> None:
    assert ask(site, "/good.txt")[1] == b"Hello"


@pytest.mark.skipif(sys.platform != "linux", reason="such names are not possible here")
def test_any_name(site: tuple[str, int]) -> None:
    _, page = ask(site, "/names/")
    links = re.findall(rb'<td><a href="([^"]+)">(.*?)</a>', page)
    shown = [
        "100%25?#.TXT",
        "a b.txt",
        r"bad\xff\xfe.txt",
        r"new\nline\x1b[2J.txt",
        "q&quot;&#x27;&lt;b&gt;&amp;amp;.txt",
    ]
    assert [name.decode() for _, name in links] == [*shown, "ü ö.txt"]
    assert sorted(ask(site, f"/names/{link.decode()}")[1] for link, _ in links) == sorted(NAMES)


def raw(site: tuple[str, int], request: bytes) -> bytes:
    """Return all that a connection gets for what is sent."""
    with LineClient(site) as client:
        client.send(request)
        client.half_close()
        return client.rest()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", b"400"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", b"505"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n", b"400"),
        (b"\r\n\n\r\nGET /small.txt HTTP/1.1\r\nHost: a\r\n\r\n", b"200"),
        (b"GET /small.txt HTTP/1.0\r\n\r\n", b"200"),
    ],
)
def test_forms_of_requests_in_rfc_9112(
    site: tuple[str, int], request_: bytes, status: bytes
) -> None:
    assert re.match(rb"HTTP/1\.1 %s " % status, raw(site, request_))


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("If-Match", "*", 200),
        ("If-Match", '"x"', 412),
        ("If-None-Match", "*", 304),
        ("If-None-Match", '"x"', 200),
        ("If-Unmodified-Since", formatdate(MODIFIED, usegmt=True), 200),
        ("If-Unmodified-Since", formatdate(MODIFIED - 1, usegmt=True), 412),
        ("If-Unmodified-Since", "no date", 200),
    ],
)
def test_preconditions(site: tuple[str, int], name: str, value: str, status: int) -> None:
    assert ask(site, "/big.bin", **{name: value})[0].status == status


def test_suffix_of_an_empty_file(site: tuple[str, int]) -> None:
    assert ask(site, "/empty", Range="bytes=-5")[0].status == 200
    assert ask(site, "/empty", Range="bytes=0-")[0].status == 416


def test_listing(site: tuple[str, int]) -> None:
    reply, page = ask(site, "/")
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    found = re.findall(r'<tr><td><a href="([^"]+)">([^<]+)</a>', page.decode())
    links = [] if WINDOWS else ["good.txt"]
    names = ["names/", "sub/", "big.bin", "empty", *links, "small.txt"]
    assert found == [(name, name) for name in names]
    assert '<td title="1000000 bytes">1 MB<td>20' in page.decode()
    assert "<script" not in page.decode()


@pytest.mark.skipif(WINDOWS, reason="needs symbolic links")
def test_a_folder_has_one_url(site: tuple[str, int]) -> None:
    """Also when there are links between folders, so that whoever follows them all comes to an end."""
    reply, _ = ask(site, "/sub/up/sub/")
    assert (reply.status, reply.headers["Location"]) == (301, "/sub/")


def test_odd_folders_and_times(tmp_path: Path) -> None:
    (tmp_path / "index.html").mkdir()
    for number, time in enumerate((0, 10**12, 2**33)):
        (tmp_path / str(number)).write_bytes(b"x")
        with suppress(OSError):
            os.utime(tmp_path / str(number), (time, time))
    with showing(tmp_path) as address:
        assert ask(address, "/")[1].count(b"<tr><td>") == 4
        for number in range(3):
            assert ask(address, f"/{number}")[1] == b"x"


def test_other_forms_of_requests(site: tuple[str, int]) -> None:
    assert ask(site, "http://h:1/small.txt?x")[1] == b"Hello"
    assert ask(site, "/big.bin", "HEAD", Range="bytes=0-1")[0].status == 200
    with LineClient(site) as client:
        client.send(
            b"GET /small.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /small.txt HTTP/1.0\r\n\r\n"
        )
        replies = client.rest()
    assert replies.count(b"Hello") == 2
    assert replies.index(b"Connection: keep-alive\r\n") < replies.index(b"Connection: close\r\n")
    if sys.platform == "linux":
        with LineClient(site) as client:
            client.send("GET /names/ü%20ö.txt HTTP/1.0\r\n\r\n".encode())
            assert client.rest().endswith("ü ö.txt".encode())


@pytest.mark.skipif(WINDOWS, reason="no limit to lower")
def test_out_of_descriptors_is_not_not_found(tmp_path: Path) -> None:
    with Server(
        limited(SCRIPT, tmp_path, "RLIMIT_NOFILE", 20), "--directory", str(tmp_path)
    ) as server:
        clients = [LineClient(server.address) for _ in range(30)]
        clients[0].send(b"GET /http_server.py HTTP/1.1\r\nHost: h\r\n\r\n")
        while "Cannot accept a client" not in server.log_line():
            pass
        status = clients[0].line()
        for client in clients:
            client.__exit__()
        assert "503" in status or "200" in status
        assert ask(server.address, "/http_server.py")[0].status == 200
        assert server.stop()[0] == 0


def test_folders(site: tuple[str, int]) -> None:
    reply, _ = ask(site, "//sub?x=//evil")
    assert (reply.status, reply.headers["Location"]) == (301, "/sub/?x=//evil")
    _, page = ask(site, "/sub/")
    assert b'<nav><a href="/">Home</a><i>/</i><a href="/sub/">sub</a></nav>' in page
    assert b'href="up' not in page
    assert ask(site, "/sub/deep/")[1] == b"<p>the index"


@pytest.mark.parametrize(
    "request_",
    [
        b"\0\xff\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"x" * 100_000,
        b"X: y\r\n" * 200,
    ],
)
def test_hostile_requests(site: tuple[str, int], request_: bytes) -> None:
    with suppress(ConnectionError), LineClient(site) as client:
        client.send(request_)
        client.half_close()
        client.rest()
    assert ask(site, "/small.txt")[1] == b"Hello"


def test_a_file_that_shrinks_ends_the_connection(tmp_path: Path) -> None:
    size = huge(tmp_path / "file")
    with showing(tmp_path) as address, socket.create_connection(address, TIMEOUT) as connection:
        connection.sendall(b"GET /file HTTP/1.1\r\nHost: h\r\n\r\n")
        received = len(connection.recv(1000))
        os.truncate(tmp_path / "file", 1000)
        while piece := connection.recv(1 << 20):
            received += len(piece)
    assert received < size


def test_command_stops_with_clients_and_logs(tmp_path: Path) -> None:
    (tmp_path / "a\x1b.txt").write_bytes(b"x") if not WINDOWS else None
    with Server(SCRIPT, "--directory", str(tmp_path)) as server:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.address[1]}/") as reply:
            assert reply.read().startswith(b"<!doctype html>")
        with pytest.raises(urllib.error.HTTPError, match="404") as error:
            urllib.request.urlopen(f"http://127.0.0.1:{server.address[1]}/%0a%1b")
        error.value.close()  # it is the reply, and holds the connection
        busy, silent = LineClient(server.address), LineClient(server.address)
        with busy, silent:
            busy.send(b"GET /")
            code, out, err = server.stop(signal.SIGTERM)
            for client in (busy, silent):
                with suppress(ConnectionError):
                    client.rest()
    assert (code, out) == (0, "")
    *lines, last = err.splitlines()
    requests = [line.split(") ")[1] for line in lines if "Connection" not in line]
    assert requests == ['"GET / HTTP/1.1" 200 -', '"GET /%0a%1b HTTP/1.1" 404 -']
    event = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d (Connection (from|closed|lost) )?\('127\.0\.0\.1', \d+"
    assert all(re.match(event, line) for line in lines)
    assert last.endswith(" Server stopped")


def test_idle_connection_is_closed(tmp_path: Path) -> None:
    with showing(tmp_path, 0.2) as address, LineClient(address) as client:
        assert client.rest() == b""


def test_no_such_folder_and_port_in_use(tmp_path: Path) -> None:
    result = command("http_server.py", "--directory", str(tmp_path / "none"))
    assert (result.returncode, result.stdout) == (1, "")
    assert "none: not a folder" in result.stderr
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = command(
            "http_server.py", "--host", "127.0.0.1", "--port", str(other.getsockname()[1])
        )
    assert (result.returncode, result.stdout) == (1, "")
    assert "http_server.py: error: cannot listen on 127.0.0.1:" in result.stderr


def test_locate(tmp_path: Path) -> None:
    root = os.path.realpath(tmp_path)
    (tmp_path / "a").mkdir()
    assert locate(root, "/") == root
    assert locate(root, "//a/./") == os.path.join(root, "a")
    with pytest.raises(FileNotFoundError):
        locate(root, "/a/../a/")
