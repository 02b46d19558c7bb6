"""SMTP client: sends one message, and says which recipients it is accepted for.

    S: 220 mail.example.org ready
    C: EHLO [127.0.0.1]
    S: 250-mail.example.org
    S: 250 SIZE 10485760
    C: MAIL FROM:<ada@example.com> SIZE=123
    S: 250 OK
    C: RCPT TO:<charles@example.org>
    S: 250 OK
    C: DATA
    S: 354 Go ahead
    C: (the message, with CRLF; a line that begins with a dot gets another)
    C: .
    S: 250 OK
    C: QUIT
    S: 221 Bye

The message is made from --subject and --body, or is a file (--eml). -v shows
the dialogue, without passwords. RFC 5321.

Try it:

    python3 smtp_server.py
    python3 smtp_client.py --from ada@example.com --to charles@example.org \\
        --subject Hello --body 'How are you?'  # in another terminal

Left out: encryption (STARTTLS); the search for the server of a domain (MX).

Experiment:

    - return re.sub(rb"^\\.", b"..", message.replace(b"\\r\\n.", b"\\r\\n.."))
    + return message
    `pytest -k "smtp_client and on_the_wire"` fails: a line of a single dot in
    the text would end the message.
"""

import argparse
import base64
import os
import re
import socket
import sys
import time
import unicodedata
from contextlib import suppress
from email import policy
from email.contentmanager import raw_data_manager
from email.errors import MessageError
from email.header import Header, decode_header
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

HOST, PORT = "localhost", 1025
TIMEOUT = 60.0  # seconds to wait for each reply
GOODBYE = 1.0  # seconds to wait for a server that has already failed
MAX_LINE = 2048  # bytes of a reply
MAX_LINES = 200  # of a reply
PIECE = 64 * 1024  # bytes of the message to send at once
POLICY = policy.compat32.clone(linesep="\r\n", cte_type="7bit")  # a body that any server passes on

ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
LETTER = r"[A-Za-z0-9\x80-\U0010ffff]"
LABEL = rf"{LETTER}(?:[A-Za-z0-9\x80-\U0010ffff-]*{LETTER})?"
MAILBOX = re.compile(rf"({ATOM}(?:\.{ATOM})*)@({LABEL}(?:\.{LABEL})*|\[[0-9A-Fa-f.:IPv]+\])")


