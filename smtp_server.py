"""SMTP server: takes in mail and keeps each message in a file; it passes nothing on (RFC 5321).

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
    S: 354 Go on, and end with a dot on a line of its own
    C: Subject: Hello
    C:
    C: ..and a dot.
    C: .
    S: 250 Kept as ...
    C: QUIT
    S: 221 Bye

Lines end in CRLF. A command may end in LF alone, and has at most 2048 bytes; a message may not: it ends at CRLF . CRLF
and nowhere else, and keeps every other byte (a dot in front of a line, which the client has put there, is taken away).
With --user and --password clients have to say AUTH PLAIN or AUTH LOGIN first (RFC 4954).

A message is in a file, whole and on the disk, before the server says 250.

Try it:

    python3 smtp_server.py
    python3 smtp_client.py --from ada@example.com --to charles@example.org --subject Hello --body 'How are you?'
"""

import argparse
import base64
import errno
import hmac
import logging
import os
import re
import secrets
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from functools import partial
from queue import SimpleQueue
from typing import Any

HOST, PORT = "localhost", 1025
TIMEOUT = 300.0  # seconds of silence
DIRECTORY = "mail"
MAX_SIZE = 10 * 1024 * 1024  # bytes of a message
MAX_LINE = 2048  # bytes of a command
MAX_RECIPIENTS = 100
MAX_ERRORS = 10  # commands of one client
MAX_FAILURES = 3  # wrong passwords of one client
CHUNK = 64 * 1024  # bytes to read at a time; for more each read would mean an mmap()
BACKLOG = 4096  # clients that may queue until they are accepted
SPARE = 64  # threads that may wait for the next client
POLL = 0.05  # seconds between two looks at the stop event
LINGER = 1.0  # seconds a client has to take the last reply

Address = tuple[Any, ...]

ATOM = r"""[^]\x00- \x7f-\x9f<>()[:;@\\,."]+"""
QUOTED = r"""(?:"(?:[^"\\\x00-\x1f\x7f-\x9f]|\\[ -~])*")"""
MAILBOX = rf"(?:{QUOTED}|{ATOM}(?:\.{ATOM})*)@(?:{ATOM}(?:\.{ATOM})*|\[[0-9A-Za-z.:]+\])"
PATH = rf" ?<(?:@[^:<> ]+:)?(?P<mailbox>{MAILBOX}|%s)>(?P<parameters>(?: [^\x00- \x7f]+)*) *"
SENDER = re.compile("FROM:" + PATH % "", re.IGNORECASE)
RECIPIENT = re.compile("TO:" + PATH % "Postmaster", re.IGNORECASE)
SECRET = re.compile(rb"\s*AUTH(?! (PLAIN|LOGIN)$).*", re.IGNORECASE | re.DOTALL)  # a line that may hold one

log = logging.getLogger(__name__)


def response(code: int, *texts: str) -> str:
    """Return a reply of one or several lines."""
    *more, last = texts
    return "".join(f"{code}-{text}\r\n" for text in more) + f"{code} {last}\r\n"


