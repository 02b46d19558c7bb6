"""Exercise: a chat of several clients."""

from __future__ import annotations

from ..person import Keyboard
from ..process import Program
from ..recorder import Client, Visit, never
from ..requirement import NotMet, Script
from ..trial import ANSWER, SHORT, START, Server, Trial
from .common import (
    exercise,
    extra,
    has_help,
    hung_up,
    listens,
    no_server,
    of_line_server,
    read_line,
    read_until,
    robust,
    with_ours,
    word,
)
from .ways import Way, as_a_person

SETTLED = 0.1  # seconds
GREETINGS = ("plain", "name", "command")  # how a client may have to begin


def join(trial: Trial, server: Server, *names: str, way: str = "plain") -> list[Client]:
    """Connect clients, and introduce them as the server may want it."""
    clients = [trial.connect(server, name) for name in names]
    for client in clients:
        name = client.name.rstrip(": ")
        if way != "plain":
            client.receive(lambda data: bool(data), 0.1)
        if way == "name":
            client.send(f"{name}\n".encode())
        if way == "command":
            client.send(f"NAME {name}\n".encode())
    for client in clients:  # who has connected is known to the server a moment later
        client.receive(lambda data: False, SETTLED)
    return clients


def says(trial: Trial, speaker: Client, way: str, to: str = "bob") -> bytes:
    token = f"hello {word()}"
    speaker.send((f"MSG {to} {token}\n" if way == "command" else f"{token}\n").encode())
    return token.encode()


def gets(trial: Trial, client: Client, token: bytes, seconds: float = ANSWER) -> bool:
    return token in client.receive(lambda data: token in data, trial.at_most(seconds))


def reaches(trial: Trial) -> None:
    """The first message of alice; as the server may want it, and then with their own client."""
    alone = False
    for way in GREETINGS:
        server = trial.serve()
        alice, bob = join(trial, server, "alice", "bob", way=way)
        for _ in (1, 2):  # a slow server may not have known bob at the first
            token = says(trial, alice, way)
            if gets(trial, bob, token, SHORT):
                trial.facts["greeting"] = way
                return
        alone = alone or gets(trial, alice, token, 0.1)
        if way == "plain":
            first = trial.evidence.lines[:]
            programs = trial.programs[:]
    if trial.has(CLIENT) and pair_talks(trial):
        trial.facts["greeting"] = "pair"
        return
    trial.evidence.lines[:], trial.programs[:] = first, programs
    cause = "what alice says comes back to alice only" if alone else ""
    raise NotMet("what alice says does not come to bob", "alice's line at bob", cause)


def pair_talks(trial: Trial) -> bool:
    """Two of their clients at their server."""
    server = trial.serve(script="chat_server.py")
    return talk_by_keyboard(trial, server.port)


CLIENT = "chat_client.py"


def keyboard(trial: Trial, port: int, name: str, way: Way) -> Program:
    program = trial.run_client(port, *way.args, script=CLIENT, keep_stdin=True)
    if way.values is not None:
        Keyboard(program, way.values, trial.evidence, stays=True).join(SHORT)
        return program
    program.wait_for(lambda: bool(program.out), 0.5)
    trial.evidence.add("typed", f"{name}: {name!r}")
    program.say(f"{name}\n")
    program.wait_for(lambda: False, 0.3)
    return program


def talk_by_keyboard(trial: Trial, port: int) -> bool:
    for number in range(6):
        usual = [Way(["--port", str(port)]), Way([])]
        found = {name: [*usual, *as_a_person(trial, CLIENT, port, {"name": name})][number : number + 1]
                 for name in ("alice", "bob")}  # fmt: skip
        if not found["alice"] or not found["bob"]:
            break
        alice, bob = (keyboard(trial, port, name, way) for name, [way] in found.items())
        trial.note_usage(CLIENT, alice.output)
        if alice.ended() and bob.ended():
            continue
        for text in ("{}", "MSG bob {}", "bob {}"):
            if text.startswith("MSG"):
                for name, one in (("alice", alice), ("bob", bob)):
                    trial.evidence.add("typed", f"{name}: 'NAME {name}'")
                    one.say(f"NAME {name}\n")
                bob.wait_for(lambda: False, 0.3)
            token = f"hello {word()}"
            trial.evidence.add("typed", f"alice: {text.format(token)!r}")
            alice.say(text.format(token) + "\n")
            if bob.prints(token, trial.at_most(SHORT)):
                second = f"hello {word()}"
                trial.evidence.add("typed", f"alice: {text.format(second)!r}")
                alice.say(text.format(second) + "\n")
                return bob.prints(second, trial.at_most(SHORT))
    return False


def way_of(trial: Trial) -> str:
    return str(trial.facts.get("greeting", "plain"))


