"""Exercises about URLs and the web."""

from __future__ import annotations

import hashlib
import http.server
import json
import random
import re
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from ..process import Program, free_port
from ..recorder import Evidence, number_in, shortened
from ..requirement import NotMet, Requirement, Script
from ..trial import ANSWER, SHORT, START, Server, Trial, new_files
from .common import announces, complains, ended_well, exercise, extra, has_help, robust, word

CERTIFICATE = Path(__file__).resolve().parent.parent / "httpbin.org.pem"
Page = tuple[int, str, bytes]  # status, type, content


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the pages of its server."""

    server: WebServer
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        status, kind, content = self.server.pages.get(path, (404, "text/plain", b"not found"))
        self.server.evidence.add("it asked", f"GET {self.path[:80]}")
        self.server.asked.append(self.path)
        if self.server.delay:
            self.server.stop.wait(self.server.delay)
        self.server.evidence.add("answered", f"{status} {kind}, {shortened(content)}")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


class WebServer(http.server.ThreadingHTTPServer):
    """A web server of ours for a program of theirs."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, pages: Mapping[str, Page], evidence: Evidence, delay: float = 0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages, self.evidence, self.delay = pages, evidence, delay
        self.asked: list[str] = []
        self.stop = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # it shows in what the program does

    def close(self) -> None:
        self.stop.set()
        self.shutdown()
        self.server_close()


def web(trial: Trial, pages: Mapping[str, Page], delay: float = 0, tls: bool = False) -> WebServer:
    server = WebServer(pages, trial.evidence, delay)
    trial.still_slow = max(trial.still_slow, delay)
    trial.gone.add(server.server_port)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        # the handshake is done by the thread of a client, when it first reads
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    trial.closers.append(server.close)
    return server


def nobody(url: str, *more: str) -> Requirement:
    def check(trial: Trial) -> None:
        program = trial.launch([url.replace("PORT", str(free_port())), *more], stdin="")
        complains(trial, program)

    return robust(
        "says in one line that nobody listens", "One line on stderr, and status 1.", check
    )


# URL tools

FUNCTIONS = """
import contextlib, importlib.util, inspect, io, json, sys
url, path = sys.argv[1:3]
with contextlib.redirect_stdout(io.StringIO()):
    sys.argv = [path]
    spec = importlib.util.spec_from_file_location("solution", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["solution"] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        pass
    results, seen = [], []

    def look(frame, event, value):
        if event == "return" and frame.f_globals is vars(module):
            seen.append(repr({k: v for k, v in frame.f_locals.items() if not callable(v)}))

    def call(function, *args):
        said = io.StringIO()
        sys.setprofile(look)
        try:
            with contextlib.redirect_stdout(said):
                results.append(str(function(*args)))
        except BaseException:
            pass
        sys.setprofile(None)
        results.extend(said.getvalue().splitlines())

    RESTS = ((), ("user", "42"), ({"user": "42"},), ("user", 42), (42,), ("user=42",))
    for name, function in list(vars(module).items()):
        mine = getattr(function, "__module__", "") == "solution"
        if not callable(function) or not mine:
            continue
        if not inspect.isclass(function):
            for rest in RESTS:
                call(function, url, *rest)
            continue
        for start, first in (((url,), ()), ((), (url,))):
            try:
                one = function(*start)
            except BaseException:
                continue
            for name in vars(function):
                if not name.startswith("__"):
                    for rest in RESTS:
                        call(lambda *args: (lambda got: got(*args) if callable(got) else got)(
                            getattr(one, name)), *first, *rest)
print(json.dumps([results, seen]))
"""
EXERCISE_URL = "https://example.org/products/view?id=123&sort=asc"


def is_modified(text: str, url: str) -> bool:
    """Tell whether `text` is the URL with user=42, and all that it had."""
    old, new = urlsplit(url), urlsplit(text)
    wanted = {**parse_qs(old.query), "user": ["42"]}
    return old[:3] == new[:3] and parse_qs(new.query) == wanted


