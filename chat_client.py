"""Chat client: talks and listens at the same time.

On a terminal what others say appears above the line that you are typing. With a pipe as stdin it says the lines,
leaves, and prints what it has heard. /quit, Ctrl-D or Ctrl-C leave; /help lists what else the server can do.

Try it:

    python3 chat_server.py
    python3 chat_client.py --name alice
"""

import argparse
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

readline: Any = None
with suppress(ImportError):  # not on Windows
    import readline

HOST, PORT = "localhost", 9001
TIMEOUT = 10.0  # seconds until the connection stands
MAX_LINE = 64 * 1024  # bytes; a longer line is shown in parts
PATIENCE = 0.5  # seconds to wait for a new name, which goes into the prompt
AGAIN = 0.1  # seconds until the main thread is woken again
WELCOME = re.compile(r"\* Welcome, you are ([^:]+):.*")
RENAMED = re.compile(r"\* (\S+) is now (\S+)")
QUIT = re.compile(r"EXIT|/quit(\s.*)?")
GONE = "the server is gone"
WAKE = getattr(signal, "SIGUSR1", 0)  # not on Windows


class Chat:
    """A conversation: one thread listens, while the main one waits for the keyboard."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.terminal = sys.stdin is not None and sys.stdin.isatty()
        self.name = "?"
        self.heard = threading.Event()
        self.leaving = self.lost = False
        self.listener = threading.Thread(target=self.listen, daemon=True)

    def listen(self) -> None:
        """Show what comes. If the server goes first, wake the main thread, which waits for a key."""
        try:
            with self.connection.makefile("rb") as lines:
                while line := lines.readline(MAX_LINE):
                    self.show(line.decode("utf-8", "backslashreplace").rstrip("\r\n"))
        except (BrokenPipeError, SystemExit):  # nobody reads on
            os._exit(0)
        except OSError:
            self.lost = True
        if self.leaving:
            return
        if not WAKE:
            os._exit(fail(GONE))
        # Again and again: a signal that comes when the main thread is about to wait, but does not yet, ends no wait.
        while signal.getsignal(WAKE) == self.wake and not self.leaving:
            signal.pthread_kill(threading.main_thread().ident or 0, WAKE)
            time.sleep(AGAIN)

    def wake(self, *_: object) -> None:
        """Leave what the main thread waits for: the server is gone. Raises ConnectionError."""
        if not self.leaving:
            raise ConnectionError(GONE)

    def show(self, line: str) -> None:
        """Print a line; on a terminal above the one being typed, which is drawn again."""
        if match := WELCOME.fullmatch(line):
            self.name = match[1]
        elif (match := RENAMED.fullmatch(line)) and match[1] == self.name:
            self.name = match[2]
        if not self.terminal:
            show(line)
        else:
            typed = readline.get_line_buffer() if readline else ""
            print(f"\r\x1b[K{escape(line)}\n{self.prompt()}{typed}", end="", flush=True)
        self.heard.set()

    def prompt(self) -> str:
        return f"{escape(self.name)}> "

    def typed(self) -> Iterator[str]:
        """Yield the lines of stdin."""
        if not self.terminal:
            for line in sys.stdin.buffer if sys.stdin else ():
                yield line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")  # any bytes, on Windows too
            return
        with suppress(EOFError):
            while True:
                yield input(f"\r{self.prompt()}")

    def say(self, line: str) -> None:
        """Send a line. After one that changes the name wait for the answer, so that the next prompt has it."""
        self.heard.clear()
        self.connection.sendall(line.encode("utf-8", "surrogateescape") + b"\n")
        if self.terminal and line.upper().startswith(("NAME ", "/NAME ")):
            self.heard.wait(PATIENCE)

    def leave(self, patience: float | None) -> None:
        """Say goodbye, and hear the rest, for `patience` seconds at most."""
        self.leaving = True
        with suppress(OSError):
            self.connection.sendall(b"/quit\n")
            self.connection.shutdown(socket.SHUT_WR)
        self.listener.join(patience)


def talk(connection: socket.socket, name: str | None) -> int:
    """Chat until the user leaves; return 0. Raises OSError, also if the server leaves first."""
    connection.settimeout(None)
    chat = Chat(connection)
    with suppress(ValueError):  # Windows, or not in the main thread
        signal.signal(WAKE, chat.wake)
    if chat.terminal:
        stdout: Any = sys.stdout
        stdout.reconfigure(errors="backslashreplace")
    try:
        chat.listener.start()
        chat.heard.wait(PATIENCE)
        if name is not None:
            chat.say(f"/name {name}")
        for line in chat.typed():
            chat.leaving = bool(QUIT.fullmatch(line.strip()))  # before the server hears it, and goes
            chat.say(line)
            if chat.leaving:
                break
        chat.leave(PATIENCE if chat.terminal else None)  # from a pipe all lines are said, and all answers come
    except KeyboardInterrupt:
        if chat.terminal:
            print()
        chat.leave(PATIENCE)
    except OSError as error:
        chat.leaving = True
        if chat.terminal:
            print()
        raise ConnectionError(GONE) from error
    if chat.lost:
        raise ConnectionError(GONE)
    if chat.terminal:
        print("\r\x1b[K", end="", flush=True)  # no prompt that nobody answers
    return 0


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


def client_parser() -> argparse.ArgumentParser:
    """Return a parser of the options that all clients have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=HOST, help="the server's name or address (default: %(default)s)")
    parser.add_argument("--port", type=between(1, 65535), default=PORT, help="the server's port (default: %(default)s)")
    patience = "seconds to wait for an answer, 0: for ever (default: %(default)g)"
    parser.add_argument("--timeout", type=between(0, 1e6, float), default=TIMEOUT, metavar="SECONDS", help=patience)
    return parser


def call(args: argparse.Namespace, talk: Callable[..., int], connect: Callable[..., socket.socket]) -> int:
    """Connect and `talk(connection)`; return its exit status, 1 if something failed, told in a line, 130 for Ctrl-C."""
    try:
        with connect((args.host, args.port), args.timeout or None) as connection:
            return talk(connection)
    except KeyboardInterrupt:
        return 130
    except (OSError, UnicodeError) as error:
        host = f"[{args.host}]" if ":" in args.host else args.host
        return fail(f"{getattr(error, 'filename', None) or f'{host}:{args.port}'}: {explain(error)}")


def fail(reason: str) -> int:
    """Say on stderr, in one line, why the job failed; return the exit status."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in reason)
    if sys.stderr:
        print(f"{os.path.basename(sys.argv[0])}: error: {line}", file=sys.stderr)
    return 1


def main(argv: list[str] | None = None) -> int:
    parser = client_parser()
    parser.add_argument("--name", help="be called so from the start")
    args = parser.parse_args(argv)
    if args.name is not None and args.name.splitlines() != [args.name]:
        parser.error("a name is one line")
    return call(args, partial(talk, name=args.name), socket.create_connection)


if __name__ == "__main__":
    sys.exit(main())
