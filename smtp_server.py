"""SMTP server: receives mail and stores each message in a file (RFC 5321).

    S: 220 ... ready
    C: EHLO client.example
    S: 250-... greets client.example
    S: 250-SIZE 10485760
    S: 250-PIPELINING
    S: 250-8BITMIME
    S: 250 SMTPUTF8
    C: MAIL FROM:<ada@example.com> SIZE=24
    S: 250 OK
    C: RCPT TO:<charles@example.org>
    S: 250 OK
    C: DATA
    S: 354 End the message with a dot on a line of its own
    C: Subject: Hello
    C:
    C: ..and a dot.
    C: .
    S: 250 Stored as ...
    C: QUIT
    S: 221 Bye

Lines end in CRLF. A command may end in LF alone, and has at most 2048 bytes. A
message ends at CRLF . CRLF and nowhere else; every other byte of it is stored,
except the dot that the client adds to a line that begins with one. With --user
and --password clients must send AUTH PLAIN or AUTH LOGIN first (RFC 4954).

The server answers 250 only when the message is in its file and on the disk. It
forwards nothing.

Try it:

    python3 smtp_server.py
    python3 smtp_client.py --from ada@example.com --to charles@example.org \\
        --subject Hello --body 'How are you?'  # in another terminal

Left out: encryption (STARTTLS), and a check of who the client says it is.

Experiment:

    - data = self.read_until(b"\\r\\n.\\r\\n", 2 * max_size)
    + data = self.read_until(b"\\n.\\r\\n", 2 * max_size)
    `pytest -k "smtp_server and smuggling"` fails: one message becomes two, the
    second of which no other server has checked (CVE-2023-51764).
"""

import argparse
import base64
import errno
import hmac
import logging
import os
import re
import secrets
import signal
import socket
import sys
import time
import unicodedata
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import formatdate
from functools import partial
from typing import Any

HOST, PORT = "localhost", 1025
TIMEOUT = 300.0  # seconds without a byte (RFC 5321, 4.5.3.2.7)
MAX_SIZE = 10 * 1024 * 1024  # bytes of a message
MAX_LINE = 2048  # bytes of a command
MAX_RECIPIENTS = 100  # at least so many must be accepted (RFC 5321, 4.5.3.1.8)
MAX_ERRORS = 10  # wrong commands of one client
MAX_FAILURES = 3  # wrong passwords of one client
PIECE = 64 * 1024  # bytes to read at once

ATOM = r"""[^]\x00- \x7f-\x9f<>()[:;@\\,."]+"""
QUOTED = r"""(?:"(?:[^"\\\x00-\x1f\x7f-\x9f]|\\[ -~])*")"""
MAILBOX = rf"(?:{QUOTED}|{ATOM}(?:\.{ATOM})*)@(?:{ATOM}(?:\.{ATOM})*|\[[0-9A-Za-z.:]+\])"
PATH = rf" ?<(?:@[^:<> ]+:)?(?P<mailbox>{MAILBOX}|%s)>(?P<parameters>(?: [^\x00- \x7f]+)*) *"
SENDER = re.compile("FROM:" + PATH % "", re.IGNORECASE)
RECIPIENT = re.compile("TO:" + PATH % "Postmaster", re.IGNORECASE)
SECRET = re.compile(rb"\s*AUTH(?! (PLAIN|LOGIN)$).*", re.IGNORECASE | re.DOTALL)  # may hold one

Address = tuple[Any, ...]  # (host, port), and two more values for IPv6

log = logging.getLogger(__name__)


def format_reply(code: int, *texts: str) -> str:
    """Return a reply of one or several lines."""
    *more, last = texts
    return "".join(f"{code}-{text}\r\n" for text in more) + f"{code} {last}\r\n"


