"""`bench bases`: what is planned beside what is true, and how near they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.bench.results.bases import BaseFacts, Planned, plan_base, read_truth, verdict
from tests.support.adapter_folders import LAYOUT


@pytest.mark.parametrize(
    ("planned", "true", "said"),
    [
        (Planned("a", 100), BaseFacts(100), "exact"),
        (Planned("a", 101), BaseFacts(100), "within 2 %"),
        (Planned("a", 96), BaseFacts(100), "within 5 %"),
        (Planned("a", 110), BaseFacts(100), "off by more"),
        (Planned("a", 100), BaseFacts(), "not known"),
        (Planned("a", 100, exact=False), BaseFacts(100), "not countable"),
        (Planned("a", refused="no"), BaseFacts(100), "refused"),
    ],
)
def test_verdicts(planned: Planned, true: BaseFacts, said: str) -> None:
    assert verdict(planned, true) == said


def test_base_is_planned_from_its_config_alone(tmp_path: Path) -> None:
    file = tmp_path / "tiny.json"
    file.write_text(json.dumps({**LAYOUT, "vocab_size": 48, "max_position_embeddings": 512}))
    found = plan_base(file)
    assert (found.name, found.refused, found.exact) == ("tiny", "", True)
    assert found.kv_bytes == 2 * 2 * 8 * 2  # layers, keys and values, two heads of four, bfloat16
    file.write_text("{}")
    assert plan_base(file).refused


def test_truth_is_read_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "truth.json"
    file.write_text('[{"base": "a", "parameters": 5, "kv_bytes_per_token": null}]')
    assert read_truth(file) == {"a": BaseFacts(5, 0)}
    for text in ("nonsense", "[5]", '[{"parameters": 5}]'):
        file.write_text(text)
        with pytest.raises(ConfigError, match="no JSON list"):
            read_truth(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_truth(tmp_path / "missing.json")
