"""Runs a solution as a process in a folder of its own, and finds the port on which it listens."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

WINDOWS = sys.platform == "win32"
LINUX = sys.platform.startswith("linux")
KEPT = 2_000_000  # bytes of what a program prints
LOOKS = 20  # looks into Linux' table: each 20th, unless there is news
LOOK = 0.01  # seconds between two looks at what other processes do
ENVIRONMENT = Path(__file__).resolve().parent / "environment"
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
COPIED = (".py", ".json", ".txt", ".csv", ".cfg", ".ini", ".html", ".pem")
# Where Linux lets a thread wait that nothing but another one, or a message, can wake.
ENDLESS = ("wait_woken", "sk_wait_data", "inet_csk_accept", "inet_csk_wait_for_connect",
           "__skb_wait_for_more_packets", "unix_stream_read_generic", "anon_pipe_read", "pipe_read",
           "pipe_wait_readable", "futex_do_wait", "futex_wait_queue", "futex_wait_queue_me")  # fmt: skip
SELECT = ("do_epoll_wait", "ep_poll", "poll_schedule_timeout", "do_sys_poll", "do_select")
# Which argument of these system calls is the time limit: epoll, poll and select, on x86 and ARM.
TIME_LIMIT = {"232": 3, "281": 3, "22": 3, "7": 2, "73": 2, "270": 4, "72": 4}
STILL = 0.6  # seconds of nothing but such waits, after which it will not go on by itself
# Threads and processes of a program: a server may need two for each of 200 clients.
MOST_TASKS = 600
MOST_FILES, MOST_BYTES = 200, 1_000_000  # of a learner's folder that is copied


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """Return a port that nobody uses."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def copy_folder(source: Path, target: Path) -> None:
    """Copy the scripts of a learner, with their small files and folders, so that theirs stay."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.name.startswith((".", "__")):
            continue
        with suppress(OSError, shutil.Error):
            if path.is_file() and path.suffix.lower() in COPIED:
                if path.stat().st_size <= MOST_BYTES:
                    shutil.copyfile(path, target / path.name)
            elif path.is_dir() and is_small(path):
                shutil.copytree(path, target / path.name)


def is_small(folder: Path) -> bool:
    for number, path in enumerate(folder.rglob("*")):
        if number >= MOST_FILES or path.is_symlink():
            return False
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            return False
    return True


WATCHED: list[Program] = []
WATCHERS: list[threading.Thread] = []  # one, as long as there is anything to watch
WATCHING = threading.Lock()


class Program:
    """A script that runs, with all that it prints."""

    def __init__(
        self,
        command: list[str],
        folder: Path,
        mark: str,
        environment: dict[str, str],
        stdin: bool = False,
    ) -> None:
        self.command, self.folder = command, folder
        self.looks = 0
        self.stuck: Callable[[float], bool] = lambda seconds: False  # see Trial.stuck()
        self.stopped = 0  # the threads and processes that it had when watch() stopped it
        self.probed = False  # by our own protocol: its exceptions may be due to that
        self.failed_at = 0.0  # when the first traceback came
        self.given: dict[str, bytes] = {}  # the files that were put into its folder
        self.before: dict[Path, tuple[int, int]] = {}  # the files there: see trial.snapshot()
        self.log = folder.with_name(folder.name + ".log")
        old = {k: v for k, v in os.environ.items() if k.lower() not in PROXIES}
        settings = {
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(ENVIRONMENT),
            "EXERCISE_LOG": str(self.log),
            "EXERCISE_MARK": mark,
        }
        old.pop("ECHO_PASSWORD", None)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=old | settings | environment,
            start_new_session=not WINDOWS,
            creationflags=0x200 if WINDOWS else 0,  # CREATE_NEW_PROCESS_GROUP
        )
        self.out, self.err = bytearray(), bytearray()
        self.news = threading.Condition()
        streams = ((self.process.stdout, self.out), (self.process.stderr, self.err))
        self.threads = [
            threading.Thread(target=self.drain, args=pair, daemon=True) for pair in streams
        ]
        for thread in self.threads:
            thread.start()
        self.unread = self.threads[:]
        with WATCHING:
            WATCHED.append(self)
            if LINUX and not WATCHERS:
                WATCHERS.append(threading.Thread(target=watch, daemon=True))
                WATCHERS[0].start()

    def drain(self, stream: IO[bytes], kept: bytearray) -> None:
        """Read all that comes, and keep the beginning."""
        with suppress(OSError, ValueError):
            while piece := os.read(stream.fileno(), 65536):
                with self.news:
                    kept += piece[: max(0, KEPT - len(kept))]
                    if not self.failed_at and kept is self.err and b"Traceback" in kept:
                        self.failed_at = time.monotonic()
                    self.news.notify_all()
        with self.news:
            self.news.notify_all()

    @property
    def printed(self) -> str:
        return self.out.decode("utf-8", "replace").replace("\r\n", "\n")

    @property
    def errors(self) -> str:
        return self.err.decode("utf-8", "replace").replace("\r\n", "\n")

    @property
    def output(self) -> str:
        return self.printed + self.errors

    def ended(self) -> bool:
        """Tell whether it has ended; what it printed last has been read then."""
        if self.process.poll() is None:
            return False
        for thread in self.unread:
            thread.join(0.5)  # seconds: a child that lives on may hold a stream open
        self.unread = []
        return True

    def say(self, text: str, close: bool = False) -> None:
        """Type `text` at its keyboard."""
        stdin = self.process.stdin
        if stdin and not stdin.closed:
            with suppress(OSError, ValueError):
                stdin.write(text.encode())
                stdin.flush()
            if close:
                with suppress(OSError):
                    stdin.close()

    def wait_for(self, good: Callable[[], bool], seconds: float) -> bool:
        """Wait until `good()`, or until nothing can make it so any more.

        That is so if it has ended and all that it printed has been read, or if all wait for each
        other: for twice STILL, because a server of ours hangs up after STILL.
        """
        start = time.monotonic()
        end = start + seconds
        while True:
            over = self.ended() and not any(thread.is_alive() for thread in self.threads)
            if good():
                return True
            left = end - time.monotonic()
            if over or left <= 0:
                return False
            if self.stuck(2 * STILL) and time.monotonic() - start > 2 * STILL:
                return good()
            with self.news:
                self.news.wait(min(left, 0.05))

    def prints(self, text: str, seconds: float) -> bool:
        """Wait until it has printed `text`; tell whether it has."""
        return self.wait_for(lambda: text in self.printed, seconds)

    def prints_more(self, than: int, seconds: float) -> bool:
        """Wait until it has printed more than so many characters; tell whether it has."""
        return self.wait_for(lambda: len(self.printed) > than, seconds)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; tell whether it came."""
        return self.wait_for(self.ended, seconds)

    def settle(self, seconds: float = 0.4) -> None:
        """Give it a moment to die, or to show a traceback."""
        self.wait_for(lambda: bool(self.err) and self.errors.endswith("\n"), seconds)
        if b"Traceback" in self.err:
            self.wait(0.2)

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        with suppress(OSError):
            self.process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGINT))

    def kill(self) -> None:
        """Kill it, with its children."""
        if WINDOWS:
            self.process.kill()
        else:
            with suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
        with WATCHING, suppress(ValueError):
            WATCHED.remove(self)
        self.process.wait()
        for thread in self.threads:
            thread.join(1)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream and not any(thread.is_alive() for thread in self.threads):
                with suppress(OSError):
                    stream.close()

    def asked_for(self, what: str) -> list[tuple[str, int]]:
        """Return the addresses that it wanted to bind or to connect to: see environment/."""
        found = []
        with suppress(OSError):
            for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
                words = line.split(" ")
                if words[0] == what and len(words) > 2 and words[2].isdigit():
                    found.append((words[1], int(words[2])))
        return found

    def cpu_seconds(self) -> float | None:
        """Return the time that it has computed, where the system tells."""
        if not LINUX:
            return None
        try:
            text = Path(f"/proc/{self.process.pid}/stat").read_text()
        except OSError:
            return None
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def waits(self, ours: bool) -> tuple[str, ...] | None:
        """Return a state that stays the same as long as it only waits for others.

        None: it works, or a clock or a child may wake it; or the system does not tell.
        """
        state = []
        try:
            for task in Path(f"/proc/{self.process.pid}/task").iterdir():
                if task.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "S":
                    return None
                if ours:
                    continue  # our servers look at the clock, but do nothing then
                if task.joinpath("children").read_text():
                    return None
                place = task.joinpath("wchan").read_text().partition(".")[0]
                if place in SELECT:
                    number, *arguments = task.joinpath("syscall").read_text().split()
                    limit = arguments[TIME_LIMIT[number]]
                    if limit != "0x0" and not limit.endswith("ffffffff"):  # no pointer, or -1
                        return None
                elif place not in ENDLESS:
                    return None
                status = task.joinpath("status").read_text()
                state.append(task.name + status[status.index("voluntary_ctxt_switches") :])
        except (OSError, ValueError, LookupError):
            return None
        return tuple(state)

    def reads_keyboard(self) -> bool:
        """Tell whether it waits for a line at its keyboard: where the system does not tell, guess."""
        if not LINUX:
            return not self.prints_more(len(self.printed), 0.3)
        with suppress(OSError):
            for task in Path(f"/proc/{self.process.pid}/task").iterdir():
                # the system call read() of file 0, on x86 and ARM
                if task.joinpath("syscall").read_text().startswith(("0 0x0 ", "63 0x0 ")):
                    return True
        return False

    def listens(self, port: int, kind: str) -> tuple[str, int] | None:
        """Return the address on which it listens, without connecting to it."""
        told = self.asked_for("listen" if kind == "tcp" else "bind")
        if LINUX:
            # Linux' table is long to read: at first only when the program has said something
            self.looks += 1
            if not told and self.looks % LOOKS:
                return None
            return listening(self.process.pid, port, kind)
        return ("127.0.0.1", port if kind == "udp" else told[0][1]) if told else None


