"""SMTP client: hands one message to a mail server, and says which recipients it has taken it for (RFC 5321).

    S: 220 mail.example.org ready
    C: EHLO [127.0.0.1]
    S: 250-mail.example.org
    S: 250 SIZE 10485760
    C: MAIL FROM:<ada@example.com> SIZE=123
    S: 250 OK
    C: RCPT TO:<charles@example.org>
    S: 250 OK
    C: DATA
    S: 354 Go on
    C: (the message, with CRLF line ends, and one more dot in front of each line that begins with one)
    C: .
    S: 250 OK
    C: QUIT
    S: 221 Bye

The message is written with --subject and --body, or is in a file (--eml). -v shows the dialogue, without passwords.

Try it:

    python3 smtp_server.py
    python3 smtp_client.py --from ada@example.com --to charles@example.org --subject Hello --body 'How are you?'
"""

import argparse
import base64
import os
import re
import socket
import sys
import time
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from email import policy
from email.contentmanager import raw_data_manager
from email.errors import MessageError
from email.header import Header, decode_header
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from functools import partial

HOST, PORT = "localhost", 1025
TIMEOUT = 60.0  # seconds to wait for each reply
LINGER = 1.0  # seconds to wait for the last words of a server that takes no more
MAX_LINE = 2048  # bytes of a reply
MAX_LINES = 200  # of a reply
CHUNK = 64 * 1024  # bytes of the message to send at a time

POLICY = policy.compat32.clone(linesep="\r\n", cte_type="7bit")  # a body that any server passes on
CRLF = "\r\n"
ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
LABEL = r"[A-Za-z0-9\x80-\U0010ffff]([A-Za-z0-9\x80-\U0010ffff-]*[A-Za-z0-9\x80-\U0010ffff])?"
MAILBOX = re.compile(rf"({ATOM}(?:\.{ATOM})*)@((?:{LABEL})(?:\.(?:{LABEL}))*|\[[0-9A-Fa-f.:IPv]+\])")


