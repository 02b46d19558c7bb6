"""Every `console` transcript in the README is executed, section by section, and compared."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

import battery
from conftest import ROOT, TIMEOUT, WINDOWS, started

README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = {
    title: blocks
    for title, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    if (blocks := re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
}


def commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the commands of a transcript with the lines that each one prints."""
    for text in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *lines = text.splitlines()
        yield command, lines


def is_server(command: str) -> bool:
    return re.match(r"python3 (\w+_server|udp_logger)\.py", command) is not None


def compare(command: str, output: str, expected: list[str]) -> None:
    lines = output.splitlines()
    same = len(lines) == len(expected) and all(map(battery.matches, lines, expected))
    assert same, f"$ {command}\n{output}\n-- but the README says:\n" + "\n".join(expected)


def announced_port(lines: list[str]) -> int:
    match = re.search(r"listening on .*:(\d+)\.\.\.$", lines[0])
    assert match, "a server's transcript begins with its announcement"
    return int(match[1])


def needs(block: str) -> None:
    """Skip, and say why, where the machine lacks what a transcript uses."""
    for command, lines in commands(block):
        words = shlex.split(command.replace("|", " | "))
        programs = [words[0]] + [after for before, after in pairwise(words) if before == "|"]
        for program in programs:
            if not shutil.which(program):
                pytest.skip(f"no {program} here")
        if "-N" in words and sys.platform == "darwin":
            pytest.skip("nc has no -N here")
        if is_server(command):
            kind = socket.SOCK_DGRAM if "--udp" in words or "udp_logger.py" in words else socket.SOCK_STREAM
            needs_port(announced_port(lines), kind)


def needs_port(port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
    """Skip, and say why, where a port is taken: the README names fixed ones."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            pytest.skip(f"port {port} is taken")


@pytest.fixture
def alone() -> Iterator[None]:
    """Another run of the tests waits: the README names fixed ports."""
    import fcntl

    with open(Path(tempfile.gettempdir(), f"network-exercises-{os.getuid()}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.skipif(WINDOWS, reason="the transcripts are for a POSIX shell")
@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("title", SECTIONS)
def test_transcripts(title: str, tmp_path: Path) -> None:
    for script in ROOT.glob("*.py"):
        shutil.copy(script, tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
    for block in SECTIONS[title]:
        needs(block)
    servers: list[tuple[subprocess.Popen[bytes], str, list[str], bytes]] = []
    with ExitStack() as stack:
        for block in SECTIONS[title]:
            for command, expected in commands(block):
                if is_server(command):
                    server = started(
                        ["python3", *shlex.split(command)[1:]],
                        bufsize=0,  # or readline() reads ahead, and communicate() does not get what it has read
                        stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT,
                        env=environment,
                        cwd=tmp_path,
                    )
                    process = stack.enter_context(server)
                    assert process.stdout
                    servers.append((process, command, expected, process.stdout.readline()))
                else:
                    result = subprocess.run(
                        ["bash", "-c", command],
                        stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT,
                        text=True,
                        timeout=TIMEOUT,
                        env=environment,
                        cwd=tmp_path,
                        check=False,
                    )
                    compare(command, result.stdout, expected)
        for process, command, expected, first in servers:
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=TIMEOUT)
            compare(command, (first + output).decode(), [line for line in expected if line != "^C"])


def test_there_are_transcripts() -> None:
    assert SECTIONS


@pytest.mark.skipif(WINDOWS, reason="for a POSIX shell")
@pytest.mark.usefixtures("alone")
def test_first_command_runs_the_main_job(tmp_path: Path) -> None:
    """The README's first command, as it stands there, in an empty folder with the two scripts."""
    needs_port(9000)
    result = first_command(tmp_path)
    assert "Received: Python" in result.stdout
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(WINDOWS, reason="for a POSIX shell")
@pytest.mark.parametrize("listening", [False, True])
def test_first_command_where_the_port_is_taken(listening: bool, tmp_path: Path) -> None:
    """It ends, and the server's error is all that it says."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if listening:
            other.listen()
        port = other.getsockname()[1]
        result = first_command(tmp_path, f"--port {port}", "--timeout 0.2" if listening else "")
    assert result.returncode == 1
    assert set(result.stdout.splitlines()) == ({"Connected to server", "Sent: Hello"} if listening else set())
    assert re.fullmatch(rf"echo_server\.py: error: cannot listen on localhost:{port}: .+\n", result.stderr)


def first_command(folder: Path, options: str = "", patience: str = "") -> subprocess.CompletedProcess[str]:
    """Run it with more options for both scripts, and for the client, in a folder with nothing but them."""
    match = re.search(r"^```sh\n(python3 echo_server.*)\n```$", README, re.MULTILINE)
    assert match
    line = match[1].replace("echo_server.py", f"echo_server.py {options}")
    line = line.replace("echo_client.py", f"echo_client.py {options} {patience}")
    for name in ("echo_server.py", "echo_client.py"):
        shutil.copy(ROOT / name, folder)
    words = ["bash", "-c", line]
    return subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT, cwd=folder, check=False)
