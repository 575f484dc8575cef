"""The section `shared`."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.config.document import load_config
from gateway.config.sections.shared_settings import SharedConfig
from gateway.errors import ConfigError


@pytest.mark.parametrize(
    "address",
    ["redis://127.0.0.1:6379/0", "rediss://user:word@cache.example.com:6380/1?x=y", "unix:///run/redis.sock"],
)
def test_addresses(address: str) -> None:
    assert SharedConfig.model_validate({"redis": address}).redis == address


@pytest.mark.parametrize("address", ["", "127.0.0.1:6379", "http://x", "redis://", "redis://a b"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValidationError):
        SharedConfig.model_validate({"redis": address})


@pytest.mark.parametrize("prefix", ["", "a b", "a:b", "{x}"])
def test_what_is_no_prefix(prefix: str) -> None:
    with pytest.raises(ValidationError):
        SharedConfig.model_validate({"redis": "redis://h", "prefix": prefix})


def test_an_error_never_shows_the_address(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("base: {model: some/model}\nshared: {redis: 'redis:/me:secret@host'}\n")
    with pytest.raises(ConfigError) as wrong:
        load_config(file, {})
    assert "secret" not in str(wrong.value)
    assert "redis://host:6379/0" in str(wrong.value)


def test_a_common_folder_stands_beside_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("base: {model: some/model}\nshared: {redis: 'redis://h', folder: common}\n")
    config = load_config(file, {})
    assert config.common_dir == tmp_path / "common"
    file.write_text("base: {model: some/model}\nshared: {redis: 'redis://h'}\n")
    config = load_config(file, {})
    assert config.common_dir == config.state_dir


def test_a_misspelt_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("base: {model: some/model}\nshared: {redis: 'redis://h', timout_ms: 5}\n")
    with pytest.raises(ConfigError, match="timeout_ms"):
        load_config(file, {})
