from __future__ import annotations

import selectors
import socket
import time
import unicodedata
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

import chat_server
from battery import MANY
from conftest import ROOT, TIMEOUT, LineClient, Server, called, running

SCRIPT = ROOT / "chat_server.py"


@contextmanager
def chatting(**changes: Any) -> Iterator[Any]:
    """A chat server in a thread; yields its address."""
    defaults = {"rate": 0, "timeout": 0, "max_unsent": 1 << 20}
    with running(chat_server.serve, Namespace(**defaults | changes)) as address:
        yield address


class Chatter(LineClient):
    """A client that has been welcomed, as `name` if there is one."""

    def __init__(self, address: Any, name: str = "") -> None:
        super().__init__(address)
        self.welcome = self.line()
        if name:
            self.say(f"NAME {name}")
            self.until(f" is now {name}")

    def say(self, line: str) -> None:
        self.send(line.encode() + b"\n")

    def next_of(self, line: str) -> str:
        """Say something; return the next line that is for this client alone."""
        self.say(line)
        return self.line()


@contextmanager
def alice_and_bob(**changes: Any) -> Iterator[tuple[Chatter, Chatter]]:
    with (
        chatting(**changes) as address,
        Chatter(address, "alice") as alice,
        Chatter(address, "bob") as bob,
    ):
        alice.until(" is now bob")
        yield alice, bob


def test_welcome_says_who_you_are_and_how_to_get_help() -> None:
    with chatting() as address, Chatter(address) as one, Chatter(address) as two:
        assert one.welcome == "* Welcome, you are guest1: /help tells what you can do"
        assert two.welcome == "* Welcome, you are guest2: /help tells what you can do"
        assert one.line() == "* guest2 joined"
        assert one.next_of("/help").startswith("* /name ")


def test_all_others_hear_a_message() -> None:
    with alice_and_bob() as (alice, bob), Chatter(alice.socket.getpeername(), "carol") as carol:
        bob.until(" is now carol")
        alice.until(" is now carol")
        bob.say("hello")
        assert alice.line() == carol.line() == "bob: hello"
        assert bob.next_of("GET_NAMES") == "NAMES alice bob carol"


@pytest.mark.parametrize(
    "words",
    [
        "EXIT strategy",
        "NAME your price",
        "GET_NAMES now",
        "MSG bob",
        "MSG",
        "NAME",
        "exit",
        "*",
        "  if x:",
    ],
)
def test_bare_words_are_chat_unless_in_full_form(words: str) -> None:
    with alice_and_bob() as (alice, bob):
        alice.say(words)
        assert bob.line() == f"alice: {words}"


@pytest.mark.parametrize("rename", ["NAME Zoë", "/name Zoë", "/name   Zoë ", "NAME Zoe\u0308"])
def test_rename(rename: str) -> None:
    with alice_and_bob() as (alice, bob):
        alice.say(rename)
        assert bob.line() == alice.line() == "* alice is now Zoë"
        assert bob.next_of("/names") == "NAMES bob Zoë"


@pytest.mark.parametrize("name", ["हिन्दी", "العَرَبِيَّة"])
def test_vowels_that_are_marks_belong_to_a_name(name: str) -> None:
    with alice_and_bob() as (alice, bob):
        alice.say(f"NAME {name}")
        assert bob.line() == f"* alice is now {unicodedata.normalize('NFC', name)}"


