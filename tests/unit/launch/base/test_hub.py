"""A hub id's files come from the cache, else from the hub; what stands in the way is said in one line."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from gateway.errors import ConfigError
from launch.base.hub import cached_file, hub_config, hub_file

MODEL = "owner/name"


def looked_up(monkeypatch: pytest.MonkeyPatch, found: object) -> None:
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda model, name: found)


def test_what_is_cached_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up(monkeypatch, "/cache/config.json")
    assert cached_file(MODEL, "config.json") == hub_file(MODEL, "config.json") == Path("/cache/config.json")


def test_what_the_hub_is_known_not_to_have_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up(monkeypatch, object())
    assert cached_file(MODEL, "chat_template.jinja") is None
    with pytest.raises(ConfigError, match=r"has no chat_template\.jinja on the hub"):
        hub_file(MODEL, "chat_template.jinja")


def test_a_model_that_had_no_configuration_may_have_one_by_now(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up(monkeypatch, object())
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda model, name: f"/fetched/{name}")
    assert hub_config(MODEL) == Path("/fetched/config.json")


def test_a_hub_out_of_reach_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(model: str, name: str) -> str:
        raise LocalEntryNotFoundError("no connection")

    looked_up(monkeypatch, None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert cached_file(MODEL, "config.json") is None
    with pytest.raises(ConfigError, match="the hub cannot be reached"):
        hub_file(MODEL, "config.json")


def test_what_can_be_no_hub_id_is_refused() -> None:
    with pytest.raises(ConfigError, match="neither a folder"):
        cached_file("no name!", "config.json")
