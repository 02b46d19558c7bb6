"""All our clients, curl and smtplib talk to our servers through a bad network: nothing changes."""

from __future__ import annotations

import re
import shutil
import smtplib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from conftest import ROOT, TIMEOUT, Server, command
from test_ftp_list import LISTING, NAMES, crlf, ftp

pytestmark = pytest.mark.big

Result = TypeVar("Result")

NETWORKS = ["--pieces 1", "--delay 0.01 --jitter 0.01"]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)
HERE = ["--host", "127.0.0.1"]

each_network = pytest.mark.parametrize("network", NETWORKS, ids=["pieces", "delay"])
each_network_slowly = pytest.mark.parametrize(  # a page or a mail has hundreds of bytes
    "network",
    [pytest.param(NETWORKS[0], marks=pytest.mark.big), NETWORKS[1]],
    ids=["pieces", "delay"],
)

# Server and its options; client, its options, and what it reads from stdin
DIALOGUES = {
    "echo": ("echo_server.py", "", "echo_client.py", ["Hello", "ü", "x" * 100], ""),
    "sum": ("sum_server.py", "", "sum_client.py", ["1", "-2.5", "1000"], ""),
    "calc": ("calc_server.py", "", "calc_client.py", ["2 + 3", "1 / 0", "2 ** 10"], ""),
    "guess": ("guess_server.py", "--number 42", "guess_client.py", ["--auto"], ""),
    "guess, typed": ("guess_server.py", "--number 42", "guess_client.py", [], "x\n50\n42\n"),
    "json": ("json_server.py", "", "json_client.py", ["ada.json", "name"], ""),
    "chat": ("chat_server.py", "", "chat_client.py", ["--name", "ada"], "GET_NAMES\n/help\n"),
    "file list": ("file_server.py", "--directory files", "file_client.py", ["--list"], ""),
    "file": (
        "file_server.py",
        "--directory files",
        "file_client.py",
        ["a b.txt", "b.bin", "--verify", "--force"],
        "",
    ),
}


@contextmanager
def with_and_without_proxy(
    network: str, script: str, *options: str, cwd: Path
) -> Iterator[list[int]]:
    """Run a server and a proxy before it; yield the ports of both."""
    with ExitStack() as stack:
        enter = stack.enter_context
        server = enter(Server(ROOT / script, *HERE, "--quiet", *options, cwd=cwd))
        to = ["--to", f"127.0.0.1:{server.address[1]}"]
        proxy = enter(Server(ROOT / "tcp_proxy.py", *HERE, "--quiet", *to, *network.split()))
        yield [server.address[1], proxy.address[1]]
        assert proxy.stop() == (0, "", "")


def both(ports: list[int], run: Callable[[int], Result]) -> Result:
    """Do something without and with the proxy; return the result, which must be the same."""
    plain, through = (run(port) for port in ports)
    assert through == plain
    return through


def make_files(folder: Path) -> None:
    files = folder / "files"
    (files / "sub").mkdir(parents=True)
    (files / "a b.txt").write_text("Hello\n" * 20)
    (files / "b.bin").write_bytes(bytes(range(256)))
    (files / "sub" / "c.txt").touch()
    (files / "get.json").write_text('{"origin": "here", "headers": {"Host": "x"}}')
    (files / "page.html").write_text('<img src="one.png"><img src="sub/two.png">')
    (files / "one.png").write_bytes(PNG)
    (files / "sub" / "two.png").write_bytes(PNG)
    (folder / "ada.json").write_text('{"name": "Ada", "born": 1815}')


@each_network
@pytest.mark.parametrize("name", DIALOGUES)
def test_our_clients(name: str, network: str, tmp_path: Path) -> None:
    make_files(tmp_path)
    script, options, client, words, stdin = DIALOGUES[name]

    def run(port: int) -> tuple[int, str, str, dict[str, bytes]]:
        options = [*HERE, "--port", str(port), *words]
        result = command(client, *options, stdin=stdin, cwd=tmp_path)
        files = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        out = re.sub(r"guest\d", "guest", result.stdout)  # the second client has another number
        return result.returncode, out, result.stderr, files

    with with_and_without_proxy(network, script, *options.split(), cwd=tmp_path) as ports:
        code, out, _, files = both(ports, run)
    assert (code, bool(out)) == (int(name == "calc"), True)
    if name == "file":
        assert files["b.bin"] == bytes(range(256))


def test_commands_of_the_echo_server_need_a_piece_of_their_own(tmp_path: Path) -> None:
    """As its docstring says: the one case in which pieces may make a difference."""
    typed = ["echo_client.py", "-i", *HERE, "--port"]
    for network, replies in (
        (NETWORKS[1], ["HISTORY 0", "BYE"]),
        (NETWORKS[0], ["HISTORY", "QUIT"]),
    ):
        with with_and_without_proxy(network, "echo_server.py", cwd=tmp_path) as ports:
            result = command(*typed, str(ports[1]), stdin="HISTORY\nQUIT\n")
        assert result.stdout.splitlines() == ["Connected to server", *replies]


