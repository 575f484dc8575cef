"""No unit test lets real time pass: it waits for an event, or looks through `tests.support.waiting`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MAY_PAUSE = {
    "tests/support/waiting.py": "the one place that looks again",
    "tests/fakes/virtual_time.py": "its seconds are virtual",
}
FILES = sorted(
    str(file.relative_to(ROOT))
    for folder in ("unit", "support", "fakes")
    for file in (ROOT / "tests" / folder).rglob("*.py")
)
MODULES = ("anyio", "asyncio", "time", "trio")


def pauses(source: str) -> list[int]:
    """The lines that let time pass; `sleep(0)` only lets others go on."""
    if "sleep" not in source:  # however it is called there, it is imported or named
        return []
    tree = ast.parse(source)
    names = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in MODULES
        for alias in node.names
        if alias.name == "sleep"
    }
    found: list[int] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in names or called in [f"{module}.sleep" for module in MODULES]:
            given = [ast.unparse(value) for value in node.args]
            if given != ["0"]:
                found.append(node.lineno)
    return found


@pytest.mark.parametrize("file", FILES)
def test_no_real_time_passes(file: str) -> None:
    if file not in MAY_PAUSE:
        assert not pauses((ROOT / file).read_text(encoding="utf-8")), (
            "wait for an event, or look (waiting.py)"
        )


def test_what_lets_time_pass_is_found() -> None:
    source = "import time\nfrom asyncio import sleep as nap\ntime.sleep(0.1)\nnap(1)\nnap(0)\ntime.sleep(x)\n"
    assert pauses(source) == [3, 4, 6]
    for file in MAY_PAUSE:
        assert pauses((ROOT / file).read_text(encoding="utf-8")), f"{file} need not be excepted"
