"""The harness: servers in background threads or as processes, clients over real sockets, and no thread left behind."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import io
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 10.0  # seconds that anything here may take before the test fails
POLL = 0.002  # seconds between two looks at the stop event: often, so that hundreds of servers stop at once
WINDOWS = sys.platform == "win32"

sys.path.insert(0, str(ROOT))


def find_grader() -> None:
    """Give tests/grader the name under which pip installs it, where it is not installed."""
    name, folder = "network_exercises_grader", ROOT / "tests" / "grader"
    if importlib.util.find_spec(name) is None:
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec
        sys.modules[name] = importlib.util.module_from_spec(spec)


find_grader()
pytest_plugins = ["web", "network_exercises_grader.plugin"]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Fail a test that leaves a thread running."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(TIMEOUT)
        assert not thread.is_alive(), f"{thread.name} still runs"


@pytest.fixture(autouse=True)
def no_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's proxies and settings out of the tests."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "ECHO_PASSWORD":
            monkeypatch.delenv(name)


@contextmanager
def running(serve: Callable[..., Any], *args: Any, host: str = "127.0.0.1") -> Iterator[Any]:
    """Run `serve(listener, *args, stop)`, or a coroutine function `serve(listener, *args)`, and yield its address.

    At the end the server is stopped, and what it raised is raised here.
    """
    for module in list(sys.modules.values()):
        if hasattr(module, "POLL") and str(getattr(module, "__file__", "")).startswith(str(ROOT)):
            setattr(module, "POLL", POLL)  # noqa: B010
    listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024)
    stop, errors = threading.Event(), []
    started = threading.Event()
    cancel: list[Callable[[], object]] = [stop.set]

    async def until_cancelled() -> None:
        task = asyncio.ensure_future(serve(listener, *args))
        cancel[0] = lambda: task.get_loop().call_soon_threadsafe(task.cancel)
        started.set()
        with suppress(asyncio.CancelledError):
            await task

    def run() -> None:
        try:
            if inspect.iscoroutinefunction(serve):
                asyncio.run(until_cancelled())
            else:
                started.set()
                serve(listener, *args, stop)
        except BaseException as error:
            errors.append(error)
            started.set()

    thread = threading.Thread(target=run, name="server")
    with listener:
        thread.start()
        started.wait(TIMEOUT)
        try:
            yield listener.getsockname()
        finally:
            cancel[0]()
            thread.join(TIMEOUT)
    assert not thread.is_alive(), "the server did not stop"
    if errors:
        raise errors[0]


@contextmanager
def scripted(replies: bytes) -> Iterator[int]:
    """A server that says `replies` to its one client, whatever that says, and closes its side; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT)

        def run() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.settimeout(TIMEOUT)
                connection.sendall(replies)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            thread.join()


AnyClient = TypeVar("AnyClient", bound="LineClient")


class LineClient:
    """A client over a real socket that reads lines."""

    def __init__(self, address: Any, patience: float | None = None) -> None:
        self.socket = socket.create_connection(address[:2], patience or TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")

    def __enter__(self: AnyClient) -> AnyClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> str:
        """Return the next line without its end; fail at the end of the stream."""
        line = self.stream.readline()
        assert line.endswith(b"\n"), f"expected a line, got {line!r} and the end"
        return line.decode().rstrip("\r\n")

    def lines(self, count: int) -> list[str]:
        return [self.line() for _ in range(count)]

    def until(self, end: str) -> list[str]:
        """Return the lines up to the first one that ends so."""
        lines = [self.line()]
        while not lines[-1].endswith(end):
            lines.append(self.line())
        return lines

    def ask(self, text: str) -> str:
        """Send a line and return the answer."""
        self.send(text.encode() + b"\n")
        return self.line()

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def rest(self) -> bytes:
        """Return all that comes until the server hangs up."""
        return self.stream.read()

    def reset(self) -> None:
        """Vanish without a goodbye: the server sees a connection reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.close()
        self.socket.close()


class Server:
    """A server script as a process, on a free port."""

    def __init__(self, script: Path, *options: str, cwd: Path | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(script), "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=cwd,
            creationflags=0x200 if WINDOWS else 0,  # CREATE_NEW_PROCESS_GROUP, or Ctrl-Break would hit the tests too
        )
        assert self.process.stdout
        self.announcement = self.process.stdout.readline()
        match = re.fullmatch(r"Server listening on (\[.+\]|[^:]+):(\d+)\.\.\.\n", self.announcement)
        if not match:
            self.process.kill()
        assert match, f"announced {self.announcement!r}; {self.process.communicate()}"
        self.address = (match[1].strip("[]"), int(match[2]))

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str, str]:
        """Send a signal; return the exit status, the rest of stdout, and stderr."""
        if sys.platform == "win32":
            number = signal.CTRL_BREAK_EVENT
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, out, err


def command(
    script: str | Path, *args: str, stdin: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end: most of ours by calling main(), which takes half of the time of a process."""
    path = ROOT / script
    if path.parent == ROOT and not path.stem.endswith(("_server", "_logger", "_sender", "json_client")):
        return called(path, list(args), stdin, cwd)
    return subprocess.run(
        [sys.executable, str(path), *args],
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=3 * TIMEOUT,
        cwd=cwd,
        check=False,
    )


def called(path: Path, args: list[str], stdin: str, cwd: Path | None) -> subprocess.CompletedProcess[str]:
    """Call main() of a script as if it were a process."""
    streams = [
        io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", write_through=True) for data in (stdin.encode(), b"", b"")
    ]
    before, here = (sys.stdin, sys.stdout, sys.stderr, sys.argv), os.getcwd()
    sys.stdin, sys.stdout, sys.stderr = streams
    sys.argv = [str(path), *args]
    os.chdir(cwd or here)
    try:
        code = importlib.import_module(path.stem).main(args)
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdin, sys.stdout, sys.stderr, sys.argv = before
        os.chdir(here)
    out, err = (stream.buffer.getvalue().decode() for stream in streams[1:])
    return subprocess.CompletedProcess([str(path), *args], code or 0, out, err)


def limited(script: Path, folder: Path, kind: str, most: int) -> Path:
    """Return a copy of `script` in `folder` that has `most` of what the resource limit `kind` bounds."""
    copy = folder / script.name
    limit = f"import resource; resource.setrlimit(resource.{kind}, ({most}, {most}))"
    text = script.read_text(encoding="utf-8").replace("\nimport argparse\n", f"\nimport argparse\n{limit}\n", 1)
    copy.write_text(text, encoding="utf-8")
    return copy


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