class SmtpError(OSError):
    """The server refused something, with that code, or is not a mail server (code 0)."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class Dialogue:
    """Commands and replies over one connection; with `verbose` they are shown on stderr."""

    def __init__(self, connection: socket.socket, verbose: bool) -> None:
        self.connection, self.verbose = connection, verbose
        self.timeout = connection.gettimeout() or float("inf")
        self.buffer = bytearray()
        self.secrets: list[str] = []  # not to be shown, even if the server repeats them

    def mask(self, text: str) -> str:
        for secret in self.secrets:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
        return text

    def log(self, side: str, line: str) -> None:
        if self.verbose:
            print(f"{side}: {escape(self.mask(line))}", file=sys.stderr)

    def read_line(self, deadline: float) -> str:
        """Return the next line. Raises OSError. Sending byte by byte gains a server no time."""
        while (end := self.buffer.find(b"\n")) < 0 and len(self.buffer) < MAX_LINE:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.connection.settimeout(None if left == float("inf") else left)
            piece = self.connection.recv(MAX_LINE)
            if not piece:
                raise SmtpError("the server hung up")
            self.buffer += piece
        size = end + 1 or MAX_LINE
        line = self.buffer[:size].decode("utf-8", "backslashreplace").rstrip("\r\n")
        del self.buffer[:size]
        self.log("S", line)
        return line

    def read_reply(self, *codes: int) -> list[str]:
        """Return the lines of a reply without its code, which must be one of `codes`.

        Raises SmtpError if it is another one; OSError.
        """
        lines: list[str] = []
        deadline = time.monotonic() + self.timeout
        while len(lines) < MAX_LINES:
            line = self.read_line(deadline)
            if not re.fullmatch("[2-5][0-9][0-9]([ -].*)?", line, re.DOTALL):
                raise SmtpError(f"not a mail server: it says {self.mask(line)[:80]!r}")
            lines.append(line[4:].strip())
            if line[3:4] != "-":
                code = int(line[:3])
                if code in codes:
                    return lines
                kinds = {4: "refused for now, try again later", 5: "refused"}
                kind = kinds.get(code // 100, "unexpected")
                raise SmtpError(self.mask(f"{kind}: {code} {' '.join(lines)}"), code)
        raise SmtpError("a reply without end")

    def send_command(self, command: str, *codes: int) -> list[str]:
        """Send a command and return the reply. Raises as read_reply() does."""
        self.log("C", command)
        self.send(f"{command}\r\n".encode())
        return self.read_reply(*codes)

    def send(self, data: bytes) -> None:
        self.connection.settimeout(None if self.timeout == float("inf") else self.timeout)
        try:
            self.connection.sendall(data)
        except OSError:
            self.timeout = min(self.timeout, GOODBYE)
            self.read_reply()  # it may have said why before it closed
            raise

    def quit(self) -> None:
        """Say goodbye, even if the server does not listen any more."""
        with suppress(OSError):
            self.send_command("QUIT", 221)


def send_hello(dialogue: Dialogue) -> dict[str, str]:
    """Greet the server; return its extensions and their parameters. Raises OSError."""
    address = dialogue.connection.getsockname()[0]
    name = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
    dialogue.read_reply(220)
    try:
        _, *extensions = dialogue.send_command(f"EHLO {name}", 250)
    except SmtpError as error:
        if error.code < 500:
            raise
        dialogue.send_command(f"HELO {name}", 250)  # a server without extensions
        return {}
    pairs = (line.replace("=", " ", 1).partition(" ") for line in extensions)
    return {word.upper(): parameters for word, _, parameters in pairs}


def log_in(dialogue: Dialogue, mechanisms: str, user: str, password: str) -> None:
    """Log in with one of the mechanisms that the server offers (RFC 4954). Raises OSError."""
    name, secret = os.fsencode(user), os.fsencode(password)
    words = [b"\0" + name + b"\0" + secret, name, secret]
    plain, first, second = (base64.b64encode(word).decode() for word in words)
    dialogue.secrets = [word for word in (plain, first, second, password) if word]
    offered = mechanisms.upper().split()
    if "PLAIN" in offered:
        dialogue.send_command(f"AUTH PLAIN {plain}", 235)
    elif "LOGIN" in offered:
        dialogue.send_command("AUTH LOGIN", 334)
        dialogue.send_command(first, 334)
        dialogue.send_command(second, 235)
    else:
        raise SmtpError("the server offers neither AUTH PLAIN nor LOGIN; leave out --user")


def mail_parameters(extensions: dict[str, str], message: bytes, addresses: list[str]) -> str:
    """Return the parameters of MAIL FROM. Raises SmtpError for what the server cannot take."""
    limit, size = extensions.get("SIZE", ""), len(message)  # without the added dots (RFC 1870)
    if limit.isdecimal() and 0 < int(limit) < size:
        raise SmtpError(f"the message is too large: {size} bytes, and the server takes {limit}")
    utf8 = not all(address.isascii() for address in addresses)
    if utf8 and "SMTPUTF8" not in extensions:
        raise SmtpError("the server takes no addresses beyond ASCII (SMTPUTF8)")
    utf8 |= not message.partition(b"\r\n\r\n")[0].isascii()
    words = [
        f" SIZE={size}" if "SIZE" in extensions else "",
        " BODY=8BITMIME" if "8BITMIME" in extensions and not message.isascii() else "",
        " SMTPUTF8" if "SMTPUTF8" in extensions and utf8 else "",
    ]
    return "".join(words)


def with_crlf(message: bytes) -> bytes:
    """Return a message in which every line ends in CRLF."""
    lines = re.sub(rb"\r\n|\r|\n", b"\r\n", message)
    return lines if not lines or lines.endswith(b"\r\n") else lines + b"\r\n"


def on_the_wire(message: bytes) -> bytes:
    """Return a message as DATA sends it: with the added dots, and the end."""
    return re.sub(rb"^\.", b"..", message.replace(b"\r\n.", b"\r\n..")) + b".\r\n"


def talk(
    connection: socket.socket, args: argparse.Namespace, sender: str, to: list[str], message: bytes
) -> tuple[list[str], list[str]]:
    """Send a message; return the recipients it was accepted for, and the refusals of the others.

    Raises OSError.
    """
    dialogue = Dialogue(connection, args.verbose)
    accepted, refused = [], []
    try:
        extensions = send_hello(dialogue)
        if args.user is not None:
            log_in(dialogue, extensions.get("AUTH", ""), args.user, args.password)
        parameters = mail_parameters(extensions, message, [sender, *to])
        dialogue.send_command(f"MAIL FROM:<{sender}>{parameters}", 250)
        for address in to:
            try:
                dialogue.send_command(f"RCPT TO:<{address}>", 250, 251)
                accepted.append(address)
            except SmtpError as error:
                if error.code < 400 or error.code == 421:  # 421: the server closes
                    raise
                refused.append(f"{address}: {error}")
        if accepted:
            dialogue.send_command("DATA", 354)
            dialogue.log("C", f"(a message of {len(message)} bytes)")
            wire = on_the_wire(message)
            for start in range(0, len(wire), PIECE):  # the timeout applies to each piece
                dialogue.send(wire[start : start + PIECE])
            dialogue.read_reply(250)
    except OSError:
        dialogue.timeout = min(dialogue.timeout, GOODBYE)
        dialogue.quit()
        raise
    dialogue.quit()
    return accepted, refused


def compose(sender: Address, to: list[Address], subject: str, body: str) -> bytes:
    """Return a message. Raises ValueError."""
    message = EmailMessage(POLICY)
    message.set_content(body, content_manager=raw_data_manager)
    return format_headers(subject, sender, to, []) + bytes(message)


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


# The rest is the same in every client: output, errors, and the command line.


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


def describe_error(error: Exception) -> str:
    """Return what went wrong with a connection, and what to do about it."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; start the server, or check host and port"
    if isinstance(error, TimeoutError):
        return "no answer in time; try a longer --timeout"
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "unknown host; check its name"
    return getattr(error, "strerror", None) or str(error)


