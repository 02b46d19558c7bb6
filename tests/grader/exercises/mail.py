"""Exercises: a mail server and its client, and a message in a file."""

from __future__ import annotations

import email
import re
import smtplib
from collections.abc import Callable
from email import policy
from email.message import EmailMessage, Message
from functools import partial

from ..process import Program
from ..recorder import Evidence, Visit
from ..requirement import NotMet, Script
from ..trial import ANSWER, SHORT, START, Server, Trial, new_files, wait_until
from .common import (
    exercise,
    extra,
    has_help,
    listens,
    no_server,
    of_line_server,
    read_line,
    robust,
    started,
    word,
)
from .ways import Way, run_ways

SENDER, RECIPIENT = "ada@example.com", "charles@example.org"


class Mailer(smtplib.SMTP):
    """smtplib, which also tells what it says."""

    evidence: Evidence

    def send(self, s: object) -> None:
        data = s.encode("ascii") if isinstance(s, str) else bytes(s)  # type: ignore[call-overload]
        self.evidence.add("sent", repr(data) if len(data) < 150 else f"{data[:100]!r}...")
        super().send(s)  # type: ignore[arg-type]

    def getreply(self) -> tuple[int, bytes]:
        code, text = super().getreply()
        self.evidence.add("received", f"{code} {text!r}")
        return code, text


def message(token: str) -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = f"Hello {token}", SENDER, RECIPIENT
    mail.set_content(f"How are you, {token}?\nGoodbye\n")
    return mail


def hand_over(trial: Trial, server: Server, token: str) -> None:
    """Send a message with smtplib."""
    mailer = Mailer(timeout=trial.at_most(ANSWER))
    mailer.evidence = trial.evidence
    try:
        mailer.connect(*server.address)
        mailer.send_message(message(token))
        mailer.quit()
    except (smtplib.SMTPException, OSError) as error:
        text = str(error) or type(error).__name__
        raise NotMet(
            f"smtplib: {type(error).__name__}: {text[:200]}", "replies as in SMTP"
        ) from None
    finally:
        mailer.close()


def greets(trial: Trial) -> None:
    with trial.connect(trial.serve()) as client:
        reply = client.receive(lambda data: b"\n" in data, trial.at_most(ANSWER))
        if not reply.startswith(b"220"):
            raise NotMet(f"{reply!r}" if reply else "no greeting", "a line 220")


def takes_a_message(trial: Trial) -> None:
    hand_over(trial, trial.serve(), word())


def holds_the_message(server: Server, token: str) -> bool:
    files = b"\n".join(new_files(server.program).values())
    return f"How are you, {token}?".encode() in files or (
        f"How are you, {token}?" in server.program.output
    )


def processes_the_message(trial: Trial) -> None:
    """It is found again: in a file, or on the server's console."""
    server, token = trial.serve(), word()
    hand_over(trial, server, token)
    if not wait_until(lambda: holds_the_message(server, token), trial.at_most(SHORT)):
        raise NotMet("the message is in no file, and not on the console", f"'...{token}...'")


def takes_another(trial: Trial) -> None:
    server = trial.serve()
    tokens = [word(), word()]
    for token in tokens:
        server = trial.restarted(server)
        hand_over(trial, server, token)
        if not wait_until(partial(holds_the_message, server, token), SHORT):
            raise NotMet(f"message {tokens.index(token) + 1} is not found", f"'...{token}...'")


def offers_its_extensions(trial: Trial) -> None:
    with trial.connect(started(trial)) as client:
        client.send(b"EHLO me\r\nQUIT\r\n")
        said = client.rest().decode("utf-8", "replace")
    for name in ("SIZE", "PIPELINING", "8BITMIME", "SMTPUTF8"):
        if not re.search(rf"(?m)^250[ -]{name}\b", said):
            raise NotMet(f"no {name} in the reply to EHLO", f"250-{name}")


