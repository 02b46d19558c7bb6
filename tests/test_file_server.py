from __future__ import annotations

import errno
import hashlib
import os
import random
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from battery import MANY
from conftest import ROOT, TIMEOUT, WINDOWS, LineClient, Server, command, huge, running
from file_server import decode_name, encode_name, handle_client, list_files, serve

SCRIPT = ROOT / "file_server.py"
BIG = random.Random(8).randbytes(3_000_000)
SECRET = b"nobody may see this"
NAMES = {
    "a b": "a b",
    "new\nline": r"new\nline",
    "back\\slash": r"back\\slash",
    "ä😀": "ä😀",
    "esc\x1b[2J": r"esc\x1b[2J",
}
NAMES |= {"\udcff": r"\udcff", "\\n": r"\\n", "\u2028": r"\u2028", "tab\t": r"tab\t", "'": "'"}


def serving(folder: Path, timeout: float = TIMEOUT) -> AbstractContextManager[Any]:
    """A server in this process."""
    return running(serve, partial(handle_client, root=os.path.realpath(folder), timeout=timeout))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The address of a server, for all tests that only ask."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret").write_bytes(SECRET)
    (outside / "root-too").mkdir()
    (outside / "root-too" / "secret").write_bytes(SECRET)
    root = outside / "root"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "small").write_bytes(b"Hello")
    (root / "empty").touch()
    (root / "big").write_bytes(BIG)
    (root / "sub" / "deep" / "file.txt").write_bytes(b"deep")
    if not WINDOWS:
        (root / "evil").symlink_to("../secret")
        (root / "evils").symlink_to("..")
        (root / "good").symlink_to("small")
        (root / "broken").symlink_to("nowhere")
        (root / "ring").symlink_to("ring")
        (root / "sub" / "up").symlink_to("..")
        os.mkfifo(root / "fifo")
        with socket.socket(socket.AF_UNIX) as listener:
            here = os.getcwd()
            os.chdir(root)  # such an address may not be long
            listener.bind("socket")
            os.chdir(here)
    with serving(root) as address:
        yield address


class FileClient(LineClient):
    def get(self, name: str) -> bytes | str:
        """Return the contents of a file, or else the answer."""
        answer = self.ask(f"GET {name}")
        kind, _, size = answer.partition(" ")
        return self.stream.read(int(size)) if kind == "OK" else answer

    def names(self) -> list[str]:
        count = int(self.ask("LIST").removeprefix("OK "))
        return self.lines(count)


def length(client: FileClient) -> int:
    """Return how many bytes come until the server hangs up."""
    count = 0
    with suppress(ConnectionError):
        while piece := client.stream.read(1 << 20):
            count += len(piece)
    return count


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    assert encode_name(name) == NAMES[name]
    assert decode_name(NAMES[name]) == name


@pytest.mark.parametrize(
    "text", ["\\", "a\\b", r"\x1", r"\xZZ", r"\u12", r"\\\a", r"\N{DASH}", r"\101"]
)
def test_no_names(text: str) -> None:
    with pytest.raises(ValueError, match="escape"):
        decode_name(text)


def test_many_requests_over_one_connection(address: Any) -> None:
    with FileClient(address) as client:
        assert client.get("small") == b"Hello"
        assert client.get("empty") == b""
        assert client.get("big") == BIG
        assert client.get("sub/deep/file.txt") == b"deep"
        assert client.get("none") == "ERROR file not found: 'none'"
        assert client.ask("HASH big") == f"OK {hashlib.sha256(BIG).hexdigest()}"
        assert client.ask("HASH none") == "ERROR file not found: 'none'"
        assert client.get("small") == b"Hello"
        assert client.ask("QUIT") == "BYE"
        assert client.rest() == b""


def test_requests_in_one_segment(address: Any) -> None:
    with FileClient(address) as client:
        client.send(b"GET small\r\nGET none\nGET big\nHASH empty\nGET small")
        client.half_close()
        empty = hashlib.sha256(b"").hexdigest().encode()
        big = b"OK %d\n" % len(BIG) + BIG
        assert (
            client.rest()
            == b"OK 5\nHelloERROR file not found: 'none'\n"
            + big
            + b"OK "
            + empty
            + b"\nOK 5\nHello"
        )


