from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from conftest import ROOT, TIMEOUT, WINDOWS, Server, called, command, limited
from udp_logger import entry

SCRIPT = ROOT / "udp_logger.py"
SHORTEST = 148  # bytes of a line
ABC = (
    "900150983cd24fb0d6963f7d28e17f72",
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
)


@contextmanager
def sender(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.socket(
        socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM
    ) as sender:
        sender.bind((host, 0))
        yield sender


def wait_for_lines(path: Path, count: int) -> list[str]:
    """Return the lines of the file as soon as there are `count` of them."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        if len(lines) >= count:
            assert all(line.endswith("\n") for line in lines)
            return lines
    pytest.fail(f"{len(lines)} of {count} lines after {TIMEOUT} s")


def fields(line: str) -> list[str]:
    return line.rstrip("\n").split("\t")


def test_entry() -> None:
    line = entry(1795256130.25, ("127.0.0.1", 54321), b"abc").decode()
    when, *rest = fields(line)
    assert line.endswith("\n")
    assert datetime.fromisoformat(when) == datetime.fromtimestamp(1795256130.25).astimezone()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.250000[-+]\d\d:\d\d", when)
    assert rest == ["127.0.0.1", "54321", "3", *ABC]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_logs_every_size(host: str, tmp_path: Path) -> None:
    if ":" in host and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    datagrams = [
        b"",
        b"a",
        b"abc",
        b"\t\n\x1b[2J",
        os.urandom(1400),
        os.urandom(9000),
        os.urandom(65_507),
    ]
    with Server(SCRIPT, "--host", host, cwd=tmp_path) as server, sender(host) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_535)
        before = datetime.now().astimezone()
        for datagram in datagrams:
            client.sendto(datagram, server.address)
        lines = wait_for_lines(tmp_path / "udp_log.txt", len(datagrams))
        code, out, err = server.stop()
        port = str(client.getsockname()[1])
    assert (code, out) == (0, "")
    assert err.count(f"('{host}', {port})") == len(datagrams)
    assert f"Server stopped: {len(datagrams)} datagrams logged" in err
    for line, datagram in zip(lines, datagrams, strict=True):
        when, *rest = fields(line)
        digests = [hashlib.md5(datagram).hexdigest(), hashlib.sha256(datagram).hexdigest()]
        assert rest == [host, port, str(len(datagram)), *digests]
        assert (
            timedelta(seconds=-1)
            < datetime.fromisoformat(when) - before
            < timedelta(seconds=TIMEOUT)
        )


@pytest.mark.parametrize("before", ["before\n", "before"])
def test_appends(before: str, tmp_path: Path) -> None:
    """Whole lines, also to a file whose last one has no end."""
    path = tmp_path / "log"
    path.write_text(before)
    with (
        Server(SCRIPT, "--quiet", "--output", "log", "--count", "2", cwd=tmp_path) as server,
        sender() as client,
    ):
        for _ in range(2):
            client.sendto(b"abc", server.address)
        code, out, err = server.end()
        assert (code, out, err) == (0, "", "")
    lines = path.read_text().splitlines()
    assert lines[0] == "before"
    assert [fields(line)[3:] for line in lines[1:]] == [["3", *ABC]] * 2


def test_paced_burst_loses_nothing(tmp_path: Path) -> None:
    """20,000 datagrams of two senders, never many more than 600 under way (a loopback queues 1,000), and all arrive."""
    path = tmp_path / "udp_log.txt"
    expected = []
    with Server(SCRIPT, "--quiet", cwd=tmp_path) as server, sender() as one, sender() as two:
        for start in range(0, 20_000, 200):
            for number in range(start, start + 200):
                client = (one, two)[number % 2]
                message = b"%d" % number
                client.sendto(message, server.address)
                expected.append((str(client.getsockname()[1]), hashlib.md5(message).hexdigest()))
            while not path.exists() or path.stat().st_size < SHORTEST * (start + 200 - 600):
                pass
        lines = wait_for_lines(path, 20_000)
        assert server.stop(signal.SIGTERM) == (0, "", "")
    assert sorted((fields(line)[2], fields(line)[4]) for line in lines) == sorted(expected)


@pytest.mark.skipif(WINDOWS, reason="signals a process group")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_in_a_burst_loses_nothing(number: int, tmp_path: Path) -> None:
    """What the kernel has queued when the signal comes is read and written, and what it dropped is told."""
    with Server(SCRIPT, "--quiet", cwd=tmp_path) as server, sender() as client:
        os.kill(server.process.pid, signal.SIGSTOP)  # nothing is read meanwhile
        for index in range(3000):
            client.sendto(b"%d" % index, server.address)
        server.process.send_signal(number)
        os.kill(server.process.pid, signal.SIGCONT)
        code, out, err = server.end()
    lines = (tmp_path / "udp_log.txt").read_text().splitlines()
    told = re.search(r"the kernel dropped (\d+) datagrams", err)
    assert (code, out) == (0, "")
    assert len(lines) + (int(told[1]) if told else 0) == 3000
    digests = [hashlib.md5(b"%d" % index).hexdigest() for index in range(len(lines))]
    assert [fields(line)[4] for line in lines] == digests


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_what_the_kernel_drops_is_told(tmp_path: Path) -> None:
    with Server(SCRIPT, "--quiet", "--buffer", "5000", cwd=tmp_path) as server, sender() as client:
        os.kill(server.process.pid, signal.SIGSTOP)
        for _ in range(1000):
            client.sendto(bytes(1000), server.address)
        os.kill(server.process.pid, signal.SIGCONT)
        code, _, err = server.stop()
    lines = (tmp_path / "udp_log.txt").read_text().splitlines()
    assert code == 0
    assert f"the kernel dropped {1000 - len(lines)} datagrams" in err
    assert len(lines) < 1000


@pytest.mark.parametrize("output", [".", "no/such/folder/log"])
def test_file_that_cannot_be_opened(output: str, tmp_path: Path) -> None:
    result = command(SCRIPT, "--output", output, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(
        rf"udp_logger\.py: error: cannot write {output}: .+; choose another --output\n",
        result.stderr,
    )


@pytest.mark.skipif(WINDOWS, reason="no file size limit")
def test_full_disk(tmp_path: Path) -> None:
    """With room for some lines and a half the file keeps the whole ones, and the error tells how many are not in it."""
    script = limited(SCRIPT, tmp_path, "RLIMIT_FSIZE", 1000)
    with Server(script, "--quiet", cwd=tmp_path) as server, sender() as client:
        os.kill(server.process.pid, signal.SIGSTOP)
        for _ in range(100):
            client.sendto(b"abc", server.address)
        os.kill(server.process.pid, signal.SIGCONT)
        code, out, err = server.end()
    data = (tmp_path / "udp_log.txt").read_text()
    lines = data.splitlines()
    assert data.endswith("\n")
    assert all(fields(line)[3:] == ["3", *ABC] for line in lines)
    assert 5 <= len(lines) < 100
    assert (code, out) == (1, "")
    complaint = rf"udp_logger\.py: error: cannot write udp_log\.txt: .+; {100 - len(lines)} datagrams not logged\n"
    assert re.fullmatch(complaint, err)


def test_port_in_use(tmp_path: Path) -> None:
    with Server(SCRIPT, "--quiet", "--host", "127.0.0.1", cwd=tmp_path) as server:
        port = str(server.address[1])
        result = command(SCRIPT, "--host", "127.0.0.1", "--port", port, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (1, "")
        assert re.fullmatch(
            rf"udp_logger\.py: error: cannot listen on 127\.0\.0\.1:{port}: .+\n", result.stderr
        )
        assert server.stop() == (0, "", "")


@pytest.mark.parametrize("wrong", ["--port 65536", "--count -1", "--buffer 0", "extra"])
def test_wrong_usage(wrong: str) -> None:
    assert called(SCRIPT, wrong.split()).returncode == 2
