from __future__ import annotations

import json
import random
from urllib.parse import parse_qsl, quote, urlsplit

import pytest

from conftest import command
from url_tools import EXAMPLE, append_param, get_param, get_params, remove_param, set_param

SCRIPT = "url_tools.py"


@pytest.mark.parametrize(
    ("url", "name", "values"),
    [
        (EXAMPLE, "id", ["123"]),
        ("http://h/?a=1&b=2&a=3", "a", ["1", "3"]),
        ("http://h/?a=&b", "a", [""]),
        ("http://h/?a=&b", "b", [""]),
        ("http://h/?a=1;b=2", "b", []),
        ("http://h/?%61=x+y%2Bz%20%C3%A4", "a", ["x y+z ä"]),
        ("http://h/?a+b=1&a%20b=2", "a b", ["1", "2"]),
        ("http://h/?a=b=c", "a", ["b=c"]),
        ("http://h/#?a=1", "a", []),
        ("http://h/?ä=ö", "ä", ["ö"]),
        ("http://h/?a=%FF&a=%zz", "a", ["\udcff", "%zz"]),
        ("http://h/?", "", []),
        ("http://h/?&&=1", "", ["1"]),
        ("http://h", "a", []),
    ],
)
def test_get(url: str, name: str, values: list[str]) -> None:
    assert get_params(url, name) == values
    assert get_param(url, name) == (values[0] if values else None)


@pytest.mark.parametrize(
    ("url", "name", "value", "result"),
    [
        (EXAMPLE, "user", "42", EXAMPLE + "&user=42"),
        (EXAMPLE, "id", "7", "https://example.org/products/view?id=7&sort=asc"),
        ("http://h/?a=1&b=2&a=3&&a", "a", "x", "http://h/?a=x&b=2&"),
        ("http://h/?b=%7e&%61=1#f?a=2", "a", "x", "http://h/?b=%7e&%61=x#f?a=2"),
        ("http://h", "a", "1", "http://h?a=1"),
        ("http://h/?", "a", "1", "http://h/?a=1"),
        ("http://h/?b&", "a", "1", "http://h/?b&&a=1"),
        ("http://h/#f", "a", "1", "http://h/?a=1#f"),
        ("http://h/?flag", "flag", "", "http://h/?flag="),
        ("http://h/?x=100%2525", "a", "100%25", "http://h/?x=100%2525&a=100%2525"),
        (
            "http://h/?x",
            "n&=",
            "a b+c&d=e#f/ä",
            "http://h/?x&n%26%3D=a%20b%2Bc%26d%3De%23f%2F%C3%A4",
        ),
        ("http://h/?x=%FF", "y", "²", "http://h/?x=%FF&y=%C2%B2"),
        (
            "http://u:p@H:80/%7E;p?B=%20+&s=a;b&&e=#",
            "z",
            "1",
            "http://u:p@H:80/%7E;p?B=%20+&s=a;b&&e=&z=1#",
        ),
    ],
)
def test_set(url: str, name: str, value: str, result: str) -> None:
    assert set_param(url, name, value) == result
    assert get_params(result, name) == [value]


@pytest.mark.parametrize("url", ["http://x/a?b=1&", "http://x/a?b=1&&#f", "http://x/a"])
def test_set_and_remove_leave_nothing(url: str) -> None:
    assert remove_param(set_param(url, "user", "42"), "user") == url


def test_append() -> None:
    assert append_param("http://h/?a=1#f", "a", "2 3") == "http://h/?a=1&a=2%203#f"


@pytest.mark.parametrize(
    ("url", "name", "result"),
    [
        ("http://h/?a=1&b=2&%61=3#f", "a", "http://h/?b=2#f"),
        ("http://h/?a=1#f", "a", "http://h/#f"),
        ("http://h/?a=1&", "a", "http://h/"),
        ("http://h/?a=1&&b", "a", "http://h/?&b"),
        ("http://h/?", "a", "http://h/?"),
        ("http://h/?b=%20+;&", "a", "http://h/?b=%20+;&"),
        ("http://h/?%FF=1&%FE=2", "\udcff", "http://h/?%FE=2"),
    ],
)
def test_remove(url: str, name: str, result: str) -> None:
    assert remove_param(url, name) == result