class Session:
    """What one client has said so far: it knows the rules of the protocol, and no socket."""

    def __init__(self, host: str, max_size: int, user: str | None, password: str | None) -> None:
        self.host, self.max_size, self.user, self.password = host, max_size, user, password
        self.client = ""  # as it calls itself
        self.extended = False  # it has said EHLO
        self.known = user is None
        self.over = False
        self.errors = self.failures = 0
        self.expected: Callable[[str], str] | None = None  # what takes the next line, which is no command
        self.reset()

    def reset(self) -> None:
        """Forget the message that was being prepared."""
        self.sender: str | None = None
        self.recipients: list[str] = []
        self.wide = False  # addresses may be UTF-8

    def answer(self, line: bytes) -> str:
        """Return the reply to a line, which came without its end."""
        take, self.expected = self.expected or self.obey, None
        if len(line) > MAX_LINE:
            return self.bad(500, "Line too long")
        try:
            return take(line.decode())
        except UnicodeDecodeError:
            return self.bad(500, "Not UTF-8")
        except ValueError:  # not base64, such as the "*" that cancels
            return self.bad(501, "Cancelled, or not understood")

    def obey(self, line: str) -> str:
        """Return the reply to a command."""
        verb, _, rest = line.partition(" ")
        command = getattr(self, f"smtp_{verb.lower()}", None) if verb.isascii() and verb.isalpha() else None
        if command is None:
            return self.bad(500, "Unknown command; HELP lists all")
        if rest.strip(" ") and verb.upper() in ("DATA", "RSET", "QUIT"):
            return self.bad(501, f"Want {verb.upper()} alone")
        answer: str = command(rest.strip(" "))
        return answer

    def bad(self, code: int, text: str) -> str:
        """Return the reply to a wrong command, and count it."""
        self.errors += 1
        if self.errors < MAX_ERRORS:
            return response(code, text)
        self.over = True
        return response(421, "Too many wrong commands")

    def smtp_helo(self, name: str) -> str:
        if not re.fullmatch(r"[^\s\x00-\x1f\x7f]{1,255}", name):
            return self.bad(501, "Who are you? Say HELO or EHLO and your name")
        self.reset()
        self.client, self.extended = name, False
        return response(250, f"{self.host} greets {name}")

    def smtp_ehlo(self, name: str) -> str:
        greeting = self.smtp_helo(name)
        if not greeting.startswith("250"):
            return greeting
        self.extended = True
        login = ["AUTH PLAIN LOGIN"] if self.user is not None else []
        extensions = [f"SIZE {self.max_size}", "PIPELINING", "8BITMIME", *login, "SMTPUTF8"]
        return response(250, f"{self.host} greets {name}", *extensions)

    def smtp_mail(self, rest: str) -> str:
        match = SENDER.fullmatch(rest)
        if not self.client:
            return self.bad(503, "Say EHLO first")
        if not self.known:
            return self.bad(530, "Authentication required")
        if self.sender is not None:
            return self.bad(503, "There is a sender already; RSET forgets it")
        if not match:
            return self.bad(501, "Want MAIL FROM:<address>")
        wide = False
        for parameter in match["parameters"].upper().split():
            if re.fullmatch("SIZE=[0-9]{1,20}", parameter):
                if int(parameter[5:]) > self.max_size:
                    return response(552, f"Too large: at most {self.max_size} bytes")
            elif parameter == "SMTPUTF8":
                wide = True
            elif parameter not in ("BODY=7BIT", "BODY=8BITMIME") and not parameter.startswith("AUTH="):
                return self.bad(501 if parameter.startswith(("SIZE=", "BODY=")) else 555, "Wrong parameter")
        if not match["mailbox"].isascii() and not wide:
            return self.bad(553, "Such an address wants the parameter SMTPUTF8")
        self.sender, self.wide = match["mailbox"], wide
        return response(250, "OK")

    def smtp_rcpt(self, rest: str) -> str:
        match = RECIPIENT.fullmatch(rest)
        if self.sender is None:
            return self.bad(503, "Say MAIL FROM first")
        if not match:
            return self.bad(501, "Want RCPT TO:<address>")
        if match["parameters"].strip():
            return self.bad(555, "Wrong parameter")
        if not match["mailbox"].isascii() and not self.wide:
            return self.bad(553, "Such an address wants the parameter SMTPUTF8 of MAIL")
        if len(self.recipients) == MAX_RECIPIENTS:
            return response(452, f"Too many recipients: at most {MAX_RECIPIENTS}")
        self.recipients.append(match["mailbox"])
        return response(250, "OK")

    def smtp_data(self, _: str) -> str:
        if self.sender is None:
            return self.bad(503, "Say MAIL FROM first")
        if not self.recipients:
            return self.bad(554, "There is no recipient")
        return response(354, "Go on, and end with a dot on a line of its own")

    def smtp_rset(self, _: str) -> str:
        self.reset()
        return response(250, "OK")

    def smtp_noop(self, _: str) -> str:
        return response(250, "OK")

    def smtp_vrfy(self, rest: str) -> str:
        return response(252, "Send it, and see") if rest else self.bad(501, "Want VRFY and an address")

    def smtp_help(self, _: str) -> str:
        return response(214, "HELO EHLO AUTH MAIL RCPT DATA RSET NOOP VRFY HELP QUIT", "See RFC 5321")

    def smtp_quit(self, _: str) -> str:
        self.over = True
        return response(221, "Bye")

    def smtp_auth(self, rest: str) -> str:
        mechanism, _, first = rest.partition(" ")
        take = {"PLAIN": self.plain, "LOGIN": self.login}.get(mechanism.upper())
        if not self.extended or self.sender is not None or (self.user is not None and self.known):
            return self.bad(503, "Not now")
        if self.user is None:
            return self.bad(502, "There is no password here")
        if not mechanism:
            return self.bad(501, "Want AUTH and a mechanism")
        if not take:
            return self.bad(504, "Want AUTH PLAIN or AUTH LOGIN")
        if first:
            return take("" if first == "=" else first)
        return self.ask(take, "" if mechanism.upper() == "PLAIN" else "Username:")

    def ask(self, take: Callable[[str], str], question: str) -> str:
        """Return a question, and let `take` have the answer."""
        self.expected = take
        return response(334, base64.b64encode(question.encode()).decode())

    def plain(self, text: str) -> str:
        """Take identity, user and password in one (RFC 4616). Raises ValueError."""
        identity, user, password = base64.b64decode(text, validate=True).split(b"\0")
        return self.check(user if identity in (b"", user) else b"", password)

    def login(self, text: str) -> str:
        """Take the user's name, and then the password. Raises ValueError."""
        user = base64.b64decode(text, validate=True)
        return self.ask(lambda text: self.check(user, base64.b64decode(text, validate=True)), "Password:")

    def check(self, user: bytes, password: bytes) -> str:
        """Compare, in a time that tells nothing about how much of it is right."""
        right = hmac.compare_digest(user, os.fsencode(self.user or ""))
        if hmac.compare_digest(password, os.fsencode(self.password or "")) and right:
            self.known = True
            return response(235, "Welcome")
        self.failures += 1
        self.over = self.failures == MAX_FAILURES
        return response(535, "Wrong user or password")


