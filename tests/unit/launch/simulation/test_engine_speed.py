"""An engine's speed: what follows from its figures, and what a file may say."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.simulation.engine_speed import CPU_DEMO, GPU_8B, EngineSpeed, between, read_speed


def speed(**changes: float) -> EngineSpeed:
    """Steps of 10 ms, whatever is in the batch; 1,000 prompt tokens a second; half a second a load."""
    figures = {"step_s": 0.01, "step_s_per_request": 0.0, "step_s_per_adapter": 0.0}
    figures |= {"prompt_tokens_per_s": 1000.0, "load_s": 0.5, "seats": 2, "slots": 1}
    return EngineSpeed(**{**figures, **changes})  # type: ignore[arg-type]


def test_a_step_is_longer_for_each_request_and_adapter() -> None:
    one = speed(step_s_per_request=0.001, step_s_per_adapter=0.002, seats=4, slots=2)
    assert one.decode_s(3, 2) == pytest.approx(0.01 + 0.003 + 0.004)
    assert one.tokens_per_s == pytest.approx(4 / 0.018)


def test_a_measured_curve_takes_the_place_of_a_straight_line() -> None:
    one = speed(curve=((1, 0.02), (4, 0.03), (8, 0.07)), step_s_per_adapter=0.001, seats=12, slots=2)  # type: ignore[arg-type]
    assert one.decode_s(1, 1) == pytest.approx(0.021)
    assert one.decode_s(2, 0) == pytest.approx(0.02 + 0.01 / 3)
    assert one.decode_s(4, 0) == pytest.approx(0.03)
    assert one.decode_s(8, 0) == pytest.approx(0.07)
    assert one.decode_s(12, 2) == pytest.approx(0.11 + 0.002)  # on as its last piece goes
    assert one.tokens_per_s == pytest.approx(12 / 0.112)
    assert between(((3, 0.5),), 9) == 0.5


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
        (json.dumps(asdict(GPU_8B) | {"seats": 0}), r"at `\$\.seats`"),
        (json.dumps(asdict(GPU_8B) | {"load_s": -1}), r"at `\$\.load_s`"),
        (json.dumps(asdict(GPU_8B) | {"answer_s": -1}), r"at `\$\.answer_s`"),
        (json.dumps(asdict(GPU_8B) | {"wake_s": -1}), r"at `\$\.wake_s`"),
        (json.dumps(asdict(GPU_8B) | {"together": 0}), r"at `\$\.together`"),
        (json.dumps(asdict(GPU_8B) | {"curve": [[1, 0.02], [4, 0]]}), r"at `\$\.curve\[1\]"),
        (json.dumps(asdict(GPU_8B) | {"curve": [[4, 0.02], [1, 0.03]]}), "do not become larger"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "speed.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_speed(str(file))