def reaches_all(trial: Trial) -> None:
    way = way_of(trial)
    if way == "pair":
        return
    alice, bob, eve = join(trial, trial.serve(), "alice", "bob", "eve", way=way)
    for speaker, others in ((alice, (bob, eve)), (eve, (alice, bob)), (bob, (alice, eve))):
        for other in others:
            if way == "command":
                token = says(trial, speaker, way, other.name.rstrip(": "))
                reached = gets(trial, other, token)
            else:
                continue
            if not reached:
                raise NotMet(f"{other.name}does not get the message", repr(token))
        if way != "command":
            token = says(trial, speaker, way)
            without = [other.name.rstrip(": ") for other in others if not gets(trial, other, token)]
            if without:  # a slow server may not have known them yet
                token = says(trial, speaker, way)
                without = [one.name.rstrip(": ") for one in others if not gets(trial, one, token)]
            if without:
                who = speaker.name.rstrip(": ")
                raise NotMet(f"what {who} says does not come to {' and '.join(without)}",
                             f"{token!r} at all others")  # fmt: skip


def passes_on(trial: Trial, server: Server) -> None:
    way = way_of(trial)
    if way == "pair":
        way = "command"
    alice, bob = join(trial, server, "alice", "bob", way=way)
    if not gets(trial, bob, says(trial, alice, way)):
        raise NotMet("what alice says does not come to bob", "alice's line at bob")


def survives_leaving(trial: Trial) -> None:
    way = way_of(trial)
    if way == "pair":
        return
    server = trial.serve()
    eve, alice, bob = join(trial, server, "eve", "alice", "bob", way=way)
    trial.evidence.add("closed", "eve hangs up")
    eve.close()
    for number in (1, 2):
        token = says(trial, alice, way)
        if not gets(trial, bob, token):
            raise NotMet(f"after eve has left, message {number} of alice does not come to bob",
                         repr(token))  # fmt: skip


def closes(trial: Trial) -> None:
    server = trial.serve()
    (alice,) = join(trial, server, "alice", way="plain")
    alice.send(b"hello\n")
    alice.half_close()
    hung_up(trial, server, alice)


def quits(trial: Trial) -> None:
    (alice,) = join(trial, trial.serve(), "alice", way=way_of(trial))
    alice.send(b"/quit\n")
    alice.rest(trial.at_most(SHORT))
    if not alice.ended:
        raise NotMet("the connection is still open", "the end of the stream")


def names(trial: Trial) -> None:
    alice, _ = join(trial, trial.serve(), "alice", "bob", way="command")
    alice.send(b"GET_NAMES\n")
    reply = alice.receive(lambda data: b"bob" in data and b"alice" in data, trial.at_most(SHORT))
    if b"bob" not in reply or b"alice" not in reply:
        raise NotMet(f"{reply!r}", "the names alice and bob")


def private(trial: Trial) -> None:
    alice, bob, eve = join(trial, trial.serve(), "alice", "bob", "eve", way="command")
    token = says(trial, alice, "command")
    if not gets(trial, bob, token, SHORT):
        raise NotMet("bob does not get it", repr(token))
    if gets(trial, eve, token, 0.2):
        raise NotMet("eve gets it too", "a message for bob alone")


def exits(trial: Trial) -> None:
    (alice,) = join(trial, trial.serve(), "alice", way="command")
    alice.send(b"EXIT\n")
    alice.rest(trial.at_most(SHORT))
    if not alice.ended:
        raise NotMet("the connection is still open", "the end of the stream")


def to_others_only(trial: Trial) -> None:
    way = way_of(trial)
    alice, bob = join(trial, trial.serve(), "alice", "bob", way="plain" if way == "pair" else way)
    token = says(trial, alice, way)
    gets(trial, bob, token)
    if gets(trial, alice, token, 0.1):
        raise NotMet("alice gets her own message, too", "a broadcast to all others")


def reaches_others(trial: Trial) -> None:
    """By our protocol: what one says all others get, and what is said to one nobody else."""
    server = trial.serve()
    ann, bob, eve = (trial.connect(server, name) for name in ("ann", "bob", "eve"))
    for name, client in (("ann", ann), ("bob", bob), ("eve", eve)):
        client.send(f"NAME {name}\n".encode())
        read_until(client, f"is now {name}")
    ann.send(b"MSG bob psst\nhello\n")
    read_until(bob, "psst")
    read_until(bob, "hello")
    lines = read_until(eve, "hello")
    if any("psst" in line for line in lines):
        raise NotMet(f"others got a private message: {lines}", "only bob gets it")
    ann.send(b"GET_NAMES\n")
    while not (line := read_line(ann)).startswith("NAMES"):
        if "hello" in line:
            raise NotMet(f"the speaker gets it, too: {line!r}", "all others")


# The client