class Reader:
    """Cuts what a client sends into lines and messages, however it arrives."""

    def __init__(self, connection: socket.socket) -> None:
        self.more = partial(receive, connection, CHUNK, response(421, "Silent for too long").encode())
        self.rest = bytearray()

    def line(self) -> bytes | None:
        """Return the next line without its end, at most MAX_LINE + 1 bytes of it; None at the end of the stream."""
        while (end := self.rest.find(b"\n")) < 0:
            del self.rest[MAX_LINE + 2 :]
            piece = self.more()
            if not piece and not self.rest:
                return None
            self.rest += piece or b"\n"
        line = self.rest[:end].removesuffix(b"\r")[: MAX_LINE + 1]
        del self.rest[: end + 1]
        return bytes(line)

    def message(self, max_size: int) -> bytearray:
        """Return the message that comes next, without the dots that the client has stuffed in.

        Raises OverflowError, after the message, if it has more than `max_size` bytes; OSError if it does not end.
        """
        data = bytearray(b"\r\n") + self.rest
        start, too_large = 0, False
        while (end := data.find(b"\r\n.\r\n", start)) < 0:
            if len(data) > 2 * max_size + 4:  # at most half of it can be dots
                del data[:-4]
                too_large = True
            start = max(len(data) - 4, 0)
            piece = self.more()
            if not piece:
                raise ConnectionAbortedError("the end in the midst of a message")
            data += piece
        self.rest = data[end + 5 :]
        del data[end + 2 :]
        message = data.replace(b"\r\n.", b"\r\n")
        del message[:2]
        if too_large or len(message) > max_size:
            raise OverflowError
        return message


def trace(session: Session, address: Address) -> bytes:
    """Return the lines that go in front of a message: where it should be returned to, and how it came."""
    client = session.client if re.fullmatch(r"[\w.:\[\]-]+", session.client) else "unknown"
    host = f"IPv6:{address[0]}" if ":" in address[0] else address[0]
    protocol = ("UTF8SMTP" if session.wide else "ESMTP" if session.extended else "SMTP") + "A" * bool(session.user)
    return (
        f"Return-Path: <{session.sender}>\r\n"
        f"Received: from {client} ([{host}])\r\n"
        f"\tby {session.host} with {protocol};\r\n"
        f"\t{formatdate(localtime=True)}\r\n"
    ).encode()


def keep(folder: str, message: bytes) -> str:
    """Write a message into a new file in `folder`; return its name as soon as a power cut could not lose it.

    Raises OSError.
    """
    name = f"{time.time_ns()}-{secrets.token_hex(4)}.eml"
    temporary, path = os.path.join(folder, f".{name}.part"), os.path.join(folder, name)
    try:
        with open(temporary, "xb") as file:
            file.write(message)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
        sync(folder)
    except OSError:
        for left in (temporary, path):
            with suppress(OSError):
                os.unlink(left)
        raise
    return name


