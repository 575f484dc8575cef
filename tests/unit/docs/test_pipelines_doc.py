"""docs/pipelines.md: its example of a third stage runs as it stands there."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import httpx
import pytest
import yaml

from gateway.client import get_model_manager
from gateway.client.connections import Core, Network
from gateway.client.transport import Link
from gateway.config.document import Config, JsonObject, load_config
from gateway.errors import EngineError, RequestError
from gateway.pipeline.compile import Pipeline, compile_pipelines
from gateway.pipeline.run import run
from tests.support.pipeline_script import Script, chat, prompt_of, root

TEXT = (root() / "docs/pipelines.md").read_text(encoding="utf-8")
(EXAMPLE,) = (one for one in re.findall(r"```yaml\n(.*?)```", TEXT, re.S) if "relate" in one)
(SNIPPET,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
GROUPS = (
    '{"concepts":[{"members":["apple","banana"],"definition":"eaten."},'
    '{"members":["bus"],"definition":"driven."}]}'
)
NAMES = {
    "Definition: eaten.\nMembers: apple, banana": "fruit",
    "Definition: driven.\nMembers: bus": "vehicle",
}


@pytest.fixture
def example(tmp_path: Path) -> Pipeline:
    """The demo's configuration with the page's example added, read from a file beside the demo's."""
    document = yaml.safe_load((root() / "configs/demo/config.yaml").read_text(encoding="utf-8"))
    for section, entries in yaml.safe_load(EXAMPLE).items():
        document[section] |= entries
    for name in ("adapters", "concepts.schema.json"):
        (tmp_path / name).symlink_to(root() / "configs/demo" / name)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(document))
    config: Config = load_config(file, {})
    assert config.tasks["relationship"].adapter.is_dir()
    return compile_pipelines(config)["concept-relations"]


def answer(body: JsonObject) -> str | RequestError:
    prompt = prompt_of(body)
    return f"{NAMES[prompt]}\n" if prompt in NAMES else "is a kind of"


def test_third_stage_sees_the_name_and_its_answer_stands_beside_it(example: Pipeline) -> None:
    script = Script({"concept": [GROUPS[:70], GROUPS[70:]]}, answer)
    result = asyncio.run(run(example, chat('["apple", "banana", "bus"]'), script))
    assert json.loads(result.text)["concepts"] == [
        {"name": "fruit", "relation": "is a kind of", "definition": "eaten.", "members": ["apple", "banana"]},
        {"name": "vehicle", "relation": "is a kind of", "definition": "driven.", "members": ["bus"]},
    ]
    assert [*json.loads(result.text)["concepts"][0]] == ["name", "relation", "definition", "members"]
    asked = [prompt_of(body) for task, body in script.calls if task == "relationship"]
    assert asked == ["apple, fruit", "bus, vehicle"]


def test_element_without_a_name_has_no_relation_and_the_others_are_whole(example: Pipeline) -> None:
    def failing(body: JsonObject) -> str | RequestError:
        return EngineError("no") if "apple, banana" in prompt_of(body) else answer(body)

    script = Script({"concept": [GROUPS]}, failing)
    result = asyncio.run(run(example, chat('["apple", "banana", "bus"]'), script))
    first, second = json.loads(result.text)["concepts"]
    assert (first["name"], first["relation"]) == (None, None)
    assert (second["name"], second["relation"]) == ("vehicle", "is a kind of")
    assert [prompt_of(body) for task, body in script.calls if task == "relationship"] == ["bus, vehicle"]


def test_snippet_prints_the_relations(
    example: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "concept-relations", "kind": "pipeline"}]})
        body = json.loads(request.content)
        result = asyncio.run(run(example, body, Script({"concept": [GROUPS]}, answer)))
        choice = {"message": {"content": result.text}, "finish_reason": "stop"}
        return httpx.Response(200, json={"choices": [choice]})

    monkeypatch.setenv("LORA_GATEWAY_URL", "http://gateway.test")
    core = Core(Network(lambda target: Link(target, httpx.MockTransport(handle))))
    monkeypatch.setattr(get_model_manager(), "_core", core)
    exec(compile(SNIPPET, "docs/pipelines.md", "exec", dont_inherit=True), {})
    assert capsys.readouterr().out == "apple is a kind of fruit\nbus is a kind of vehicle\n"