def test_agrees_with_the_library_on_what_is_meant() -> None:
    """On URLs of all kinds of pieces: the same parameters afterwards, and every other piece as it was."""
    chance = random.Random(6)
    names = ["a", "b", "a b", "ä", "%"]
    for _ in range(2000):
        pieces = []
        for _ in range(chance.randrange(5)):
            name, value = chance.choice(names), chance.choice(["", "1", "x y", "é;", "100%25"])
            pieces.append(f"{quote(name, safe='')}={quote(value, safe=chance.choice(['', ';']))}")
        url = f"http://h/p?{'&'.join(pieces)}#f" if pieces else "http://h/p#f"
        name = chance.choice(names)
        before = parse_qsl(urlsplit(url).query, keep_blank_values=True)
        after = parse_qsl(urlsplit(set_param(url, name, "new&")).query, keep_blank_values=True)
        assert [pair for pair in after if pair[0] != name] == [
            pair for pair in before if pair[0] != name
        ]
        assert [value for key, value in after if key == name] == ["new&"]
        others = [piece for piece in pieces if not piece.startswith(quote(name, safe="") + "=")]
        assert remove_param(url, name) == (
            f"http://h/p?{'&'.join(others)}#f" if others else "http://h/p#f"
        )


def test_example() -> None:
    result = command(SCRIPT)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [EXAMPLE, "123", "asc", EXAMPLE + "&user=42"]


@pytest.mark.parametrize(
    ("args", "out"),
    [
        (["http://h/?a=1&a=2%0A%1b[2J", "--all", "a"], ["1", r"2\n\x1b[2J"]),
        (
            ["http://h/?a=1", "--set", "a=2=3", "--append", "a=", "--remove", "b"],
            ["http://h/?a=2%3D3&a="],
        ),
        (["http://h/?a=1", "--remove", "a", "--set", "a=2", "--get", "a"], ["2", "http://h/?a=2"]),
        (["http://ö.example/ä"], ["http://ö.example/ä"]),
        (["http://f:000080/"], ["http://f:000080/"]),
    ],
    ids=["all", "set", "in-order", "unchanged", "zeros"],
)
def test_command(args: list[str], out: list[str]) -> None:
    result = command(SCRIPT, *args)
    assert (result.returncode, result.stdout.splitlines(), result.stderr) == (0, out, "")


def test_json() -> None:
    result = command(
        SCRIPT, "https://u@Example.org:8443/p%20q?b=%C3%A4+1&a&b=#top", "--append", "c=3", "--json"
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {
        "url": "https://u@Example.org:8443/p%20q?b=%C3%A4+1&a&b=&c=3#top",
        "scheme": "https",
        "host": "example.org",
        "port": 8443,
        "path": "/p%20q",
        "params": [["b", "ä 1"], ["a", ""], ["b", ""], ["c", "3"]],
        "fragment": "top",
    }


def test_goes_on_after_what_is_no_url() -> None:
    wrong = [
        "no url",
        "http://",
        "http://h:99999/",
        "http://[::1",
        "localhost:80/",
        "http://a b/",
        "http://h/\x1b[2J",
    ]
    urls = ["http://h/?a=1", *wrong, "", "http://h/?a=2", "http://h/?b=3\r", "http://h/?a=4"]
    result = command(SCRIPT, "-", "--get", "a", stdin="\n".join(urls))
    assert result.returncode == 1
    assert result.stdout.splitlines() == ["1", "2", "4"]
    errors = result.stderr.splitlines()
    assert [line.startswith(f"{SCRIPT}: error: not a URL: ") for line in errors] == [True] * len(
        wrong
    ) + [False]
    assert errors[-1] == f"{SCRIPT}: error: no parameter 'a' in http://h/?b=3"
    assert all(line.isprintable() for line in errors)


@pytest.mark.parametrize(
    "args", [["http://h/", "--set", "a"], ["--get", "a"]], ids=["no-value", "no-url"]
)
def test_wrong_usage(args: list[str]) -> None:
    assert command(SCRIPT, *args).returncode == 2