class SmtpError(OSError):
    """The server has refused something, for now (4yz) or for good (5yz), with that code, or is no mail server (0)."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


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


def compose(sender: Address, to: list[Address], subject: str, body: str) -> bytes:
    """Return a message. Raises ValueError for a subject that would make more headers."""
    message = EmailMessage(POLICY)
    message.set_content(body, content_manager=raw_data_manager)
    return head(subject, sender, to, []) + bytes(message)


def with_crlf(message: bytes) -> bytes:
    """Return a message whose lines all end in CRLF."""
    lines = re.sub(rb"\r\n|\r|\n", b"\r\n", message)
    return lines if not lines or lines.endswith(b"\r\n") else lines + b"\r\n"


def on_the_wire(message: bytes) -> bytes:
    """Return a message as DATA wants it: with one more dot in front of each that begins a line, and one at the end."""
    return re.sub(rb"^\.", b"..", message.replace(b"\r\n.", b"\r\n..")) + b".\r\n"


class Dialogue:
    """Commands and replies over one connection. `verbose` shows them on stderr."""

    def __init__(self, connection: socket.socket, verbose: bool) -> None:
        self.connection, self.verbose = connection, verbose
        self.timeout = connection.gettimeout() or float("inf")
        self.rest = bytearray()
        self.secrets: list[str] = []  # which a server may repeat

    def masked(self, text: str) -> str:
        for secret in self.secrets:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
        return text

    def log(self, side: str, line: str) -> None:
        if self.verbose and sys.stderr:
            with suppress(OSError):
                print(f"{side}: {escape(self.masked(line))}", file=sys.stderr)

    def line(self, end: float) -> str:
        """Return the next line, of MAX_LINE bytes at most, if it is here in time. Raises SmtpError, OSError."""
        while (at := self.rest.find(b"\n")) < 0 and len(self.rest) < MAX_LINE:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.connection.settimeout(None if left == float("inf") else left)
            piece = self.connection.recv(MAX_LINE)
            if not piece:
                raise SmtpError("the server has hung up")
            self.rest += piece
        line = self.rest[: at + 1 or MAX_LINE].decode("utf-8", "backslashreplace").rstrip("\r\n")
        del self.rest[: at + 1 or MAX_LINE]
        self.log("S", line)
        return line

    def reply(self, *codes: int) -> list[str]:
        """Return the lines of the next reply, without the code. Raises SmtpError if it is none of `codes`; OSError."""
        lines: list[str] = []
        end = time.monotonic() + self.timeout
        while len(lines) < MAX_LINES:
            line = self.line(end)
            if not re.fullmatch("[2-5][0-9][0-9]([ -].*)?", line, re.DOTALL):
                raise SmtpError(f"not a mail server: it says {self.masked(line)[:80]!r}")
            lines.append(line[4:].strip())
            if line[3:4] != "-":
                code = int(line[:3])
                if code in codes:
                    return lines
                kind = {4: "refused for now, try again later", 5: "refused"}.get(code // 100, "unexpected")
                raise SmtpError(self.masked(f"{kind}: {code} {' '.join(lines)}"), code)
        raise SmtpError("a reply without end")

    def ask(self, command: str, *codes: int) -> list[str]:
        """Send a command, and return the reply. Raises like reply()."""
        self.log("C", command)
        self.send(f"{command}\r\n".encode())
        return self.reply(*codes)

    def send(self, data: bytes) -> None:
        self.connection.settimeout(None if self.timeout == float("inf") else self.timeout)
        try:
            self.connection.sendall(data)
        except OSError:
            self.timeout = min(self.timeout, LINGER)
            self.reply()  # it may have said why before it stopped to listen
            raise

    def quit(self) -> None:
        """Say goodbye, whether or not the server still listens."""
        with suppress(OSError):
            self.ask("QUIT", 221)


def hello(dialogue: Dialogue) -> dict[str, str]:
    """Greet the server; return its extensions with their parameters. Raises SmtpError, OSError."""
    address = dialogue.connection.getsockname()[0]
    name = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
    dialogue.reply(220)
    try:
        _, *extensions = dialogue.ask(f"EHLO {name}", 250)
    except SmtpError as error:
        if error.code < 500:
            raise
        dialogue.ask(f"HELO {name}", 250)
        return {}
    pairs = (line.replace("=", " ", 1).partition(" ") for line in extensions)
    return {word.upper(): parameters for word, _, parameters in pairs}


def login(dialogue: Dialogue, offered: str, user: str, password: str) -> None:
    """Log in as the server offers it (RFC 4954). Raises SmtpError, OSError."""
    name, secret = os.fsencode(user), os.fsencode(password)
    words = [b"\0" + name + b"\0" + secret, name, secret]
    plain, first, second = (base64.b64encode(word).decode() for word in words)
    dialogue.secrets = [word for word in (plain, first, second, password) if word]
    mechanisms = offered.upper().split()
    if "PLAIN" in mechanisms:
        dialogue.ask(f"AUTH PLAIN {plain}", 235)
    elif "LOGIN" in mechanisms:
        dialogue.ask("AUTH LOGIN", 334)
        dialogue.ask(first, 334)
        dialogue.ask(second, 235)
    else:
        raise SmtpError("it takes no password, or only in a way that is unknown here; leave out --user")


def parameters(extensions: dict[str, str], message: bytes, addresses: list[str]) -> str:
    """Return what MAIL FROM has to tell about a message. Raises SmtpError if the server would not take it."""
    limit, size = extensions.get("SIZE", ""), len(message)  # without the dots of DATA (RFC 1870)
    if limit.isdecimal() and 0 < int(limit) < size:
        raise SmtpError(f"the message is too large: {size} bytes, and it takes {limit}")
    wide = not all(address.isascii() for address in addresses)
    if wide and "SMTPUTF8" not in extensions:
        raise SmtpError("it takes no addresses beyond ASCII (SMTPUTF8)")
    raw = not message.partition(b"\r\n\r\n")[0].isascii()
    words = [
        f" SIZE={size}" if "SIZE" in extensions else "",
        " BODY=8BITMIME" if "8BITMIME" in extensions and not message.isascii() else "",
        " SMTPUTF8" if "SMTPUTF8" in extensions and (wide or raw) else "",
    ]
    return "".join(words)


def deliver(dialogue: Dialogue, sender: str, to: list[str], message: bytes, suffix: str) -> list[str]:
    """Hand over a message; return who gets it, and tell who is refused. Raises SmtpError, OSError."""
    dialogue.ask(f"MAIL FROM:<{sender}>{suffix}", 250)
    accepted = []
    for address in to:
        try:
            dialogue.ask(f"RCPT TO:<{address}>", 250, 251)
            accepted.append(address)
        except SmtpError as error:
            if error.code < 400 or error.code == 421:
                raise
            fail(f"{address}: {error}")
    if accepted:
        dialogue.ask("DATA", 354)
        wire = on_the_wire(message)
        dialogue.log("C", f"(a message of {len(message)} bytes)")
        for start in range(0, len(wire), CHUNK):
            dialogue.send(wire[start : start + CHUNK])
        dialogue.reply(250)
    return accepted


def talk(connection: socket.socket, args: argparse.Namespace, sender: str, to: list[str], message: bytes) -> int:
    """Hand over a message; return the exit status. Raises SmtpError, OSError."""
    dialogue = Dialogue(connection, args.verbose)
    try:
        extensions = hello(dialogue)
        if args.user is not None:
            login(dialogue, extensions.get("AUTH", ""), args.user, args.password)
        accepted = deliver(dialogue, sender, to, message, parameters(extensions, message, [sender, *to]))
    except OSError:
        dialogue.timeout = min(dialogue.timeout, LINGER)
        dialogue.quit()
        raise
    dialogue.quit()
    for address in accepted:
        show(f"Sent to {address}")
    return 0 if len(accepted) == len(to) else 1


def stdin_text() -> str:
    """Return what is on stdin. Raises ValueError if that is not UTF-8."""
    try:
        return (sys.stdin.buffer.read() if sys.stdin else b"").decode()
    except UnicodeDecodeError:
        raise ValueError("stdin is not UTF-8") from None


def call(args: argparse.Namespace, talk: Callable[..., int], connect: Callable[..., socket.socket]) -> int:
    """Connect and `talk(connection)`; return its exit status, 1 if something failed, told in a line, 130 for Ctrl-C."""
    try:
        with connect((args.host, args.port), args.timeout or None) as connection:
            return talk(connection)
    except KeyboardInterrupt:
        return 130
    except (OSError, UnicodeError) as error:
        host = f"[{args.host}]" if ":" in args.host else args.host
        return fail(f"{getattr(error, 'filename', None) or f'{host}:{args.port}'}: {explain(error)}")


def client_parser() -> argparse.ArgumentParser:
    """Return a parser of the options that all clients have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=HOST, help="the server's name or address (default: %(default)s)")
    parser.add_argument("--port", type=between(1, 65535), default=PORT, help="the server's port (default: %(default)s)")
    patience = "seconds to wait for an answer, 0: for ever (default: %(default)g)"
    parser.add_argument("--timeout", type=between(0, 1e6, float), default=TIMEOUT, metavar="SECONDS", help=patience)
    return parser


