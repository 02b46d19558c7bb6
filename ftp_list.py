"""FTP listing: prints the first names in a folder of an FTP server.

Asks with MLSD (RFC 3659), which tells files from folders, so that these have a
"/" behind their names; or else with NLST (RFC 959), which does not. It stops
reading as soon as it has enough names.
Anonymous, unless --user says otherwise; --tls encrypts (RFC 4217).

Try it:

    python3 ftp_list.py --host ftp.gnu.org --path /gnu
    python3 ftp_list.py --host localhost --port 2121 --path / --limit 100

Left out: active mode, in which the server connects to the client.

Experiment:

    - for name in filter(None, map(parse, read_listing(connection))):
    + for name in list(filter(None, map(parse, read_listing(connection)))):
    `pytest -k "ftp_list and endless"` fails: who wants ten names must not wait
    for the last one.
"""

import argparse
import ftplib
import re
import socket
import ssl
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice

HOST, PORT = "ftp.debian.org", 21
PATH = "/debian"
LIMIT = 10  # names
TIMEOUT = 20.0  # seconds of silence
MAX_LINE = 8192  # bytes
MAX_LINES = 2000  # of all replies
GOODBYE = 1.0  # seconds to wait for the reply to QUIT
CLOSED = "ftp.debian.org closed its FTP service in 2017; try --host ftp.gnu.org --path /gnu"


class FtpError(OSError):
    """The server refused something, or is not an FTP server."""


def decode_bytes(name: bytes) -> str:
    """Return a name as text: in UTF-8 (RFC 2640), or as older servers write it."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")


def parse_mlsd(line: bytes) -> str:
    """Return the name in a line of MLSD; "" for the folder itself and the one above it.

    Raises FtpError.
    """
    facts, space, name = line.partition(b" ")
    if not space or not re.fullmatch(rb"([^ =;]+=[^ ;]*;)*", facts):
        raise FtpError(f"not a line of a listing: {line[:80]!r}")
    kind = re.search(rb"(?:^|;)type=([^;]*);", facts.lower())
    if kind and kind[1] in (b"cdir", b"pdir"):
        return ""
    return parse_nlst(name + b"/" * bool(kind and kind[1] == b"dir"))


def parse_nlst(path: bytes) -> str:
    """Return the last part of a path, with its "/" if it has one; "" for . and .. and nothing."""
    folder = path.rstrip(b"/")
    name = decode_bytes(folder.rpartition(b"/")[2])
    return "" if name in ("", ".", "..") else name + "/" * (folder != path)


def read_listing(connection: socket.socket) -> Iterator[bytes]:
    """Yield the lines of a listing, without their endings. Raises OSError."""
    with connection.makefile("rb") as stream:
        while line := stream.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE:
                raise FtpError(f"a line of more than {MAX_LINE} bytes")
            yield line.rstrip(b"\r\n")


def list_names(ftp: ftplib.FTP, path: str) -> Iterator[str]:
    """Yield the names in the folder `path`, in the server's order. Raises ftplib.Error, OSError."""
    parse: Callable[[bytes], str] = parse_mlsd
    try:
        connection = ftp.transfercmd(f"MLSD {path}")
    except ftplib.error_perm as refusal:
        if not is_unknown(refusal):
            raise
        parse = parse_nlst
        try:
            connection = ftp.transfercmd(f"NLST {path}")
        except (ftplib.error_perm, ftplib.error_temp) as error:
            code, text = str(error)[:3], str(error).lower()
            if "no files" in text or (code == "450" and "no such" not in text):
                return  # an empty folder, as some servers say it
            raise
    empty = True
    with connection:
        for name in filter(None, map(parse, read_listing(connection))):
            empty = False
            yield name
    ftp.voidresp()
    if empty and parse is parse_nlst:  # some servers list nothing for a folder that is not there
        try:
            ftp.cwd(path)
        except ftplib.error_perm as refusal:
            if not is_unknown(refusal):
                raise