def test_slow_reader_gets_every_byte(tmp_path: Path) -> None:
    """The server has room for less than a piece: send() would take only a part of it."""
    data = BIG[:300_000]
    (tmp_path / "big").write_bytes(data)

    def with_little_room(connection: socket.socket, address: Any) -> str:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return handle_client(connection, address, root=os.path.realpath(tmp_path), timeout=TIMEOUT)

    with running(serve, with_little_room) as address, FileClient(address) as client:
        client.send(b"GET big\n")
        client.half_close()
        assert client.rest() == b"OK %d\n" % len(data) + data


def test_list(address: Any) -> None:
    with FileClient(address) as client:
        lines = [
            "3000000\tbig",
            "0\tempty",
            *([] if WINDOWS else ["5\tgood"]),
            "5\tsmall",
            "4\tsub/deep/file.txt",
        ]
        assert client.names() == lines


ESCAPES = [
    "../secret",
    "../root/small",
    "sub/../../secret",
    "sub/../small",
    "..",
    "",
    ".",
    "/",
    "/etc/passwd",
    "//etc/passwd",
    "small/",
    "sub//deep/file.txt",
    "../root-too/secret",
    "..\\secret",
    r"..\\secret",
    r"\x2e\x2e/secret",
    r"\x2e\x2e\x2fsecret",
    r"..\x2fsecret",
    "%2e%2e/secret",
    "..%2fsecret",
    "C:\\Windows\\win.ini",
    "C:/Windows/win.ini",
    "\\\\?\\C:\\secret",
    "file:///etc/passwd",
    "evil",
    "evils/secret",
    "evils/root-too/secret",  # begins like the root
    "evils/root/../secret",
    "broken",
    "ring",
    "fifo",
    "socket",
    "sub",
    "sub/deep",
    r"small\x00",
    r"small\x00.txt",
    "small\0",
    *([] if WINDOWS else ["small "]),  # Windows drops spaces at the end of a name: this is "small"
    " small",
    "x" * 300,
    "x/" * 2000,
    "~",
    "~root/.profile",
    "$HOME",
    "/dev/zero",
    "/proc/self/environ",
    "....//secret",
    "..././secret",
    "small/.",
]


@pytest.mark.parametrize("name", ESCAPES, ids=range(len(ESCAPES)))
def test_nothing_outside(address: Any, name: str) -> None:
    """The words are the same for what is outside, and for what is not there."""
    with FileClient(address) as client:
        shown = name.replace("\0", r"\x00")
        assert client.get(name) == f"ERROR file not found: '{shown}'"
        assert client.ask(f"HASH {name}") == f"ERROR file not found: '{shown}'"


@pytest.mark.skipif(WINDOWS, reason="needs symbolic links")
def test_links_inside_work(address: Any) -> None:
    with FileClient(address) as client:
        assert client.get("good") == b"Hello"
        assert client.get("sub/up/small") == b"Hello"


def test_wrong_requests(address: Any) -> None:
    with FileClient(address) as client:
        for line in ("", "get small", "GET", "LIST x", "PUT small", "\x1b[2J"):
            assert client.ask(line).startswith("ERROR ")
            assert "\x1b" not in client.ask(line)
        assert client.ask("GET " + "x" * 9000) == "ERROR line too long"
        client.send(b"GET \xff\n")
        assert client.line().startswith("ERROR file not found: ")
        assert client.get("small") == b"Hello"


@pytest.mark.skipif(sys.platform != "linux", reason="such names are not possible here")
def test_any_name_can_be_fetched(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).write_bytes(os.fsencode(name))
    with serving(tmp_path) as address, FileClient(address) as client:
        lines = client.names()
        assert lines == [f"{len(os.fsencode(name))}\t{NAMES[name]}" for name in sorted(NAMES)]
        for line, name in zip(lines, sorted(NAMES), strict=True):
            assert client.get(line.partition("\t")[2]) == os.fsencode(name)


