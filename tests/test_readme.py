"""The README and the pages in docs/ promise only what is true: their commands are executed here.

- Each `console` block is a transcript: its commands run in order, and what they print is compared.
  A section whose heading names a server starts that server first, as the README's table does,
  unless its transcript does so itself. All blocks of a section share a folder.
- Each command in the README's tables is executed, except those that need the Internet.
- Each `sh` block is executed by a test below, or a comment before it says why not.
"""

from __future__ import annotations

import importlib
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
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

import battery
from conftest import ROOT, TIMEOUT, WINDOWS, free_port, started

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLUGIN = "network_exercises_grader.plugin"
GRADER_TIMEOUT = 50.0  # seconds for a command that runs pytest
ROW = re.compile(r"^\| `(\w+\.py)` \|.*\| `([^`]+)` \|$", re.MULTILINE)
TABLE = {script: text for script, text in ROW.findall(README) if (ROOT / script).exists()}
EXPLAINED = re.compile(r"<!-- (run by|not run): .+ -->\n\Z")  # why the tests do not run a block


class Section(NamedTuple):
    """The transcripts under one heading."""

    title: str
    blocks: list[str]


def sections() -> Iterator[tuple[str, Section]]:
    """Yield each section that has a transcript, with a name for it."""
    for page in PAGES:
        for part in re.split(r"^#+ ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            title, _, text = part.partition("\n")
            if blocks := re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
                yield f"{page.stem}: {re.sub('[:`].*', '', title)}", Section(title, blocks)


SECTIONS = dict(sections())


def commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the commands of a transcript with the lines that each one prints."""
    for text in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *lines = text.splitlines()
        while command.endswith("\\"):
            command = command[:-1] + lines.pop(0).removeprefix("> ")
        yield command, lines


def is_server(command: str) -> bool:
    return re.match(r"python3 (\w+_server|udp_logger|tcp_proxy)\.py", command) is not None


def servers_of(section: Section) -> list[str]:
    """Return the commands of the servers that the heading names and the transcript needs."""
    text = "".join(section.blocks)
    names = re.findall(r"`(\w+\.py)`", section.title)
    found = [TABLE[name] for name in names if is_server(TABLE.get(name, ""))]
    return [one for one in found if f"$ {one.partition('.py')[0]}.py" not in text]


def compare(command: str, output: str, expected: list[str]) -> None:
    assert matches(output.splitlines(), expected), (
        f"$ {command}\n{output}\n-- but the page says:\n" + "\n".join(expected)
    )


def matches(lines: list[str], expected: list[str]) -> bool:
    """Tell whether the lines are as expected; "..." alone stands for any number of lines."""
    if not expected:
        return not lines
    if expected[0] == "...":
        return any(matches(lines[i:], expected[1:]) for i in range(len(lines) + 1))
    return (
        bool(lines) and battery.matches(lines[0], expected[0]) and matches(lines[1:], expected[1:])
    )


def announced_port(lines: list[str]) -> int:
    match = re.search(r"listening on .*:(\d+)\.\.\.$", lines[0])
    assert match, "a server's transcript begins with its announcement"
    return int(match[1])


def default_port(command: str) -> int:
    """Return the port of a server that is started without --port."""
    script = importlib.import_module(shlex.split(command)[1].removesuffix(".py"))
    return int(script.PORT)


def needs(block: str) -> None:
    """Skip, and say why, where the machine lacks what a transcript uses."""
    for command, lines in commands(block):
        words = shlex.split(command.replace("|", " | "))
        programs = [words[0]] + [after for before, after in pairwise(words) if before == "|"]
        for program in programs:
            if not shutil.which(program) and program != ".venv/bin/python":
                pytest.skip(f"no {program} here")
        if "pytest" in words and PLUGIN not in entry_points(group="pytest11").names:
            pytest.skip("the grader is not installed: pip install '.[test]'")
        if "-N" in words and sys.platform == "darwin":
            pytest.skip("nc has no -N here")
        if is_server(command):
            udp = "--udp" in words or "udp_logger.py" in words
            needs_port(announced_port(lines), udp)


def needs_port(port: int, udp: bool = False) -> None:
    """Skip, and say why, where a port is taken: the README names fixed ones."""
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
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


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A folder as after a clone, with this Python as python3."""
    for file in [*ROOT.glob("*.py"), *ROOT.glob("*.md"), ROOT / "LICENSE"]:
        shutil.copy(file, tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONUNBUFFERED": "1", "PYTEST_ADDOPTS": ""}


def start(
    command: str, folder: Path, environment: dict[str, str]
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Start a server, which may not listen yet."""
    return started(
        ["python3", *shlex.split(command)[1:]],
        bufsize=0,  # or readline() reads ahead, and communicate() does not get what it has read
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=folder,
    )


@contextmanager
def server(
    command: str, folder: Path, environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], bytes]]:
    """Run a server until it listens; yield its process, and what it announced."""
    with start(command, folder, environment) as process:
        assert process.stdout
        yield process, process.stdout.readline()


def run(
    command: str, folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; stdout and stderr come as one."""
    return subprocess.run(
        ["bash", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=GRADER_TIMEOUT if "pytest" in command else TIMEOUT,
        env=environment,
        cwd=folder,
        check=False,
    )


@pytest.mark.skipif(WINDOWS, reason="the transcripts are for a POSIX shell")
@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("name", SECTIONS)
def test_transcripts(name: str, tmp_path: Path, environment: dict[str, str]) -> None:
    section = SECTIONS[name]
    for block in section.blocks:
        needs(block)
    for command in servers_of(section):
        needs_port(default_port(command), "udp_logger" in command)
    shown: list[tuple[subprocess.Popen[bytes], str, list[str], bytes]] = []
    with ExitStack() as stack:
        for command in servers_of(section):
            stack.enter_context(server(f"{command} --quiet", tmp_path, environment))
        for block in section.blocks:
            for command, expected in commands(block):
                if is_server(command):
                    process, first = stack.enter_context(server(command, tmp_path, environment))
                    shown.append((process, command, expected, first))
                else:
                    compare(command, run(command, tmp_path, environment).stdout, expected)
        for process, command, expected, first in reversed(shown):
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=TIMEOUT)
            compare(command, (first + output).decode(), [line for line in expected if line != "^C"])


def test_there_are_transcripts() -> None:
    assert len(SECTIONS) > 10


@pytest.mark.skipif(WINDOWS, reason="for a POSIX shell")
@pytest.mark.usefixtures("alone")
def test_commands_of_the_tables(tmp_path: Path, environment: dict[str, str]) -> None:
    """All servers run at once, each as its row says; then every other command succeeds."""
    servers = [command for command in TABLE.values() if is_server(command)]
    for command in servers:
        needs_port(default_port(command), "udp_logger" in command)
    with ExitStack() as stack:
        running = [stack.enter_context(start(one, tmp_path, environment)) for one in servers]
        for process in running:
            assert process.stdout
            first = process.stdout.readline()
            assert re.match(rb"Server listening on .+:\d+\.\.\.\n", first)
        for command in TABLE.values():
            if is_server(command) or re.search(r"fetch_page\.py$|https://|ftp\.", command):
                continue  # a server, or a command for the Internet
            result = run(f"{command} </dev/null", tmp_path, environment)
            assert result.returncode == 0, f"$ {command}\n{result.stdout}"
        for process in running:
            process.send_signal(signal.SIGINT)
        for process in running:
            process.communicate(timeout=TIMEOUT)
            assert process.returncode == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_other_commands_are_run_or_explained(page: Path) -> None:
    """A `sh` block is the README's first command, or a comment says who runs it, or why nobody."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        before = text[: match.start()]
        assert match[1].startswith("python3 echo_server.py") or EXPLAINED.search(before), match[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link to a file, and each link to a heading of the same page.

    "../../actions" is the page of the workflow: where a repository is shown, it is two levels up.
    """
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
    found = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", text)
    for target in ("".join(one) for one in found):
        file, _, anchor = target.partition("#")
        if not file:
            assert anchor in anchors, target
        elif not re.match(r"\w+:|\.\./\.\./actions/", target):
            assert (page.parent / file).exists(), target


def test_the_picture_shows_what_the_scripts_print(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn anew, it differs in times and ports only."""
    if WINDOWS:
        pytest.skip("no Ctrl-C for a child here")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    drawing = importlib.import_module("make_picture")
    terminals = drawing.run_session(free_port())
    picture = drawing.PICTURE.read_text(encoding="utf-8")

    def words(svg: str) -> list[str]:
        text = re.sub(r"<style>.*</style>|<[^>]+>", "\n", svg, flags=re.DOTALL)
        return re.sub(r"\d+", "0", text).split()

    assert words(drawing.draw(*terminals)) == words(picture)


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
    expected = {"Connected to server", "Sent: Hello"} if listening else set()
    assert set(result.stdout.splitlines()) == expected
    error = rf"echo_server\.py: error: cannot listen on localhost:{port}: .+\n"
    assert re.fullmatch(error, result.stderr)


def first_command(
    folder: Path, options: str = "", timeout: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run it with `options` for both scripts, and `timeout` for the client, in a bare folder."""
    match = re.search(r"^```sh\n(python3 echo_server.*)\n```$", README, re.MULTILINE)
    assert match
    line = match[1].replace("echo_server.py", f"echo_server.py {options}")
    line = line.replace("echo_client.py", f"echo_client.py {options} {timeout}")
    for name in ("echo_server.py", "echo_client.py"):
        shutil.copy(ROOT / name, folder)
    words = ["bash", "-c", line]
    return subprocess.run(
        words, capture_output=True, text=True, timeout=TIMEOUT, cwd=folder, check=False
    )
