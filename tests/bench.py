"""How fast the scripts are, beside what people use instead: a benchmark, not a test.

    python tests/bench.py [NAME ...] [--rounds 5] [--json | --markdown]

Ours and the peers take turns in each round, so that a noisy machine disturbs all alike. A ratio
over 1 means that ours is better; it is the median of the rounds' ratios. Behind it stands what both
measured. --markdown writes docs/benchmarks.md, docs/speed.svg, and the README's chart and table.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from bench_pages import Row, describe_machine, format_row, format_table, write_pages

ROOT = Path(__file__).resolve().parent.parent
LOAD = Path(tempfile.gettempdir()) / "network-exercises-load"
SECONDS = 1.0  # of one measurement
TIME_LIMIT = 60.0  # seconds after which one has failed
LINE = "x" * 63 + "\n"
IDLE = 2000  # connections
MEMORY_LIMIT = 24.0  # KiB for each of them
OURS = "ours"
MEMORY = "/dev/shm"  # a folder without a disk, on Linux

Commands = dict[str, "list[str] | None"]


# What every benchmark needs


def script(name: str, *options: str) -> list[str]:
    """Return the command that runs one of our servers on a free port."""
    return [sys.executable, str(ROOT / name), "--port", "0", "--quiet", *options]


def python(code: str) -> list[str]:
    """Return the command for a short Python server that announces its port as ours do."""
    return [sys.executable, "-c", textwrap.dedent(code)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def serving(command: list[str]) -> Iterator[tuple[int, int]]:
    """Run a server; yield its port and process id. PORT in a command becomes a free port."""
    port = free_port()
    process = subprocess.Popen(
        [word.replace("PORT", str(port)) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout
        if any("UDP-RECV" in word for word in command):
            time.sleep(0.5)  # nothing tells that it is ready
        elif any("PORT" in word for word in command):
            wait_for(port)
        else:
            port = int(process.stdout.readline().rpartition(":")[2].rstrip(".\n"))
        yield port, process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # with its children: socat and ncat fork
        process.communicate()


def wait_for(port: int) -> None:
    """Wait until a server that says nothing takes connections."""
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nobody listens on port {port}")


def load(kind: str, *words: object) -> float:
    """Run the load generator on the port that is the last word; return the figure it prints."""
    command = [str(LOAD), kind, str(words[-1]), *map(str, words[:-1])]
    return float(
        subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, timeout=TIME_LIMIT
        ).stdout
    )


def compare(
    name: str,
    unit: str,
    commands: Commands,
    measure: Callable[[int], float],
    rounds: int,
    tool: str | Path = LOAD,
) -> list[Row]:
    """Measure all servers in turn with the program `tool`; return a row for each peer of ours."""
    figures: dict[str, list[float]] = {peer: [] for peer in commands}
    if not shutil.which(tool):
        return rows_of(f"{name} (no {tool} here)", unit, figures)
    with ExitStack() as stack:
        ports = {
            peer: stack.enter_context(serving(command))[0]
            for peer, command in commands.items()
            if command and shutil.which(command[0])
        }
        for _ in range(rounds):
            for peer, port in ports.items():
                figures[peer].append(measure(port))
    return rows_of(name, unit, figures)


def rows_of(name: str, unit: str, figures: dict[str, list[float]], less: bool = False) -> list[Row]:
    """Return a row for each peer of ours; `less` is better, or else more."""
    ours = figures.pop(OURS)
    pairs = {
        peer: ratio(theirs, ours) if less else ratio(ours, theirs)
        for peer, theirs in figures.items()
    }
    return [Row(name, unit, peer, pairs[peer], ours, theirs) for peer, theirs in figures.items()]


def ratio(ours: list[float], theirs: list[float]) -> float | None:
    return (
        statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        if ours and theirs
        else None
    )


# The echo server

ASYNCIO_STREAMS = python("""
    import asyncio
    async def handle(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
    async def main():
        server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=4096)
        print(f"Server listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}...", flush=True)
        await server.serve_forever()
    asyncio.run(main())
""")

ASYNCIO_PROTOCOL = python("""
    import asyncio
    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
        def data_received(self, data):
            self.transport.write(data)
    async def main():
        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=4096)
        print(f"Server listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}...", flush=True)
        await server.serve_forever()
    asyncio.run(main())
