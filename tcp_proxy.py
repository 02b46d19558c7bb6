"""TCP proxy: shows what a client and a server say, and plays a bad network.

    0.003 C: Hello\\n
    0.004 S: Hello\\n
    0.005 C closes

TCP is a stream: one send() is not one recv(), and networks are slow, cut and
rude. Loopback hides that. Point a client to the proxy and the proxy to the
server, and see it: there is a line for each piece, with the seconds since the
client came; the second client has #2 in front, and so on. What is not plain
ASCII is shown byte by byte, as in a Python bytes literal, and of a long piece
only the beginning.

--delay and --jitter hold back one piece at a time: what comes meanwhile waits
behind it, and goes on as the next piece.

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
import signal
import socket
import struct
import sys
import time
from argparse import ArgumentTypeError, Namespace
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Coroutine
from contextlib import nullcontext, suppress
from itertools import count
from typing import Any, BinaryIO

HOST, PORT = "localhost", 9100
TIMEOUT = 10.0  # seconds to connect to the server
PIECE = 64 * 1024  # bytes to read at once
MAX_SHOWN = 200  # bytes of a piece in the log; a record has all
PAUSE = 0.001  # seconds before a piece with --pieces, so that each is read alone
RATE_PIECES = 20  # pieces per second with --rate: fewer would come in bursts
MAX_WAITING = 4096  # clients that may wait to be accepted
PAUSE_ACCEPT = 1.0  # seconds until the next try, without file descriptors
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"  # of the log

Show = Callable[[str, bytes], None]
RunClient = Callable[[socket.socket, object], Coroutine[Any, Any, None]]

log = logging.getLogger(__name__)


def format_piece(piece: bytes, limit: int) -> str:
    """Return what follows "C" or "S" in the log, with `limit` bytes at most; b"" is the end."""
    if not piece:
        return " closes"
    text = piece[:limit].decode("latin-1").encode("unicode_escape").decode()
    return f": {text}" + (f"... ({len(piece)} bytes)" if len(piece) > limit else "")


async def read_piece(reader: StreamReader, merge: float) -> bytes:
    """Return what has arrived, and what follows within `merge` seconds; b"" at the end."""
    piece = await reader.read(PIECE)

    async def read_more() -> None:
        nonlocal piece
        while len(piece) < PIECE and (more := await reader.read(PIECE - len(piece))):
            piece += more

    if merge:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(read_more(), merge)
    return piece


async def forward(
    reader: StreamReader, writer: StreamWriter, side: str, show: Show, args: Namespace, seed: str
) -> None:
    """Pass on what one side ("C" or "S") says until it closes.

    Raises OSError when a connection breaks, and EOFError when --cut ends it.
    """
    chance = random.Random(f"{seed} {side}")
    size = args.pieces or PIECE
    if args.rate:  # small pieces: a large one would come at once, and then nothing for long
        size = min(size, max(args.rate // RATE_PIECES, 1))
    left = args.cut or sys.maxsize
    while data := await read_piece(reader, args.merge):
        for start in range(0, len(data), size):
            piece = data[start : start + size][:left]
            wait = args.delay + args.jitter * chance.random()
            if args.pieces:
                wait += PAUSE
            if args.rate:
                wait += len(piece) / args.rate
            if wait:
                await asyncio.sleep(wait)
            show(side, piece)
            writer.write(piece)
            try:
                await writer.drain()  # a side that reads slowly slows the other
            except OSError:  # gone: we are told when we have read all that it said before
                return
            left -= len(piece)
            if not left:
                raise ConnectionResetError if args.reset else EOFError
    show(side, b"")
    with suppress(OSError):  # gone
        writer.write_eof()


async def handle_client(
    connection: socket.socket, number: int, record: BinaryIO | None, args: Namespace
) -> None:
    """Connect one client to the server, until both have closed or one of them fails."""
    start = time.monotonic()
    prefix = f"#{number} " if number > 1 else ""

    def show(side: str, piece: bytes) -> None:
        when = f"{prefix}{time.monotonic() - start:.3f} {side}"
        if not args.quiet:  # not by `logging`: it takes 8 times as long
            now = time.strftime(TIME_FORMAT)
            sys.stderr.write(f"{now} {when}{format_piece(piece, MAX_SHOWN)}\n")
        if record:
            try:
                record.write(f"{when}{format_piece(piece, PIECE)}\n".encode())
            except OSError as error:  # the disk is full
                log.error("Cannot write %s: %s", args.record, error.strerror)

    try:
        connecting = asyncio.open_connection(*args.to)
        from_server, to_server = await asyncio.wait_for(connecting, TIMEOUT)
    except (OSError, UnicodeError, asyncio.TimeoutError) as error:
        log.error("Cannot connect to %s:%s: %s", *args.to, str(error) or "no answer in time")
        connection.close()
        return
    from_client, to_client = await asyncio.open_connection(sock=connection)
    seed = f"{args.seed} {number}"
    tasks = [
        asyncio.create_task(forward(from_client, to_server, "C", show, args, seed)),
        asyncio.create_task(forward(from_server, to_client, "S", show, args, seed)),
    ]
    try:
        await asyncio.gather(*tasks)
    except EOFError:
        log.info("%sConnection cut", prefix)
    except OSError:  # what one side does, the other one sees
        log.info("%sConnection reset", prefix)
        reset(to_client)
        reset(to_server)
    finally:
        for task in tasks:
            task.cancel()
        to_client.close()
        to_server.close()


def reset(writer: StreamWriter) -> None:
    """End a connection with a reset: with this option close() throws away what is unsent."""
    linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


# The rest is sockets, logging and the command line.


async def serve(listener: socket.socket, record: BinaryIO | None, args: Namespace) -> None:
    """Stand between the clients of `listener` and the server until cancelled.

    The tasks of the clients are left to asyncio.run(), which cancels them at the end.
    """
    numbers = count(1)

    async def run_client(connection: socket.socket, address: object) -> None:
        log.info("Connection from %s", address)
        try:
            await handle_client(connection, next(numbers), record, args)
        finally:
            log.info("Connection closed %s", address)

    await accept_clients(listener, run_client)


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


def host_and_port(text: str) -> tuple[str, int]:
    """Return the two parts of HOST:PORT. Raises ValueError, ArgumentTypeError."""
    host, _, port = text.rpartition(":")
    if not host or not 1 <= int(port) <= 65535:
        raise ArgumentTypeError("expected HOST:PORT, with a port from 1 to 65535")
    return host.strip("[]"), int(port)


def positive(text: str) -> int:
    """Return a number of bytes. Raises ValueError, ArgumentTypeError."""
    if int(text) < 1:
        raise ArgumentTypeError("must be at least 1")
    return int(text)


def seconds(text: str) -> float:
    """Return a number of seconds. Raises ValueError, ArgumentTypeError."""
    if not 0 <= float(text) <= 1e6:
        raise ArgumentTypeError("must be from 0 to 1000000")
    return float(text)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--host", default=HOST, help="address to listen on (default: %(default)s)")
    option("--port", type=int, default=PORT, help="0 for a free one (default: %(default)s)")
    option("--to", type=host_and_port, required=True, metavar="HOST:PORT", help="the server")
    option("--pieces", type=positive, metavar="N", help="most bytes in a piece (default: no limit)")
    for name, effect in (
        ("--merge", "pass on as one piece what comes within this time"),
        ("--delay", "hold each piece back"),
        ("--jitter", "hold each piece back for up to this much more, at random"),
    ):
        option(name, type=seconds, default=0, metavar="SECONDS", help=f"{effect} (default: 0)")
    option("--rate", type=positive, metavar="BYTES", help="per second each way (default: no limit)")
    option("--cut", type=positive, metavar="BYTES", help="end after so many (default: never)")
    option("--reset", action="store_true", help="end with a reset, as if a machine had crashed")
    option("--seed", default=0, metavar="N", help="same N, same jitter (default: %(default)s)")
    option("--record", metavar="FILE", help="write the dialogue to a file (default: none)")
    option("--quiet", action="store_true", help="log errors only")
    args = parser.parse_args(argv)
    if not (args.host and 0 <= args.port <= 65535):
        parser.error("--host must not be empty; --port must be from 0 to 65535")
    if args.reset and not args.cut:
        parser.error("--reset needs --cut")
    logging.basicConfig(
        level=logging.ERROR if args.quiet else logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt=TIME_FORMAT,
    )
    host, family = args.host, socket.AF_INET
    if ":" in host:
        host, family = f"[{host}]", socket.AF_INET6
    try:
        listener = socket.create_server((args.host, args.port), family=family, backlog=MAX_WAITING)
    except (OSError, UnicodeError) as error:
        reason = f"cannot listen on {host}:{args.port}: {error}; choose another --host or --port"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    try:
        record = open(args.record, "wb", buffering=0) if args.record else None
    except OSError as error:
        reason = f"cannot write {args.record}: {error.strerror}; choose another --record"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")

    async def proxy() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.create_task(serve(listener, record, args))
        for signum in (signal.SIGINT, getattr(signal, "SIGBREAK", signal.SIGTERM)):
            signal.signal(signum, lambda *_: loop.call_soon_threadsafe(task.cancel))
        print(f"Server listening on {host}:{listener.getsockname()[1]}...", flush=True)
        await task

    with listener, record or nullcontext(), suppress(asyncio.CancelledError):
        asyncio.run(proxy())
    log.info("Server stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
