"""A long text is read by libyaml, and nothing that can be seen differs from PyYAML's own reader."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pytest
import yaml

from gateway import strict_yaml
from gateway.strict_yaml import QUICK_FROM_CHARACTERS, read_yaml

LONG = "".join(f"k{number}: {{adapter: a/b}}\n" for number in range(QUICK_FROM_CHARACTERS // 20))
WORDS = (
    *("a", "b: ", "- ", "? ", ": ", ":", "#", " #", "'", '"', "\n", "\n  ", "\n    ", "\n- ", " ", "{"),
    *("}", "[", "]", ",", ", ", "|", "|2\n", ">", "|-\n", "&a ", "*a", "<<: *a", "!!str ", "!", "!!int "),
    *("!x ", "---\n", "...\n", "%YAML 1.1\n", "%YAML 1.2\n", "\\n", "\\u0041", "0x1f", "010", "1:30", "~"),
    *("no", "2026-13-01", "\r\n", "\r", "\t", "\x85", "\u2028", "\ufeff", "é", "日", "😀", "\x7f", "\x00"),
    *("\xa0", "@", "`", "!!binary aGk=", "!!set ", "!!omap ", "?", "'a': ", '"a":', "a:b", "http://x?y"),
    *("\\", "''", '"\\ud83d\\ude00"'),
    "k" * 1030,
)
ENDS = (
    *("a: [b?c]", "a: !", "a: |# c", "a: b\t", "a: b\x85", "a: 010", "a: 1\na: 2", "no: 1"),
    *("a: 2026-13-01", "a: !!int x", "a: [", "a: b\x00", "a: 'b?c'", "a: Well! Is it?", "\ufeffa: b"),
)


def outcome(read: Any, *args: Any) -> str:
    try:
        return repr(read(*args))
    except (yaml.YAMLError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"


def test_whatever_the_text_both_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_yaml, "QUICK_FROM_CHARACTERS", 0)
    rng = random.Random(5)
    for _ in range(3000):
        text = "".join(rng.choices(WORDS, k=rng.randint(1, 14)))
        assert outcome(read_yaml, text) == outcome(yaml.load, text, strict_yaml._Loader), repr(text)


@pytest.mark.parametrize("end", ENDS)
def test_what_is_wrong_with_a_long_text_is_said_with_its_line(end: str) -> None:
    assert outcome(read_yaml, LONG + end) == outcome(yaml.load, LONG + end, strict_yaml._Loader)


def test_a_long_text_is_read_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_yaml._Loader, "get_single_node", lambda self: pytest.fail("by the slow one"))
    text = LONG + "prompt: 'Well! Is it?'\nname: Bär 😀\n"
    assert read_yaml(text)["k1"] == {"adapter": "a/b"}  # type: ignore[index]


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "{a: " * 100_000])
def test_nesting_without_end_is_an_error_like_any(text: str) -> None:
    with pytest.raises(RecursionError):
        read_yaml(text)


def test_without_libyaml_the_other_reads_all() -> None:
    program = (
        "import sys; sys.modules['yaml._yaml'] = None\n"
        "import yaml; from gateway.strict_yaml import read_yaml\n"
        "assert not yaml.__with_libyaml__; print(len(read_yaml(sys.argv[1])))"
    )
    done = subprocess.run([sys.executable, "-c", program, LONG], capture_output=True, text=True, check=True)
    assert int(done.stdout) == LONG.count("\n")
