"""What a learner and a teacher read: the table, the feedback, JSON and CSV."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .process import ENVIRONMENT, Program
from .requirement import (
    EXERCISE,
    EXTRA,
    MET,
    MISSING,
    NOT,
    ROBUST,
    WAITS,
    NotMet,
    Requirement,
    Script,
)
from .trial import quoted

if TYPE_CHECKING:
    from .session import Graded, Result
    from .trial import Trial

MOST_LINES = 25  # of a feedback
HANGUP = 0.5  # seconds after which an exception has nothing to do with it
MOST_BY_HAND = 1000  # characters of a command: whoever repeats it can read it
WIDTH = 160  # characters of a line of a feedback
OUTPUT_LINES = 6  # of what a program printed


def escaped(text: str) -> str:
    """Return text without anything that could steer a terminal, or make another line."""
    return "".join(
        char if char.isprintable() else ascii(char)[1:-1] for char in text.replace("\t", "    ")
    )


def cut(line: str, width: int = WIDTH) -> str:
    return line if len(line) <= width else line[: width - 3] + "..."


def one_line(problem: NotMet) -> str:
    text = escaped(problem.cause or problem.found)
    if problem.expected and not problem.cause:
        text += f"; expected {escaped(problem.expected)}"
    return cut(text, 110)


START = "Traceback (most recent call last):"
# Ctrl-C, and the end of our input; what comes of them is nobody's fault.
HARMLESS = ("KeyboardInterrupt", "SystemExit", "asyncio.CancelledError", "EOFError")


def error_in(traceback: Sequence[str]) -> str:
    """Return the exception that a traceback ends with, if it is one to speak of."""
    pattern = r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt|Timeout|Warning)?(: |$)"
    error = next((line for line in reversed(traceback) if re.match(pattern, line)), "")
    return "" if error.partition(":")[0] in HARMLESS else error.strip()


def traceback_of(program: Program) -> list[str]:
    """Return the learner's first traceback with an error: those after it often follow from it.

    Its lines of our own module, and of Python's library, are left out.
    """
    found: list[str] = []
    for part in re.split(f"(?={re.escape(START)})", program.errors)[1:]:
        lines: list[str] = []
        hidden = False
        for line in part.splitlines():
            if line.startswith('  File "'):
                hidden = str(ENVIRONMENT) in line or "/lib/python" in line or "<frozen" in line
            elif not line.startswith("    "):
                hidden = False
            if not hidden and not re.fullmatch(r"[\s^~]*", line):
                lines.append(line)
            if line and not line.startswith((" ", START)):
                break  # the exception
        found = found or lines
        if error_in(lines):
            return lines
    return found


def raised(program: Program) -> str:
    """Return the exception that ended a program, or a part of it; not what a Ctrl-C does."""
    return error_in(traceback_of(program))


def where(program: Program) -> str:
    """Return the line of the learner's script that raised it."""
    found = re.findall(r'File "([^"]+)", line (\d+)', "\n".join(traceback_of(program)))
    own = [(Path(name).name, line) for name, line in found if str(program.folder) in name]
    return f" ({own[-1][0]}, line {own[-1][1]})" if own else ""


def own_fault(program: Program, trial: Trial) -> bool:
    """Tell whether nothing of ours may have raised its exception.

    That may be our protocol, an option that it does not know, or that we hung up.
    """
    hung_up = any(0 <= program.failed_at - at < HANGUP for at in trial.evidence.closings)
    return not (program.probed or hung_up or misled(program))


def output_of(program: Program) -> str:
    """Return all that it printed, but not that input() found the end of the file."""
    traceback = r"Traceback \(most recent call last\):\n(?:  .*\n)+EOFError: .*\n"
    return program.printed + re.sub(traceback, "", program.errors)


def misled(program: Program) -> bool:
    """Tell whether it takes the options that we gave it for something else."""
    if not any(word.startswith("--") for word in program.command[2:]):
        return False
    try:
        code = (program.folder / program.command[1]).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "argv" in code and not re.search(r"argparse|getopt|optparse|click|--port", code)


