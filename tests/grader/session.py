"""Checks scripts: those of one learner, or of a class, side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import report
from .exercises import SCRIPTS
from .process import MOST_TASKS
from .requirement import (
    EXERCISE,
    LEVELS,
    MET,
    MISSING,
    NOT,
    WAITS,
    NotMet,
    Requirement,
    Script,
    verdict,
)
from .trial import Trial, give_up

FIRST_OF_DIALOGUE = "speaks our protocol"
WHOLE_DIALOGUE = "holds our dialogue to the letter"  # what of it holds is enough for others


@dataclass
class Result:
    """The verdict on one requirement."""

    name: str
    level: str
    verdict: str
    feedback: list[str] = field(default_factory=list)
    short: str = ""
    seconds: float = 0.0


@dataclass
class Graded:
    """The verdicts on one script."""

    script: str
    results: list[Result]
    seconds: float = 0.0

    def verdict(self, level: str) -> str:
        if not self.results:
            return MISSING
        of_level = [one.verdict for one in self.results if one.level == level]
        first = self.results[0]
        return verdict(of_level, first.verdict if level == EXERCISE and len(of_level) > 1 else None)

    def counts(self, level: str) -> tuple[int, int]:
        of_level = [one.verdict for one in self.results if one.level == level]
        return of_level.count(MET), len(of_level)

    def as_json(self) -> dict[str, Any]:
        return {
            "exercise": self.verdict(EXERCISE),
            "robust": self.verdict("robust"),
            "requirements": [
                {
                    "name": one.name,
                    "level": one.level,
                    "verdict": one.verdict,
                    "feedback": "\n".join(one.feedback),
                }
                for one in self.results
            ],
        }


@dataclass(frozen=True)
class Job:
    """What is to be checked, and how."""

    folder: Path
    reference: Path
    python: str
    scripts: Sequence[str]
    limit: float = float("inf")


def find_scripts(word: str) -> list[str]:
    """Return the scripts that `--only WORD` means: one script, or all of an exercise."""
    bare = word.removesuffix(".py")
    exact = [one.name for one in SCRIPTS.values() if one.name == bare + ".py"]
    return exact or [
        one.name
        for one in SCRIPTS.values()
        if bare in (one.exercise, one.name.partition("_")[0], one.name.removesuffix(".py"))
    ]


def grade_script(script: Script, job: Job, deadline: float, workers: int = 1) -> Graded:
    """Check all that is asked of one script: side by side, as soon as what it waits for is met."""
    if not (job.folder / script.name).is_file():
        return Graded(script.name, [])
    started = time.monotonic()
    results = {one.name: Result(one.name, one.level, MET) for one in script.requirements}
    trials = [Trial(script.name, job.folder, job.reference, job.python, script.port, deadline)]
    free = trials[:]
    facts: dict[str, dict[str, Any]] = {}  # what was learned when a requirement was checked
    left = list(script.requirements)
    running: dict[Future[None], str] = {}

    def check(requirement: Requirement, own: Trial) -> None:
        check_one(script, requirement, results, own)
        facts[requirement.name] = own.facts
        free.append(own)

    try:
        with ThreadPoolExecutor(workers) as pool:
            while left or running:
                ready = [one for one in left if awaited(script, one) <= facts.keys()]
                for requirement in ready[: workers - len(running)]:
                    left.remove(requirement)
                    own = free.pop() if free else trials[0].again()
                    if own not in trials:
                        trials.append(own)
                    own.facts = {}
                    for name in awaited(script, requirement):
                        own.facts |= facts[name]
                    running[pool.submit(check, requirement, own)] = requirement.name
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    del running[future]
                    future.result()
    finally:
        for one in trials:
            one.close()
    return Graded(script.name, list(results.values()), time.monotonic() - started)


def awaited(script: Script, requirement: Requirement) -> set[str]:
    """Return what has to be checked before: its prerequisite, and what tells how far we get."""
    needed = script.prerequisite(requirement)
    names = {one.name for one in script.requirements}
    found = {needed} if needed else set()
    if needed == FIRST_OF_DIALOGUE and requirement.name != WHOLE_DIALOGUE:
        found |= {WHOLE_DIALOGUE} & names
    return found


def check_one(
    script: Script, requirement: Requirement, results: dict[str, Result], trial: Trial
) -> None:
    """Check one requirement, if what it waits for is met."""
    result = results[requirement.name]
    needed = script.prerequisite(requirement)
    before = time.monotonic()
    if trial.late():
        result.verdict, result.short = WAITS, "not tried: the time was up (--limit)"
    elif needed and results[needed].verdict != MET:
        root = needed  # the first of those that wait for each other
        while results[root].verdict == WAITS and (more := waits_for(script, root)):
            root = more
        result.verdict, result.short = WAITS, f'not tried: waits for "{root}"'
    else:
        trial.begin()
        problem = None
        try:
            requirement.check(trial)
        except NotMet as unmet:
            problem = unmet
        except Exception as error:
            problem = NotMet(f"the check broke off: {type(error).__name__}: {error}")
        for program in trial.culprits():
            if program.stopped:
                found = f"it had {program.stopped} threads and processes, and was stopped"
                problem = NotMet(found, f"at most {MOST_TASKS}", "it starts them without end")
        if problem and trial.late():
            result.verdict, result.short = WAITS, "not tried to the end: the time was up (--limit)"
        elif problem:
            result.verdict, result.short = NOT, report.one_line(problem)
            result.feedback = report.feedback(script, requirement, problem, trial)
        trial.finish()
    result.seconds = time.monotonic() - before
    if result.verdict == WAITS:
        result.feedback = [f"{script.name}: {requirement.name}: {result.short}"]


def waits_for(script: Script, name: str) -> str | None:
    requirement = next(one for one in script.requirements if one.name == name)
    return script.prerequisite(requirement)


def grade(jobs: Sequence[Job], workers: int = 0) -> Iterator[tuple[int, Graded]]:
    """Check several folders, side by side; yield the number of a job and what came out."""
    cores = os.cpu_count() or 1
    workers = workers or cores + 1
    starts: dict[int, float] = {}
    count = sum((job.folder / name).is_file() for job in jobs for name in job.scripts)
    inner = max(2, 6 * cores // max(1, count))  # most of the time a check waits

    def run(number: int, name: str) -> tuple[int, Graded]:
        job = jobs[number]
        now = time.monotonic()
        left = starts.setdefault(number, now) + job.limit - now
        if sum((job.folder / one).is_file() for one in job.scripts) > 1:
            left /= 2  # one that hangs leaves time for the others
        deadline = now + left
        return number, grade_script(SCRIPTS[name], job, deadline, inner)

    pool = ThreadPoolExecutor(workers)
    try:
        futures = [
            pool.submit(run, number, name)
            for number, job in enumerate(jobs)
            for name in job.scripts
        ]
        for future in futures:
            yield future.result()
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        give_up()
        raise
    pool.shutdown()


__all__ = ["LEVELS", "Graded", "Job", "Result", "find_scripts", "grade", "grade_script"]
