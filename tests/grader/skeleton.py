"""Writes a skeleton of each exercise: what is asked, and an empty main()."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from .exercises import SCRIPTS
from .requirement import Script

TEXT = '''"""{title}.

{asks}
"""

{imports}


def main():
{arguments}    raise SystemExit("{name}: not written yet")  # TODO: the exercise


if __name__ == "__main__":
    main()
'''


def skeleton(script: Script) -> str:
    """Return the skeleton of one script."""
    arguments = list(script.arguments)
    if script.port and "address" not in arguments:
        arguments.append(f'"--port", type=int, default={script.port}')
    lines = ["    parser = argparse.ArgumentParser()"]
    lines += [f"    parser.add_argument({one})" for one in arguments]
    lines += ["    args = parser.parse_args()", ""]
    imports = sorted({*script.imports, *(["argparse"] if arguments else [])})
    return TEXT.format(
        title=script.name.removesuffix(".py").replace("_", " ").capitalize(),
        asks="\n".join(f"- {one}" for one in script.asks),
        imports="\n".join(f"import {one}" for one in imports),
        arguments="\n".join(lines) if arguments else "",
        name=script.name,
    )


def write(folder: Path, scripts: Sequence[str]) -> Iterator[Path]:
    """Write skeletons into `folder`, and yield their paths; a file that is there is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in scripts:
        target = folder / name
        if not target.exists() and SCRIPTS[name].asks:
            target.write_text(skeleton(SCRIPTS[name]), encoding="utf-8")
            yield target
