"""Chat server on asyncio: what one client types, all the others see.

    S: * Welcome, you are guest...: /help tells what you can do
    C: NAME alice
    S: * guest... is now alice
    C: GET_NAMES
    S: NAMES ...
    C: /msg nobody hello
    S: ERROR no such user: nobody
    C: EXIT
    S: BYE

The others receive a message as "alice: hello", a private one (MSG bob hi, or
/msg bob hi) as "alice (private): hi"; notices begin with an asterisk. NAME,
GET_NAMES, MSG and EXIT can also be written /name, /names, /msg and /quit.
UTF-8; lines end in LF or CRLF and have at most 4096 bytes; control characters
are shown escaped. Names have 1 to 16 letters, digits and _ . -

Try it:

    python3 chat_server.py
    nc localhost 9001  # in two other terminals

Left out: passwords, so anybody can take a free name; a history for those who
come later; several rooms.

Experiment:

    - times.append(time.monotonic())
    + times.append(time.monotonic())
    + for other in list(room.members.values()):
    +     await other.writer.drain()
    `pytest -k "chat_server and deaf"` fails: one client that does not read
    stops all the others.
"""

import argparse
import asyncio
import logging
import re
import signal
import socket
import sys
import time
import unicodedata
from argparse import Namespace
from asyncio import StreamReader, StreamWriter
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

HOST, PORT = "localhost", 9001
TIMEOUT = 0.0  # seconds without a line; 0: never, since some only read
MAX_LINE = 4096  # bytes
MAX_UNSENT = 1024 * 1024  # bytes that may wait for a client that does not read
RATE = 50  # lines per second
MAX_NAME = 16  # characters
NAME = re.compile(r"[\w.-]+")
COMMAND = re.compile(r"(NAME)\s+(\S+)|(MSG)\s+(\S+\s+.+)|(GET_NAMES)|(EXIT)|(/\S*)\s*(.*)")
ALIASES = {"NAME": "/name", "MSG": "/msg", "GET_NAMES": "/names", "EXIT": "/quit"}
HELP = (
    "* /name NAME: change your name; /names: list the users; "
    "/msg NAME TEXT: send a private message; /quit: leave"
)

RunClient = Callable[[socket.socket, object], Coroutine[Any, Any, None]]

log = logging.getLogger(__name__)


class ChatError(ValueError):
    """What a client asks for cannot be done; the message says why."""


class Member:
    """One client: its name, its connection, and the lines that are to be sent to it."""

    def __init__(self, writer: StreamWriter) -> None:
        self.writer = writer
        self.name = ""
        self.pending: list[bytes] = []