""")

SOCKETSERVER = python("""
    import socketserver
    class Echo(socketserver.BaseRequestHandler):
        def handle(self):
            while data := self.request.recv(65536):
                self.request.sendall(data)
    class Server(socketserver.ThreadingTCPServer):
        request_queue_size = 4096
        daemon_threads = True
    with Server(("127.0.0.1", 0), Echo) as server:
        print(f"Server listening on 127.0.0.1:{server.server_address[1]}...", flush=True)
        server.serve_forever()
""")

ECHO_SERVERS: Commands = {
    OURS: script("echo_server.py"),
    "C, epoll": [str(LOAD), "serve"],
    "socat": ["socat", "TCP-LISTEN:PORT,bind=127.0.0.1,fork,reuseaddr,backlog=4096", "PIPE"],
    "ncat": ["ncat", "-l", "127.0.0.1", "PORT", "-k", "-m", "10000", "-e", "/bin/cat"],
    "asyncio streams": ASYNCIO_STREAMS,
    "asyncio Protocol": ASYNCIO_PROTOCOL,
    "socketserver": SOCKETSERVER,
}


def echo(rounds: int) -> list[Row]:
    """The echo server beside others."""
    everybody = ECHO_SERVERS
    in_bulk = {name: command for name, command in everybody.items() if name != "ncat"}  # it stalls
    without_commands = {OURS: script("echo_server.py", "--raw"), "C, epoll": everybody["C, epoll"]}
    return [
        *compare(
            "echo, 1 connection",
            "lines/s",
            everybody,
            partial(load, "lines", 1, SECONDS, LINE),
            rounds,
        ),
        *compare(
            "echo, 50 connections",
            "lines/s",
            everybody,
            partial(load, "lines", 50, SECONDS, LINE),
            rounds,
        ),
        *compare("echo, 256 MiB", "MB/s", in_bulk, partial(load, "bulk", 256), rounds),
        *compare(
            "echo, 256 MiB, --raw", "MB/s", without_commands, partial(load, "bulk", 256), rounds
        ),
        *compare(
            "echo, connect and close",
            "1/s",
            everybody,
            partial(load, "connect", SECONDS, LINE),
            rounds,
        ),
        *idle(rounds),
    ]


def idle(rounds: int) -> list[Row]:
    """What idle connections cost: memory, and time of the one that is active."""
    alone, among, memory = [], [], []
    for _ in range(rounds):
        with serving(ECHO_SERVERS[OURS] or []) as (port, pid), ExitStack() as stack:
            alone.append(p99(port))
            before = resident(pid)
            for _ in range(IDLE):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                connection.sendall(b"x")
                connection.recv(1)
            memory.append((resident(pid) - before) / IDLE)
            among.append(p99(port))
    limit = [MEMORY_LIMIT] * rounds
    return [
        Row(f"echo, {IDLE} idle: p99", "ms", "none idle", ratio(alone, among), among, alone),
        Row(f"echo, {IDLE} idle: memory", "KiB each", "limit", ratio(limit, memory), memory, limit),
    ]


def resident(pid: int) -> float:
    """Return the memory of a process in KiB."""
    return float(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])


def p99(port: int, count: int = 3000) -> float:
    """Return the 99th percentile of a line's round trip, in ms."""
    times = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(count):
            start = time.perf_counter()
            connection.sendall(LINE.encode())
            connection.recv(100)
            times.append((time.perf_counter() - start) * 1000)
    return statistics.quantiles(times, n=100)[-1]


# The calculator

WHOLE = [
    "2 + 3",
    "2 + 3 * 4 - 5",
    "(17 + 4) * (9 - 2) % 10",
    "2 ** 10 // 7",
    "-(3 - 12) * 4",
    "1000000 * 1000000 + 1",
]
MIXED = [
    *WHOLE,
    "0.1 + 0.2",
    "1.5 * 4 - 2.25",
    "22 / 7",
    "3.14 * 2 ** 2",
    "(1.1 + 2.2) / 3",
    "100 / 8",
]

AST_WALKER = """
import ast, operator
OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
    ast.Pow: operator.pow, ast.USub: operator.neg,
}
def walk(node):
    if isinstance(node, ast.Expression):
        return walk(node.body)
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)](walk(node.left), walk(node.right))
    return OPERATORS[type(node.op)](walk(node.operand))
def evaluate(expression):
    return walk(ast.parse(expression, mode="eval"))
"""

