"""The engines' state in Prometheus' families: one state each, and no figure that is not known."""

from __future__ import annotations

import pytest

from gateway.config.snapshot import EngineStatus, Snapshot
from gateway.scrape.engine_states import STATES, build_info, engine_families, release

READY = EngineStatus(
    "engine-0",
    state="ready",
    started_at=1_700_000_000.0,
    load_s=31.5,
    slots=4,
    loaded=["a@1", "b@1"],
    adapter_loads={"first": 2, "restart": 2},
    memory_bytes=5_000,
    memory_on="gpu",
    restarts=1,
)


def samples(*engines: EngineStatus, telling: tuple[str, ...] = ()) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("lora_gateway_"), *sample.labels.values()): sample.value
        for family in engine_families(Snapshot(engines=list(engines)), True, telling)
        for sample in family.samples
    }


def test_an_engine_is_in_one_state() -> None:
    found = samples(READY)
    states = {key[2]: value for key, value in found.items() if key[0] == "engine_state"}
    assert states == {state: float(state == "ready") for state in STATES}
    assert "failed" in STATES


def test_what_is_known_is_shown() -> None:
    found = samples(READY, telling=("engine-0",))
    assert {key: value for key, value in found.items() if key[0] != "engine_state"} == {
        ("control_plane_up",): 1,
        ("engine_figures_up", "engine-0"): 1,
        ("engine_start_time_seconds", "engine-0"): 1_700_000_000,
        ("engine_load_seconds", "engine-0"): 31.5,
        ("engine_restarts_in_a_row", "engine-0"): 1,
        ("engine_adapters", "engine-0"): 2,
        ("engine_lora_slots", "engine-0"): 4,
        ("engine_memory_bytes", "engine-0", "gpu"): 5_000,
        ("engine_adapter_loads_total", "engine-0", "first"): 2,
        ("engine_adapter_loads_total", "engine-0", "restart"): 2,
    }


def test_what_is_not_known_is_left_out() -> None:
    found = samples(EngineStatus("engine-0", state="failed", memory_bytes=5_000, memory_on="gpu"))
    names = {key[0] for key in found}
    assert names == {
        "control_plane_up",
        "engine_state",
        "engine_figures_up",
        "engine_restarts_in_a_row",
        "engine_adapters",
    }
    assert found["engine_figures_up", "engine-0"] == 0


def test_the_build_names_its_release() -> None:
    (sample,) = build_info().samples
    assert (sample.name, sample.labels["version"], sample.value) == ("lora_gateway_build_info", release(), 1)


def test_the_release_is_read_once_for_all_scrapes(monkeypatch: pytest.MonkeyPatch) -> None:
    build_info()
    asked: list[str] = []
    monkeypatch.setattr("gateway.scrape.engine_states.version", asked.append)
    build_info()
    assert asked == []
