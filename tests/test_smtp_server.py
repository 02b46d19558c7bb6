from __future__ import annotations

import argparse
import base64
import random
import re
import shutil
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, TIMEOUT, WINDOWS, LineClient, Server, called, command, running, started
from smtp_server import MAX_LINE, MAX_RECIPIENTS, SECRET, Session, handle_client, serve

SCRIPT = ROOT / "smtp_server.py"
MAX_SIZE = 1_000_000
TEN_MEBIBYTES = 10 * 1024 * 1024


def serving(folder: Path, **changes: Any) -> AbstractContextManager[Any]:
    """A server in this process."""
    options = {
        "directory": str(folder),
        "max_size": MAX_SIZE,
        "user": None,
        "password": None,
        "timeout": TIMEOUT,
    }
    args = argparse.Namespace(**{**options, **changes})
    return running(serve, partial(handle_client, args=args))


class MailClient(LineClient):
    """A client that checks codes."""

    def code(self) -> int:
        """Return the code of the next reply."""
        while (line := self.line())[3:4] == "-":
            pass
        return int(line[:3])

    def say(self, *lines: str | bytes) -> list[int]:
        """Send commands, and return the codes of the replies to them."""
        codes = []
        for line in lines:
            self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
            codes.append(self.code())
        return codes

    def hand_over(self, message: bytes) -> int:
        """Send a message as it is, up to its end; return the code."""
        assert self.say("RSET", "MAIL FROM:<a@b.c>", "RCPT TO:<d@e.f>", "DATA") == [
            250,
            250,
            250,
            354,
        ]
        self.send(message)
        return self.code()


@contextmanager
def client(address: Any) -> Iterator[MailClient]:
    with MailClient(address) as client:
        assert client.code() == 220
        assert client.say("EHLO test") == [250]
        yield client


def kept(folder: Path) -> list[bytes]:
    """Return the messages in a folder, in their order, without what the server has put in front of them."""
    messages = []
    assert all(path.suffix == ".eml" for path in folder.iterdir())
    for path in sorted(folder.iterdir()):
        match = re.match(
            rb"Return-Path: <.*>\r\nReceived: .*\r\n\tby .*;\r\n\t.*\r\n", path.read_bytes()
        )
        assert match
        messages.append(path.read_bytes()[match.end() :])
    return messages


def wire(message: bytes) -> bytes:
    """Return a message as a client sends it."""
    return (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"


def codes(session: Session, *lines: str) -> list[int]:
    return [int(session.answer(line.encode())[:3]) for line in lines]


@pytest.fixture
def session() -> Session:
    return Session("host", MAX_SIZE, None, None)


def test_extensions(session: Session) -> None:
    expected = [
        "250-host greets me",
        f"250-SIZE {MAX_SIZE}",
        "250-PIPELINING",
        "250-8BITMIME",
        "250 SMTPUTF8",
    ]
    assert session.answer(b"EHLO me").splitlines() == expected
    assert session.answer(b"HELO me") == "250 host greets me\r\n"
    assert "250-AUTH PLAIN LOGIN\r\n" in Session("host", 1, "u", "p").answer(b"EHLO me")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("mail from:<a@b>", 250),
        ("MAIL FROM:<>", 250),
        ("Mail From: <a@b>  ", 250),
        ("MAIL FROM:<a@b> SIZE=1000000 BODY=8BITMIME", 250),
        ("MAIL FROM:<a@b> size=5 body=7bit SmtpUtf8 AUTH=<>", 250),
        ('MAIL FROM:<"a \\" b"@c>', 250),
        ("MAIL FROM:<@x,@y:a@b>", 250),
        ("MAIL FROM:<a@[127.0.0.1]>", 250),
        ("MAIL FROM:<ä@b> SMTPUTF8", 250),
        ("MAIL FROM:<ä@b>", 553),
        ("MAIL FROM:<a@b> SIZE=1000001", 552),
        ("MAIL FROM:<a@b> SIZE=99999999999999999999", 552),
        ("MAIL FROM:<a@b> SIZE=x", 501),
        ("MAIL FROM:<a@b> BODY=x", 501),
        ("MAIL FROM:<a@b> FOO=x", 555),
        ("MAIL FROM:a@b", 501),
        ("MAIL FROM:<a>", 501),
        ("MAIL FROM:<a@b", 501),
        ("MAIL FROM:<a b@c>", 501),
        ("MAIL FROM:<..@b>", 501),
        ("MAIL FROM:<a@b..c>", 501),
        ("MAIL FROM:<a,b@c>", 501),
        ("MAIL FROM:<a\x85@b> SMTPUTF8", 501),
        ("MAIL FROM:<a@b>\rRCPT TO:<c@d>", 501),
        ("MAIL FROM:<a@b\0>", 501),
        ("MAIL", 501),
        ("MAIL TO:<a@b>", 501),
        ("RCPT TO:<a@b>", 503),
        ("DATA", 503),
        ("RSET", 250),
        ("RSET x", 501),
        ("NOOP x", 250),
        ("VRFY a", 252),
        ("VRFY", 501),
        ("help", 214),
        ("QUIT", 221),
        ("QUIT x", 501),
        ("EXPN a", 500),
        ("STARTTLS", 500),
        ("", 500),
        ("reset", 500),
        ("AUTH PLAIN", 502),
        ("HELO", 501),
        ("EHLO", 501),
        ("EHLO a b", 501),
    ],
)
def test_commands_after_hello(session: Session, line: str, code: int) -> None:
    assert codes(session, "EHLO me", line) == [250, code]


