"""Writes a skeleton of each exercise: its protocol and its functions, with nothing in them yet."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT

MAIN = """def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
{options}    parser.parse_known_args(argv)
    # TODO: everything
    print("{name}: error: not written yet", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
"""
ADDRESS = """    parser.add_argument("--host", default="{host}")
    parser.add_argument("--port", type=int, default={port})
"""


def shared() -> set[str]:
    """Return the names of the functions that stand in several scripts: the plumbing."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in ROOT.glob("*.py")]
    count = Counter(
        node.name for tree in trees for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    )
    return {name for name, times in count.items() if times > 1} - {"converse", "serve"}


def functions(tree: ast.Module, source: str, plumbing: set[str]) -> Iterator[str]:
    """Yield the functions of a script with their signatures and docstrings, and nothing else."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name not in {*plumbing, "main"}:
            signature = (ast.get_source_segment(source, node) or "").split('"""')[0].rstrip().partition("\n    #")[0]
            text = ast.get_docstring(node, clean=False)
            if text:
                yield f'{signature}\n    """{text}"""\n    raise NotImplementedError  # TODO\n'


def skeleton(path: Path, plumbing: set[str]) -> str:
    """Return the skeleton of one script."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    address = re.search(r'^HOST, PORT = "(.+)", ([0-9]+)$', source, re.MULTILINE)
    options = ADDRESS.format(host=address[1], port=address[2]) if address else ""
    text = source[: source.index('"""', 3) + 3]
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    lines = [
        ast.get_source_segment(source, node) or "" for node in imports if ast.unparse(node)[:15] != "from __future__"
    ]
    aliases = ["", "Address = tuple[Any, ...]"] if "\nAddress = " in source else []
    head = "\n".join(["from __future__ import annotations", "", *lines, *aliases])
    parts = [f"{text}\n\n{head}\n", *functions(tree, source, plumbing), MAIN.format(name=path.name, options=options)]
    return "\n\n".join(parts)


def write(folder: Path) -> Iterator[Path]:
    """Write all skeletons into `folder`, and yield their paths; a file that is there is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    plumbing = shared()
    for path in sorted(ROOT.glob("*.py")):
        target = folder / path.name
        if not target.exists():
            target.write_text(skeleton(path, plumbing), encoding="utf-8")
            yield target
