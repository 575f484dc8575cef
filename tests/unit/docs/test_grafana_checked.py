"""docs/grafana/ as Grafana and Prometheus take it: the dashboard's structure, PromQL, alerts that fire."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[3] / "docs" / "grafana"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
PROMTOOL = shutil.which("promtool")
with_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool: it comes with Prometheus")

# Names of Grafana's own types (grafana-foundation-sdk 0.0.21: dashboard, timeseries, stat, table,
# prometheus), as far as they are used here. Grafana ignores a key that it does not know.
TAKEN = {
    "": "annotations description editable graphTooltip links panels refresh schemaVersion tags templating "
    "time timezone title uid version",
    "row": "collapsed gridPos id panels title type",
    "panel": "datasource description fieldConfig gridPos id options targets title type",
    "datasource": "type uid",
    "gridPos": "h w x y",
    "fieldConfig": "defaults overrides",
    "defaults": "decimals displayName links mappings max min noValue thresholds unit",
    "target": "datasource expr format instant legendFormat range refId",
    "timeseries": "legend tooltip",
    "legend": "calcs displayMode placement showLegend sortBy sortDesc width",
    "tooltip": "mode sort",
    "stat": "colorMode graphMode justifyMode orientation reduceOptions text textMode wideLayout",
    "reduceOptions": "calcs fields limit values",
    "table": "cellHeight footer frameIndex showHeader showTypeIcons sortBy",
    "variable": "allValue current datasource definition hide includeAll label multi name options query "
    "refresh regex skipUrlSync sort type",
}
VALUES: dict[str, set[object]] = {
    "type": {"row", "timeseries", "stat", "table", "prometheus", "query", "datasource"},
    "unit": {"bytes", "none", "ops", "percentunit", "reqps", "s", "short"},
    "displayMode": {"list", "table", "hidden"},
    "placement": {"bottom", "right"},
    "mode": {"single", "multi", "none"},
    "sort": {"asc", "desc", "none", 0, 1, 2, 3, 4, 5, 6},
    "textMode": {"auto", "value", "value_and_name", "name", "none"},
    "format": {"time_series", "table", "heatmap"},
    "calcs": {"lastNotNull", "last", "mean", "max", "min", "sum", "count"},
}


def unknown(document: dict[str, object]) -> list[str]:
    """Keys and values of a dashboard that Grafana's types do not have, each with where it stands."""
    return [*_unknown(document, "", "dashboard")]


def _unknown(part: dict[str, object], kind: str, where: str) -> Iterator[str]:
    yield from (f"{where}.{key}" for key in sorted(part.keys() - set(TAKEN[kind].split())))
    for key, value in part.items():
        place = f"{where}.{key}"
        for each in value if isinstance(value, list) else [value]:
            if key in VALUES and each not in VALUES[key]:
                yield f"{place}: {each}"
            if isinstance(each, dict) and (inner := _kind(key, each, part)):
                yield from _unknown(each, inner, place)


def _kind(key: str, value: dict[str, object], within: dict[str, object]) -> str:
    if key == "panels":
        return "row" if value.get("type") == "row" else "panel"
    if key == "options":
        return str(within["type"])
    if key == "templating":
        return ""
    return {"targets": "target"}.get(key, key if key in TAKEN else "")


def test_the_dashboard_has_only_what_grafana_takes() -> None:
    plain = {key: value for key, value in DASHBOARD.items() if key != "templating"}
    assert unknown(plain) == []
    for variable in DASHBOARD["templating"]["list"]:
        assert [*_unknown(variable, "variable", variable["name"])] == []
    assert DASHBOARD["schemaVersion"] >= 36
    assert len(DASHBOARD["uid"]) <= 40


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"titel": "x"}, ["dashboard.titel"]),
        ({"panels": [{"type": "row", "colapsed": True}]}, ["dashboard.panels.colapsed"]),
        (
            {"panels": [{"type": "stat", "options": {"textmode": "auto"}}]},
            ["dashboard.panels.options.textmode"],
        ),
        (
            {"panels": [{"type": "timeseries", "fieldConfig": {"defaults": {"unit": "seconds"}}}]},
            ["dashboard.panels.fieldConfig.defaults.unit: seconds"],
        ),
        ({"panels": [{"type": "graph", "title": "x"}]}, ["dashboard.panels.type: graph"]),
    ],
)
def test_what_grafana_would_pass_over_is_found(change: dict[str, object], found: list[str]) -> None:
    assert unknown(change) == found


def promtool(*arguments: str | Path) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@with_promtool
def test_prometheus_takes_the_rules_and_each_alert_fires_when_it_should(tmp_path: Path) -> None:
    promtool("check", "rules", FOLDER / "alerts.yaml")
    promtool("test", "rules", FOLDER / "alerts-test.yaml")


def test_each_alert_has_a_case_in_which_it_fires() -> None:
    rules = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    tests = yaml.safe_load((FOLDER / "alerts-test.yaml").read_text(encoding="utf-8"))["tests"]
    fired = {
        case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")
    }
    assert {rule["alert"] for rule in rules} == fired


@with_promtool
def test_prometheus_takes_every_panels_question(tmp_path: Path) -> None:
    """As rules of a file, since promtool reads those; what Grafana puts in is put in."""
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    assert len(expressions) > 25
    filled = [re.sub(r"\$__(rate_interval|interval|range)", "5m", each) for each in expressions]
    rules = [
        {"record": f"panel:{number}", "expr": re.sub(r"\$\w+", ".*", each)}
        for number, each in enumerate(filled)
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", file)
