from __future__ import annotations

import email
import email.policy
import random
import sys
from datetime import datetime
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from conftest import command
from email_builder import check_header, decode_words, escape, parse_address
from web import Run

DEFAULTS = ["Subject: Advanced Python Test", "", "This is a test email sent from Python."]


def parsed(path: Path) -> EmailMessage:
    """Return the message in a file, of which all lines end in CRLF."""
    data = path.read_bytes()
    assert data.count(b"\n") == data.count(b"\r\n") == data.count(b"\r")
    return email.message_from_bytes(data, _class=EmailMessage, policy=email.policy.default)


def test_the_exercise(tmp_path: Path) -> None:
    result = command("email_builder.py", cwd=tmp_path)
    assert (result.returncode, result.stdout.splitlines(), result.stderr) == (0, DEFAULTS, "")
    message = parsed(tmp_path / "test_email.eml")
    assert [message[name] for name in ("Subject", "From", "To", "MIME-Version")] == [
        "Advanced Python Test",
        "me@example.com",
        "you@example.com",
        "1.0",
    ]
    assert (
        abs((parsedate_to_datetime(message["Date"]) - datetime.now().astimezone()).total_seconds())
        < 60
    )
    assert message["Message-ID"].endswith("@example.com>")
    assert message.get_content() == "This is a test email sent from Python.\r\n"


def test_everything(web: Run, tmp_path: Path) -> None:
    (tmp_path / "Größe.bin").write_bytes(bytes(range(256)))
    (tmp_path / "notes.txt").write_bytes(b"a\nb\r\n")
    (tmp_path / "old.eml").write_bytes(b"Subject: x\n\ny")
    words = [
        "--subject",
        "Grüße 你好 😀",
        "--from",
        '"Lovelace, Ada" <ada@example.org>',
        "--to",
        "a@b.c",
        "--to",
    ]
    words += [
        "Zoë <zoe@exämple.de>",
        "--cc",
        "d@localhost",
        "--body",
        "Zeile 1\n.\nLänge",
        "--html",
        "<p>ü",
    ]
    code, out, err = web(
        *words, "--attach", "Größe.bin", "notes.txt", "old.eml", "--output", "x.eml"
    )
    assert (code, err) == (0, "")
    assert out[:5] == ["Subject: Grüße 你好 😀", "", "Zeile 1", ".", "Länge"]
    message = parsed(tmp_path / "x.eml")
    assert message["Subject"] == "Grüße 你好 😀"
    assert [
        (one.display_name, one.addr_spec)
        for name in ("From", "To", "Cc")
        for one in message[name].addresses
    ] == [
        ("Lovelace, Ada", "ada@example.org"),
        ("", "a@b.c"),
        ("Zoë", "zoe@xn--exmple-cua.de"),
        ("", "d@localhost"),
    ]
    body, html = message.get_body(("plain",)), message.get_body(("html",))
    assert body
    assert html
    assert (body.get_content(), html.get_content()) == ("Zeile 1\r\n.\r\nLänge\r\n", "<p>ü\r\n")
    attached = {
        part.get_filename(): part.get_payload(decode=True) for part in message.iter_attachments()
    }
    assert attached == {
        "Größe.bin": bytes(range(256)),
        "notes.txt": b"a\nb\r\n",
        "old.eml": b"Subject: x\n\ny",
    }
    code, out, err = web("--read", "x.eml")
    assert (code, err) == (0, "")
    assert out[0] == "Subject: Grüße 你好 😀"
    assert out[-1] == "Attachment 3: old.eml (application/octet-stream, 13 bytes)"


def test_addresses_beyond_ascii(web: Run, tmp_path: Path) -> None:
    """They are written as they are (RFC 6532)."""
    assert web("--to", "Zoë <zoë@exämple.de>", "--subject", "ü").code == 0
    head, _, _ = (tmp_path / "test_email.eml").read_bytes().partition(b"\r\n\r\n")
    assert (
        "Subject: ü\r\nFrom: me@example.com\r\nTo: Zoë <zoë@exämple.de>\r\n".encode()
        in head + b"\r\n"
    )
    assert "To: Zoë <zoë@exämple.de>" in web("--read", "test_email.eml").out


