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
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from email.errors import MessageError
from email.header import decode_header, make_header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import make_msgid
from functools import partial

HOST, PORT = "localhost", 1025
TIMEOUT = 60.0  # seconds to wait for each reply
MAX_LINE = 2048  # bytes of a reply
MAX_LINES = 200  # of a reply
CHUNK = 64 * 1024  # bytes of the message to send at a time

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
    return Address(name, local, domain.encode("idna").decode() if local.isascii() else domain)


def compose(sender: Address, to: list[Address], subject: str, body: str, now: datetime) -> bytes:
    """Return a message with these headers. Raises ValueError for a subject that would make more of them."""
    wide = not all(one.addr_spec.isascii() for one in [sender, *to])
    message = EmailMessage(SMTP.clone(cte_type="7bit", utf8=wide))
    message["Subject"] = clean(subject).strip()
    message["From"] = sender
    message["To"] = to
    message["Date"] = now
    message["Message-ID"] = make_msgid(domain=sender.domain.encode("idna").decode())
    message.set_content(body)
    return bytes(message)


def on_the_wire(message: bytes) -> bytes:
    """Return a message as DATA wants it: all lines end in CRLF, the dots in front are doubled, and one is the end."""
    lines = re.sub(rb"\r\n|\r|\n", b"\r\n", message)
    lines = re.sub(rb"^\.", b"..", lines.replace(b"\r\n.", b"\r\n.."))
    return lines + (b".\r\n" if not lines or lines.endswith(b"\r\n") else b"\r\n.\r\n")


class Dialogue:
    """Commands and replies over one connection. `verbose` shows them on stderr."""

    def __init__(self, connection: socket.socket, verbose: bool) -> None:
        self.connection, self.verbose = connection, verbose
        self.replies = connection.makefile("rb")

    def log(self, side: str, line: str | bytes) -> None:
        if self.verbose:
            print(f"{side}: {escape(line)}", file=sys.stderr)

    def reply(self, *codes: int) -> list[str]:
        """Return the lines of the next reply, without the code. Raises SmtpError if it is none of `codes`; OSError."""
        lines: list[str] = []
        while len(lines) < MAX_LINES:
            line = self.replies.readline(MAX_LINE)
            if not line:
                raise SmtpError("the server has hung up")
            self.log("S", line.rstrip())
            match = re.fullmatch(rb"([2-5][0-9][0-9])([ -].*)?\r?\n", line)
            if not match:
                raise SmtpError(f"not a mail server: it says {line[:80]!r}")
            lines.append((match[2] or b"")[1:].decode("utf-8", "backslashreplace").strip())
            if not (match[2] or b"").startswith(b"-"):
                code = int(match[1])
                if code not in codes:
                    kind = {4: "refused for now, try again later", 5: "refused"}.get(code // 100, "unexpected")
                    raise SmtpError(f"{kind}: {code} {' '.join(lines)}", code)
                return lines
        raise SmtpError("a reply without end")

    def ask(self, command: str, *codes: int, shown: str = "") -> list[str]:
        """Send a command, and return the reply. Raises like reply()."""
        self.log("C", shown or command)
        self.connection.sendall(f"{command}\r\n".encode())
        return self.reply(*codes)

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
    plain, name, secret = (
        base64.b64encode(text.encode()).decode() for text in (f"\0{user}\0{password}", user, password)
    )
    mechanisms = offered.upper().split()
    if "PLAIN" in mechanisms:
        dialogue.ask(f"AUTH PLAIN {plain}", 235, shown="AUTH PLAIN ***")
    elif "LOGIN" in mechanisms:
        dialogue.ask("AUTH LOGIN", 334)
        dialogue.ask(name, 334, shown="***")
        dialogue.ask(secret, 235, shown="***")
    else:
        raise SmtpError("it takes no password, or only in a way that is unknown here; leave out --user")


def parameters(extensions: dict[str, str], wire: bytes, addresses: list[str]) -> str:
    """Return what MAIL FROM has to tell about a message. Raises SmtpError if the server would not take it."""
    limit = extensions.get("SIZE", "")
    if limit.isdecimal() and 0 < int(limit) < len(wire):
        raise SmtpError(f"the message is too large: {len(wire)} bytes, and it takes {limit}")
    head, _, _ = wire.partition(b"\r\n\r\n")
    if "SMTPUTF8" not in extensions and not all(address.isascii() for address in addresses):
        raise SmtpError("it takes no addresses beyond ASCII (SMTPUTF8)")
    wide = "SMTPUTF8" in extensions and not (head.isascii() and all(address.isascii() for address in addresses))
    words = [
        f" SIZE={len(wire)}" if "SIZE" in extensions else "",
        " BODY=8BITMIME" if "8BITMIME" in extensions and not wire.isascii() else "",
        " SMTPUTF8" if wide else "",
    ]
    return "".join(words)


def deliver(dialogue: Dialogue, sender: str, to: list[str], wire: bytes, suffix: str) -> dict[str, str]:
    """Hand over a message; return the recipients who were refused, and why. Raises SmtpError, OSError."""
    dialogue.ask(f"MAIL FROM:<{sender}>{suffix}", 250)
    refused = {}
    for address in to:
        try:
            dialogue.ask(f"RCPT TO:<{address}>", 250, 251)
        except SmtpError as error:
            if error.code < 400 or error.code == 421:
                raise
            refused[address] = str(error)
    if len(refused) < len(to):
        dialogue.ask("DATA", 354)
        dialogue.log("C", f"(a message of {len(wire)} bytes)")
        for start in range(0, len(wire), CHUNK):
            dialogue.connection.sendall(wire[start : start + CHUNK])
        dialogue.reply(250)
    return refused


def talk(connection: socket.socket, args: argparse.Namespace, sender: str, to: list[str], message: bytes) -> int:
    """Hand over a message; return the exit status. Raises SmtpError, OSError."""
    dialogue = Dialogue(connection, args.verbose)
    wire = on_the_wire(message)
    with dialogue.replies:
        try:
            extensions = hello(dialogue)
            if args.user is not None:
                login(dialogue, extensions.get("AUTH", ""), args.user, args.password)
            refused = deliver(dialogue, sender, to, wire, parameters(extensions, wire, [sender, *to]))
        except (TimeoutError, ConnectionError):
            raise
        except OSError:
            dialogue.quit()
            raise
        dialogue.quit()
    for address in to:
        if address in refused:
            fail(f"{address}: {refused[address]}")
        else:
            show(f"Sent to {address}")
    return 1 if refused else 0


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
    about = (__doc__ or "").replace("%", "%%")
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    if isinstance(error, socket.gaierror):
        return "unknown host; check its name"
    return getattr(error, "strerror", None) or str(error)


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
            body = sys.stdin.read() if args.body == "-" else args.body or ""
            message = compose(sender, to, args.subject or "", body, datetime.now().astimezone())
    except OSError as error:
        return fail(f"{args.eml}: {error.strerror}")
    except ValueError as error:
        return fail(str(error))
    except KeyboardInterrupt:
        return 130
    envelope = [one.addr_spec for one in to]
    job = partial(talk, args=args, sender=sender.addr_spec, to=envelope, message=message)
    return call(args, job, socket.create_connection)


if __name__ == "__main__":
    sys.exit(main())
