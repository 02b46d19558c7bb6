"""Chat server: what one client types, all others see. On asyncio, for a class of hundreds with nc or telnet.

    S: * Welcome, you are guest...: /help tells what you can do
    C: NAME alice
    S: * guest... is now alice
    C: GET_NAMES
    S: NAMES ...
    C: /msg nobody hello
    S: ERROR no such user: nobody
    C: EXIT
    S: BYE

To the others a message goes out as "alice: hello", a private one (MSG bob hi, or /msg bob hi) as "alice (private): hi",
and notices begin with an asterisk. NAME, GET_NAMES, MSG and EXIT are also /name, /names, /msg and /quit. UTF-8; lines
end in LF or CRLF and have at most 4096 bytes; control characters are shown escaped. Names have 1 to 16 letters, digits
and _ . -

Try it:

    python3 chat_server.py
    nc localhost 9001
"""

import argparse
import asyncio
import logging
import os
import re
import select
import signal
import socket
import sys
import threading
import time
import unicodedata
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

HOST, PORT = "localhost", 9001
TIMEOUT = 0.0  # seconds without a line; 0 = never mind
MAX_LINE = 4096  # bytes
MAX_UNSENT = 1024 * 1024  # bytes that may wait for a client that does not read
RATE = 50  # lines a second
MAX_NAME = 16  # characters
NAME = re.compile(r"[\w.-]+")
COMMAND = re.compile(r"(NAME)\s+(\S+)|(MSG)\s+(\S+\s+.+)|(GET_NAMES)|(EXIT)|(/\S*)\s*(.*)")
SPELLINGS = {"NAME": "/name", "MSG": "/msg", "GET_NAMES": "/names", "EXIT": "/quit"}
HELP = "* /name NAME: be called so; /names: who is here; /msg NAME TEXT: tell only one; /quit: leave"
TELNET = re.compile(rb"\xff(?:\xfa.*?\xff\xf0|[\xfb-\xfe].|[^\xfa-\xfe])", re.DOTALL)  # options (RFC 854)
CHUNK = 16 * 1024  # bytes to read at once, and that may wait to be read
BACKLOG = 4096  # clients that may queue until they are accepted
POLL = 0.05  # seconds between two looks at the stop event
LINGER = 1.0  # seconds a client has to take the last reply

Address = tuple[Any, ...]

log = logging.getLogger(__name__)


class ChatError(ValueError):
    """What a client asks for cannot be done, and why."""


class Member:
    """One client: its name, and what is to be sent to it."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self.transport = transport
        self.name = ""
        self.pending: list[bytes] = []


class Room:
    """All members, by name. Nothing here waits: what is said is put down for each, and sent at the end of the turn."""

    def __init__(self, max_unsent: int) -> None:
        self.max_unsent = max_unsent
        self.members: dict[str, Member] = {}
        self.unflushed: set[Member] = set()  # those with something pending
        self.guests = 0

    def tell(self, members: list[Member], line: str) -> None:
        """Say `line` to `members`."""
        data = f"{line}\n".encode("utf-8", "replace")
        if members and not self.unflushed:
            asyncio.get_running_loop().call_soon(self.flush)
        for member in members:
            member.pending.append(data)
        self.unflushed.update(members)

    def flush(self) -> None:
        """Hand what is pending to the transports, in one piece each. Who has too much unsent is dropped."""
        unflushed, self.unflushed = self.unflushed, set()
        for member in unflushed:
            data, member.pending = b"".join(member.pending), []
            if not member.transport.is_closing():
                member.transport.write(data)
            if member.transport.get_write_buffer_size() > self.max_unsent:
                log.info("Dropped %s: too much unsent", member.name)
                member.transport.abort()
                self.leave(member)

    def others(self, member: Member) -> list[Member]:
        return [other for other in self.members.values() if other is not member]

    def join(self, member: Member) -> None:
        """Let a new member in, as the next guest."""
        while not member.name or member.name in self.members:
            self.guests += 1
            member.name = f"guest{self.guests}"
        self.members[member.name] = member
        self.tell([member], f"* Welcome, you are {member.name}: /help tells what you can do")
        self.tell(self.others(member), f"* {member.name} joined")

    def leave(self, member: Member) -> None:
        """Let a member go, if it is still there; its name is free again."""
        if self.members.get(member.name.casefold()) is member:
            del self.members[member.name.casefold()]
            self.tell(list(self.members.values()), f"* {member.name} left")

    def hear(self, member: Member, line: str) -> bool:
        """Do what a member says; return whether it stays."""
        match = COMMAND.fullmatch(line.lstrip())
        if not match:
            self.tell(self.others(member), f"{member.name}: {escape(line)}")
            return True
        word, *rest = (group for group in match.groups() if group is not None)
        try:
            return self.obey(member, SPELLINGS.get(word, word), "".join(rest))
        except ChatError as error:
            self.tell([member], f"ERROR {escape(str(error))}")
            return True

    def obey(self, member: Member, command: str, argument: str) -> bool:
        """Do what a command says; return whether the member stays. Raises ChatError."""
        if command == "/name":
            self.rename(member, unicodedata.normalize("NFC", argument))
        elif command == "/names":
            self.tell([member], " ".join(["NAMES", *(other.name for other in self.members.values())]))
        elif command == "/msg":
            self.whisper(member, *[*re.split(r"\s", argument, maxsplit=1), ""][:2])
        elif command == "/help":
            self.tell([member], HELP)
        elif command == "/quit":
            self.tell([member], "BYE")
        else:
            raise ChatError(f"unknown command: {command}; try /help")
        return command != "/quit"

    def rename(self, member: Member, name: str) -> None:
        """Call a member `name` from now on. Raises ChatError."""
        bare = "".join(c for c in name if unicodedata.category(c)[0] != "M")  # the vowels of some scripts are marks
        if not NAME.fullmatch(bare) or len(name) > MAX_NAME:
            raise ChatError(f"a name has 1 to {MAX_NAME} letters, digits and _ . -")
        if self.members.get(name.casefold(), member) is not member:
            raise ChatError(f"name taken: {name}")
        self.tell(list(self.members.values()), f"* {member.name} is now {name}")
        del self.members[member.name.casefold()]
        member.name = name
        self.members[name.casefold()] = member

    def whisper(self, member: Member, name: str, text: str) -> None:
        """Tell `text` to `name` alone. Raises ChatError."""
        other = self.members.get(unicodedata.normalize("NFC", name).casefold())
        if not name or not text.strip():
            raise ChatError("whom, and what? /msg NAME TEXT")
        if other is None:
            raise ChatError(f"no such user: {name}")
        if other is member:
            raise ChatError("that is you")
        self.tell([other], f"{member.name} (private): {escape(text)}")
        self.tell([member], f"{member.name} (private to {other.name}): {escape(text)}")


def escape(text: str | bytes) -> str:
    """Return `text` with backslash escapes for all that could steer a terminal or forge a line."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


