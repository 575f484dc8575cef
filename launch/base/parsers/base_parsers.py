"""The parsers that fit a base, from its files."""

from __future__ import annotations

from pathlib import Path

from gateway.config.document import BaseConfig
from gateway.errors import ConfigError
from launch.base.config_json import read_config
from launch.base.hub import hub_config
from launch.base.parsers.chat_template import chat_files
from launch.base.parsers.model_parsers import Parsers, model_of, parsers_of


def fitting_parsers(settings: BaseConfig, model: str, name: str) -> Parsers:
    """What vLLM is told where the configuration leaves it to us; `model` is where the base was found.

    A base whose files cannot be read has none: the engine says what is wrong with it.
    """
    if "auto" not in (settings.tool_call_parser, settings.reasoning_parser):
        return Parsers()
    try:
        file = Path(model, "config.json") if Path(model).is_absolute() else hub_config(model)
        config = read_config(file)
    except (ConfigError, OSError):
        return Parsers()
    files = chat_files(model)
    return parsers_of(
        model_of(config, name, files.template, files.has_token, mistral_tokenizer=files.mistral_tokenizer)
    )
