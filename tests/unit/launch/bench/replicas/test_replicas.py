"""Two engines beside one: the configuration, the ratios."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.base.lora_shapes import describe_base
from launch.bench.engine.config import load_given
from launch.bench.faults import slots
from launch.bench.replicas.replicas import ONE, TWO, ratios, report, with_engines
from launch.bench.results.summary import summarise
from launch.planning.found_config import CHECKOUT
from tests.fakes.fake_stack import LAYOUT


def row(turn: int, subject: str, rate: float, wait_ms: float) -> dict[str, object]:
    waits = {"ttft_p50_ms": wait_ms, "ttft_p99_ms": 2 * wait_ms}
    figures = {"tokens_per_s": rate, "requests_per_s": rate / 32, **waits}
    return {"round": turn, "cell": "8 clients", "subject": subject, **figures}


def test_two_are_held_against_one_within_a_round() -> None:
    rows = [row(0, ONE, 100.0, 50.0), row(0, TWO, 180.0, 60.0), row(1, TWO, 150.0, 50.0)]
    rows.append(row(1, ONE, 100.0, 50.0))
    found = ratios(rows)
    assert found[f"{TWO}, 8 clients"]["tokens_per_s"] == pytest.approx(
        {"median": 1.65, "least": 1.5, "most": 1.8}
    )
    text = report(summarise(rows), found)
    assert f"| 8 clients | {TWO} | 165.0 (150.0 to 180.0) |" in text
    assert f"| {TWO}, 8 clients | 1.65 (1.50 to 1.80) |" in text


def test_each_adapter_is_on_every_engine_and_random(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "resolve_base", lambda _: describe_base("base", "base", LAYOUT))
    given = load_given(CHECKOUT, dummy=True, placeholder=tmp_path / "unset")
    config = with_engines(given, tmp_path / "two", 2, 4, 6)
    assert (config.backend.most, config.placement.policy) == (2, "everywhere")
    assert (config.base.max_loras, len(config.tasks)) == (4, 6)
    assert all((task.adapter / "adapter_model.safetensors").is_file() for task in config.tasks.values())