class Room:
    """All members, by name.

    No method here awaits anything, so all members see all lines in the same order. Nor is there
    an `await writer.drain()`, which waits for a slow reader: one member would stop all others.
    Instead, a member whose unsent lines pile up is dropped.
    """

    def __init__(self, max_unsent: int) -> None:
        self.max_unsent = max_unsent  # bytes
        self.members: dict[str, Member] = {}
        self.waiting: set[Member] = set()  # those with pending lines
        self.guests = 0

    def send_to(self, members: list[Member], line: str) -> None:
        """Send a line to `members`, together with all other lines of this turn of the loop."""
        if members and not self.waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        data = f"{line}\n".encode("utf-8", "replace")
        for member in members:
            member.pending.append(data)
        self.waiting.update(members)

    def broadcast(self, line: str, sender: Member | None = None) -> None:
        """Send a line to all members but the sender."""
        self.send_to([member for member in self.members.values() if member is not sender], line)

    def flush(self) -> None:
        """Write the pending lines: many lines in one write are several times as fast."""
        waiting, self.waiting = self.waiting, set()
        for member in waiting:
            data, member.pending = b"".join(member.pending), []
            if not member.writer.is_closing():
                member.writer.write(data)
            if member.writer.transport.get_write_buffer_size() > self.max_unsent:
                log.info("Dropped %s: it does not read", member.name)
                member.writer.transport.abort()
                self.leave(member)

    def join(self, member: Member) -> None:
        """Add a new member, as the next guest."""
        while not member.name or member.name in self.members:
            self.guests += 1
            member.name = f"guest{self.guests}"
        self.members[member.name] = member
        self.send_to([member], f"* Welcome, you are {member.name}: /help tells what you can do")
        self.broadcast(f"* {member.name} joined", member)

    def leave(self, member: Member) -> None:
        """Remove a member, if it is still here; its name is free again."""
        if self.members.get(member.name.casefold()) is member:
            del self.members[member.name.casefold()]
            self.broadcast(f"* {member.name} left")

    def handle_line(self, member: Member, line: str) -> bool:
        """Send a message, or run a command; return whether the member stays."""
        match = COMMAND.fullmatch(line.lstrip())
        if not match:
            self.broadcast(f"{member.name}: {escape(line)}", member)
            return True
        word, *argument = (group for group in match.groups() if group is not None)
        try:
            return self.handle_command(member, ALIASES.get(word, word), "".join(argument))
        except ChatError as error:
            self.send_to([member], f"ERROR {escape(str(error))}")
            return True

    def handle_command(self, member: Member, command: str, argument: str) -> bool:
        """Run a command; return whether the member stays. Raises ChatError."""
        if command == "/name":
            self.rename(member, unicodedata.normalize("NFC", argument))
        elif command == "/names":
            names = [other.name for other in self.members.values()]
            self.send_to([member], " ".join(["NAMES", *names]))
        elif command == "/msg":
            self.send_private(member, *[*re.split(r"\s", argument, maxsplit=1), ""][:2])
        elif command == "/help":
            self.send_to([member], HELP)
        elif command == "/quit":
            self.send_to([member], "BYE")
        else:
            raise ChatError(f"unknown command: {command}; try /help")
        return command != "/quit"

    def rename(self, member: Member, name: str) -> None:
        """Change the name of a member. Raises ChatError."""
        letters = "".join(c for c in name if unicodedata.category(c)[0] != "M")  # Hindi vowels are
        if not NAME.fullmatch(letters) or len(name) > MAX_NAME:
            raise ChatError(f"a name has 1 to {MAX_NAME} letters, digits and _ . -")
        if self.members.get(name.casefold(), member) is not member:
            raise ChatError(f"name taken: {name}")
        self.broadcast(f"* {member.name} is now {name}")
        del self.members[member.name.casefold()]
        member.name = name
        self.members[name.casefold()] = member

    def send_private(self, member: Member, name: str, text: str) -> None:
        """Send a message to one member only. Raises ChatError."""
        other = self.members.get(unicodedata.normalize("NFC", name).casefold())
        if not name or not text.strip():
            raise ChatError("usage: /msg NAME TEXT")
        if other is None:
            raise ChatError(f"no such user: {name}")
        if other is member:
            raise ChatError("that is you")
        self.send_to([other], f"{member.name} (private): {escape(text)}")
        self.send_to([member], f"{member.name} (private to {other.name}): {escape(text)}")


async def handle_client(
    reader: StreamReader, member: Member, room: Room, options: Namespace
) -> None:
    """Handle the lines of one client, at most `rate` per second, until it leaves."""
    times: deque[float] = deque(maxlen=options.rate)  # of its last lines
    while True:
        line = await asyncio.wait_for(read_line(reader), options.timeout or None)
        while options.rate and len(times) == options.rate and times[0] + 1 > time.monotonic():
            await asyncio.sleep(POLL)  # the client is slowed down; nothing it sent is lost
            if member.writer.is_closing():
                return
        times.append(time.monotonic())
        text = line.decode("utf-8", "backslashreplace").rstrip()
        if len(line.rstrip(b"\r\n")) > MAX_LINE:
            room.send_to([member], "ERROR line too long")
        elif not line or (text and not room.handle_line(member, text)):
            return


async def read_line(reader: StreamReader) -> bytes:
    """Return the next line; b"" at the end. A line that is too long is cut, and its rest skipped.

    StreamReader.readline() would take the rest of a line that is too long for another line.
    """
    line = rest = await read_part(reader)
    while rest and not rest.endswith(b"\n"):
        rest = await read_part(reader)
    return line


async def read_part(reader: StreamReader) -> bytes:
    """Return a line, or the next part of one that is too long."""
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:  # the last line has no line ending
        return error.partial
    except asyncio.LimitOverrunError:
        return await reader.read(MAX_LINE + 2)


async def hang_up(reader: StreamReader, writer: StreamWriter) -> None:
    """End a connection so that the last reply arrives.

    Closing a socket that holds unread bytes resets the connection, and a reset can destroy a
    reply on its way. So send the end of the stream, and read until the client closes as well.
    """
    with suppress(OSError, asyncio.TimeoutError):
        writer.write_eof()
        deadline = time.monotonic() + LINGER
        while await asyncio.wait_for(reader.read(65536), LINGER) and time.monotonic() < deadline:
            pass
    writer.close()


