from __future__ import annotations

import re
import sys
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from battery import MANY
from conftest import ROOT, TIMEOUT, LineClient, Server, command
from greeting_server import format_greeting, format_record

SCRIPT = ROOT / "greeting_server.py"
NOW = datetime(2026, 11, 21, 10, 15, 30, 123456, timezone(timedelta(hours=1)))


def test_greeting() -> None:
    expected = "Time: Sat, 21 Nov 2026 10:15:30 +0100\nAddress: 127.0.0.1\nPort: 54321\n"
    assert format_greeting(("127.0.0.1", 54321), NOW) == expected
    assert format_greeting(("::1", 54321, 0, 0), NOW).splitlines()[1] == "Address: ::1"


def test_record() -> None:
    assert (
        format_record(("127.0.0.1", 54321), NOW)
        == "2026-11-21T10:15:30.123+01:00\t127.0.0.1\t54321\n"
    )


def test_tells_and_logs_the_same(tmp_path: Path) -> None:
    with Server(SCRIPT, cwd=tmp_path) as server:
        with LineClient(server.address) as client:
            host, port = client.socket.getsockname()
            lines = client.rest().decode().splitlines()
        code, _, err = server.stop()
    assert code == 0
    assert lines[1:] == [f"Address: {host}", f"Port: {port}"]
    assert abs(
        parsedate_to_datetime(lines[0].removeprefix("Time: ")) - datetime.now().astimezone()
    ) < timedelta(seconds=TIMEOUT)
    for line in lines:
        assert line in err
    assert re.fullmatch(
        rf"\S+T\S+[-+]\d\d:\d\d\t{host}\t{port}\n", (tmp_path / "connections.txt").read_text()
    )


def test_record_is_in_the_file_at_once(tmp_path: Path) -> None:
    """Who has been greeted is recorded, even if the server is killed then."""
    with Server(SCRIPT, "--quiet", cwd=tmp_path) as server, LineClient(server.address) as client:
        client.rest()
        _, port = client.socket.getsockname()
        server.process.kill()
        server.process.wait(TIMEOUT)
    assert (tmp_path / "connections.txt").read_text().endswith(f"\t{port}\n")


def test_file_has_whole_lines_of_many_clients(tmp_path: Path) -> None:
    """It is appended to, also after a restart."""
    log = tmp_path / "log.txt"
    log.write_text("before\n")
    ports = []
    for _ in range(2):
        with Server(SCRIPT, "--quiet", "--log", "log.txt", cwd=tmp_path) as server:
            clients = [LineClient(server.address) for _ in range(MANY // 2)]
            for client in clients:
                client.rest()
                ports.append(str(client.socket.getsockname()[1]))
                client.__exit__()
            assert server.stop() == (0, "", "")
    first, *lines = log.read_text().splitlines()
    assert first == "before"
    assert sorted(line.split("\t")[2] for line in lines) == sorted(ports)
    for line in lines:
        datetime.fromisoformat(line.split("\t")[0])


def test_file_that_cannot_be_written(tmp_path: Path) -> None:
    result = command(SCRIPT, "--log", str(tmp_path))
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(
        r"greeting_server\.py: error: cannot write .*; choose another --log\n", result.stderr
    )


@pytest.mark.skipif(sys.platform != "linux", reason="no /dev/full")
def test_full_disk_does_not_silence_the_server(tmp_path: Path) -> None:
    with Server(SCRIPT, "--log", "/dev/full", cwd=tmp_path) as server:
        for _ in range(2):
            with LineClient(server.address) as client:
                assert client.rest().startswith(b"Time: ")
        code, _, err = server.stop()
    assert (code, "Traceback" in err) == (0, False)
    assert err.count("No space left on device") == 2
