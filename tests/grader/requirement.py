"""What is asked of a script: a list of requirements, each with a level and what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .trial import Trial

    Check = Callable[[Trial], None]

EXERCISE, ROBUST, EXTRA = "exercise", "robust", "extra"
LEVELS = (EXERCISE, ROBUST, EXTRA)
MET, NOT, WAITS = "met", "not", "waits"
PARTLY, MISSING = "partly", "missing"


class NotMet(Exception):
    """A requirement is not met. `cause` is said only if the evidence shows it."""

    def __init__(self, found: str, expected: str = "", cause: str = "") -> None:
        super().__init__(found)
        self.found, self.expected, self.cause = found, expected, cause


@dataclass(frozen=True)
class Requirement:
    """One thing that is asked. `name` completes the sentence "the script ..."."""

    level: str
    name: str
    text: str  # the sentence of the exercise, or why anybody asks for it
    check: Check
    waits_for: str | None = None  # another requirement; None: see Script


@dataclass(frozen=True)
class Script:
    """All that is asked of a script, and what its skeleton holds."""

    name: str
    exercise: str  # the words by which --only finds it
    asks: Sequence[str]  # sentences of the exercise
    requirements: Sequence[Requirement]
    imports: Sequence[str] = ("socket",)
    port: int = 0  # its default
    arguments: Sequence[str] = ()  # what it takes on the command line, besides --port
    essential: int = 2  # so many requirements, one after the other, are the root of all others
    partners: Sequence[str] = field(default=())  # scripts that may be run with it

    def prerequisite(self, requirement: Requirement) -> str | None:
        """Return the name of the requirement that has to be met before `requirement` is tried."""
        if requirement.waits_for is not None:
            return requirement.waits_for
        index = list(self.requirements).index(requirement)
        if index == 0:
            return None
        return self.requirements[min(index, self.essential) - 1].name


def verdict(verdicts: Sequence[str], first: str | None = None) -> str:
    """Return met, partly or not for a list of verdicts; `first` is that of a mere start."""
    if verdicts and all(one == MET for one in verdicts):
        return MET
    return PARTLY if list(verdicts).count(MET) > (first == MET) else NOT
