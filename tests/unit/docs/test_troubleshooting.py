"""docs/troubleshooting.md has a line for every code that an error may carry."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
CODE = re.compile(r"[a-z]+(?:_[a-z]+)*")
LISTED = {
    code for row in re.findall(r"^\| (`.*?) \|", TEXT, re.M) for code in re.findall(r"`([a-z_]+)`", row)
}


def codes_in(tree: ast.AST) -> Iterator[str]:
    """What is given as `code=…`, and what a class of errors has as its `code`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "code":
            yield from _texts(node.value)
        elif isinstance(node, ast.ClassDef):
            for each in node.body:
                if isinstance(each, ast.Assign) and [ast.unparse(one) for one in each.targets] == ["code"]:
                    yield from _texts(each.value)


def _texts(value: ast.AST) -> Iterator[str]:
    """Also those that a condition chooses among."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str) and CODE.fullmatch(value.value):
        yield value.value
    elif isinstance(value, ast.IfExp):
        yield from _texts(value.body)
        yield from _texts(value.orelse)


FILES = [
    file
    for package in ("gateway", "launch")
    for file in sorted(ROOT.glob(f"{package}/**/*.py"))
    if "client" not in file.relative_to(ROOT).parts
]
CODES = sorted({code for file in FILES for code in codes_in(ast.parse(file.read_text(encoding="utf-8")))})


def test_codes_are_found_where_they_are_given() -> None:
    tree = ast.parse("class A:\n    code = 'one'\nraise B(code='two' if x else 'three', other='four')")
    assert set(codes_in(tree)) == {"one", "two", "three"}
    assert {"invalid_request", "shutting_down"} <= set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_its_line(code: str) -> None:
    assert code in LISTED, f"say in docs/troubleshooting.md what to do about {code}"


def test_no_line_is_of_a_code_that_nothing_gives() -> None:
    source = "\n".join(file.read_text(encoding="utf-8") for file in FILES)
    settings = re.compile(r"^\| `(?:gateway|state|engine|error|tasks)")
    rows = [row for row in TEXT.splitlines() if row.startswith("| `") and not settings.match(row)]
    named = {code for row in rows for code in re.findall(r"`([a-z_]+)`", row.split("|")[1])}
    assert {code for code in named if f'"{code}"' not in source} == set()
