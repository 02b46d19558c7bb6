from __future__ import annotations

import email
import email.policy
import random
import re
import socket
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pytest

from conftest import command, free_port, running, scripted
from echo_server import serve
from smtp_client import on_the_wire, with_crlf
from test_smtp_server import serving
from web import Run

ENVELOPE = ["--host", "127.0.0.1", "--from", "a@b.c", "--to", "d@e.f"]
SHORT = ["--subject", "x", "--body", "y"]


def server(folder: Path, **changes: Any) -> AbstractContextManager[Any]:
    """Our server in this process, for messages of any size."""
    return serving(folder, **{"max_size": 10**8, **changes})


def fake(
    replies: dict[str, str], said: list[str], greeting: str = "220 fake"
) -> AbstractContextManager[Any]:
    """A server that answers a command that begins with a key with that reply, and any other with 250."""

    def handle_client(connection: socket.socket, address: object) -> str:
        with connection.makefile("rb") as lines:
            connection.sendall(greeting.encode() + b"\r\n")
            while line := lines.readline().decode().rstrip("\r\n"):
                said.append(line)
                answer = next(
                    (reply for key, reply in replies.items() if line.startswith(key)), "250 OK"
                )
                connection.sendall(answer.encode() + b"\r\n")
                if answer.startswith("354"):
                    while lines.readline() != b".\r\n":
                        pass
                    connection.sendall(replies.get(".", "250 OK").encode() + b"\r\n")
        return ""

    return running(serve, handle_client)


def message(folder: Path) -> bytes:
    """Return the only message in a folder, without what the server has put in front of it."""
    [path] = folder.iterdir()
    return re.sub(
        rb"^Return-Path: .*\r\nReceived: .*\r\n\tby .*\r\n\t.*\r\n", b"", path.read_bytes()
    )


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    folder = tmp_path / "mail"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        (b"", b".\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a\nb\r\nc\rd", b"a\r\nb\r\nc\r\nd\r\n.\r\n"),
        (b".\n..\n.a\nb.\n\n", b"..\r\n...\r\n..a\r\nb.\r\n\r\n.\r\n"),
        (b"\n.\n", b"\r\n..\r\n.\r\n"),
        (b"\r.\r", b"\r\n..\r\n.\r\n"),
        (b"\r\r\n.\n\r", b"\r\n\r\n..\r\n\r\n.\r\n"),
        (b"\0\xff", b"\0\xff\r\n.\r\n"),
    ],
)
def test_on_the_wire(text: bytes, wire: bytes) -> None:
    assert on_the_wire(with_crlf(text)) == wire


def test_subject_and_body(web: Run, mail: Path) -> None:
    with server(mail) as (_, port):
        words = [
            "--from",
            "Ada <ada@exämple.org>",
            "--to",
            "c@d",
            "é@f",
            "--to",
            "g@h",
            "--subject",
            "Grüße",
        ]
        code, out, err = web("--port", str(port), *words, "--body", ".\n\nä")
    assert (code, out, err) == (0, ["Sent to c@d", "Sent to é@f", "Sent to g@h"], "")
    parsed = email.message_from_bytes(message(mail), policy=email.policy.default)
    assert (parsed["Subject"], parsed["Date"] is None) == ("Grüße", False)
    assert str(parsed["From"]) == "Ada <ada@xn--exmple-cua.org>"
    assert parsed.get_payload(decode=True) == b".\r\n\r\n\xc3\xa4\r\n"


def test_a_file_arrives_as_it_is(web: Run, mail: Path) -> None:
    data = (
        random.Random(2).randbytes(3_000_000).replace(b"\r", b"").replace(b"\n", b"\r\n")
        + b"\r\n.\r\n..\r\n"
    )
    Path("x.eml").write_bytes(data)
    with server(mail) as (_, port):
        assert web(*ENVELOPE, "--port", str(port), "--eml", "x.eml") == (0, ["Sent to d@e.f"], "")
    assert message(mail) == data


def test_built_and_sent(web: Run, mail: Path) -> None:
    """What email_builder.py writes is what the server keeps."""
    assert command("email_builder.py", "--to", "d@e.f", "--body", ".\nä").returncode == 0
    with server(mail) as (_, port):
        assert web(*ENVELOPE, "--port", str(port), "--eml", "test_email.eml").code == 0
    assert message(mail) == Path("test_email.eml").read_bytes()


