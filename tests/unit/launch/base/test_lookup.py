"""A base's dimensions, from its files or by its name."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.base import lookup
from launch.base.lookup import find_base, weigh
from tests.support.adapter_folders import weights
from tests.unit.launch.planning.test_plan import QWEN, SMALL


def small_model(folder: Path, dtype: str = "F32") -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **SMALL}))
    (folder / "model.safetensors").write_bytes(weights({"model.embed_tokens.weight": (1000, 128)}))
    return folder


def test_local_files_are_weighed_by_their_headers(tmp_path: Path) -> None:
    source = find_base(str(small_model(tmp_path / "m")))
    found = weigh(source, "bfloat16", None)
    assert "headers of 1 safetensors" in found.known_from
    assert found.size_bytes == 1000 * 128 * 2 + 24 * 2 * 128 * 2  # as bfloat16, the vocabulary filled up
    index = {"metadata": {"total_size": 12345}, "weight_map": {"a": "model-1.safetensors"}}
    (tmp_path / "m" / lookup.INDEX).write_text(json.dumps(index))
    assert weigh(source, "bfloat16", None).size_bytes == 12345


@pytest.mark.parametrize("weight_map", [["a"], {"a": ["model.safetensors"]}, None])
def test_an_index_that_is_none_counts_for_nothing(tmp_path: Path, weight_map: object) -> None:
    folder = small_model(tmp_path / "m")
    (folder / lookup.INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert "headers of 1 safetensors" in weigh(find_base(str(folder)), "bfloat16", None).known_from


def test_config_alone_is_enough(tmp_path: Path) -> None:
    file = small_model(tmp_path / "m") / "config.json"
    (tmp_path / "m" / "model.safetensors").unlink()
    assert "config.json" in weigh(find_base(str(file)), "bfloat16", None).known_from


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("./none", "no such folder or config.json"),
        ("not a name at all!", "is neither a folder"),
        ("Qwen/Qwen2.5-14B-Instrukt", f"did you mean {QWEN}"),
    ],
)
def test_unknown_base_says_what_to_give(model: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(model: str) -> Path:
        raise ConfigError("base.model", model, "the hub cannot be reached")

    monkeypatch.setattr("launch.base.lookup.hub_config", unreachable)
    with pytest.raises(ConfigError, match=re.escape(expected)):
        find_base(model)


def test_config_without_its_dimensions_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match="has no hidden_size"):
        find_base(str(file))