# The rest is sockets, logging and the command line.

MAX_WAITING = 4096  # clients that may wait to be accepted
PAUSE_ACCEPT = 0.05  # seconds until the next try, without file descriptors
POLL = 0.05  # seconds between two checks whether a client that is slowed down is still there
LINGER = 1.0  # seconds for a client to read the last line and close


async def serve(listener: socket.socket, options: Namespace) -> None:
    """Chat with the clients of `listener` until cancelled; then close all connections."""
    room = Room(options.max_unsent)
    writers: dict[asyncio.Task[Any], StreamWriter] = {}  # for the task of each client

    async def run_client(connection: socket.socket, address: object) -> None:
        log.info("Connection from %s", address)
        reader, writer = await asyncio.open_connection(sock=connection, limit=MAX_LINE + 1)
        task = asyncio.current_task()
        assert task  # or nothing would run here
        writers[task] = writer
        member = Member(writer)
        room.join(member)
        try:
            await handle_client(reader, member, room, options)
        except asyncio.TimeoutError:
            room.send_to([member], "ERROR timeout")
        except OSError as error:
            log.info("Connection lost %s: %s", address, error)
        finally:
            room.leave(member)
            room.flush()
            await hang_up(reader, writer)
            log.info("Connection closed %s: %s", address, member.name)
            del writers[task]

    try:
        await accept_clients(listener, run_client)
    finally:
        await asyncio.sleep(POLL)  # those who have just been accepted get their handler
        room.broadcast("* server is closing")
        room.flush()
        room.members.clear()
        for writer in writers.values():
            writer.close()
        if writers:
            await asyncio.wait(writers, timeout=LINGER)
        for task, writer in writers.items():  # of clients that do not read
            writer.transport.abort()
            task.cancel()


async def accept_clients(listener: socket.socket, run_client: RunClient) -> None:
    """Call `run_client(connection, address)` in a task for each client until cancelled.

    Not asyncio.start_server(): on Windows, a client that resets its connection before it is
    accepted would end it for good; elsewhere, it waits a second for file descriptors.
    """
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(report_error)
    tasks: set[asyncio.Task[None]] = set()  # asyncio itself does not keep them alive
    listener.setblocking(False)
    while True:
        try:
            task = loop.create_task(run_client(*await loop.sock_accept(listener)))
            tasks.add(task)
            task.add_done_callback(tasks.remove)
        except OSError as error:  # out of file descriptors
            log.warning("Cannot accept a client: %s", error)
            await asyncio.sleep(PAUSE_ACCEPT)  # let some clients leave; do not spin


def report_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what asyncio reports, except for what sock_accept() has told us already.

    If it is cancelled just when a client comes, asyncio reports an InvalidStateError.
    """
    if not isinstance(context.get("exception"), (OSError, asyncio.InvalidStateError)):
        loop.default_exception_handler(context)


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
    option(
        "--rate",
        type=int,
        default=RATE,
        metavar="N",
        help="lines per second; 0: no limit (default: %(default)s)",
    )
    option(
        "--max-unsent",
        type=int,
        default=MAX_UNSENT,
        metavar="BYTES",
        help="drop a client with more unread (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    if not (args.host and 0 <= args.port <= 65535 and 0 <= args.timeout <= 1e6):
        parser.error(
            "--host must not be empty; --port must be from 0 to 65535, --timeout from 0 to 1000000"
        )
    if not (0 <= args.rate <= 1e6 and 0 <= args.max_unsent <= 1e12):
        parser.error("--rate must be from 0 to 1000000, --max-unsent from 0 to 1000000000000")
    logging.basicConfig(
        level=logging.ERROR if args.quiet else logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    host, family = args.host, socket.AF_INET
    if ":" in host:
        host, family = f"[{host}]", socket.AF_INET6
    try:
        listener = socket.create_server((args.host, args.port), family=family, backlog=MAX_WAITING)
    except (OSError, UnicodeError) as error:
        reason = f"cannot listen on {host}:{args.port}: {error}; choose another --host or --port"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")

    async def chat() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(serve(listener, args))
        for number in (signal.SIGINT, getattr(signal, "SIGBREAK", signal.SIGTERM)):
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(task.cancel))
        print(f"Server listening on {host}:{listener.getsockname()[1]}...", flush=True)
        await task

    with listener, suppress(asyncio.CancelledError):
        asyncio.run(chat())
    log.info("Server stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
