"""Every line server holds the dialogue in its docstring, and stands the battery."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import battery
from conftest import TIMEOUT, LineClient, Server, for_each

SCRIPTS = battery.line_servers()
BY_LINES = ["echo_server.py"]  # for it a piece is a message
TOGETHER = ["chat_server.py"]  # there clients get each other's lines: its own tests gather many


@pytest.fixture(params=SCRIPTS, ids=lambda script: script.stem, scope="module")
def script(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture(scope="module")
def server(script: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server process for all checks: what one of them breaks, the next one finds."""
    folder = tmp_path_factory.mktemp(script.stem)
    battery.prepare(script, folder)
    with Server(script, "--quiet", *battery.options(script), cwd=folder) as server:
        yield server
        code, out, err = server.stop()
        assert (code, out, err) == (0, "", "")


@pytest.mark.parametrize("size", [0, 1, 3, 4096])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_dialogue(server: Server, script: Path, end: bytes, size: int) -> None:
    if size in (1, 3) and script.name in BY_LINES:
        size = 0
    talk = battery.dialogue(script)
    battery.replay(server.address, talk, max(end, battery.line_end(talk), key=len), size)


@pytest.mark.parametrize("check", battery.CHECKS, ids=lambda check: check.__name__)
def test_stands(server: Server, script: Path, check: battery.Check) -> None:
    if check is battery.many_clients and script.name in TOGETHER:
        pytest.skip("here clients get each other's lines: see its own tests")
    check(server.address, battery.dialogue(script))


@for_each(SCRIPTS)
def test_idle_client_is_disconnected(script: Path, folder: Path) -> None:
    battery.prepare(script, folder)
    options = ["--quiet", *battery.options(script), "--timeout", "0.1"]
    with Server(script, *options, cwd=folder) as server, LineClient(server.address) as client:
        client.socket.settimeout(TIMEOUT)
        talk = battery.dialogue(script)
        sides = [side for side, _ in talk]
        greeting = sides.index("C") if "C" in sides else len(sides)
        farewell = client.rest().decode().splitlines()[greeting:]
        assert len(farewell) == (greeting < len(sides)), "a line says why"
        assert server.stop()[0] == 0
