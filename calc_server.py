"""Calculator server: evaluates one expression per line, exactly.

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

Operators, as in Python: + - * / // % ** and parentheses. Numbers: 12, 1.5, .5,
5., 1.5e3. Arithmetic is exact, on fractions; what is not a whole number is
shown with 12 digits. A power that is irrational, or too long, is a float.
Lines end in LF or CRLF and have at most 4096 bytes, numbers at most 1000
digits; parentheses and powers are nested at most 100 deep.

Try it:

    python3 calc_server.py
    echo '2 + 3' | nc -N localhost 9002  # in another terminal; macOS: no -N

Left out: variables and functions, which would need a memory for each client.

Experiment:

    - return format_result(evaluate(line))
    + return str(eval(line))
    `pytest -k "calc_server and no_code"` fails: eval() runs any code that a
    client sends.
"""

import argparse
import logging
import math
import operator
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from functools import partial
from typing import Any

HOST, PORT = "localhost", 9002
TIMEOUT = 300.0  # seconds without a line
MAX_LINE = 4096  # bytes
MAX_NESTING = 100  # well below the limit of Python's own stack
MAX_DIGITS = 1000  # or a client could ask for 9**9**9, which takes years
LIMIT = 10**MAX_DIGITS  # numerators and denominators are smaller
LEAST = -LIMIT
DIGITS = set("0123456789.")  # with which a number begins
TOKEN = re.compile(
    r"""( (?: [0-9]+ \.? [0-9]* | \.[0-9]+ ) (?: [eE] [-+]? [0-9]+ )?  # a number
        | \*\* | // | [-+*/%()]
        | \w+ | \S )""",  # anything else is an error, shown as a whole
    re.VERBOSE,
)
LEVELS = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "%": 2}  # the higher, the tighter

Address = tuple[Any, ...]  # (host, port), and two more values for IPv6
Number = int | Fraction | float

log = logging.getLogger(__name__)


class CalcError(ValueError):
    """The expression has no value; the message says why."""


def answer(line: str) -> str:
    """Return the value of an expression, or ERROR and the reason."""
    try:
        return format_result(evaluate(line))
    except ZeroDivisionError:
        return "ERROR division by zero"
    except OverflowError:
        return "ERROR number too large"
    except CalcError as error:
        return f"ERROR {error}"


def evaluate(expression: str) -> Number:
    """Return the value of `expression`. Raises CalcError, ZeroDivisionError, OverflowError."""
    parser = Parser(expression)
    value = parser.binary(1)
    if parser.token:
        raise parser.unexpected()
    return value


