"""What is said of a gateway can be used as it stands."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from gateway.config.document import Config
from launch.cli.banner import banner_lines, chat_curl, example_model, nothing_runs

URL = "http://127.0.0.1:8080"


def config_of(**document: object) -> Config:
    return Config.model_validate({"base": {"model": "m"}, **document})


def test_the_call_is_one_that_a_shell_takes_whatever_is_asked() -> None:
    asked = 'it\'s "quoted"\nand $HOME `date` \\ too'
    words = shlex.split(chat_curl(URL, "naming", asked))
    assert words[:3] == ["curl", "-s", f"{URL}/v1/chat/completions"]
    body = json.loads(words[words.index("-d") + 1])
    assert body == {"model": "naming", "messages": [{"role": "user", "content": asked}]}


def test_a_task_is_asked_where_there_is_one() -> None:
    assert example_model(config_of()) == "base"
    assert example_model(config_of(tasks={"naming": {"adapter": "/a"}})) == "naming"
    both = {"concept": {"adapter": "/a"}, "naming": {"adapter": "/b"}}
    assert example_model(config_of(tasks=both)) == "naming"  # the sample is for it
    assert example_model(config_of(tasks={"concept": {"adapter": "/a"}})) == "concept"


def test_address_page_models_and_a_call() -> None:
    lines = banner_lines(config_of(), URL, ["base", "naming"])
    assert f"{URL}/v1" in lines[0]
    assert lines[1].endswith(f"{URL}/ui/")
    assert lines[2].endswith("base, naming")
    assert lines[3].startswith("try      curl")
    assert "Authorization" not in lines[3]


def test_where_keys_are_needed_the_call_takes_one_from_the_environment() -> None:
    keyed = config_of(gateway={"keys_required": True})
    takes = '-H "Authorization: Bearer $LORA_GATEWAY_API_KEY"'
    assert takes in banner_lines(keyed, URL, ["base"])[-1]
    assert takes in banner_lines(config_of(), URL, ["base"], keyed=True)[-1]  # commands made some


def test_of_many_models_the_first_are_named() -> None:
    names = [f"task-{number}" for number in range(40)]
    assert banner_lines(config_of(), URL, names)[2].endswith("task-11 and 28 more")


def test_what_can_be_done_where_nothing_runs() -> None:
    assert "lora-gateway up" in "\n".join(nothing_runs(Path("lora-gateway.yaml"), exists=True))
    assert "lora-gateway init" in "\n".join(nothing_runs(Path("lora-gateway.yaml"), exists=False))