async def lines(reader: asyncio.StreamReader, timeout: float) -> AsyncGenerator[bytes, None]:
    """Yield the lines that come, without LF or CRLF; the last one need not end so. Beyond MAX_LINE they are cut."""
    rest = bytearray()
    while piece := await asyncio.wait_for(reader.read(CHUNK), timeout or None) or (rest and b"\n"):
        *whole, last = piece.split(b"\n")
        for line in whole:
            rest += line[: MAX_LINE + 2 - len(rest)]
            yield bytes(rest.removesuffix(b"\r"))
            rest.clear()
        rest += last[: MAX_LINE + 2 - len(rest)]


async def converse(reader: asyncio.StreamReader, member: Member, room: Room, args: argparse.Namespace) -> None:
    """Hear one client, at most `rate` lines a second, until it leaves."""
    times: deque[float] = deque(maxlen=args.rate)
    async with aclosing(lines(reader, args.timeout)) as heard:
        async for line in heard:
            due = times[0] + 1 if args.rate and len(times) == args.rate else 0
            while (wait := due - time.monotonic()) > 0 and not member.transport.is_closing():
                await asyncio.sleep(min(wait, POLL))
            if member.transport.is_closing():
                return
            times.append(time.monotonic())
            text = TELNET.sub(b"", line).decode("utf-8", "backslashreplace").rstrip()
            if len(line) > MAX_LINE:
                room.tell([member], "ERROR line too long")
            elif text and not room.hear(member, text):
                return


async def serve(listener: socket.socket, args: argparse.Namespace) -> None:
    """Chat with the clients of `listener` until cancelled; then tell them, close all connections, and wait for that."""
    room = Room(args.max_unsent)
    live: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: Address) -> None:
        log.info("Connection from %s", address)
        member = Member(writer.transport)
        try:
            if len(room.members) < args.max_clients:
                room.join(member)
                await converse(reader, member, room, args)
            else:
                room.tell([member], "ERROR server busy")
        except asyncio.TimeoutError:
            room.tell([member], "ERROR timeout")
        except OSError as error:
            log.info("Connection lost %s: %s", address, error)
        finally:
            room.leave(member)
            room.flush()
            await hang_up(reader, writer)
            log.info("Connection closed %s: %s", address, member.name)

    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
                reader, writer = await asyncio.open_connection(sock=connection, limit=CHUNK)
            except OSError as error:  # out of descriptors, say: without a pause this would spin
                log.warning("Cannot accept a client: %s", error)
                await asyncio.sleep(POLL)
                continue
            task = loop.create_task(attend(reader, writer, address[:2]))
            live[task] = writer
            task.add_done_callback(live.pop)
    finally:
        room.tell(list(room.members.values()), "* server is closing")
        room.flush()
        room.members.clear()
        for writer in live.values():
            writer.close()
        if live:
            await asyncio.wait(live, timeout=LINGER)
        for task, writer in live.items():  # those who take nothing any more
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*live, return_exceptions=True)


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End a connection so that the last reply arrives: to close it with bytes unread would reset it."""
    with suppress(OSError, asyncio.TimeoutError):
        writer.write_eof()
        deadline = time.monotonic() + LINGER
        while await asyncio.wait_for(reader.read(CHUNK), LINGER) and time.monotonic() < deadline:
            pass
    writer.close()


async def until(stop: threading.Event, serving: Coroutine[Any, Any, None]) -> None:
    """Run `serving` until `stop` is set; then cancel it, and wait for its end."""
    task = asyncio.ensure_future(serving)
    while not stop.is_set() and not task.done():
        await asyncio.sleep(POLL)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


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


def main(argv: list[str] | None = None) -> int:
    parser = server_parser()
    parser.add_argument("--rate", type=between(0, 1e6), default=RATE, metavar="N", help="lines a second from a client")
    parser.add_argument("--max-unsent", type=between(0, 1e12), default=MAX_UNSENT, metavar="BYTES", help="for a client")
    parser.add_argument("--max-clients", type=between(1, 1e6), default=10_000, metavar="N", help="clients at once")
    args = parser.parse_args(argv)

    def chat(listener: socket.socket, stop: threading.Event) -> None:
        asyncio.run(until(stop, serve(listener, args)))

    return run(args, chat, partial(socket.create_server, backlog=BACKLOG))


if __name__ == "__main__":
    sys.exit(main())
