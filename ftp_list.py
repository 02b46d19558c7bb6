"""FTP listing: prints the first names in a folder of an FTP server (RFC 959, RFC 3659), with `/` behind folders.

Asks with MLSD, which tells files from folders, or else with NLST, which does not. It stops reading as soon as it has
enough names, however many there are. Anonymous, unless --user says otherwise; --tls encrypts (RFC 4217).

Try it:

    python3 ftp_list.py --host ftp.gnu.org --path /gnu
    python3 ftp_list.py --host localhost --port 2121 --path / --user ada --password enigma --limit 100
"""

import argparse
import ftplib
import os
import re
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from typing import Any

HOST, PORT = "ftp.debian.org", 21
PATH = "/debian"
LIMIT = 10  # names
TIMEOUT = 20.0  # seconds of silence
MAX_LINE = 8192  # bytes
MAX_LINES = 2000  # of all replies
LINGER = 1.0  # seconds to wait for the goodbye
CLOSED = "ftp.debian.org closed its FTP service in 2017; try --host ftp.gnu.org --path /gnu"


class FtpError(OSError):
    """The server has refused something, or is no FTP server."""


def as_text(name: bytes) -> str:
    """Return a name as text: in UTF-8 (RFC 2640), or as older servers have it."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")


def from_mlsd(line: bytes) -> str:
    """Return the name in a line of MLSD, or "" for the folder itself and the one above. Raises FtpError."""
    facts, space, name = line.partition(b" ")
    if not space or not re.fullmatch(rb"([^ =;]+=[^ ;]*;)*", facts):
        raise FtpError(f"not a line of a listing: {line[:80]!r}")
    kind = re.search(rb"(?:^|;)type=([^;]*);", facts.lower())
    if kind and kind[1] in (b"cdir", b"pdir"):
        return ""
    return last(name + b"/" * bool(kind and kind[1] == b"dir"))


def last(path: bytes) -> str:
    """Return the last part of a path, with the / behind it, if any, or "" for . and .. and nothing."""
    folder = path.rstrip(b"/")
    name = as_text(folder.rpartition(b"/")[2])
    return "" if name in ("", ".", "..") else name + "/" * (folder != path)


def received(connection: socket.socket) -> Iterator[bytes]:
    """Yield the lines of a listing, without their ends. Raises FtpError, OSError."""
    with connection.makefile("rb") as stream:
        while line := stream.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE:
                raise FtpError(f"a line of more than {MAX_LINE} bytes")
            yield line.rstrip(b"\r\n")


def entries(ftp: ftplib.FTP, path: str) -> Iterator[str]:
    """Yield the names in the folder `path`, in the server's order. Raises FtpError, ftplib.Error, OSError."""
    parse: Callable[[bytes], str] = from_mlsd
    try:
        connection = ftp.transfercmd(f"MLSD {path}")
    except ftplib.error_perm as refusal:
        if str(refusal)[:3] not in ("500", "502"):  # it knows what that means
            raise
        parse = last
        try:
            connection = ftp.transfercmd(f"NLST {path}")
        except (ftplib.error_perm, ftplib.error_temp) as error:
            code, text = str(error)[:3], str(error).lower()
            if "no files" in text or (code == "450" and "no such" not in text):
                return
            raise
    empty = True
    with connection:
        for name in filter(None, map(parse, received(connection))):
            empty = False
            yield name
    ftp.voidresp()
    if empty and parse is last:  # or not there: some servers tell only so
        try:
            ftp.cwd(path)
        except ftplib.error_perm as refusal:
            if str(refusal)[:3] not in ("500", "502"):
                raise


class OneSession(ftplib.FTP_TLS):
    """FTP over TLS, whose data connections resume the session of the first one, since many servers insist on that."""

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        connection, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        session = self.sock.session  # type: ignore[union-attr]
        return self.context.wrap_socket(connection, server_hostname=self.host, session=session), size


