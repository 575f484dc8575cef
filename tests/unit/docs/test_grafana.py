"""docs/grafana/: dashboard and alerts name only metrics that there are, and labels that these have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gateway.config.snapshot import EngineStatus, Snapshot
from gateway.metrics.counters import Metrics
from gateway.scrape.engine_states import build_info, engine_families
from gateway.scrape.engine_text import SHOWN

FOLDER = Path(__file__).parents[3] / "docs" / "grafana"
NAME = re.compile(r"\b(lora_gateway_\w+|vllm:\w+)")
MATCHERS = re.compile(r"\b(lora_gateway_\w+|vllm:\w+)\{([^}]*)\}")
LABEL = re.compile(r"(\w+)\s*(?:=~|!=|!~|=)")
OF_A_SCRAPE = {"job", "instance"}


def everything() -> dict[str, set[str]]:
    """Every series of a gateway that has counted one of each, with its labels."""
    metrics = Metrics.single()
    series = metrics.series["naming", "naming@1", "client"]
    series.enter()
    series.finished(200, 1.0, 0.1, 0.2, 7, 3)
    series.streamed([1] + [0] * 14, 0.001)
    series.cancelled(1.0, 3)
    series.failed("engine_error", 502, 1.0)
    metrics.waiting("naming", 1)
    metrics.resident("naming@1", 1, "first_use")
    metrics.resident("naming@1", -1, "evicted")
    metrics.slot_wait("naming@1", 0.5)
    metrics.batches(1, 1)
    metrics.shadow("naming", "naming@2", "same")
    metrics.fallback("naming", "m", "cold", "answered")
    metrics.ignored("user")
    metrics.background_failure("usage")
    metrics.used("a", "acme", [1, 0, 7, 3, 0, 0])
    engine = EngineStatus(
        "engine-0",
        state="ready",
        started_at=1.0,
        load_s=1.0,
        slots=1,
        memory_bytes=1,
        memory_on="gpu",
        adapter_loads={"first": 1},
    )
    others = [build_info(), *engine_families(Snapshot(engines=[engine]), True, ["engine-0"])]
    text = metrics.render({}, others)[0].decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        found.setdefault(family.name + "_total" * (family.type == "counter"), set())  # counted above or not
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    for name in SHOWN:
        found[name] = found[f"{name}_bucket"] = {"engine", "rank", "model_name", "reason", "le"}
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Where it stands, and PromQL."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']!r}", target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']!r}", variable["definition"]
    rules = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield f"alert {rule['alert']}", rule["expr"]


EXPRESSIONS = dict(expressions())


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_only_metrics_that_there_are(where: str) -> None:
    known, expression = everything(), EXPRESSIONS[where]
    names = NAME.findall(expression)
    assert names or expression.startswith("up{")
    assert set(names) <= known.keys()
    for name, matchers in MATCHERS.findall(expression):
        assert set(LABEL.findall(matchers)) <= known[name] | OF_A_SCRAPE, name


def test_every_metric_of_ours_has_its_place_in_the_page() -> None:
    page = (FOLDER.parent / "operating.md").read_text(encoding="utf-8")
    ours = {re.sub(r"_(bucket|count|sum)$", "", name) for name in everything() if name.startswith("lora")}
    missing = sorted(name for name in ours if name not in page)
    assert not missing


def test_panels_do_not_lie_on_each_other() -> None:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