def open_chat(visit: Visit) -> None:
    """Takes what comes, until the client leaves."""
    visit.stuck = never
    visit.send(b"* Welcome\n")
    while visit.pull():
        pass


def client_at_ours(trial: Trial) -> tuple[Program, Visit, bytes] | None:
    """Start the client at a server of ours, say who we are, and then something; return all."""
    usual = [["--port", "PORT"], [], ["--port", "PORT", "--name", "alice"], ["127.0.0.1", "PORT"]]
    for number in range(8):
        server = trial.fake(open_chat, 30)
        ways = [Way([one.replace("PORT", str(server.port)) for one in args]) for args in usual]
        ways[2:2] = as_a_person(trial, CLIENT, server.port, {"name": "alice"})
        if number >= len(ways):
            break
        way = ways[number]
        program = trial.run_client(server.port, *way.args, keep_stdin=True)
        if way.values is not None:
            Keyboard(program, way.values, trial.evidence, stays=True).join(SHORT)
        else:
            trial.note_usage(CLIENT, program.output)
        ready = program.wait_for(lambda server=server: bool(server.visits), 2)  # type: ignore[misc]
        trial.evidence.add("typed", "'alice\\n'")
        program.say("alice\n")
        ready = ready or program.wait_for(lambda server=server: bool(server.visits), START)  # type: ignore[misc]
        if ready:
            visit = server.visits[0]
            token = f"hello {word()}".encode()
            server.wait(lambda visit=visit: bool(visit.said), 0.5)  # type: ignore[misc]
            trial.evidence.add("typed", repr(token.decode() + "\n"))
            program.say(token.decode() + "\n")
            server.wait(lambda visit=visit, token=token: token in visit.said, ANSWER)  # type: ignore[misc]
            return program, visit, token
    return None


def sends_what_is_typed(trial: Trial) -> None:
    at = client_at_ours(trial)
    if at and at[2] in at[1].said:
        return
    if trial.has("chat_server.py") and pair_talks(trial):
        return
    if not at:
        raise NotMet("it does not connect", "a connection")
    raise NotMet(f"it sent {bytes(at[1].said)!r}", f"{at[2]!r}, which was typed")


def shows_what_others_say(trial: Trial) -> None:
    at = client_at_ours(trial)
    if at:
        program, visit, _ = at
        for _ in (1, 2):
            token = word()
            visit.send(f"bob: {token}\n".encode())
            shown = program.prints(token, trial.at_most(ANSWER))
            if not shown:
                break
        if shown:
            return
    if trial.has("chat_server.py") and pair_talks(trial):
        return
    raise NotMet("a message of bob is not shown" if at else "it does not connect",
                 f"{token} in the output, while nothing is typed" if at else "")  # fmt: skip


CHAT_SERVER = Script(
    "chat_server.py",
    "chat",
    [
        "Use asyncio to implement a simple chat server.",
        "Multiple clients can connect.",
        "When one client sends a message, broadcast it to all others.",
        "Ensure proper closing of connections.",
    ],
    [
        exercise("listens", "Multiple clients can connect.", listens),
        exercise("passes a message on", "When one client sends a message, broadcast it.", reaches),
        exercise("passes messages on to all others", "Broadcast it to all others.", reaches_all),
        exercise("survives clients that leave", "Ensure proper closing of connections.",
                 survives_leaving),
        robust("hangs up after the end of the stream", "Ensure proper closing of connections.",
               closes),
        robust("sends a message to the others only", "Broadcast it to all others.",
               to_others_only),
        *of_line_server(
            robust("sends a private message to one only", "MSG bob psst", reaches_others,
                   "speaks our protocol"),
            works=passes_on,
            many=False,
        ),
        extra("knows /quit", "Add a command /quit that disconnects the client cleanly.", quits),
        extra("knows NAME and GET_NAMES", "GET_NAMES: Retrieve list of connected user names.",
              names),
        extra("knows MSG", "MSG <name> <message>: Send message to specified user.", private),
        extra("knows EXIT", "EXIT: Disconnect from chat.", exits),
    ],
    imports=("asyncio",),
    port=9001,
)  # fmt: skip
CHAT_CLIENT = Script(
    "chat_client.py",
    "chat",
    [
        "Clients should be able to send messages to the server,",
        "which will broadcast them to all other connected clients.",
    ],
    [
        exercise("sends what is typed", "Clients should be able to send messages to the server.",
                 sends_what_is_typed),
        exercise("shows what others say", "Communicate with each other.",
                 shows_what_others_say),
        robust("works with our server to the letter", "/quit is answered by BYE.",
               with_ours("chat_server.py", ["--port", "PORT", "--name", "alice"], ["BYE"],
                         stdin="/quit\n")),
        no_server("--port", "PORT"),
        has_help,
    ],
    imports=("socket", "threading"),
    port=9001,
    essential=1,
)  # fmt: skip
