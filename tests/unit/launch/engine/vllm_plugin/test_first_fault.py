"""A wrong list is refused by its first wrong element, on a route as vLLM makes them too."""

from __future__ import annotations

import sys
import types
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from launch.engine.vllm_plugin import first_fault

fastapi = pytest.importorskip("fastapi")


class Part(BaseModel):
    text: str
    parts: list[Part] = Field(default_factory=list)


class Call(BaseModel):
    type: Literal["call"]
    name: str


class Turn(BaseModel):
    role: str
    content: str | list[Part]


class Request(BaseModel):
    input: str | list[Turn | Call]


WRONG: list[dict[str, Any]] = [
    {"input": [{}] * 500},
    {"input": [{"role": "user", "content": [{}] * 500}]},
    {"input": [{"role": "user", "content": [{"text": "a", "parts": [{}] * 500}]}]},
]
SOUND = {"input": [{"role": "user", "content": [{"text": "a", "parts": [{"text": "b"}]}]}] * 3}


@pytest.fixture(autouse=True)
def _mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an engine, by the names of its modules; one has no such model, and the others are not there."""
    for module, names in first_fault.REQUESTS.items():
        monkeypatch.setitem(sys.modules, module, None)
        if "ResponsesRequest" in names:
            monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(ResponsesRequest=Request))
        if "DetokenizeRequest" in names:
            monkeypatch.setitem(sys.modules, module, types.SimpleNamespace())
    first_fault.mend_requests()


@pytest.mark.parametrize("asked", WRONG)
def test_it_has_few_errors_however_long_it_is(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        Request.model_validate(asked)
    assert caught.value.error_count() < 10
    assert "input.str" in str(caught.value)  # of what is no list all forms are told as before


@pytest.mark.parametrize("asked", WRONG)
def test_on_a_route_too(asked: dict[str, Any]) -> None:
    from fastapi.testclient import TestClient

    def serve(request: Request) -> int:
        return len(request.input)

    app = fastapi.FastAPI()
    app.post("/")(serve)
    client = TestClient(app)
    answer = client.post("/", json=asked)
    assert (answer.status_code, len(answer.json()["detail"]) < 10) == (422, True)
    assert client.post("/", json=SOUND).json() == 3


def test_what_is_right_means_what_it_meant() -> None:
    assert Request.model_validate(SOUND).model_dump()["input"][2]["content"][0]["parts"][0]["text"] == "b"
