"""Tests of the grader: right solutions are met, wrong ones are not, and the bug is named."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from grader.person import Keyboard, arguments
from grader.process import Program
from grader.recorder import Evidence

SHELF = ROOT / "tests" / "grader_shelf"
FOLDERS = sorted(path for path in SHELF.glob("*/*") if path.is_dir())
RIGHT = [path for path in FOLDERS if path.name.startswith("right")]
WRONG = [path for path in FOLDERS if path.name.startswith("wrong")]

# What the exercise does not forbid: these bugs are named at the level robust.
ROBUST = {
    "calc/wrong_eval": "it executes any Python code that a client sends",
    "file/wrong_outside_folder": "a file from outside of the folder is sent",
    "guess/wrong_same_secret": "the same secret for all clients",
    "sum/wrong_one_recv": "",
}
# The causes that the evidence shows.
CAUSES = {
    "calc/wrong_client_computes": "it computes the result itself",
    "chat/wrong_only_sender": "what alice says comes back to alice only",
    "smtp/wrong_rcpt_is_sender": "it names the sender as the recipient",
    "echo/wrong_constant": "it prints what it has sent, not what it has received",
    "file/wrong_first_4096": "the file is cut at 4096 bytes",
    "greeting/wrong_server_address": "it is the port of the server, not of the client",
    "greeting/wrong_time_of_start": "that of the start of the server",
    "guess/wrong_constant_secret": "the secret is always 42",
    "guess/wrong_secret_on_wire": "the secret is on the wire",
    "guess/wrong_swapped_hints": "the hints are swapped",
    "sum/wrong_client_sums": "it shows a sum of its own",
    "udp/wrong_cut_1024": "the datagram was cut at 1024 bytes of 9000",
}


def grade(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@cache
def report_on_shelf(exercise: str) -> dict[str, dict[str, Any]]:
    """Grade all solutions of an exercise, side by side, as those of a class."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        result = grade(f"--class={SHELF / exercise}", f"--report={path}")
        assert result.returncode == 0, result.stdout + result.stderr
        students: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["students"]
    return {
        student: {
            script: row for script, row in report["scripts"].items() if row["exercise"] != "missing"
        }
        for student, report in students.items()
    }


def report_on(folder: Path, tmp_path: Path, *words: str) -> dict[str, Any]:
    path = tmp_path / "report.json"
    result = grade(f"--solutions={folder}", f"--report={path}", *words)
    assert result.returncode in (0, 1), result.stdout + result.stderr
    scripts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["scripts"]
    there = {name: row for name, row in scripts.items() if row["exercise"] != "missing"}
    assert (result.returncode == 0) == all(row["exercise"] == "met" for row in there.values())
    return there


def name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


@pytest.mark.big
@pytest.mark.timeout(400)
@pytest.mark.parametrize("folder", RIGHT, ids=name)
def test_right_solutions_are_met(folder: Path) -> None:
    report = report_on_shelf(folder.parent.name)[folder.name]
    assert report
    unmet = [
        one["feedback"]
        for row in report.values()
        for one in row["requirements"]
        if one["level"] == "exercise" and one["verdict"] != "met"
    ]
    assert not unmet, "\n".join(unmet)


@pytest.mark.big
@pytest.mark.timeout(400)
@pytest.mark.parametrize("folder", WRONG, ids=name)
def test_wrong_solutions_are_not_met(folder: Path) -> None:
    report = report_on_shelf(folder.parent.name)[folder.name]
    marked = [
        script
        for script in report
        if (folder / script).read_text(encoding="utf-8").startswith("# wrong:")
    ]
    assert marked
    level = "robust" if name(folder) in ROBUST else "exercise"
    assert any(report[script][level] != "met" for script in marked)
    if cause := CAUSES.get(name(folder), ROBUST.get(name(folder), "")):
        texts = [one["feedback"] for script in marked for one in report[script]["requirements"]]
        assert any(cause in text for text in texts if "  cause " in text), texts


@pytest.mark.big
@pytest.mark.timeout(200)
def test_ours_are_met_at_both_levels(tmp_path: Path) -> None:
    for script, row in report_on(ROOT, tmp_path).items():
        unmet = [one for one in row["requirements"] if one["verdict"] != "met"]
        assert not unmet, (script, unmet)