def ends_a_message_at_one_place(trial: Trial) -> None:
    """A dot between bare LFs is a part of the message: or one could smuggle in a second one."""
    with trial.connect(started(trial)) as client:
        read_line(client)
        for line in (b"EHLO me", b"MAIL FROM:<a@b.c>", b"RCPT TO:<d@e.f>", b"DATA"):
            client.send(line + b"\r\n")
            read_line(client)
        client.send(b"one\n.\nNOOP\r\n.\r\nQUIT\r\n")
        answers = read_line(client)[:3], read_line(client)[:3]
    if answers != ("250", "221"):
        raise NotMet(f"{answers}", "one 250 for all of it, and 221 for QUIT",
                     "a message ends at a dot between bare line feeds")  # fmt: skip


def undoes_dots(trial: Trial) -> None:
    server = started(trial)
    with trial.connect(server) as client:
        read_line(client)
        for line in (b"EHLO me", b"MAIL FROM:<a@b.c>", b"RCPT TO:<d@e.f>", b"DATA"):
            client.send(line + b"\r\n")
            read_line(client)
        token = word().encode()
        client.send(b"Subject: x\r\n\r\n.." + token + b"\r\n.\r\n")
        read_line(client)

    def held() -> bool:
        files = b"\n".join(new_files(server.program).values())
        return b"\n." + token in files and b".." + token not in files

    if not wait_until(held, trial.at_most(SHORT)):
        raise NotMet("the file does not hold the line", f"{b'.' + token!r}: one dot less")


# The client


class Mail:
    """What a client has handed over."""

    def __init__(self) -> None:
        self.sender = self.recipient = b""
        self.data: bytes | None = None
        self.accepted = False


def our_server(record: list[Mail]) -> Callable[[Visit], None]:
    def converse(visit: Visit) -> None:
        mail = Mail()
        record.append(mail)
        visit.send(b"220 localhost ready\r\n")
        login = 0
        while line := visit.line():
            text = line.strip()
            verb = text[:4].upper()
            if login:
                login -= 1
                visit.send(b"334 UGFzc3dvcmQ6\r\n" if login else b"235 OK\r\n")
            elif verb == b"EHLO":
                visit.send(b"250-localhost\r\n250-AUTH LOGIN PLAIN\r\n250 SIZE 10485760\r\n")
            elif verb == b"AUTH":
                words = text.split()
                plain = words[1:2] == [b"PLAIN"] and len(words) > 2
                login = 0 if plain else 1 if words[1:2] == [b"PLAIN"] or len(words) > 2 else 2
                visit.send(b"235 OK\r\n" if plain else b"334 VXNlcm5hbWU6\r\n")
            elif verb == b"MAIL":
                mail.sender = text
                visit.send(b"250 OK\r\n")
            elif verb == b"RCPT":
                mail.recipient += text
                visit.send(b"250 OK\r\n")
            elif verb == b"DATA":
                visit.send(b"354 Go on, and end with a dot on a line of its own\r\n")
                data = b""
                while (line := visit.line()) and line.strip(b"\r\n") != b".":
                    data += line
                if line:
                    mail.data = data
                    visit.send(b"250 OK\r\n")
            elif verb == b"QUIT":
                visit.send(b"221 Bye\r\n")
                return
            elif verb in (b"HELO", b"RSET", b"NOOP"):
                visit.send(b"250 OK\r\n")
            else:
                visit.send(b"500 unknown command\r\n")
            mail.accepted = mail.data is not None and bool(mail.sender and mail.recipient)

    return converse


def client_ways(port: int, token: str) -> list[Way]:
    mine = ["--port", str(port)]
    lines = [SENDER, RECIPIENT, f"Hello {token}", f"How are you, {token}?", ".", ""]
    text = "".join(line + "\n" for line in lines)
    contract = ["--from", SENDER, "--to", RECIPIENT, "--subject", f"Hello {token}", "--body",
                f"How are you, {token}?"]  # fmt: skip
    return [
        Way([*mine, *contract], text),
        Way(mine, text),
        Way([], text),
        Way([*mine, SENDER, RECIPIENT, f"Hello {token}", f"How are you, {token}?"]),
        Way(contract, text),
        Way(["127.0.0.1", str(port)], text),
    ]


