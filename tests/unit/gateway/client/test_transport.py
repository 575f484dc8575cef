"""The Python API without a gateway: what it makes of answers, and what it needs to be imported."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from gateway.client import (
    AdapterNotLoaded,
    AnswerError,
    AsyncModelManager,
    ClientError,
    Concept,
    EngineFailed,
    EngineStarting,
    GatewayUnreachable,
    InvalidArgument,
    ModelManager,
    NotConfigured,
    OutputInvalid,
    Overloaded,
    PipelineFailed,
    RequestRefused,
    TimedOut,
)
from gateway.client.calls import chat
from gateway.client.concepts import PIPELINE, pipeline
from gateway.client.connections import Network
from gateway.client.settings import CONTRACTS, Start, wanted
from gateway.client.transport import AsyncLink, Link, target_of
from gateway.config.document import load_config
from gateway.errors import LoraGatewayError

ROOT = Path(__file__).parents[4]
URL = "http://gateway.test"
Answering = Callable[[httpx.Request], httpx.Response]


def entry(name: str, kind: str, **more: object) -> dict[str, object]:
    root = None if kind == "pipeline" else f"{name}@1"
    return {"id": name, "kind": kind, "root": root, "parent": None, "max_model_len": 9, **more}


MODELS = [entry("smol", "base"), entry("concept", "task"), entry("naming", "task")]


def network(answer: Answering, models: object = MODELS) -> Network:
    """A gateway that lists `models` and answers all else by `answer`."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": models})
        return answer(request)

    transport = httpx.MockTransport(handle)
    return Network(lambda target: Link(target, transport), lambda target: AsyncLink(target, transport))


def said(text: str) -> httpx.Response:
    return httpx.Response(200, json={"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})


def body_of(request: httpx.Request) -> dict[str, object]:
    document = json.loads(request.content)
    assert isinstance(document, dict)
    return document


@pytest.fixture(autouse=True)
def _gateway_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_GATEWAY_URL", URL)


def prompt_of(request: httpx.Request) -> str:
    messages = body_of(request)["messages"]
    assert isinstance(messages, list)
    return str(messages[-1]["content"])


def by_hand(request: httpx.Request) -> httpx.Response:
    if body_of(request)["model"] == "concept":
        assert prompt_of(request) == "apple: round\npear\nbus"
        groups = [
            {"members": ["apple", "pear"], "definition": "eaten"},
            {"members": ["bus"], "definition": "d"},
        ]
        return said(json.dumps({"concepts": groups}))
    assert body_of(request)["model"] == "naming"
    return said({"Definition: eaten\nMembers: apple, pear": " fruit\n"}.get(prompt_of(request), "vehicle"))


CLUSTER: list[str | dict[str, str]] = [{"term": "apple", "gloss": "round"}, "pear", "bus"]
NAMED = [
    Concept(name="fruit", definition="eaten", members=["apple", "pear"]),
    Concept(name="vehicle", definition="d", members=["bus"]),
]


def test_without_the_pipeline_concept_then_naming_are_asked() -> None:
    assert ModelManager(network(by_hand)).extract_concepts_from_cluster(CLUSTER) == NAMED
    manager = AsyncModelManager(network(by_hand))
    assert asyncio.run(manager.extract_concepts_from_cluster(CLUSTER)) == NAMED


def test_without_either_task_the_missing_adapter_is_named() -> None:
    manager = ModelManager(network(by_hand, [MODELS[0], MODELS[1]]))
    with pytest.raises(AdapterNotLoaded, match=r"Adapter 'naming' not loaded: .* \(NAMING_ADAPTER_PATH\)"):
        manager.extract_concepts_from_cluster(CLUSTER)


@pytest.mark.parametrize("cluster", [[], "", " ", [1], [{"gloss": "x"}], {"terms": ["a"]}])
def test_cluster_without_terms_is_refused(cluster: object) -> None:
    with pytest.raises(InvalidArgument, match="cluster: "):
        ModelManager(network(by_hand)).extract_concepts_from_cluster(cluster)  # type: ignore[arg-type]


def test_built_in_contracts_and_pipeline_are_those_of_the_deployment() -> None:
    env = {f"{name}_ADAPTER_PATH": "/a" for name in ("CONCEPT", "NAMING", "RELATIONSHIP", "ATTRIBUTE")}
    deployed = load_config(ROOT / "configs/qwen2.5-14b.yaml", env)
    for name, contract in CONTRACTS.items():
        assert deployed.tasks[name].system == contract["system"]
    document = {"base": {"model": "m"}, "tasks": {name: {"adapter": "/a"} for name in CONTRACTS}}
    own = type(deployed).model_validate(document | {"pipelines": {PIPELINE: pipeline()}})
    assert own.pipelines[PIPELINE] == deployed.pipelines[PIPELINE]


def test_paths_of_the_quick_reference_make_its_configuration(tmp_path: Path) -> None:
    names = ("concept", "naming", "relationship")
    paths: dict[str, Any] = {f"{name}_adapter_path": tmp_path for name in names}
    settings: dict[str, Any] = {"gpu_memory_utilization": 0.75, "tensor_parallel_size": 1}
    base = "Qwen/Qwen2.5-14B-Instruct"
    start = wanted({}, base_model_path=base, auto_unload=False, **paths, **settings)
    assert isinstance(start, Start)
    assert start.document["base"] == {"model": base, "idle_unload": "never", **settings}
    assert [*start.document["tasks"]] == [*names]
    assert [*start.document["pipelines"]] == [PIPELINE]
    unloading = wanted({}, base_model_path=base, auto_unload=True)
    assert isinstance(unloading, Start)
    assert unloading.document["base"]["idle_unload"] == "15m"


def refused(status: int, code: str | None = None, **headers: str) -> Answering:
    error = {"message": "It says so.", "type": "t", "param": "p", "code": code}
    return lambda _: httpx.Response(status, json={"error": error}, headers=headers)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "unsupported_parameter", RequestRefused),
        (500, "internal_error", AnswerError),
        (502, "engine_error", EngineFailed),
        (502, "stage_output_invalid", PipelineFailed),
        (503, "engine_starting", EngineStarting),
        (503, "engine_not_running", EngineFailed),
        (503, "overloaded", Overloaded),
        (504, "timeout", TimedOut),
        (404, "model_not_found", AdapterNotLoaded),
        (503, "adapter_not_loaded", AdapterNotLoaded),
    ],
)
def test_each_answer_has_its_exception(status: int, code: str, expected: type[ClientError]) -> None:
    manager = ModelManager(network(refused(status, code, **{"retry-after": "7", "x-request-id": "abc"})))
    with manager.use_model("naming") as model, pytest.raises(expected) as told:
        model.generate_text("p")
    assert type(told.value) is expected
    assert isinstance(told.value, LoraGatewayError)
    if isinstance(told.value, AnswerError):
        assert (told.value.status, told.value.code, told.value.param) == (status, code, "p")
        assert (told.value.retry_after_s, told.value.request_id) == (7, "abc")
        assert str(told.value).startswith("It says so.")


