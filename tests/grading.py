"""The options of pytest for solutions of one's own: --solutions DIR, --report FILE, --start DIR."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

Verdicts = list[tuple[str, str, "str | None"]]  # script, requirement, feedback or None
VERDICTS = pytest.StashKey[Verdicts]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("exercises", "your own solutions")
    group.addoption("--solutions", metavar="DIR", help="check the scripts in this folder instead of ours")
    group.addoption("--report", metavar="FILE", help="with --solutions: write the verdicts as JSON")
    group.addoption("--patience", type=float, default=3.0, metavar="SECONDS", help="with --solutions: for each answer")
    group.addoption("--start", metavar="DIR", help="write a skeleton of each exercise into this folder")


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    folder = config.getoption("start")
    if folder is None:
        return None
    if not folder or Path(folder).is_file():
        raise pytest.UsageError(f"--start: {folder!r} is not a folder")
    sys.path.insert(0, str(tests(config)))
    import skeleton

    try:
        for path in skeleton.write(Path(folder)):
            print(path)
    except OSError as error:
        raise pytest.UsageError(f"--start: {error}") from error
    return 0


def tests(config: pytest.Config) -> Path:
    """Return the folder with the checks: pytest runs where they are, but this file may be installed."""
    return config.invocation_params.dir / "tests"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[VERDICTS] = []
    folder, report = config.getoption("solutions"), config.getoption("report")
    if folder is None:
        if report:
            raise pytest.UsageError("--report goes with --solutions")
        return
    if not folder or not Path(folder).is_dir():
        raise pytest.UsageError(f"--solutions: {folder!r} is not a folder")
    if report and (Path(report).is_dir() or not Path(report).absolute().parent.is_dir()):
        raise pytest.UsageError(f"--report: {report} cannot be written")
    if not 0 < config.getoption("patience") < 1e6:
        raise pytest.UsageError("--patience: want a number of seconds")
    checks = tests(config) / "check_solutions.py"
    if not checks.exists():
        raise pytest.UsageError("--solutions: run this in the folder of the exercises")
    config.args[:] = [str(checks)]
    config.option.reportchars = "N"  # the table is the summary


def summary(verdicts: Verdicts) -> dict[str, dict[str, Any]]:
    """Return for each exercise: met, partly, not or missing, and its requirements with their feedback."""
    import solutions

    table: dict[str, dict[str, Any]] = {}
    for script in solutions.EXERCISES:
        asked = {name: feedback for one, name, feedback in verdicts if one == script}
        met = [name for name, feedback in asked.items() if feedback is None]
        some = set(met) - {solutions.HELP, solutions.NOBODY}
        verdict = "missing" if not asked else "met" if len(met) == len(asked) else "partly" if some else "not"
        table[script] = {"verdict": verdict, "met": len(met), "of": len(asked), "requirements": asked}
    return table


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("solutions") is None:
        return
    table = summary(config.stash[VERDICTS])
    terminalreporter.section("your solutions")
    for script, row in table.items():
        terminalreporter.write_line(f"{script:22} {row['verdict']:8} {row['met']:2} of {row['of']} requirements")
    counts = [row["verdict"] for row in table.values()]
    words = [f"{counts.count(verdict)} {verdict}" for verdict in ("met", "partly", "not", "missing")]
    terminalreporter.write_line(", ".join(words))
    if config.getoption("report"):
        Path(config.getoption("report")).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
