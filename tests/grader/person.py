"""What a person would enter: as the arguments that a usage names, and at a program's prompts."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from .process import LOOK, Program

if TYPE_CHECKING:
    from .recorder import Evidence

# What a word in a usage or a prompt asks for, in languages that learners write in. The first that
# fits counts: "name of the file on the server" asks for a file.
ROLES = {
    "folder": r"folder|director|dir(?![a-z])|ordner|verzeichnis|carpeta|pasta|cartella|dossier",
    "port": r"(?<![a-z])port|puerto",
    "copy": r"save|output|target|dest|ziel|guardar|cop[yi]|kopie|local|new",
    "key": r"key|clave|schl(ü|ue)ssel|chave|llave|cl[ée]\b",
    "file": r"file|datei|archivo|fichero|fichier|arquivo|path|pfad|ruta|json|csv|log",
    "expression": r"expr|calc|rechnung|ausdruck|oper|formula|cuenta",
    "sender": r"(?<![a-z])from|sender|absender|von(?![a-z])|remit|(?<![a-z])de(?![a-z])",
    "recipient": r"(?<![a-z])to(?![a-z])|recipient|rcpt|empf|(?<![a-z])an(?![a-z])|dest|para",
    "subject": r"subject|betreff|asunto",
    "body": r"body|text|mes*sag|mesaj|msg|nachricht|mensaje|cuerpo",
    "name": r"name|nick|user|nom|soprannome|apodo",
    "host": r"host|serve?[ru]|servidor|addr|adres|indirizzo|direc|(?<![a-z])ip(?![a-z])|rechner|machine",
}
YES_OR_NO = r"\b[yjsYJS]\w* ?/ ?[nN]\w*\b"
CHOICE = r"(?m)^\W*(\d)\s*[-.):\]=]+\s*\S"  # "1. Download a file", "[2] Quit"
EMPTY_ENDS = r"empty|blank|leer|vac[íi]|vide|press enter|nothing"
ENDINGS = ("", "quit", "exit")

Values = Mapping[str, str]


def role_of(text: str, values: Values) -> str | None:
    """Return which of `values` a text asks for."""
    low = text.lower()
    return next((role for role in ROLES if role in values and re.search(ROLES[role], low)), None)


# Arguments


def usages(text: str) -> Iterator[list[str]]:
    """Yield what follows the name of a script: "usage: x.py HOST [PORT]", also in several lines."""
    for tail in re.findall(r"[\w/-]\.py[\"'`)}]*((?:[ \t]+[^\s:]\S*)+(?:\n[ \t]{8,}\S.*)*)", text):
        words = re.findall(r"\[[^\]]*\]|<[^>]*>|\{[^}]*\}|\S+", tail.rstrip("\"'`)."))
        if len(words) <= 12:
            yield words


def argv_names(source: str) -> list[str]:
    """Return the names that a script gives to sys.argv[1], sys.argv[2], and so on."""
    names: dict[int, str] = {}
    for left, right in re.findall(r"(?m)^\s*([\w, ]+?)\s*=(?!=)\s*(.*sys\.argv.*)$", source):
        targets = [one.strip() for one in left.split(",")]
        numbers = [int(one) for one in re.findall(r"argv\[(\d)\]", right)]
        if len(targets) == len(numbers):
            names |= dict(zip(numbers, targets, strict=True))
        elif re.search(r"argv(\[1:\d?\])?\s*$", right):
            first = 1 if "[" in right else 0
            names |= dict(enumerate(targets, first))
    numbers = [number for number in sorted(names) if number > 0]
    return [names[number] for number in numbers] if numbers == [*range(1, len(numbers) + 1)] else []


def filled_in(words: list[str], values: Values) -> list[str] | None:
    """Return the arguments that a usage asks for, or None if some cannot be guessed."""
    left = [role for role in values if role not in ("host", "port", "copy")]

    def value(word: str, optional: bool) -> str | None:
        role = role_of(word, values) or (None if optional or not left else left[0])
        if role in left:
            left.remove(role)
        return values[role] if role else None

    found: list[str] = []
    for index, word in enumerate(words):
        bare = word.strip("[]<>{}()\"'.,")
        if word.startswith("[") and (bare.startswith("-") or bare in ("", "options")):
            continue
        if index and words[index - 1].startswith("-"):
            continue  # the value of an option: see below
        if bare.startswith("-"):
            after = words[index + 1] if index + 1 < len(words) else ""
            filling = value(f"{bare} {after}", False)
            found += [bare] if filling is None else [bare, filling]
            continue
        filling = value(bare, word.startswith("[")) if bare else None
        if filling is None:
            if bare and not word.startswith("["):
                return None
            break
        found.append(filling)
    return found


def arguments(printed: str, source: str, values: Values) -> list[list[str]]:
    """Return what a person would give to a script who has read its usage, or its code."""
    names = argv_names(source)
    asked = [*usages(printed), *([names] if names else []), *usages(source)]
    found = [args for words in asked if (args := filled_in(words, values))]
    return list({tuple(args): args for args in found}.values())


# The keyboard


class Keyboard(threading.Thread):
    """Types an answer to each prompt; in a menu, one choice after the other."""

    def __init__(
        self, program: Program, values: Values, evidence: Evidence, stays: bool = False
    ) -> None:
        """`stays`: whoever started it types the rest."""
        super().__init__(daemon=True)
        self.stays = stays
        self.program, self.evidence = program, evidence
        self.values = dict(values)
        self.known = dict(values)  # also those that were given already
        self.choices = 0
        self.endings = list(ENDINGS)
        self.start()

    def run(self) -> None:
        program, seen = self.program, 0
        while not program.ended():
            if not program.reads_keyboard():
                time.sleep(LOOK)
                continue
            time.sleep(LOOK)  # the prompt may be on its way
            text, seen = program.printed[seen:], len(program.printed)
            answer = self.answer(text)
            if answer is None:
                program.say("", close=not self.stays)
                return
            self.evidence.add("typed", repr(f"{answer}\n"))
            program.say(f"{answer}\n")
            program.prints_more(seen, 0.1)

    def answer(self, text: str) -> str | None:
        """Return a line, or None for the end of the input."""
        prompt = ([line for line in text.splitlines() if line.strip()] or [""])[-1]
        role = role_of(prompt, self.known)
        choices = re.findall(CHOICE, text)
        if len(choices) > 1 and role not in self.values:
            self.choices += 1
            return str(choices[min(self.choices, len(choices)) - 1])
        if re.search(YES_OR_NO, prompt):
            return "n"
        if role is None:
            role = next((one for one in self.values if one not in ("host", "port", "copy")), None)
        if role in self.values:
            return self.values.pop(role)
        if self.stays or not self.endings:
            return None
        word = re.search(r"quit|exit|\bq\b|done|stop|ende\b|salir|fertig", prompt, re.IGNORECASE)
        if word and not re.search(EMPTY_ENDS, prompt.lower()) and self.endings[0] == "":
            self.endings[0] = word[0]
        return self.endings.pop(0)
