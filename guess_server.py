"""Guessing game server: says whether its number is higher or lower than yours.

    S: Guess a number between 1 and 100
    C: 50
    S: lower
    C: 25
    S: higher
    C: many
    S: ERROR not a whole number: 'many'
    C: 42
    S: correct: 42 in 3 guesses

Each client gets a number of its own. A guess that is not a whole number, or
not in the range, does not count. "quit" leaves. UTF-8; lines end in LF or CRLF
and have at most 100 bytes.

Try it:

    python3 guess_server.py --number 42
    nc localhost 9003  # in another terminal

Left out: a player who loses the connection starts again.

Experiment:

    - if not re.fullmatch("[-+]?[0-9]+", text):
    + if not text:
    `pytest -k "guess_server and no_guess"` fails: int() takes 1_0, and raises
    an exception for what is no number.
"""

import argparse
import logging
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from random import SystemRandom
from typing import Any

HOST, PORT = "localhost", 9003
TIMEOUT = 300.0  # seconds without a guess
MAX_LINE = 100  # bytes
FARTHEST = 10**18  # largest absolute value of --low and --high

Address = tuple[Any, ...]  # (host, port), and two more values for IPv6

log = logging.getLogger(__name__)


class Game:
    """One game: find a secret from `low` to `high` in `limit` guesses (None: in any number)."""

    def __init__(self, low: int, high: int, secret: int, limit: int | None = None) -> None:
        self.low, self.high, self.secret, self.limit = low, high, secret, limit
        self.guesses = 0
        self.over = False

    def answer(self, line: bytes) -> str:
        """Return the reply to a guess; `over` tells whether it is the last one."""
        if len(line) > MAX_LINE:
            return f"ERROR line too long: at most {MAX_LINE} bytes"
        text = line.decode("utf-8", "backslashreplace").strip()
        if not re.fullmatch("[-+]?[0-9]+", text):
            return f"ERROR not a whole number: {text!r}"
        guess = int(text)
        if not self.low <= guess <= self.high:
            return f"ERROR out of range: {self.low} to {self.high}"
        self.guesses += 1
        if guess == self.secret:
            self.over = True
            noun = "guess" if self.guesses == 1 else "guesses"
            return f"correct: {guess} in {self.guesses} {noun}"
        if self.guesses == self.limit:
            self.over = True
            return f"ERROR out of guesses: it was {self.secret}"
        return "higher" if self.secret > guess else "lower"


def handle_client(connection: socket.socket, address: Address, args: argparse.Namespace) -> str:
    """Play a game with one client; return a summary for the log."""
    connection.settimeout(args.timeout or None)
    secret = args.number
    if secret is None:  # SystemRandom: nobody can guess it from earlier secrets
        secret = SystemRandom().randint(args.low, args.high)
    game = Game(args.low, args.high, secret, args.max_guesses)
    connection.sendall(f"Guess a number between {args.low} and {args.high}\n".encode())
    for line in read_lines(connection, b"ERROR timeout\n"):
        if line.strip() == b"quit":
            break
        connection.sendall(f"{game.answer(line)}\n".encode())
        if game.over:
            break
    return f"guesses: {game.guesses}"


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


def read_lines(connection: socket.socket, timeout_reply: bytes) -> Iterator[bytes]:
    """Yield each line without its LF or CRLF, however it was cut into pieces on the way.

    The last line may lack its ending. A line longer than MAX_LINE is cut, but stays longer than
    MAX_LINE. An idle client gets `timeout_reply` before TimeoutError is raised. Raises OSError.
    """
    with connection.makefile("rb") as stream:
        try:
            while line := stream.readline(MAX_LINE + 2):
                rest = line
                while rest and not rest.endswith(b"\n"):  # too long: skip the rest
                    rest = stream.readline(MAX_LINE)
                yield line.removesuffix(b"\n").removesuffix(b"\r")
        except TimeoutError:
            connection.sendall(timeout_reply)
            raise


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
    option("--low", type=int, default=1, metavar="N", help="smallest number (default: %(default)s)")
    option("--high", type=int, default=100, metavar="N", help="largest one (default: %(default)s)")
    option("--number", type=int, metavar="N", help="the number to guess (default: a random one)")
    option("--max-guesses", type=int, metavar="N", help="guesses per client (default: no limit)")
    args = parser.parse_args(argv)
    if not (args.host and 0 <= args.port <= 65535 and 0 <= args.timeout <= 1e6):
        parser.error(
            "--host must not be empty; --port must be from 0 to 65535, --timeout from 0 to 1000000"
        )
    number = args.low if args.number is None else args.number
    if not -FARTHEST <= args.low <= number <= args.high <= FARTHEST:
        parser.error(f"--low, --number and --high must be in order, from -{FARTHEST} to {FARTHEST}")
    if args.max_guesses is not None and args.max_guesses < 1:
        parser.error("--max-guesses must be at least 1")
    logging.basicConfig(
        level=logging.ERROR if args.quiet else logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
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
    with listener:
        print(f"Server listening on {host}:{listener.getsockname()[1]}...", flush=True)
        serve(listener, partial(handle_client, args=args), stop)
    log.info("Server stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
