from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, TIMEOUT, WINDOWS, command, running, scripted, started
from file_client import safe_name
from file_server import handle_client, serve
from web import Run

BIG = random.Random(9).randbytes(5_000_000)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The port of our server, for all tests that only fetch."""
    root = tmp_path_factory.mktemp("root")
    (root / "sub").mkdir()
    (root / "small").write_bytes(b"Hello")
    (root / "empty").touch()
    (root / "big").write_bytes(BIG)
    (root / "sub" / "a b").write_bytes(b"sub")
    for number in range(500):
        (root / f"{number}.txt").write_text(str(number))
    with running(
        serve, partial(handle_client, root=os.path.realpath(root), timeout=TIMEOUT)
    ) as address:
        yield str(address[1])


def files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path().iterdir()}


def test_fetches(web: Run, port: str) -> None:
    assert web("small", "--port", port) == (0, ["small: 5 bytes"], "")
    assert web("big", "--port", port, "--output", "other", "--verify") == (
        0,
        ["other: 5000000 bytes, verified"],
        "",
    )
    assert web("empty", "sub/a b", "--port", port) == (0, ["empty: 0 bytes", "a b: 3 bytes"], "")
    assert files() == {"small": b"Hello", "other": BIG, "empty": b"", "a b": b"sub"}


def test_many_files_over_one_connection(web: Run, port: str) -> None:
    Path("folder").mkdir()
    names = [f"{number}.txt" for number in range(500)]
    code, out, err = web(
        *names[:250], "none", *names[250:], "--port", port, "--output", "folder", "--verify"
    )
    assert (code, err) == (1, "file_client.py: error: none: file not found: 'none'\n")
    assert len(out) == 500
    assert {path.name: path.read_text() for path in Path("folder").iterdir()} == {
        name: name[:-4] for name in names
    }


def test_two_files_with_the_same_name_here(web: Run) -> None:
    with scripted(b"OK 1\na") as port:
        code, out, err = web("sub/x", "b/x", "--port", str(port))
    assert (code, out) == (1, ["x: 1 byte"])
    assert "b/x: x is already the place of another one" in err
    assert files() == {"x": b"a"}


def test_a_file_that_comes_to_be_here_meanwhile(web: Run) -> None:
    def serve_slowly(listener: socket.socket, stop: Any) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            Path("x").write_bytes(b"precious")
            connection.sendall(b"OK 1\na")
            connection.recv(1)

    with running(serve_slowly) as address:
        code, _, err = web("x", "--host", "127.0.0.1", "--port", str(address[1]))
    assert (code, files()) == (1, {"x": b"precious"})
    assert "exists by now" in err


@pytest.mark.parametrize(
    "line", [b"x\ty", b"\x1b[31m\tname", b"name", b"9" * 30 + b"\tx", b"5\t" + b"x" * 99_999]
)
def test_no_list(line: bytes, web: Run) -> None:
    with scripted(b"OK 1\n" + line + b"\n") as port:
        code, out, err = web("--list", "--port", str(port))
    assert (code, out, err.count("\n")) == (1, [], 1)


@pytest.mark.skipif(WINDOWS, reason="needs symbolic links")
def test_a_link_stays_one(web: Run, port: str) -> None:
    Path("old").write_bytes(b"old")
    Path("link").symlink_to("old")
    assert web("small", "--port", port, "--output", "link", "--force").code == 0
    assert Path("link").is_symlink()
    assert Path("old").read_bytes() == b"Hello"


def test_list(web: Run, port: str) -> None:
    code, out, err = web("--list", "--port", port)
    assert (code, err, len(out)) == (0, "", 504)
    assert {"5\tsmall", "0\tempty", "3\tsub/a b", "5000000\tbig"} <= set(out)


@pytest.mark.skipif(WINDOWS, reason="writes to a pipe that nobody reads")
def test_nobody_reads_the_list(port: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    client = [sys.executable, "-u", str(ROOT / "file_client.py"), "--port", port, "--list"]
    result = subprocess.run(
        client, stdout=writer, stderr=subprocess.PIPE, timeout=TIMEOUT, check=False
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, b"")


def test_what_is_here_already_stays(web: Run, port: str) -> None:
    Path("small").write_bytes(b"old")
    code, out, err = web("small", "empty", "--port", port)
    assert (code, out) == (1, ["empty: 0 bytes"])
    assert err == "file_client.py: error: small: small already exists; use --force to replace it\n"
    assert files() == {"small": b"old", "empty": b""}
    assert web("small", "--port", port, "--force").code == 0
    assert files()["small"] == b"Hello"


@pytest.mark.parametrize(
    ("name", "here"),
    [
        ("a.txt", "a.txt"),
        ("..", ""),
        ("...", ""),
        ("a/b", "a_b"),
        ("..\\..\\evil", "_.._evil"),
        ("C:evil", "C_evil"),
        ("\x1b[2J\n\0", "_[2J__"),
        ("NUL", "_NUL"),
        ("com1.txt", "_com1.txt"),
        (".profile", "profile"),
        ('<>:"|?*', "_______"),
        ("ä ", "ä"),
    ],
)
def test_safe(name: str, here: str) -> None:
    assert safe_name(name) == here


def test_names_are_made_safe(web: Run) -> None:
    replies = b"OK 1\na" * 3
    with scripted(replies) as port:
        code, out, err = web(
            r"..\\..\\evil", "/etc/cron.d/x", r"new\nline", "..", r"\z", "--port", str(port)
        )
    assert (code, out) == (1, ["_.._evil: 1 byte", "x: 1 byte", "new_line: 1 byte"])
    assert err.count("that gives no name for the file here; choose one with --output") == 2
    assert set(files()) == {"_.._evil", "x", "new_line"}


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (b"", "the server hung up"),
        (b"OK", "the server hung up"),
        (b"OK 5\n", "the file ends early: 0 of 5 bytes have come"),
        (b"OK 5\nHell", "the file ends early: 4 of 5 bytes have come"),
        (b"OK 5\nHello", "the server hung up"),
        (b"ERROR no\x1b[2J\n", r"no\x1b[2J"),
        (b"OK 5\nHelloOK " + b"0" * 64 + b"\n", "checksum mismatch"),
        (b"OK 5\nHelloERROR gone\n", "gone"),
        (b"OK -5\nHello", "not a file server"),
        (b"OK " + b"9" * 5000 + b"\n", "not a file server"),
        (b"x" * 200_000, "not a file server"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not a file server"),
    ],
)
def test_whole_or_not_at_all(says: bytes, reason: str, web: Run) -> None:
    """And verified or not at all: the old file stays."""
    Path("x").write_bytes(b"old")
    with scripted(says) as port:
        code, out, err = web("x", "--verify", "--force", "--port", str(port), "--host", "127.0.0.1")
    assert (code, out) == (1, [])
    assert reason in err
    assert err.count("\n") == 1
    assert files() == {"x": b"old"}


def test_silence(web: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        code, _, err = web("x", "--port", str(listener.getsockname()[1]), "--timeout", "0.1")
    assert (code, "no answer in time" in err, files()) == (1, True, {})


def test_nowhere_to_write(web: Run, port: str) -> None:
    code, out, err = web("small", "--output", "no/folder", "--port", port)
    assert (code, out, err) == (
        1,
        [],
        "file_client.py: error: no/folder: No such file or directory\n",
    )
    if sys.platform == "linux":
        assert "No space left" in web("big", "--output", "/dev/full", "--port", port).err
        assert web("big", "--output", "/dev/null", "--port", port).code == 0
        assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("words", [[], ["x", "--list"], ["x", "y", "--output", "z"]])
def test_wrong_usage(words: list[str], web: Run) -> None:
    with pytest.raises(SystemExit, match="2"):
        web(*words)


@pytest.mark.skipif(WINDOWS, reason="sends signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_leaves_nothing(number: int, code: int, tmp_path: Path) -> None:
    def begin(listener: socket.socket, stop: Any) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            connection.sendall(b"OK 100\nx")
            process.send_signal(number)
            with suppress(ConnectionError):
                connection.recv(1)

    with running(begin) as address:
        words = [
            sys.executable,
            str(ROOT / "file_client.py"),
            "x",
            "--host",
            "127.0.0.1",
            "--port",
            str(address[1]),
        ]
        with started(words, cwd=tmp_path, stderr=subprocess.PIPE) as process:
            _, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, err) == (code, b"")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.big
def test_five_gibibytes(tmp_path: Path) -> None:
    """Sparse on the one side, nothing on the other."""
    size = 5 * 1024**3
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(size)
    with running(
        serve, partial(handle_client, root=os.path.realpath(tmp_path), timeout=TIMEOUT)
    ) as address:
        result = command(
            "file_client.py", "sparse", "--output", os.devnull, "--port", str(address[1])
        )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
