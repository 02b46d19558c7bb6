"""UDP sender: sends a message as one datagram, and says what it sent.

UDP gives no receipt: that a datagram was sent does not mean that it arrived,
nor that anybody listens.

Try it:

    python3 udp_logger.py
    python3 udp_sender.py localhost 9007 Hello  # in another terminal

Experiment:

    - print(f"Sent {size} {unit}
    + print(f"Sent {len(args.message)} {unit}
    `pytest -k "udp_sender and one_datagram"` fails: a character may take
    several bytes.
"""

import argparse
import os
import socket
import sys
import time

MAX_DATAGRAM = 65_507  # bytes over IPv4: 65,535 less two headers


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("host", metavar="ADDR", help="name or address to send to")
    option("port", metavar="PORT", type=int, help="port to send to")
    option("message", metavar="MSG", help="the message; - for the bytes of stdin")
    option("--count", type=int, default=1, metavar="N", help="send it N times (default: 1)")
    option("--interval", type=float, default=0, metavar="SECONDS", help="pause (default: 0)")
    args = parser.parse_args(argv)
    if not (
        args.host and 1 <= args.port <= 65535 and args.count >= 1 and 0 <= args.interval <= 1e6
    ):
        parser.error(
            "ADDR must not be empty; PORT must be from 1 to 65535, "
            "--count from 1, --interval from 0 to 1000000"
        )
    host, family = args.host, socket.AF_INET
    if ":" in host:
        host, family = f"[{host}]", socket.AF_INET6
    try:
        message = os.fsencode(args.message)
        if message == b"-":
            message = sys.stdin.buffer.read(MAX_DATAGRAM + 1) if sys.stdin else b""
        if len(message) > MAX_DATAGRAM:
            reason = f"message too long: a datagram takes {MAX_DATAGRAM} bytes at most"
            parser.exit(1, f"{parser.prog}: error: {reason}\n")
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_DATAGRAM)  # macOS: 9216
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            for number in range(args.count):
                time.sleep(args.interval if number else 0)
                size = sender.sendto(message, (args.host, args.port))
                unit = "byte" if size == 1 else "bytes"
                print(f"Sent {size} {unit} to {host}:{args.port}", flush=True)
    except KeyboardInterrupt:
        return 130
    except (socket.gaierror, UnicodeError):
        reason = f"{host}:{args.port}: unknown host; check its name"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    except OSError as error:
        parser.exit(1, f"{parser.prog}: error: {host}:{args.port}: {error.strerror}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
