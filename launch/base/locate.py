"""Where the base model is and what it looks like, before anything is started."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from gateway.config.document import DEMO_BASE, BaseConfig, Config
from gateway.errors import ConfigError
from launch.base.argv_read import options_of
from launch.base.config_json import read_config
from launch.base.hub import hub_config
from launch.base.lora_shapes import Base, describe_base
from launch.base.names import cached_name
from launch.base.served_classes import MIXED_EXPERTS


def resolve_base(settings: BaseConfig) -> Base:
    """The demo's base (fetched where it is missing), a folder, or a hub id; raises ConfigError."""
    model = settings.model
    if model == DEMO_BASE:
        from launch.base.demo_base import ensure_demo_base  # it brings its own heavy imports

        folder = ensure_demo_base()
        return _read(folder / "config.json", str(folder), "SmolLM2-135M-Instruct")
    if model.startswith("demo:"):
        raise ConfigError("base.model", model, f"the only demo base is {DEMO_BASE}")
    if Path(model).is_absolute():
        return _folder(Path(model))
    return _read(hub_config(model), model, model)


def fetch_demo_base(config: Config) -> None:
    """Where it is wanted here and missing, so that who started a stack sees how far that is.

    Raises ConfigError.
    """
    if config.base.model != DEMO_BASE or config.attached or not config.backend.local:
        return
    from launch.base.demo_base import demo_base_path, ensure_demo_base

    if not demo_base_path().is_dir():  # whether it is whole is seen to by whoever loads it
        ensure_demo_base()


def as_run(base: Base, config: Config) -> Base:
    """Without what is known of the engine's class for it, where another one may serve it, or serves more."""
    asked = options_of(config.engine.extra_args)
    if config.attached or asked.get("model-impl", "auto") not in ("auto", "vllm"):
        return dataclasses.replace(base, served=None)
    if base.served is None:
        return base
    served = base.served
    if "enable-tower-connector-lora" in asked:
        served = dataclasses.replace(served, language=None)
    if MIXED_EXPERTS in asked and served.fused_experts:
        served = dataclasses.replace(served, both_experts=True)
    return dataclasses.replace(base, served=served)


def _folder(folder: Path) -> Base:
    if not folder.is_dir():
        raise ConfigError("base.model", str(folder), "no such folder; write a model's folder or a hub id")
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise ConfigError("base.model", str(folder), "holds no model weights (*.safetensors)")
    return _read(folder / "config.json", str(folder), None)


def _read(file: Path, model: str, name: str | None) -> Base:
    try:
        config = read_config(file)
    except FileNotFoundError as error:
        raise ConfigError(
            "base.model", model, "has no config.json; is it a model in Hugging Face's format?"
        ) from error
    if name is None:  # a folder's own name says little; what the model calls itself says more
        named = config.get("_name_or_path")
        name = named if isinstance(named, str) and named else cached_name(model)
    return describe_base(model, name, config)