def urls_in(text: str) -> list[str]:
    return [one.rstrip(".,;)'\"]}>") for one in re.findall(r"https?://[^\s'\"<>]+", text)]


def random_url() -> tuple[str, str, str]:
    number, order = str(random.randint(10**5, 10**6)), word()
    return f"https://example.org/products/{word()}?id={number}&sort={order}", number, order


def run_url_tools(trial: Trial) -> tuple[str, str, str, Program]:
    """Run it with a URL that it does not know; if it does not take one, with its own."""
    url, number, order = random_url()
    for args in ([url, "--get", "id", "--get", "sort", "--set", "user=42"], [url], []):
        program = trial.launch(args, stdin="" if args else f"{url}\n")
        program.wait(trial.at_most(START))
        if any(is_modified(one, url) for one in urls_in(program.printed)):
            return url, number, order, program
    return EXERCISE_URL, "123", "asc", program


def from_functions(trial: Trial, url: str) -> tuple[list[str], list[str]]:
    """Return what the functions of the script return and print for a URL, and their variables."""
    folder = trial.workplace()
    (folder / "call_functions_.py").write_text(FUNCTIONS)
    program = trial.launch(
        [url, trial.script], script="call_functions_.py", folder=folder, stdin=""
    )
    program.wait(trial.at_most(START))
    trial.evidence.commands.pop()
    try:
        found, seen = json.loads(program.printed)
    except ValueError:
        found, seen = [], []
    trial.programs.pop()
    program.kill()
    trial.evidence.add("called", f"each function with {url!r}: {str(found)[:150]}")
    return [str(one) for one in found], [str(one) for one in seen]


def modifies_the_url(trial: Trial) -> None:
    url, _, _, program = run_url_tools(trial)
    if url == EXERCISE_URL:
        printed = any(is_modified(one, url) for one in urls_in(program.printed))
        if program.printed.strip() and not printed:
            raise NotMet(f"the output is {program.printed!r}", f"{EXERCISE_URL}&user=42")
        other, _, _ = random_url()
        results, _ = from_functions(trial, other)
        if not any(is_modified(one, other) for text in results for one in urls_in(text)):
            raise NotMet("no function returns the modified URL for another URL",
                         f"{other}&user=42")  # fmt: skip


def alone(value: str, text: str) -> bool:
    """Tell whether a value stands in `text`, and not only as a part of a query."""
    return bool(re.search(rf"(?<![\w=/]){re.escape(value)}(?![\w&=])", text))


def extracts_parameters(trial: Trial) -> None:
    url, number, order, program = run_url_tools(trial)
    text = program.printed
    for one in urls_in(text):
        text = text.replace(one, " ")
    shows_one = alone(number, text) != alone(order, text)  # then it means to show both
    if url == EXERCISE_URL and not shows_one:
        other, number, order = random_url()
        results, seen = from_functions(trial, other)
        for one in ["\n".join(results), *seen]:
            bare = one
            for found in urls_in(one):
                bare = bare.replace(found, " ")
            if alone(number, bare) and alone(order, bare):
                return
        number, order = "123", "asc"
    missing = [f"{name} {value}" for name, value in (("id", number), ("sort", order))
               if not re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text)]  # fmt: skip
    if missing:
        raise NotMet(f"the output, without the URL, is {text!r}", " and ".join(missing))


def keeps_the_rest(trial: Trial) -> None:
    url = "https://example.org/a%2Fb?x=%41+b&x=&y#f%20g"
    program = trial.launch([url, "--set", "user=4 2&"], stdin="")
    program.wait(trial.at_most(START))
    expected = "https://example.org/a%2Fb?x=%41+b&x=&y&user=4%202%26#f%20g"
    plus = expected.replace("%202", "+2")
    if program.printed.strip() not in (expected, plus):
        raise NotMet(repr(program.printed), expected)