def test_answer_of_something_else_is_told() -> None:
    for answer in (httpx.Response(200, text="<html>"), httpx.Response(200, json={"hello": 1})):
        manager = ModelManager(network(lambda _, answer=answer: answer))  # type: ignore[misc]
        with manager.use_model("naming") as model, pytest.raises(GatewayUnreachable, match="no lora-gateway"):
            model.generate_text("p")
    with pytest.raises(GatewayUnreachable, match="lists no models"):
        ModelManager(network(by_hand, 3)).configure_models_sync(url=URL)


def test_nobody_at_the_address_is_told() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    transport = httpx.MockTransport(refuse)
    manager = ModelManager(Network(lambda target: Link(target, transport)))
    with pytest.raises(GatewayUnreachable, match=rf"at {URL} \(Connection refused\): check the address"):
        manager.configure_models_sync(url=URL)


def test_call_before_configure_models_is_told_what_to_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LORA_GATEWAY_URL")
    manager = ModelManager()
    with pytest.raises(NotConfigured, match="call configure_models first"), manager.use_model("naming"):
        pass
    with pytest.raises(NotConfigured):
        asyncio.run(manager.get_model_status("base"))


def test_base_is_found_under_its_public_name_and_as_base() -> None:
    asked: list[object] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(body_of(request))
        return said('{"a": 1}')

    manager = ModelManager(network(answer))
    for name in ("base", "smol"):
        with manager.use_model(name) as model:
            assert model.generate_modeling("p") == {"a": 1}
    assert [one["model"] for one in asked if isinstance(one, dict)] == ["smol", "smol"]
    assert all(one["response_format"] == {"type": "json_object"} for one in asked if isinstance(one, dict))


class Named(BaseModel):
    name: str


class Formless:
    """Nothing that pydantic knows."""


