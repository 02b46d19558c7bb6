"""The options of pytest for solutions of one's own: see README.md, "Do the exercises yourself"."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import_path = Path(__file__).resolve().parent


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("exercises", "your own solutions of the exercises")
    group.addoption("--solutions", metavar="DIR", help="check the scripts in this folder")
    group.addoption(
        "--class",
        dest="class_folder",
        metavar="DIR",
        help="check the scripts in each subfolder: one is a student",
    )
    group.addoption("--only", metavar="NAME", help="one script, or one exercise: sum, echo, ...")
    group.addoption(
        "--all", action="store_true", dest="everything", help="show all that is not met in full"
    )
    group.addoption("--report", metavar="FILE", help="write the verdicts as JSON")
    group.addoption("--csv", metavar="FILE", help="with --class: a row for each student and script")
    group.addoption("--limit", metavar="SECONDS", type=float, help="for each student, or in all")
    group.addoption("--python", metavar="PATH", help="the interpreter that runs the solutions")
    group.addoption("--start", metavar="DIR", help="write a skeleton of each exercise there")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    names = ("solutions", "class_folder", "start", "only", "report", "csv", "limit", "python")
    if config.option.help or not any(
        config.getoption(name) is not None for name in (*names, "everything")[:-1]
    ):
        return None
    use_checkout(config.invocation_params.dir)
    from .commands import WrongUsage, main

    try:
        return main(config)
    except WrongUsage as error:
        print(f"pytest: error: {error}", file=sys.stderr)
        return 2


def use_checkout(folder: Path) -> None:
    """Take the grader in tests/grader, where it is: what is installed may be older."""
    for place in (folder, *folder.parents):
        checkout = place / "tests" / "grader"
        if (checkout / "plugin.py").is_file() and (place / "echo_server.py").is_file():
            package = sys.modules[__package__ or ""]
            package.__path__[:] = [str(checkout)]
            return