def set_one(trial: Trial) -> None:
    program = trial.launch([EXERCISE_URL, "--set", "user=42"], stdin="")
    program.wait(trial.at_most(START))
    if program.printed != f"{EXERCISE_URL}&user=42\n" or program.process.returncode:
        raise NotMet(repr(program.printed), f"{EXERCISE_URL}&user=42")


URL_TOOLS = Script(
    "url_tools.py",
    "url",
    [
        "Given the URL https://example.org/products/view?id=123&sort=asc, write a function that",
        "extracts the id and sort parameters,",
        "modifies the URL to add a new parameter: user=42,",
        "and returns the modified URL.",
    ],
    [
        exercise("returns the URL with user=42", "Returns the modified URL.", modifies_the_url),
        exercise("extracts id and sort", "Extracts the id and sort parameters.",
                 extracts_parameters),
        robust("works as our command (--set)", "It prints the URL alone.", set_one),
        robust("leaves every other byte as it is", "%41 stays %41, and a fragment stays last.",
               keeps_the_rest),
        has_help,
    ],
    imports=("urllib.parse",),
    arguments=('"url", nargs="?", default="https://example.org/products/view?id=123&sort=asc"',),
    essential=1,
)  # fmt: skip

# Fetch page


def page(origin: str, header: str) -> bytes:
    content = {"args": {}, "headers": {"Host": "httpbin.org", "X-Amzn": header}, "origin": origin,
               "url": "https://httpbin.org/get"}  # fmt: skip
    return json.dumps(content, indent=2).encode()


def fetched(trial: Trial) -> tuple[str, str, Program]:
    """Run it with a URL, and else let its own URL, https://httpbin.org/get, be ours."""
    origin, header = ".".join(str(random.randint(11, 250)) for _ in range(4)), word(12)
    pages = {"/get": (200, "application/json", page(origin, header))}
    server, secure = web(trial, pages), web(trial, pages, tls=True)
    environment = {
        "EXERCISE_CONNECT": f"443={secure.server_port} 80={server.server_port}",
        "SSL_CERT_FILE": str(CERTIFICATE),
    }
    for args in ([f"{server.url}/get"], []):
        program = trial.launch(args, stdin="", environment=environment)
        program.wait_for(lambda p=program: origin in p.printed and header in p.printed, START)  # type: ignore[misc]
        program.wait(SHORT)
        if server.asked or secure.asked:
            break
    return origin, header, program


def prints_origin(trial: Trial) -> None:
    origin, _, program = fetched(trial)
    if origin not in program.printed:
        raise NotMet(f"the output is {program.printed!r}", f"the origin: {origin}")


def prints_headers(trial: Trial) -> None:
    _, header, program = fetched(trial)
    if header not in program.printed:
        raise NotMet(f"the output is {program.printed!r}", f"the headers, with {header}")


def parses_json(trial: Trial) -> None:
    """The page as it came is not what was asked."""
    _, _, program = fetched(trial)
    if '"args": {}' in program.printed or "'args': {}" in program.printed:
        raise NotMet("it prints all of the page", 'the fields "origin" and "headers"')


def friendly_error(trial: Trial) -> None:
    environment = {"EXERCISE_CONNECT": f"*={free_port()}"}
    for args in ([], [f"http://127.0.0.1:{free_port()}/get"]):
        program = trial.launch(args, stdin="", environment=environment)
        program.wait(trial.at_most(START))
        text = program.output
        if program.ended() and "Traceback" not in text and text.strip():
            return
    raise NotMet("a traceback" if "Traceback" in text else "nothing is said", "a friendly error")