def sync(folder: str) -> None:
    """Wait until the disk has the names in a folder. Raises OSError."""
    if hasattr(os, "O_DIRECTORY"):  # Windows cannot, and does it by itself
        entry = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)


def converse(connection: socket.socket, address: Address, args: argparse.Namespace) -> str:
    """Take in the mail of one client; return a summary. Raises OSError."""
    connection.settimeout(args.timeout or None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    session = Session(socket.gethostname(), args.max_size, args.user, args.password)
    reader = Reader(connection)
    where = f"{address[0]}:{address[1]}"
    kept = 0

    def note(line: str | bytes) -> None:
        if log.isEnabledFor(logging.INFO):
            log.info("%s %s", where, escape(line))

    def say(text: str) -> None:
        for line in text.splitlines():
            note(f"S: {line}")
        connection.sendall(text.encode())

    def take_in() -> str:
        """Return the reply to the message that comes now. Raises OSError."""
        nonlocal kept
        try:
            message = reader.message(args.max_size)
        except OverflowError:
            return response(552, f"Too large: at most {args.max_size} bytes")
        note(f"C: (a message of {len(message)} bytes)")
        try:
            name = keep(args.directory, trace(session, address) + message)
        except OSError as error:
            log.error("Cannot keep a message in %s: %s", args.directory, error)
            return response(451, "Cannot keep it now; try again later")
        kept += 1
        note(f"{name} is for {', '.join(session.recipients)}")
        return response(250, f"Kept as {name}")

    say(response(220, f"{session.host} SMTP server ready"))
    while not session.over and (line := reader.line()) is not None:
        note(b"C: " + (b"***" if session.expected else SECRET.sub(b"AUTH ***", line)))
        reply = session.answer(line)
        say(reply)
        if reply.startswith("354"):
            say(take_in())
            session.reset()
    return f"{kept} messages"


def serve(listener: socket.socket, converse: Callable[..., str], stop: threading.Event | None = None) -> None:
    """Hold `converse(connection, address)`, which returns a summary for the log, with each client, until `stop` is set.

    Each client has a thread to itself. When it has left, the thread waits for another one, as long as few do: to start
    one costs more than a short conversation. On the way out live connections are shut down and all threads joined.
    """
    stop = stop or threading.Event()
    live: set[socket.socket] = set()
    threads: set[threading.Thread] = set()
    free: list[threading.Thread] = []
    clients: SimpleQueue[tuple[socket.socket, Address] | None] = SimpleQueue()  # for each there is a free thread

    def attend() -> None:
        while client := clients.get():
            connection, address = client
            try:
                with connection:
                    log.info("Connection from %s", address[:2])
                    summary = converse(connection, address)
                    hang_up(connection)
                log.info("Connection closed %s: %s", address[:2], summary)
            except (OSError, MemoryError) as error:
                log.info("Connection lost %s: %s", address[:2], error)
            finally:
                live.remove(connection)
            if len(free) >= SPARE:
                break
            free.append(threading.current_thread())
        threads.discard(threading.current_thread())

    listener.settimeout(POLL)
    try:
        while not stop.is_set():
            connection = None
            try:
                connection, address = listener.accept()
                if not free:
                    thread = threading.Thread(target=attend, daemon=True)
                    thread.start()
                    threads.add(thread)
                    free.append(thread)
            except TimeoutError:
                if free:  # a quiet moment: one thread less
                    free.pop()
                    clients.put(None)
            except (OSError, RuntimeError, MemoryError) as error:  # out of descriptors or threads, say
                log.warning("Cannot accept a client: %s", error)
                if connection:
                    connection.close()
                time.sleep(POLL)  # or else this would spin
            else:
                free.pop()
                live.add(connection)
                clients.put((connection, address))
    finally:
        for connection in list(live):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for _ in list(threads):
            clients.put(None)
        for thread in list(threads):
            thread.join()


def hang_up(connection: socket.socket) -> None:
    """End `connection` so that the last reply arrives: to close it with bytes unread would reset it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(LINGER)
        deadline = time.monotonic() + LINGER
        while connection.recv(65536) and time.monotonic() < deadline:
            pass


def stay_on_one_core() -> None:
    """Make many busy threads two to three times as fast: they take turns at one lock, and so need not wake a core."""
    with suppress(AttributeError, OSError):  # Linux only
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})


def receive(connection: socket.socket, size: int, farewell: bytes) -> bytes:
    """Return the next bytes, `size` at most; b"" at the end. Raises TimeoutError, after a `farewell`; OSError."""
    try:
        return connection.recv(size)
    except (BlockingIOError, TimeoutError):
        connection.sendall(farewell)
        raise TimeoutError("silent for too long") from None


def between(low: float, high: float, kind: Callable[[str], float] = int) -> Callable[[str], float]:
    """Return an argparse type that takes a number from `low` to `high`."""

    def number(text: str) -> float:
        if low <= (value := kind(text)) <= high:
            return value
        raise argparse.ArgumentTypeError(f"{text} is not from {low:.0f} to {high:.0f}")

    return number


def server_parser() -> argparse.ArgumentParser:
    """Return a parser of the options that all servers have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=HOST, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=between(0, 65535), default=PORT, help="0: a free one (default: %(default)s)")
    patience = "seconds a client may be silent, 0: for ever (default: %(default)g)"
    parser.add_argument("--timeout", type=between(0, 1e6, float), default=TIMEOUT, metavar="SECONDS", help=patience)
    parser.add_argument("--quiet", action="store_true", help="no log")
    return parser


