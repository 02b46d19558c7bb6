"""The harness: servers in background threads or as processes, clients over real sockets, and no thread left behind."""

from __future__ import annotations

import asyncio
import faulthandler
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
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 10.0  # seconds that anything here may take before the test fails
AT_ONCE = 5  # processes that for_each() has started at a time
POLL = 0.002  # seconds between two looks at the stop event: often, so that hundreds of servers stop at once
WINDOWS = sys.platform == "win32"
# Seconds by which a wait may seem too short: the clock of Windows ticks 64 times a second.
EARLY = 2 * time.get_clock_info("monotonic").resolution

signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # a script's background job ignores it, and so its children
if WINDOWS:
    os.environ["PYTHONUTF8"] = (
        "1"  # what children print to a pipe is in the machine's old encoding otherwise
    )

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


STDERR = pytest.StashKey[int]()
COLLECTED = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        config.stash[STDERR] = os.dup(2)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Remember what has been collected, also what -k leaves out, for tests about tests."""
    usual = [item for item in items if not item.get_closest_marker("big")]
    config.stash[COLLECTED] = [item.nodeid for item in usual]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """End all if a test goes on after its time limit, which only raises an exception in the main thread."""
    seconds = (
        600 if item.get_closest_marker("timeout") else 2 * float(item.config.getini("timeout"))
    )
    faulthandler.dump_traceback_later(seconds, exit=True, file=item.config.stash[STDERR])
    yield
    faulthandler.cancel_dump_traceback_later()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Python waits for threads at its end: one that hangs, of a test that failed, may not keep it from ending."""
    faulthandler.dump_traceback_later(TIMEOUT, exit=True, file=config.stash[STDERR])


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Fail a test that leaves a thread running.

    A thread of a pool may wait for more work: it ends with its server, which running() checks.
    """
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("ThreadPoolExecutor"):
            continue
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
    listener = socket.create_server(
        (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024
    )
    stop: list[int] = []
    errors: list[BaseException] = []
    started = threading.Event()
    cancel: list[Callable[[], object]] = [lambda: stop.append(0)]

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

    thread = threading.Thread(target=run, name="server", daemon=True)
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

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            thread.join(TIMEOUT)


AnyClient = TypeVar("AnyClient", bound="LineClient")


class LineClient:
    """A client over a real socket that reads lines."""

    def __init__(self, address: Any, timeout: float | None = None) -> None:
        self.socket = socket.create_connection(address[:2], timeout or TIMEOUT)
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
            bufsize=0,  # or readline() reads ahead, and communicate() does not get what it has read
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            creationflags=0x200
            if WINDOWS
            else 0,  # CREATE_NEW_PROCESS_GROUP, or Ctrl-Break would hit the tests too
        )
        assert self.process.stdout
        self.announcement = decoded(self.process.stdout.readline())
        match = re.fullmatch(r"Server listening on (\[.+\]|[^:]+):(\d+)\.\.\.\n", self.announcement)
        if not match:
            self.process.kill()
        assert match, f"announced {self.announcement!r}; {self.end()}"
        self.address = (match[1].strip("[]"), int(match[2]))

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        put_down(self.process)

    def log_line(self) -> str:
        """Return the next line of stderr."""
        assert self.process.stderr
        line = decoded(self.process.stderr.readline())
        assert line, "the server is gone"
        return line

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str, str]:
        """Send a signal; return the exit status, the rest of stdout, and stderr."""
        if sys.platform == "win32":
            number = signal.CTRL_BREAK_EVENT
        self.process.send_signal(number)
        return self.end()

    def end(self) -> tuple[int, str, str]:
        """Wait for the end; return the exit status, the rest of stdout, and stderr."""
        out, err = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, decoded(out), decoded(err)


def decoded(printed: bytes) -> str:
    """Return what a child has printed, on Windows too."""
    return printed.decode().replace("\r\n", "\n")


@contextmanager
def started(words: list[Any], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process that is gone at the end, whatever happens."""
    process = subprocess.Popen(words, **options)
    try:
        yield process
    finally:
        put_down(process)


def put_down(process: subprocess.Popen[Any]) -> None:
    """Kill a process, if it still runs, and close its pipes."""
    process.kill()
    process.wait(TIMEOUT)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            with suppress(OSError):
                stream.close()


def command(
    script: str | Path, *args: str, stdin: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end: most of ours by calling main(), which takes half of the time of a process."""
    path = ROOT / script
    processes = ("_server", "_logger", "_proxy", "chat_client")
    if path.parent == ROOT and not path.stem.endswith(processes):
        return called(path, list(args), stdin, cwd)
    words = [sys.executable, str(path), *args]
    data = stdin.encode()  # as it is, on Windows too
    result = subprocess.run(
        words, input=data, capture_output=True, timeout=3 * TIMEOUT, cwd=cwd, check=False
    )
    return subprocess.CompletedProcess(
        words, result.returncode, decoded(result.stdout), decoded(result.stderr)
    )


def called(
    path: Path, args: list[str], stdin: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Call main() of a script as if it were a process: also of a server, if it does not listen."""
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    streams = [
        io.TextIOWrapper(io.BytesIO(data), encoding=encoding, newline="\n", write_through=True)
        for data in (stdin.encode(), b"", b"")
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
    text = script.read_text(encoding="utf-8").replace(
        "\nimport argparse\n", f"\nimport argparse\n{limit}\n", 1
    )
    copy.write_text(text, encoding="utf-8")
    return copy


def huge(path: Path) -> int:
    """Make a file that is larger than all buffers between a server and a client; return its size."""
    size = 1 << 30
    with open(path, "wb") as file:
        file.truncate(size)  # without a byte on the disk, where the file system can do so
    return size


Check = Callable[[Path, Path], None]


def for_each(scripts: list[Path]) -> Callable[[Check], Callable[..., None]]:
    """Make a test for each script of a function `check(script, folder)`, in which it starts processes.

    The first one runs all checks at once, since each spends its time waiting for its process; then
    each one raises what its own check has raised.
    """

    def decorate(check: Check) -> Callable[..., None]:
        results: dict[Path, Future[None]] = {}

        @pytest.mark.parametrize("script", scripts, ids=lambda script: script.stem)
        def test(script: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
            if not results:
                folders = {one: tmp_path_factory.mktemp(one.stem) for one in scripts}
                with ThreadPoolExecutor(AT_ONCE) as pool:
                    for one, folder in folders.items():
                        results[one] = pool.submit(check, one, folder)
            results[script].result()

        test.__doc__ = check.__doc__
        return test

    return decorate


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
