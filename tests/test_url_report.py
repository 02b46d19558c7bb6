from __future__ import annotations

import hashlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import ROOT, TIMEOUT, WINDOWS, free_port, started
from url_report import split_fragments
from web import MISBEHAVING, REASONS, Run, page, redirect, website

BODY = random.Random(1).randbytes(250_500)
DIGESTS = [
    hashlib.md5(BODY[start : start + 1000]).hexdigest() for start in range(0, len(BODY), 1000)
]
UNKNOWN = ["/garbage", "/nothing", "/endless", "/loop", "/file", "/ftp"]  # no reply at all


def digests(lines: list[str]) -> list[str]:
    numbered = [line for line in lines if line.startswith("Fragment ")]
    assert [line.split(":")[0] for line in numbered] == [
        f"Fragment {n + 1}" for n in range(len(numbered))
    ]
    return [line.split(": ")[1] for line in numbered]


@pytest.mark.parametrize("size", [1, 7, 999, 1000, 1001, 4096, len(BODY)])
def test_fragments_do_not_depend_on_the_pieces(size: int) -> None:
    pieces = (BODY[start : start + size] for start in range(0, len(BODY), size))
    assert [
        hashlib.md5(fragment).hexdigest() for fragment in split_fragments(pieces, 1000)
    ] == DIGESTS


def test_report(web: Run, tmp_path: Path) -> None:
    pages = {"/": redirect("/new"), "/new": page(BODY, "image/png", "200 Fine\x1b")}
    with website(pages) as site:
        assert web(f"{site}/") == (0, [], "")
    lines = (tmp_path / "report.txt").read_text().splitlines()
    assert lines[:5] == [
        f"URL: {site}/",
        f"Final URL: {site}/new",
        r"Status: 200 Fine\x1b",
        "Type: image/png",
        "Declared size: 250500 bytes",
    ]
    assert re.fullmatch(r"Time to the first byte: \d+\.\d\d\d s", lines[5])
    assert lines[6:-2] == [f"Fragment {n}: {digest}" for n, digest in enumerate(DIGESTS, 1)]
    assert lines[-2] == "Size received: 250500 bytes"
    assert re.fullmatch(r"Total time: \d+\.\d\d\d s", lines[-1])
    assert [path.name for path in tmp_path.iterdir()] == ["report.txt"]


@pytest.mark.skipif(WINDOWS, reason="has no modes")
def test_a_private_report_stays_private(web: Run, tmp_path: Path) -> None:
    (tmp_path / "report.txt").touch(0o600)
    with website({"/": page(BODY)}) as site:
        assert web(site).code == 0
    assert (tmp_path / "report.txt").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(WINDOWS or not shutil.which("md5sum"), reason="no split and md5sum here")
def test_same_as_split(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(BODY)
    line = "split -a 3 -b 1000 body part. && md5sum part.*"
    result = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.split()[::2] == DIGESTS


def test_chunks_and_nothing_declared(web: Run, tmp_path: Path) -> None:
    chunks = [BODY[start : start + 777] for start in range(0, len(BODY), 777)]
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked += b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
    pages = {
        "/chunked": chunked,
        "/close": b"HTTP/1.0 404 No\r\nContent-Length: x\r\n\r\n" + BODY,
        "/cut": chunked[:100_000],
    }
    with website(pages) as site:
        for path, status in ("/chunked", "200 OK"), ("/close", "404 No"):
            assert web(site + path, "--output", "r") == (0, [], "")
            lines = (tmp_path / "r").read_text().splitlines()
            assert lines[2:5] == [f"Status: {status}", "Type: unknown", "Declared size: unknown"]
            assert digests(lines) == DIGESTS
        assert web(f"{site}/cut", "--output", "r").code == 1
    lines = (tmp_path / "r").read_text().splitlines()
    assert lines[-1] == "incomplete"
    assert digests(lines)[:90] == DIGESTS[:90]


@pytest.mark.parametrize("path", ["/status", "/empty"])
def test_any_status_is_reported(path: str, web: Run, tmp_path: Path) -> None:
    with website({**MISBEHAVING, "/empty": page(status="404 Not Found")}) as site:
        assert web(site + path) == (0, [], "")
    lines = (tmp_path / "report.txt").read_text().splitlines()
    assert lines[2] in ("Status: 503 Service Unavailable", "Status: 404 Not Found")
    assert lines[-2] == f"Size received: {5 if path == '/status' else 0} bytes"


@pytest.mark.parametrize("path", ["/short", "/stalled"])
def test_incomplete(path: str, web: Run, tmp_path: Path) -> None:
    def stall(connection: object) -> None:
        connection.sendall(page(BODY)[:-99])  # type: ignore[attr-defined]
        connection.recv(1)  # type: ignore[attr-defined]

    with website({"/short": page(BODY)[:-99], "/stalled": stall}) as site:
        code, out, err = web(site + path, "--timeout", "0.3")
    assert (code, out) == (1, [])
    assert (
        err
        == f"url_report.py: error: {site}{path}: the reply ended early; report.txt is about what came\n"
    )
    lines = (tmp_path / "report.txt").read_text().splitlines()
    assert lines[-1] == "incomplete"
    assert lines[-3] == f"Size received: {len(BODY) - 99} bytes"
    assert digests(lines)[:-1] == DIGESTS[:-1]
    assert digests(lines)[-1] == hashlib.md5(BODY[-500:-99]).hexdigest()


@pytest.mark.parametrize("path", UNKNOWN)
def test_without_a_reply_the_old_report_stays(path: str, web: Run, tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text("old")
    with website(MISBEHAVING) as site:
        code, out, err = web(site + path)
    assert (code, out) == (1, [])
    assert err.startswith(f"url_report.py: error: {site}{path}: {REASONS[path]}")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_nobody_there_and_nowhere_to_write(web: Run, tmp_path: Path) -> None:
    assert "connection refused" in web(f"http://127.0.0.1:{free_port()}/").err
    assert "bad URL" in web("file:///etc/passwd").err
    with website({"/": page()}) as site:
        code, out, err = web(site, "--output", "no/such/folder")
    assert (code, out, err) == (
        1,
        [],
        "url_report.py: error: no/such/folder: No such file or directory\n",
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(WINDOWS, reason="sends signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_leaves_nothing(number: int, code: int, tmp_path: Path) -> None:
    def begin(connection: socket.socket) -> None:
        connection.sendall(page(64 * BODY)[:-99])  # more than fits on the way: it writes already
        process.send_signal(number)
        with suppress(ConnectionError):
            connection.recv(1)

    with (
        website({"/": begin}) as site,
        started([sys.executable, ROOT / "url_report.py", site], cwd=tmp_path, stderr=-1) as process,
    ):
        _, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, err) == (code, b"")
    assert list(tmp_path.iterdir()) == []