def between(low: float, high: float, kind: Callable[[str], float] = int) -> Callable[[str], float]:
    """Return an argparse type that takes a number from `low` to `high`."""

    def number(text: str) -> float:
        if low <= (value := kind(text)) <= high:
            return value
        raise argparse.ArgumentTypeError(f"{text} is not from {low:.0f} to {high:.0f}")

    return number


def explain(error: Exception) -> str:
    """Return in words what went wrong, and what to do about it."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; start the server, or check address and port"
    if isinstance(error, TimeoutError):
        return "no answer in time; try a longer --timeout"
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "unknown host; check its name"
    return getattr(error, "strerror", None) or str(error)


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
    parser = client_parser()
    parser.add_argument("--from", dest="sender", required=True, metavar="ADDRESS")
    parser.add_argument("--to", action="extend", nargs="+", required=True, metavar="ADDRESS", help="one or more")
    parser.add_argument("--subject", metavar="TEXT")
    parser.add_argument("--body", metavar="TEXT", help="-: from stdin")
    parser.add_argument("--eml", metavar="FILE", help="send the message in this file")
    parser.add_argument("--user", metavar="NAME")
    parser.add_argument("--password", metavar="TEXT")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the dialogue on stderr")
    args = parser.parse_args(argv)
    if (args.eml is None) == (args.subject is None and args.body is None):
        parser.error("want --subject and --body, or else --eml")
    if (args.user is None) != (args.password is None):
        parser.error("--user and --password go together")
    try:
        sender, to = address(args.sender), [*map(address, args.to)]
        if args.eml is not None:
            with open(args.eml, "rb") as file:
                message = file.read()
        else:
            body = stdin_text() if args.body == "-" else args.body or ""
            message = compose(sender, to, args.subject or "", body)
    except OSError as error:
        return fail(f"{args.eml or 'stdin'}: {error.strerror}")
    except ValueError as error:
        return fail(str(error))
    except KeyboardInterrupt:
        return 130
    envelope = [one.addr_spec for one in to]
    job = partial(talk, args=args, sender=sender.addr_spec, to=envelope, message=with_crlf(message))
    return call(args, job, socket.create_connection)


if __name__ == "__main__":
    sys.exit(main())
