"""What the benchmark writes: docs/benchmarks.md, docs/speed.svg, and the README's table."""

from __future__ import annotations

import html
import math
import os
import platform
import re
import statistics
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
README, PAGE, CHART = (
    ROOT / name for name in ("README.md", "docs/benchmarks.md", "docs/speed.svg")
)
BEGIN, END = "<!-- bench: begin -->\n", "<!-- bench: end -->\n"


class Row(NamedTuple):
    """One comparison. `ratio` is None where the peer is missing."""

    name: str
    unit: str
    peer: str
    ratio: float | None
    ours: list[float]
    theirs: list[float]


HIGHLIGHTS = [  # what stands in the README: rows that matter, the lost ones included
    ("echo, 50 connections", "socketserver", "Echo, 50 clients"),
    ("echo, 50 connections", "C, epoll", "Echo, 50 clients"),
    ("chat, 200 listeners", "miniircd", "Chat, 200 listeners"),
    ("udp, 64 bytes", "naive loop", "UDP logger, no loss"),
    ("images, 200", "curl, given the list", "Download 200 images"),
    ("http, 1000 bytes, 10 connections", "python -m http.server", "Web server, 1 kB"),
    ("http, 1000 bytes, 10 connections", "nginx", "Web server, 1 kB"),
    ("mail, 1 kB, 10 sessions", "aiosmtpd, Maildir", "Mail server, 1 kB"),
]
PEERS = {
    "nginx": "nginx",
    "miniircd": "miniircd",
    "C, epoll": "a server in C (epoll)",
    "naive loop": "ten lines of Python",
}
PEERS |= {"curl, given the list": "curl", "aiosmtpd, Maildir": "aiosmtpd"}

INTRODUCTION = """\
# Benchmarks

<!-- Written by `python tests/bench.py --markdown`: change that, not this. -->

{about}

Our script and its peers take turns in each round, so that a noisy machine disturbs all alike. The
ratio is the median of the ratios of the rounds; over 1, ours is better. Next to it are the minimum,
median and maximum of both. "Missing here" means that the peer was not installed.

"""

NOTES = """
Some of it needs a word:

- Over one connection, waking up costs more than any server does: all are close to each other.
- An asyncio `Protocol` is one thread that never waits for another: as an echo, level or ahead.
- Looking for commands costs the echo server some of its speed in bulk; `--raw` saves that.
- nginx is written in C, and answers small requests many times as fast as any Python.
- A mail server that waits for the disk is as fast as the disk. `smtp-sink` does not wait. The rows
  in memory show what the disk costs.
- What writes a gigabyte to the disk varies most from run to run.
"""


def describe_machine() -> str:
    """Return where and with what the benchmark runs now."""
    system = f"{platform.system()} {re.sub('-.*', '', platform.release())}"
    cores = os.cpu_count() or 1
    python = ".".join(map(str, sys.version_info[:2]))
    return f"{date.today()}, Python {python}, {system}, {platform.machine()}, {cores} cores"


def format_table(rows: Sequence[Row]) -> list[str]:
    """Return all rows as a Markdown table."""
    lines = ["| what | peer | ratio | ours: min / median / max | peer: min / median / max | unit |"]
    return [*lines, "|---|---|--:|--:|--:|---|", *map(format_row, rows)]


def format_row(row: Row) -> str:
    """Return one line of that table."""
    verdict = "missing here" if row.ratio is None else f"**{row.ratio:.2f}**"
    words = [
        row.name,
        row.peer,
        verdict,
        format_range(row.ours),
        format_range(row.theirs),
        row.unit,
    ]
    return f"| {' | '.join(words)} |"


def format_range(values: Sequence[float]) -> str:
    """Return minimum, median and maximum."""
    three = (min(values), statistics.median(values), max(values)) if values else ()
    return " / ".join(map(format_number, three))


def format_number(value: float) -> str:
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def highlights(rows: Sequence[Row]) -> list[tuple[str, Row, float]]:
    """Return the README's rows that were measured: words, row and ratio."""
    found = {(row.name, row.peer): row for row in rows}
    chosen = []
    for name, peer, words in HIGHLIGHTS:
        row = found.get((name, peer))
        if row and row.ratio is not None:
            chosen.append((words, row, row.ratio))
    return chosen


