"""Chat client: sends what you type, and meanwhile prints what the others say.

On a terminal, messages appear above the line that you are typing. With a pipe
as stdin it sends the lines, leaves, and prints what came meanwhile. /quit,
Ctrl-D or Ctrl-C leave; /help lists what else the server can do.

Try it:

    python3 chat_server.py
    python3 chat_client.py --name alice  # in two other terminals

Experiment:

    - print(f"\\r\\x1b[K{escape(line)}\\n{self.prompt()}{typed}", end="",
    + print(escape(line),
    `pytest -k "chat_client and drawn_again"` fails: a message lands in the
    middle of the line that you are typing.
"""

import argparse
import atexit
import re
import socket
import sys
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

readline: Any = None
termios: Any = None
with suppress(ImportError):  # not on Windows
    import readline
    import termios

HOST, PORT = "localhost", 9001
TIMEOUT = 10.0  # seconds to connect; a chat may be silent for hours
MAX_LINE = 64 * 1024  # bytes; a longer line is printed in parts
NAME_WAIT = 0.5  # seconds to wait for the answer to a new name, which goes into the prompt
PROMPT_WAIT = 0.2  # seconds for a prompt that is just being printed, before the last one is erased
WELCOME = re.compile(r"\* Welcome, you are ([^:]+):.*")
RENAMED = re.compile(r"\* (\S+) is now (\S+)")
QUIT = re.compile(r"EXIT|/quit(\s.*)?")


class Chat:
    """A conversation. The main thread waits for the server, another one for the keyboard.

    Not the other way round: nothing can wake a thread that waits for the keyboard: when
    the server goes, the main thread just ends, and the other one with it.
    """

    def __init__(self, connection: socket.socket, name: str | None) -> None:
        self.connection = connection
        self.new_name = name
        self.name = "?"
        self.terminal = bool(sys.stdin and sys.stdin.isatty())
        self.received = threading.Event()
        self.leaving = self.closed = False

    def receive_lines(self) -> None:
        """Print the lines of the server until it closes. Raises OSError if it closes first."""
        with self.connection.makefile("rb") as stream:
            while line := self.read_line(stream):
                self.print_message(line.decode("utf-8", "backslashreplace").rstrip("\r\n"))
        if not self.leaving:
            raise ConnectionError("the server is gone")

    def read_line(self, stream: BinaryIO) -> bytes:
        try:
            return stream.readline(MAX_LINE)
        except OSError as error:
            raise ConnectionError("the server is gone") from error

    def print_message(self, line: str) -> None:
        """Print a line; on a terminal above the one being typed, which is drawn again."""
        if match := WELCOME.fullmatch(line):
            self.name = match[1]
        elif (match := RENAMED.fullmatch(line)) and match[1] == self.name:
            self.name = match[2]
        if self.terminal:
            typed = readline.get_line_buffer() if readline else ""
            print(f"\r\x1b[K{escape(line)}\n{self.prompt()}{typed}", end="", flush=True)
        else:
            print_line(line)
        self.received.set()

    def prompt(self) -> str:
        return f"{escape(self.name)}> "

    def send_lines(self) -> None:
        """Send what the user types until there is no more, then leave."""
        with suppress(OSError):  # receive_lines() reports it
            self.received.wait(NAME_WAIT)
            if self.new_name is not None:
                self.send(f"/name {self.new_name}")
            for line in self.input_lines():
                if QUIT.fullmatch(line.strip()):
                    break
                self.send(line)
            self.leave()

    def input_lines(self) -> Iterator[str]:
        """Yield the lines of stdin without their endings."""
        if not sys.stdin:  # closed
            return
        if not self.terminal:
            with open(0, "rb", closefd=False) as stdin:  # at exit Python would wait for sys.stdin
                for line in stdin:
                    yield line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
            return
        with suppress(EOFError):
            # Once closed, input() must not change the terminal: its settings are back already.
            while not self.closed:
                yield input(f"\r{self.prompt()}")

    def send(self, line: str) -> None:
        """Send a line; after one that changes the name wait for the answer. Raises OSError."""
        self.received.clear()
        self.connection.sendall(line.encode("utf-8", "surrogateescape") + b"\n")
        if self.terminal and line.upper().startswith(("NAME ", "/NAME ")):
            self.received.wait(NAME_WAIT)

    def leave(self) -> None:
        """Say goodbye; the server answers and closes. Raises OSError."""
        self.leaving = True
        self.connection.sendall(b"/quit\n")
        self.connection.shutdown(socket.SHUT_WR)


def talk(connection: socket.socket, name: str | None) -> None:
    """Chat until the user leaves. Raises OSError, also if the server leaves first."""
    connection.settimeout(None)
    chat = Chat(connection, name)
    if chat.terminal:
        stdout: Any = sys.stdout
        stdout.reconfigure(errors="backslashreplace")
        if termios:  # readline changes the settings of the terminal, and will not change them back
            atexit.register(termios.tcsetattr, 0, termios.TCSADRAIN, termios.tcgetattr(0))
    keyboard = threading.Thread(target=chat.send_lines, daemon=True)
    try:
        keyboard.start()
        chat.receive_lines()
    except KeyboardInterrupt:
        with suppress(OSError):
            chat.leave()
    finally:
        chat.closed = True
        if chat.terminal:
            keyboard.join(PROMPT_WAIT)
            print("\r\x1b[K", end="", flush=True)  # erases the prompt


# The rest is the same in every client: output, errors, and the command line.


def print_line(line: str | bytes) -> None:
    """Print a line at once, with escapes for what stdout cannot show."""
    encoding = sys.stdout.encoding
    print(escape(line).encode(encoding, "backslashreplace").decode(encoding), flush=True)


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


def describe_error(error: Exception) -> str:
    """Return what went wrong with a connection, and what to do about it."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; start the server, or check host and port"
    if isinstance(error, TimeoutError):
        return "no answer in time; try a longer --timeout"
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "unknown host; check its name"
    return getattr(error, "strerror", None) or str(error)


def interrupted() -> int:
    """Return the exit status for Ctrl-C; on a terminal, end the line that shows "^C"."""
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return 130


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--host", default=HOST, help="name or address of the server (default: %(default)s)")
    option("--port", type=int, default=PORT, help="port of the server (default: %(default)s)")
    option(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help="longest wait for the server; 0: no limit (default: %(default)g)",
    )
    option("--name", help="your name in the chat (default: the server picks one)")
    args = parser.parse_args(argv)
    if not (1 <= args.port <= 65535 and 0 <= args.timeout <= 1e6):
        parser.error("--port must be from 1 to 65535, --timeout from 0 to 1000000")
    if args.name is not None and len(args.name.splitlines()) != 1:
        parser.error("the name must be one line")
    try:
        with socket.create_connection((args.host, args.port), args.timeout or None) as connection:
            talk(connection, args.name)
    except KeyboardInterrupt:
        return interrupted()
    except (OSError, UnicodeError) as error:
        host = f"[{args.host}]" if ":" in args.host else escape(args.host)
        reason = f"{host}:{args.port}: {describe_error(error)}"
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