NAMES = [
    "Société générale, Département ingénierie",
    "Dr. Jürgen Müller-Lüdenscheidt, Universität zu Köln",
    "ж" * 90,
]


@pytest.mark.parametrize("name", NAMES)
def test_long_names_and_subjects_beyond_ascii(name: str, web: Run, tmp_path: Path) -> None:
    assert web("--to", f"{name} <a@b.c>", "--subject", f"🎉 naïve {name} of {name}").code == 0
    message = parsed(tmp_path / "test_email.eml")
    assert message["Subject"] == f"🎉 naïve {name} of {name}"
    assert [one.addr_spec for one in message["To"].addresses] == ["a@b.c"]
    assert max(map(len, (tmp_path / "test_email.eml").read_bytes().split(b"\r\n"))) < 100


@pytest.mark.skipif(sys.platform != "linux", reason="such names are not possible here")
def test_no_injection_by_the_name_of_a_file(web: Run, tmp_path: Path) -> None:
    for name in ("=?utf-8*en?q?=0d=0aBcc:_x?=.txt", "a\nBcc: x.txt"):
        (tmp_path / name).touch()
        assert web("--attach", name).code == 1
    assert not (tmp_path / "test_email.eml").exists()


def test_body_from_stdin(tmp_path: Path) -> None:
    result = command("email_builder.py", "--body", "-", stdin="from\nstdin\n", cwd=tmp_path)
    assert (result.returncode, result.stdout.splitlines()) == (
        0,
        [DEFAULTS[0], "", "from", "stdin"],
    )
    result = command("email_builder.py", "--body", "one\ftwo\u2028three\n\nfour", cwd=tmp_path)
    assert result.stdout.splitlines()[2:] == ["one\\x0ctwo\\u2028three", "", "four"]


INJECTIONS = [
    "x\nBcc: a@b",
    "x\r\nBcc: a@b",
    "x\rBcc: a@b",
    "x\0",
    "x\x0bBcc: a@b",
    "x\x85Bcc: a@b",
    "x\u2028Bcc: a@b",
]
LANGUAGE = [
    "=?UTF-8*en?Q?=0D=0ABcc:_x?=",
    "=?unknown-8bit?q?=0a?=Bcc:x",
    "=?utf-16?b?AA0ACg==?=",
    "=?cp037?q?=25?=",
    "=?utf-7?q?+AAo-?=",
]
ENCODED = [
    "=?UTF-8?Q?=0A?=Bcc: a@b",
    "=?utf-8?b?DQo=?= Bcc: a@b",
    "a =?iso-8859-1?q?=0D=0ABcc:_a@b?= b",
    "=?utf-8?Q?=00?=",
]


