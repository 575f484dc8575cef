"""A request to `/v1/messages` as a chat. Pure.

LiteLLM has a bridge of its own, which is not used: what a provider's API has not it leaves out unsaid.
"""

from __future__ import annotations

import msgspec
from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.request_parts import (
    TEXT_ONLY,
    CannotAsk,
    content_of,
    honour,
    items_of,
    only,
    text_of,
    texts_of,
)

SAME = frozenset({"max_tokens", "temperature", "top_p"})
TAKEN = SAME | {"messages", "system", "stop_sequences", "tools", "tool_choice", "output_config"}
_TEXT = frozenset({"type", "text", "cache_control"})
_CALL = frozenset({"type", "id", "name", "input", "cache_control"})
_RESULT = frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"})
_TOOL = frozenset({"type", "name", "description", "input_schema", "strict", "defer_loading", "cache_control"})
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_BILLING = "x-anthropic-billing-header"
"""A client's mark in its system prompt, which the engine takes out too."""

_encode = msgspec.json.Encoder().encode


def chat_of_message(body: JsonObject) -> JsonObject:
    """The whole request, or nothing of it. Raises CannotAsk."""
    given = only(body, TAKEN, "")
    chat: JsonObject = {key: value for key, value in given.items() if key in SAME}
    messages: list[JsonValue] = []
    if "system" in given:
        messages += _system(given["system"])
    for message in items_of(given.get("messages"), "messages"):
        messages += _messages(message)
    chat["messages"] = messages
    if given.get("stop_sequences"):
        chat["stop"] = given["stop_sequences"]
    tools = given.get("tools")
    if tools:
        listed = items_of(tools, "tools")
        chat["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(listed)]
    if "tool_choice" in given:
        chat |= _tool_choice(given["tool_choice"], bool(tools))
    if "output_config" in given:
        chat |= _output_config(given["output_config"])
    return chat


def _system(content: JsonValue) -> list[JsonValue]:
    texts = [text for text in texts_of(content, ("text",), _TEXT) if not text.startswith(_BILLING)]
    return [{"role": "system", "content": "".join(texts)}] if texts else []


def _messages(message: JsonValue) -> list[JsonValue]:
    """What one message becomes: the results of tools are messages of their own."""
    given = only(message, ("role", "content"), "messages")
    role, content = given.get("role"), given.get("content")
    if role == "system":
        return _system(content)
    if role not in ("user", "assistant"):
        raise honour("messages.role")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    texts: list[JsonValue] = []
    calls: list[JsonValue] = []
    results: list[JsonValue] = []
    for block in items_of(content, "messages.content"):
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            texts.append(block)
        elif kind == "tool_use" and role == "assistant":
            calls.append(_call(block))
        elif kind == "tool_result" and role == "user":
            results.append(_result(block))
        else:
            raise CannotAsk(TEXT_ONLY)
    said = texts_of(texts, ("text",), _TEXT)
    if calls:
        return [{"role": role, "content": content_of(said) if said else None, "tool_calls": calls}]
    if results and not said:
        return results
    return [*results, {"role": role, "content": content_of(said)}]


def _call(block: JsonValue) -> JsonValue:
    given = only(block, _CALL, "tool_use")
    arguments = given.get("input", {})
    if not isinstance(arguments, dict):
        raise honour("tool_use.input")
    function: JsonObject = {
        "name": text_of(given.get("name"), "tool_use.name"),
        "arguments": _encode(arguments).decode(),
    }
    return {"id": text_of(given.get("id"), "tool_use.id"), "type": "function", "function": function}


def _result(block: JsonValue) -> JsonValue:
    given = only(block, _RESULT, "tool_result")
    if given.get("is_error", False) is not False:
        raise honour("tool_result.is_error")
    texts = texts_of(given.get("content", ""), ("text",), _TEXT)
    call = text_of(given.get("tool_use_id"), "tool_result.tool_use_id")
    return {"role": "tool", "tool_call_id": call, "content": "\n".join(texts)}


def _tool(tool: JsonValue, where: str) -> JsonValue:
    given = only(tool, _TOOL, where)
    if given.get("defer_loading", False) is not False:
        raise honour(f"{where}.defer_loading")
    function: JsonObject = {key: given[key] for key in ("name", "description", "strict") if key in given}
    function["parameters"] = given.get("input_schema")
    return {"type": "function", "function": function}


def _tool_choice(choice: JsonValue, tools: bool) -> JsonObject:
    given = only(choice, ("type", "name", "disable_parallel_tool_use"), "tool_choice")
    kind = str(given.get("type"))
    if not tools and kind in ("auto", "none"):
        return {}  # OpenAI's API takes no choice without tools, and this one asks for nothing
    chosen: JsonObject = {}
    if kind == "tool":
        name = text_of(given.get("name"), "tool_choice.name")
        chosen["tool_choice"] = {"type": "function", "function": {"name": name}}
    elif kind in _CHOICES:
        chosen["tool_choice"] = _CHOICES[kind]
    else:
        raise honour("tool_choice.type")
    if given.get("disable_parallel_tool_use") is True and kind != "none":
        chosen["parallel_tool_calls"] = False
    return chosen


def _output_config(config: JsonValue) -> JsonObject:
    given = only(config, ("format", "effort"), "output_config")
    wanted: JsonObject = {}
    if "effort" in given:
        wanted["reasoning_effort"] = given["effort"]
    if "format" in given:
        form = only(given["format"], ("type", "schema"), "output_config.format")
        if form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
            raise honour("output_config.format")
        schema: JsonObject = {"name": "answer", "schema": form["schema"], "strict": True}
        wanted["response_format"] = {"type": "json_schema", "json_schema": schema}
    return wanted