def format_highlights(rows: Sequence[Row], about: str) -> str:
    """Return the README's section: chart and short table."""
    lines = [
        "`python tests/bench.py` compares the scripts with what people use instead; some of it we",
        f"win, some we lose. [All rows](docs/benchmarks.md). {about}",
        "",
        "![The table below as a chart](docs/speed.svg)",
        "",
        "| | beside | ours | theirs | per second | ratio |",
        "|---|---|--:|--:|---|--:|",
    ]
    for words, row, ratio in highlights(rows):
        ours, theirs = (
            format_number(statistics.median(values)) for values in (row.ours, row.theirs)
        )
        unit = {
            "1/s": {"udp": "datagrams", "ima": "images", "mai": "messages"}.get(row.name[:3], "")
        }
        noun = unit.get(row.unit) or row.unit.removesuffix("/s")
        peer = PEERS.get(row.peer, f"`{row.peer}`")
        lines.append(f"| {words} | {peer} | {ours} | {theirs} | {noun} | **{ratio:.2f}** |")
    return "\n".join([*lines, ""])


LABELS, UNIT, STEP = 330, 90, 26  # pixels: the text on the left, a factor of 2, a row
CHART_STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
.label { text-anchor: end }
.soft { fill: #59636e; font-size: 12px }
.line { stroke: #818b98 }
.won { fill: #1f77d0 }
.lost { fill: #d9822b }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .soft { fill: #9198a1 }
}
"""


def draw_chart(rows: Sequence[Row]) -> str:
    """Return the README's rows as SVG: a bar for each ratio, on a scale of powers of 2."""
    chosen = highlights(rows)
    steps = [math.log2(ratio) for _, _, ratio in chosen] or [0.0]
    scale = min(1.0, 5.2 / (max(0.0, *steps) - min(0.0, *steps) or 1)) * UNIT
    zero = LABELS + 60 - scale * min(0.0, *steps)
    width, height = zero + scale * max(0.0, *steps) + 70, STEP * len(chosen) + 34
    shapes = []
    for number, ((words, row, ratio), step) in enumerate(zip(chosen, steps, strict=True)):
        y = 8 + STEP * number
        left, length = min(zero, zero + scale * step), max(abs(scale * step), 1)
        peer = html.escape(PEERS.get(row.peer, row.peer))
        label = f'{html.escape(words)} <tspan class="soft">beside {peer}</tspan>'
        kind = "won" if ratio >= 1 else "lost"
        size = f'x="{left:.0f}" y="{y}" width="{length:.0f}" height="{STEP - 8}" rx="3"'
        side, anchor = (left + length + 6, "start") if ratio >= 1 else (left - 6, "end")
        shapes += [
            f'<text class="label" x="{LABELS}" y="{y + 14}">{label}</text>',
            f'<rect class="{kind}" {size}/>',
            f'<text x="{side:.0f}" y="{y + 14}" text-anchor="{anchor}">{ratio:.2f}</text>',
        ]
    bottom = height - 26
    shapes += [
        f'<path class="line" d="M{zero:.0f} 2 V{bottom}"/>',
        f'<text class="soft" x="{zero - 8:.0f}" y="{bottom + 18}" text-anchor="end">'
        "the other is faster</text>",
        f'<text class="soft" x="{zero + 8:.0f}" y="{bottom + 18}">ours is faster</text>',
    ]
    size = f'viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
            f"<style>{CHART_STYLE}</style>",
            *shapes,
            "</svg>\n",
        ]
    )


def write_pages(rows: Sequence[Row], about: str) -> None:
    """Write the page, the chart, and the part of the README between its two comments."""
    table = "\n".join(format_table(rows))
    PAGE.write_text(INTRODUCTION.format(about=about) + table + "\n" + NOTES, encoding="utf-8")
    CHART.write_text(draw_chart(rows), encoding="utf-8")
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    section = format_highlights(rows, about)
    README.write_text(before + BEGIN + section + END + after, encoding="utf-8")
