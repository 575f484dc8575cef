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


@pytest.mark.parametrize("password", ["pa/ss", "pa?ss", "pa#ss", "12/ss", "12?ss"])
def test_a_password_that_would_be_read_as_host_and_port_is_refused_with_the_mend(password: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        SharedConfig.model_validate({"redis": f"redis://me:{password}@host:6379/0"})
    said = str(wrong.value.errors(include_input=False, include_url=False))
    assert "%2F" in said
    assert password not in said


def test_a_password_with_at_signs_or_written_out_is_taken() -> None:
    for password in ("pa@ss", "pa%2Fss", ""):
        SharedConfig.model_validate({"redis": f"redis://:{password}@host:6379/0"})