class Log(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to stderr; what nobody reads for a second is dropped, since a full pipe must not stop a server."""

    patience = 1.0  # seconds

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, TypeError, ValueError):  # no stderr, or Windows, which selects sockets only
            self.patience = 1.0 if select.select([], [self.stream], [], self.patience)[1] else 0.0
        if self.patience:
            super().emit(record)


def run(args: argparse.Namespace, serve: Callable[..., None], listen: Callable[..., socket.socket]) -> int:
    """Listen, announce it, and `serve(listener, stop=...)` until Ctrl-C or SIGTERM; return the exit status."""
    level = logging.ERROR if args.quiet else logging.INFO
    form = "%(asctime)s %(message)s"
    logging.basicConfig(level=level, format=form, datefmt="%Y-%m-%dT%H:%M:%S", handlers=[Log()])
    stop, first = threading.Event(), threading.Lock()

    def interrupt(number: int, frame: object) -> None:
        if first.acquire(blocking=False):  # or else a second signal in the midst of set() would wait for the first
            stop.set()

    signals = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    for number in signals:  # the last one is Windows' Ctrl-Break
        signal.signal(number, interrupt)
    host = f"[{args.host}]" if ":" in args.host else args.host
    try:
        family, _, _, _, address = min(socket.getaddrinfo(args.host, args.port))  # IPv4 where there is a choice
        listener = listen(address, family=family)
    except (OSError, UnicodeError) as error:
        return fail(f"cannot listen on {host}:{args.port}: {error}; choose another --host or --port")
    with listener:
        if sys.stdout:
            with suppress(OSError), open(1, "w", closefd=False) as stdout:  # goes on serving if nobody reads it
                print(f"Server listening on {host}:{listener.getsockname()[1]}...", file=stdout)
        serve(listener, stop=stop)
    for number in signals:
        signal.signal(number, signal.SIG_IGN)  # while Python itself shuts down
    return 0


def fail(reason: str) -> int:
    """Say on stderr, in one line, why the job failed; return the exit status."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in reason)
    if sys.stderr:
        print(f"{os.path.basename(sys.argv[0])}: error: {line}", file=sys.stderr)
    return 1


def escape(text: str | bytes) -> str:
    """Return `text` with backslash escapes for all that could steer a terminal or forge a line."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def main(argv: list[str] | None = None) -> int:
    parser = server_parser()
    parser.add_argument("--directory", default=DIRECTORY, metavar="DIR", help="keep mail here (default: %(default)s)")
    size = "the largest message (default: %(default)s)"
    parser.add_argument("--max-size", type=between(1, 2**31), default=MAX_SIZE, metavar="BYTES", help=size)
    parser.add_argument("--user", metavar="NAME", help="only for this user, with this password")
    parser.add_argument("--password", metavar="TEXT")
    args = parser.parse_args(argv)
    if (args.user is None) != (args.password is None):
        parser.error("--user and --password go together")
    try:
        os.makedirs(args.directory, exist_ok=True)
        sync(os.path.dirname(os.path.realpath(args.directory)))
        if not os.access(args.directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        return fail(f"cannot use {args.directory}: {error.strerror}; choose another --directory")
    stay_on_one_core()
    attend = partial(serve, converse=partial(converse, args=args))
    return run(args, attend, partial(socket.create_server, backlog=BACKLOG))


if __name__ == "__main__":
    sys.exit(main())
