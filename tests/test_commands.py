"""What every script has in common as a command, and as a text."""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import battery
from conftest import (
    ROOT,
    TIMEOUT,
    WINDOWS,
    LineClient,
    Server,
    command,
    for_each,
    free_port,
    limited,
)

SCRIPTS = sorted(ROOT.glob("*.py"))
SERVERS = battery.line_servers()
CLIENTS = [script for script in SCRIPTS if script.name.endswith("_client.py")]
OWN = {
    "main",
    "handle_client",
    "answer",
    "talk",
    "compose",
    "async serve",
}  # names that mean another thing in each script

each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
each_server = pytest.mark.parametrize("script", SERVERS, ids=lambda script: script.stem)
each_client = pytest.mark.parametrize("script", CLIENTS, ids=lambda script: script.stem)


@for_each(SCRIPTS)
def test_runs_alone(script: Path, folder: Path) -> None:
    """Copied alone into an empty folder it runs, without site-packages and without its siblings."""
    shutil.copy(script, folder)
    result = subprocess.run(
        [sys.executable, "-I", "-S", script.name, "--help"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "%%" not in result.stdout
    assert result.stdout.startswith(f"usage: {script.name}")


@each_script
def test_help_fits_in_a_terminal(
    script: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(script.stem).main(["--help"])
    out, err = capsys.readouterr()
    assert err == ""
    assert out.isascii()
    assert max(map(len, out.splitlines())) <= 80
    assert max(map(len, battery.docstring(script).splitlines())) < 80


@each_script
def test_help_gives_every_default(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsers: list[argparse.ArgumentParser] = []

    def parse_args(parser: argparse.ArgumentParser, *_: object) -> None:
        parsers.append(parser)
        parser.exit()

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(script.stem).main([])
    assert len(parsers) == 1
    for action in parsers[0]._actions:
        assert action.help, action
        if action.nargs == 0 or action.default in (None, "", []):
            continue
        text = action.help % {"default": action.default}
        assert "default: " in text, text
        if isinstance(action.default, (int, float)):
            assert f"default: {action.default:.15g}" in text


@each_script
def test_says_where_the_second_program_runs(script: Path) -> None:
    """A server does not end: what comes after it is for another terminal."""
    section = battery.docstring(script).partition("Try it:\n\n")[2].partition("\n\n")[0]
    lines = section.splitlines()
    assert lines
    is_server = re.compile(r" *python3 \w+_(server|logger)")
    servers = [number for number, line in enumerate(lines) if is_server.match(line)]
    for number in servers:
        assert re.search(r"# in (another|two other) terminal", "\n".join(lines[number + 1 :]))


@each_script
def test_imports_nothing_but_the_standard_library(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


@each_script
def test_wrong_option_is_wrong_usage(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        importlib.import_module(script.stem).main(["--no-such-option"])
    out, err = capsys.readouterr()
    assert out == ""
    assert ": error: " in err


@each_script
def test_has_tests_and_a_section_in_the_readme(script: Path) -> None:
    assert (ROOT / "tests" / f"test_{script.name}").exists()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| \[?`{script.name}`", readme, re.MULTILINE), "no row in the table"
    assert re.search(rf"^#+ .*`{script.name}`", readme, re.MULTILINE), "no section"


def test_shared_functions_are_the_same_everywhere() -> None:
    """The plumbing stands in several standalone files; here it is held to one text."""
    texts: dict[str, tuple[str, str]] = {}
    for script in SCRIPTS:
        source = script.read_text(encoding="utf-8")
        lines = source.splitlines()
        for node in ast.parse(source).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
                asynchronous = isinstance(node, ast.AsyncFunctionDef)
                name = "async " * asynchronous + node.name
                if name in OWN or node.name in OWN:
                    continue
                text = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                first, before = texts.setdefault(name, (script.name, text))
                assert text == before, f"{name}() in {script.name} differs from the one in {first}"
    shared = {"serve", "read_lines", "escape", "print_line", "open_url", "async accept_clients"}
    assert shared <= texts.keys()


@for_each(SERVERS)
def test_stops_cleanly_with_clients(script: Path, folder: Path) -> None:
    """One is in the middle of a line, and one is silent: both are told."""
    battery.prepare(script, folder)
    with Server(script, "--quiet", *battery.options(script), cwd=folder) as server:
        busy, silent = LineClient(server.address), LineClient(server.address)
        with busy, silent:
            busy.send(b"x")
            assert server.stop() == (0, "", "")
            for client in (busy, silent):
                with suppress(ConnectionError):  # one that was still in the queue is reset
                    client.rest()


@for_each(SERVERS)
def test_stops_cleanly_without_clients(script: Path, folder: Path) -> None:
    battery.prepare(script, folder)
    with Server(script, "--quiet", *battery.options(script), cwd=folder) as server:
        assert server.stop(signal.SIGTERM) == (0, "", "")


@for_each(SERVERS)
def test_logs_one_stamped_line_an_event(script: Path, folder: Path) -> None:
    battery.prepare(script, folder)
    with Server(script, *battery.options(script), cwd=folder) as server:
        battery.hostile(server.address, b"\x1b[2J\r2026-01-01T00:00:00 forged\n")
        battery.replay(server.address, battery.dialogue(script))
        _, _, err = server.stop()
    assert err
    for line in err.splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d \S", line)
        assert line.isprintable()
    assert "Connection from ('127.0.0.1', " in err
    assert "\n2026-01-01T00:00:00 forged" not in err


@for_each(SERVERS)
def test_port_in_use(script: Path, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        result = command(script, "--host", "127.0.0.1", "--port", port, cwd=folder)
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(
        rf"{script.name}: error: cannot listen on 127\.0\.0\.1:{port}: .+\n", result.stderr
    )


@pytest.mark.parametrize("host", ["no.such.host.invalid", "x" * 70, "127.0.0.1.5", "a\nb"])
def test_unknown_host_to_listen_on(host: str, tmp_path: Path) -> None:
    """For one server: the others do the same."""
    result = command("echo_server.py", "--host", host, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(r"echo_server\.py: error: cannot listen on .+:\d+: .+\n", result.stderr)


WRONG = [
    ["--port", "-1"],
    ["--port", "65536"],
    ["--port", "x"],
    ["--timeout", "-1"],
    ["--timeout", "nan"],
]


@each_server
def test_wrong_numbers(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = importlib.import_module(script.stem).main
    for wrong in WRONG:
        with pytest.raises(SystemExit, match="2"):
            main(wrong)
        out, err = capsys.readouterr()
        assert out == ""
        assert re.search(rf": error: .*{wrong[0]}", err)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
@for_each(SERVERS)
def test_ipv6(script: Path, folder: Path) -> None:
    battery.prepare(script, folder)
    with Server(script, "--host", "::1", *battery.options(script), cwd=folder) as server:
        assert server.announcement == f"Server listening on [::1]:{server.address[1]}...\n"
        battery.replay(server.address, battery.dialogue(script))


@pytest.mark.skipif(WINDOWS, reason="no descriptor limit to lower")
@for_each(SERVERS)
def test_survives_without_descriptors(script: Path, folder: Path) -> None:
    """Out of descriptors it waits, without spinning, and answers again as soon as there are some."""
    battery.prepare(script, folder)
    with Server(
        limited(script, folder, "RLIMIT_NOFILE", 20), *battery.options(script), cwd=folder
    ) as server:
        clients = [LineClient(server.address) for _ in range(40)]
        log = ""
        while "Cannot accept a client" not in log:
            log += server.log_line()
        before = os.times()
        for client in clients:
            client.__exit__()
        while len(set(re.findall(r"Connection (?:closed|lost) (\(.*?\))", log))) < len(clients):
            log += server.log_line()  # until all have given their descriptors back
        battery.replay(server.address, battery.dialogue(script))
        code, _, err = server.stop()
        after = os.times()
    err = log + err
    assert code == 0
    assert "Traceback" not in err
    assert err.count("Cannot accept") < 50
    assert after.children_user - before.children_user < TIMEOUT / 2


@each_client
def test_nobody_listens(script: Path, tmp_path: Path) -> None:
    battery.prepare(script, tmp_path)
    [*_, usage] = [line for line in battery.usage(script) if f" {script.name}" in line]
    address = ["127.0.0.1", str(free_port())]
    words = shlex.split(usage)[2:]
    if words[:1] == ["localhost"]:
        words = address + words[2:]
    else:
        words += ["--host", address[0], "--port", address[1]]
    result = command(script, *words, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(
        rf"{script.name}: error: {':'.join(address)}: connection refused.*\n", result.stderr
    )