def hands_over(trial: Trial) -> tuple[list[Mail], str, Program]:
    record: list[Mail] = []
    server = trial.fake(our_server(record))
    token = word()
    program = run_ways(trial, server, client_ways(server.port, token),
                       lambda _: any(mail.accepted for mail in record),
                       values={"sender": SENDER, "recipient": RECIPIENT,
                               "subject": f"Hello {token}",
                               "body": f"How are you, {token}?"})  # fmt: skip
    if not server.visits and not record:
        raise NotMet("it does not connect", "a connection")
    return record, token, program


def says_who(trial: Trial) -> None:
    record, _, _ = hands_over(trial)
    if not any(mail.sender and mail.recipient for mail in record):
        raise NotMet("it names no sender and recipient", "MAIL FROM and RCPT TO")
    given = [SENDER.encode(), RECIPIENT.encode()]
    for mail in record:
        if [one in mail.recipient for one in given] == [True, False]:
            raise NotMet(f"{mail.recipient!r}", f"RCPT TO:<{RECIPIENT}>",
                         "it names the sender as the recipient")  # fmt: skip


def sends_a_message(trial: Trial) -> None:
    record, _, _ = hands_over(trial)
    done = [mail for mail in record if mail.accepted]
    if not done:
        raise NotMet("no message is handed over", "DATA, a message, and a dot on a line of its own")
    if not (done[0].data or b"").strip():
        raise NotMet("the message is empty", "a message")


EML = re.compile(rb"(?s)Return-Path: <a@b.c>.*\n(\.two)\r?\n")


def doubles_dots(trial: Trial) -> None:
    ours = trial.serve(script="smtp_server.py", ours=True)
    words = ["--port", str(ours.port), "--from", "a@b.c", "--to", "d@e.f", "--body", "one\n.two"]
    program = trial.run_client(ours.port, *words)
    program.wait(trial.at_most(START))

    def held() -> bool:
        return any(EML.search(data) for data in new_files(ours.program).values())

    if not wait_until(held, trial.at_most(SHORT)) or program.process.returncode != 0:
        raise NotMet("the message at our server is another one", "the lines 'one' and '.two'")


def greets_and_quits(trial: Trial, server: Server) -> None:
    with trial.connect(server) as client:
        reply = client.receive(lambda data: b"\n" in data, trial.at_most(ANSWER))
        if not reply.startswith(b"220"):
            raise NotMet(f"{reply!r}" if reply else "no greeting", "a line 220")


SMTP_SERVER = Script(
    "smtp_server.py",
    "smtp",
    [
        "Run the server script to listen for incoming connections and handle SMTP commands.",
        "Server-side implementation for receiving and processing emails.",
    ],
    [
        exercise("listens", "Listen for incoming connections.", listens),
        exercise("greets with 220", "Handle SMTP commands.", greets),
        exercise("takes a message from smtplib", "Receiving emails.", takes_a_message),
        exercise("keeps or shows the message", "Receiving and processing emails.",
                 processes_the_message, "takes a message from smtplib"),
        exercise("takes a second message", "Receiving and processing emails.", takes_another,
                 "keeps or shows the message"),
        *of_line_server(
            robust("offers its extensions", "EHLO is answered in several lines.",
                   offers_its_extensions, "speaks our protocol"),
            robust("ends a message at CRLF . CRLF only", "RFC 5321, section 4.1.1.4.",
                   ends_a_message_at_one_place, "speaks our protocol"),
            robust("takes a dot away that the client has added", "RFC 5321, section 4.5.2.",
                   undoes_dots, "speaks our protocol"),
            works=greets_and_quits,
        ),
    ],
    port=1025,
    essential=3,
)  # fmt: skip
SMTP_CLIENT = Script(
    "smtp_client.py",
    "smtp",
    [
        "Run the client script to connect to the server and send emails.",
        "Implementing a basic SMTP client-server interaction using Python sockets.",
    ],
    [
        exercise("names sender and recipient", "Connect to the server.", says_who),
        exercise("sends a message", "Send emails.", sends_a_message),
        robust("adds a dot to lines that begin with one", "RFC 5321, section 4.5.2.",
               doubles_dots),
        no_server("--port", "PORT", "--from", "a@b.c", "--to", "d@e.f", "--body", "x"),
        has_help,
    ],
    port=1025,
    arguments=('"--from", dest="sender"', '"--to", dest="recipient"', '"--subject"', '"--body"'),
    essential=1,
)  # fmt: skip

