"""Where the base is and what it looks like: a folder, a name, or what is wrong with either."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.config.document import BaseConfig, Config
from gateway.errors import ConfigError
from launch.base.locate import as_run, resolve_base
from tests.support.adapter_folders import LAYOUT


def base(model: object) -> BaseConfig:
    return BaseConfig.model_validate({"model": str(model)})


def folder(path: Path, **more: object) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps({**LAYOUT, **more}))
    (path / "model.safetensors").touch()
    return path


def test_folder_is_read_and_named_by_what_it_calls_itself(tmp_path: Path) -> None:
    found = resolve_base(base(folder(tmp_path / "m", _name_or_path="owner/Tiny")))
    assert (found.name, found.layers, found.hidden) == ("owner/Tiny", 2, 16)
    assert found.model == str(tmp_path / "m")


@pytest.mark.parametrize(
    ("model", "said"),
    [("demo:other", "the only demo base"), ("/nowhere/at/all", "no such folder"), ("no name!", "hub id")],
)
def test_what_is_no_model_says_what_to_write(model: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        resolve_base(base(model))


def test_folder_without_weights_or_config_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds no model weights"):
        resolve_base(base(tmp_path))
    (tmp_path / "config.json").unlink()
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        resolve_base(base(tmp_path))


def test_class_that_another_may_serve_is_not_known(tmp_path: Path) -> None:
    architectures = {"architectures": ["LlamaForCausalLM"]}
    found = resolve_base(base(folder(tmp_path / "m", **architectures)))
    assert found.served is not None

    def config(**parts: object) -> Config:
        return Config.model_validate({"base": {"model": "m"}, **parts})

    assert as_run(found, config()).served == found.served
    assert as_run(found, config(engines=[{"url": "http://x:1"}])).served is None
    extra = {"engine": {"extra_args": ["--model-impl", "transformers"]}}
    assert as_run(found, config(**extra)).served is None


def test_option_lets_a_class_take_experts_in_both_forms(tmp_path: Path) -> None:
    found = resolve_base(base(folder(tmp_path / "m", architectures=["GptOssForCausalLM"])))
    asked = {"base": {"model": "m"}, "engine": {"extra_args": ["--enable-mixed-moe-lora-format"]}}
    served = as_run(found, Config.model_validate(asked)).served
    assert served is not None
    assert (served.fused_experts, served.both_experts) == (True, True)
