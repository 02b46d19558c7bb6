from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from conftest import ROOT, TIMEOUT, WINDOWS, LineClient, Server, command, scripted, started

SERVER = ROOT / "chat_server.py"
on_a_terminal = pytest.mark.skipif(WINDOWS, reason="no pty")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(SERVER, "--quiet") as server:
        yield server


def test_pipe(server: Server) -> None:
    with LineClient(server.address) as other:
        other.line()
        result = command(
            "chat_client.py",
            "--port",
            str(server.address[1]),
            "--name",
            "alice",
            stdin="hello\n/names\nbye",
        )
        assert [other.line() for _ in range(5)] == [
            "* guest2 joined",
            "* guest2 is now alice",
            "alice: hello",
            "alice: bye",
            "* alice left",
        ]
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "* Welcome, you are guest2: /help tells what you can do",
        "* guest2 is now alice",
        "NAMES guest1 alice",
        "BYE",
    ]


def test_name_that_is_none_is_refused_in_private(server: Server) -> None:
    with LineClient(server.address) as other:
        result = command(
            "chat_client.py", "--port", str(server.address[1]), "--name", "two words", stdin="hello"
        )
        assert "ERROR a name has 1 to 16 letters, digits and _ . -" in result.stdout
        assert other.lines(4)[1:] == ["* guest2 joined", "guest2: hello", "* guest2 left"]
    assert command("chat_client.py", "--name", "x\nEXIT").returncode == 2


def test_server_lost_before_it_has_read_all() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        words = [
            sys.executable,
            str(ROOT / "chat_client.py"),
            "--port",
            str(listener.getsockname()[1]),
        ]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with started(words, text=True, **pipes) as process:
            connection, _ = listener.accept()
            connection.sendall(b"* Welcome, you are guest1: x\n")  # it begins to send now
            assert process.stdin
            assert process.stderr
            process.stdin.write("1\n2\n")
            process.stdin.close()
            assert connection.recv(1) == b"1"
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            assert process.wait(TIMEOUT) == 1
            assert process.stderr.read().endswith(": the server is gone\n")


def test_any_bytes_from_a_pipe(server: Server) -> None:
    words = [sys.executable, str(ROOT / "chat_client.py"), "--port", str(server.address[1])]
    with LineClient(server.address) as other:
        result = subprocess.run(
            words, input=b"caf\xe9\n", capture_output=True, timeout=TIMEOUT, check=False
        )
        assert (result.returncode, result.stderr) == (0, b"")
        assert other.lines(3)[2] == "guest2: caf\\xe9"


def test_escapes_what_it_hears() -> None:
    with scripted(b"\x1b[2J\xff\n") as port:
        result = command("chat_client.py", "--host", "127.0.0.1", "--port", str(port), stdin="x\n")
    assert result.stdout == "\\x1b[2J\\xff\n"


class Terminal:
    """The client on a terminal."""

    def __init__(self, *args: str) -> None:
        import pty

        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "chat_client.py"), *args],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=os.environ | {"TERM": "xterm"},
        )
        os.close(slave)
        self.screen = ""
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        try:
            while data := os.read(self.master, 4096):
                with self.changed:
                    self.screen += data.decode()
                    self.changed.notify_all()
        except OSError:  # the client has closed its side
            pass

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, text: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: text in self.screen, TIMEOUT), self.screen

    def end(self) -> int:
        code = self.process.wait(TIMEOUT)
        self.reader.join(TIMEOUT)
        return code

    def echoes(self) -> bool:
        import termios

        return bool(termios.tcgetattr(self.master)[3] & termios.ECHO)

    def close(self) -> None:
        self.process.kill()
        self.end()
        os.close(self.master)


@contextmanager
def terminal(address: tuple[str, int], *args: str) -> Iterator[Terminal]:
    terminal = Terminal("--host", address[0], "--port", str(address[1]), *args)
    try:
        yield terminal
    finally:
        terminal.close()


