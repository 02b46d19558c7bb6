"""E-mail builder: writes a message into a file, as it would be sent (RFC 5322, MIME), and reads messages.

The lines of the file end in CRLF. A header that would smuggle in another one, with a line break as it is or inside an
encoded word, is refused, and so is what is no address. The finished message is read back and compared.

Try it:

    python3 email_builder.py
    python3 email_builder.py --to ada@example.com --subject 'Grüße' --body - --attach notes.txt < letter.txt
    python3 email_builder.py --read test_email.eml
"""

import argparse
import email.policy
import mimetypes
import os
import re
import secrets
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from email.errors import MessageError
from email.header import decode_header, make_header
from email.headerregistry import Address
from email.message import EmailMessage, MIMEPart
from email.utils import make_msgid
from typing import BinaryIO

SUBJECT = "Advanced Python Test"
SENDER = "me@example.com"
RECIPIENT = "you@example.com"
BODY = "This is a test email sent from Python."
OUTPUT = "test_email.eml"
POLICY = email.policy.SMTP.clone(cte_type="7bit")  # CRLF, and a body that any server passes on

ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
LABEL = r"[A-Za-z0-9\x80-\U0010ffff]([A-Za-z0-9\x80-\U0010ffff-]*[A-Za-z0-9\x80-\U0010ffff])?"
MAILBOX = re.compile(rf"({ATOM}(?:\.{ATOM})*)@((?:{LABEL})(?:\.(?:{LABEL}))*|\[[0-9A-Fa-f.:IPv]+\])")


def clean(text: str) -> str:
    """Return the value of a header as it is. Raises ValueError for a character that could end it, also encoded."""
    decoded = text
    with suppress(LookupError, ValueError, MessageError):
        decoded = str(make_header(decode_header(text)))
    for form in (text, decoded):
        for character in form:
            if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
                raise ValueError(f"{character!r} in a header: {text!r}")
    return text


def address(text: str) -> Address:
    """Return what `ada@example.com` or `Ada Lovelace <ada@example.com>` means. Raises ValueError if it is none."""
    name, mark, rest = clean(text).strip().rpartition("<")
    mailbox = MAILBOX.fullmatch(rest.removesuffix(">") if mark and rest.endswith(">") else text.strip())
    if not mailbox or set(name) & set("<>") or len(mailbox[1].encode()) > 64 or len(mailbox[0].encode()) > 254:
        raise ValueError(f"not an address: {text!r}; want ada@example.com or Ada <ada@example.com>")
    name = " ".join(name.split())
    if name[:1] == name[-1:] == '"' and len(name) > 1:
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    local, domain = mailbox[1], mailbox[2]
    return Address(name, local, domain.encode("idna").decode() if local.isascii() else domain)  # RFC 5890, or RFC 6532


def build(args: argparse.Namespace, body: str, now: datetime) -> EmailMessage:
    """Return the message that the command line asks for. Raises ValueError, and OSError for an attachment."""
    sender, to, cc = address(args.sender), [*map(address, args.to)], [*map(address, args.cc)]
    wide = not all(one.addr_spec.isascii() for one in [sender, *to, *cc])
    message = EmailMessage(POLICY.clone(utf8=True) if wide else POLICY)  # RFC 6532
    message["Subject"] = clean(args.subject).strip()
    message["From"] = sender
    message["To"] = to
    if cc:
        message["Cc"] = cc
    message["Date"] = now
    message["Message-ID"] = make_msgid(domain=sender.domain.encode("idna").decode())
    message.set_content(body)
    if args.html:
        message.add_alternative(args.html, subtype="html")
    for path in args.attach:
        kind, encoding = mimetypes.guess_type(path)
        if encoding or not kind or kind.startswith(("message/", "multipart/")):
            kind = "application/octet-stream"
        with open(path, "rb") as file:
            maintype, subtype = kind.split("/")
            message.add_attachment(file.read(), maintype, subtype, filename=clean(os.path.basename(path)))
    return message


def check(message: EmailMessage) -> bytes:
    """Return the message as bytes. Raises ValueError if they mean anything but the headers that were meant."""
    wire = bytes(message)
    back = email.message_from_bytes(wire, policy=message.policy)
    if [(name, str(value)) for name, value in back.items()] != [(name, str(value)) for name, value in message.items()]:
        raise ValueError("the message would not have the headers that it should")
    return wire


def header_lines(message: EmailMessage) -> Iterator[str]:
    """Yield the headers of any message, decoded as far as that is possible."""
    for name, raw in message.raw_items():
        value = raw
        with suppress(Exception):  # the parser of headers has not seen everything either
            value = str(message.policy.header_fetch_parse(name, raw)).replace("\t", " ")
        yield f"{name}: {value}"