@each_network
def test_greeting(network: str, tmp_path: Path) -> None:
    def run(port: int) -> tuple[int, int]:
        result = command("greeting_client.py", "127.0.0.1", str(port))
        return result.returncode, len(result.stdout.splitlines())

    with with_and_without_proxy(network, "greeting_server.py", cwd=tmp_path) as ports:
        assert both(ports, run) == (0, 3)


@each_network
def test_ftp_list(network: str) -> None:
    """The listing itself goes past the proxy: to a port of the server, at the proxy's address."""
    said: list[str] = []
    with ftp({}, crlf(LISTING), said) as (_, port):
        to = ["--to", f"127.0.0.1:{port}", "--quiet", *network.split()]
        with Server(ROOT / "tcp_proxy.py", *HERE, *to) as proxy:
            words = ["--port", str(proxy.address[1]), "--path", "/debian"]
            result = command("ftp_list.py", *HERE, *words)
    assert (result.returncode, result.stdout.splitlines(), result.stderr) == (0, NAMES, "")
    assert said[-3:] == ["PASV", "MLSD /debian", "QUIT"]


MESSAGE = "Subject: =?utf-8?q?=C3=BC?=\r\n\r\n.dot\r\n..\r\nend\r\n"


def stored(folder: Path) -> bytes:
    """Return the one message that has been stored, without what the server adds, and remove it."""
    [path] = folder.iterdir()
    data = path.read_bytes()
    path.unlink()
    return b"Subject:" + data.partition(b"\r\nSubject:")[2]


@each_network_slowly
@pytest.mark.parametrize("program", ["smtp_client", "smtplib", "curl"])
def test_mail(program: str, network: str, tmp_path: Path) -> None:
    if program == "curl" and not shutil.which("curl"):
        pytest.skip("no curl here")
    message, mail = tmp_path / "message.eml", tmp_path / "mail"
    message.write_bytes(MESSAGE.encode())

    def run(port: int) -> bytes:
        if program == "smtplib":
            with smtplib.SMTP("127.0.0.1", port, timeout=TIMEOUT) as client:
                client.sendmail("a@b.c", ["d@e.f"], MESSAGE)
        elif program == "curl":
            words = ["curl", "-sS", f"smtp://127.0.0.1:{port}", "--mail-from", "a@b.c"]
            words += ["--mail-rcpt", "d@e.f", "-T", str(message)]
            subprocess.run(words, check=True, timeout=TIMEOUT, capture_output=True)
        else:
            words = [*HERE, "--port", str(port), "--from", "a@b.c", "--to", "d@e.f"]
            result = command("smtp_client.py", *words, "--eml", str(message))
            assert (result.returncode, result.stdout) == (0, "Sent to d@e.f\n")
        return stored(mail)

    with with_and_without_proxy(
        network, "smtp_server.py", "--directory", str(mail), cwd=tmp_path
    ) as ports:
        assert b"\r\n\r\n.dot\r\n..\r\nend\r\n" in both(ports, run)


WEB = {
    "curl": ["curl", "-sSf", "SITE/b.bin", "-o", "fetched"],
    "listing by curl": ["curl", "-sSf", "SITE/"],
    "list_text_files": ["list_text_files.py", "SITE/", "--recursive"],
    "fetch_page": ["fetch_page.py", "SITE/get.json"],
    "url_report": ["url_report.py", "SITE/a%20b.txt"],
    "download_images": ["download_images.py", "SITE/page.html"],
}


@each_network_slowly
@pytest.mark.parametrize("name", WEB)
def test_web(name: str, network: str, tmp_path: Path) -> None:
    """Everything that is printed and written is the same, but for the port and the time."""
    make_files(tmp_path)
    program, *words = WEB[name]
    if program == "curl" and not shutil.which("curl"):
        pytest.skip("no curl here")

    def run(port: int) -> tuple[int, str, dict[str, bytes]]:
        here = tmp_path / str(port)
        here.mkdir()
        args = [word.replace("SITE", f"http://127.0.0.1:{port}") for word in words]
        start = [program] if program == "curl" else [sys.executable, str(ROOT / program)]
        result = subprocess.run(
            [*start, *args], cwd=here, capture_output=True, timeout=3 * TIMEOUT, check=False
        )
        files = {
            str(path.relative_to(here)): path.read_bytes()
            for path in here.rglob("*")
            if path.is_file() and path.suffix != ".json"
        }
        if "report.txt" in files:
            report = files["report.txt"].replace(str(port).encode(), b"PORT")
            files["report.txt"] = re.sub(rb"\d+\.\d+ s", b"TIME", report)
        return result.returncode, result.stdout.decode().replace(str(port), "PORT"), files

    with with_and_without_proxy(
        network, "http_server.py", "--directory", "files", cwd=tmp_path
    ) as ports:
        code, out, files = both(ports, run)
    assert code == 0
    assert out or files
