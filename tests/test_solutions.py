"""Tests of the checks: solutions with one bug each, of the commonest kinds, get just the verdicts they deserve."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, command

# One bug in each of our scripts: what is replaced, and by what; and the requirements that are then not met.
BUGS: dict[str, tuple[str, str, set[str]]] = {
    # one recv is one message
    "guess_server.py": (
        'for line in lines(connection, b"ERROR timeout\\n"):',
        'for line in iter(lambda: connection.recv(1024), b""):',
        {"dialogue, in pieces", "one segment", "half close", "crowd"},
    ),
    # send for sendall
    "json_server.py": (
        "connection.sendall(reply[start : start + CHUNK])",
        "connection.send(reply)\n            break",
        {"sends all of a large answer"},
    ),
    # the end of the stream spins
    "echo_server.py": (
        "(piece := receive(connection, size, farewell)):",
        '((piece := receive(connection, size, farewell)) or piece == b""):',
        {"early end", "over long line", "no line end", "bad utf 8", "control characters"},  # it never hangs up
    ),
    # int() that nobody catches
    "sum_server.py": (
        'raise ValueError(f"not a number',
        'raise KeyError(f"not a number',
        {"refuses what is no number"},
    ),
    # eval in the calculator
    "calc_server.py": (
        'return answer(TELNET.sub(b"", line).decode())\n',
        'text = answer(TELNET.sub(b"", line).decode())\n'
        '        return text if "import" not in text else str(eval(line))\n',
        {"evaluates no Python"},
    ),
    # nobody hears the others
    "chat_server.py": (
        "return [other for other in self.members.values() if other is not member]",
        "return []",
        {"reaches the others"},
    ),
    # no hang-up
    "greeting_server.py": (
        '    return "greeted"\n',
        '    connection.recv(1)\n    return "greeted"\n',
        {"works with our greeting_client.py"},
    ),
    # a link leads out
    "file_server.py": (
        "if os.path.commonpath([root, path]) == root and",
        "if (os.path.isfile(path) or os.path.commonpath([root, path]) == root) and",
        {"stays inside"},
    ),
    # nothing tells where it listens
    "smtp_server.py": (
        'print(f"Server listening',
        '(lambda *args, **options: None)(f"Server listening',
        {"announces its address"},
    ),
    # the rest of a long datagram is lost
    "udp_logger.py": ("bytearray(MAX_DATAGRAM)", "bytearray(1024)", {"works with our udp_sender.py"}),
    # an exception that nobody expects
    "json_client.py": (
        "except (OSError, UnicodeError) as error:",
        "except ZeroDivisionError as error:",
        {"says that nobody listens"},
    ),
}
MORE_BUGS: dict[str, tuple[str, str, set[str]]] = {
    # one feature that is missing is one requirement that is not met
    "calc_server.py": ('    "**": power,\n', "", {"dialogue"}),
    # whoever speaks hears himself
    "chat_server.py": (
        'self.tell(self.others(member), f"{member.name}: ',
        'self.tell(list(self.members.values()), f"{member.name}: ',
        {"reaches the others"},
    ),
    # it shows what it has sent
    "echo_client.py": ("if echo != message:", "if not echo:", {"shows what came"}),
    # nothing is written
    "email_builder.py": ("with replacing(args.output) as file:", "with open(os.devnull, 'wb') as file:", {"output"}),
    # one recv is one file
    "file_client.py": (
        "        while left:\n",
        "        if left:\n",
        {"works with our file_server.py", "works with our file_server.py: a file that is missing"},
    ),
    # names lead out
    "http_server.py": (
        "    path = inside(root, os.path.join(root, *map(os.fsdecode, names)))\n",
        "    path = os.path.realpath(os.path.join(root, *map(os.fsdecode, names)), strict=True)\n",
        {"stays inside"},
    ),
    # what is not there has a value
    "json_client.py": (
        'return fail(f"no such key: {key!r}")',
        "return 0",
        {"works with our json_server.py: a key that is missing"},
    ),
    # dots are not doubled, and not halved
    "smtp_client.py": ('message.replace(b"\\r\\n.", b"\\r\\n..")', "message", {"works with our smtp_server.py"}),
    "smtp_server.py": ('data.replace(b"\\r\\n.", b"\\r\\n")', "data", {"works with our smtp_client.py"}),
    # other words and another order do no harm
    "fetch_page.py": ('yield f"{name}: {text(value)}"', 'yield f"{name.upper()} is {text(value)}"', set()),
    "json_server.py": ("json.dumps(reply)", "json.dumps(dict(reversed(reply.items())), separators=(',', ':'))", set()),
    "sum_client.py": ("    show(answer", "    show('The sum is:')\n    show(answer", set()),
}
SMUGGLED: dict[str, tuple[str, str, set[str]]] = {
    # line ends are mended in a message
    "smtp_server.py": (
        "            data += piece\n",
        "            data += piece\n            data[:] = re.sub(rb'(?<!\\r)\\n', b'\\r\\n', data)\n",
        {"ends a message at one place"},
    ),
}
SECRET = (  # the secret is sent to the client
    "guess_server.py",
    'connection.sendall(f"Guess',
    'connection.sendall(f"(psst: {secret}) Guess',
    {"dialogue", "dialogue, CRLF", "dialogue, in pieces", "keeps the secret"},
)
RUDE = {
    "echo_server.py": "import os, sys\nwhile True:\n    os.write(1, b'flood' * 10000)\n",  # and never listens
    "greeting_server.py": "import time, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(999)\n",
    "smtp_server.py": "raise SystemExit('crash')\n",
    "udp_logger.py": "import os, time\nos.fork()\nos.fork()\ntime.sleep(999)\n",
}


def grade(folder: Path, patience: str = "2") -> dict[str, Any]:
    """Run the checks on the scripts in `folder`; return the report."""
    report = folder / "report.json"
    words = [
        f"--solutions={folder}",
        "--report",
        str(report),
        "--patience",
        patience,
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode in (0, 1), result.stdout + result.stderr
    assert "your solutions" in result.stdout
    (folder / "output.txt").write_text(result.stdout)
    verdicts: dict[str, Any] = json.loads(report.read_text())
    return verdicts


def unmet(row: dict[str, Any]) -> set[str]:
    return {name for name, feedback in row["requirements"].items() if feedback is not None}


@pytest.mark.big
@pytest.mark.timeout(300)
@pytest.mark.parametrize("bugs", [BUGS, MORE_BUGS, SMUGGLED], ids=["common", "more", "smuggled"])
def test_each_bug_gets_its_verdict(bugs: dict[str, tuple[str, str, set[str]]], tmp_path: Path) -> None:
    for script, (old, new, _) in bugs.items():
        text = (ROOT / script).read_text(encoding="utf-8")
        assert old in text
        (tmp_path / script).write_text(text.replace(old, new), encoding="utf-8")
    report = grade(tmp_path)
    for script, (_, _, expected) in bugs.items():
        row = report[script]
        some = set(row["requirements"]) - expected - {"--help", "says that nobody listens"}
        assert unmet(row) == expected, script
        assert row["verdict"] == ("met" if not expected else "partly" if some else "not")
    assert report["calc_client.py"]["verdict"] == "missing"


@pytest.mark.big
def test_a_secret_that_is_told(tmp_path: Path) -> None:
    script, old, new, expected = SECRET
    (tmp_path / script).write_text((ROOT / script).read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    row = grade(tmp_path)[script]
    assert expected <= unmet(row)
    assert "with another number it says something else" in row["requirements"]["keeps the secret"]


@pytest.mark.big
@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_survives_what_learners_write(tmp_path: Path) -> None:
    for script, text in RUDE.items():
        (tmp_path / script).write_text(text)
    report = grade(tmp_path, "0.3")
    for script in RUDE:
        assert report[script]["verdict"] == "not"
    assert subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, check=False).stdout == b""


@pytest.mark.big
def test_skeletons_run_and_fail_politely(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pytest", "--start", str(tmp_path)]
    for count in (len(list(ROOT.glob("*.py"))), 0):  # the second time nothing is overwritten
        result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
        assert len(result.stdout.splitlines()) == count
    for script in ("guess_server.py", "url_tools.py"):
        result = command(tmp_path / script)
        assert (result.returncode, result.stdout, result.stderr) == (1, "", f"{script}: error: not written yet\n")
    for path in set(tmp_path.iterdir()) - {tmp_path / f"{name}_client.py" for name in ("echo", "json", "file")}:
        path.unlink()
    assert {row["verdict"] for row in grade(tmp_path).values()} == {"not", "missing"}


@pytest.mark.big
def test_feedback_says_what_happened(tmp_path: Path) -> None:
    (tmp_path / "sum_client.py").write_text("import sys\nif '--help' in sys.argv: print('usage')\nelse: print(7)\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nminversion = 99\n")  # the learner's own
    report = grade(tmp_path, "2")
    row = report["sum_client.py"]
    assert (row["verdict"], row["met"], row["of"]) == ("not", 1, 3)
    feedback = row["requirements"]["works with our sum_server.py"]
    for part in ("expected on stdout:\n6\n", "on stdout: 7", "usual cause: ", "ran      sum_client.py --port "):
        assert part in feedback
    assert "sum_client.py: works with our sum_server.py" in (tmp_path / "output.txt").read_text()
