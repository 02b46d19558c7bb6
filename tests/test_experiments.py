"""The experiment at the end of every docstring: a small change, and a test that notices it."""

from __future__ import annotations

import ast
import builtins
import re
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from conftest import COLLECTED, ROOT

SCRIPTS = sorted(ROOT.glob("*.py"))
FORM = re.compile(r"((?:    [-+] .+\n)+)    `pytest -k \"([\w ]+)\"` fails: (\S[^`]+\.)")
HEADING = "Experiment:\n\n"
TIME_LIMIT = 30  # seconds for each test: a reader will not wait longer to see it fail
TOTAL = 120  # seconds for all of them
BROKEN = r"^E +(UnboundLocalError|ImportError|ModuleNotFoundError)\b"

each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


class Experiment(NamedTuple):
    """Text to replace in a script, what replaces it, and which tests to run then."""

    old: list[str]
    new: list[str]
    keyword: str

    def place(self, code: str) -> tuple[int, int, str]:
        """Return start and end of the text to replace, which is there once, and its replacement.

        It may begin within a line; further lines are indented as much as that line.
        """
        places = []
        for match in re.finditer(re.escape(self.old[0]), code):
            line = code[code.rfind("\n", 0, match.start()) + 1 :]
            between = "\n" + line[: len(line) - len(line.lstrip(" "))]
            old = between.join(self.old)
            if code.startswith(old, match.start()):
                places.append((match.start(), match.start() + len(old), between.join(self.new)))
        assert len(places) == 1, f"{self.old} stands {len(places)} times in the code"
        return places[0]


def read_experiment(script: Path) -> Experiment:
    """Return the experiment with which the docstring of `script` ends."""
    text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    assert text.count(HEADING) == 1, "there must be one experiment"
    match = FORM.fullmatch(text.partition(HEADING)[2])
    assert match, "not the form of an experiment"
    old, new = (re.findall(rf"^    [{sign}] (.+)$", match[1], re.MULTILINE) for sign in "-+")
    assert match[1] == "".join(
        [f"    - {line}\n" for line in old] + [f"    + {line}\n" for line in new]
    )
    assert old, "there is nothing to replace"
    return Experiment(old, new, match[2])


def split_docstring(script: Path) -> tuple[str, str]:
    """Return the source of a script up to the end of its docstring, and the code after it."""
    source = script.read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    end = ast.parse(source).body[0].end_lineno
    return "".join(lines[:end]), "".join(lines[end:])


def changed_source(script: Path) -> str:
    """Return the source of a script after its experiment: it compiles, and has no unknown name."""
    head, code = split_docstring(script)
    start, end, new = read_experiment(script).place(code)
    source = head + code[:start] + new + code[end:]
    assert new != code[start:end], "nothing changes"
    compile(source, script, "exec")
    assert not unknown_names(source)
    return source


def unknown_names(source: str) -> set[str]:
    """Return the names that a source reads, but binds nowhere."""
    read: set[str] = set()
    bound = {*dir(builtins), "__file__"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return read - bound


def copy_project(folder: Path) -> None:
    """Copy what the tests need, without these here."""
    ignore = shutil.ignore_patterns("__pycache__", Path(__file__).name)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
        elif path.name in ("docs", "tests"):
            shutil.copytree(path, folder / path.name, ignore=ignore)


def run_pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in `folder`, as somebody would who tries the experiment."""
    words = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=TOTAL, check=False
    )


@lru_cache(maxsize=1)
def collect_all() -> list[str]:
    """Return the names of all tests that run without -m big."""
    result = run_pytest(ROOT, "--collect-only")
    assert result.returncode == 0, result.stdout
    return [line for line in result.stdout.splitlines() if "::" in line]


def selects(words: list[str], names: list[str]) -> bool:
    """Tell whether one of the names has all words, without counting the tests in this file."""
    others = (name for name in names if Path(__file__).name not in name)
    return any(all(word in name for word in words) for name in others)


@each_script
def test_every_script_has_an_experiment(script: Path, pytestconfig: pytest.Config) -> None:
    changed_source(script)
    experiment = read_experiment(script)
    words = experiment.keyword.split(" and ")
    assert script.stem in words, "other scripts may have a test of that name, too"
    # This pytest may have been given some files only: then another one collects the rest.
    found = selects(words, pytestconfig.stash[COLLECTED]) or selects(words, collect_all())
    assert found, f'-k "{experiment.keyword}" selects no test'


@pytest.mark.big
@pytest.mark.timeout(3 * TOTAL)
@each_script
def test_experiment_is_noticed(script: Path, tmp_path: Path) -> None:
    """The tests that it names pass; with the change one of them fails, because of what it does."""
    copy_project(tmp_path)
    options = ["-x", "-k", read_experiment(script).keyword]
    options += ["-o", f"timeout={TIME_LIMIT}", "--junitxml=results.xml"]
    result = run_pytest(tmp_path, *options)
    assert result.returncode == 0, result.stdout
    assert re.search(r"^\d+ passed", result.stdout, re.MULTILINE), "all were skipped"
    (tmp_path / script.name).write_text(changed_source(script), encoding="utf-8")
    result = run_pytest(tmp_path, *options)
    assert result.returncode == 1, result.stdout
    failures = ElementTree.parse(tmp_path / "results.xml").findall(".//testcase/failure")
    assert failures, f"no test failed, but something around one\n{result.stdout}"
    assert not re.search(BROKEN, result.stdout, re.MULTILINE), (
        f"the changed script is broken\n{result.stdout}"
    )
    assert "Timeout (>" not in result.stdout, f"too long to wait for\n{result.stdout}"
