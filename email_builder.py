"""E-mail builder: writes a message into a file, as it would be sent (RFC 5322, MIME), and reads messages.

The lines of the file end in CRLF. A header that would smuggle in another one, with a line break as it is or inside an
encoded word, is refused, and so is what is no address. The finished message is read back and its headers counted.

Try it:

    python3 email_builder.py
    python3 email_builder.py --to ada@example.com --subject 'Grüße' --body - --attach notes.txt < letter.txt
    python3 email_builder.py --read test_email.eml
"""

import argparse
import email
import email.policy
import io
import mimetypes
import os
import re
import secrets
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.contentmanager import raw_data_manager
from email.errors import MessageError
from email.header import Header, decode_header, make_header
from email.headerregistry import Address
from email.message import EmailMessage, Message
from email.parser import BytesHeaderParser
from email.utils import formatdate, make_msgid
from typing import BinaryIO

SUBJECT = "Advanced Python Test"
SENDER = "me@example.com"
RECIPIENT = "you@example.com"
BODY = "This is a test email sent from Python."
OUTPUT = "test_email.eml"
POLICY = email.policy.compat32.clone(linesep="\r\n", cte_type="7bit")  # a body that any server passes on
CRLF = "\r\n"

ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
LABEL = r"[A-Za-z0-9\x80-\U0010ffff]([A-Za-z0-9\x80-\U0010ffff-]*[A-Za-z0-9\x80-\U0010ffff])?"
MAILBOX = re.compile(rf"({ATOM}(?:\.{ATOM})*)@((?:{LABEL})(?:\.(?:{LABEL}))*|\[[0-9A-Fa-f.:IPv]+\])")


def clean(text: str) -> str:
    """Return the value of a header as it is. Raises ValueError for a character that could end it, also encoded."""
    meanings = [text]
    with suppress(MessageError, ValueError, LookupError):
        for part, charset in decode_header(text):
            if isinstance(part, bytes):
                meanings.append(part.decode("ascii", "ignore"))
                meanings.append(part.decode(charset or "ascii", "ignore"))
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in "".join(meanings)):
        raise ValueError(f"a control character in a header: {text!r}")
    return text


def address(text: str) -> Address:
    """Return what `ada@example.com` or `Ada Lovelace <ada@example.com>` means. Raises ValueError if it is none."""
    name, mark, rest = clean(text).strip().rpartition("<")
    match = MAILBOX.fullmatch(rest.removesuffix(">") if mark and rest.endswith(">") else text.strip())
    name = " ".join(name.split())
    if name[:1] == name[-1:] == '"' and len(name) > 1:
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    elif set(name) & set("<>"):
        match = None
    wrong = f"not an address: {text!r}; want ada@example.com or Ada <ada@example.com>"
    if not match or len(match[1].encode()) > 64 or len(match[0].encode()) > 254:
        raise ValueError(wrong)
    local, domain = match[1], match[2]
    plain = domain.encode("idna").decode()  # RFC 5890; what it becomes has to be a domain, too
    if not MAILBOX.fullmatch(f"x@{plain}"):
        raise ValueError(wrong)
    return Address(name, local, plain if local.isascii() else domain)


def head(subject: str, sender: Address, to: list[Address], cc: list[Address]) -> bytes:
    """Return the headers of a message, which is sent now, in the words of RFC 5322. Raises ValueError.

    What is not ASCII is encoded (RFC 2047), unless an address cannot be: then everything is UTF-8 (RFC 6532).
    """
    wide = not all(one.addr_spec.isascii() for one in [sender, *to, *cc])

    def worded(text: str) -> str:
        plain = wide or (text.isascii() and "=?" not in text and all(len(word) < 60 for word in text.split()))
        return text if wide else Header(text, None if plain else "utf-8", header_name="Subject").encode(linesep=CRLF)

    def people(addresses: list[Address]) -> str:
        forms = []
        for one in addresses:
            name = worded(one.display_name)
            forms.append(f"{name} <{one.addr_spec}>" if name.startswith("=?") else str(one))  # the latter adds quotes
        return f",{CRLF} ".join(forms)

    lines = [f"Subject: {worded(clean(subject).strip())}", f"From: {people([sender])}", f"To: {people(to)}"]
    lines += [f"Cc: {people(cc)}"] if cc else []
    domain = sender.domain.encode("idna").decode()
    lines += [f"Date: {formatdate(localtime=True)}", f"Message-ID: {make_msgid(domain=domain)}", ""]
    return CRLF.join(lines).encode()


