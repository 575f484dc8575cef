"""What must hold between the configuration's keys, and the mend where it does not."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from gateway.config.settings import BaseConfig, Config, FallbackConfig, PipelineConfig

BASE = {"model": "some/model"}
TASK = {"t": {"adapter": "/x"}}
STAGE = {"id": "a", "task": "t", "prompt": "p"}


def config(**parts: Any) -> Config:
    return Config.model_validate({"base": BASE, **parts})


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"tasks": {"a b": {"adapter": "/x"}}}, "letters, digits"),
        ({"tasks": {"base": {"adapter": "/x"}}}, "the name is the base's"),
        (
            {
                "tasks": {"t": {"adapter": "/x"}},
                "pipelines": {"t": {"stages": [{"id": "a", "task": "t", "prompt": "p"}]}},
            },
            "pipelines.t: the name is taken",
        ),
        ({"keys": {"a": {"sha256": "a" * 64}, "b": {"sha256": "a" * 64}}}, "keys.b: the same key as keys.a"),
        (
            {"keys": {"a": {"sha256": "a" * 64, "tasks": ["bsae"]}}},
            "'bsae' is no model; did you mean 'base'",
        ),
        ({"gateway": {"host": "0.0.0.0"}}, "can be reached from other machines"),
        ({"gateway": {"workers": 4, "max_in_flight_per_task": 3}}, "cannot be shared by 4 workers"),
        ({"pipelines": {"p": {"stages": []}}}, "at least 1 item"),
        ({"nonsense": 1}, "Extra inputs"),
    ],
)
def test_mistake_is_named(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        config(**parts)


def test_models_are_base_tasks_and_pipelines_in_their_order() -> None:
    made = config(
        tasks=TASK,
        pipelines={"p": {"stages": [STAGE]}},
    )
    assert made.models == ["base", "t", "p"]
    assert made.tenant("anybody").max_adapters == 8


def test_open_address_needs_a_key_or_the_wish_for_one() -> None:
    assert config(gateway={"host": "0.0.0.0"}, keys={"a": {"sha256": "a" * 64}})
    assert config(gateway={"host": "0.0.0.0", "keys_required": True})


def test_yamls_none_turns_a_parser_off() -> None:
    for off in ("none", "off", "", None):
        made = BaseConfig.model_validate({**BASE, "tool_call_parser": off, "reasoning_parser": off})
        assert (made.tool_call_parser, made.reasoning_parser) == (None, None)
    assert BaseConfig.model_validate(BASE).tool_call_parser == "auto"
    assert BaseConfig.model_validate({**BASE, "idle_unload": "15m"}).idle_unload == 900


def test_yamls_null_is_what_a_pipeline_does_on_an_error() -> None:
    stages = [{"id": "a", "task": "base", "prompt": "x"}]
    for text, meant in (("null", "null"), ("'null'", "null"), ("fail", "fail")):
        given = {"stages": stages, **yaml.safe_load(f"on_error: {text}")}
        assert PipelineConfig.model_validate(given).on_error == meant
    assert PipelineConfig.model_validate({"stages": stages}).on_error == "fail"


def test_fallback_has_reasons_and_never_a_key() -> None:
    def fallback(**more: object) -> FallbackConfig:
        return FallbackConfig.model_validate({"model": "openai/gpt-4o-mini", **more})

    assert fallback(when="never").when == []
    assert fallback(when="cold").when == ["cold"]
    for wrong in ({"when": "sometimes"}, {"model": "gpt-4o"}, {"api_key_env": "sk-secret"}):
        with pytest.raises(ValidationError):
            fallback(**wrong)
