"""TCP proxy: shows what a client and a server say, and plays a bad network.

    0.003 C: Hello\\n
    0.004 S: Hello\\n
    0.005 C closes

TCP is a stream: one send() is not one recv(), and networks are slow, cut and
rude. Loopback hides that. Point a client to the proxy and the proxy to the
server, and see it: there is a line for each piece, with the seconds since the
client came; the second client has #2 in front, and so on. Control characters
are shown as in a Python string, and of a long piece only the beginning.

Try it:

    python3 echo_server.py
    python3 tcp_proxy.py --to localhost:9000 --pieces 2  # in another terminal
    python3 echo_client.py --port 9100  # in a third one

Left out: UDP, encryption, and packet loss, which TCP itself repairs.

Experiment:

    - writer.write_eof()
    + writer.close()
    `pytest -k "tcp_proxy and half_close"` fails: a client that is done with
    sending still wants to read the answers.
"""

import argparse
import asyncio
import logging
import random
import re
import signal
import socket
import struct
import sys
import time
import unicodedata
from argparse import Namespace
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from contextlib import nullcontext, suppress
from itertools import count
from typing import Any, BinaryIO

HOST, PORT = "localhost", 9100
TIMEOUT = 10.0  # seconds to connect to the server
PIECE = 64 * 1024  # bytes to read at once
MAX_SHOWN = 200  # bytes of a piece in the log; a record has all
PAUSE = 0.001  # seconds between two pieces with --pieces, so that each is read alone
RATE_PIECES = 20  # pieces per second with --rate: fewer would come in bursts
MAX_WAITING = 4096  # clients that may wait to be accepted

Show = Callable[[str, bytes], None]

log = logging.getLogger(__name__)


class Cut(Exception):
    """As many bytes have passed as --cut allows."""


