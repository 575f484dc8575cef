"""An adapter of a larger model's language model alone: its copy has the names that the engine finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.adapters.check import check_adapter
from launch.adapters.language_names import named_alone, renamed
from launch.adapters.settings import read_settings
from launch.adapters.store import AdapterStore
from launch.base.lora_shapes import Base, describe_base
from launch.base.safetensors_header import read_header
from launch.base.served_classes import ServedClass
from launch.machine.files import WEIGHTS
from tests.support.adapter_folders import GOOD, LAYOUT, SETTINGS, Shapes, adapter

VL = ServedClass("VL", language="language_model", prefixes={"model.language_model.": "language_model.model."})
Q = "model.layers.0.self_attn.q_proj"


def base(architecture: str = "Qwen3VLForConditionalGeneration") -> Base:
    text = {**LAYOUT, "vocab_size": 48, "model_type": "qwen3_vl_text", "head_dim": 4}
    return describe_base("/base", "owner/Tiny", {"architectures": [architecture], "text_config": text})


@pytest.mark.parametrize(
    ("modules", "known"),
    [
        ([Q], True),
        ([Q, "lm_head"], True),
        (["lm_head"], False),
        (["model.language_model.layers.0.self_attn.q_proj"], False),
        ([Q, "model.visual.blocks.0.attn.qkv"], False),
    ],
)
def test_only_names_that_are_all_the_language_models_own_are_meant(modules: list[str], known: bool) -> None:
    found = named_alone(VL, modules, read_settings(SETTINGS, None))
    assert (found is not None) == known
    assert named_alone(ServedClass("Text"), modules, read_settings(SETTINGS, None)) is None
    assert found is None or all(map(found.reaches, modules))


def test_pattern_that_begins_at_a_names_beginning_is_not_moved() -> None:
    tied = {**SETTINGS, "alpha_pattern": {"^model.layers.0.self_attn.q_proj": 4}}
    assert named_alone(VL, [Q], read_settings(tied, None)) is None


@pytest.mark.parametrize("prefix", ["", "base_model.model.", "base_model.model.base_model.model."])
def test_copy_has_the_engines_names_and_every_number(prefix: str, tmp_path: Path) -> None:
    shapes: Shapes = {
        f"{prefix}{name.removeprefix('base_model.model.')}": side for name, side in GOOD.items()
    }
    source = adapter(tmp_path / "a", shapes)
    store = AdapterStore(tmp_path / "kept")
    kept = store.take("naming", source, base())
    assert store.take("naming", source, base()) == kept
    assert check_adapter("naming", source, base()).id == kept.id
    assert store.verify(kept.id)
    assert set(read_header(kept.path / WEIGHTS)) == {
        f"base_model.model.language_model.{Q}.lora_{side}.weight" for side in "AB"
    }
    data = sum(8 * 16 * 4 for _ in GOOD)
    assert (kept.path / WEIGHTS).read_bytes()[-data:] == (source / WEIGHTS).read_bytes()[-data:]


def test_shapes_are_held_against_the_language_model(tmp_path: Path) -> None:
    shapes: Shapes = {
        name: tuple(12 if side == 16 else side for side in sides) for name, sides in GOOD.items()
    }
    with pytest.raises(ConfigError, match="8 x 12, the base needs 8 x 16"):
        check_adapter("naming", adapter(tmp_path / "a", shapes), base())


def test_data_begins_where_it_is_aligned() -> None:
    raw = renamed(b"\0" * 8 + b'{"__metadata__": {"format": "pt"}, "lm_head.lora_A.weight": {}}')
    assert len(raw) % 8 == 0
    assert b'"base_model.model.language_model.lm_head.lora_A.weight": {}' in raw
    assert b'{"format": "pt"}' in raw