@pytest.mark.big
@pytest.mark.timeout(120)
def test_an_echo_without_commands_is_an_echo(tmp_path: Path) -> None:
    """What `echo_server.py --raw` does is what the exercise asks."""
    path = str(ROOT / "echo_server.py")
    text = "import runpy, sys\nsys.argv.append('--raw')\n"
    text += f"runpy.run_path({path!r}, run_name='__main__')\n"
    (tmp_path / "echo_server.py").write_text(text, encoding="utf-8")
    assert report_on(tmp_path, tmp_path)["echo_server.py"]["exercise"] == "met"


@pytest.mark.big
@pytest.mark.timeout(120)
def test_a_skeleton_scores_nothing(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    first, second = grade(f"--start={mine}"), grade(f"--start={mine}")
    assert first.returncode == second.returncode == 0
    assert len(first.stdout.splitlines()) >= 28
    assert second.stdout == ""  # nothing is overwritten
    for script, row in report_on(mine, tmp_path).items():
        assert (row["exercise"], row["robust"]) == ("not", "not"), script
        assert not any(one["verdict"] == "met" for one in row["requirements"]), script


def solution(folder: Path, script: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / script).write_text(text, encoding="utf-8")
    return folder


UNFINISHED = """
import socket, sys
with socket.create_server(("127.0.0.1", 1234)) as server:
    while True:
        connection, _ = server.accept()
        connection.recv(1024)
        connection.sendall(b"\\x1b[2J5")
"""


@pytest.mark.big
def test_feedback_shows_what_happened(tmp_path: Path) -> None:
    """Also the bytes of a line without an end, and nothing that steers a terminal."""
    folder = solution(tmp_path / "mine", "sum_server.py", UNFINISHED)
    result = grade(f"--solutions={folder}", "--limit=20")
    assert result.returncode == 1
    assert "\x1b" not in result.stdout
    assert r"b'\x1b[2J5'" in result.stdout
    assert re.search(r"(?m)^  by hand    python3 sum_server.py$", result.stdout)
    assert "  expected   the sum: " in result.stdout
    assert 'not tried: waits for "sends the sum back"' in result.stdout
    shown = re.search(r"(?ms)^sum_server.py: sends the sum.*?^$", result.stdout)
    assert shown
    assert len(shown[0].splitlines()) <= 25


def test_feedback_shows_the_traceback(tmp_path: Path) -> None:
    text = "import socket\nserver = socket.create_server(('', 1234))\nserver.acept()\n"
    folder = solution(tmp_path / "mine", "sum_server.py", text)
    result = grade(f"--solutions={folder}")
    assert "AttributeError: 'socket' object has no attribute 'acept'" in result.stdout
    assert "(sum_server.py, line 3)" in result.stdout
    assert "server.acept()" in result.stdout


def test_a_report_tells_both_verdicts(tmp_path: Path) -> None:
    folder = solution(tmp_path / "mine", "udp_sender.py", "print('nothing')\n")
    report = report_on(folder, tmp_path, "--only=udp_sender")
    row = report["udp_sender.py"]
    assert (row["exercise"], row["robust"]) == ("not", "not")
    first = row["requirements"][0]
    assert set(first) == {"name", "level", "verdict", "feedback"}
    assert (first["level"], first["verdict"]) == ("exercise", "not")
    assert "no datagram arrives" in first["feedback"]
    assert {one["verdict"] for one in row["requirements"][1:]} == {"waits"}


@pytest.mark.big
def test_a_class(tmp_path: Path) -> None:
    right = "import socket, sys\nto = (sys.argv[1], int(sys.argv[2]))\n"
    right += "socket.socket(type=socket.SOCK_DGRAM).sendto(sys.argv[3].encode(), to)\n"
    students = tmp_path / "class"
    students.mkdir()
    solution(students / "=ada", "udp_sender.py", right)
    solution(students / "bob", "udp_sender.py", "while True: pass\n")
    table, report = tmp_path / "class.csv", tmp_path / "class.json"
    result = grade(f"--class={students}", f"--csv={table}", f"--report={report}", "--limit=4")
    assert result.returncode == 0, result.stderr
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    of_sender = [row for row in rows if row["script"] == "udp_sender.py"]
    assert [row["exercise"] for row in of_sender] == ["met", "not"]
    assert of_sender[0]["student"] == "'=ada"  # no formula for a spreadsheet
    assert "1 of 2  [exercise] sends the message" in result.stdout
    students_told = json.loads(report.read_text(encoding="utf-8"))["students"]
    assert students_told["bob"]["scripts"]["udp_sender.py"]["exercise"] == "not"


BOMBS = {
    "threads": "import threading, time\n"
    "for _ in range(2000):\n"
    "    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n",
    "processes": "import os, time\n"
    "for _ in range(2000):\n"
    "    if os.fork() == 0:\n"
    "        time.sleep(60)\n"
    "        os._exit(0)\n",
}


@pytest.mark.parametrize(
    ("printed", "code", "args"),
    [
        (
            "usage: x.py [-h] [-f FILE] -k KEY [--port PORT]\nx.py: error: no key",
            "",
            ["-k", "the key"],
        ),
        ("Uso: python3 cliente.py servidor puerto archivo", "", ["127.0.0.1", "9", "a.json"]),
        ("", '"""Aufruf: x.py [RECHNER] [PORT]"""', ["127.0.0.1", "9"]),
        ("", "key = sys.argv[2]\npath = sys.argv[1]\n", ["a.json", "the key"]),
        ("", "host, port = sys.argv[1], int(sys.argv[2])\n", ["127.0.0.1", "9"]),
        ("", "_, datei, schluessel = sys.argv\n", ["a.json", "the key"]),
        ("", "print('no usage, and no arguments')\n", None),
    ],
)
def test_arguments_as_a_person_would_give_them(
    printed: str, code: str, args: list[str] | None
) -> None:
    values = {"host": "127.0.0.1", "port": "9", "file": "a.json", "key": "the key"}
    assert arguments(printed, code, values) == ([args] if args else [])


TALK = """
print("1. List the files\\n2) Get a file")
for text in ("Choice: ", "Dateiname: ", "IP of the server: ", "Port? ", "Again (y/n)? ", "Name: "):
    print("<" + input(text) + ">")
"""


def test_answers_at_prompts(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "talk.py").write_text(TALK, encoding="utf-8")
    command = [sys.executable, "talk.py"]
    program = Program(command, tmp_path / "mine", "", {}, stdin=True)
    try:
        values = {"host": "127.0.0.1", "port": "9", "file": "a b.txt"}
        Keyboard(program, values, Evidence()).join(20)
        assert re.findall("<(.*)>", program.printed) == ["1", "a b.txt", "127.0.0.1", "9", "n", ""]
    finally:
        program.kill()


def commands_by_hand(feedback: str) -> list[str]:
    """Return the commands of a feedback."""
    found = re.search(r"(?m)^  by hand    (.+(?:\n {13}.+)*)", feedback)
    return [line.strip() for line in found[1].splitlines()] if found else []


@pytest.mark.big
@pytest.mark.skipif(not (shutil.which("nc") and shutil.which("bash")), reason="needs nc and bash")
@pytest.mark.timeout(400)
@pytest.mark.parametrize("exercise", sorted({path.parent.name for path in WRONG}))
def test_commands_by_hand_work(exercise: str, tmp_path: Path) -> None:
    """The first of each script, and all that need files: pasted in the folder of the learner."""
    tried: set[tuple[str, str]] = set()
    for student, report in report_on_shelf(exercise).items():
        for script, row in report.items():
            unmet = [one for one in row["requirements"] if one["verdict"] == "not"]
            for number, one in enumerate(unmet):
                commands = commands_by_hand(one["feedback"])
                new = (script, one["name"]) not in tried
                if commands and new and (not number or "mkdir" in " ".join(commands)):
                    tried.add((script, one["name"]))
                    folder = tmp_path / f"{student}{len(tried)}"
                    shutil.copytree(SHELF / exercise / student, folder)
                    paste(commands, folder)


def paste(commands: list[str], folder: Path) -> None:
    """Run commands as in terminals side by side, and see that the shell finds all they name."""
    running = []
    for command in commands:
        running.append(
            subprocess.Popen(
                ["bash", "-c", command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        with suppress(subprocess.TimeoutExpired):
            running[-1].wait(1)
    for process, command in zip(running, commands, strict=True):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        _, errors = process.communicate()
        lost = r"No such file|can't open file|not found|syntax error|invalid option|: usage: "
        assert not re.search(lost, errors), (command, errors)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it counts in /proc")
@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_stopped(kind: str, tmp_path: Path) -> None:
    """What starts threads or processes without end; these bombs end by themselves, at 2000."""
    text = BOMBS[kind] + "time.sleep(60)\n"
    folder = solution(tmp_path / "mine", "udp_sender.py", text)
    result = grade(f"--solutions={folder}", "--only=udp_sender")
    assert result.returncode == 1
    assert re.search(r"found +it had \d+ threads and processes, and was stopped", result.stdout)
    assert "cause      it starts them without end" in result.stdout


@pytest.mark.big
def test_what_a_solution_prints_is_escaped(tmp_path: Path) -> None:
    """No line of the feedback or of the table comes from a solution, and no escape sequence."""
    text = "import sys\n"
    text += "print('\\x1b[31mred\\r\\nsum_server.py  met  3 of 3\\x07\\x9b')\n"
    text += "raise ValueError('one\\n\\x1b]0;title\\x07two\\nsum_server.py: all met')\n"
    students = tmp_path / "class"
    students.mkdir()
    strange = "eve\nada\x1b[2J"
    solution(students / strange, "sum_server.py", text)
    table, report = tmp_path / "class.csv", tmp_path / "class.json"
    for words in (
        [f"--solutions={students / strange}", "--all"],
        [f"--class={students}", f"--csv={table}", f"--report={report}"],
    ):
        result = grade(*words, "--only=sum_server")
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", result.stdout)
        assert not re.search(r"(?m)^(sum_server.py  met|sum_server.py: all met|ada)", result.stdout)
        assert r"eve\nada\x1b[2J" in result.stdout or words[0].startswith("--solutions")
    with table.open(encoding="utf-8", newline="") as file:
        assert [row["student"] for row in csv.DictReader(file)] == [r"eve\nada\x1b[2J"]
    row = json.loads(report.read_text(encoding="utf-8"))["students"][strange]["scripts"]
    told = row["sum_server.py"]["requirements"][0]["feedback"]
    assert r"| \x1b[31mred" in told
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", told)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it looks into /proc")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
def test_a_grader_that_is_stopped_leaves_nothing(stop: signal.Signals, tmp_path: Path) -> None:
    """Neither a process, though it ignores all it can, nor a temporary folder."""
    text = "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    text += "signal.signal(signal.SIGINT, signal.SIG_IGN)\nif os.fork() == 0:\n    os.setsid()\n"
    text += f"open({str(tmp_path)!r} + f'/{{os.getpid()}}.pid', 'w').close()\ntime.sleep(60)\n"
    folder = solution(tmp_path / "mine", "sum_server.py", text)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--solutions={folder}"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as grader:
        end = time.monotonic() + 20
        while len(list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        assert list(temporary.iterdir())
        grader.send_signal(stop)
        _, errors = grader.communicate(timeout=20)
    assert (grader.returncode, errors) == (130, "interrupted\n")
    left = [path.stem for path in tmp_path.glob("*.pid") if is_running(int(path.stem))]
    assert not left
    assert not list(temporary.iterdir())


def is_running(pid: int) -> bool:
    """Tell whether a process is there, and no zombie whom nobody waits for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_class_with_a_folder_without_scripts(tmp_path: Path) -> None:
    solution(tmp_path / "ada", "udp_sender.py", "print('nothing')\n")
    solution(tmp_path / "bob", "notes.txt", "I was ill.\n")
    (tmp_path / "cy").mkdir()
    table = tmp_path / "class.csv"
    result = grade(f"--class={tmp_path}", f"--csv={table}", "--only=udp_sender")
    assert result.returncode == 0, result.stderr
    for student in ("bob", "cy"):
        assert re.search(rf"(?m)^{student} +\(no script\) +missing +missing *$", result.stdout)
    assert "0 of 1  [exercise] sends the message" in result.stdout
    with table.open(encoding="utf-8", newline="") as file:
        rows = [(row["student"], row["exercise"]) for row in csv.DictReader(file)]
    assert rows == [("ada", "not"), ("bob", "missing"), ("cy", "missing")]


@pytest.mark.parametrize("option", ["--solutions", "--class"])
def test_an_empty_folder_is_an_error(option: str, tmp_path: Path) -> None:
    result = grade(f"{option}={tmp_path}")
    assert (result.returncode, result.stdout) == (2, "")
    assert "script" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--solutions=none"], "'none' is not a folder"),
        (["--solutions=docs"], "no script"),
        (["--solutions=.", "-k", "sum"], "no verdict"),
        (["--solutions=.", "--only=nothing"], "no such script or exercise"),
        (["--solutions=.", "--report=none/report.json"], "cannot be written"),
        (["--solutions=.", "--csv=x.csv"], "--csv goes with --class"),
        (["--solutions=.", "--limit=0"], "number of seconds"),
        (["--solutions=.", "--python=none"], "is no program"),
        (["--class=docs"], "no subfolder"),
        (["--report=x.json"], "use one of"),
        (["--start="], "is not a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(words: list[str], said: str) -> None:
    result = grade(*words)
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