FETCH_PAGE = Script(
    "fetch_page.py",
    "fetch",
    [
        "Use urllib.request to fetch https://httpbin.org/get.",
        "Parse the response as JSON (hint: use json.loads).",
        'Print out the "origin" (IP address) and "headers" fields.',
    ],
    [
        exercise("prints the origin", 'Print out the "origin" (IP address).', prints_origin),
        exercise("prints the headers", 'Print out the "headers" fields.', prints_headers),
        exercise("prints the fields, not the page", "Parse the response as JSON.", parses_json),
        nobody("http://127.0.0.1:PORT/get"),
        has_help,
        extra("says so if the network is unavailable",
              "Handle exceptions and print a friendly error.", friendly_error),
    ],
    imports=("json", "urllib.request"),
    arguments=('"url", nargs="?", default="https://httpbin.org/get"',),
    essential=1,
)  # fmt: skip

# URL report

KINDS = ("application/octet-stream", "image/png", "application/zip", "audio/mpeg")
DELAY = 0.35  # seconds until the server answers


class Report:
    """What a report about a page of 2,500 random bytes should hold."""

    def __init__(self, trial: Trial, delay: float = 0.0) -> None:
        self.content = random.randbytes(2500)
        self.kind = random.choice(KINDS)
        pages = {f"/{word()}": (200, self.kind, self.content)}
        self.server = web(trial, pages, delay)
        started = time.monotonic()
        self.program = trial.launch([self.server.url + next(iter(pages))], stdin="")
        self.program.wait(trial.at_most(START))
        self.seconds = time.monotonic() - started
        files = new_files(self.program)
        for name, data in list(files.items())[:2]:
            trial.evidence.add("written", f"{name}: {shortened(data)}")
        if not files:
            trial.evidence.add("written", "no file has appeared")
        self.text = b"\n".join(files.values()).decode("utf-8", "replace")
        self.bare = re.sub(r"\b[0-9a-fA-F]{32}\b|https?://\S+", " ", self.text)
        size = [self.content[at : at + 1000] for at in range(0, 2500, 1000)]
        self.digests = [hashlib.md5(one).hexdigest() for one in size]


def needs_a_file(report: Report) -> None:
    if not report.server.asked:
        raise NotMet("it does not ask for the page", "GET")
    if not report.text.strip():
        raise NotMet("nothing is written into a file", "a report in a file")


def reports_status(trial: Trial) -> None:
    report = Report(trial)
    needs_a_file(report)
    if not number_in(200, report.bare):
        raise NotMet("the status is not in the file", "200")


def reports_size(trial: Trial) -> None:
    report = Report(trial)
    if not number_in(2500, report.bare):
        raise NotMet("the size is not in the file", "2500")


def reports_type(trial: Trial) -> None:
    report = Report(trial)
    if report.kind not in report.text:
        raise NotMet("the type is not in the file", report.kind)


def reports_md5(trial: Trial) -> None:
    report = Report(trial)
    found = [digest in report.text.lower() for digest in report.digests]
    if not all(found):
        whole = hashlib.md5(report.content).hexdigest() in report.text.lower()
        cause = (
            "it is the MD5 of the whole page"
            if whole
            else (
                "the last fragment, of 500 bytes, is missing"
                if found == [True, True, False]
                else ""
            )
        )
        raise NotMet(f"{sum(found)} of the 3 MD5 are in the file", " ".join(report.digests), cause)


def reports_time(trial: Trial) -> None:
    report = Report(trial, DELAY)
    text = report.bare.replace(report.kind, " ")
    for number in re.findall(r"(?<![\d.])\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", text):
        value = float(number)
        sizes = (200, 500, 1000, 2500)  # which are no times
        milli = 1000 * DELAY * 0.9 <= value <= 1000 * report.seconds and value not in sizes
        micro = 1e6 * DELAY * 0.9 <= value <= 1e6 * report.seconds
        whole = number.isdigit()  # such as the number of a fragment
        if (DELAY * 0.9 <= value <= max(report.seconds, 1.0) and not whole) or milli or micro:
            return
    if re.search(r"0:00:0\d\.\d+", text):
        return
    raise NotMet("no number in the file is near the time",
                 f"{DELAY} to {report.seconds:.2f} seconds")  # fmt: skip