EVALUATORS = {
    OURS: "from calc_server import evaluate",
    "simpleeval": "from simpleeval import simple_eval as evaluate",
    "ast walker": AST_WALKER,
}

CALC_SERVER = """
import socket, threading
{}
def handle_client(connection):
    with connection, connection.makefile("rb") as lines:
        for line in lines:
            connection.sendall(str(evaluate(line.decode().strip())).encode() + b"\\n")
listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
print(f"Server listening on 127.0.0.1:{{listener.getsockname()[1]}}...", flush=True)
while True:
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=handle_client, args=(connection,), daemon=True).start()
"""


def calc(rounds: int) -> list[Row]:
    """The calculator beside others."""
    servers: Commands = {
        OURS: script("calc_server.py"),
        "threads, simpleeval": python(CALC_SERVER.format(EVALUATORS["simpleeval"]))
        if has("simpleeval")
        else None,
        "threads, Python's eval": python(CALC_SERVER.format("evaluate = eval")),
    }
    line = "(17 + 4) * (9 - 2) % 10\n"
    return [
        *in_process("calc, integers", EVALUATORS, "evaluate", WHOLE, rounds),
        *in_process("calc, with decimals", EVALUATORS, "evaluate", MIXED, rounds),
        *compare(
            "calc, 1 connection",
            "lines/s",
            servers,
            partial(load, "lines", 1, SECONDS, line),
            rounds,
        ),
        *compare(
            "calc, 50 connections",
            "lines/s",
            servers,
            partial(load, "lines", 50, SECONDS, line),
            rounds,
        ),
    ]


def has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def in_process(
    name: str, codes: dict[str, str], function: str, inputs: list[str], rounds: int
) -> list[Row]:
    """Compare functions of the same name, which these codes define, in this process."""
    sys.path.insert(0, str(ROOT))
    functions = {}
    for peer, code in codes.items():
        with suppress(ImportError):
            scope: dict[str, Callable[[str], object]] = {}
            exec(code, scope)
            functions[peer] = scope[function]
    rates: dict[str, list[float]] = {peer: [] for peer in codes}
    for _ in range(rounds):
        for peer, call in functions.items():
            start, done = time.perf_counter(), 0
            while time.perf_counter() < start + SECONDS / 2:
                for text in inputs:
                    call(text)
                done += len(inputs)
            rates[peer].append(done / (time.perf_counter() - start))
    return rows_of(name, "1/s", rates)


# The chat server

BROADCAST = python("""
    import asyncio
    writers = set()
    async def handle(reader, writer):
        writers.add(writer)
        try:
            while line := await reader.readline():
                for other in list(writers):
                    if other is not writer:
                        other.write(b"somebody: " + line)
                        await other.drain()
        finally:
            writers.discard(writer)
            writer.close()
    async def main():
        server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=4096)
        print(f"Server listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}...", flush=True)
        await server.serve_forever()
    asyncio.run(main())
""")