def listening(pid: int, port: int, kind: str) -> tuple[str, int] | None:
    """Look into Linux' tables for a socket of process `pid`, or else for one on `port`."""
    found = list(sockets(kind))
    for host, number, _ in found:
        if number == port:
            return host, number
    own = set()
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                own.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    for host, number, inode in found:
        if f"socket:[{inode}]" in own:
            return host, number
    return None


def sockets(kind: str) -> Iterator[tuple[str, int, str]]:
    """Yield address, port and inode of all sockets that listen (TCP) or are bound (UDP)."""
    for name in (kind, kind + "6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == ("0A" if kind == "tcp" else "07"):
                    raw, number = fields[1].split(":")
                    yield readable(raw), int(number, 16), fields[9]


def readable(raw: str) -> str:
    """Return an address of /proc/net/tcp as one to connect to."""
    words = [bytes.fromhex(raw[i : i + 8])[::-1] for i in range(0, len(raw), 8)]
    data = b"".join(words) if sys.byteorder == "little" else bytes.fromhex(raw)
    if len(data) == 4:
        return "127.0.0.1" if data == bytes(4) else socket.inet_ntop(socket.AF_INET, data)
    if data[:12] == bytes(10) + b"\xff\xff":
        return readable(raw[24:])
    # bound to all addresses: most such sockets take IPv4 as well, but not all
    return (
        "::1" if data in (bytes(16), bytes(15) + b"\1") else socket.inet_ntop(socket.AF_INET6, data)
    )


def watch() -> None:
    """Stop programs that start threads or processes without end, on Linux.

    Limits of the system are of no use: RLIMIT_NPROC counts all processes of a user, and not root's.
    """
    while True:
        time.sleep(0.05)  # in which Python starts some hundreds
        with WATCHING:
            watched = WATCHED[:]
            if not watched:
                WATCHERS.clear()
                return
        counts: Counter[int] = Counter()
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError, IndexError):
                fields = path.read_text().rpartition(")")[2].split()
                counts[int(fields[3])] += int(fields[17])  # session, threads
        for program in watched:
            if counts[program.process.pid] > MOST_TASKS:
                program.stopped = counts[program.process.pid]
                with suppress(OSError):
                    os.killpg(program.process.pid, signal.SIGKILL)  # all at once: none is born


def kill_marked(mark: str) -> None:
    """Kill what solutions have started and left behind, wherever it went."""
    if not LINUX:
        return
    wanted = f"EXERCISE_MARK={mark}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if wanted in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)