def open_ftp(address: tuple[str, int], timeout: float | None, tls: bool) -> closing[ftplib.FTP]:
    """Connect to an FTP server. Raises FtpError, OSError."""
    host, port = address
    if tls:
        ftp: ftplib.FTP = OneSession(context=ssl.create_default_context(), encoding="latin-1")
    else:
        ftp = ftplib.FTP(encoding="latin-1")
    lines = iter(range(MAX_LINES))
    getline = ftp.getline

    def limited() -> str:
        if next(lines, None) is None:
            raise ftplib.error_proto("replies without end")
        return getline()

    ftp.getline = limited  # type: ignore[method-assign]
    try:
        ftp.connect(host, port, timeout)  # type: ignore[arg-type]
    except (OSError, EOFError, ftplib.Error) as error:
        ftp.close()
        raise FtpError(wrong(error) + (f"; {CLOSED}" if host == HOST else "")) from error
    return closing(ftp)


def wrong(error: Exception) -> str:
    """Return in words what has gone wrong with FTP, and what to do about it."""
    if isinstance(error, EOFError):
        return "the server has hung up"
    if isinstance(error, ftplib.error_perm) and str(error).startswith("530"):
        return f"login refused: {error}; try --user and --password"
    if isinstance(error, (ftplib.error_perm, ftplib.error_temp)):
        return f"refused: {error}"
    if isinstance(error, ftplib.Error):
        return f"not an FTP server: it says {str(error)[:80]!r}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    return explain(error)


def talk(ftp: ftplib.FTP, args: argparse.Namespace) -> int:
    """Log in, and print the names; return the exit status. Raises FtpError."""
    try:
        ftp.login(*(word.encode().decode("latin-1") for word in (args.user, args.password)))
        if isinstance(ftp, ftplib.FTP_TLS):
            ftp.prot_p()
        ftp.voidcmd("TYPE A")
        for name in islice(entries(ftp, args.path.encode().decode("latin-1")), args.limit):
            show(name)
    except (EOFError, OSError, ValueError, ftplib.Error) as error:
        raise FtpError(f"{args.path}: {wrong(error)}") from error
    with suppress(EOFError, OSError, ftplib.Error):
        if ftp.sock:
            ftp.sock.settimeout(LINGER)
        ftp.sendcmd("QUIT")
    return 0


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


def client_parser() -> argparse.ArgumentParser:
    """Return a parser of the options that all clients have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=HOST, help="the server's name or address (default: %(default)s)")
    parser.add_argument("--port", type=between(1, 65535), default=PORT, help="the server's port (default: %(default)s)")
    patience = "seconds to wait for an answer, 0: for ever (default: %(default)g)"
    parser.add_argument("--timeout", type=between(0, 1e6, float), default=TIMEOUT, metavar="SECONDS", help=patience)
    return parser


def between(low: float, high: float, kind: Callable[[str], float] = int) -> Callable[[str], float]:
    """Return an argparse type that takes a number from `low` to `high`."""

    def number(text: str) -> float:
        if low <= (value := kind(text)) <= high:
            return value
        raise argparse.ArgumentTypeError(f"{text} is not from {low:.0f} to {high:.0f}")

    return number


def explain(error: Exception) -> str:
    """Return in words what went wrong, and what to do about it."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; start the server, or check address and port"
    if isinstance(error, TimeoutError):
        return "no answer in time; try a longer --timeout"
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "unknown host; check its name"
    return getattr(error, "strerror", None) or str(error)


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


def fail(reason: str) -> int:
    """Say on stderr, in one line, why the job failed; return the exit status."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in reason)
    if sys.stderr:
        print(f"{os.path.basename(sys.argv[0])}: error: {line}", file=sys.stderr)
    return 1


def main(argv: list[str] | None = None) -> int:
    parser = client_parser()
    parser.add_argument("--path", default=PATH, metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--limit", type=between(1, 1e9), default=LIMIT, metavar="N", help="default: %(default)s")
    parser.add_argument("--user", default="", metavar="NAME", help="default: anonymous")
    parser.add_argument("--password", default="", metavar="TEXT")
    parser.add_argument("--tls", action="store_true", help="encrypt everything")
    args = parser.parse_args(argv)
    connect: Callable[..., Any] = partial(open_ftp, tls=args.tls)
    return call(args, partial(talk, args=args), connect)


if __name__ == "__main__":
    sys.exit(main())