@pytest.mark.parametrize("offered", ["PLAIN LOGIN", "LOGIN", "=LOGIN PLAIN"])
def test_login(offered: str, web: Run) -> None:
    said: list[str] = []
    replies = {
        "EHLO": f"250-fake\r\n250-SIZE 1000\r\n250 AUTH{'' if offered[0] == '=' else ' '}{offered}",
        "AUTH PLAIN": "235 in",
        "AUTH LOGIN": "334 VXNlcm5hbWU6",
        "w7xzZXI=": "334 UGFzc3dvcmQ6",
        "c8OpY3JldA==": "235 in",
        "DATA": "354 go",
        "QUIT": "221 bye",
    }
    with fake(replies, said) as (_, port):
        code, out, err = web(
            *ENVELOPE, "--port", str(port), *SHORT, "--user", "üser", "--password", "sécret", "-v"
        )
    assert (code, out) == (0, ["Sent to d@e.f"])
    login = (
        ["AUTH PLAIN AMO8c2VyAHPDqWNyZXQ="]
        if "PLAIN" in offered
        else ["AUTH LOGIN", "w7xzZXI=", "c8OpY3JldA=="]
    )
    assert said[0] == "EHLO [127.0.0.1]"
    assert said[1 : 1 + len(login)] == login
    assert re.fullmatch(r"MAIL FROM:<a@b\.c> SIZE=\d+", said[1 + len(login)])
    assert said[-3:] == ["RCPT TO:<d@e.f>", "DATA", "QUIT"]
    assert "C: AUTH PLAIN ***" in err or "C: ***\nS: 334 UGFzc3dvcmQ6\nC: ***\n" in err
    for secret in ("sécret", "c8OpY3JldA", "AMO8c2VyAHPDqWNyZXQ"):
        assert secret not in err


def test_our_server_wants_a_password(web: Run, mail: Path) -> None:
    with server(mail, user="u", password="p") as (_, port):
        words = [*ENVELOPE, "--port", str(port), *SHORT]
        assert web(*words, "--user", "u", "--password", "p").code == 0
        assert "refused: 535" in web(*words, "--user", "u", "--password", "q").err
        assert "refused: 530" in web(*words).err
    assert len(list(mail.iterdir())) == 1


def test_a_message_may_have_exactly_the_size_that_is_offered(web: Run, mail: Path) -> None:
    Path("x.eml").write_bytes(b".\n" * 1000)
    with server(mail, max_size=3000) as (_, port):
        assert web(*ENVELOPE, "--port", str(port), "--eml", "x.eml").code == 0
    assert message(mail) == b".\r\n" * 1000


def test_what_a_server_repeats_of_a_password_is_masked(web: Run) -> None:
    said: list[str] = []
    replies = {
        "EHLO": "250-x\r\n250 AUTH PLAIN",
        "AUTH": "501 what is AHVzZXIAc2VjcmV0, or secret?",
    }
    with fake(replies, said) as (_, port):
        err = web(
            *ENVELOPE, "--port", str(port), *SHORT, "--user", "user", "--password", "secret", "-v"
        ).err
    assert err.count("501 what is ***, or ***?") == 2
    assert "AHVzZXIAc2VjcmV0" not in err


def test_a_reply_that_drips_is_not_waited_for(web: Run) -> None:
    def handle_client(connection: socket.socket, address: object) -> str:
        connection.settimeout(0.05)
        with suppress(ConnectionError):
            while True:
                connection.sendall(b"220-x\r\n")
                with suppress(TimeoutError):
                    if not connection.recv(1):
                        return ""
        return ""

    with running(serve, handle_client) as (_, port):
        assert (
            "no answer in time"
            in web(*ENVELOPE, "--port", str(port), *SHORT, "--timeout", "0.15").err
        )


def test_falls_back_to_helo(web: Run) -> None:
    said: list[str] = []
    with fake({"EHLO": "502 what?", "DATA": "354 go", "QUIT": "221 bye"}, said) as (_, port):
        assert web(*ENVELOPE, "--port", str(port), *SHORT).code == 0
    assert said == [
        "EHLO [127.0.0.1]",
        "HELO [127.0.0.1]",
        "MAIL FROM:<a@b.c>",
        "RCPT TO:<d@e.f>",
        "DATA",
        "QUIT",
    ]


def test_some_recipients_are_refused(web: Run) -> None:
    said: list[str] = []
    replies = {
        "RCPT TO:<no@": "550-no\r\n550 such \x1b user",
        "RCPT TO:<later@": "451 full",
        "DATA": "354 go",
    }
    with fake(replies, said) as (_, port):
        words = ["--port", str(port), *SHORT, "--to", "no@b.c", "later@b.c", "yes@b.c"]
        code, out, err = web(*ENVELOPE, *words)
        assert web(*ENVELOPE[:4], *words).out == ["Sent to yes@b.c"]
    assert (code, out) == (1, ["Sent to d@e.f", "Sent to yes@b.c"])
    assert err.splitlines() == [
        r"smtp_client.py: error: no@b.c: refused: 550 no such \x1b user",
        "smtp_client.py: error: later@b.c: refused for now, try again later: 451 full",
    ]


