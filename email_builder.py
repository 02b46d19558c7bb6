"""E-mail builder: writes messages to files, as they are sent, and reads them.

The lines of the file end in CRLF (RFC 5322, MIME). A value that would smuggle
in another header, with a line break that is plain or encoded, is refused, and
so is anything that is not an address.

Try it:

    python3 email_builder.py
    python3 email_builder.py --read test_email.eml
    echo 'Liebe Ada' | python3 email_builder.py --subject Hello --body -

Left out: signatures and encryption (S/MIME, DKIM, PGP).

Experiment:

    - raise ValueError(f"control character in a header: {text!r}")
    + pass
    `pytest -k "email_builder and injection"` fails: a line break in a value,
    even an encoded one, begins another header, such as Bcc.
"""

import argparse
import base64
import binascii
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
from email.header import Header, decode_header
from email.headerregistry import Address
from email.message import EmailMessage, Message
from email.parser import BytesHeaderParser
from email.utils import formatdate, make_msgid
from itertools import groupby
from typing import BinaryIO

SUBJECT = "Advanced Python Test"
SENDER = "me@example.com"
RECIPIENT = "you@example.com"
BODY = "This is a test email sent from Python."
OUTPUT = "test_email.eml"
POLICY = email.policy.compat32.clone(linesep="\r\n", cte_type="7bit")  # any server passes it on
WORD = r"=\?([^?*\s]+)(?:\*[^?\s]*)?\?([BbQq])\?([^?]*)\?="  # an encoded word (RFC 2047)

ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
LETTER = r"[A-Za-z0-9\x80-\U0010ffff]"
LABEL = rf"{LETTER}(?:[A-Za-z0-9\x80-\U0010ffff-]*{LETTER})?"
MAILBOX = re.compile(rf"({ATOM}(?:\.{ATOM})*)@({LABEL}(?:\.{LABEL})*|\[[0-9A-Fa-f.:IPv]+\])")


def build(args: argparse.Namespace, body: str) -> bytes:
    """Return the message that the command line describes. Raises ValueError; OSError for a file."""
    sender, to = parse_address(args.sender), [*map(parse_address, args.to)]
    headers = format_headers(args.subject, sender, to, [*map(parse_address, args.cc)])
    message = EmailMessage(POLICY)
    message.set_content(body, content_manager=raw_data_manager)
    if args.html:
        message.add_alternative(args.html, subtype="html", content_manager=raw_data_manager)
    for path in args.attach:
        name = check_header(os.path.basename(path))
        kind, encoding = mimetypes.guess_type(name)
        if encoding or not kind or kind.startswith(("message/", "multipart/")):
            kind = "application/octet-stream"
        maintype, _, subtype = kind.partition("/")
        with open(path, "rb") as file:
            message.add_attachment(
                file.read(), maintype, subtype, filename=name, content_manager=raw_data_manager
            )
    return check_message(headers + bytes(message), ["Cc"] if args.cc else [])


def check_message(data: bytes, more: list[str]) -> bytes:
    """Return `data` as it is. Raises ValueError if it has other headers than it should.

    The second lock on the door: whatever came in as a value must not have become a header.
    """
    message = email.message_from_bytes(data)
    expected = {"Subject", "From", "To", "Date", "Message-ID", *more}
    mime = {"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-Disposition"}
    names = [name for name in message if name not in mime]
    inner = {name for part in message.walk() if part is not message for name in part}
    if len(names) != len(expected) or set(names) != expected or not inner <= mime:
        raise ValueError("the message would not have the headers that it should")
    return data


def parse_message(data: bytes) -> Message:
    """Return any message, as a single part if the library cannot take it apart."""
    try:
        return email.message_from_bytes(data)
    except (TypeError, ValueError):  # of contradictory parameters, for example
        return BytesHeaderParser().parsebytes(data)


def read_headers(message: Message) -> Iterator[str]:
    """Yield the headers of any message, decoded as far as possible."""
    for name, value in message.raw_items():
        line = re.sub(r"\r?\n[ \t]*", " ", str(value))  # it may be folded
        yield f"{name}: {decode_words(line)}"


