"""Exercise: a guessing game over the network."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from ..process import Program
from ..recorder import Client, FakeServer, Visit
from ..requirement import NotMet, Script
from ..trial import ANSWER, START, Server, Trial
from .common import (
    ask,
    exercise,
    first_piece,
    has_help,
    listens,
    no_server,
    of_line_server,
    read_line,
    robust,
    server_hangs_up,
    with_ours,
)

SMALL = 9
MOST = 60  # guesses in a game
RIGHT = r"correct|congrat|right|\bw[io]n|bravo|well done|got it|found|guessed|equal|exact|success"
TOO_HIGH = r"too (high|big|large|great)|lower|smaller|\bless|\blow\b|down|below|decrease"
TOO_LOW = (
    r"too (low|small|little)|higher|bigger|larger|greater|\bmore|\bhigh\b|\bup\b|above|increase"
)


def kind(reply: str) -> str:
    """Return what a hint says: lower, higher, right, or nothing."""
    text = reply.lower()
    if re.search(r"too (high|big|large|great)", text):
        return "lower"
    if re.search(r"too (low|small|little)", text):
        return "higher"
    low, high = re.search(TOO_HIGH, text), re.search(TOO_LOW, text)
    wrong = re.search(r"incorrect|not (right|correct|equal)", text)
    if re.search(RIGHT, text) and not (wrong or low or high):
        return "right"
    if low and high:
        return "lower" if low.start() < high.start() else "higher"
    return "lower" if low else "higher" if high else ""


NOT_RIGHT = r"in-?correct|not (right|correct|equal)|wrong"


def is_right(text: str) -> bool:
    return bool(re.search(RIGHT, re.sub(NOT_RIGHT, "", text.lower())))


# A guess that is too high, or that is to be lower: words that mean one thing only.
CLEAR = re.compile(
    r"too (?:(?P<high>high|big|large)|low|small)"
    r"|(?<!your )(?<!the )\b(?:guess|try|go|choose|pick) (?:a |again |something |with a )?"
    r"(?:(?P<less>lower|smaller|less|down)|higher|bigger|larger|greater|more|up)"
)


class Game:
    """A game against a server, by bisection."""

    def __init__(self, client: Client, inverse: bool, end: bytes) -> None:
        self.client, self.inverse, self.end = client, inverse, end
        self.hints: list[tuple[int, str]] = []
        self.greeting = ""
        self.number: int | None = None
        self.meaning: dict[str, str] = {}  # of words that are not known: see learn()

    def meant(self, reply: str) -> str:
        if not self.meaning:
            return kind(reply)
        return self.meaning.get(without_numbers(reply), "right") if reply.strip() else ""

    def ask(self, guess: int, seconds: float) -> str:
        def enough(data: bytes) -> bool:
            text = data.decode("utf-8", "replace")
            return bool(text.strip()) if self.meaning else kind(text) != ""

        self.client.send(str(guess).encode() + self.end)
        return self.client.receive(enough, seconds).decode("utf-8", "replace")

    def learn(self, low: int, high: int, seconds: float) -> bool:
        """Learn what the words of a server mean, whatever its language: ask for the extremes."""
        self.meaning = {"": ""}
        replies = []
        for guess in (low, high):
            replies.append(self.ask(guess, seconds))
            self.hints.append((guess, replies[-1]))
        if self.client.ended:
            return False  # one of them was the number
        words = [without_numbers(one) for one in replies]
        if bool(kind(replies[0])) != bool(kind(replies[1])):
            return False  # one hint is plain English: the other one is none
        self.meaning = dict(zip(words, ("higher", "lower"), strict=True))
        return len(self.meaning) == 2 and all(words)

    def play(self, seconds: float, learn: bool = False) -> bool:
        """Return whether the number was found."""
        raw = self.client.receive(lambda data: bool(data), 0.15)
        self.greeting = raw.decode("utf-8", "replace")
        low, high = bounds(self.greeting)
        widened = bool(re.search(r"\d+\D+\d+", self.greeting))
        if learn and not self.learn(low, high, seconds):
            return False
        while low <= high and len(self.hints) < MOST:
            guess = (low + high) // 2
            if len(self.hints) == 1 and low <= SMALL < high and high - low > 2 * SMALL:
                guess = SMALL  # a guess of one digit: as text it is greater than 50
            elif len(self.hints) == 1 and low > SMALL:
                guess = SMALL
            reply = self.ask(guess, seconds)
            if not reply.strip():
                return False
            hint = self.meant(reply)
            self.hints.append((guess, reply))
            if hint == "right" or (not hint and self.hints[1:] and self.client.ended):
                self.number = guess
                return True
            if not hint:
                return False
            lower = (hint == "lower") != self.inverse
            if lower:
                high = min(high, guess - 1)
            else:
                low = max(low, guess + 1)
                if low > high and not widened and high < 10**6:
                    high *= 10  # the range is not known
        return False

    def swapped(self) -> str:
        """Return a hint that is clearly wrong: only some words can mean one thing only."""
        for guess, reply in self.hints:
            clear = CLEAR.search(reply.lower())
            if clear and self.number is not None and guess != self.number:
                high = bool(clear["high"] or clear["less"])
                if high != (guess > self.number):
                    return f"{reply.strip()!r} to {guess}, and the number is {self.number}"
        return ""

    def untrue(self) -> str:
        """Return a hint that the number does not bear out."""
        for guess, reply in self.hints:
            hint = self.meant(reply)
            if self.number is None or guess == self.number or hint not in ("lower", "higher"):
                continue
            if ((hint == "lower") != self.inverse) != (guess > self.number):
                return f"{reply.strip()!r} to {guess}, and the number is {self.number}"
        return ""


def without_numbers(reply: str) -> str:
    return re.sub(r"-?\d+", "", reply).strip()


def bounds(greeting: str) -> tuple[int, int]:
    numbers = [int(one) for one in re.findall(r"-?\d+", greeting)]
    pairs = [(a, b) for a, b in pairwise(numbers) if 0 <= a < b]
    return pairs[0] if pairs else (0, 100)


def play(trial: Trial, server: Server) -> Game:
    """Play until the number is found, whatever the words of the server are."""
    known = trial.facts.get("game")
    usual = [(False, b"\n", False), (False, b"", False), (True, b"\n", False),
             (True, b"", False)]  # fmt: skip
    tries = (3 if known[2] else 1) * [known] if known else usual  # see learn()
    game: Game | None = None
    for number, (inverse, end, learn) in enumerate(tries):
        lines = len(trial.evidence.lines)
        if number:
            server = trial.serve()
            server.program.probed = True
        with trial.connect(server) as client:
            last = Game(client, inverse, end)
            if last.play(trial.at_most(ANSWER), learn):
                if inverse and (swapped := last.swapped()):
                    raise NotMet(swapped, "hints that are true", "the hints are swapped")
                if untrue := last.untrue():
                    raise NotMet(untrue, "hints that are true")
                trial.facts["game"] = (inverse, end, learn)
                return last
        if not known and last.hints and not kind(last.hints[0][1]) and not learn:
            tries[number + 1 :] = 2 * [(False, end, True)]  # unknown words: learn them
        if game is None or (len(last.hints) > len(game.hints) and not learn):
            game = last
        if not known and game is not last:
            del trial.evidence.lines[lines:]
        silent = not any(reply.strip() for _, reply in last.hints)
        if silent and number == 0 and not known and pair_works(trial):
            break  # it speaks a protocol of its own
    assert game
    return game


def hints(trial: Trial) -> None:
    game = play(trial, trial.serve())
    if game.number is None and pair_works(trial):
        return
    if not game.hints and "pair problem" in trial.facts:
        raise trial.facts["pair problem"]
    if not game.hints:
        raise NotMet("no hint", "higher or lower")
    if game.number is None and not kind(game.hints[0][1]):
        raise NotMet(f"{game.hints[0][1]!r} to {game.hints[0][0]}", "higher or lower")


def pair_works(trial: Trial) -> bool:
    """Tell whether their client wins at their server, and what it shows is a game."""
    if not trial.has("guess_client.py"):
        return False
    if "pair" not in trial.facts:
        trial.facts["pair"] = trial.aside(lambda: pair_plays(trial))
    return bool(trial.facts["pair"])


def pair_plays(trial: Trial) -> bool:
    kinds: set[str] = set()
    for _ in range(5):  # until both hints have been needed
        relay = trial.relay(trial.serve(script="guess_server.py"))
        won = won_by_hand(trial, relay, relay.port)
        kinds |= trial.facts["hints"]
        by_luck = trial.facts["turns"] == 1 or len(kinds) == 1
        if not won or not by_luck:
            break
    sent = guesses_sent(trial, relay)
    if relay.visits and not sent:
        told = any(re.search(rb"\d", visit.answered) for visit in relay.visits)
        trial.facts["pair problem"] = NotMet(
            "guess_client.py does not send the guesses to guess_server.py",
            "guesses on the wire",
            "the secret is on the wire: the client compares by itself" if told and won else "",
        )
    return won and sent


def guesses_sent(trial: Trial, relay: FakeServer) -> bool:
    """Tell whether a client has sent the guesses: the last that was typed is the winner."""
    numbers = re.findall(rb"\d+", relay.said)
    last = trial.facts.get("last guess")
    if not relay.said.isascii() or b"\0" in relay.said:
        return True
    if last is None or not numbers:
        return bool(numbers)
    final = str(last).encode()
    # without line ends, the guesses 50 and 25 are 5025 on the wire
    return final in numbers or relay.said.strip().endswith(final)


def can_be_won(trial: Trial) -> None:
    if trial.facts.get("game") is None and pair_works(trial):
        return
    hints: set[str] = set()
    for number in range(6):  # until both hints have been needed
        if number:
            begin_again(trial)
        game = play(trial, trial.serve())
        if game.number is None:
            raise NotMet(f"after {len(game.hints)} guesses by its hints the number is not found: "
                         + ", ".join(f"{g}: {r.strip()!r}" for g, r in game.hints[-3:]),
                         "hints that lead to the number", against(game))  # fmt: skip
        hints |= {game.meant(reply) for guess, reply in game.hints if guess != game.number}
        if number > 1 and (not hints or {"higher", "lower"} <= hints):
            break  # one game may be won by luck


def begin_again(trial: Trial) -> None:
    """End what runs, and go on as in a new check."""
    trial.finish()
    commands, ports = trial.evidence.commands, trial.ports
    trial.begin()
    trial.evidence.commands, trial.ports = commands, ports


def against(game: Game) -> str:
    """Return that the hints contradict each other, if they do."""
    replies = {re.sub(r"\d+", "", reply).strip() for _, reply in game.hints}
    if len(game.hints) > 3 and len(replies) == 1:
        return f"each guess gets the same hint: {replies.pop()!r}"
    return ""


def random_number(trial: Trial) -> None:
    if trial.facts.get("game") is None:
        return
    numbers = []
    for _ in range(6):
        game = play(trial, trial.serve())
        numbers.append(game.number)
        if None in numbers:
            raise NotMet("the number of a new game is not found by the hints", "a number")
        if len(set(numbers)) > 1:
            return
        begin_again(trial)
    trial.evidence.add("played", f"{len(numbers)} games, each with a new start of the server")
    raise NotMet(f"the number was {numbers[0]} each time, in {len(numbers)} games",
                 "a random number", f"the secret is always {numbers[0]}")  # fmt: skip


def keeps_the_number(trial: Trial) -> None:
    """In three games, what was said before the number was guessed does not hold it."""
    if trial.facts.get("game") is None:
        return
    told = []
    for _ in range(3):
        game = play(trial, trial.serve())
        said = " ".join([game.greeting, *(reply for _, reply in game.hints[:-1])])
        guesses = {guess for guess, _ in game.hints[:-1]}
        bounds_said = set(bounds(game.greeting))
        if game.number in guesses | bounds_said or not re.search(
            rf"(?<!\d){game.number}(?!\d)", said
        ):
            return
        told.append(game.number)
    raise NotMet(f"before {told[-1]} was guessed the server had said it: in three games of three",
                 "the number stays secret", "the secret is on the wire")  # fmt: skip


def own_number_each(trial: Trial) -> None:
    server = trial.serve()
    numbers = []
    for _ in range(4):
        game = play(trial, server)
        if game.number is None:
            raise NotMet("the next client finds no number", "a game for each client")
        numbers.append(game.number)
        if len(set(numbers)) > 1:
            return
    raise NotMet(f"{len(numbers)} clients had the number {numbers[0]}", "a number for each client",
                 "the same secret for all clients")  # fmt: skip


def gives_a_hint(trial: Trial, server: Server) -> None:
    """What a server that works does: it answers a guess."""
    with trial.connect(server) as client:
        client.receive(lambda data: bool(data), 0.1)
        client.send(b"50" + end_of_guess(trial))
        reply = client.receive(lambda data: bool(data.strip()), trial.at_most(ANSWER))
        if not reply.strip():
            raise NotMet("no hint", "a hint")


def end_of_guess(trial: Trial) -> bytes:
    return bytes(trial.facts.get("game", (False, b"\n", False))[1])


def guess_in_pieces(trial: Trial) -> None:
    with trial.connect(trial.serve()) as client:
        client.receive(lambda data: bool(data), 0.1)
        first_piece(client, b"5")
        client.send(b"0\n")
        if not client.receive(lambda data: bool(data.strip()), trial.at_most(ANSWER)).strip():
            raise NotMet("no hint", "a hint")


def same_words(trial: Trial) -> None:
    """Two servers with different numbers say the same until someone guesses."""
    said = []
    for number in ("42", "77"):
        server = trial.serve("--number", number)
        with trial.connect(server) as client:
            said.append([read_line(client), ask(client, "many")])
    if said[0] != said[1]:
        raise NotMet(f"with another number it says something else: {said[1]}", f"{said[0]}",
                     "the secret is on the wire")  # fmt: skip


# The client


def our_server(
    number: int,
    record: list[int],
    greeting: bytes = b"Guess a number between 1 and 100\n",
    words: Sequence[bytes] = (b"higher\n", b"lower\n", b""),
) -> Callable[[Visit], None]:
    """What our guess_server.py does, or one that speaks a little differently."""

    def converse(visit: Visit) -> None:
        if greeting:
            visit.send(greeting)
        while data := visit.piece():
            for line in data.decode("utf-8", "replace").split():
                if not re.fullmatch(r"-?\d+", line):
                    visit.send(f"ERROR not a whole number: {line!r}\n".encode())
                    continue
                record.append(int(line))
                if int(line) == number:
                    text = f"correct: {number} in {len(record)} guesses\n"
                    visit.send(words[2] or text.encode())
                    return
                visit.send(words[0] if int(line) < number else words[1])

    return converse


def won_by_hand(
    trial: Trial, server: FakeServer, port: int, script: str = "guess_client.py"
) -> bool:
    """Play at the keyboard of a client, or let it play by itself, and tell whether it won."""
    for args in (
        ["--port", str(port)],
        ["--port", str(port), "--auto"],
        [],
        ["127.0.0.1", str(port)],
    ):
        program = trial.run_client(server.port, *args, script=script, keep_stdin=True)
        if by_keyboard(trial, server, program):
            return True
        failed = not server.visits
        program.kill()
        if not failed and server.said and "--auto" in args:
            return False
        server.visits.clear()
    return False


def by_keyboard(trial: Trial, server: FakeServer, program: Program) -> bool:
    """Guess by what the client shows. A client that plays by itself needs no guess."""
    low, high, guess = 1, 100, 0
    seen = 0
    trial.facts.pop("last guess", None)
    given: set[str] = set()
    trial.facts["hints"] = given
    first_sign(program, server, trial.at_most(START))
    for turn in range(MOST):
        trial.facts["turns"] = turn
        settle(program)
        text = program.printed[seen:]
        seen = len(program.printed)
        if is_right(text) and (kind(text.splitlines()[-1]) not in (
                "higher", "lower") or program.ended()):  # fmt: skip
            return True
        if program.ended():
            said = is_right(text or program.printed)
            return said or ended_by_itself(server, program) or (
                # whatever the words: after two guesses and more it ends well, without a hint
                turn > 1 and bool(text.strip()) and not kind(text)
                and program.process.returncode == 0)  # fmt: skip
        if turn == 0:
            low, high = bounds(text) if re.search(r"\d+\D+\d+", text) else (1, 100)
        else:
            hint = kind(last_hint(text))
            if hint in ("higher", "lower"):
                given.add(hint)
            if hint == "lower":
                high = guess - 1
            elif hint == "higher":
                low = guess + 1
                if low > high:
                    high *= 10
            elif hint == "right":
                return True
            else:
                program.prints_more(seen, trial.at_most(ANSWER))
                if len(program.printed) == seen:
                    return False
                continue
        if turn > 1 and low > high:
            return False  # its hints contradict each other
        guess = (low + high) // 2
        if turn == 1:
            guess = SMALL  # as text it is greater than 50
        trial.facts["last guess"] = guess
        trial.evidence.add("typed", repr(f"{guess}\n"))
        program.say(f"{guess}\n")
        program.prints_more(seen, trial.at_most(ANSWER))
    return False


def first_sign(program: Program, server: FakeServer, seconds: float) -> None:
    program.wait_for(lambda: bool(program.out) or bool(server.visits), seconds)


def ended_by_itself(server: FakeServer, program: Program) -> bool:
    """Tell whether a client has played alone: hints came, the last answer was none, it ended."""
    answered = b"\n".join(bytes(visit.answered) for visit in server.visits)
    lines = [one for one in answered.decode("utf-8", "replace").splitlines() if one.strip()]
    kinds = [kind(line) for line in lines]
    hinted = "higher" in kinds or "lower" in kinds
    return bool(program.process.returncode == 0 and hinted and lines
                and kinds[-1] not in ("higher", "lower") and program.printed.strip())  # fmt: skip


def last_hint(text: str) -> str:
    """Return the last line that is a hint: a prompt may follow it."""
    lines = [line for line in text.splitlines() if kind(line)]
    return lines[-1] if lines else text


def settle(program: Program) -> None:
    """Wait until a client has said all that it has to say now."""
    while program.prints_more(len(program.printed), 0.12):
        pass


def client_plays(trial: Trial) -> None:
    """At their own server if there is one, or else at ours."""
    if pair_works(trial):
        return
    number = random.choice([one for one in range(1, 101) if one not in (50, SMALL)])
    record: list[int] = []
    server = trial.fake(our_server(number, record))
    if won_by_hand(trial, server, server.port) and number in record:
        return
    for greeting, words in ((b"", (b"higher", b"lower", b"correct")),
                            (b"", (b"Too low\n", b"Too high\n", b"Correct!\n"))):  # fmt: skip
        record.clear()
        server = trial.fake(our_server(number, record, greeting, words))
        if won_by_hand(trial, server, server.port) and number in record:
            return
    if "pair problem" in trial.facts:
        raise trial.facts["pair problem"]
    if not record and not server.visits:
        raise NotMet("it does not connect", "a connection")
    if not record:
        raise NotMet("it sends no guess", "guesses on the wire")
    raise NotMet(f"it sent the guesses {record[-8:]}, and the number was {number}",
                 "guesses until the number is found, and the hints shown")  # fmt: skip


def client_sends(trial: Trial) -> None:
    record: list[int] = []
    server = trial.fake(our_server(50, record))
    for args in (["--port", str(server.port)], ["--port", str(server.port), "--auto"], []):
        program = trial.run_client(server.port, *args, keep_stdin=True)
        first_sign(program, server, trial.at_most(START))
        program.say("50\n")
        program.wait_for(lambda: bool(record), trial.at_most(ANSWER))
        if record:
            return
        if not server.visits or not args:
            program.settle()
            continue
    if pair_works(trial):
        return
    if "pair problem" in trial.facts:
        raise trial.facts["pair problem"]
    raise NotMet("it sends no guess" if server.visits else "it does not connect",
                 "a guess on the wire")  # fmt: skip


GUESS_SERVER = Script(
    "guess_server.py",
    "guess",
    [
        "The server generates a random number, and the client tries to guess it.",
        "The server provides hints (higher or lower) until the client guesses the number.",
    ],
    [
        exercise("listens", "A server-client guessing game using the socket module.", listens),
        exercise("gives hints", "The server provides hints (higher or lower).", hints),
        exercise("ends the game at the number", "Until the client guesses the correct number.",
                 can_be_won),
        exercise("thinks of a random number", "The server generates a random number.",
                 random_number, "ends the game at the number"),
        exercise("keeps the number secret", "The client tries to guess it.", keeps_the_number,
                 "ends the game at the number"),
        robust("has a number for each client", "Who has seen one game must not know the next.",
               own_number_each, "ends the game at the number"),
        *of_line_server(
            robust("says the same with every number", "The number must not be on the wire.",
                   same_words, "speaks our protocol"),
            works=gives_a_hint,
            in_pieces=guess_in_pieces,
        ),
    ],
    imports=("random", "socket"),
    port=9003,
)  # fmt: skip
GUESS_CLIENT = Script(
    "guess_client.py",
    "guess",
    [
        "The client tries to guess the number by sending guesses to the server.",
        "It shows the hints (higher or lower) until the number is guessed.",
    ],
    [
        exercise("sends guesses", "By sending guesses to the server.", client_sends),
        exercise("plays until the number is found",
                 "Hints until the client guesses the correct number.", client_plays),
        robust("plays by itself (--auto)", "It halves the range, and wins.",
               with_ours("guess_server.py", ["--port", "PORT", "--auto"], ["...correct..."],
                         serve=["--number", "42"])),
        server_hangs_up("--port", "PORT", "--auto"),
        no_server("--port", "PORT", "--auto"),
        has_help,
    ],
    port=9003,
    essential=1,
)  # fmt: skip