def parts(message: MIMEPart) -> Iterator[MIMEPart]:
    """Yield the parts of a message that hold something; a message in it is one of them."""
    if message.get_content_maintype() == "multipart" and message.is_multipart():
        for part in message.iter_parts():
            yield from parts(part)
    else:
        yield message


def content(part: MIMEPart) -> bytes:
    """Return what a part holds, unpacked."""
    data = b"".join(map(bytes, part.iter_parts())) if part.is_multipart() else part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def body_and_attachments(message: EmailMessage) -> tuple[str, list[str]]:
    """Return the text, or else the HTML, of any message, and a line about each of the other parts."""
    bodies: dict[str, str] = {}
    attachments = []
    for part in parts(message):
        data, kind, name = b"", "text/plain", None
        with suppress(Exception):
            data, kind = content(part), part.get_content_type()
            name = part.get_filename()
        if kind in ("text/plain", "text/html") and kind not in bodies and not name:
            try:
                bodies[kind] = data.decode(part.get_content_charset("utf-8"), "replace")
            except (LookupError, ValueError):
                bodies[kind] = data.decode("latin-1")
        else:
            attachments.append(f"{name or 'without a name'} ({kind}, {len(data)} bytes)")
    return bodies.get("text/plain", bodies.get("text/html", "")), attachments


def read(path: str) -> EmailMessage:
    """Return the message in a file. Raises OSError."""
    with open(path, "rb") as file:
        return email.message_from_binary_file(file, _class=EmailMessage, policy=email.policy.default)


@contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` at the end, or vanishes if an exception is raised. Raises OSError."""
    if os.path.exists(path) and not os.path.isfile(path):  # a terminal, say, is written to
        with open(path, "wb") as file:
            yield file
        return
    path = os.path.realpath(path)  # a symbolic link stays one
    temporary = os.path.join(os.path.dirname(path), f".{secrets.token_hex(8)}.part")
    with open(temporary, "xb") as file:
        try:
            yield file
            file.close()
            os.replace(temporary, path)
        except BaseException:
            file.close()
            os.unlink(temporary)
            raise


def show(line: str | bytes) -> None:
    """Print a line at once, with escapes for what the terminal cannot show; end here if nobody reads on (`| head`)."""
    encoding = getattr(sys.stdout, "encoding", "utf-8")
    try:
        print(escape(line).encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        sys.exit(0)


def escape(text: str | bytes) -> str:
    """Return `text` with backslash escapes for all that could steer a terminal or forge a line."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def fail(reason: str) -> int:
    """Say on stderr, in one line, why the job failed; return the exit status."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in reason)
    if sys.stderr:
        print(f"{os.path.basename(sys.argv[0])}: error: {line}", file=sys.stderr)
    return 1


def main(argv: list[str] | None = None) -> int:
    about = (__doc__ or "").replace("%", "%%")
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", default=SUBJECT, metavar="TEXT", help="default: %(default)s")
    parser.add_argument("--from", dest="sender", default=SENDER, metavar="ADDRESS", help="default: %(default)s")
    parser.add_argument("--to", action="append", metavar="ADDRESS", help=f"can be repeated (default: {RECIPIENT})")
    parser.add_argument("--cc", action="append", default=[], metavar="ADDRESS", help="can be repeated")
    parser.add_argument("--body", default=BODY, metavar="TEXT", help="-: from stdin (default: %(default)s)")
    parser.add_argument("--html", metavar="TEXT", help="the same as HTML, for readers that show it")
    parser.add_argument("--attach", action="extend", nargs="+", default=[], metavar="FILE")
    parser.add_argument("--output", default=OUTPUT, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--read", metavar="FILE", help="only show the message in this file")
    args = parser.parse_args(argv)
    args.to = args.to or [RECIPIENT]
    try:
        if args.read is not None:
            message = read(args.read)
            for line in header_lines(message):
                show(line)
        else:
            body = sys.stdin.read() if args.body == "-" else args.body
            wire = check(build(args, body, datetime.now().astimezone()))
            with replacing(args.output) as file:
                file.write(wire)
            message = read(args.output)
            show(f"Subject: {message['Subject']}")
        text, attachments = body_and_attachments(message)
        show("")
        for line in text.splitlines():
            show(line.expandtabs())
        for number, line in enumerate(attachments, 1):
            show(f"Attachment {number}: {line}")
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}")
    except (ValueError, MessageError, RecursionError) as error:
        return fail(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
