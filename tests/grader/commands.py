"""What the options do: --solutions, --class and --start."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from . import report, skeleton
from .exercises import SCRIPTS
from .requirement import EXERCISE, MET, MISSING
from .session import Graded, Job, find_scripts, grade

CLASS_LIMIT = 300.0  # seconds for a student, unless --limit says otherwise


class WrongUsage(Exception):
    """Options that make no sense."""


def main(config: pytest.Config) -> int:
    option = config.getoption
    chosen = [name for name in ("solutions", "class_folder", "start") if option(name) is not None]
    if len(chosen) != 1:
        raise WrongUsage("use one of --solutions=DIR, --class=DIR and --start=DIR")
    names = list(SCRIPTS)
    if option("only") is not None:
        names = find_scripts(option("only"))
        if not names:
            known = ", ".join(dict.fromkeys(one.exercise for one in SCRIPTS.values()))
            raise WrongUsage(f"--only: no such script or exercise: {option('only')!r}; try {known}")
    if chosen == ["start"]:
        return start(option("start"), names)
    for what, value in (("-k", option("keyword")), ("-m", own_marker(config))):
        if value:
            raise WrongUsage(
                f"{what} picks some of the checks, which gives no verdict: use --only=NAME"
            )
    if option("numprocesses", None):
        raise WrongUsage("-n of pytest-xdist: leave it out, scripts run side by side without it")
    if option("csv") is not None and chosen != ["class_folder"]:
        raise WrongUsage("--csv goes with --class")
    for name in ("report", "csv"):
        writable(f"--{name}", option(name))
    limit = option("limit")
    if limit is not None and not (0 < limit < math.inf):
        raise WrongUsage("--limit: want a number of seconds")
    # a background job of a shell ignores Ctrl-C, and so would all that it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    python = interpreter(option("python"))
    reference = find_reference(config)
    try:
        if chosen == ["class_folder"]:
            return grade_class(config, names, reference, python, limit or CLASS_LIMIT)
        folder = existing("--solutions", option("solutions"))
        job = Job(folder, reference, python, names, limit or math.inf)
        return grade_learner(config, job)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)  # what still runs are threads that wait for programs which are gone


def own_marker(config: pytest.Config) -> str:
    """Return -m of the command line; our own pyproject.toml sets one, too."""
    given = [str(word) for word in config.invocation_params.args]
    return str(config.getoption("markexpr")) if any(w.startswith("-m") for w in given) else ""


def existing(option: str, name: str) -> Path:
    folder = Path(name)
    if not name or not folder.is_dir():
        raise WrongUsage(f"{option}: {name!r} is not a folder")
    return folder.resolve()


def writable(option: str, name: str | None) -> None:
    if name is not None and (
        not name or Path(name).is_dir() or not Path(name).absolute().parent.is_dir()
    ):
        raise WrongUsage(f"{option}: {name!r} cannot be written")


def interpreter(name: str | None) -> str:
    if name is None:
        return sys.executable
    path = shutil.which(name)
    if path is None:
        raise WrongUsage(f"--python: {name!r} is no program")
    run = subprocess.run(
        [path, "-c", "import sys; print(sys.version_info >= (3, 8))"],
        capture_output=True,
        text=True,
        check=False,
    )
    if run.stdout.strip() != "True":
        raise WrongUsage(f"--python: {name!r} is not Python 3.8 or newer")
    return os.path.abspath(path)


def find_reference(config: pytest.Config) -> Path:
    """Return the folder with our scripts: partners for a script of theirs that comes alone."""
    here = config.invocation_params.dir
    installed = Path(__file__).resolve().parent / "reference"
    for place in (here, *here.parents, Path(__file__).resolve().parent.parent.parent, installed):
        if all((place / name).is_file() for name in ("echo_server.py", "chat_server.py")):
            return place
    raise WrongUsage("run this in the folder of the exercises")


def start(name: str, scripts: list[str]) -> int:
    if not name or Path(name).is_file():
        raise WrongUsage(f"--start: {name!r} is not a folder")
    try:
        for path in skeleton.write(Path(name), scripts):
            print(path)
    except OSError as error:
        raise WrongUsage(f"--start: {error}") from None
    return 0


def grade_learner(config: pytest.Config, job: Job) -> int:
    """Check one folder; the exit status is 0 if all that is there does what the exercise asks."""
    if not any((job.folder / name).is_file() for name in job.scripts):
        raise WrongUsage(f"--solutions: no script of {describe(job.scripts)} is in {job.folder}")
    started = time.monotonic()
    results = []
    for _, graded in grade([job]):
        results.append(graded)
        if config.getoption("verbose") > 0:
            for one in graded.results:
                print(f"{graded.script:20} {one.verdict:5} {one.seconds:6.2f} s  {one.name}")
        if graded.results and config.getoption("verbose") >= 0:
            lines = report.details(graded, config.getoption("everything"))
            if lines:
                print(f"--- {graded.script}", *lines, sep="\n")
                print(flush=True)
    print(*report.table(results, {}), sep="\n")
    print(summary(results, time.monotonic() - started))
    if config.getoption("report"):
        report.write_json(Path(config.getoption("report")), report.as_json(results))
    return 0 if all(one.verdict(EXERCISE) in (MET, MISSING) for one in results) else 1


def describe(names: object) -> str:
    names = list(names) if isinstance(names, (list, tuple)) else []
    return ", ".join(names) if len(names) < 4 else f"the {len(names)}"


def summary(results: list[Graded], seconds: float) -> str:
    there = [one for one in results if one.results]
    done = sum(one.verdict(EXERCISE) == MET for one in there)
    robust = sum(one.verdict("robust") == MET for one in there)
    return (
        f"{done} of {len(there)} do what the exercise asks, {robust} of {len(there)} are robust; "
        f"{seconds:.0f} s"
    )


def grade_class(
    config: pytest.Config, names: list[str], reference: Path, python: str, limit: float
) -> int:
    """Check each subfolder; the exit status is 0: a class is no test that fails."""
    folder = existing("--class", config.getoption("class_folder"))
    students = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not any((p / name).is_file() for p in students for name in SCRIPTS):
        raise WrongUsage(f"--class: no subfolder of {folder} holds a script of the exercises")
    jobs = [Job(path, reference, python, names, limit) for path in students]
    rows: list[tuple[str, Graded]] = []
    width = max(7, *(len(report.escaped(path.name)) for path in students))
    empty = {p.name for p in students if not any((p / name).is_file() for name in names)}
    print(f"{'student':{width}} {'script':20} {'exercise':8} {'robust':8} first that is not met")
    for number, graded in grade(jobs):
        student = students[number].name
        rows.append((student, graded))
        if student in empty:
            empty.remove(student)
            print(f"{report.escaped(student):{width}} {'(no script)':20} {MISSING:8} {MISSING:8}")
        if graded.results:
            verdicts = f"{graded.verdict(EXERCISE):8} {graded.verdict('robust'):8}"
            print(
                f"{report.escaped(student):{width}} {graded.script:20} {verdicts}",
                report.first_unmet(graded),
                flush=True,
            )
    print("\nhow many met each requirement, of those who have the script:")
    print(*report.of_class(rows), sep="\n")
    if config.getoption("csv"):
        report.write_csv(Path(config.getoption("csv")), rows)
    if config.getoption("report"):
        by_student: dict[str, list[Graded]] = {}
        for student, graded in rows:
            by_student.setdefault(student, []).append(graded)
        content = {name: report.as_json(results) for name, results in by_student.items()}
        report.write_json(Path(config.getoption("report")), {"students": content})
    return 0
