"""Whose engines there are: one of ours, several, or servers that somebody else runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from gateway.config.document import Config, read_config, with_gateway
from gateway.config.engine_settings import AttachedConfig, server_of
from gateway.config.settings import BaseConfig


def config(engines: object) -> Config:
    return Config.model_validate({"base": {"model": "m"}, "engines": engines})


def problem(folder: Path, engines: object) -> str:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump({"base": {"model": "some/model"}, "engines": engines}))
    _, problems = read_config(file, {})
    return str(problems[0])


@pytest.mark.parametrize("name", ["a\nb", "a\r\nx-other: b"])
def test_what_answers_say_in_a_header_is_on_one_line(name: str) -> None:
    with pytest.raises(ValidationError, match="must be on one line"):
        AttachedConfig.model_validate({"url": "http://x:1", "name": name})
    with pytest.raises(ValidationError, match="must be on one line"):
        BaseConfig.model_validate({"name": name, "model": "some/model"})
    assert AttachedConfig.model_validate({"url": "http://x:1", "name": "Müller's GPU"}).name


def test_attached_servers_urls_are_plain_http() -> None:
    assert AttachedConfig.model_validate({"url": "http://x:1/"}).url == "http://x:1"
    assert AttachedConfig.model_validate({"url": "http://[::1]:8000"}).url == "http://[::1]:8000"
    for wrong in ("https://x", "x:1", "http://x/v1", "http://user@x", "http://x?y", "http://x#y"):
        with pytest.raises(ValueError, match="http://host:port"):
            AttachedConfig.model_validate({"url": wrong})


def test_what_no_gateway_could_connect_to_is_refused() -> None:
    for wrong in ("http://:80", "http://h:99999", "http://h:eighty", "http://[::1", "http://h:0"):
        with pytest.raises(ValueError, match="http://host:port"):
            AttachedConfig.model_validate({"url": wrong})
    assert server_of("http://h") == ("h", 80)
    assert server_of("http://[::1]:8000") == ("::1", 8000)


def test_a_list_is_somebody_elses_and_a_mapping_is_how_many_of_ours() -> None:
    one, several, others = config([]), config({"replicas": 3}), config([{"url": "http://a:1"}])
    assert (one.attached, one.backend.replicas) == ([], 1)
    assert (several.attached, several.backend.replicas) == ([], 3)
    assert [each.url for each in others.attached] == ["http://a:1"]


@pytest.mark.parametrize(
    "engines", [[], {"replicas": 2}, {"backend": "ray", "replicas": {"max": 2}}, [{"url": "http://a:1"}]]
)
def test_what_is_written_out_is_read_again(engines: object) -> None:
    made = config(engines)
    assert with_gateway(made, {"port": 1}).engines == made.engines


@pytest.mark.parametrize(
    ("engines", "said"),
    [
        ({"replicas": {"min": 3, "max": 1}}, "engines.replicas: min: 3 is over max (1)"),
        ({"replicas": {"min": 1}}, "engines.replicas.max: is required"),
        ({"replicas": {"max": 65}}, "engines.replicas.max: 65: Input should be less than or equal to 64"),
        ({"replicas": {"mim": 1, "max": 2}}, "engines.replicas.mim: unknown key; did you mean 'min'?"),
        ({"replica": 2}, "engines.replica: unknown key; did you mean 'replicas'?"),
        ({"replicas": 0}, "engines.replicas: 0: Input should be greater than or equal to 1"),
        ([{"ur": "http://a:1"}], "engines.0.ur: unknown key; did you mean 'url'?"),
    ],
)
def test_a_mistake_names_the_key_of_the_form_that_was_written(
    tmp_path: Path, engines: Any, said: str
) -> None:
    assert said in problem(tmp_path, engines)


def test_what_goes_to_the_engine_as_text_may_be_written_as_a_number() -> None:
    given = {"extra_args": ["--max-num-batched-tokens", 4096, 0.5], "env": {"OMP_NUM_THREADS": 2}}
    engine = Config.model_validate({"base": {"model": "m"}, "engine": given}).engine
    assert engine.extra_args == ["--max-num-batched-tokens", "4096", "0.5"]
    assert engine.env == {"OMP_NUM_THREADS": "2"}
