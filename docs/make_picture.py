"""Draws docs/session.svg: two terminals, with what echo_server.py and echo_client.py really print.

python3 docs/make_picture.py [FILE]
"""

from __future__ import annotations

import html
import re
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "session.svg"
PORT = 9000
TIMEOUT = 20  # seconds

CHARACTER, LINE = 7.25, 19  # pixels: the width of a character, the height of a line
BAR, PADDING, GAP = 30, 14, 14  # pixels: the title bar, the margin of the text, between windows

STYLE = """
text { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace }
text { fill: #e6edf3; white-space: pre }
.title { fill: #9198a1; text-anchor: middle }
.time { fill: #7d8590 }
.prompt { fill: #3fb950 }
.command { fill: #ffffff; font-weight: 600 }
.window { fill: #0d1117; stroke: #3d444d }
.bar { fill: #21262d }
"""


def run_session(port: int = PORT) -> tuple[list[str], list[str]]:
    """Run server and client; return what both terminals show, as if `port` were the usual one."""
    options = ["--port", str(port)]
    with subprocess.Popen(
        [sys.executable, str(ROOT / "echo_server.py"), *options],
        bufsize=0,  # or readline() would read ahead, and communicate() not see what it read
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
    ) as server:
        try:
            assert server.stdout
            first = server.stdout.readline()
            client = subprocess.run(
                [sys.executable, str(ROOT / "echo_client.py"), *options],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=True,
                timeout=TIMEOUT,
            )
            server.send_signal(signal.SIGINT)
            rest, _ = server.communicate(timeout=TIMEOUT)
        finally:
            server.kill()
    lines = (first + rest).decode().replace(f"localhost:{port}", f"localhost:{PORT}").splitlines()
    lines.insert(-1, "^C")  # a terminal shows it, a pipe does not
    return (
        ["$ python3 echo_server.py", *lines],
        ["$ python3 echo_client.py", *client.stdout.splitlines(), "$ "],
    )


def draw_line(line: str) -> str:
    """Return a line of a terminal as SVG text, with its parts in colour."""
    if line.startswith("$ "):
        command = html.escape(line[2:])
        return f'<tspan class="prompt">$</tspan> <tspan class="command">{command}</tspan>'
    stamp = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", line)
    if stamp:
        rest = html.escape(line[stamp.end() :], quote=False)
        return f'<tspan class="time">{stamp[0]}</tspan>{rest}'
    return html.escape(line, quote=False)


def draw_window(title: str, lines: list[str], left: float, width: float, height: float) -> str:
    """Return one terminal as SVG."""
    top = f"M1 {BAR} v-21 a8 8 0 0 1 8 -8 h{width - 17:.0f} a8 8 0 0 1 8 8 v21 z"
    shapes = [
        f'<rect class="window" x="0.5" y="0.5" width="{width:.0f}" height="{height}" rx="8"/>',
        f'<path class="bar" d="{top}"/>',
        *(
            f'<circle cx="{18 + 18 * number}" cy="{BAR / 2:.0f}" r="5.5" fill="{colour}"/>'
            for number, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
        ),
        f'<text class="title" x="{width / 2 + 27:.0f}" y="{BAR / 2 + 4:.0f}">{title}</text>',
    ]
    for number, line in enumerate(lines, 1):
        y = BAR + PADDING + LINE * number - 6
        shapes.append(f'<text x="{PADDING}" y="{y}">{draw_line(line)}</text>')
    return "\n".join([f'<g transform="translate({left:.0f})">', *shapes, "</g>"])


def draw(server: list[str], client: list[str]) -> str:
    """Return the picture as SVG."""
    first, second = (max(map(len, lines)) * CHARACTER + 2 * PADDING for lines in (server, client))
    height = BAR + 2 * PADDING + max(len(server), len(client)) * LINE - 6
    size = f'viewBox="0 0 {first + GAP + second + 1:.0f} {height + 1}"'
    return f"""<svg xmlns="http://www.w3.org/2000/svg" {size}>
<style>{STYLE}</style>
{draw_window("one terminal", server, 0, first, height)}
{draw_window("another", client, first + GAP, second, height)}
</svg>
"""


def main() -> int:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    path.write_text(draw(*run_session()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
