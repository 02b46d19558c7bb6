from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, Server, command, scripted

VALUES = {
    "name": "Ada",
    "born": 1815,
    "none": None,
    "list": [1, "é"],
    "evil": "\x1b[2J\x9b\u202e",
    "half": "\ud800",
}


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    with Server(ROOT / "json_server.py", "--quiet") as server:
        yield str(server.address[1])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "values.json"
    path.write_text(json.dumps(VALUES), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("key", "printed"),
    [
        ("name", '"Ada"'),
        ("born", "1815"),
        ("none", "null"),
        ("list", '[1, "é"]'),
        ("evil", r'"\u001b[2J\u009b\u202e"'),
    ],
)
def test_prints_the_value_as_json(port: str, file: Path, key: str, printed: str) -> None:
    result = command("json_client.py", "--port", port, str(file), key)
    assert (result.returncode, result.stdout, result.stderr) == (0, printed + "\n", "")


def test_any_value_is_valid_json(port: str, file: Path) -> None:
    for key, value in VALUES.items():
        assert json.loads(command("json_client.py", "--port", port, str(file), key).stdout) == value


def test_long_value(port: str, tmp_path: Path) -> None:
    """More than one recv() can return."""
    value = 200_000 * "x"
    path = tmp_path / "long.json"
    path.write_text(json.dumps({"long": value}), encoding="utf-8")
    result = command("json_client.py", "--port", port, "--raw", str(path), "long")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{value}\n", "")


def test_stdout_that_cannot_tell_it(port: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    result = command("json_client.py", "--port", port, str(file), "list")
    assert (result.returncode, result.stdout) == (0, '[1, "\\u00e9"]\n')


@pytest.mark.parametrize(
    ("key", "printed"), [("name", "Ada"), ("born", "1815"), ("evil", "\x1b[2J\x9b\u202e")]
)
def test_raw_in_a_pipe(port: str, file: Path, key: str, printed: str) -> None:
    result = command("json_client.py", "--port", port, "--raw", str(file), key)
    assert (result.returncode, result.stdout) == (0, printed + "\n")


def test_byte_order_mark(port: str, tmp_path: Path) -> None:
    path = tmp_path / "bom.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert command("json_client.py", "--port", port, str(path), "a").stdout == "1\n"


def test_missing_key(port: str, file: Path) -> None:
    result = command("json_client.py", "--port", port, str(file), "no\x1bne")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "json_client.py: error: no such key: 'no\\x1bne'\n"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"a": 1,\n "b": }', r"holds no JSON object: .* line 2 column 7 .*"),
        (b"[1]", r"holds no JSON object: the top level is not an object"),
        (b"\xff", r"holds no JSON object: .*utf-8.*"),
        (b"", r"holds no JSON object: .* line 1 column 1 .*"),
        (b"[" * 100_000, r"is nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", r"holds no JSON object: [^;]*"),
        (b'{"a": NaN}', r"holds no JSON object: .*"),
        (b'{"a": 1e999}', r"holds no JSON object: .*"),
    ],
    ids=["invalid", "array", "not UTF-8", "empty", "deep", "large", "NaN", "infinite"],
)
def test_bad_file(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    result = command("json_client.py", str(path), "a")
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(rf"json_client\.py: error: \S+bad\.json {complaint}\n", result.stderr)


def test_missing_file(tmp_path: Path) -> None:
    result = command("json_client.py", "none.json", "a", cwd=tmp_path)
    assert result.returncode == 1
    assert (
        result.stderr == "json_client.py: error: cannot read none.json: No such file or directory\n"
    )


def test_refused_by_the_server(file: Path) -> None:
    with scripted(b'{"error": "no\\u001b"}\n') as port:
        result = command(
            "json_client.py", "--host", "127.0.0.1", "--port", str(port), str(file), "name"
        )
    assert (result.returncode, result.stderr) == (1, "json_client.py: error: refused: no\\x1b\n")


@pytest.mark.big
def test_text_is_sent_as_it_is(port: str, tmp_path: Path) -> None:
    """Escaped it would be three times as long, and refused."""
    path = tmp_path / "long.json"
    path.write_text(
        json.dumps({"long": 7_000_000 * "é", "a": 1}, ensure_ascii=False), encoding="utf-8"
    )
    result = command("json_client.py", "--port", port, str(path), "a")
    assert (result.returncode, result.stdout, result.stderr) == (0, "1\n", "")


@pytest.mark.parametrize(
    "reply", ["", "no\x1b\n", "[]\n", "{}\n", '{"found": true}\n', "1\n", "[" * 99999]
)
def test_broken_server(file: Path, reply: Any) -> None:
    with scripted(reply.encode()) as port:
        result = command(
            "json_client.py", "--host", "127.0.0.1", "--port", str(port), str(file), "name"
        )
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(
        r"json_client\.py: error: not an answer of a JSON server: .*\n", result.stderr
    )
    assert result.stderr[:-1].isprintable()