def test_order(session: Session) -> None:
    assert codes(session, "MAIL FROM:<a@b>", "EHLO x", "DATA", "RCPT TO:<c@d>") == [
        503,
        250,
        503,
        503,
    ]
    assert codes(session, "MAIL FROM:<a@b>", "MAIL FROM:<a@b>", "DATA", "RCPT TO:<>") == [
        250,
        503,
        554,
        501,
    ]
    assert codes(session, "RCPT TO:<Postmaster>", "RCPT TO:<c@d> X=1", "DATA x", "DATA") == [
        250,
        555,
        501,
        354,
    ]


@pytest.mark.parametrize("forget", ["RSET", "EHLO again", "HELO again"])
def test_what_forgets_the_sender(session: Session, forget: str) -> None:
    assert codes(session, "EHLO me", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", forget, "DATA") == [
        250,
        250,
        250,
        250,
        503,
    ]


def test_limits(session: Session) -> None:
    assert codes(session, "EHLO me", "MAIL FROM:<a@b>") == [250, 250]
    recipients = [f"RCPT TO:<{n}@b>" for n in range(MAX_RECIPIENTS + 1)]
    assert codes(session, *recipients) == [250] * MAX_RECIPIENTS + [452]
    assert codes(session, "NOOP " + "x" * MAX_LINE) == [500]
    assert codes(session, *["x"] * 9) == [500] * 8 + [421]
    assert session.over


def base64_text(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


RIGHT, WRONG = base64_text("\0üser\0sécret"), base64_text("\0üser\0secret")
USER, PASSWORD = base64_text("üser"), base64_text("sécret")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([f"AUTH PLAIN {RIGHT}", "AUTH PLAIN", "MAIL FROM:<a@b>"], [235, 503, 250]),
        (["auth plain", RIGHT, "MAIL FROM:<a@b>"], [334, 235, 250]),
        ([f"AUTH LOGIN {USER}", PASSWORD], [334, 235]),
        (["AUTH login", USER, PASSWORD], [334, 334, 235]),
        (["MAIL FROM:<a@b>", f"AUTH PLAIN {WRONG}", "MAIL FROM:<a@b>"], [530, 535, 530]),
        (
            ["AUTH LOGIN", "*", "AUTH LOGIN", USER, "*", "AUTH PLAIN", "*"],
            [334, 501, 334, 334, 501, 334, 501],
        ),
        (["AUTH PLAIN =", "AUTH PLAIN !", f"AUTH PLAIN {USER}"], [501] * 3),
        (["AUTH LOGIN ä", "AUTH LOGIN !", "AUTH LOGIN", "!", "NOOP"], [501, 501, 334, 501, 250]),
        ([f"AUTH PLAIN {base64_text('admin' + chr(0) + 'üser' + chr(0) + 'sécret')}"], [535]),
        ([f"AUTH PLAIN {base64_text('üser' + chr(0) + 'üser' + chr(0) + 'sécret')}"], [235]),
        (["AUTH CRAM-MD5", "AUTH", "HELO me", f"AUTH PLAIN {RIGHT}"], [504, 501, 250, 503]),
        (["AUTH LOGIN", "NOOP" + "x" * MAX_LINE, "NOOP"], [334, 500, 250]),
    ],
)
def test_auth(lines: list[str], expected: list[int]) -> None:
    session = Session("host", MAX_SIZE, "üser", "sécret")
    assert codes(session, "EHLO me", *lines) == [250, *expected]


