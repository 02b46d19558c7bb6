"""Our servers with other people's clients, and our clients with other people's servers, where they are installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from conftest import ROOT, TIMEOUT, Server, command, free_port, put_down

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="for a POSIX shell")


def needs(*programs: str) -> None:
    """Skip, and say why, where a program is missing."""
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"no {program} here")


def shell(line: str, port: int, cwd: Path | None = None) -> str:
    """Run a line of shell, in which PORT is the port; return what it prints."""
    line = line.replace("SITE", "http://127.0.0.1:PORT").replace("PORT", str(port))
    result = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=TIMEOUT, cwd=cwd, check=False
    )
    return result.stdout


@contextmanager
def other(*words: str, cwd: Path | None = None) -> Iterator[int]:
    """Run another server, in whose words PORT becomes a free port; yield that as soon as it takes connections."""
    port = free_port()
    words = tuple(word.replace("PORT", str(port)) for word in words)
    process = subprocess.Popen(words, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            if process.poll() is not None:
                pytest.skip(
                    f"{' '.join(words)[:60]} does not run here: status {process.returncode}"
                )
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()  # the kind way first: some have children
        with suppress(subprocess.TimeoutExpired):
            process.wait(TIMEOUT)
        put_down(process)


# Our servers with their clients


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("nc", "printf '2 + 3\\n1 / 0\\n' | nc -N 127.0.0.1 PORT"),
        ("ncat", "printf '2 + 3\\n1 / 0\\n' | ncat 127.0.0.1 PORT"),
        ("socat", "printf '2 + 3\\n1 / 0\\n' | socat - TCP:127.0.0.1:PORT"),
        (
            "telnet",
            "(printf '2 + 3\\n1 / 0\\n'; sleep 0.3) | telnet 127.0.0.1 PORT 2>/dev/null | tail -n 2",
        ),
    ],
    ids=["nc", "ncat", "socat", "telnet"],
)
def test_calculator(program: str, line: str) -> None:
    needs(program)
    if (
        program == "nc"
        and "-N"
        not in subprocess.run(["nc", "-h"], capture_output=True, text=True, check=False).stderr
    ):
        pytest.skip("nc has no -N here")
    with Server(ROOT / "calc_server.py", "--quiet") as server:
        assert shell(line, server.address[1]) == "5\nERROR division by zero\n"


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("curl", "curl -sf SITE/video -o x; head -c 1000 x > y; curl -sf -C - SITE/video -o y"),
        ("wget", "wget -q SITE/video -O x; head -c 1000 x > y; wget -qc SITE/video -O y"),
    ],
    ids=["curl", "wget"],
)
def test_resumed_download(program: str, line: str, tmp_path: Path) -> None:
    needs(program)
    root, here = tmp_path / "root", tmp_path / "here"
    root.mkdir()
    here.mkdir()
    (root / "video").write_bytes(os.urandom(300_000))
    with Server(ROOT / "http_server.py", "--quiet", "--directory", str(root)) as server:
        shell(line, server.address[1], here)
    for name in ("x", "y"):
        assert (here / name).read_bytes() == (root / "video").read_bytes()


@pytest.mark.big
def test_listing_in_a_browser(tmp_path: Path) -> None:
    needs("chromium")
    (tmp_path / "a & b.txt").touch()
    browser = "chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    browser += (
        f" --disable-component-update --disable-sync --user-data-dir={tmp_path}/profile --dump-dom"
    )
    with Server(ROOT / "http_server.py", "--quiet", "--directory", str(tmp_path)) as server:
        page = shell(f"{browser} http://127.0.0.1:PORT/", server.address[1])
    assert '<a href="a%20%26%20b.txt">a &amp; b.txt</a>' in page


@pytest.mark.parametrize(
    ("program", "line"),
    [
        (
            "curl",
            "curl -sS smtp://127.0.0.1:PORT -u u:p --mail-from a@b.c --mail-rcpt d@e.f -T message",
        ),
        (
            "swaks",
            "swaks --server 127.0.0.1:PORT --from a@b.c --to d@e.f --auth LOGIN -au u -ap p --data @message",
        ),
    ],
    ids=["curl", "swaks"],
)
def test_mail(program: str, line: str, tmp_path: Path) -> None:
    needs(program)
    (tmp_path / "message").write_bytes(b"Subject: x\r\n\r\n.dot\r\n..\r\n")
    options = ["--quiet", "--directory", "mail", "--user", "u", "--password", "p"]
    with Server(ROOT / "smtp_server.py", *options, cwd=tmp_path) as server:
        shell(line, server.address[1], tmp_path)
    [path] = (tmp_path / "mail").iterdir()
    assert b"\r\nSubject: x\r\n\r\n.dot\r\n..\r\n" in path.read_bytes()


# Our clients with their servers


def test_socat_echoes() -> None:
    needs("socat")
    with other("socat", "TCP-LISTEN:PORT,bind=127.0.0.1,fork,reuseaddr", "PIPE") as port:
        result = command("echo_client.py", "--host", "127.0.0.1", "--port", str(port), "Hello")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "Received: Hello")


# As root, nginx would read the files as nobody, who may not look into pytest's folders.
NGINX = """user root; daemon off; pid FOLDER/pid; error_log /dev/null; events {}
http { access_log off; gzip on; gzip_types application/json; gzip_min_length 1; types { application/json json; }
       client_body_temp_path FOLDER/t; proxy_temp_path FOLDER/t; fastcgi_temp_path FOLDER/t; uwsgi_temp_path FOLDER/t;
       scgi_temp_path FOLDER/t; server { listen 127.0.0.1:@; root FOLDER/root; autoindex on; } }