def test_asked_form_goes_to_the_engine_and_is_checked() -> None:
    asked: list[dict[str, object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(body_of(request))
        return said('{"name": 3}')

    with ModelManager(network(answer)).use_model("naming") as model:
        with pytest.raises(OutputInvalid, match="name: Input should be a valid string"):
            model.generate_modeling("p", response_model=Named)
        with pytest.raises(OutputInvalid, match=r"\$\.name: 3 is not of type 'string'"):
            model.generate_modeling("p", schema=Named.model_json_schema())
        assert model.generate_modeling("p") == {"name": 3}
        with pytest.raises(OutputInvalid, match="Input should be a valid array"):
            model.generate_modeling("p", response_model=list[int])
        with pytest.raises(InvalidArgument, match="response_model"):
            model.generate_modeling("p", response_model=Formless)
        with pytest.raises(InvalidArgument, match="did you mean 'temperature'"):
            model.generate_text("p", temperatur=0)  # type: ignore[call-arg]
        with pytest.raises(InvalidArgument, match="prompt: "):
            model.generate_text([{"content": "x"}])
    forms = [one.get("response_format") for one in asked]
    assert isinstance(forms[0], dict)
    assert forms[0]["json_schema"]["name"] == "Named"
    assert forms[2] is None


def test_pipeline_is_no_adapter() -> None:
    manager = ModelManager(network(by_hand, [*MODELS, entry(PIPELINE, "pipeline")]))
    with manager.use_model("base") as base, pytest.raises(InvalidArgument, match="is a pipeline; use_model"):
        base.set_lora_adapter(PIPELINE)


def test_adapter_that_the_engine_does_not_have_says_so() -> None:
    manager = ModelManager(network(by_hand, [*MODELS[:2], MODELS[2] | {"root": None}]))
    with pytest.raises(AdapterNotLoaded, match="its path was configured, but the engine does not have it"):
        manager.use_model("naming").__enter__()
    cold = [one | {"root": None} for one in MODELS]
    with ModelManager(network(lambda _: said("x"), cold)).use_model("naming") as model:
        assert model.generate_text("p") == "x"  # the request itself waits for the engine
        assert model.list_adapters() == []


@pytest.mark.parametrize("given", ["http://a:1", "http://a:1/", "http://a:1/v1", "http://a:1/v1/?x=1"])
def test_address_is_taken_with_and_without_its_path(given: str) -> None:
    assert target_of(given, None).url == "http://a:1"


@pytest.mark.parametrize("given", ["a:1", "", "ftp://a", "http://"])
def test_address_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(InvalidArgument, match="url: "):
        target_of(given, None)


ALONE = """
import sys

class Blocked:
    allowed = {allowed!r}

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in (*self.allowed, *sys.stdlib_module_names) and not top.startswith("_sysconfigdata"):
            raise ImportError(f"{{name}} is not installed here", name=name)

sys.meta_path.insert(0, Blocked())
from gateway.client import InvalidArgument, ModelManager, get_model_manager
import gateway.errors
import httpx, json
from gateway.client.connections import Network
from gateway.client.transport import Link

def answer(request):
    if request.url.path == "/v1/models":
        return httpx.Response(200, json={{"data": [
            {{"id": "naming", "kind": "task", "root": "x", "schema": {{"type": "object"}}}}]}})
    choice = {{"message": {{"content": "{{}}"}}, "finish_reason": "stop"}}
    return httpx.Response(200, json={{"choices": [choice]}})

manager = ModelManager(Network(lambda target: Link(target, httpx.MockTransport(answer))))
with manager.use_model("naming") as model:
    assert model.generate_modeling("p") == {{}}
try:
    manager.configure_models_sync(base_model_path="a/b")
except InvalidArgument as error:
    print(error)
"""
LIGHT = (
    *("gateway", "httpx", "httpcore", "h11", "anyio", "sniffio", "certifi", "idna"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"),
    *("jsonschema", "jsonschema_specifications", "referencing", "rpds", "attr", "attrs"),
)


def test_client_needs_nothing_but_its_light_dependencies() -> None:
    env = {"PYTHONPATH": str(ROOT), "LORA_GATEWAY_URL": URL, "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", ALONE.format(allowed=LIGHT)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "a stack is started by the whole of lora-gateway, and dotenv is not installed" in done.stdout


@pytest.mark.parametrize("prompt", [5, None, [], ["apple"], [{"content": "x"}], b"x", {"role": "user"}])
def test_prompt_of_another_form_is_refused_by_name(prompt: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"^prompt: give a text, or messages with role and content"):
        chat("naming", prompt, system=None, sampling={})
