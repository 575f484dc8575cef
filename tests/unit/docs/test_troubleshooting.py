"""docs/troubleshooting.md has a line for every code that an error may carry."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from gateway import errors
from gateway.admission.quotas.scopes import Bounds
from gateway.config.document import Config, read_config
from gateway.errors import SETTING_CODES, code_of_setting
from launch.setup.configuration_page import section_models

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
CODE = re.compile(r"[a-z]+(?:_[a-z]+)*")
ANCHORS = re.findall(r'<a id="([a-z_]+)"></a>', TEXT)


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


@cache
def codes_and_keys() -> tuple[frozenset[str], frozenset[str]]:
    """Every code that the files give, and every setting that they complain of."""
    codes: set[str] = set()
    keys: set[str] = set()
    for file in FILES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        codes.update(codes_in(tree))
        keys.update(_complained_of(tree))
    return frozenset(codes.union(Bounds._fields)), frozenset(keys)  # a limit's name is its refusal's code


def test_codes_are_found_where_they_are_given() -> None:
    tree = ast.parse("class A:\n    code = 'one'\nraise B(code='two' if x else 'three', other='four')")
    assert set(codes_in(tree)) == {"one", "two", "three"}
    assert {"invalid_request", "shutting_down"} <= codes_and_keys()[0]


def test_every_code_has_its_anchor() -> None:
    assert codes_and_keys()[0] - {*ANCHORS} == set(), "say in docs/troubleshooting.md what to do about these"


def test_every_anchor_is_of_a_code_that_something_gives() -> None:
    source = "\n".join(file.read_text(encoding="utf-8") for file in FILES)
    anchors = {*ANCHORS} - {*Bounds._fields}
    assert {code for code in anchors if f'"{code}"' not in source and f"#{code}" not in source} == set()


def statuses() -> Iterator[tuple[str, int]]:
    """Of each error that is raised with a code of its own, or by its class's."""
    kinds = {name: kind for name, kind in vars(errors).items() if hasattr(kind, "status")}
    yield from [(kind.code, kind.status) for kind in kinds.values() if kind.code]
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in kinds:
                given = {each.arg: each.value for each in node.keywords}
                own = given.get("status")
                status = own.value if isinstance(own, ast.Constant) else kinds[ast.unparse(node.func)].status
                yield from (
                    [(code, int(str(status))) for code in _texts(given["code"])] if "code" in given else ()
                )


def test_a_code_stands_among_those_of_its_status_or_says_it() -> None:
    told = dict(re.findall(r"^## [^\n]*\((\d)xx\)\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S))
    assert set(told) == {"4", "5"}
    for code, status in statuses():
        for first, part in told.items():
            for row in re.findall(rf'^.*<a id="{code}">.*$', part, re.M):
                assert str(status).startswith(first) or str(status) in row, f"{code} is a {status}"


def test_an_anchor_stands_once_in_the_row_that_names_its_code() -> None:
    assert len(set(ANCHORS)) == len(ANCHORS) > 60
    for row in TEXT.splitlines():
        if row.startswith("| <a"):
            cell = row.split("|")[1]
            assert re.findall(r"`([a-z_]+)`", cell) == re.findall(r'id="([a-z_]+)"', cell), row


def test_what_is_said_of_a_setting_leads_to_a_row_of_its_kind() -> None:
    _, keys = codes_and_keys()
    assert {"gateway.port", "--config", "state_dir"} <= keys
    assert {key for key in keys if code_of_setting(key) not in ANCHORS} == set()
    assert set(SETTING_CODES.values()) <= set(ANCHORS)


@pytest.mark.parametrize("key", ["tasks.naming.adapter", "adapters.naming", "source", "--adapter naming"])
def test_what_is_said_of_an_adapter_leads_to_adapters(key: str) -> None:
    assert (code_of_setting(key), code_of_setting("adapters.roots")) == ("adapter", "setting")


@pytest.mark.parametrize("path", [path for path, _ in section_models("", Config)])
def test_a_slip_in_any_section_leads_to_settings(tmp_path: Path, path: str) -> None:
    """Not to what else may be wrong with a base or an adapter."""
    document: dict[str, object] = {"slip": 1}
    for part in reversed(path.split(".")):
        document = {part.strip("<>[]"): [document] if part.endswith("[]") else document}
    file = tmp_path / "c.yaml"
    file.write_text(json.dumps(document))
    slips = [found.code for found in read_config(file, {})[1] if found.key.endswith(".slip")]
    assert set(slips) == {"setting"} <= set(ANCHORS)


def _complained_of(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "ConfigError" and node.args:
            key = node.args[0]
            yield from [str(key.value)] if isinstance(key, ast.Constant) else []
