"""A request to `/v1/messages` as a chat. Pure.

LiteLLM has a bridge of its own, which is not used: what a provider's API has not it leaves out unsaid.
"""

from __future__ import annotations

from types import MappingProxyType

import msgspec
from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.chat.as_chat import AsChat
from gateway.dialects.chat.request_parts import (
    TEXT_ONLY,
    CannotAsk,
    call_of,
    chosen,
    content_of,
    honour,
    items_of,
    only,
    text_of,
    texts_of,
    tools_of,
    without_caller,
)

READ = ("messages", "system", "stop_sequences", "tools", "tool_choice", "output_config")
"""What a chat has in another form; all else stays as it is."""
NAMES = MappingProxyType(
    {
        "stop": "stop_sequences",
        "response_format": "output_config.format",
        "reasoning_effort": "output_config.effort",
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    }
)
_TEXT = frozenset({"type", "text", "cache_control"})
_CALL = frozenset({"type", "id", "name", "input", "cache_control", "caller"})
_RESULT = frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"})
_TOOL = frozenset(
    {
        *("type", "name", "description", "input_schema", "strict", "defer_loading", "cache_control"),
        "eager_input_streaming",
    }
)
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_BILLING = "x-anthropic-billing-header"
"""A client's mark in its system prompt, which the engine takes out too."""

_encode = msgspec.json.Encoder().encode


def chat_of_message(body: JsonObject) -> AsChat:
    """The whole request. Raises CannotAsk."""
    chat = AsChat({key: value for key, value in body.items() if key not in READ}, NAMES)
    if "system" in body:
        chat.take({"role": "system", "content": body["system"]}, "system", _add)
    for index, message in enumerate(items_of(body.get("messages"), "messages")):
        chat.take(message, f"messages[{index}]", _add)
    if body.get("stop_sequences"):
        chat.parameters["stop"] = body["stop_sequences"]
    tools = tools_of(body.get("tools"), _function)
    chat.parameters |= tools
    if "tool_choice" in body:
        chat.parameters |= _tool_choice(body["tool_choice"], bool(tools))
    if "output_config" in body:
        chat.parameters |= _output_config(body["output_config"])
    if chat.parameters.get("thinking") == {"type": "disabled"}:
        del chat.parameters["thinking"]
        chat.parameters["reasoning_effort"] = "none"
    return chat


def _add(message: JsonValue, messages: list[JsonValue]) -> None:
    """What one message becomes: the results of tools are messages of their own."""
    given = only(message, ("role", "content"), "messages")
    role, content = given.get("role"), given.get("content")
    if role == "system":
        # As vLLM joins them: a system's texts with nothing between, those of a tool's result by line ends.
        texts = [text for text in texts_of(content, ("text",), _TEXT) if not text.startswith(_BILLING)]
        messages += [{"role": "system", "content": "".join(texts)}] if texts else []
        return
    if role not in ("user", "assistant"):
        raise honour("messages.role")
    if isinstance(content, str):
        messages.append({"role": role, "content": content})
        return
    texts_: list[JsonValue] = []
    calls: list[JsonValue] = []
    results: list[JsonValue] = []
    for block in items_of(content, "messages.content"):
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            texts_.append(block)
        elif kind == "tool_use" and role == "assistant":
            calls.append(_call(block))
        elif kind == "tool_result" and role == "user":
            results.append(_result(block))
        else:
            raise CannotAsk(TEXT_ONLY)
    said = texts_of(texts_, ("text",), _TEXT)
    # First, since OpenAI's API wants results right behind their calls.
    messages += results
    if calls:
        messages.append({"role": role, "content": content_of(said) if said else None, "tool_calls": calls})
    elif said or not results:
        messages.append({"role": role, "content": content_of(said)})


def _call(block: JsonValue) -> JsonObject:
    given = without_caller(only(block, _CALL, "tool_use"), "tool_use")
    arguments = given.get("input", {})
    if not isinstance(arguments, dict):
        raise honour("tool_use.input")
    call_id = text_of(given.get("id"), "tool_use.id")
    return call_of(call_id, given.get("name"), _encode(arguments).decode(), "tool_use")


def _result(block: JsonValue) -> JsonObject:
    given = only(block, _RESULT, "tool_result")
    if given.get("is_error", False) is not False:
        raise honour("tool_result.is_error")
    texts = texts_of(given.get("content", ""), ("text",), _TEXT)
    call = text_of(given.get("tool_use_id"), "tool_result.tool_use_id")
    return {"role": "tool", "tool_call_id": call, "content": "\n".join(texts)}


def _function(tool: JsonValue, where: str) -> JsonObject:
    given = only(tool, _TOOL, where)
    if given.get("defer_loading", False) is not False:
        raise honour(f"{where}.defer_loading")
    function: JsonObject = {key: given[key] for key in ("name", "description", "strict") if key in given}
    return {**function, "parameters": given.get("input_schema")}


def _tool_choice(choice: JsonValue, tools: bool) -> JsonObject:
    given = only(choice, ("type", "name", "disable_parallel_tool_use"), "tool_choice")
    kind = str(given.get("type"))
    if not tools and kind in ("auto", "none"):
        return {}  # OpenAI's API takes no choice without tools, and this one asks for nothing
    if kind != "tool" and kind not in _CHOICES:
        raise honour("tool_choice.type")
    wanted: JsonObject = {"tool_choice": chosen(given.get("name")) if kind == "tool" else _CHOICES[kind]}
    if given.get("disable_parallel_tool_use") is True and kind != "none":
        wanted["parallel_tool_calls"] = False
    return wanted


def _output_config(config: JsonValue) -> JsonObject:
    given = only(config, ("format", "effort"), "output_config")
    wanted: JsonObject = {"reasoning_effort": given["effort"]} if "effort" in given else {}
    if "format" in given:
        form = only(given["format"], ("type", "schema", "name", "strict"), "output_config.format")
        if form.pop("type", None) != "json_schema" or not isinstance(form.get("schema"), dict):
            raise honour("output_config.format")
        # Anthropic's format always binds; a chat's does where it is strict, and it must have a name.
        schema: JsonObject = {"name": "answer", "strict": True, **form}
        wanted["response_format"] = {"type": "json_schema", "json_schema": schema}
    return wanted