def feedback(script: Script, requirement: Requirement, problem: NotMet, trial: Trial) -> list[str]:
    """Return the feedback on a requirement that is not met: at most 25 lines."""
    for program in trial.culprits():
        program.settle()
    head = [
        f"{script.name}: {requirement.name}: not met [{requirement.level}]",
        f"  asked      {requirement.text}",
        f"  found      {problem.found}",
    ]
    if problem.expected:
        head.append(f"  expected   {problem.expected}")
    cause = problem.cause
    if not cause:
        failed = [one for one in trial.culprits() if raised(one) and own_fault(one, trial)]
        if failed:
            first = min(failed, key=lambda one: one.failed_at)
            cause = raised(first) + where(first)
    if cause:
        head.append(f"  cause      {cause}")
    by_hand = [
        f"  {'by hand' if not i else '':10} {line}"
        for i, line in enumerate(commands_by_hand(trial))
    ]
    printed = output_lines(trial, MOST_LINES - len(head) - len(by_hand) - 4)
    room = MOST_LINES - len(head) - len(by_hand) - len(printed)
    happened = [f"  {line}" for line in trial.evidence.shown()]
    if len(happened) > room:
        happened = [*happened[: room // 2], *happened[len(happened) - (room - room // 2) :]]
    lines = [*head, *happened, *printed]
    shown = [cut(escaped(text.replace(str(trial.scratch), "..."))) for text in lines]
    return [*shown[: MOST_LINES - len(by_hand)], *by_hand]


def commands_by_hand(trial: Trial) -> list[str]:
    """Return commands that do the same as a check, each for a terminal of its own."""
    commands = list(dict.fromkeys(map(trial.by_hand, trial.evidence.commands)))[-2:]
    commands.sort(key=lambda one: "_server.py" not in one)  # the server is started first
    if line := client_by_hand(trial):
        commands = [*commands[-1:], line]
    lines = [with_files(trial, one) for one in commands]
    lines = [one for one in lines if one.isprintable() and len(one) <= MOST_BY_HAND]
    # what needs a page or a folder of ours cannot be done without us
    ours = {str(port) for port in trial.gone}
    lines = [one for one in lines if str(trial.scratch) not in one
             and not ours & set(re.findall(r"\d+", one))]  # fmt: skip
    if lines and trial.gone and trial.default_port and "_server.py" not in lines[0]:
        asked = [port for one in trial.culprits() for _, port in one.asked_for("connect")]
        port = int(trial.by_hand(str(asked[-1]))) if asked else trial.default_port
        if not any(visit_less(one) for one in lines):
            lines = [f"nc -l {port}", *lines[-1:]]  # where one answers at the keyboard
    return lines


def visit_less(command: str) -> bool:
    """Tell whether a command is one that connects to nobody."""
    return command.endswith("--help")


def with_files(trial: Trial, command: str) -> str:
    """Return a command that first writes the files that it needs, into a copy of the folder."""
    script = command.split()[1] if command.startswith("python3 ") else ""
    files: dict[str, bytes] = {}
    for name, _, program in trial.programs:
        if name == Path(script).name:
            files |= {
                file: data
                for file, data in program.given.items()
                if script.endswith("_server.py") or file in command.split()
                or (trial.folder / file).is_file()
                or file in trial.facts.get(f"files that {name} wants", ())
            }  # fmt: skip
    if not files:
        return command
    folders = sorted({str(Path("try", file).parent) for file in files})
    written = [f"{content_by_hand(file, data)} > {quoted(file)}" for file, data in files.items()]
    made = " ".join(map(quoted, folders))
    return f"(mkdir -p {made}; cp *.* try; cd try; {'; '.join(written)}; {command})"


def content_by_hand(name: str, data: bytes) -> str:
    """Return a command that writes `data`, or what is like it in size and kind."""
    if len(data) <= MOST_BY_HAND // 2 and data.isascii() and b"\0" not in data:
        return f"printf {printf_text(repr(data)[2:-1])}"
    if name.endswith(".json"):
        pairs = json.loads(data).items()
        text = ", ".join(f'"{key}": "%{min(len(value), 200_000)}s"' for key, value in pairs)
        return f"printf '{{{text}}}' " + " ".join("x" for _ in pairs)
    return f"head -c {len(data)} /dev/urandom"


def printf_text(text: str) -> str:
    """Return bytes, written as in Python, for printf: not every shell knows \\x."""
    text = re.sub(r"\\x(..)", lambda match: f"\\{int(match[1], 16):03o}", text.replace("\\'", "'"))
    return shlex.quote(text.replace("%", "%%"))


def client_by_hand(trial: Trial) -> str:
    """Return a command that sends to a server what a check has sent to it."""
    own = trial.culprits()
    port = trial.facts.get(f"own port of {trial.script}", trial.default_port)
    if len(own) != 1 or not trial.script.endswith("_server.py"):
        return ""
    sent = [line.split(None, 1)[1] for line in trial.evidence.lines if line.startswith("sent ")]
    ends = "(the end of the stream)" in sent
    texts = [text[2:-1] for text in sent if re.fullmatch(r"b'[ -~]+'", text)]
    whole = "".join(texts)
    if not texts or len(whole) > 120 or len(texts) + ends != len(sent) or trial.connections > 1:
        return ""
    if all(text.endswith("\\n") for text in texts[:-1]):
        typed = f"printf {printf_text(whole)}"
    else:  # each for itself, as in the check
        typed = "(" + "; sleep 1; ".join(f"printf {printf_text(one)}" for one in texts) + ")"
    return f"{typed} | nc {'-N ' if ends else ''}localhost {port}"


def output_lines(trial: Trial, room: int) -> list[str]:
    """Return what the learner's programs of a check printed: the end of it."""
    lines: list[str] = []
    for script, ours, program in trial.programs:
        if ours:
            continue
        name = f"{script}'s " if len(trial.culprits()) > 1 else ""
        for stream, text in (("stdout", program.printed), ("stderr", program.errors)):
            found = traceback_of(program) if stream == "stderr" else []
            if not found:
                found = [line for line in text.splitlines() if line.strip()][-OUTPUT_LINES:]
            found = found[:1] + found[-7:] if len(found) > 8 else found
            if found:
                lines.append(f"  {name}{stream}:")
                lines += [f"    | {cut(line, 120)}" for line in found]
    return lines if len(lines) <= room else lines[-max(room, 0) :] if room > 0 else []


# The table


def row(graded: Graded) -> str:
    met = " ".join(f"{have} of {of}" if of else "-" for have, of in [graded.counts(EXERCISE)])
    have, of = graded.counts(ROBUST)
    extras, most = graded.counts(EXTRA)
    robust = f"{have} of {of}" if of else "-"
    extra = f", extras {extras} of {most}" if most else ""
    first = graded.verdict(EXERCISE) if graded.counts(EXERCISE)[1] else "-"
    return f"{graded.script:20} {first:8} {met:8} {graded.verdict(ROBUST):8} {robust}{extra}"


def table(results: Sequence[Graded], names: Mapping[str, str]) -> list[str]:
    """Return the table of those scripts that are there, and one line for the rest."""
    there = [one for one in results if one.results]
    lines = [f"{'script':20} {'exercise':17} {'robust'}"]
    lines += [row(one) for one in there]
    missing = [one.script for one in results if not one.results]
    if missing:
        lines.append(f"not there: {', '.join(missing)}")
    return lines


def details(graded: Graded, everything: bool) -> list[str]:
    """Return the first requirement that is not met in full, and each other one in a line."""
    lines: list[str] = []
    shown = False
    for level in (EXERCISE, ROBUST, EXTRA):
        unmet = [one for one in graded.results if one.level == level and one.verdict != MET]
        unmet.sort(key=lambda one: one.verdict == WAITS)  # first what they wait for
        if everything:
            met = [one for one in graded.results if one.level == level and one.verdict == MET]
            lines += [f"  [{level}] {one.name}: met" for one in met]
        for one in unmet:
            if one.verdict == NOT and (everything or not shown):
                lines += ["", *one.feedback, ""]
                shown = True
            else:
                lines.append(f"  [{level}] {one.name}: {one.short}")
        if level == EXERCISE and unmet and not everything:
            others = [one for one in graded.results if one.level != level]
            if others and len(unmet) and graded.verdict(EXERCISE) != MET:
                names = Counter(one.verdict for one in others)
                told = ", ".join(f"{names[v]} {v}" for v in (MET, NOT, WAITS) if names[v])
                lines.append(f"  [{ROBUST}, {EXTRA}] {told}: first the exercise; --all shows them")
            break
    return lines


def as_json(results: Iterable[Graded]) -> dict[str, Any]:
    return {"scripts": {one.script: one.as_json() for one in results}}


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


# A class


def write_csv(path: Path, rows: Iterable[tuple[str, Graded]]) -> None:
    """Write a row for each student and script."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["student", "script", "exercise", "robust", "first unmet requirement"])
        for student, graded in rows:
            unmet = first_unmet(graded)
            verdicts = [graded.verdict(EXERCISE), graded.verdict(ROBUST)]
            writer.writerow([harmless(student), graded.script, *verdicts, unmet])


def harmless(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return ("'" if cell.startswith(("=", "+", "-", "@")) else "") + escaped(cell)


def first_unmet(graded: Graded) -> str:
    """Return the name of the first requirement that is not met, or that was not tried."""
    for wanted in (NOT, WAITS):
        for one in graded.results:
            if one.verdict == wanted:
                return one.name if wanted == NOT else f"{one.name}: {one.short}"
    return ""


def of_class(rows: Sequence[tuple[str, Graded]]) -> list[str]:
    """Return, for each requirement, how many of those who have the script met it."""
    lines = []
    met: dict[str, dict[tuple[str, str], list[str]]] = {}
    for _, graded in rows:
        for one in graded.results:
            cell = met.setdefault(graded.script, {}).setdefault((one.level, one.name), [])
            cell.append(one.verdict)
    for script, requirements in met.items():
        lines.append(script)
        for (level, name), verdicts in requirements.items():
            bar = f"{verdicts.count(MET)} of {len(verdicts)}"
            lines.append(f"  {bar:>9}  [{level}] {name}")
    return lines


__all__ = ["MISSING", "Result", "as_json", "details", "feedback", "of_class", "table", "write_csv"]