def test_three_wrong_passwords_are_enough() -> None:
    session = Session("host", MAX_SIZE, "üser", "sécret")
    assert codes(session, "EHLO me", *[f"AUTH PLAIN {WRONG}"] * 2) == [250, 535, 535]
    assert not session.over
    assert codes(session, f"AUTH LOGIN {USER}", base64_text("x")) == [334, 535]
    assert session.over


MESSAGES = {
    "nothing": b"",
    "an empty line": b"\r\n",
    "dots": b".\r\n..\r\n...\r\n" * 1000,
    "long lines": b"\r\n".join([b"x" * 100_000, b"." * 100_000, b""]),
    "all bytes": bytes(range(256)) + b"\r\n",
    "8-bit": "Subject: Grüße\r\n\r\n".encode() + b"\xff\xfe\r\n",
    "random": random.Random(3).randbytes(300_000).replace(b"\r\n.\r\n", b"") + b"\r\n",
    "10 MiB": random.Random(4).randbytes(TEN_MEBIBYTES - 2).replace(b"\r\n.\r\n", b"-----")
    + b"\r\n",
    "as large as may be": b"x" * (MAX_SIZE - 2) + b"\r\n",
    "as many dots as may be": b".\r\n" * (MAX_SIZE // 3),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_arrives_identical(name: str, tmp_path: Path) -> None:
    with (
        serving(tmp_path, max_size=max(len(MESSAGES[name]), MAX_SIZE)) as address,
        client(address) as mail,
    ):
        assert mail.hand_over(wire(MESSAGES[name])) == 250
    assert kept(tmp_path) == [MESSAGES[name]]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_arrives_in_pieces(size: int, tmp_path: Path) -> None:
    message = b"Subject: x\r\n\r\n.\r\n..\r\n\r\n.x\n.\n\r.\r\r\n"
    data = wire(message)
    with serving(tmp_path) as address, client(address) as mail:
        mail.say("MAIL FROM:<a@b.c>", "RCPT TO:<d@e.f>", "DATA")
        for start in range(0, len(data), size):
            mail.send(data[start : start + size])
        assert mail.code() == 250
    assert kept(tmp_path) == [message]


ENDINGS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\n.\r",
    b"\r.\n",
    b"\r\n.\0\r\n",
    b"\n\n.\r\n",
]


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_smuggling(ending: bytes, tmp_path: Path) -> None:
    """CRLF . CRLF ends a message and nothing else does (CVE-2023-51764)."""
    second = b"MAIL FROM:<evil@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\nSubject: smuggled\r\n\r\n"
    message = b"Subject: x\r\n\r\ny" + ending + second
    with serving(tmp_path) as address, client(address) as mail:
        assert mail.hand_over(message + b".\r\n") == 250
        assert mail.say("QUIT") == [221]
        assert mail.rest() == b""
    [only] = kept(tmp_path)
    assert wire(only) in (message + b".\r\n", wire(message.replace(b"\r\n.", b"\r\n")))


def test_too_large_is_refused_and_the_next_one_taken(tmp_path: Path) -> None:
    with serving(tmp_path) as address, client(address) as mail:
        for size in (MAX_SIZE - 1, 2 * MAX_SIZE, 5 * MAX_SIZE):
            assert mail.hand_over(b"x" * size + b"\r\n.\r\n") == 552
        assert mail.hand_over(b"." * 2 * MAX_SIZE + b"\r\n.\r\n") == 552
        assert mail.hand_over(b"small\r\n.\r\n") == 250
    assert kept(tmp_path) == [b"small\r\n"]


def test_pipelining_and_lines_that_end_in_lf(tmp_path: Path) -> None:
    with serving(tmp_path) as address:
        for end in (b"\r\n", b"\n"):
            with MailClient(address) as mail:
                one = end.join([b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA", b""]) + b"x\r\n.\r\n"
                mail.send(b"EHLO me" + end + one + b"NOOP" + end + one + b"QUIT")
                mail.half_close()
                once = [250, 250, 354, 250]
                assert [mail.code() for _ in range(12)] == [220, 250, *once, 250, *once, 221]
    assert kept(tmp_path) == [b"x\r\n"] * 4


def test_a_message_that_does_not_end_is_not_kept(tmp_path: Path) -> None:
    with serving(tmp_path) as address, client(address) as mail:
        assert mail.say("MAIL FROM:<a@b.c>", "RCPT TO:<d@e.f>", "DATA") == [250, 250, 354]
        mail.send(b"half\r\n.")
        mail.half_close()
        assert mail.rest() == b""
    assert kept(tmp_path) == []


def test_silence_is_ended_with_a_word(tmp_path: Path) -> None:
    with (
        serving(tmp_path, timeout=0.2) as address,
        client(address) as mail,
        client(address) as other,
    ):
        other.send(b"NOOP")
        assert mail.say("MAIL FROM:<a@b.c>", "RCPT TO:<d@e.f>", "DATA") == [250, 250, 354]
        mail.send(b"half")
        assert mail.rest() == b"421 Timeout\r\n"
        assert other.rest() == b"421 Timeout\r\n"
    assert kept(tmp_path) == []


def test_wrong_commands_end_the_conversation(tmp_path: Path) -> None:
    with serving(tmp_path) as address, client(address) as mail:
        assert mail.say(*[b"GET / HTTP/1.1", b"\xff", b"x" * 100_000, b"", b"\0"] * 2) == [
            500
        ] * 9 + [421]
        assert mail.rest() == b""


@pytest.mark.skipif(WINDOWS, reason="takes the folder away")
def test_a_full_disk_leaves_the_message_to_the_sender(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    folder.mkdir()
    with serving(folder) as address, client(address) as mail:
        folder.rename(tmp_path / "away")
        assert mail.hand_over(b"x\r\n.\r\n") == 451
        (tmp_path / "away").rename(folder)
        assert mail.hand_over(b"y\r\n.\r\n") == 250
    assert kept(folder) == [b"y\r\n"]


def test_envelope_is_noted(tmp_path: Path) -> None:
    with serving(tmp_path) as address, client(address) as mail:
        assert mail.say(
            "EHLO evil(\x1b", "EHLO me;by", "MAIL FROM:<ä@b> SMTPUTF8", "RCPT TO:<ö@d>", "DATA"
        ) == [
            501,
            250,
            250,
            250,
            354,
        ]
        mail.send(b".\r\n")
        assert mail.code() == 250
    [path] = tmp_path.iterdir()
    lines = path.read_bytes().decode().split("\r\n")
    assert lines[:2] == ["Return-Path: <ä@b>", "Received: from unknown ([127.0.0.1])"]
    assert re.fullmatch(r"\tby \S+ with UTF8SMTP;", lines[2])


def test_smtplib(tmp_path: Path) -> None:
    with (
        serving(tmp_path) as address,
        smtplib.SMTP(address[0], address[1], timeout=TIMEOUT) as mail,
    ):
        assert mail.sendmail("a@b.c", ["d@e.f", "g@h.i"], "Subject: x\n\n.\n..\nend") == {}
        assert mail.verify("d@e.f")[0] == 252
    assert kept(tmp_path) == [b"Subject: x\r\n\r\n.\r\n..\r\nend\r\n"]


def test_smtplib_logs_in(tmp_path: Path) -> None:
    with serving(tmp_path, user="user", password="word") as address:
        for mechanism in ("auth_plain", "auth_login"):
            with smtplib.SMTP(address[0], address[1], timeout=TIMEOUT) as mail:
                mail.ehlo()
                mail.user, mail.password = "user", "word"
                name = mechanism.removeprefix("auth_").upper()
                assert mail.auth(name, getattr(mail, mechanism))[0] == 235
        with (
            smtplib.SMTP(address[0], address[1], timeout=TIMEOUT) as mail,
            pytest.raises(smtplib.SMTPAuthenticationError),
        ):
            mail.login("user", "wrong")


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here")
def test_curl(tmp_path: Path) -> None:
    (tmp_path / "message").write_bytes(b"Subject: x\r\n\r\n.\r\n")
    (tmp_path / "mail").mkdir()
    with serving(tmp_path / "mail") as address:
        words = ["--mail-from", "a@b.c", "--mail-rcpt", "d@e.f", "-T", str(tmp_path / "message")]
        subprocess.run(
            ["curl", "-sS", f"smtp://127.0.0.1:{address[1]}", *words], check=True, timeout=TIMEOUT
        )
    assert kept(tmp_path / "mail") == [b"Subject: x\r\n\r\n.\r\n"]


@pytest.mark.skipif(WINDOWS, reason="kills")
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    with Server(SCRIPT, "--quiet", cwd=tmp_path) as server, client(server.address) as mail:
        assert mail.hand_over(b"kept\r\n.\r\n") == 250
        assert mail.say("MAIL FROM:<a@b.c>", "RCPT TO:<d@e.f>", "DATA") == [250, 250, 354]
        mail.send(b"lost\r\n")
        server.process.kill()
        server.process.wait(TIMEOUT)
    assert kept(tmp_path / "mail") == [b"kept\r\n"]


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("strace"), reason="no strace here")
def test_the_disk_has_it_before_the_client_is_told(tmp_path: Path) -> None:
    with Server(SCRIPT, "--quiet", cwd=tmp_path) as server:
        trace = [
            "strace",
            "-f",
            "-e",
            "trace=fsync,rename,sendto",
            "-o",
            str(tmp_path / "trace"),
            "-p",
        ]
        with started(
            [*trace, str(server.process.pid)], stderr=subprocess.PIPE, text=True
        ) as tracer:
            assert tracer.stderr
            if "attached" not in tracer.stderr.readline():
                pytest.skip("strace may not attach here")
            with client(server.address) as mail:
                assert mail.hand_over(b"x\r\n.\r\n") == 250
            server.stop()
            tracer.communicate(timeout=TIMEOUT)
    calls = re.findall(
        r"(fsync|rename|sendto)\((?:\d+, \"(\d+))?", (tmp_path / "trace").read_text()
    )
    assert [name for name, _ in calls][-5:-1] == ["sendto", "fsync", "rename", "fsync"]
    assert calls[-1] == ("sendto", "250")


@pytest.mark.parametrize(
    "line",
    [
        "AUTH PLAIN\tc2VjcmV0",
        "auth c2VjcmV0",
        "AUTH:PLAIN c2VjcmV0",
        " auth\tplain c2VjcmV0",
        "AUTH PLAIN  c2VjcmV0",
    ],
)
def test_no_password_in_the_log(line: str) -> None:
    assert b"c2VjcmV0" not in SECRET.sub(b"AUTH ***", line.encode())


def test_log_is_the_dialogue_without_passwords(tmp_path: Path) -> None:
    with Server(SCRIPT, "--user", "user", "--password", "hunter2", cwd=tmp_path) as server:
        with client(server.address) as mail:
            secret = base64_text("\0user\0hunter2")
            assert mail.say("AUTH LOGIN", base64_text("user"), base64_text("wrong")) == [
                334,
                334,
                535,
            ]
            assert mail.say(
                f"auth plain {secret}", "MAIL FROM:<a@b>\x1b[2J", "MAIL FROM:<a@b>"
            ) == [235, 501, 250]
            assert mail.hand_over(b"x\r\n.\r\n") == 250
            assert mail.say("QUIT") == [221]
        code, out, err = server.stop()
    assert (code, out) == (0, "")
    assert "hunter2" not in err
    assert secret not in err
    assert base64_text("wrong") not in err
    sides = re.findall(r"127\.0\.0\.1:\d+ ([CS]: .*)", err)
    for line in (
        "S: 334 VXNlcm5hbWU6",
        "C: ***",
        "C: AUTH ***",
        r"C: MAIL FROM:<a@b>\x1b[2J",
        "C: QUIT",
    ):
        assert line in sides
    assert "C: (a message of 3 bytes)" in sides
    assert re.search(r"\.eml is for d@e\.f$", err, re.MULTILINE)


def test_wrong_usage(tmp_path: Path) -> None:
    assert called(SCRIPT, ["--user", "x"]).returncode == 2
    (tmp_path / "file").touch()
    result = command(SCRIPT, "--directory", "file", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("smtp_server.py: error: cannot use file: ")
