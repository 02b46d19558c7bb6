"""The checks that `pytest --solutions DIR` runs on the scripts in DIR: see solutions.py."""

from __future__ import annotations

from pathlib import Path

import pytest

import battery
import grading
import solutions


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    solutions.PATIENCE = metafunc.config.getoption("patience")
    folder = Path(metafunc.config.getoption("solutions"))
    scripts = [script for script in solutions.EXERCISES if (folder / script).exists()]
    names = [(script, one.name) for script in scripts for one in solutions.requirements(script, Path())]
    metafunc.parametrize(("script", "name"), names, ids=[f"{script}: {name}" for script, name in names])


@pytest.mark.timeout(0)  # each check has limits of its own
@pytest.mark.filterwarnings("ignore")
def test_solution(
    script: str, name: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One requirement of one script."""
    monkeypatch.setattr(battery, "LineClient", solutions.Recorder)
    monkeypatch.setattr(battery, "matches", solutions.matches)
    monkeypatch.setattr(battery, "OVER_LONG", 200_000)
    path = (Path(request.config.getoption("solutions")) / script).resolve()
    asked = next(one for one in solutions.requirements(script, tmp_path) if one.name == name)
    solutions.wire.clear()
    verdicts = request.config.stash[grading.VERDICTS]
    before = {asked for one, asked, feedback in verdicts if one == script and feedback}
    feedback = None
    if first := next((one for one in before if one == "takes connections" or name.startswith(f"{one}: ")), None):
        feedback = f"{script}: {name}: not tried: see {first!r}"
    else:
        try:
            asked.check(path)
        except (Exception, pytest.fail.Exception) as problem:
            lines = [f"{script}: {name}: {solutions.explained(problem)}"]
            if meaning := solutions.meaning(asked):
                lines.insert(1, f"what is asked: {meaning}")
            if solutions.wire:
                lines += ["on the wire:", *(f"  {line}" for line in solutions.wire[-solutions.SHOWN :])]
            known = name != "dialogue" and solutions.working.get(script) == 0  # not even the first answer is right
            lines.append(f"usual cause: {'see dialogue, which is not met' if known else asked.cause}")
            feedback = "\n".join(lines)
    verdicts.append((script, name, feedback))
    if feedback:
        pytest.fail(feedback, pytrace=False)