"""


def test_nginx(tmp_path: Path) -> None:
    needs("nginx")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    for name in ("ü & b.txt", "sub/c.TXT", "d.md"):
        (root / name).write_bytes(b"x" * 2500)
    (root / "get.json").write_text('{"origin": "here", "headers": {}}' + " " * 1000)
    configure = 'sed "s|FOLDER|$1|g; s|@|$2|" template > conf && exec nginx -c "$1/conf"'
    (tmp_path / "template").write_text(NGINX)
    with other("sh", "-c", configure, "sh", str(tmp_path), "PORT", cwd=tmp_path) as port:
        site = f"http://127.0.0.1:{port}/"
        listed = command("list_text_files.py", site, "--recursive").stdout
        fetched = command("fetch_page.py", f"{site}get.json").stdout
        reported = command("url_report.py", f"{site}d.md", cwd=tmp_path).returncode
    assert listed.splitlines() == ["ü & b.txt", "sub/c.TXT"]
    assert fetched.splitlines() == ["origin: here", "headers:"]
    assert (reported, (tmp_path / "report.txt").read_text().count("\nFragment ")) == (0, 3)


def test_the_library_s_web_server(tmp_path: Path) -> None:
    (tmp_path / "a b.txt").touch()
    words = (
        sys.executable,
        "-m",
        "http.server",
        "PORT",
        "--bind",
        "127.0.0.1",
        "--directory",
        str(tmp_path),
    )
    with other(*words) as port:
        assert command("list_text_files.py", f"http://127.0.0.1:{port}/").stdout == "a b.txt\n"


def test_smtp_sink(tmp_path: Path) -> None:
    needs("smtp-sink")
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    with other("smtp-sink", *user, "127.0.0.1:PORT", "10") as port:
        words = ["--from", "a@b.c", "--to", "d@e.f", "--subject", "ü", "--body", ".\nü"]
        result = command("smtp_client.py", "--host", "127.0.0.1", "--port", str(port), *words)
    assert (result.returncode, result.stdout, result.stderr) == (0, "Sent to d@e.f\n", "")


VSFTPD = """listen=YES
listen_address=127.0.0.1
listen_port=@
background=NO
anonymous_enable=YES
no_anon_password=YES
anon_root=FOLDER
secure_chroot_dir=FOLDER/empty
xferlog_enable=NO
seccomp_sandbox=NO
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may look into; pytest closes its own ones again and again."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_vsftpd(open_folder: Path) -> None:
    """It has no MLSD."""
    needs("vsftpd")
    if os.geteuid() != 0:
        pytest.skip("vsftpd wants to be run as root")
    for name in ("empty", "pub"):
        (open_folder / name).mkdir()
    for name in ("a b", "ü", "c"):
        (open_folder / "pub" / name).touch()
    configure = 'sed "s|FOLDER|$1|; s|@|$2|" template > conf && exec vsftpd "$1/conf"'
    (open_folder / "template").write_text(VSFTPD)
    with other("sh", "-c", configure, "sh", str(open_folder), "PORT", cwd=open_folder) as port:
        result = command(
            "ftp_list.py", "--host", "127.0.0.1", "--port", str(port), "--path", "/pub"
        )
    assert (result.returncode, sorted(result.stdout.splitlines()), result.stderr) == (
        0,
        ["a b", "c", "ü"],
        "",
    )