class Parser:
    """Computes the value of an expression while it reads it, by precedence climbing.

        binary(level) = unary {operator binary(level + 1)}, operators of this level or higher
        unary         = {"+" | "-"} power
        power         = (number | "(" binary(1) ")") ["**" unary]

    One function per level (sum, product, ...) would be as easy to read, but each number would
    pass through all of them: that was slower by a third.
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.tokens = [*TOKEN.findall(expression), ""]  # "" stands for the end
        self.token: str = self.tokens[0]  # the one to look at
        self.index = self.depth = 0  # of this token; of open parentheses and powers

    def advance(self) -> None:
        self.index += 1
        self.token = self.tokens[self.index]

    def binary(self, level: int) -> Number:
        value = self.unary()
        while (tightness := LEVELS.get(self.token, 0)) >= level:
            operation = BINARY[self.token]
            self.advance()
            value = check_size(operation(value, self.binary(tightness + 1)))
        return value

    def unary(self) -> Number:
        negative = False
        while self.token in ("+", "-"):  # a loop, so that a thousand signs need no stack
            negative ^= self.token == "-"
            self.advance()
        value = self.power()
        return -value if negative else value

    def power(self) -> Number:
        if self.depth > MAX_NESTING:
            raise CalcError("nested too deeply")
        self.depth += 1
        if self.token[:1] in DIGITS and self.token != ".":
            value = to_number(self.token)
        elif self.token == "(":
            self.advance()
            value = self.binary(1)
            if not self.token:
                raise CalcError("missing )")
            if self.token != ")":
                raise self.unexpected()
        else:
            raise self.unexpected()
        self.advance()
        if self.token == "**":
            self.advance()
            value = check_size(raise_to(value, self.unary()))
        self.depth -= 1
        return value

    def unexpected(self) -> CalcError:
        """Return the error for a token that cannot stand here: what, and where."""
        if not self.token:
            return CalcError("unexpected end of the expression")
        column = list(TOKEN.finditer(self.expression))[self.index].start() + 1
        hint = ": a power is written **" if self.token == "^" else ""
        return CalcError(f"unexpected {self.token[:20]!r} at column {column}{hint}")


def to_number(text: str) -> Number:
    """Return the value of a number. Raises OverflowError."""
    if text.isdigit() and len(text) <= MAX_DIGITS:  # the usual case, and 4 times as fast
        return int(text)
    mantissa, _, exponent = text.lower().partition("e")
    if not mantissa.strip("0."):
        return 0
    if abs(int(exponent or 0)) > MAX_LINE:  # do not even compute 1e999999999
        raise OverflowError
    return check_size(Fraction(text))


def check_size(value: Number) -> Number:
    """Return `value`, a whole number as int. Raises OverflowError if it is beyond LIMIT."""
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
        return Fraction(a, b)
    quotient: Number = a / b
    return quotient


def raise_to(a: Number, b: Number) -> Number:
    """Return a ** b, if it is not too large to compute. Raises CalcError, OverflowError."""
    if isinstance(b, int) and not isinstance(a, float):
        bits = max(abs(a.numerator), a.denominator).bit_length() - 1  # rounded down
        if bits * abs(b) <= LIMIT.bit_length():
            exact = a**b if b >= 0 else Fraction(a) ** b
            if max(abs(exact.numerator), exact.denominator) < LIMIT:
                return exact
        if isinstance(a, int) and b > 0:
            raise OverflowError
    base, exponent = Fraction(a), Fraction(b)
    if base < 0 and exponent.denominator != 1:
        raise CalcError("no real result")
    if abs(exponent) > 10**20 and base not in (0, 1, -1):
        raise OverflowError
    if not base:
        return 0 if exponent > 0 else divide(1, 0)
    with localcontext(Context(40, traps=[])):  # digits: a float would lose some in a long power
        result = float(to_decimal(base) ** to_decimal(exponent))
    if not result:  # too small
        raise OverflowError
    return result


def to_decimal(value: int | Fraction) -> Decimal:
    """Return `value` with as many digits as the decimal context has."""
    return Decimal(value.numerator) / Decimal(value.denominator)


BINARY: dict[str, Callable[[Any, Any], Number]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": divide,
    "//": operator.floordiv,
    "%": operator.mod,
}


def format_result(value: Number) -> str:
    """Return a number for people: whole ones in full, others with 12 digits."""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) or 1e-300 < abs(value) < 1e300:  # what a float can hold
        return f"{float(value) + 0.0:.12g}"  # no -0
    with localcontext(Context(12)):
        return f"{to_decimal(value).normalize():e}"


def reply_to(line: bytes) -> str:
    """Return the answer to a line as it arrived."""
    if len(line) > MAX_LINE:
        return f"ERROR line too long: at most {MAX_LINE} bytes"
    try:
        return answer(line.decode())
    except UnicodeDecodeError:
        return "ERROR not UTF-8"


def handle_client(connection: socket.socket, address: Address, timeout: float) -> str:
    """Answer the lines of one client; return a summary for the log."""
    connection.settimeout(timeout or None)
    count = 0
    for line in read_lines(connection, b"ERROR timeout\n"):
        connection.sendall(f"{reply_to(line)}\n".encode())
        count += 1
    return f"expressions: {count}"


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
    args = parser.parse_args(argv)
    if not (args.host and 0 <= args.port <= 65535 and 0 <= args.timeout <= 1e6):
        parser.error(
            "--host must not be empty; --port must be from 0 to 65535, --timeout from 0 to 1000000"
        )
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
    pin_to_one_core()
    with listener:
        print(f"Server listening on {host}:{listener.getsockname()[1]}...", flush=True)
        serve(listener, partial(handle_client, timeout=args.timeout), stop)
    log.info("Server stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