class Session:
    """The rules of the protocol: takes the commands of one client, and knows no socket."""

    def __init__(self, host: str, max_size: int, user: str | None, password: str | None) -> None:
        self.host, self.max_size, self.user, self.password = host, max_size, user, password
        self.client = ""  # the name in HELO or EHLO
        self.extended = False  # it was EHLO
        self.authenticated = user is None
        self.over = False
        self.errors = self.failures = 0
        self.continuation: Callable[[str], str] | None = None  # takes a line that is no command
        self.reset()

    def reset(self) -> None:
        """Forget sender and recipients."""
        self.sender: str | None = None
        self.recipients: list[str] = []
        self.smtputf8 = False

    def answer(self, line: bytes) -> str:
        """Return the reply to a line."""
        handle, self.continuation = self.continuation or self.handle_command, None
        if len(line) > MAX_LINE:
            return self.reject(500, "Line too long")
        try:
            return handle(line.decode())
        except UnicodeDecodeError:
            return self.reject(500, "Not UTF-8")
        except ValueError:  # not base64, for example the "*" that cancels AUTH
            return self.reject(501, "Cancelled, or not base64")

    def handle_command(self, line: str) -> str:
        verb, _, argument = line.partition(" ")
        command = getattr(self, f"smtp_{verb.lower()}", None) if verb.isascii() else None
        if not command:
            return self.reject(500, "Unknown command; HELP lists all")
        if argument.strip(" ") and verb.upper() in ("DATA", "RSET", "QUIT"):
            return self.reject(501, f"{verb.upper()} takes no argument")
        reply: str = command(argument.strip(" "))
        return reply

    def reject(self, code: int, text: str) -> str:
        """Return the reply to a wrong command, and count it."""
        self.errors += 1
        if self.errors < MAX_ERRORS:
            return format_reply(code, text)
        self.over = True
        return format_reply(421, "Too many wrong commands")

    def smtp_helo(self, name: str) -> str:
        if not re.fullmatch(r"[^\s\x00-\x1f\x7f]{1,255}", name):
            return self.reject(501, "Expected HELO or EHLO and the name of your host")
        self.reset()
        self.client, self.extended = name, False
        return format_reply(250, f"{self.host} greets {name}")

    def smtp_ehlo(self, name: str) -> str:
        reply = self.smtp_helo(name)
        if not reply.startswith("250"):
            return reply
        self.extended = True
        auth = [] if self.user is None else ["AUTH PLAIN LOGIN"]
        extensions = [f"SIZE {self.max_size}", "PIPELINING", "8BITMIME", *auth, "SMTPUTF8"]
        return format_reply(250, f"{self.host} greets {name}", *extensions)

    def smtp_mail(self, argument: str) -> str:
        match = SENDER.fullmatch(argument)
        if not self.client:
            return self.reject(503, "Send EHLO first")
        if not self.authenticated:
            return self.reject(530, "Authentication required")
        if self.sender is not None:
            return self.reject(503, "There is a sender already; RSET forgets it")
        if not match:
            return self.reject(501, "Expected MAIL FROM:<address>")
        smtputf8 = False
        for parameter in match["parameters"].upper().split():
            if re.fullmatch("SIZE=[0-9]{1,20}", parameter):
                if int(parameter[5:]) > self.max_size:
                    return format_reply(552, f"Too large: at most {self.max_size} bytes")
            elif parameter == "SMTPUTF8":
                smtputf8 = True
            elif parameter.startswith(("SIZE=", "BODY=")):
                if parameter not in ("BODY=7BIT", "BODY=8BITMIME"):
                    return self.reject(501, "Wrong parameter")
            elif not parameter.startswith("AUTH="):
                return self.reject(555, "Unknown parameter")
        if not match["mailbox"].isascii() and not smtputf8:
            return self.reject(553, "This address needs the parameter SMTPUTF8")
        self.sender, self.smtputf8 = match["mailbox"], smtputf8
        return format_reply(250, "OK")

    def smtp_rcpt(self, argument: str) -> str:
        match = RECIPIENT.fullmatch(argument)
        if self.sender is None:
            return self.reject(503, "Send MAIL FROM first")
        if not match:
            return self.reject(501, "Expected RCPT TO:<address>")
        if match["parameters"].strip():
            return self.reject(555, "Unknown parameter")
        if not match["mailbox"].isascii() and not self.smtputf8:
            return self.reject(553, "This address needs the parameter SMTPUTF8 of MAIL")
        if len(self.recipients) == MAX_RECIPIENTS:
            return format_reply(452, f"Too many recipients: at most {MAX_RECIPIENTS}")
        self.recipients.append(match["mailbox"])
        return format_reply(250, "OK")

    def smtp_data(self, _: str) -> str:
        if self.sender is None:
            return self.reject(503, "Send MAIL FROM first")
        if not self.recipients:
            return self.reject(554, "There is no recipient")
        return format_reply(354, "End the message with a dot on a line of its own")

    def smtp_rset(self, _: str) -> str:
        self.reset()
        return format_reply(250, "OK")

    def smtp_noop(self, _: str) -> str:
        return format_reply(250, "OK")

    def smtp_vrfy(self, argument: str) -> str:
        if not argument:
            return self.reject(501, "Expected VRFY and an address")
        return format_reply(252, "Cannot verify; send the message")

    def smtp_help(self, _: str) -> str:
        commands = "HELO EHLO AUTH MAIL RCPT DATA RSET NOOP VRFY HELP QUIT"
        return format_reply(214, commands, "See RFC 5321")

    def smtp_quit(self, _: str) -> str:
        self.over = True
        return format_reply(221, "Bye")

    def smtp_auth(self, argument: str) -> str:
        mechanism, _, first = argument.partition(" ")
        handle = {"PLAIN": self.auth_plain, "LOGIN": self.auth_login}.get(mechanism.upper())
        if self.user is None and self.extended and self.sender is None:
            return self.reject(502, "This server has no password")
        if not self.extended or self.sender is not None or self.authenticated:
            return self.reject(503, "Not now")
        if not mechanism:
            return self.reject(501, "Expected AUTH and a mechanism")
        if not handle:
            return self.reject(504, "Expected AUTH PLAIN or AUTH LOGIN")
        if first:
            return handle("" if first == "=" else first)
        return self.challenge("" if mechanism.upper() == "PLAIN" else "Username:", handle)

    def challenge(self, question: str, handle: Callable[[str], str]) -> str:
        """Return a question, the answer to which goes to `handle`."""
        self.continuation = handle
        return format_reply(334, base64.b64encode(question.encode()).decode())

    def auth_plain(self, text: str) -> str:
        """Take identity, user and password in one (RFC 4616). Raises ValueError."""
        identity, user, password = base64.b64decode(text, validate=True).split(b"\0")
        return self.check(user if identity in (b"", user) else b"", password)

    def auth_login(self, text: str) -> str:
        """Take the name of the user, and then the password. Raises ValueError."""
        user = base64.b64decode(text, validate=True)
        return self.challenge(
            "Password:", lambda text: self.check(user, base64.b64decode(text, validate=True))
        )

    def check(self, user: bytes, password: bytes) -> str:
        """Compare in a time that does not tell how much is right."""
        right_user = hmac.compare_digest(user, os.fsencode(self.user or ""))
        if hmac.compare_digest(password, os.fsencode(self.password or "")) and right_user:
            self.authenticated = True
            return format_reply(235, "Welcome")
        self.failures += 1
        self.over = self.failures == MAX_FAILURES
        return format_reply(535, "Wrong user or password")