@pytest.mark.parametrize(
    "whisper",
    [
        "MSG bob hi there",
        "MSG  bob hi there",
        "MSG\tbob hi there",
        "/msg bob hi there",
        "/msg BOB\thi there",
    ],
)
def test_private_message(whisper: str) -> None:
    with alice_and_bob() as (alice, bob), Chatter(alice.socket.getpeername()) as other:
        for member in (alice, bob):
            member.until("joined")
        alice.say(whisper)
        assert bob.line() == "alice (private): hi there"
        assert alice.line() == "alice (private to bob): hi there"
        alice.say("public")
        assert other.line() == "alice: public"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("/nonsense", "unknown command: /nonsense; try /help"),
        ("/\x1b[2J", "unknown command: /\\x1b[2J; try /help"),
        ("/name", "a name has 1 to 16 letters, digits and _ . -"),
        ("/name two words", "a name has 1 to 16 letters, digits and _ . -"),
        ("NAME " + "x" * 17, "a name has 1 to 16 letters, digits and _ . -"),
        ("NAME a*b", "a name has 1 to 16 letters, digits and _ . -"),
        ("NAME BOB", "name taken: BOB"),
        ("/msg", "usage: /msg NAME TEXT"),
        ("/msg bob", "usage: /msg NAME TEXT"),
        ("/msg nobody hello", "no such user: nobody"),
        ("MSG alice hello", "that is you"),
    ],
)
def test_error_goes_to_that_client_alone(line: str, error: str) -> None:
    with alice_and_bob() as (alice, bob):
        assert alice.next_of(line) == f"ERROR {error}"
        alice.say("next")
        assert bob.line() == "alice: next"


@pytest.mark.parametrize(
    "leave", ["EXIT", "/quit", "", None], ids=["EXIT", "quit", "end of file", "reset"]
)
def test_leaving_is_told_exactly_once_and_frees_the_name(leave: str | None) -> None:
    with alice_and_bob() as (alice, bob):
        if leave is None:
            bob.reset()
        elif leave:
            bob.say(leave)
            assert bob.rest() == b"BYE\n"
        else:
            bob.half_close()
            assert bob.rest() == b""
        assert alice.line() == "* bob left"
        alice.say("NAME bob")
        assert alice.line() == "* alice is now bob"


def test_own_name_in_another_case() -> None:
    with alice_and_bob() as (alice, bob):
        alice.say("NAME Alice")
        assert bob.line() == "* alice is now Alice"


def test_what_is_said_is_escaped() -> None:
    with alice_and_bob() as (alice, bob):
        alice.send(b"\x1b[2Jclear\x07\t\xff\xfe\x01\xc3\x28 \xe2\x80\xae\r\n")
        assert bob.line() == "alice: \\x1b[2Jclear\\x07\\t\\xff\\xfe\\x01\\xc3( \\u202e"
        alice.say("* bob left")
        assert bob.line() == "alice: * bob left"


def test_over_long_line_is_refused() -> None:
    with alice_and_bob() as (alice, bob):
        assert alice.next_of("x" * 5000) == "ERROR line too long"
        alice.say("y" * 4096 + "\r")
        assert bob.line() == "alice: " + "y" * 4096


def test_empty_lines_are_nothing() -> None:
    with alice_and_bob() as (alice, bob):
        alice.send(b"\n\r\n  \nhello\n")
        assert bob.line() == "alice: hello"


@pytest.mark.big
def test_flooder_is_read_slowly_and_loses_nothing() -> None:
    """Nine lines at four a second: four at once, four after a second, one after two."""
    with alice_and_bob(rate=4) as (alice, bob), Chatter(alice.socket.getpeername()) as other:
        bob.until("joined")
        start = time.monotonic()
        alice.send(b"".join(b"%d\n" % number for number in range(8)))
        other.say("meanwhile")
        lines = bob.until("meanwhile")
        assert time.monotonic() - start < 0.5
        lines += bob.until("alice: 7")
        assert 1 <= time.monotonic() - start < 3
        assert [line for line in lines if "alice" in line] == [
            f"alice: {number}" for number in range(8)
        ]


def test_flooder_who_vanishes_is_gone_at_once() -> None:
    with alice_and_bob(rate=2) as (alice, bob):
        bob.send(99 * b"x\n")
        alice.until("bob: x")
        start = time.monotonic()
        bob.reset()
        alice.until("* bob left")
        assert time.monotonic() - start < 0.5