@pytest.mark.parametrize("text", INJECTIONS + ENCODED + LANGUAGE)
def test_no_injection(text: str, web: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in a header"):
        check_header(text)
    for option, value in (
        ("--subject", text),
        ("--from", f"{text} <a@b.c>"),
        ("--to", f"{text} <a@b.c>"),
    ):
        if "\0" not in text:
            code, out, err = web(option, value)
            assert (code, out) == (1, [])
            assert err.startswith("email_builder.py: error: ")
    assert list(tmp_path.iterdir()) == []


def test_any_subject_and_name_arrives_or_is_refused(web: Run, tmp_path: Path) -> None:
    """In the finished message nothing has come or gone, whatever they hold."""
    chance = random.Random(7)
    pieces = [
        "a",
        "B c",
        "ä",
        "😀",
        " ",
        ",",
        ";",
        '"',
        "\\",
        "<",
        "(",
        ")",
        "@",
        "=?",
        "?=",
        "_",
        ":",
        "x" * 40,
        "é ",
    ]
    written = 0
    for _ in range(150):
        subject, name = (
            "".join(chance.choices(pieces, k=chance.randrange(9))).strip() for _ in range(2)
        )
        code, _, err = web("--subject", subject, "--from", f"{name} <me@example.com>")
        assert code == 0 or "would not have the headers" in err or "not an address" in err
        if code == 0:
            written += 1
            message = parsed(tmp_path / "test_email.eml")
            assert message["Subject"] == subject
            assert [one.addr_spec for one in message["From"].addresses] == ["me@example.com"]
            names = "Subject From To Date Message-ID Content-Type Content-Transfer-Encoding MIME-Version"
            assert list(message.keys()) == names.split()
    assert written > 100


GOOD = [
    "a@b",
    "a.b+c@d-e.f",
    "A B <a@b>",
    '"A, \\"B\\"" <a@b>',
    "<a@b>",
    "ä@ö.de",
    "x@[127.0.0.1]",
    "!#$%&'*/=?^_`{|}~@b",
]
BAD = [
    "",
    "a",
    "@b",
    "a@",
    "a@b@c",
    "a b@c",
    ".a@b",
    "a..b@c",
    "a@b,c@d",
    "a@b.",
    "a@-b",
    "<a@b",
    "a@b>",
    "x" * 65 + "@b",
]


def test_addresses() -> None:
    assert [parse_address(text).addr_spec.count("@") for text in GOOD] == [1] * len(GOOD)
    assert parse_address('"A, \\"B\\"" <a@b>').display_name == 'A, "B"'
    for text in [*BAD, "a@" + "b" * 254, "A <a@b> x", "<a@b><c@d>", "a@b (x)"]:
        with pytest.raises(ValueError, match=r"not an address|in a header"):
            parse_address(text)


@pytest.mark.parametrize("text", BAD)
def test_bad_address_is_an_error(text: str, web: Run, tmp_path: Path) -> None:
    code, out, err = web("--to", text)
    assert (code, out, err.count("\n")) == (1, [], 1)
    assert list(tmp_path.iterdir()) == []


NESTED = b"".join(
    b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(3000)
)
WILD = {
    "empty": b"",
    "binary": bytes(range(256)) * 20,
    "no header": b"\nonly a body",
    "8-bit header": b"Subject: caf\xe9 \x1b[2J\n\nx\xff",
    "unknown charset": b"Content-Type: text/plain; charset=nonsense\n\nx\xff",
    "broken base64": b"Content-Transfer-Encoding: base64\n\n!!x",
    "unknown encoding": b"Content-Transfer-Encoding: none\nContent-Type: x\n\nx",
    "broken words": b"Subject: =?utf-8?b?x?= =?nonsense?q?x?=\nFrom: =?\nTo: <<>,;:\nDate: never\n\nx",
    "no boundary": b"Content-Type: multipart/mixed\n\nx",
    "broken multipart": b"Content-Type: multipart/mixed; boundary=a\n\n--a\n\nx\n--a\nContent-Type: message/rfc822\n\n",
    "broken name": b"Content-Disposition: attachment; filename*=nonsense'x'%FF%\nContent-Type: ;\n\nx",
    "hostile": b"Subject: "
    + b"a " * 100_000
    + b"\nTo: "
    + b'"' * 100_000
    + b"\nX: "
    + b"=?utf-8?q?a?= " * 10_000,
    "two forms of a charset": b"Content-Type: text/plain; charset*=us-ascii'en'utf-8\n\nh\xc3\xa9",
    "contradictory boundary": b"Content-Type: multipart/mixed; boundary*=''a; boundary*0=a\n\n--a\n\nhe\n--a--\n",
    "undefined charset": b"Content-Type: text/plain; charset=undefined\n\nh\xc3\xa9",
    "long": b"X: " + b"y" * 100_000 + b"\n" + b"z " * 50_000,
}


@pytest.mark.parametrize("name", WILD)
def test_reads_what_is_found_in_the_wild(name: str, web: Run, tmp_path: Path) -> None:
    (tmp_path / "wild").write_bytes(WILD[name])
    code, out, err = web("--read", "wild")
    assert (code, err) == (0, "")
    assert all(escape(line) == line for line in out)


def test_attachment_without_a_name_is_no_body(web: Run, tmp_path: Path) -> None:
    attached = b"Content-Disposition: attachment\n"
    html, plain = b"--a\nContent-Type: text/html\n", b"--a\nContent-Type: text/plain\n"
    top = b"Content-Type: multipart/mixed; boundary=a\n\n"
    (tmp_path / "one").write_bytes(top + plain + b"\ncover\n" + html + attached + b"\n<b>\n--a--\n")
    (tmp_path / "two").write_bytes(
        top + html + b"\n<p>\n" + plain + attached + b"\nreport\n--a--\n"
    )
    assert web("--read", "one").out[-2:] == [
        "cover",
        "Attachment 1: without a name (text/html, 3 bytes)",
    ]
    assert web("--read", "two").out[-2:] == [
        "<p>",
        "Attachment 1: without a name (text/plain, 6 bytes)",
    ]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"=?utf-8?q?caf\xc3\xa9?=", "caf\u00e9"),
        (b"=?utf-8?q?caf\xe9?= au =?utf-8?q?l=61it?=", "caf\ufffd au lait"),
        (b"=?utf-8?b?w7x4/w==?= =?utf-8?b?eA==?=", "\u00fcx\ufffdx"),
        (b"=?gb2312?b?ouM=?=", "\u20ac"),
        (b"=?GB2312?B?zuS3rA==?=", "\u6b66\u756a"),
        (b"=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "\u00fc"),
        (b"=?nonsense?q?a?= b", "=?nonsense?q?a?= b"),
        (b"a_b =?utf-8*en?Q?c_d?= e", "a_b c d e"),
        (b"=?utf-8?b?x?= y", "x y"),
    ],
)
def test_encoded_words_are_decoded_as_far_as_possible(header: bytes, value: str) -> None:
    assert decode_words(header.decode("ascii", "surrogateescape")) == value


