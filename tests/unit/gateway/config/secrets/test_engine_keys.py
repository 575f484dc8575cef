"""Which key an engine asks for, by the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.document import Config
from gateway.config.secrets.engine_keys import configured_key, key_of_attached, key_of_ours
from gateway.config.secrets.state_secrets import ENGINE_KEY, made_secret


def config(tmp_path: Path, **sections: object) -> Config:
    return Config.model_validate({"base": {"model": "b"}, "state_dir": tmp_path, **sections})


@pytest.mark.parametrize(
    ("engine", "key"),
    [
        ({}, ""),
        ({"extra_args": ["--api-key", "k", "l", "--x", "1"]}, "k"),
        ({"extra_args": ["--api_key=k"], "env": {"VLLM_API_KEY": "e"}}, "k"),
        ({"extra_args": ["--api-key"]}, ""),
        ({"extra_args": ["--served-model-name", "x"], "env": {"VLLM_API_KEY": "e"}}, "e"),
    ],
)
def test_what_a_person_sets_wins_as_in_the_engine(tmp_path: Path, engine: object, key: str) -> None:
    own = config(tmp_path, engine=engine)
    assert configured_key(own) == key
    made = made_secret(tmp_path, ENGINE_KEY)
    assert key_of_ours(own) == (key or made)


def test_without_a_launch_there_is_none(tmp_path: Path) -> None:
    assert key_of_ours(config(tmp_path)) == ""


def test_a_server_of_somebody_elses_has_the_key_that_its_variable_holds(tmp_path: Path) -> None:
    engines = [{"url": "http://a:1", "api_key_env": "A_KEY"}, {"url": "http://b:1"}]
    attached = config(tmp_path, engines=engines)
    env = {"A_KEY": "of a"}
    assert [key_of_attached(attached, f"http://{name}:1", env) for name in "abc"] == ["of a", "", ""]
    assert key_of_attached(attached, "http://a:1", {}) == ""


def test_a_key_in_place_of_a_variables_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name of an environment variable"):
        config(tmp_path, engines=[{"url": "http://a:1", "api_key_env": "sk-123"}])