@on_a_terminal
def test_line_being_typed_is_drawn_again(server: Server) -> None:
    with LineClient(server.address) as other, terminal(server.address, "--name", "alice") as alice:
        alice.wait_for("alice> ")
        alice.type("half a ")
        alice.wait_for("half a ")
        other.send(b"hello\n")
        alice.wait_for("\r\x1b[Kguest1: hello\r\nalice> half a ")
        alice.type("line\n")
        while (line := other.line()) != "alice: half a line":
            assert line.startswith("* ")


@on_a_terminal
@pytest.mark.parametrize("keys", ["/quit\n", " EXIT \n", "/quit now\n", "\x04", "\x03"])
def test_leaves_cleanly(server: Server, keys: str) -> None:
    with LineClient(server.address) as other, terminal(server.address, "--name", "alice") as alice:
        alice.wait_for("alice> ")
        alice.type("/names\n")  # the answer comes when it waits for the next line
        alice.wait_for("NAMES guest1 alice\r\nalice> ")
        for _ in range(
            10
        ):  # between two lines the terminal is not ready for a moment, and may swallow a key
            if keys == "\x03":
                alice.process.send_signal(signal.SIGINT)  # the pty is not its controlling terminal
            else:
                alice.type(keys)
            with suppress(subprocess.TimeoutExpired):
                alice.process.wait(2)
                break
        assert alice.end() == 0
        assert "error" not in alice.screen
        assert other.lines(4)[1:] == ["* guest2 joined", "* guest2 is now alice", "* alice left"]


@on_a_terminal
def test_server_gone_while_waiting_for_a_key(server: Server) -> None:
    with terminal(server.address) as client:
        client.wait_for("guest1> ")
        client.type("never sent")
        client.wait_for("never sent")
        server.stop()
        client.wait_for("chat_client.py: error: ")
        assert client.end() == 1
        assert client.screen.endswith(f"localhost:{server.address[1]}: the server is gone\r\n")


@on_a_terminal
def test_hostile_name() -> None:
    with (
        scripted(b"* Welcome, you are \x1b[2J: x\n") as port,
        terminal(("127.0.0.1", port)) as client,
    ):
        assert client.end() == 1
    assert "\n\\x1b[2J> " in client.screen
    assert "\x1b[2J" not in client.screen


@pytest.mark.big
@pytest.mark.timeout(300)
@on_a_terminal
def test_server_gone_right_after_its_welcome() -> None:
    """200 times, 20 at once: the client learns of it just when it begins to wait for a key."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT)
        for _ in range(10):
            with ExitStack() as stack:
                clients = [stack.enter_context(terminal(listener.getsockname())) for _ in range(20)]
                for _ in clients:
                    connection, _ = listener.accept()
                    connection.sendall(b"* Welcome, you are guest1: x\n")
                    connection.close()
                for client in clients:
                    assert client.end() == 1
                    assert client.screen.endswith(": the server is gone\r\n")
                    assert client.echoes(), "the terminal has its settings back"


@on_a_terminal
def test_terminal_without_unicode(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    with LineClient(server.address) as other, terminal(server.address, "--name", "alice") as client:
        client.wait_for("alice> ")
        other.send("日\nstill there?\n".encode())
        client.wait_for("guest1: \\u65e5\r\n")
        client.wait_for("guest1: still there?\r\n")


@pytest.mark.skipif(WINDOWS, reason="ends in another way there")
@pytest.mark.parametrize(
    "shell", ['exec "$@"', 'trap "" INT; exec "$@"'], ids=["foreground", "background"]
)
def test_server_gone_while_waiting_for_a_pipe(shell: str, server: Server) -> None:
    words = [
        "sh",
        "-c",
        shell,
        "sh",
        sys.executable,
        str(ROOT / "chat_client.py"),
        "--port",
        str(server.address[1]),
    ]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with started(words, text=True, **pipes) as process:
        assert process.stdout
        assert process.stderr
        assert "Welcome" in process.stdout.readline()
        server.stop()
        start = time.monotonic()
        assert process.wait(TIMEOUT) == 1
        assert time.monotonic() - start < TIMEOUT / 2
        assert (
            process.stderr.read()
            == f"chat_client.py: error: localhost:{server.address[1]}: the server is gone\n"
        )