async def forward(
    reader: StreamReader, writer: StreamWriter, side: str, show: Show, args: Namespace, seed: str
) -> None:
    """Pass on what comes from one side ("C" or "S") until it closes. Raises Cut, OSError."""
    chance = random.Random(seed)
    size = args.pieces
    if args.rate:  # small pieces: a large one would come at once, and then nothing for long
        size = min(size, max(args.rate // RATE_PIECES, 1))
    passed = 0
    while data := await read_piece(reader, args.merge):
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            if args.cut is not None:
                piece = piece[: args.cut - passed]
            await asyncio.sleep(args.delay + args.jitter * chance.random())
            show(side, piece)
            writer.write(piece)
            try:
                await writer.drain()  # a side that reads slowly slows the other
            except OSError:  # gone: we are told when we have read all that it said before
                return
            passed += len(piece)
            if passed == args.cut:
                raise Cut
            if args.rate:
                await asyncio.sleep(len(piece) / args.rate)
            elif size < PIECE:
                await asyncio.sleep(PAUSE)
    show(side, b"")
    with suppress(OSError):  # gone
        writer.write_eof()


async def read_piece(reader: StreamReader, merge: float) -> bytes:
    """Return what has arrived, and what follows within `merge` seconds; b"" at the end."""
    data = await reader.read(PIECE)
    deadline = time.monotonic() + merge
    with suppress(asyncio.TimeoutError):
        while merge and data and len(data) < PIECE:
            left = max(deadline - time.monotonic(), 0)
            more = await asyncio.wait_for(reader.read(PIECE - len(data)), left)
            if not more:
                break
            data += more
    return data


def format_piece(data: bytes) -> str:
    """Return a piece as a line from which its bytes can be told: \\xNN is always one byte."""
    text = data.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return escape(re.sub("[\x80-\x9f\xad]", lambda match: f"\\xc2\\x{ord(match[0]):x}", text))


async def handle_client(
    reader: StreamReader,
    writer: StreamWriter,
    number: int,
    record: BinaryIO | None,
    args: Namespace,
) -> None:
    """Connect one client to the server, until both have closed or one of them fails."""
    start = time.monotonic()
    prefix = f"#{number} " if number > 1 else ""

    def show(side: str, piece: bytes) -> None:
        when = f"{prefix}{time.monotonic() - start:.3f}"
        if record:
            text = f"{side}: {format_piece(piece)}" if piece else f"{side} closes"
            try:
                record.write(f"{when} {text}\n".encode())
            except OSError as error:  # the disk is full
                log.error("Cannot write %s: %s", args.record, error.strerror)
        if log.isEnabledFor(logging.INFO):
            more = f"... ({len(piece)} bytes)" if len(piece) > MAX_SHOWN else ""
            text = f"{side}: {format_piece(piece[:MAX_SHOWN])}{more}" if piece else f"{side} closes"
            log.info("%s %s", when, text)

    try:
        connecting = asyncio.open_connection(*args.to, limit=PIECE)
        server_reader, server_writer = await asyncio.wait_for(connecting, TIMEOUT)
    except (OSError, UnicodeError, asyncio.TimeoutError) as error:
        log.error("Cannot connect to %s:%s: %s", *args.to, str(error) or "no answer in time")
        return
    for each in (writer, server_writer):
        each.transport.set_write_buffer_limits(0)  # drain() waits until all is on its way
    seed = f"{args.seed} {number}"
    tasks = [
        asyncio.ensure_future(forward(reader, server_writer, "C", show, args, f"{seed} C")),
        asyncio.ensure_future(forward(server_reader, writer, "S", show, args, f"{seed} S")),
    ]
    try:
        await asyncio.gather(*tasks)
    except (Cut, OSError) as end:
        if args.reset or isinstance(end, OSError):  # what one side does, the other one sees
            reset(writer)
            reset(server_writer)
    finally:
        for task in tasks:
            task.cancel()
        server_writer.close()


def reset(writer: StreamWriter) -> None:
    """End a connection with a reset: with this option close() throws away what is unsent."""
    linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


# The rest is sockets, logging and the command line.


async def serve(listener: socket.socket, record: BinaryIO | None, args: Namespace) -> None:
    """Stand between the clients of `listener` and the server until cancelled."""
    tasks: set[asyncio.Task[Any]] = set()
    numbers = count(1)

    async def run_client(reader: StreamReader, writer: StreamWriter) -> None:
        address = writer.get_extra_info("peername")
        log.info("Connection from %s", address)
        task = asyncio.current_task()
        assert task  # or nothing would run here
        tasks.add(task)
        try:
            await handle_client(reader, writer, next(numbers), record, args)
        finally:
            writer.close()
            tasks.remove(task)
            log.info("Connection closed %s", address)

    def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError):  # out of file descriptors; asyncio tries again in a second
            log.warning("Cannot accept a client: %s", error)
        elif not isinstance(error, asyncio.CancelledError):  # of who came when it was closing
            loop.default_exception_handler(context)

    asyncio.get_running_loop().set_exception_handler(report)
    server = await asyncio.start_server(run_client, sock=listener, limit=PIECE, backlog=1)
    # Not as `backlog`: asyncio calls accept() that often in a row, and without file descriptors it
    # would fail and log each time.
    listener.listen(MAX_WAITING)
    try:
        await asyncio.Event().wait()
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
    option("--to", required=True, metavar="HOST:PORT", help="the server")
    option(
        "--pieces",
        type=int,
        default=PIECE,
        metavar="N",
        help="most bytes in a piece (default: %(default)s)",
    )
    for name, effect in (
        ("--merge", "pass on as one piece what comes within this time"),
        ("--delay", "hold each piece back"),
        ("--jitter", "hold each piece back for up to this much more, at random"),
    ):
        option(
            name,
            type=float,
            default=0,
            metavar="SECONDS",
            help=f"{effect} (default: %(default)s)",
        )
    option(
        "--rate",
        type=int,
        default=0,
        metavar="BYTES",
        help="per second in each direction; 0: no limit (default: %(default)s)",
    )
    option("--cut", type=int, metavar="BYTES", help="end it after so many bytes (default: never)")
    option("--reset", action="store_true", help="end it with a reset, as if a machine had crashed")
    option("--seed", default=0, metavar="N", help="same N, same jitter (default: %(default)s)")
    option("--record", metavar="FILE", help="write the dialogue to a file (default: none)")
    option("--quiet", action="store_true", help="log errors only")
    args = parser.parse_args(argv)
    to_host, _, to_port = args.to.rpartition(":")
    if not to_host or not to_port.isdecimal() or not 1 <= int(to_port) <= 65535:
        parser.error("--to must be HOST:PORT")
    args.to = (to_host.strip("[]"), int(to_port))
    times = (args.merge, args.delay, args.jitter)
    if not (args.host and 0 <= args.port <= 65535 and all(0 <= value <= 1e6 for value in times)):
        parser.error(
            "--host must not be empty; --port must be from 0 to 65535, times from 0 to 1000000"
        )
    if args.pieces < 1 or args.rate < 0 or (args.cut is not None and args.cut < 1):
        parser.error("--pieces and --cut must be at least 1, --rate at least 0")
    if args.reset and args.cut is None:
        parser.error("--reset needs --cut")
    args.pieces = min(args.pieces, PIECE)
    logging.basicConfig(
        level=logging.ERROR if args.quiet else logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    host, family = args.host, socket.AF_INET
    if ":" in host:
        host, family = f"[{host}]", socket.AF_INET6
    record = None
    try:
        if args.record:
            record = open(args.record, "wb", buffering=0)
        listener = socket.create_server((args.host, args.port), family=family)
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.filename:
            reason = f"cannot write {args.record}: {error.strerror}; choose another --record"
        else:
            reason = (
                f"cannot listen on {host}:{args.port}: {error}; choose another --host or --port"
            )
        parser.exit(1, f"{parser.prog}: error: {reason}\n")

    async def proxy() -> None:
        loop, task = (
            asyncio.get_running_loop(),
            asyncio.ensure_future(serve(listener, record, args)),
        )
        for number in (signal.SIGINT, getattr(signal, "SIGBREAK", signal.SIGTERM)):
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(task.cancel))
        print(f"Server listening on {host}:{listener.getsockname()[1]}...", flush=True)
        await task

    with listener, record or nullcontext(), suppress(asyncio.CancelledError):
        asyncio.run(proxy())
    log.info("Server stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