def test_all_recipients_are_refused(web: Run) -> None:
    said: list[str] = []
    with fake({"RCPT": "550 no", "QUIT": "221 bye"}, said) as (_, port):
        assert web(*ENVELOPE, "--port", str(port), *SHORT).code == 1
    assert said[-2:] == ["RCPT TO:<d@e.f>", "QUIT"]


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ({"EHLO": "421 busy"}, "refused for now, try again later: 421 busy"),
        ({"MAIL": "550 no"}, "refused: 550 no"),
        ({"RCPT": "421 bye"}, "refused for now, try again later: 421 bye"),
        ({"DATA": "554 no"}, "refused: 554 no"),
        ({"DATA": "250 what"}, "unexpected: 250 what"),
        ({"DATA": "354 go", ".": "452 full"}, "refused for now, try again later: 452 full"),
        ({"DATA": "354 go", ".": "552 large"}, "refused: 552 large"),
        ({"EHLO": "250-fake\r\n250 SIZE 10"}, "the message is too large"),
        ({"MAIL": "hello"}, "not a mail server"),
        ({"MAIL": "25"}, "not a mail server"),
        ({"MAIL": "250" + "x" * 5000}, "not a mail server"),
        ({"EHLO": "250-x\r\n" * 300 + "250 x"}, "a reply without end"),
    ],
)
def test_refusals(replies: dict[str, str], reason: str, web: Run) -> None:
    said: list[str] = []
    with fake(replies, said) as (_, port):
        code, out, err = web(*ENVELOPE, "--port", str(port), *SHORT)
    assert (code, out) == (1, [])
    assert err.startswith(f"smtp_client.py: error: 127.0.0.1:{port}: {reason}")
    assert err.count("\n") == 1
    assert said[-1] == "QUIT"


def test_addresses_beyond_ascii_want_smtputf8(web: Run) -> None:
    said: list[str] = []
    with fake({}, said) as (_, port):
        assert (
            "no addresses beyond ASCII"
            in web(*ENVELOPE, "--to", "é@f", "--port", str(port), *SHORT).err
        )
        assert web(*ENVELOPE, "--to", "e@ä.de", "--port", str(port), *SHORT).code == 1  # no 354
    assert said[:2] == ["EHLO [127.0.0.1]", "QUIT"]
    assert "RCPT TO:<e@xn--4ca.de>" in said


def test_silence_hangups_and_strangers(web: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        words = [*ENVELOPE, "--port", str(silent.getsockname()[1]), *SHORT, "--timeout", "0.1"]
        assert "no answer in time" in web(*words).err
        connection, _ = silent.accept()
        with connection:
            assert connection.recv(100) == b"QUIT\r\n"
    for says, reason in (
        (b"220 x\r\n", "the server hung up"),
        (b"SSH-2.0-x\r\n", "not a mail server"),
    ):
        with scripted(says) as port:
            code, out, err = web(*ENVELOPE, "--port", str(port), *SHORT)
            assert (code, out) == (1, [])
            assert reason in err
    assert "connection refused" in web(*ENVELOPE, "--port", str(free_port()), *SHORT).err


@pytest.mark.parametrize(
    "words",
    [
        ["--from", "a@b\r\nRCPT TO:<x@y>", "--to", "d@e.f", *SHORT],
        ["--from", "a@b", "--to", "d@e.f>\r\nDATA", *SHORT],
        ["--from", "a@b", "--to", "d@e.f", "--subject", "x\r\nBcc: y@z"],
        ["--from", "a@b", "--to", "d@e.f", "--subject", "=?UTF-8?Q?=0A?=Bcc: y@z"],
        ["--from", "a", "--to", "d@e.f", *SHORT],
        ["--from", "a@b", "--to", "", *SHORT],
        ["--from", "a@b", "--to", "d@e.f", "--eml", "none"],
    ],
)
def test_refuses_before_it_connects(words: list[str], web: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        code, out, err = web(
            "--host", "127.0.0.1", "--port", str(listener.getsockname()[1]), *words
        )
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert (code, out, err.count("\n")) == (1, [], 1)


@pytest.mark.parametrize(
    "words", [[], ["--body", "x", "--eml", "y"], ["--body", "x", "--user", "u"]]
)
def test_wrong_usage(words: list[str], web: Run) -> None:
    with pytest.raises(SystemExit, match="2"):
        web(*ENVELOPE, *words)


@pytest.mark.big
def test_refused_in_the_middle_of_a_message(tmp_path: Path) -> None:
    def handle_client(connection: socket.socket, address: object) -> str:
        with connection.makefile("rb") as lines:
            connection.sendall(b"220 fake\r\n")
            while not lines.readline().startswith(b"DATA"):
                connection.sendall(b"250 OK\r\n")
            connection.sendall(b"354 go on\r\n")
            lines.readline()
            connection.sendall(b"552 too big for me\r\n")
            connection.shutdown(socket.SHUT_RDWR)
        return ""

    (tmp_path / "big.eml").write_bytes(b"Subject: x\r\n\r\n" + b"x" * 50_000_000)
    with running(serve, handle_client) as address:
        words = [
            *ENVELOPE,
            "--port",
            str(address[1]),
            "--eml",
            str(tmp_path / "big.eml"),
            "--timeout",
            "0.5",
        ]
        result = command("smtp_client.py", *words)
    assert (result.returncode, result.stdout) == (1, "")
    assert "refused: 552 too big for me" in result.stderr
