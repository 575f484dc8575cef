"""A plan as people read it, and as programs do: the same figures."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from launch.planning.findings import Finding
from launch.planning.planner import plan_of
from launch.planning.table import ADAPTERS_SHOWN, as_json, show, show_findings
from tests.support.adapter_folders import adapter
from tests.unit.launch.planning.test_inputs import CARD, config


def shown(folder: Path, *adapters: str) -> str:
    out = io.StringIO()
    show(plan_of(config(folder, *adapters), CARD), Console(file=out, width=200))
    return out.getvalue()


def test_tables_name_every_row_and_where_it_is_known_from(tmp_path: Path) -> None:
    adapter(tmp_path / "naming")
    text = shown(tmp_path, "naming")
    for word in ("weights", "headroom", "naming", "header", "one slot", "requests at once", "recommended"):
        assert word in text, word


def test_of_many_adapters_the_rest_stands_together(tmp_path: Path) -> None:
    names = [f"task{number}" for number in range(ADAPTERS_SHOWN + 3)]
    text = shown(tmp_path, *names)
    assert "and 3 more" in text
    assert names[-1] not in text


def test_json_says_the_same_in_bytes(tmp_path: Path) -> None:
    plan = plan_of(config(tmp_path, "a"), CARD)
    document = json.loads(json.dumps(as_json(plan)))
    assert document["budget_bytes"] == plan.budget_bytes
    assert [row["size_bytes"] for row in document["rows"]] == [row.size_bytes for row in plan.rows]
    assert document["cache"]["longest"] == plan.cache.longest
    assert document["recommended"] == plan.recommended


def test_finding_is_one_line_whatever_it_holds() -> None:
    out = io.StringIO()
    show_findings([Finding("error", "base.model", "[bold]x[/bold]")], Console(file=out, width=20))
    assert out.getvalue() == "error: base.model: [bold]x[/bold]\n"