def is_unknown(refusal: ftplib.error_perm) -> bool:
    """Tell whether the server does not know the command (500, 502)."""
    return str(refusal)[:3] in ("500", "502")


class OneSession(ftplib.FTP_TLS):
    """FTP over TLS whose data connections resume the TLS session, as many servers demand."""

    def ntransfercmd(
        self, cmd: str, rest: int | str | None = None
    ) -> tuple[socket.socket, int | None]:
        connection, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        session = self.sock.session  # type: ignore[union-attr]
        tls = self.context.wrap_socket(connection, server_hostname=self.host, session=session)
        return tls, size


def connect(host: str, port: int, timeout: float, tls: bool) -> ftplib.FTP:
    """Connect to an FTP server. Raises OSError, EOFError, ftplib.Error."""
    if tls:
        ftp: ftplib.FTP = OneSession(context=ssl.create_default_context(), encoding="latin-1")
    else:
        ftp = ftplib.FTP(encoding="latin-1")  # any byte is valid; decode_bytes() decodes
    lines = iter(range(MAX_LINES))
    getline = ftp.getline

    def limited_getline() -> str:
        if next(lines, None) is None:
            raise ftplib.error_proto("replies without end")
        return getline()

    ftp.getline = limited_getline  # type: ignore[method-assign]
    try:
        ftp.connect(host, port, timeout or None)  # type: ignore[arg-type]
    except BaseException:
        ftp.close()
        raise
    return ftp


def describe_ftp_error(error: Exception) -> str:
    """Return what went wrong with FTP, and what to do about it."""
    if isinstance(error, EOFError):
        return "the server hung up"
    if isinstance(error, ftplib.error_perm) and str(error).startswith("530"):
        return f"login refused: {error}; try --user and --password"
    if isinstance(error, (ftplib.error_perm, ftplib.error_temp)):
        return f"refused: {error}"
    if isinstance(error, ftplib.Error):
        return f"not an FTP server: it says {str(error)[:80]!r}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    return describe_error(error)


def talk(ftp: ftplib.FTP, args: argparse.Namespace) -> None:
    """Log in, and print the names. Raises OSError, EOFError, ValueError, ftplib.Error."""
    ftp.login(*(word.encode().decode("latin-1") for word in (args.user, args.password)))
    if isinstance(ftp, ftplib.FTP_TLS):
        ftp.prot_p()
    ftp.voidcmd("TYPE A")
    for name in islice(list_names(ftp, args.path.encode().decode("latin-1")), args.limit):
        print_line(name)
    with suppress(EOFError, OSError, ftplib.Error):  # we have what we came for
        if ftp.sock:
            ftp.sock.settimeout(GOODBYE)
        ftp.sendcmd("QUIT")


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
    option("--path", default=PATH, metavar="FOLDER", help="folder to list (default: %(default)s)")
    option("--limit", type=int, default=LIMIT, metavar="N", help="names (default: %(default)s)")
    option("--user", default="", metavar="NAME", help="default: anonymous")
    option("--password", default="", metavar="TEXT", help="for this user")
    option("--tls", action="store_true", help="encrypt everything")
    args = parser.parse_args(argv)
    if not (1 <= args.port <= 65535 and 0 <= args.timeout <= 1e6):
        parser.error("--port must be from 1 to 65535, --timeout from 0 to 1000000")
    if not 1 <= args.limit <= 1e9:
        parser.error("--limit must be from 1 to 1000000000")
    where = f"[{args.host}]:{args.port}" if ":" in args.host else f"{args.host}:{args.port}"
    hint = f"; {CLOSED}" if args.host == HOST else ""
    try:
        ftp = connect(args.host, args.port, args.timeout, args.tls)
        where, hint = f"{where}: {args.path}", ""
        try:
            talk(ftp, args)
        finally:
            ftp.close()
    except KeyboardInterrupt:
        return interrupted()
    except (EOFError, OSError, ValueError, ftplib.Error) as error:
        reason = escape(f"{where}: {describe_ftp_error(error)}{hint}")
        parser.exit(1, f"{parser.prog}: error: {reason}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