def build(args: argparse.Namespace, body: str) -> bytes:
    """Return the message that the command line asks for. Raises ValueError, and OSError for an attachment."""
    top = head(args.subject, address(args.sender), [*map(address, args.to)], [*map(address, args.cc)])
    message = EmailMessage(POLICY)
    message.set_content(body, content_manager=raw_data_manager)
    if args.html:
        message.add_alternative(args.html, subtype="html", content_manager=raw_data_manager)
    for path in args.attach:
        name = clean(os.path.basename(path))
        kind, encoding = mimetypes.guess_type(name)
        if encoding or not kind or kind.startswith(("message/", "multipart/")):
            kind = "application/octet-stream"
        maintype, _, subtype = kind.partition("/")
        with open(path, "rb") as file:
            message.add_attachment(file.read(), maintype, subtype, filename=name, content_manager=raw_data_manager)
    return check(top + bytes(message), ["Cc"] if args.cc else [])


def check(wire: bytes, more: list[str]) -> bytes:
    """Return a finished message as it is. Raises ValueError if it has not exactly the headers that it should."""
    message = email.message_from_bytes(wire)
    wanted = {"Subject", "From", "To", "Date", "Message-ID", *more}
    about = {"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-Disposition"}
    names = [name for name, _ in message.items() if name not in about]
    inner = {name for part in message.walk() if part is not message for name, _ in part.items()}
    if len(names) != len(wanted) or set(names) != wanted or not inner <= about:
        raise ValueError("the message would not have the headers that it should")
    return wire


def parsed(wire: bytes) -> Message:
    """Return any message, of one part if the library cannot take it apart."""
    try:
        return email.message_from_bytes(wire)
    except (TypeError, ValueError):  # of contradictory parameters, for one
        return BytesHeaderParser().parsebytes(wire)


def header_lines(message: Message) -> Iterator[str]:
    """Yield the headers of any message, decoded as far as that is possible."""
    for name, raw in message.raw_items():
        value = re.sub(r"\r?\n[ \t]*", " ", str(raw).encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
        with suppress(LookupError, ValueError, MessageError):
            value = str(make_header(decode_header(value)))
        yield f"{name}: {value}"


def parts(message: Message) -> Iterator[Message]:
    """Yield the parts of a message that hold something; a message in it is one of them."""
    if message.get_content_maintype() == "multipart" and message.is_multipart():
        for part in message.get_payload():
            yield from parts(part) if isinstance(part, Message) else ()
    else:
        yield message


def content(part: Message) -> bytes:
    """Return what a part holds, unpacked."""
    data = b"".join(map(bytes, part.get_payload())) if part.is_multipart() else part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def body_and_attachments(message: Message) -> tuple[str, list[str]]:
    """Return the text, or else the HTML, of any message, and a line about each of the other parts."""
    bodies: dict[str, str] = {}
    attachments = []
    for part in parts(message):
        data, kind, name, attached = b"", "text/plain", None, False
        with suppress(Exception):
            data, kind = content(part), part.get_content_type()
            attached = part.get_content_disposition() == "attachment"
            name = part.get_filename()
        if kind in ("text/plain", "text/html") and kind not in bodies and not (name or attached):
            try:
                bodies[kind] = data.decode(part.get_content_charset("utf-8"), "replace")
            except (LookupError, TypeError, ValueError):
                bodies[kind] = data.decode("latin-1")
        else:
            attachments.append(f"{name or 'without a name'} ({kind}, {len(data)} bytes)")
    return bodies.get("text/plain", bodies.get("text/html", "")), attachments


def stdin_text() -> str:
    """Return what is on stdin. Raises ValueError if that is not UTF-8."""
    try:
        return (sys.stdin.buffer.read() if sys.stdin else b"").decode()
    except UnicodeDecodeError:
        raise ValueError("stdin is not UTF-8") from None


@contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` at the end, or vanishes if an exception is raised. Raises OSError."""
    if os.path.exists(path) and not os.path.isfile(path):  # a terminal, say, is written to
        with open(path, "wb") as file:
            yield file
        return
    if os.path.islink(path):  # which stays one
        path = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(path), f".{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
        with suppress(OSError):
            os.chmod(temporary, os.stat(path).st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            error.filename = path
        raise


def show(line: str | bytes) -> None:
    """Print a line at once, with escapes for what the terminal cannot show; end here if nobody reads on (`| head`)."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
        if args.read is None:
            wire = build(args, stdin_text() if args.body == "-" else args.body)
            with replacing(args.output) as file:
                file.write(wire)
        path = args.output if args.read is None else args.read
        if args.read is not None or os.path.isfile(path):
            with open(path, "rb") as file:
                wire = file.read()
        message = parsed(wire)
        for line in header_lines(message):
            if args.read is not None or line.startswith("Subject:"):
                show(line)
        text, attachments = body_and_attachments(message)
        show("")
        for line in io.StringIO(text, newline=None):
            show(line.removesuffix("\n").expandtabs())
        for number, line in enumerate(attachments, 1):
            show(f"Attachment {number}: {line}")
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return fail(f"{error.filename or 'cannot read or write'}: {error.strerror}")
    except (ValueError, MessageError, RecursionError) as error:
        return fail(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