def test_a_file_that_shrinks_ends_the_connection(tmp_path: Path) -> None:
    size = huge(tmp_path / "file")
    with serving(tmp_path) as address, FileClient(address) as client:
        assert client.ask("GET file") == f"OK {size}"
        os.truncate(tmp_path / "file", 1000)
        assert length(client) < size


def test_a_file_that_grows_is_sent_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 50_000_000)
    with serving(tmp_path) as address, FileClient(address) as client:
        assert client.ask("GET file") == "OK 50000000"
        with open(tmp_path / "file", "ab") as file:
            file.write(b"y" * 1000)
        assert client.stream.read(50_000_000) == b"x" * 50_000_000
        assert client.ask("QUIT") == "BYE"


def test_many_at_once_while_one_does_not_read(address: Any) -> None:
    with FileClient(address) as slow:
        slow.send(b"GET big\n" * 10)
        clients = [FileClient(address) for _ in range(MANY // 2)]
        for client in clients:
            client.send(b"GET small\n")
        for client in clients:
            assert client.line() == "OK 5"
            assert client.stream.read(5) == b"Hello"
            client.__exit__()


def test_who_does_not_read_is_dropped(tmp_path: Path) -> None:
    size = huge(tmp_path / "file")
    dropped = threading.Event()

    def until_dropped(connection: socket.socket, address: Any) -> str:
        try:
            return handle_client(connection, address, root=os.path.realpath(tmp_path), timeout=0.3)
        finally:
            dropped.set()

    with running(serve, until_dropped) as address, FileClient(address) as client:
        client.send(b"GET file\n")
        assert dropped.wait(TIMEOUT)
        assert length(client) < size


@pytest.mark.skipif(WINDOWS, reason="fills the disk with zeros")
def test_five_gibibytes_of_nothing(tmp_path: Path) -> None:
    """The size is told at once, and the beginning comes; test_file_client.py fetches all of it with -m big."""
    size = 5 * 1024**3
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(size)
    with serving(tmp_path) as address, FileClient(address) as client:
        assert client.ask("GET sparse") == f"OK {size}"
        assert client.stream.read(1000) == bytes(1000)


@pytest.mark.skipif(WINDOWS, reason="needs symbolic links")
def test_a_file_that_is_swapped_for_a_link(tmp_path: Path) -> None:
    """Between the look at it and its opening, again and again: what is outside never comes."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_bytes(SECRET)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (root / "new").write_bytes(b"inside")
            (root / "new").rename(root / "file")
            (root / "new").symlink_to("../secret")
            (root / "new").rename(root / "file")

    thread = threading.Thread(target=swap, daemon=True)
    thread.start()
    try:
        with serving(root) as address, FileClient(address) as client:
            answers = {client.get("file") for _ in range(300)}
    finally:
        stop.set()
        thread.join()
    assert answers <= {b"inside", b"", "ERROR file not found: 'file'"}


@pytest.mark.skipif(WINDOWS, reason="needs a folder with a long path")
def test_deep_folders(tmp_path: Path) -> None:
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(300):
            os.mkdir("deeper")
            os.chdir("deeper")
    finally:
        os.chdir(here)
    with serving(tmp_path) as address, FileClient(address) as client:
        assert client.names() == []


def test_list_of_nothing(tmp_path: Path) -> None:
    assert list_files(str(tmp_path)) == []


def test_no_such_folder(tmp_path: Path) -> None:
    result = command(SCRIPT, "--directory", str(tmp_path / "none"))
    assert (result.returncode, result.stdout) == (1, "")
    assert "none: not a folder" in result.stderr


def test_kill_in_the_middle(tmp_path: Path) -> None:
    """The client sees the end before the whole file has come."""
    size = huge(tmp_path / "file")
    with Server(SCRIPT, "--quiet", cwd=tmp_path) as server, FileClient(server.address) as client:
        assert client.ask("GET file") == f"OK {size}"
        server.process.kill()
        server.process.wait(TIMEOUT)
        assert length(client) < size


def test_list_without_descriptors_is_no_shorter_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scandir(path: str) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(OSError, match="Too many"):
        list_files(str(tmp_path))
