"""An engine's figures from a bench's result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from gateway.errors import ConfigError
from launch.simulation.engine_speed import CPU_DEMO
from launch.simulation.replay.closed_loop import replayed
from launch.simulation.replay.fit import fitted, least
from launch.simulation.replay.measured import EngineResult, Median, SlotsResult, read_result, visits_of
from tests.unit.launch.simulation.replay.results import engine_result, slots_result


def test_steps_and_prompts_follow_from_gaps_and_first_tokens(tmp_path: Path) -> None:
    # a step of 36 ms, 1 a request, 2 an adapter; 64 prompt tokens in 160 ms
    gaps = {"direct-single": 39.0, "direct": 46.0, "two": 48.0, "four": 52.0}
    found = read_result("--fit", str(engine_result(tmp_path, gaps, first_ms=199.0)))
    assert isinstance(found, EngineResult)
    made = fitted(found, CPU_DEMO, "seen")
    assert made.step_s == pytest.approx(0.036)
    assert made.step_s_per_request == pytest.approx(0.001)
    assert made.step_s_per_adapter == pytest.approx(0.002)
    assert made.prompt_tokens_per_s == pytest.approx(400)
    assert (made.load_s, made.seats, made.about) == (CPU_DEMO.load_s, CPU_DEMO.seats, "seen")


def test_noise_makes_no_time_less_than_nothing(tmp_path: Path) -> None:
    gaps = {"direct-single": 40.0, "direct": 39.0, "two": 38.0, "four": 37.0}
    found = read_result("--fit", str(engine_result(tmp_path, gaps, first_ms=30.0)))
    made = fitted(found, CPU_DEMO)
    assert (made.step_s_per_request, made.step_s_per_adapter) == (0.0, 0.0)
    assert made.prompt_tokens_per_s > 0


def test_what_an_engine_of_a_known_speed_shows_gives_that_speed_again(tmp_path: Path) -> None:
    found = read_result("--fit", str(slots_result(tmp_path, "zipf, 4 adapters", "uniform, 8 adapters")))
    assert isinstance(found, SlotsResult)
    real = replace(
        CPU_DEMO, step_s=0.072, step_s_per_request=0.0025, step_s_per_adapter=0.0036, seats=4, slots=2
    )
    summary = {
        visit.cell: {
            "direct": {
                key: Median(value * (1000 if key.endswith("_ms") else 1))
                for key, value in zip(
                    ("requests_per_s", "ttft_p50_ms", "ttft_p99_ms"),
                    replayed(visit, found.settings, real, 5).values(),
                    strict=True,
                )
            }
        }
        for visit in visits_of(found)
    }
    made = fitted(msgspec.structs.replace(found, summary=summary), CPU_DEMO)
    assert made.decode_s(4, 2) == pytest.approx(real.decode_s(4, 2), rel=0.1)
    assert (made.seats, made.slots) == (4, 2)


def test_without_what_vllm_alone_did_there_is_nothing_to_fit(tmp_path: Path) -> None:
    alone = read_result("--fit", str(slots_result(tmp_path, "zipf, 4 adapters", arms=("gateway",))))
    with pytest.raises(ConfigError, match="straight to vLLM"):
        fitted(alone, CPU_DEMO)
    single = read_result("--fit", str(engine_result(tmp_path, {"direct": 40.0})))
    with pytest.raises(ConfigError, match="direct-single"):
        fitted(single, CPU_DEMO)


def test_the_search_ends_at_the_least() -> None:
    found = least(lambda at: abs(at[0] - 3) + abs(at[1] - 0.25), [1.0, 1.0])
    assert found == pytest.approx([3, 0.25], rel=0.06)