def interrupted() -> int:
    """Return the exit status for Ctrl-C; on a terminal, end the line that shows "^C"."""
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return 130


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--host", default=HOST, help="name or address of the server (default: %(default)s)")
    option("--port", type=int, default=PORT, help="port of the server (default: %(default)s)")
    option(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help="longest wait for the server; 0: no limit (default: %(default)g)",
    )
    option("--from", dest="sender", required=True, metavar="ADDRESS", help="who sends it")
    option("--to", action="extend", nargs="+", required=True, metavar="ADDRESS", help="who gets it")
    option("--subject", metavar="TEXT", help="subject of the message")
    option("--body", metavar="TEXT", help="its text; - for stdin")
    option("--eml", metavar="FILE", help="send the message in this file")
    option("--user", metavar="NAME", help="log in under this name")
    option("--password", metavar="TEXT", help="and with this password")
    option("-v", "--verbose", action="store_true", help="show the dialogue on stderr")
    args = parser.parse_args(argv)
    if not (1 <= args.port <= 65535 and 0 <= args.timeout <= 1e6):
        parser.error("--port must be from 1 to 65535, --timeout from 0 to 1000000")
    if (args.eml is None) == (args.subject is None and args.body is None):
        parser.error("give --subject and --body, or --eml")
    if (args.user is None) != (args.password is None):
        parser.error("--user and --password go together")
    try:
        sender, to = parse_address(args.sender), [*map(parse_address, args.to)]
        if args.eml is not None:
            with open(args.eml, "rb") as file:
                message = file.read()
        else:
            body = read_stdin() if args.body == "-" else args.body or ""
            message = compose(sender, to, args.subject or "", body)
        recipients = [address.addr_spec for address in to]
    except KeyboardInterrupt:
        return interrupted()
    except OSError as error:
        parser.exit(1, f"{parser.prog}: error: {escape(args.eml or 'stdin')}: {error.strerror}\n")
    except ValueError as error:
        parser.exit(1, f"{parser.prog}: error: {escape(str(error))}\n")
    try:
        with socket.create_connection((args.host, args.port), args.timeout or None) as connection:
            accepted, refused = talk(
                connection, args, sender.addr_spec, recipients, with_crlf(message)
            )
    except KeyboardInterrupt:
        return interrupted()
    except (OSError, UnicodeError) as error:
        host = f"[{args.host}]" if ":" in args.host else args.host
        reason = escape(f"{host}:{args.port}: {describe_error(error)}")
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    for reason in refused:
        print(f"{parser.prog}: error: {escape(reason)}", file=sys.stderr)
    for address in accepted:
        print_line(f"Sent to {address}")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
