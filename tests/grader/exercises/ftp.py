"""Exercise: the first names in a folder of an FTP server."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

from ..process import Program, free_port
from ..recorder import FakeServer, Visit
from ..requirement import NotMet, Script
from ..trial import START, Trial
from .common import complains, exercise, has_help, robust, word

FOLDER = "/debian"


def ftp(names: list[str], mlsd: bool = True) -> Callable[[Visit], None]:
    """What an anonymous FTP server says; it knows NLST, LIST and MLSD."""

    def converse(visit: Visit) -> None:
        visit.send(b"220 ready\r\n")
        place, inside = "/", False
        data: socket.socket | None = None
        while line := visit.line():
            verb, _, word = line.decode("utf-8", "replace").strip().partition(" ")
            verb = verb.upper()
            inside = inside or verb == "PASS"
            if inside and verb in ("PASV", "EPSV"):
                data = socket.create_server(("127.0.0.1", 0))
                data.settimeout(visit.timeout)
                port = data.getsockname()[1]
                visit.send(f"229 Entering Extended Passive Mode (|||{port}|)\r\n".encode()
                           if verb == "EPSV" else
                           f"227 (127,0,0,1,{port // 256},{port % 256})\r\n".encode())  # fmt: skip
            elif verb not in ("USER", "PASS", "QUIT") and not inside:
                visit.send(b"530 log in first, as anonymous\r\n")
            elif verb in ("NLST", "LIST", "MLSD") and data and (mlsd or verb != "MLSD"):
                where = [one for one in word.split() if not one.startswith("-")]
                folder = "/" + (where[0] if where else place).strip("/")
                here = names if folder == FOLDER else ["debian", "welcome.msg"]
                visit.send(b"150 here\r\n")
                form = {
                    "NLST": (FOLDER + "/{}" if where else "{}"),
                    "LIST": "drwxr-xr-x    2 ftp      ftp          4096 Jan 01 12:00 {}",
                    "MLSD": "type=dir;modify=20260101120000; {}",
                }[verb]
                text = "".join(form.format(name) + "\r\n" for name in here)
                with suppress(OSError), data.accept()[0] as channel:
                    channel.sendall(text.encode())
                data.close()
                data = None
                visit.evidence.add("answered", f"{len(here)} names: {', '.join(here[:3])}, ...")
                visit.send(b"226 done\r\n")
            elif verb == "CWD":
                place = word
                known = "/" + word.strip("/") in ("/", FOLDER)
                visit.send(b"250 ok\r\n" if known else b"550 no such folder\r\n")
            elif verb == "QUIT":
                visit.send(b"221 bye\r\n")
                break
            else:
                usual = {"USER": b"331 password?", "PASS": b"230 in", "TYPE": b"200 ok",
                         "PWD": b'257 "/"'}  # fmt: skip
                visit.send(usual.get(verb, b"502 no") + b"\r\n")
        if data:
            data.close()

    return converse


def names() -> list[str]:
    return sorted(f"{word()}{number:02}" for number in range(15))


def listing(trial: Trial, *args: str) -> tuple[list[str], FakeServer, Program]:
    """Run it; ftp.debian.org, or another server that it knows, is ours."""
    found = names()
    server = trial.fake(ftp(found))
    environment = {"EXERCISE_CONNECT": f"21={server.port}"}
    for words in ([], ["--host", "127.0.0.1", "--port", str(server.port)],
                  ["--port", str(server.port)], ["127.0.0.1", str(server.port)]):  # fmt: skip
        program = trial.launch([*words, *args], stdin="", environment=environment)
        program.wait(trial.at_most(START))
        if server.visits:
            break
        del trial.evidence.lines[:], trial.programs[:-1]
    return found, server, program


def connects(trial: Trial) -> None:
    found, server, program = listing(trial)
    if not server.visits:
        raise NotMet("it does not connect", "a connection to an FTP server")
    if not any(name in program.printed for name in found):
        raise NotMet(f"the output is {program.printed!r}", f"{found[0]}, and others of {FOLDER}")


def prints_ten(trial: Trial) -> None:
    found, _, program = listing(trial)
    missing = [name for name in found[:10] if name not in program.printed]
    if missing:
        raise NotMet(f"not in the output: {', '.join(missing[:4])}", "the first 10 names")


def prints_no_more(trial: Trial) -> None:
    found, _, program = listing(trial)
    more = [name for name in found[10:] if name in program.printed]
    if more:
        raise NotMet(f"{len(more)} more names are in the output", "the first 10 names")


def letter(trial: Trial) -> None:
    server = trial.fake(ftp(["b", "a", "c"]))
    program = trial.launch(["--host", "127.0.0.1", "--port", str(server.port), "--limit", "2"])
    program.wait(trial.at_most(START))
    if program.printed.split() != ["b/", "a/"]:
        raise NotMet(repr(program.printed), "'b/' and 'a/': MLSD, with / behind folders")


def without_mlsd(trial: Trial) -> None:
    server = trial.fake(ftp(["b", "a", "c"], mlsd=False))
    program = trial.launch(["--host", "127.0.0.1", "--port", str(server.port), "--limit", "2"])
    program.wait(trial.at_most(START))
    if program.printed.split() != ["b", "a"]:
        raise NotMet(repr(program.printed), "'b' and 'a': a server may know only NLST")


def nobody(trial: Trial) -> None:
    program = trial.launch(["--host", "127.0.0.1", "--port", str(free_port())], stdin="")
    complains(trial, program)


FTP_LIST = Script(
    "ftp_list.py",
    "ftp",
    [
        "Use ftplib to connect to an anonymous FTP server (try ftp.debian.org).",
        "List the files in the /debian directory.",
        "Print the first 10 file/directory names.",
    ],
    [
        exercise("lists the files in /debian", "List the files in the /debian directory.",
                 connects),
        exercise("prints the first 10 names", "Print the first 10 file/directory names.",
                 prints_ten),
        exercise("prints no more than 10", "Print the first 10 file/directory names.",
                 prints_no_more),
        robust("tells folders from files (MLSD)", "RFC 3659.", letter),
        robust("lists a server without MLSD", "RFC 959.", without_mlsd),
        robust("says in one line that nobody listens", "One line on stderr, and status 1.", nobody),
        has_help,
    ],
    imports=("ftplib",),
    essential=1,
)  # fmt: skip