def test_deaf_client_is_dropped_and_delays_nobody() -> None:
    with chatting(max_unsent=100_000) as address, ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(address)
        alice, bob = (stack.enter_context(Chatter(address, name)) for name in ("alice", "bob"))
        alice.until(" is now bob")
        slowest = 0.0
        line = ""
        for number in range(10_000):
            start = time.monotonic()
            alice.say(f"{number} " + "x" * 4000)
            line = bob.line()
            slowest = max(slowest, time.monotonic() - start)
            if line == "* guest1 left":
                break
        assert line == "* guest1 left"
        assert slowest < 0.5
        assert alice.line() == "* guest1 left"
        assert bob.line().startswith("alice: ")


def test_idle_client_is_told() -> None:
    with chatting(timeout=0.1) as address, Chatter(address) as client:
        assert client.rest() == b"ERROR timeout\n"


def test_closing_is_told_to_all() -> None:
    with Server(SCRIPT, "--quiet") as server, ExitStack() as stack:
        clients = [stack.enter_context(Chatter(server.address)) for _ in range(20)]
        deaf = stack.enter_context(socket.create_connection(server.address))
        clients[0].until("* guest21 joined")
        assert server.stop() == (0, "", "")
        for client in clients:
            assert client.rest().endswith(b"* server is closing\n")
        deaf.close()


@pytest.mark.big
def test_deaf_client_does_not_delay_the_closing() -> None:
    with (
        Server(SCRIPT, "--quiet", "--rate", "0", "--max-unsent", "100000000") as server,
        ExitStack() as stack,
    ):
        deaf = stack.enter_context(socket.socket())
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(server.address)
        alice = stack.enter_context(Chatter(server.address))
        for _ in range(1000):
            alice.say("x" * 4000)
        assert alice.next_of("/names") == "NAMES guest1 guest2"
        start = time.monotonic()
        assert server.stop() == (0, "", "")
        assert time.monotonic() - start < TIMEOUT / 2


def test_guest_names_go_around_those_taken() -> None:
    with chatting() as address, Chatter(address, "guest2"), Chatter(address) as other:
        assert "you are guest3:" in other.welcome


@pytest.mark.parametrize("wrong", ["--rate -1", "--max-unsent x", "--timeout x"])
def test_wrong_usage(wrong: str) -> None:
    assert called(SCRIPT, wrong.split()).returncode == 2


def test_each_of_many_gets_every_line() -> None:
    gather(MANY // 2, 2)


@pytest.mark.big
@pytest.mark.timeout(300)
def test_thousand_hear_everything() -> None:
    gather(1000, 2)


def gather(count: int, each: int) -> None:
    """Have `count` clients say `each` lines: everyone gets every other one's exactly once, in the speaker's order."""
    with Server(SCRIPT, "--quiet", "--max-unsent", "100000000") as server, ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        clients = [stack.enter_context(Chatter(server.address)) for _ in range(count)]
        names = [client.welcome.split()[4].rstrip(":") for client in clients]
        assert len(set(names)) == count
        received = [bytearray() for _ in clients]
        for index, client in enumerate(clients):
            client.socket.setblocking(False)
            selector.register(client.socket, selectors.EVENT_READ, index)
        for number in range(each):
            for client in clients:
                client.socket.send(b"line %d\n" % number)
        expected = count * (count - 1) * each
        got = 0
        while got < expected:
            events = selector.select(TIMEOUT)
            assert events, f"{got} of {expected} lines came"
            for key, _ in events:
                data = clients[key.data].socket.recv(1 << 20)
                received[key.data] += data
                got += data.count(b": line ")
        for index, data in enumerate(received):
            lines = [line for line in bytes(data).decode().splitlines() if ": line " in line]
            by_name: dict[str, list[str]] = {}
            for line in lines:
                name, _, text = line.partition(": ")
                by_name.setdefault(name, []).append(text)
            assert names[index] not in by_name
            assert len(by_name) == count - 1
            assert all(
                texts == [f"line {number}" for number in range(each)] for texts in by_name.values()
            )
        assert server.stop() == (0, "", "")