# The message in a file

HEADERS = {"Subject": "Advanced Python Test", "From": "me@example.com", "To": "you@example.com"}
BODY = "This is a test email sent from Python."


def built(trial: Trial) -> tuple[Program, Message | None]:
    """Run it, and return the message in a file that appeared."""
    for args in ([], ["test_email.eml"]):
        program = trial.launch(args, stdin="")
        program.wait(trial.at_most(START))
        files = new_files(program)
        for name in sorted(files, key=lambda name: name != "test_email.eml"):
            if files[name].strip():
                trial.evidence.add("written", f"{name}: {len(files[name])} bytes")
                return program, email.message_from_bytes(files[name], policy=policy.default)
    return program, None


def writes_a_message(trial: Trial) -> None:
    _, mail = built(trial)
    if mail is None:
        raise NotMet("no file has appeared", "test_email.eml")
    if not mail.keys():
        raise NotMet("the file holds no headers", "a message with headers")


def has_the_headers(trial: Trial) -> None:
    _, mail = built(trial)
    assert mail
    for name, value in HEADERS.items():
        held = str(mail[name] or "")
        if value.lower() not in held.lower() or (name == "Subject" and held.strip() != value):
            raise NotMet(f"{name}: {held!r}", f"{name}: {value!r}")


def has_the_body(trial: Trial) -> None:
    _, mail = built(trial)
    assert mail
    parts = [part for part in mail.walk() if part.get_content_maintype() == "text"]
    texts = []
    for part in parts:
        payload = part.get_payload(decode=True)
        texts.append(payload.decode("utf-8", "replace") if isinstance(payload, bytes) else "")
    if not any(text.strip() == BODY for text in texts):
        raise NotMet(f"the body is {texts}", repr(BODY))


def reads_it_back(trial: Trial) -> None:
    program, _ = built(trial)
    for text in (HEADERS["Subject"], BODY):
        if text not in program.printed:
            raise NotMet(f"{text!r} is not in the output", "subject and body, read from the file")


def lines_end_in_crlf(trial: Trial) -> None:
    program, _ = built(trial)
    data = new_files(program).get("test_email.eml", b"")
    if not data or b"\n" in data.replace(b"\r\n", b""):
        raise NotMet("lines end in LF", "CRLF, as a message is sent")


def refuses_header_injection(trial: Trial) -> None:
    program = trial.launch(["--subject", "x\nBcc: eve@example.com"], stdin="")
    program.wait(trial.at_most(START))
    mails = [email.message_from_bytes(data) for data in new_files(program).values()]
    if program.process.returncode == 0 or any(mail["Bcc"] for mail in mails):
        raise NotMet("a subject with a line break is accepted", "a refusal")


EMAIL_BUILDER = Script(
    "email_builder.py",
    "email",
    [
        'Build an email message with Subject "Advanced Python Test", From "me@example.com",',
        'To "you@example.com", Body "This is a test email sent from Python.".',
        'Write the full MIME message to a file named "test_email.eml".',
    ],
    [
        exercise("writes a message into a file", "Write the full MIME message to a file.",
                 writes_a_message),
        exercise("has subject, sender and recipient", 'Subject: "Advanced Python Test".',
                 has_the_headers),
        exercise("has the body", f'Body: "{BODY}"', has_the_body),
        robust("writes line ends as they are sent", "RFC 5322.", lines_end_in_crlf),
        robust("refuses a header that smuggles in another", "A line break in a subject.",
               refuses_header_injection),
        has_help,
        extra("reads the message back", "Parse the file back and print the subject and body.",
              reads_it_back),
    ],
    imports=("email",),
    essential=1,
)  # fmt: skip
