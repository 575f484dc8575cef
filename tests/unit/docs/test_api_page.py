"""docs/api.md names every route to the engine, and every parameter that is a label, bounded or refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.dialects.dialect import Dialect
from gateway.dialects.kinds import ELSEWHERE, HARMLESS
from gateway.dialects.registry import DIALECTS
from gateway.endpoints.openapi.operation_list import OPERATIONS

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "api.md").read_text(encoding="utf-8")
OPERATING = (DOCS / "operating.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([a-z_]+…?)", PAGE))
PREFIXES = tuple(name[:-1] for name in NAMED if name.endswith("…"))
RENAMED = {
    *("max_tokens", "max_completion_tokens", "messages", "response_format", "stop", "output_format"),
    *("previous_input_messages", "routed_experts_prompt_start", "input", "include"),
    *("max_tool_calls", "tool_choice"),
}
"""What the error itself says in full: another name of the same thing, or nothing that a table need list."""


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_route_and_its_parameters_are_on_the_page(dialect: Dialect) -> None:
    assert f"`POST {dialect.path.decode()}`" in PAGE
    listed = dialect.labels | dialect.refused.keys() | dialect.rules.keys()
    missing = {name for name in listed - NAMED - RENAMED if not name.startswith(PREFIXES)}
    assert not missing


def harmless_rows() -> dict[str, set[str]]:
    """The table of what is harmless: where, and the names."""
    rows = re.findall(r"^\| (`[^|]*) \| (every route[^|]*|`/v1/[^|]*) \|$", PAGE, re.M)
    return {where.strip("`"): set(re.findall(r"`([a-z_]+)`", names)) for names, where in rows}


def test_what_is_harmless_stands_on_the_page_as_in_the_table_of_the_code() -> None:
    own = {one.path.decode(): set(one.harmless) for one in DIALECTS if one.harmless}
    assert harmless_rows() == {"every route that does not honour it": set(HARMLESS), **own}


def test_names_of_other_servers_on_the_page_are_refused() -> None:
    (listed,) = re.findall(r"on another server \(([^)]*)", PAGE)
    assert set(re.findall(r"`([a-z_]+)`", listed)) <= ELSEWHERE.keys()


def plain(path: str) -> str:
    """Whatever its parameters are called."""
    return re.sub(r"\{\w+\}", "{}", path)


def test_every_route_has_its_place_on_the_page() -> None:
    said = {plain(path) for path in re.findall(r"`(?:[A-Z]+ )?(/[^`\s]*)`", PAGE)}
    elsewhere = ("/admin/", "/openai/", "/v1/files", "/v1/batches", "/metrics")
    wanted = {plain(one.path) for one in OPERATIONS if not one.path.startswith(elsewhere)}
    assert wanted - said == set()


def test_what_an_administrator_may_ask_is_all_told() -> None:
    told = re.findall(r"`([A-Z]+(?: \| [A-Z]+)*)\s+(/admin/[^`?\s]*)", OPERATING)
    said = {(method, path) for methods, path in told for method in methods.split(" | ")}
    assert said == {(one.method, one.path) for one in OPERATIONS if one.path.startswith("/admin/")}
