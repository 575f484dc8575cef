"""An engine's speed: what follows from its figures, and what a file may say."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.simulation.engine_speed import CPU_DEMO, GPU_8B, EngineSpeed, read_speed


def speed(**changes: float) -> EngineSpeed:
    """Steps of 10 ms, whatever is in the batch; 1,000 prompt tokens a second; half a second a load."""
    figures = {"step_s": 0.01, "step_s_per_request": 0.0, "step_s_per_adapter": 0.0}
    figures |= {"prompt_tokens_per_s": 1000.0, "load_s": 0.5, "seats": 2, "slots": 1}
    return EngineSpeed(**{**figures, **changes})  # type: ignore[arg-type]


def test_a_step_is_longer_for_each_request_and_adapter() -> None:
    one = speed(step_s_per_request=0.001, step_s_per_adapter=0.002, seats=4, slots=2)
    assert one.decode_s(3, 2) == pytest.approx(0.01 + 0.003 + 0.004)
    assert one.tokens_per_s == pytest.approx(4 / 0.018)


def test_a_requests_work_counts_its_prompt_by_its_time() -> None:
    assert speed().work(100, 20) == pytest.approx(20 + 0.1 * speed().tokens_per_s)


def test_a_file_holds_its_fields(tmp_path: Path) -> None:
    file = tmp_path / "speed.json"
    file.write_text(json.dumps(asdict(GPU_8B) | {"slots": 16}))
    assert read_speed(str(file)).slots == 16
    assert read_speed("cpu-demo") is CPU_DEMO


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "a file to read"),
        ("{}", "an example"),
        (json.dumps(asdict(GPU_8B) | {"seats": 0}), "seats"),
        (json.dumps(asdict(GPU_8B) | {"load_s": -1}), "below nothing"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "speed.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_speed(str(file))
