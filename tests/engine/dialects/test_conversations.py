"""What clients put into a conversation, on a real vLLM: faults with their place, histories from elsewhere."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.engine.conftest import RealStack

pytestmark = pytest.mark.engine
USER = {"role": "user", "content": "a"}
PATHS = {"messages": "/v1/messages", "input": "/v1/responses", "chat": "/v1/chat/completions"}


def ask(real: RealStack, api: str, prompt: Any) -> httpx.Response:
    name, length = {
        "chat": ("messages", "max_tokens"),
        "messages": ("messages", "max_tokens"),
        "input": ("input", "max_output_tokens"),
    }[api]
    body = {"model": "naming", name: prompt, length: 3}
    return httpx.post(f"{real.url}{PATHS[api]}", json=body, timeout=240)


@pytest.mark.parametrize(
    ("api", "content", "place"),
    [
        ("chat", [{"type": "input_text", "text": "x"}], "messages[1].content[0].type"),
        ("chat", [{"text": "x"}], "messages[1].content[0].type"),
        ("chat", ["x", "y"], "messages[1].content[0]"),
        ("chat", None, "messages[1].content"),
        ("chat", [{"type": "text", "text": None}], "messages[1].content[0].text"),
        ("chat", [{"type": "image_url", "image_url": {"url": "x"}}], "messages[1].content[0]"),
        ("messages", None, "messages[1].content"),
        ("messages", ["x"], "messages[1].content[0]"),
        ("messages", [{"type": "image", "source": {"type": "url", "url": "x"}}], "messages[1].content[0]"),
        ("messages", [{"type": "document", "source": {"type": "url", "url": "x"}}], "messages[1].content[0]"),
        ("input", None, "input[1].content"),
        ("input", [{"type": "text", "text": "x"}], "input[1].content[0].type"),
        ("input", [{"type": "input_image", "image_url": "x"}], "input[1].content[0]"),
    ],
)
def test_fault_has_its_place_in_one_sentence(real: RealStack, api: str, content: Any, place: str) -> None:
    answer = ask(real, api, [USER, {"role": "user", "content": content}])
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error.get("param", place) == place
    assert f"'{place}" in error["message"]
    assert "Input should be" not in error["message"]


@pytest.mark.parametrize(
    ("api", "between", "ignored"),
    [
        ("input", {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "x"}, "input[1]"),
        ("input", {"type": "local_shell_call", "action": {"type": "exec", "command": ["ls"]}}, ""),
        ("input", {"type": "local_shell_call_output", "id": "l", "output": "x"}, ""),
        ("input", {"type": "web_search_call", "id": "w", "status": "completed"}, "input[1]"),
        ("input", {"type": "compaction", "encrypted_content": "x"}, "input[1]"),
        ("input", {"role": "assistant", "content": [{"type": "output_text", "text": "x"}]}, ""),
        (
            "messages",
            {"role": "user", "content": [{"type": "document", "source": {"type": "text", "data": "x"}}]},
            "",
        ),
        (
            "messages",
            {
                "role": "assistant",
                "content": [{"type": "server_tool_use", "id": "s", "name": "w", "input": {}}],
            },
            "messages[1].content[0]",
        ),
    ],
)
def test_history_of_another_server_is_read(real: RealStack, api: str, between: Any, ignored: str) -> None:
    answer = ask(real, api, [USER, between, USER])
    assert answer.status_code == 200, answer.text
    assert answer.headers.get("x-gateway-ignored", "") == ignored


def test_tools_of_another_server_are_left_out(real: RealStack) -> None:
    city = {"type": "object", "properties": {"city": {"enum": ["Paris"]}}, "required": ["city"]}
    tool = {"type": "function", "name": "f", "parameters": city}
    space = {"type": "namespace", "name": "n", "description": "d", "tools": [{**tool, "name": "g"}]}
    body = {
        "model": "base",
        "input": "Where is it?",
        "tools": [{"type": "web_search"}, tool, space],
        "tool_choice": "required",
        "max_output_tokens": 60,
        "temperature": 0,
    }
    answer = httpx.post(f"{real.url}/v1/responses", json=body, timeout=240)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-gateway-ignored"] == "tools[0]"
    (call,) = answer.json()["output"]
    assert (call["type"], call["name"] in ("f", "g")) == ("function_call", True)