def decode_words(text: str) -> str:
    """Return `text` with its encoded words decoded (RFC 2047), as far as possible.

    By hand, since email.header gives up the whole header for one wrong byte.
    """

    def decode(match: re.Match[str]) -> str:
        result = ""
        for charset, words in groupby(re.findall(WORD, match[0]), lambda word: word[0].lower()):
            data = b"".join(decode_word(encoding, text) for _, encoding, text in words)
            codec = {"gb2312": "gb18030"}.get(charset, charset)  # which mail often means by it
            try:
                result += data.decode(codec, "replace")
            except (LookupError, ValueError):
                return match[0]
        return result

    text = re.sub(rf"{WORD}(?:\s*{WORD})*", decode, text)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def decode_word(encoding: str, text: str) -> bytes:
    """Return the bytes in the text of an encoded word."""
    data = text.encode("utf-8", "surrogateescape")
    if encoding in "Qq":
        return binascii.a2b_qp(data, header=True)
    with suppress(ValueError):
        return base64.b64decode(data + b"===")
    return data


def leaf_parts(message: Message) -> Iterator[Message]:
    """Yield the parts of a message that hold content; an attached message is one of them."""
    if message.get_content_maintype() == "multipart" and message.is_multipart():
        for part in message.get_payload():
            yield from leaf_parts(part) if isinstance(part, Message) else ()
    else:
        yield message


def part_content(part: Message) -> bytes:
    """Return what a part holds, decoded."""
    if part.is_multipart():
        return b"".join(map(bytes, part.get_payload()))
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def read_parts(message: Message) -> tuple[str, list[str]]:
    """Return the text of any message, or else its HTML, and a line about each other part."""
    bodies: dict[str, str] = {}
    attachments = []
    for part in leaf_parts(message):
        data, kind, name, attached = b"", "text/plain", None, False
        with suppress(Exception):  # mail is found in forms that the library never expected
            data, kind = part_content(part), part.get_content_type()
            attached = part.get_content_disposition() == "attachment"
            name = decode_words(part.get_filename() or "")
        if kind in ("text/plain", "text/html") and kind not in bodies and not (name or attached):
            try:
                bodies[kind] = data.decode(part.get_content_charset("utf-8"), "replace")
            except (LookupError, TypeError, ValueError):
                bodies[kind] = data.decode("latin-1")
        else:
            attachments.append(f"{name or 'without a name'} ({kind}, {len(data)} bytes)")
    text = bodies.get("text/plain", "")
    return text if text.strip() else bodies.get("text/html", text), attachments


def check_header(text: str) -> str:
    """Return `text`, unless it could end a header and begin another one: then raise ValueError.

    A line break may be encoded (RFC 2047): =?UTF-8?Q?=0A?= is one, and EmailMessage of Python
    3.11 writes it into the header as it is.
    """
    meanings = [text]
    with suppress(MessageError, ValueError, LookupError):
        for part, charset in decode_header(text):
            if isinstance(part, bytes):
                meanings.append(part.decode("ascii", "ignore"))
                meanings.append(part.decode(charset or "ascii", "ignore"))
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in "".join(meanings)):
        raise ValueError(f"control character in a header: {text!r}")
    return text


def parse_address(text: str) -> Address:
    """Parse `ada@example.com` or `Ada <ada@example.com>`. Raises ValueError."""
    name, bracket, rest = check_header(text).strip().rpartition("<")
    mailbox = rest.removesuffix(">") if bracket and rest.endswith(">") else text.strip()
    match = MAILBOX.fullmatch(mailbox)
    name = " ".join(name.split())
    if name[:1] == name[-1:] == '"' and len(name) > 1:
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    elif set(name) & set("<>"):
        match = None
    wrong = f"not an address: {text!r}; expected ada@example.com or Ada <ada@example.com>"
    if not match or len(match[1].encode()) > 64 or len(match[0].encode()) > 254:  # RFC 5321
        raise ValueError(wrong)
    local, domain = match[1], match[2]
    try:
        ascii_domain = domain.encode("idna").decode()  # RFC 5890
    except UnicodeError:
        ascii_domain = ""  # too long, for example
    if not MAILBOX.fullmatch(f"x@{ascii_domain}"):
        raise ValueError(wrong)
    return Address(name, local, ascii_domain if local.isascii() else domain)