class Reader:
    """Cuts what a client sends into lines and messages, in whatever pieces it arrives."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.buffer = bytearray()

    def read_until(self, end: bytes, limit: int) -> bytearray:
        """Return what comes before `end`; if it is too long, its first `limit` + 1 bytes.

        Raises EOFError if the stream ends first; OSError.
        """
        start = 0
        while (found := self.buffer.find(end, start)) < 0:
            start = max(len(self.buffer) - len(end) + 1, 0)  # here `end` may have begun
            if start > limit + 1:
                del self.buffer[limit + 1 : start]
                start = limit + 1
            piece = self.connection.recv(PIECE)
            if not piece:
                raise EOFError
            self.buffer += piece
        data = self.buffer[: min(found, limit + 1)]
        del self.buffer[: found + len(end)]
        return data

    def read_line(self) -> bytes:
        """Return a line without its ending, which the last one may lack."""
        try:
            line = self.read_until(b"\n", MAX_LINE + 1)
        except EOFError:
            if not self.buffer:
                raise
            line, self.buffer = self.buffer, bytearray()
        return bytes(line).removesuffix(b"\r")

    def receive_message(self, max_size: int) -> bytearray:
        """Return the message that comes after DATA, without the dots added to its lines.

        Only CRLF . CRLF ends it: a server that takes LF . CRLF as well can be made to see two
        messages where the server before it saw one. A message that is too large is cut, but
        still larger than `max_size` bytes.
        """
        self.buffer[:0] = b"\r\n"  # after DATA: a dot in the first line is found in the same way
        data = self.read_until(b"\r\n.\r\n", 2 * max_size)  # of which a third may be added dots
        message = data.replace(b"\r\n.", b"\r\n") + b"\r\n"
        del message[:2]
        return message


def trace_headers(session: Session, address: Address) -> bytes:
    """Return the header fields that every server adds (RFC 5321, 4.4): Return-Path and Received."""
    client = session.client if re.fullmatch(r"[\w.:\[\]-]+", session.client) else "unknown"
    host = f"IPv6:{address[0]}" if ":" in address[0] else address[0]
    protocol = "UTF8SMTP" if session.smtputf8 else "ESMTP" if session.extended else "SMTP"
    return (
        f"Return-Path: <{session.sender}>\r\n"
        f"Received: from {client} ([{host}])\r\n"
        f"\tby {session.host} with {protocol}{'A' * bool(session.user)};\r\n"
        f"\t{formatdate(localtime=True)}\r\n"
    ).encode()


def store_message(folder: str, message: bytes) -> str:
    """Write a message to a new file in `folder`; return its name. Raises OSError.

    When this returns, even a power cut does not lose the message: the file and the entry in its
    folder are on the disk. Nobody ever sees a half-written .eml file.
    """
    name = f"{time.time_ns()}-{secrets.token_hex(4)}.eml"
    temporary, path = os.path.join(folder, f".{name}.part"), os.path.join(folder, name)
    try:
        with open(temporary, "xb") as file:
            file.write(message)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
        sync_folder(folder)
    except OSError:
        for left in (temporary, path):
            with suppress(OSError):
                os.unlink(left)
        raise
    return name


def sync_folder(folder: str) -> None:
    """Wait until the entries of a folder are on the disk. Raises OSError."""
    if hasattr(os, "O_DIRECTORY"):  # not on Windows, which does it by itself
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def handle_client(connection: socket.socket, address: Address, args: Namespace) -> str:
    """Receive the mail of one client; return a summary for the log. Raises OSError."""
    connection.settimeout(args.timeout or None)
    session = Session(socket.gethostname(), args.max_size, args.user, args.password)
    reader = Reader(connection)
    stored = 0

    def log_line(line: str | bytes) -> None:
        if log.isEnabledFor(logging.INFO):  # escaping takes time
            log.info("%s:%s %s", *address[:2], escape(line))

    def send_reply(reply: str) -> None:
        for line in reply.splitlines():
            log_line(f"S: {line}")
        connection.sendall(reply.encode())

    def receive_and_store() -> str:
        """Return the reply to a message."""
        message = reader.receive_message(args.max_size)
        if len(message) > args.max_size:
            return format_reply(552, f"Too large: at most {args.max_size} bytes")
        log_line(f"C: (a message of {len(message)} bytes)")
        try:
            name = store_message(args.directory, trace_headers(session, address) + message)
        except OSError as error:  # the client still has the message, and tries again later
            log.error("Cannot store a message in %s: %s", args.directory, error)
            return format_reply(451, "Cannot store it now; try again later")
        log_line(f"{name} is for {', '.join(session.recipients)}")
        return format_reply(250, f"Stored as {name}")

    try:
        send_reply(format_reply(220, f"{session.host} SMTP server ready"))
        while not session.over:
            line = reader.read_line()
            log_line(b"C: " + (b"***" if session.continuation else SECRET.sub(b"AUTH ***", line)))
            reply = session.answer(line)
            send_reply(reply)
            if reply.startswith("354"):
                reply = receive_and_store()
                stored += reply.startswith("250")
                send_reply(reply)
                session.reset()
    except EOFError:  # the client has closed, perhaps in a message, which is then not stored
        pass
    except TimeoutError:
        send_reply(format_reply(421, "Timeout"))
        raise
    return f"messages: {stored}"


# The rest is the same in every server: a thread for each client, and the command line.

MAX_CLIENTS = 5000  # at once; the next one waits until one leaves
POLL = 0.05  # seconds: accept() cannot notice `stop`, so it gives up this often to check
LINGER = 1.0  # seconds to wait for the client to close its side


def serve(listener: socket.socket, handle_client: Callable[..., str], stop: list[int]) -> None:
    """Call `handle_client(connection, address)` in a thread for each client until `stop` is filled.

    `listener` is bound and listening; `handle_client` returns a summary for the log. At the end
    the live connections are shut down, and all threads have ended.
    """
    connections: set[socket.socket] = set()

    def run_client(connection: socket.socket, address: Address) -> None:
        log.info("Connection from %s", address)
        try:
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # reply at once
                summary = handle_client(connection, address)
                hang_up(connection)
            log.info("Connection closed %s: %s", address, summary)
        except OSError as error:
            log.info("Connection lost %s: %s", address, error)
        except Exception:  # a bug costs one client; the pool swallows exceptions
            log.exception("Connection failed %s", address)
        connections.remove(connection)

    listener.settimeout(POLL)
    with ThreadPoolExecutor(MAX_CLIENTS) as pool:  # reuses threads; waits for them at the end
        while not stop:
            try:
                connection, address = listener.accept()
                connections.add(connection)
                pool.submit(run_client, connection, address)
            except TimeoutError:
                pass
            except (OSError, RuntimeError) as error:  # out of file descriptors or threads
                log.warning("Cannot accept a client: %s", error)
                time.sleep(POLL)  # let some clients leave; do not spin
        for connection in list(connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes its thread
                if sys.platform == "win32":  # only closing it does, there
                    socket.close(connection.detach())


def hang_up(connection: socket.socket) -> None:
    """End `connection` so that the last reply arrives.

    Closing a socket that holds unread bytes resets the connection, and a reset can destroy a
    reply on its way. So send the end of the stream, and read until the client closes as well.
    """
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(LINGER)
        deadline = time.monotonic() + LINGER
        while connection.recv(65536) and time.monotonic() < deadline:
            pass


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


def pin_to_one_core() -> None:
    """Keep all threads on one core: up to 4 times as fast with 50 busy clients.

    The threads take turns at one lock (the GIL), and waking another core for a turn takes longer
    than the turn itself. A Python without the GIL uses all cores.
    """
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        with suppress(AttributeError, OSError):  # Linux only
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--host", default=HOST, help="address to listen on (default: %(default)s)")
    option("--port", type=int, default=PORT, help="0 for a free one (default: %(default)s)")
    option(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help="disconnect a client that is idle this long; 0: never (default: %(default)g)",
    )
    option("--quiet", action="store_true", help="log errors only")
    option("--directory", default="mail", help="folder for the messages (default: %(default)s)")
    option(
        "--max-size",
        type=int,
        default=MAX_SIZE,
        metavar="BYTES",
        help="largest message (default: %(default)s)",
    )
    option("--user", metavar="NAME", help="accept mail from this user only, with a password")
    option("--password", metavar="TEXT", help="the user's password")
    args = parser.parse_args(argv)
    if not (args.host and 0 <= args.port <= 65535 and 0 <= args.timeout <= 1e6):
        parser.error(
            "--host must not be empty; --port must be from 0 to 65535, --timeout from 0 to 1000000"
        )
    if not 1 <= args.max_size <= 2**31:
        parser.error("--max-size must be from 1 to 2147483648")
    if (args.user is None) != (args.password is None):
        parser.error("--user and --password go together")
    logging.basicConfig(
        level=logging.ERROR if args.quiet else logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    try:
        os.makedirs(args.directory, exist_ok=True)
        sync_folder(os.path.dirname(os.path.realpath(args.directory)))
        if not os.access(args.directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        reason = f"cannot use {args.directory}: {error.strerror}; choose another --directory"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    host, family = args.host, socket.AF_INET
    if ":" in host:
        host, family = f"[{host}]", socket.AF_INET6
    try:
        listener = socket.create_server((args.host, args.port), family=family, backlog=MAX_CLIENTS)
    except (OSError, UnicodeError) as error:
        reason = f"cannot listen on {host}:{args.port}: {error}; choose another --host or --port"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    stop: list[int] = []  # not KeyboardInterrupt: a second Ctrl-C would raise it in the clean-up
    for number in (signal.SIGINT, getattr(signal, "SIGBREAK", signal.SIGTERM)):
        signal.signal(number, lambda number, _: stop.append(number))
    pin_to_one_core()
    with listener:
        print(f"Server listening on {host}:{listener.getsockname()[1]}...", flush=True)
        serve(listener, partial(handle_client, args=args), stop)
    log.info("Server stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