def test_empty_text_does_not_hide_the_html(web: Run, tmp_path: Path) -> None:
    top = b"Content-Type: multipart/alternative; boundary=a\n\n"
    html, plain = b"--a\nContent-Type: text/html\n\n<p>x\n", b"--a\nContent-Type: text/plain\n\n \n"
    (tmp_path / "mail").write_bytes(top + plain + html + b"--a--\n")
    assert web("--read", "mail").out[-1] == "<p>x"


def test_names_of_attachments_may_be_encoded_words(web: Run, tmp_path: Path) -> None:
    name = b'Content-Disposition: attachment; filename="=?utf-8?B?R3LDvMOfZS50eHQ=?="\n\nx'
    (tmp_path / "mail").write_bytes(name)
    assert (
        web("--read", "mail").out[-1] == "Attachment 1: Gr\u00fc\u00dfe.txt (text/plain, 1 bytes)"
    )


def test_ordinary_text_is_not_escaped(web: Run) -> None:
    """Spaces of Japanese and French, joiners of Persian and emoji; but what turns text around is."""
    text = "\u3042\u3000\u3044 10\u202f000\u00a0\u20ac \u0645\u06cc\u200c\u062e \U0001f468\u200d\U0001f469"
    assert web("--body", text).out[-1] == text
    assert web("--body", "a\u202eb\u2066\u200f").out[-1] == "a\\u202eb\\u2066\\u200f"


def test_nested_too_deeply(web: Run, tmp_path: Path) -> None:
    (tmp_path / "wild").write_bytes(NESTED)
    code, _, err = web("--read", "wild")
    assert code in (0, 1)
    assert err.count("\n") == code


def test_files_that_are_not_there(web: Run, tmp_path: Path) -> None:
    missing = "none: No such file or directory"
    assert web("--read", "none") == (1, [], f"email_builder.py: error: {missing}\n")
    assert web("--attach", "none") == (1, [], f"email_builder.py: error: {missing}\n")
    (tmp_path / "test_email.eml").write_text("old")
    assert web("--to", "x").code == 1
    assert (tmp_path / "test_email.eml").read_text() == "old"
    assert web("--output", "no/folder").code == 1