def reports_an_error(trial: Trial) -> None:
    server = web(trial, {})
    program = trial.launch([f"{server.url}/none", "--output", "r"], stdin="")
    program.wait(trial.at_most(START))
    if b"404" not in new_files(program).get("r", b""):
        raise NotMet("404 is not in the report", "a report of the status")


def to_the_file(trial: Trial) -> None:
    server = web(trial, {"/notes.txt": (200, "text/plain", b"Hello")})
    program = trial.launch([f"{server.url}/notes.txt", "--output", "r"], stdin="")
    program.wait(trial.at_most(START))
    if b"8b1a9953c4611296a827abf8c47804d7" not in new_files(program).get("r", b""):
        raise NotMet("the MD5 is not in the file r", "8b1a9953c4611296a827abf8c47804d7")


URL_REPORT = Script(
    "url_report.py",
    "report",
    [
        "Write a script that receives a URL from the command line (as argument) and writes the",
        "following information into a file: response status, response size, response type (if",
        "known), md5 hash for each fragment of maximum 1000 bytes of response and server response",
        "time.",
    ],
    [
        exercise("writes the status", "response status", reports_status),
        exercise("writes the size", "response size", reports_size),
        exercise("writes the type", "response type (if known)", reports_type),
        exercise("writes an MD5 per 1000 bytes",
                 "md5 hash for each fragment of maximum 1000 bytes", reports_md5),
        exercise("writes the response time", "server response time", reports_time),
        robust("writes into the file of --output", "The MD5 of each 1000 bytes.", to_the_file),
        robust("reports a status 404", "A reply like any other.", reports_an_error),
        nobody("http://127.0.0.1:PORT/"),
        has_help,
    ],
    imports=("hashlib", "urllib.request"),
    arguments=('"url"',),
    essential=1,
)  # fmt: skip

# Images


def picture(kind: str) -> bytes:
    start = {"png": b"\x89PNG\r\n\x1a\n", "gif": b"GIF89a", "jpg": b"\xff\xd8\xff\xe0"}[kind]
    return start + random.randbytes(random.randint(3000, 9000))


def gallery(trial: Trial) -> tuple[dict[str, bytes], WebServer, str]:
    """A page with three images: beside it, from the root, and with a whole URL."""
    names = [f"{word()}.{kind}" for kind in ("png", "gif", "jpg")]
    images = [picture(kind) for kind in ("png", "gif", "jpg")]
    folder = f"/{word()}"
    paths = [f"{folder}/{names[0]}", f"/img/{names[1]}", f"{folder}/more/{names[2]}"]
    kinds = ("image/png", "image/gif", "image/jpeg")
    pages: dict[str, Page] = {
        path: (200, kind, image) for path, kind, image in zip(paths, kinds, images, strict=True)
    }
    server = web(trial, pages)
    html = (
        f'<html><head><title>x</title></head><body>\n<h1>Images</h1>\n<p><img src="{names[0]}">'
        f' and <img alt="two" src="{paths[1]}" width="10">\n'
        f'<img src="{server.url}{paths[2]}"></p>\n<a href="{names[0]}x">no image</a></body></html>'
    ).encode()
    pages[f"{folder}/index.html"] = (200, "text/html; charset=utf-8", html)
    server.pages = pages
    return dict(zip(names, images, strict=True)), server, f"{server.url}{folder}/index.html"


def downloaded(trial: Trial) -> tuple[dict[str, bytes], dict[str, bytes], WebServer]:
    images, server, url = gallery(trial)
    program = trial.launch([url], stdin="")
    program.wait(trial.at_most(START))
    files = new_files(program)
    for name, data in files.items():
        trial.evidence.add("written", f"{name}: {len(data)} bytes")
    if not server.asked:
        raise NotMet("it does not ask for the page", "GET")
    return images, files, server


