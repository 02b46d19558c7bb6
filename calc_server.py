"""Calculator server: evaluates one expression a line, exactly.

    C: 2 + 3
    S: 5
    C: 0.1 + 0.2
    S: 0.3
    C: 1 / 3
    S: 0.333333333333
    C: 2 ** 0.5
    S: 1.41421356237
    C: 1 / 0
    S: ERROR division by zero
    C: 2 + x
    S: ERROR unexpected 'x' at column 5

Operators, as in Python: + - * / // % ** and parentheses. Numbers: 12, 1.5, .5, 5., 1.5e3. Arithmetic is exact, on
fractions; what is not a whole number is shown with 12 digits. A power that is irrational, or too long, is a float.
Lines end in LF or CRLF and have at most 4096 bytes, numbers at most 1000 digits.

Try it:

    python3 calc_server.py
    echo '2 + 3' | nc -N localhost 9002
"""

import argparse
import logging
import math
import operator
import os
import re
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from functools import partial
from queue import SimpleQueue
from typing import Any

HOST, PORT = "localhost", 9002
TIMEOUT = 300.0  # seconds without a line
MAX_LINE = 4096  # bytes
MAX_DIGITS = 1000
LIMIT = 10**MAX_DIGITS  # numerators and denominators are smaller
LEAST = -LIMIT
TINY, HUGE = 1e-300, 1e300  # a float between them has all its digits
SAFE = 100  # as the exponent of a float: beyond it, too much of the rounding is in the result
PRECISION = 40  # digits of a power then
TOKEN = re.compile(
    r"""( (?: [0-9]+ \.? [0-9]* | \.[0-9]+ ) (?: [eE] [-+]? [0-9]+ )?  # a number
            | \*\* | // | [-+*/%()]
            | \w+ | \S )""",  # anything else is an error, shown as a whole
    re.VERBOSE,
)
TELNET = re.compile(rb"\xff(?:\xfa.*?\xff\xf0|[\xfb-\xfe].|[^\xfa-\xfe])", re.DOTALL)  # options (RFC 854)
BINDING = {"(": 0, "+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "%": 2, "negative": 3, "**": 4}
CHUNK = 64 * 1024  # bytes to ask for
STACK = 256 * 1024  # bytes a thread
BACKLOG = 4096  # clients that may queue until they are accepted
SPARE = 64  # threads that may wait for the next client
POLL = 0.05  # seconds between two looks at the stop event
LINGER = 1.0  # seconds a client has to take the last reply

Address = tuple[Any, ...]
Number = int | Fraction | float

log = logging.getLogger(__name__)


class CalcError(ValueError):
    """The expression has no value, and why."""


def answer(line: str) -> str:
    """Return the value of an expression, or ERROR and the reason."""
    try:
        return formatted(evaluate(line))
    except ZeroDivisionError:
        return "ERROR division by zero"
    except OverflowError:
        return "ERROR number too large"
    except CalcError as error:
        return f"ERROR {error}"


def evaluate(expression: str) -> Number:
    """Return the value of `expression`. Raises CalcError, ZeroDivisionError, OverflowError.

    Values and operators wait on two stacks until an operator comes that binds no tighter (Dijkstra's shunting yard).
    """
    values: list[Number] = []
    waiting: list[str] = []
    tokens = TOKEN.findall(expression)
    operand = True  # whether one has to come next
    for index, token in enumerate(tokens):
        if operand:
            if token[0] in "0123456789." and token != ".":
                values.append(number(token))
                operand = False
            elif token == "-":
                waiting.append("negative")
            elif token == "(":
                waiting.append(token)
            elif token != "+":  # as a sign it changes nothing
                raise unexpected(expression, index)
        elif token == ")":
            while waiting and waiting[-1] != "(":
                apply(waiting.pop(), values)
            if not waiting:
                raise unexpected(expression, index)
            waiting.pop()
        elif token in BINARY:
            tightness = BINDING[token] + (token == "**")  # which is grouped from the right
            while waiting and BINDING[waiting[-1]] >= tightness:
                apply(waiting.pop(), values)
            waiting.append(token)
            operand = True
        else:
            raise unexpected(expression, index)
    if operand:
        raise CalcError("unexpected end of the expression")
    while waiting:
        if waiting[-1] == "(":
            raise CalcError("missing )")
        apply(waiting.pop(), values)
    return values[0]


def apply(name: str, values: list[Number]) -> None:
    """Replace the operands on top of `values` by the result. Raises CalcError, ZeroDivisionError, OverflowError."""
    last = values.pop()
    if name in BINARY:
        value = BINARY[name](values.pop(), last)
        values.append(value if type(value) is int and LEAST < value < LIMIT else bounded(value))
    else:
        values.append(-last)


def number(text: str) -> Number:
    """Return the value of a number. Raises OverflowError."""
    if text.isdigit() and len(text) <= MAX_DIGITS:
        return int(text)
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, decimals = mantissa.partition(".")
    power = int(exponent or 0) - len(decimals)
    digits = int(whole + decimals)
    if digits and abs(power) > MAX_LINE:
        raise OverflowError
    if not digits:
        return 0
    return bounded(Fraction(digits, 10**-power) if power < 0 else digits * 10**power)


def bounded(value: Number) -> Number:
    """Return `value`, whole numbers as int. Raises OverflowError if it is beyond LIMIT."""
    if isinstance(value, int):
        if LEAST < value < LIMIT:
            return value
    elif isinstance(value, float):
        if math.isfinite(value):
            return value
    elif LEAST < value.numerator < LIMIT and value.denominator < LIMIT:
        return value.numerator if value.denominator == 1 else value
    raise OverflowError


def divide(a: Number, b: Number) -> Number:
    """Return a / b, exactly where both are exact. Raises ZeroDivisionError."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b if b and a % b == 0 else Fraction(a, b)
    quotient: Number = a / b
    return quotient


def power(a: Number, b: Number) -> Number:
    """Return a ** b, with a bound on the size before it is computed. Raises CalcError, OverflowError."""
    if isinstance(b, int) and not isinstance(a, float):
        size = max(abs(a.numerator), a.denominator).bit_length() - 1  # bits, rounded down
        if size * abs(b) <= LIMIT.bit_length():
            exact: int | Fraction = a**b if b >= 0 else 1 / Fraction(a) ** -b
            if isinstance(exact, int) or max(abs(exact.numerator), exact.denominator) < LIMIT:
                return exact
        if isinstance(a, int) and b > 0:
            raise OverflowError
    base, exponent = Fraction(a), Fraction(b)
    if base < 0 and exponent.denominator != 1:
        raise CalcError("no real result")
    if not base or (abs(exponent) <= SAFE and TINY < abs(base) < HUGE):
        result: float = float(base) ** float(exponent)
    elif abs(exponent) < 10 ** (PRECISION - 20):
        with localcontext(Context(PRECISION, traps=[])):
            result = float(rounded(base) ** rounded(exponent))
    else:
        raise OverflowError
    if base and not result:  # too small
        raise OverflowError
    return result


def rounded(value: int | Fraction) -> Decimal:
    """Return `value` with as many digits as the decimal context has."""
    return Decimal(value.numerator) / Decimal(value.denominator)


BINARY: dict[str, Callable[[Any, Any], Number]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": divide,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": power,
}


def formatted(value: Number) -> str:
    """Return a number for people: whole ones in full, others with 12 digits."""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) or TINY < abs(value) < HUGE:
        return f"{float(value) + 0.0:.12g}"  # no -0
    with localcontext(Context(12)):
        return f"{rounded(value).normalize():e}"


def unexpected(expression: str, index: int) -> CalcError:
    """Return the complaint about a token of `expression`: what, and where."""
    match = list(TOKEN.finditer(expression))[index]
    hint = ": a power is written **" if match[1] == "^" else ""
    return CalcError(f"unexpected {match[1][:20]!r} at column {match.start(1) + 1}{hint}")


def reply(line: bytes) -> str:
    """Return the answer to a line as it came."""
    if len(line) > MAX_LINE:
        return f"ERROR line too long: at most {MAX_LINE} bytes"
    try:
        return answer(TELNET.sub(b"", line).decode())
    except UnicodeDecodeError:
        return "ERROR not UTF-8"


def receive(connection: socket.socket, size: int, farewell: bytes) -> bytes:
    """Return the next bytes, `size` at most; b"" at the end. Raises TimeoutError, after a `farewell`; OSError."""
    try:
        return connection.recv(size)
    except (BlockingIOError, TimeoutError):
        connection.sendall(farewell)
        raise TimeoutError("silent for too long") from None


def lines(connection: socket.socket, farewell: bytes) -> Iterator[bytes]:
    """Yield the lines that come, without LF or CRLF; the last one need not end so. Beyond MAX_LINE they are cut."""
    rest = bytearray()
    while piece := receive(connection, CHUNK, farewell) or (rest and b"\n"):
        *whole, last = piece.split(b"\n")
        for line in whole:
            rest += line[: MAX_LINE + 2 - len(rest)]
            yield bytes(rest.removesuffix(b"\r"))
            rest.clear()
        rest += last[: MAX_LINE + 2 - len(rest)]


def converse(connection: socket.socket, address: Address, timeout: float) -> str:
    """Answer the lines of one client; return a summary."""
    tune(connection, timeout)
    count = 0
    for line in lines(connection, b"ERROR timeout\n"):
        connection.sendall(f"{reply(line)}\n".encode())
        count += 1
    return f"{count} expressions"


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


def tune(connection: socket.socket, timeout: float) -> None:
    """Send replies at once, and let no wait last longer than `timeout` seconds (0: for ever): then BlockingIOError.

    settimeout() would do, but costs a poll() before each recv() and send().
    """
    milliseconds = int(timeout * 1000 + 0.999)
    timeval = struct.pack("ll", milliseconds // 1000, milliseconds % 1000 * 1000)
    value = struct.pack("L", milliseconds) if sys.platform == "win32" else timeval
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def stay_on_one_core() -> None:
    """Make many busy threads two to three times as fast: they take turns at one lock, and so need not wake a core."""
    with suppress(AttributeError, OSError):  # Linux only
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})


def hang_up(connection: socket.socket) -> None:
    """End `connection` so that the last reply arrives: to close it with bytes unread would reset it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(LINGER)
        deadline = time.monotonic() + LINGER
        while connection.recv(65536) and time.monotonic() < deadline:
            pass


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
    args = server_parser().parse_args(argv)
    threading.stack_size(STACK)
    stay_on_one_core()
    attend = partial(serve, converse=partial(converse, timeout=args.timeout))
    return run(args, attend, partial(socket.create_server, backlog=BACKLOG))


if __name__ == "__main__":
    sys.exit(main())
