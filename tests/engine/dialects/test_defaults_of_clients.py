"""What popular clients send without being told: the engine answers it, and a header says what was ignored."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.engine.asked import post
from tests.engine.conftest import RealStack

pytestmark = pytest.mark.engine
USER = [{"role": "user", "content": "Definition: a round fruit\nMembers: pippin, russet"}]
ROUTES: dict[str, tuple[str, dict[str, Any]]] = {
    "/v1/chat/completions": ("max_tokens", {"messages": USER}),
    "/v1/completions": ("max_tokens", {"prompt": "The capital of France is"}),
    "/v1/responses": ("max_output_tokens", {"input": USER[0]["content"]}),
    "/v1/messages": ("max_tokens", {"messages": USER, "max_tokens": 24}),
}
CONTEXT = 2048


def ignored(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 200, answer.text
    return {name for name in answer.headers.get("x-gateway-ignored", "").split(",") if name}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("stream", [False, True])
def test_a_length_beyond_the_context_is_answered(real: RealStack, path: str, stream: bool) -> None:
    key, asked = ROUTES[path]
    answer = post(real, path, model="naming", **{**asked, key: 32_000, "stream": stream})
    assert ignored(answer) == {key}


def test_a_length_beyond_what_the_prompt_leaves_ends_at_the_contexts_end(real: RealStack) -> None:
    long = [{"role": "user", "content": "one two three four " * 480}]
    asked = {"model": "base", "messages": long, "ignore_eos": True}
    answer = post(real, "/v1/chat/completions", max_tokens=CONTEXT - 200, **asked)
    assert ignored(answer) == {"max_tokens"}
    assert answer.json()["usage"]["total_tokens"] == CONTEXT
    assert answer.json()["choices"][0]["finish_reason"] == "length"


def test_a_null_leaves_the_tasks_own_settings(real: RealStack) -> None:
    asked = {"model": "naming", "messages": USER, "ignore_eos": True}
    nulls = dict.fromkeys(
        ["max_tokens", "temperature", "response_format", "n", "stop", "tools", "tool_choice"]
    )
    plain, null = (post(real, "/v1/chat/completions", **asked, **more) for more in ({}, nulls))
    assert null.json()["choices"] == plain.json()["choices"]
    assert null.json()["usage"]["completion_tokens"] == 24
    assert ignored(null) == set()


def test_several_answers_at_a_tasks_temperature_of_zero_are_sampled(real: RealStack) -> None:
    asked = {"model": "naming", "messages": USER, "n": 3}
    assert len(post(real, "/v1/chat/completions", **asked).json()["choices"]) == 3
    own = post(real, "/v1/chat/completions", **asked, temperature=0)
    assert (own.status_code, own.json()["error"]["param"]) == (400, "n")


@pytest.mark.parametrize(
    ("path", "fields", "named"),
    [
        ("/v1/chat/completions", {"tools": [], "tool_choice": "auto"}, set()),
        ("/v1/chat/completions", {"tool_choice": "none"}, set()),
        ("/v1/messages", {"tools": [], "mcp_servers": []}, {"mcp_servers"}),
        ("/v1/responses", {"tools": [], "tool_choice": "auto"}, set()),
        ("/v1/chat/completions", {"stream_options": {"include_usage": True}}, {"stream_options"}),
        (
            "/v1/chat/completions",
            {"store": True, "service_tier": "flex", "verbosity": "low", "reasoning": {}, "trace_id": "x"},
            {"store", "service_tier", "verbosity", "reasoning", "trace_id"},
        ),
        (
            "/v1/responses",
            {
                "store": True,
                "text": {"verbosity": "low"},
                "reasoning": {"context": "auto"},
                "client_metadata": {"a": "b"},
                "include": ["web_search_call.action.sources"],
            },
            {"store", "text.verbosity", "reasoning.context", "client_metadata", "include"},
        ),
        (
            "/v1/messages",
            {
                "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
                "metadata": {"user_id": "u", "team": "t"},
                "thinking": {"type": "enabled", "budget_tokens": 1024},
                "speed": "fast",
                "betas": ["x"],
            },
            {"context_management", "metadata.team", "thinking", "speed", "betas"},
        ),
    ],
)
def test_wishes_are_taken(real: RealStack, path: str, fields: dict[str, Any], named: set[str]) -> None:
    key, asked = ROUTES[path]
    assert ignored(post(real, path, model="naming", **{**asked, key: 4, **fields})) == named


def test_tokens_of_a_whole_request_are_counted(real: RealStack) -> None:
    whole = {
        "max_tokens": 4,
        "metadata": {},
        "stream": True,
        "temperature": 1,
        "stop_sequences": ["x"],
        "tools": [],
    }
    counted, alone = (
        post(real, "/v1/messages/count_tokens", model="naming", messages=USER, **fields)
        for fields in (whole, {})
    )
    assert counted.json()["input_tokens"] == alone.json()["input_tokens"]
    assert ignored(counted) == whole.keys() - {"tools"}