def format_headers(subject: str, sender: Address, to: list[Address], cc: list[Address]) -> bytes:
    """Return the headers of a message that is written now (RFC 5322). Raises ValueError.

    What is not ASCII becomes an encoded word (RFC 2047). An address cannot: if one is not ASCII,
    all headers are in UTF-8 (RFC 6532). EmailMessage is not used here, since it breaks some long
    names in the middle of a word.
    """
    utf8 = not all(address.addr_spec.isascii() for address in [sender, *to, *cc])

    def encode(text: str) -> str:
        if utf8:
            return text
        plain = text.isascii() and "=?" not in text and all(len(word) < 60 for word in text.split())
        charset = None if plain else "utf-8"
        return Header(text, charset, header_name="Subject").encode(linesep="\r\n")

    def join(addresses: list[Address]) -> str:
        forms = []
        for address in addresses:
            name = encode(address.display_name)
            encoded = f"{name} <{address.addr_spec}>"
            forms.append(encoded if name.startswith("=?") else str(address))  # str() adds quotes
        return ",\r\n ".join(forms)

    domain = sender.domain.encode("idna").decode()
    lines = [f"Subject: {encode(check_header(subject).strip())}", f"From: {join([sender])}"]
    lines += [f"To: {join(to)}", *([f"Cc: {join(cc)}"] if cc else [])]
    lines += [f"Date: {formatdate(localtime=True)}", f"Message-ID: {make_msgid(domain=domain)}", ""]
    return "\r\n".join(lines).encode()


def read_stdin() -> str:
    """Return the text of stdin. Raises ValueError if it is not UTF-8."""
    try:
        return (sys.stdin.buffer.read() if sys.stdin else b"").decode()
    except UnicodeDecodeError:
        raise ValueError("stdin is not UTF-8") from None


# The rest is output and the command line.


@contextmanager
def atomic_write(path: str) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` at the end, or vanishes if an exception is raised.

    Nobody ever sees half a file, and after a failure the old one is still there. Raises OSError.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a device, such as /dev/stdout
        with open(path, "wb") as file:
            yield file
        return
    if os.path.islink(path):  # which stays a link
        path = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(path), f".{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
        with suppress(OSError):  # there is no old file
            os.chmod(temporary, os.stat(path).st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            error.filename = path
        raise


def print_line(line: str | bytes) -> None:
    """Print a line at once, with escapes for what stdout cannot show."""
    encoding = sys.stdout.encoding
    print(escape(line).encode(encoding, "backslashreplace").decode(encoding), flush=True)


def escape(text: str | bytes) -> str:
    """Return `text` with backslash escapes for all that could control a terminal or forge a line.

    Not by str.isprintable(): it rejects spaces that Japanese and French use, and the joiners of
    Persian and of emoji.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return "".join(
        ascii(c)[1:-1]
        if unicodedata.category(c) in "Cc Cf Cs Cn Zl Zp" and c not in "\u200c\u200d"
        else c
        for c in text
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--subject", default=SUBJECT, metavar="TEXT", help="default: %(default)s")
    option("--from", dest="sender", default=SENDER, metavar="ADDRESS", help="default: %(default)s")
    option("--to", action="append", metavar="ADDRESS", help=f"repeatable (default: {RECIPIENT})")
    option("--cc", action="append", default=[], metavar="ADDRESS", help="repeatable")
    option("--body", default=BODY, metavar="TEXT", help="- for stdin (default: %(default)s)")
    option("--html", metavar="TEXT", help="the same as HTML, for readers that show it")
    option("--attach", action="extend", nargs="+", default=[], metavar="FILE", help="attach files")
    option("--output", default=OUTPUT, metavar="FILE", help="file to write (default: %(default)s)")
    option("--read", metavar="FILE", help="only print the message in this file")
    args = parser.parse_args(argv)
    args.to = args.to or [RECIPIENT]
    try:
        if args.read is None:
            data = build(args, read_stdin() if args.body == "-" else args.body)
            with atomic_write(args.output) as file:
                file.write(data)
        path = args.output if args.read is None else args.read
        if args.read is not None or os.path.isfile(path):  # and not /dev/stdout
            with open(path, "rb") as source:
                data = source.read()
        message = parse_message(data)
        for line in read_headers(message):
            if args.read is not None or line.startswith("Subject:"):
                print_line(line)
        text, attachments = read_parts(message)
        print_line("")
        for line in io.StringIO(text, newline=None):
            print_line(line.removesuffix("\n").expandtabs())
        for number, line in enumerate(attachments, 1):
            print_line(f"Attachment {number}: {line}")
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        where = escape(str(error.filename or "cannot read or write"))
        parser.exit(1, f"{parser.prog}: error: {where}: {error.strerror}\n")
    except (ValueError, MessageError, RecursionError) as error:
        parser.exit(1, f"{parser.prog}: error: {escape(str(error))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
