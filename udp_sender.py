"""UDP sender: sends a message as one datagram, and says what it sent.

UDP gives no receipt: that a datagram was sent does not mean that it has arrived, or that anybody listens.

Try it:

    python3 udp_logger.py
    python3 udp_sender.py localhost 9007 Hello
"""

import argparse
import os
import socket
import sys
import time
from collections.abc import Callable

MAX_DATAGRAM = 65_507  # bytes over IPv4


def send(host: str, port: int, message: bytes, count: int, interval: float) -> None:
    """Send `message` to `host`, `count` times, every `interval` seconds. Raises OSError or UnicodeError."""
    family, _, _, _, address = min(socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM))  # IPv4 before IPv6
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_DATAGRAM)  # macOS would send 9216 bytes at most
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for number in range(count):
            if number:
                time.sleep(interval)
            size = sender.sendto(message, address)
            show(f"Sent {size} bytes to {name(host)}:{port}")


def name(host: str) -> str:
    """Return `host` as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def show(line: str | bytes) -> None:
    """Print a line at once, with escapes for what the terminal cannot show; end here if nobody reads on (`| head`)."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
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


def explain(error: Exception) -> str:
    """Return in words what went wrong, and what to do about it."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; start the server, or check address and port"
    if isinstance(error, TimeoutError):
        return "no answer in time; try a longer --timeout"
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "unknown host; check its name"
    return getattr(error, "strerror", None) or str(error)


def between(low: float, high: float, kind: Callable[[str], float] = int) -> Callable[[str], float]:
    """Return an argparse type that takes a number from `low` to `high`."""

    def number(text: str) -> float:
        if low <= (value := kind(text)) <= high:
            return value
        raise argparse.ArgumentTypeError(f"{text} is not from {low:.0f} to {high:.0f}")

    return number


def fail(reason: str) -> int:
    """Say on stderr, in one line, why the job failed; return the exit status."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in reason)
    if sys.stderr:
        print(f"{os.path.basename(sys.argv[0])}: error: {line}", file=sys.stderr)
    return 1


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host", metavar="ADDR", help="name or address")
    parser.add_argument("port", metavar="PORT", type=between(1, 65535))
    parser.add_argument("message", metavar="MSG", help="the message; - takes the bytes of stdin")
    parser.add_argument("--count", type=between(1, 1e9), default=1, metavar="N", help="send it N times")
    parser.add_argument("--interval", type=between(0, 1e6, float), default=0, metavar="SECONDS", help="wait in between")
    args = parser.parse_args(argv)
    try:
        if args.message == "-":
            with open(0, "rb", closefd=False) as stdin:
                message = stdin.read(MAX_DATAGRAM + 1)
        else:
            message = os.fsencode(args.message)
        if len(message) > MAX_DATAGRAM:
            return fail(f"message too long: a datagram takes {MAX_DATAGRAM} bytes at most")
        send(args.host, args.port, message, args.count, args.interval)
    except KeyboardInterrupt:
        return 130
    except (OSError, UnicodeError) as error:
        return fail(f"{name(args.host)}:{args.port}: {explain(error)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