def downloads_one(trial: Trial) -> None:
    images, files, _ = downloaded(trial)
    if not any(data in files.values() for data in images.values()):
        raise NotMet("no image is in the current folder", ", ".join(images))


def downloads_all(trial: Trial) -> None:
    images, files, server = downloaded(trial)
    missing = [name for name, data in images.items() if data not in files.values()]
    if missing:
        asked = [path for path in server.asked if path.endswith(missing[0])]
        cause = ""
        for name in missing:
            held = next((data for file, data in files.items() if file.endswith(name)), None)
            if held is not None and images[name].startswith(held):
                cause = f"{name} is cut at {len(held)} of {len(images[name])} bytes"
        raise NotMet(f"not there: {', '.join(missing)}"
                     + ("" if asked else f" (nobody asked for {missing[0]})"),
                     "every image of the page, byte for byte", cause)  # fmt: skip


def odd_html(trial: Trial) -> None:
    image = picture("gif")
    pages = {"/dot.gif": (200, "image/gif", image),
             "/page.html": (200, "text/html", b"<IMG alt='a > b' SRC=dot.gif>")}  # fmt: skip
    server = web(trial, pages)
    program = trial.launch([f"{server.url}/page.html"], stdin="")
    program.wait(trial.at_most(START))
    if new_files(program).get("dot.gif") != image or program.process.returncode != 0:
        raise NotMet("dot.gif is not there, or not the same", "the image, and status 0")


def same_names(trial: Trial) -> None:
    one, two = picture("gif"), picture("gif")
    pages = {"/a/dot.gif": (200, "image/gif", one), "/b/dot.gif": (200, "image/gif", two),
             "/": (200, "text/html", b'<img src="/a/dot.gif"><img src="/b/dot.gif">')}  # fmt: skip
    server = web(trial, pages)
    program = trial.launch([f"{server.url}/"], stdin="")
    program.wait(trial.at_most(START))
    files = list(new_files(program).values())
    if one not in files or two not in files:
        raise NotMet("one of two images of the same name is lost", "both")


def stays_in_folder(trial: Trial) -> None:
    image = picture("gif")
    pages = {"/..%2fevil.gif": (200, "image/gif", image),
             "/": (200, "text/html", b'<img src="/..%2fevil.gif">')}  # fmt: skip
    server = web(trial, pages)
    program = trial.launch([f"{server.url}/"], stdin="")
    program.wait(trial.at_most(START))
    if (program.folder.parent / "evil.gif").exists():
        (program.folder.parent / "evil.gif").unlink()
        raise NotMet("an image is written outside of the folder", "a file in the folder",
                     "a file outside of the folder is written")  # fmt: skip


DOWNLOAD_IMAGES = Script(
    "download_images.py",
    "images",
    [
        "Write a script that receives a URL from the command line (as an argument) and",
        "downloads all images (img src) to the current directory.",
    ],
    [
        exercise("downloads an image", "Downloads images (img src) to the current directory.",
                 downloads_one),
        exercise("downloads all images, byte for byte", "Downloads all images.", downloads_all),
        robust("reads HTML as browsers do", "Quotes or none, capitals, a > in an attribute.",
               odd_html),
        robust("keeps two images of the same name", "No file is overwritten.", same_names),
        robust("writes nothing outside of the folder", "`..%2f` in a URL.", stays_in_folder),
        nobody("http://127.0.0.1:PORT/"),
        has_help,
    ],
    imports=("urllib.request",),
    arguments=('"url"',),
    essential=1,
)  # fmt: skip

# HTTP server