AS_NOBODY = (
    ["--setuid", "nobody"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
)  # root may not run it
CHAT_SERVERS: Commands = {
    OURS: script("chat_server.py", "--rate", "0", "--max-unsent", "1000000000"),
    "asyncio streams": BROADCAST,
    "miniircd": ["miniircd", "--ports", "PORT", "--listen", "127.0.0.1", *AS_NOBODY],
}


def chat(rounds: int) -> list[Row]:
    """The chat server beside others: one speaks, all others listen."""
    plain, irc = ("", ""), ("NICK u%d\nUSER u u u u\nJOIN #c\n", "PRIVMSG #c :")
    rows = []
    for listeners, lines in ((200, 1000), (1000, 200)):
        name = f"chat, {listeners} listeners"
        rates: dict[str, list[float]] = {peer: [] for peer in CHAT_SERVERS}
        delays: dict[str, list[float]] = {peer: [] for peer in CHAT_SERVERS}
        for _ in range(rounds):
            for peer, command in CHAT_SERVERS.items():
                if command and shutil.which(command[0]):
                    words = irc if peer == "miniircd" else plain
                    with serving(command) as (port, _):
                        rates[peer].append(load("chat", listeners, lines, *words, port))
                    with serving(command) as (port, _):
                        delays[peer].append(load("steady", listeners, 80, *words, port))
        rows += rows_of(name, "deliveries/s", rates)
        rows += rows_of(f"{name}, p99 at 40 lines/s", "ms", delays, less=True)
    return rows


# The UDP logger

NAIVE_LOGGER = """
import hashlib, socket, sys
from datetime import datetime
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.bind(("127.0.0.1", 0))
print(f"Server listening on 127.0.0.1:{listener.getsockname()[1]}...", flush=True)
with open(sys.argv[1], "a") as file:
    while True:
        data, address = listener.recvfrom(65535)
        now = datetime.now().astimezone().isoformat()
        digests = hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest()
        print(now, *address, len(data), *digests, sep="\\t", file=file, flush=True)
"""


def udp(rounds: int) -> list[Row]:
    """The UDP logger beside others: the highest rate at which nothing is lost."""
    commands: Commands = {
        OURS: [
            sys.executable,
            str(ROOT / "udp_logger.py"),
            "--port",
            "0",
            "--quiet",
            "--output",
            "OUTPUT",
        ],
        "naive loop": [*python(NAIVE_LOGGER), "OUTPUT"],
        "socat, no hashes": [
            "socat",
            "-u",
            "UDP-RECV:PORT,bind=127.0.0.1",
            "OPEN:OUTPUT,creat,append",
        ],
    }
    rows = []
    for size in (64, 1400):
        rates: dict[str, list[float]] = {peer: [] for peer in commands}
        for _ in range(rounds):
            for peer, command in commands.items():
                if command and shutil.which(command[0]):
                    rates[peer].append(
                        rate_without_loss(command, size, lines=peer != "socat, no hashes")
                    )
        rows += rows_of(f"udp, {size} bytes", "1/s", rates)
    return rows


def rate_without_loss(command: list[str], size: int, lines: bool) -> float:
    """Return the highest rate, within 5 %, at which all datagrams are logged, as lines or raw."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "log")
        output.touch()
        with serving([word.replace("OUTPUT", str(output)) for word in command]) as (port, _):
            low, high, rate = 0.0, float("inf"), 20_000.0
            while high > 1.05 * low:
                os.truncate(output, 0)
                sent = int(rate * SECONDS)
                load("datagrams", rate, sent, size, port)
                if logged(output, lines, size) == sent:
                    low, rate = rate, min(1.5 * rate, (rate + high) / 2)
                else:
                    high, rate = rate, (low + rate) / 2
            return low


def logged(output: Path, lines: bool, size: int) -> int:
    """Return how many datagrams are in the file, as soon as it grows no more."""
    before = -1
    while before != output.stat().st_size:
        before = output.stat().st_size
        time.sleep(0.3)
    return output.read_bytes().count(b"\n") if lines else before // size


# The web scripts

YARL = """
from yarl import URL
def change(url):
    return str(URL(url).update_query(user="42"))
"""

ROUND_TRIP = """
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
def change(url):
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    query["user"] = "42"
    return urlunsplit(parts._replace(query=urlencode(query)))
"""

OUR_CHANGE = """
from url_tools import set_param
def change(url):
    return set_param(url, "user", "42")
"""

CHANGES = {OURS: OUR_CHANGE, "yarl": YARL, "urllib.parse round trip": ROUND_TRIP}
URLS = [  # different ones, so that what the peers remember of one is of no use for the next
    template.format(number)
    for number in range(10_000)
    for template in (
        "https://example.org/products/view?id={}&sort=asc",
        "https://example.org/a?x={}&user=7&y=2#top",
        "https://shop.example.com:8443/p/a%20b?q=caf%C3%A9+au+lait&page={}",
    )
]


ONE_OPTION = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--get")
parser.parse_args()
"""


def url(rounds: int) -> list[Row]:
    """Adding or replacing a parameter, and how fast the command starts."""
    commands = {
        OURS: [sys.executable, str(ROOT / "url_tools.py")],
        "python -c pass": [sys.executable, "-c", "pass"],
        "argparse, one option": [sys.executable, "-c", ONE_OPTION],
    }
    starts: dict[str, list[float]] = {peer: [] for peer in commands}
    for _ in range(rounds):
        for peer, command in commands.items():
            starts[peer].append(min(seconds(command) for _ in range(10)) * 1000)
    return [
        *in_process("url, add or replace", CHANGES, "change", URLS, rounds),
        *rows_of("url, start of the command", "ms", starts, less=True),
    ]


def seconds(command: list[str], folder: str | None = None) -> float:
    """Return how long a command takes. No time limit: with one, Python polls for the end."""
    start = time.perf_counter()
    subprocess.run(
        command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - start


IMAGES = 200
SLOW_IMAGES = python(f"""
    import asyncio
    IMAGE = bytes(20_000)
    PAGE = b"".join(b'<img src="/i/%d.png">' % number for number in range({IMAGES}))
    async def handle(reader, writer):
        try:
            while head := await reader.readuntil(b"\\r\\n\\r\\n"):
                path = head.split()[1]
                await asyncio.sleep(0.02)
                body, kind = (PAGE, b"text/html") if path == b"/" else (IMAGE, b"image/png")
                if path == b"/robots.txt":
                    body = b""
                head = b"HTTP/1.1 200 OK\\r\\nContent-Type: %b\\r\\n" % kind
                writer.write(head + b"Content-Length: %d\\r\\n\\r\\n" % len(body) + body)
        except (ConnectionError, EOFError):
            writer.close()
    async def main():
        server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=4096)
        port = server.sockets[0].getsockname()[1]
        print(f"Server listening on 127.0.0.1:{{port}}...", flush=True)
        await server.serve_forever()
    asyncio.run(main())
""")

DOWNLOADERS: Commands = {
    OURS: [sys.executable, str(ROOT / "download_images.py"), "SITE", "--jobs", "16"],
    "curl, given the list": [
        "curl",
        "-s",
        "--parallel",
        "--parallel-max",
        "16",
        "--remote-name-all",
        "IMAGES",
    ],
    "wget2": ["wget2", "-q", "-p", "--max-threads=16", "SITE"],
    "wget": ["wget", "-q", "-p", "SITE"],
}


def images(rounds: int) -> list[Row]:
    """A page with images, from a server that takes 20 ms for each of them."""
    rates: dict[str, list[float]] = {peer: [] for peer in DOWNLOADERS}
    with serving(SLOW_IMAGES) as (port, _):
        site = f"http://127.0.0.1:{port}/"
        for _ in range(rounds):
            for peer, command in DOWNLOADERS.items():
                if command and shutil.which(command[0]):
                    command = [word.replace("SITE", site) for word in command]
                    if command[-1] == "IMAGES":
                        command[-1:] = [f"{site}i/{number}.png" for number in range(IMAGES)]
                    with tempfile.TemporaryDirectory() as folder:
                        rates[peer].append(IMAGES / seconds(command, folder))
                        assert (
                            sum(path.suffix == ".png" for path in Path(folder).rglob("*")) == IMAGES
                        )
    return rows_of(f"images, {IMAGES}", "1/s", rates)


NGINX = """
daemon off; pid FOLDER/nginx.pid; error_log /dev/null; worker_processes 2; events {}
http {
    access_log off; sendfile on; keepalive_requests 1000000;
    server { listen 127.0.0.1:@; root FOLDER; }
}
"""


def web_servers(folder: str) -> Commands:
    """Return the commands of web servers that show `folder`."""
    configure = f"sed s/@/$1/ {folder}/template > {folder}/conf && exec nginx -c {folder}/conf"
    Path(folder, "template").write_text(NGINX.replace("FOLDER", folder))
    return {
        OURS: script("http_server.py", "--directory", folder),
        "python -m http.server": [
            sys.executable,
            "-m",
            "http.server",
            "PORT",
            "-b",
            "127.0.0.1",
            "-d",
            folder,
        ],
        "nginx": ["sh", "-c", configure, "sh", "PORT"] if shutil.which("nginx") else None,
    }


def http(rounds: int) -> list[Row]:
    """The HTTP server beside others."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # nginx does not run as root
        Path(folder, "small").write_bytes(os.urandom(1000))
        Path(folder, "big").write_bytes(os.urandom(1 << 20) * 1024)
        servers = web_servers(folder)
        rows = compare(
            "http, 1000 bytes, 10 connections",
            "requests/s",
            servers,
            requests_a_second,
            rounds,
            "wrk",
        )
        return rows + compare("http, 1 GiB", "MB/s", servers, megabytes_a_second, rounds, "curl")


def requests_a_second(port: int) -> float:
    command = ["wrk", "-t", "1", "-c", "10", "-d", "2", f"http://127.0.0.1:{port}/small"]
    output = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, timeout=TIME_LIMIT
    ).stdout
    return float(output.partition("Requests/sec:")[2].split()[0])


def megabytes_a_second(port: int) -> float:
    return (
        (1 << 30) / 1e6 / seconds(["curl", "-sf", "-o", os.devnull, f"http://127.0.0.1:{port}/big"])
    )


# The SMTP server


def mail(rounds: int) -> list[Row]:
    """The SMTP server beside others: messages a second, and how long one takes."""
    on_disk = {
        "mail, 1 kB, 10 sessions": ["-s", "10", "-m", "400", "-l", "1000"],
        "mail, 1 kB, 10 sessions, kept": ["-s", "10", "-m", "400", "-l", "1000", "-d"],
        "mail, 1 kB, 1 session": ["-s", "1", "-m", "100", "-l", "1000", "-d"],
        "mail, 5 MiB, 10 sessions": ["-s", "10", "-m", "40", "-l", str(5 << 20)],
    }
    in_memory = {"mail, 1 kB, 1 session, in memory": ["-s", "1", "-m", "400", "-l", "1000", "-d"]}
    return [
        *mail_into(None, on_disk, rounds),
        *(mail_into(MEMORY, in_memory, rounds) if Path(MEMORY).is_dir() else ()),
    ]


def mail_into(place: str | None, loads: dict[str, list[str]], rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory(dir=place) as folder:
        os.chmod(folder, 0o777)  # smtp-sink does not run as root
        servers: Commands = {
            OURS: script("smtp_server.py", "--directory", f"{folder}/ours"),
            "aiosmtpd, Maildir": [
                *[sys.executable, "-m", "aiosmtpd", "-n", "-l", "127.0.0.1:PORT"],
                *["-c", "aiosmtpd.handlers.Mailbox", f"{folder}/maildir"],
            ]
            if has("aiosmtpd")
            else None,
            "smtp-sink -d, no fsync": [
                *["smtp-sink", *(["-u", "nobody"] if AS_NOBODY else []), "-R", folder, "-d", "%M."],
                *["127.0.0.1:PORT", "1000"],
            ],
        }
        return [
            row
            for name, options in loads.items()
            for row in compare(
                name, "1/s", servers, partial(messages_a_second, options), rounds, "smtp-source"
            )
        ]


def messages_a_second(options: list[str], port: int) -> float:
    source = [
        "smtp-source",
        *options,
        "-f",
        "ada@example.com",
        "-t",
        "charles@example.org",
        f"127.0.0.1:{port}",
    ]
    return int(options[3]) / seconds(source)


# The file server and its client

SMALL_FILES = 2000


def files(rounds: int) -> list[Row]:
    """A large file, and many small ones over one connection, beside curl, nc and cp."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        os.chmod(folder, 0o755)  # nginx does not run as root
        source, target = Path(folder, "from"), Path(folder, "to")
        source.mkdir()
        target.mkdir()
        (source / "big").write_bytes(os.urandom(1 << 20) * 1024)
        names = [f"{number}.bin" for number in range(SMALL_FILES)]
        for name in names:
            (source / name).write_bytes(os.urandom(1000))
        servers = {
            **web_servers(str(source)),
            OURS: script("file_server.py", "--directory", str(source)),
        }
        ports = {
            peer: stack.enter_context(serving(command))[0]
            for peer, command in servers.items()
            if command and shutil.which(command[0])
        }
        client = [
            sys.executable,
            str(ROOT / "file_client.py"),
            "--port",
            str(ports[OURS]),
            "--output",
            str(target),
        ]
        big: Commands = {OURS: [*client, "big"], "cp": ["cp", str(source / "big"), str(target)]}
        small: Commands = {OURS: [*client, *names]}
        for peer in set(servers) - {OURS} - (set(ports) if shutil.which("curl") else set()):
            big[f"{peer} and curl"] = small[f"{peer} and curl"] = None
        for peer, port in ports.items():
            if peer != OURS and shutil.which("curl"):
                site = f"http://127.0.0.1:{port}/"
                big[f"{peer} and curl"] = ["curl", "-sfo", str(target / "big"), f"{site}big"]
                small[f"{peer} and curl"] = [
                    "curl",
                    "-sf",
                    "--remote-name-all",
                    *(site + name for name in names),
                ]
        big["nc"] = None
        if shutil.which("nc"):
            receive = "until nc -d 127.0.0.1 $1 > $3 2>&1 && [ -s $3 ]; do :; done"
            pipe = f"nc -N -l 127.0.0.1 $1 < $2 & {receive}; wait"
            big["nc"] = [
                "bash",
                "-c",
                pipe,
                "nc",
                str(free_port()),
                str(source / "big"),
                str(target / "big"),
            ]
        rows = timed("files, 1 GiB", "MB/s", (1 << 30) / 1e6, big, target, rounds)
        return rows + timed(
            f"files, {SMALL_FILES} of 1000 bytes", "1/s", SMALL_FILES, small, target, rounds
        )


def timed(
    name: str, unit: str, amount: float, commands: Commands, target: Path, rounds: int
) -> list[Row]:
    """Run commands in turn, each in an empty folder; return a row for each peer of ours."""
    rates: dict[str, list[float]] = {peer: [] for peer in commands}
    for _ in range(rounds):
        for peer, command in commands.items():
            if command:
                os.sync()  # or what is written before would be paid for now
                rates[peer].append(amount / seconds(command, str(target)))
                for path in target.iterdir():
                    path.unlink()
    return rows_of(name, unit, rates)


# The TCP proxy


def proxy(rounds: int) -> list[Row]:
    """The TCP proxy beside socat: without a log, and with one that nobody reads."""
    with serving([str(LOAD), "serve"]) as (server, _):
        ours = [
            sys.executable,
            str(ROOT / "tcp_proxy.py"),
            "--port",
            "0",
            "--to",
            f"127.0.0.1:{server}",
        ]
        words = [
            "TCP-LISTEN:PORT,bind=127.0.0.1,fork,reuseaddr,backlog=4096",
            f"TCP:127.0.0.1:{server}",
        ]
        quiet: Commands = {OURS: [*ours, "--quiet"], "socat": ["socat", *words]}
        lines = partial(load, "lines", 1, SECONDS, LINE)
        logged: Commands = {OURS: ours, "socat -v": ["socat", "-v", *words]}
        return [
            *compare("proxy, 256 MiB", "MB/s", quiet, partial(load, "bulk", 256), rounds),
            *compare("proxy, 8 MiB, logged", "MB/s", logged, partial(load, "bulk", 8), rounds),
            *compare("proxy, 1 connection", "lines/s", quiet, lines, rounds),
            *compare("proxy, 1 connection, logged", "lines/s", logged, lines, rounds),
        ]


BENCHMARKS: dict[str, Callable[[int], list[Row]]] = {
    "echo": echo,
    "chat": chat,
    "calc": calc,
    "udp": udp,
    "url": url,
    "images": images,
    "http": http,
    "mail": mail,
    "files": files,
    "proxy": proxy,
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: %(default)s")
    output = parser.add_mutually_exclusive_group().add_argument
    output("--json", action="store_true", help="print the rows as JSON")
    output("--markdown", action="store_true", help="write the pages; needs all benchmarks")
    args = parser.parse_args(argv)
    if args.markdown and args.names:
        parser.error("--markdown needs all benchmarks: give no NAME")
    if unknown := set(args.names) - set(BENCHMARKS):
        parser.error(f"unknown: {', '.join(unknown)}; there is {', '.join(BENCHMARKS)}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    subprocess.run(["cc", "-O2", "-pthread", "-o", LOAD, ROOT / "tests" / "load.c"], check=True)
    names = args.names or list(BENCHMARKS)
    rows: list[Row] = []
    if not args.json:
        print(*format_table([]), sep="\n")
    for name in names:
        for row in BENCHMARKS[name](args.rounds):
            rows.append(row)
            if not args.json:
                print(format_row(row), flush=True)
    if args.json:
        print(json.dumps([row._asdict() for row in rows], indent=1))
    if args.markdown:
        rounds = f"{args.rounds} round{'s' * (args.rounds != 1)}"
        write_pages(rows, f"Measured in {rounds}: {describe_machine()}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