def get(trial: Trial, server: Server, path: str) -> tuple[int, bytes]:
    """Ask for a page as urllib does."""
    host = server.address[0]
    url = f"http://{f'[{host}]' if ':' in host else host}:{server.port}{path}"
    trial.evidence.add("sent", f"GET {path}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=trial.at_most(ANSWER)) as reply:
            data = bytes(reply.read())
            trial.evidence.add("received", f"{reply.status} {shortened(data)}")
            return int(reply.status), data
    except urllib.error.HTTPError as error:
        trial.evidence.add("received", f"{error.code} {error.reason}")
        error.close()
        return error.code, b""
    except OSError as error:
        trial.evidence.add("received", f"{type(error).__name__}: {error}")
        raise NotMet(f"no answer: {error}", "a reply") from None
    except Exception as error:
        raise NotMet(f"no HTTP: {type(error).__name__}: {error}", "a reply") from None


def planted(trial: Trial) -> tuple[Server, dict[str, bytes]]:
    files = {f"{word()}.txt": f"Hello {word()}".encode(), f"{word()}.bin": random.randbytes(20_000),
             f"{word()}/{word()}.txt": f"Hello {word()}".encode()}  # fmt: skip
    server = trial.serve(files=files)
    return server, files


def plants(trial: Trial) -> None:
    planted(trial)


def answers_http(trial: Trial) -> None:
    server, _ = planted(trial)
    status, _ = get(trial, server, "/")
    if status != 200:
        raise NotMet(f"status {status} to GET /", "200")


def lists_files(trial: Trial) -> None:
    server, files = planted(trial)
    _, listing = get(trial, server, "/")
    names = [name.partition("/")[0] for name in files]
    missing = [name for name in names if name.encode() not in listing]
    if missing:
        raise NotMet(f"the listing does not hold {', '.join(missing)}",
                     "the files and directories of the current directory")  # fmt: skip


def serves_files(trial: Trial) -> None:
    server, files = planted(trial)
    for name, data in files.items():
        status, got = get(trial, server, f"/{name}")
        if got != data:
            raise NotMet(f"status {status}, {len(got)} bytes of /{name}", f"{len(data)} bytes")


def stays_inside(trial: Trial) -> None:
    """A link out of the folder that is shown, and ways out that no browser would send."""
    server = trial.serve()
    secret = f"not-for-everybody-{word()}".encode()
    outside = server.folder.parent / "outside.txt"
    outside.write_bytes(secret)
    with suppress(OSError):  # Windows wants a privilege for it
        (server.folder / "link.txt").symlink_to(outside)
    for path in ("/../outside.txt", "/%2e%2e/outside.txt", "/..%2foutside.txt", f"/{outside}",
                 "/link.txt"):  # fmt: skip
        with trial.connect(server) as client:
            client.send(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            if secret in client.rest(trial.at_most(ANSWER)):
                raise NotMet(f"GET {path} shows {secret!r}", "a refusal",
                             "a file from outside of the folder is shown")  # fmt: skip


def not_found(trial: Trial) -> None:
    server = trial.serve()
    status, _ = get(trial, server, f"/{word()}")
    if status != 404:
        raise NotMet(f"status {status}", "404")


def stops(trial: Trial) -> None:
    server = trial.serve()
    client = trial.connect(server)
    client.send(b"GET")
    client.pull(0.05)
    trial.evidence.add("pressed", "Ctrl-C")
    server.program.interrupt()
    ended_well(trial, server.program)


def silent(trial: Trial) -> None:
    server = trial.serve()
    with trial.connect(server, "silent"):
        get(trial, server, "/")


HTTP_SERVER = Script(
    "http_server.py",
    "http",
    [
        "Start a server to expose the files and directories in the current directory.",
        "Access that server from a browser, and then using a python HTTP client.",
    ],
    [
        exercise("listens", "Start a server.", plants),
        exercise("answers GET /", "Access that server from a browser.", answers_http),
        exercise("shows files and directories",
                 "Expose the files and directories in the current directory.", lists_files),
        exercise("hands out each file", "Expose the files.", serves_files),
        robust("shows nothing outside of its folder", "`..`, `%2e%2e`, a link.", stays_inside),
        robust("answers 404 to what is not there", "RFC 9110.", not_found),
        robust("serves others beside a silent client", "One client must not hold up all others.",
               silent),
        robust("announces its address", "The first line on stdout tells where it listens.",
               announces),
        robust("stops on Ctrl-C", "With status 0, without a traceback.", stops),
        has_help,
    ],
    imports=("http.server",),
    port=8000,
)  # fmt: skip

# The .txt files of a listing


def listing(trial: Trial, html: str = "") -> tuple[list[str], list[str], WebServer]:
    """A listing as `python -m http.server` writes it."""
    texts = [f"{word()}.txt", f"{word()}-{word()}.txt", f"{word()}.{word()}.txt"]
    others = [f"{word()}.html", f"{word()}.txt.bak", f"{word()}txt", f"{word()}/", f"{word()}.py"]
    names = sorted([*texts, *others])
    items = "\n".join(f'<li><a href="{name}">{name}</a></li>' for name in names)
    content = html or (
        '<!DOCTYPE HTML>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<title>Directory listing for /</title>\n</head>\n<body>\n"
        f"<h1>Directory listing for /</h1>\n<hr>\n<ul>\n{items}\n</ul>\n<hr>\n</body>\n</html>\n"
    )
    pages = {"/": (200, "text/html; charset=utf-8", content.encode())}
    return texts, others, web(trial, pages)


def listed(trial: Trial) -> tuple[list[str], list[str], WebServer, Program]:
    texts, others, server = listing(trial)
    environment = {"EXERCISE_CONNECT": f"*={server.server_port}"}
    port = str(server.server_port)
    for args, typed in ([f"{server.url}/"], ""), ([], f"{server.url}/\n"), (
            ["--port", port], ""), (["127.0.0.1", port], ""), ([], f"127.0.0.1\n{port}\n"):  # fmt: skip
        program = trial.launch(args, stdin=typed, environment=environment)
        program.wait(trial.at_most(START))
        if "/" in server.asked:
            break
    return texts, others, server, program


def without_colors(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def lists_text_files(trial: Trial) -> None:
    texts, _, server, program = listed(trial)
    if not server.asked:
        raise NotMet("it does not ask the server", "GET /")
    missing = [name for name in texts if not re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.])",
                                                       without_colors(program.printed))]  # fmt: skip
    if missing:
        raise NotMet(f"not in the output: {', '.join(missing)}", "the .txt file names")


def lists_no_other(trial: Trial) -> None:
    _, others, _, program = listed(trial)
    wrong = [name for name in others if name.rstrip("/") in program.printed]
    if wrong:
        raise NotMet(f"in the output: {', '.join(wrong)}", "the .txt file names, and no other")
    if "<" in program.printed or "href" in program.printed:
        raise NotMet("there is HTML in the output", "the names")


def odd_names(trial: Trial) -> None:
    html = '<a HREF="a%20b.txt">a b..&gt;</a><a href=\'./c.TXT?x\'>c</a><a href="/up/d.txt">d</a>'
    _, _, server = listing(trial, html)
    program = trial.launch([f"{server.url}/"], stdin="")
    program.wait(trial.at_most(START))
    if "a b.txt" not in program.printed or "c.TXT" not in program.printed:
        raise NotMet(repr(program.printed), "'a b.txt' and 'c.TXT': where the links lead")


LIST_TEXT_FILES = Script(
    "list_text_files.py",
    "list",
    [
        "Once the server of http_server.py is started, extract the .txt file names",
        "and write to the console.",
    ],
    [
        exercise("writes the .txt file names", "Extract the .txt file names.", lists_text_files),
        exercise("writes no other name", "The .txt file names.", lists_no_other),
        robust("goes by where links lead", "Encoded names, capitals, other quotes.", odd_names),
        nobody("http://127.0.0.1:PORT/"),
        has_help,
    ],
    imports=("urllib.request",),
    arguments=('"url", nargs="?", default="http://localhost:8000/"',),
    essential=1,
)  # fmt: skip
