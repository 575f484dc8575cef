"""A request to `/v1/responses` as a chat. Pure.

LiteLLM has a bridge of its own, which is not used: what a provider's API has not it leaves out unsaid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

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

SAME = frozenset(
    {
        *("temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty"),
        "parallel_tool_calls",
    }
)
ASKS_NOTHING: Mapping[str, Callable[[JsonValue], bool]] = MappingProxyType(
    {
        "include": lambda value: value in ([], ["reasoning.encrypted_content"]),  # no reasoning is returned
        "truncation": lambda value: value == "disabled",
        "background": lambda value: value is False,
        "enable_response_messages": lambda value: value is False,
        "max_tool_calls": lambda value: True,  # of the server's own tools, which there are none of
        "top_logprobs": lambda value: value == 0,
    }
)
"""With a value that changes nothing in an answer."""
TAKEN = (
    SAME
    | ASKS_NOTHING.keys()
    | {"input", "instructions", "max_output_tokens", "text", "tools", "tool_choice", "reasoning"}
)
_TEXTS = ("text", "input_text", "output_text")
_PART = frozenset({"type", "text", "annotations", "logprobs"})
_MESSAGE = frozenset({"type", "role", "content", "id", "status", "phase"})
_CALL = frozenset({"type", "call_id", "name", "arguments", "id", "status"})
_RESULT = frozenset({"type", "call_id", "output", "id", "status"})
_TOOL = frozenset({"type", "name", "description", "parameters", "strict"})
_ROLES = ("user", "assistant", "system", "developer")


def chat_of_response(body: JsonObject) -> JsonObject:
    """The whole request, or nothing of it. Raises CannotAsk."""
    given = only(body, TAKEN, "")
    for key, asks_nothing in ASKS_NOTHING.items():
        if key in given and not asks_nothing(given[key]):
            raise honour(key)
    chat: JsonObject = {key: value for key, value in given.items() if key in SAME}
    if "max_output_tokens" in given:
        chat["max_tokens"] = given["max_output_tokens"]
    messages: list[JsonObject] = []
    if given.get("instructions"):
        messages.append({"role": "system", "content": text_of(given["instructions"], "instructions")})
    asked = given.get("input")
    if isinstance(asked, str):
        messages.append({"role": "user", "content": asked})
    else:
        for item in items_of(asked, "input"):
            _add(item, messages)
    chat["messages"] = list[JsonValue](messages)
    tools = given.get("tools")
    if tools:
        listed = items_of(tools, "tools")
        chat["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(listed)]
    else:
        chat.pop("parallel_tool_calls", None)
    if "tool_choice" in given:
        chat |= _tool_choice(given["tool_choice"], bool(tools))
    if "text" in given:
        chat |= _format(given["text"])
    if "reasoning" in given:
        reasoning = only(given["reasoning"], ("effort",), "reasoning")
        if "effort" in reasoning:
            chat["reasoning_effort"] = reasoning["effort"]
    return chat


def _add(item: JsonValue, messages: list[JsonObject]) -> None:
    """One item of the input; a chat has an assistant's words and its calls in one message."""
    kind = item.get("type", "message") if isinstance(item, dict) else None
    last = messages[-1] if messages else {}
    if kind == "message":
        given = only(item, _MESSAGE, "input")
        role = given.get("role")
        if role not in _ROLES:
            raise honour("input.role")
        content = content_of(texts_of(given.get("content"), _TEXTS, _PART))
        if role == "assistant" == last.get("role") and last.get("content") is None:
            last["content"] = content
        else:
            messages.append({"role": role, "content": content})
    elif kind == "function_call":
        given = only(item, _CALL, "function_call")
        function: JsonObject = {
            key: text_of(given.get(key), f"function_call.{key}") for key in ("name", "arguments")
        }
        call_id = text_of(given.get("call_id"), "function_call.call_id")
        call: JsonObject = {"id": call_id, "type": "function", "function": function}
        calls = last.get("tool_calls")
        if isinstance(calls, list):
            calls.append(call)
        elif last.get("role") == "assistant":
            last["tool_calls"] = [call]
        else:
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
    elif kind == "function_call_output":
        given = only(item, _RESULT, "function_call_output")
        content = "\n".join(texts_of(given.get("output"), _TEXTS, _PART))
        call_id = text_of(given.get("call_id"), "function_call_output.call_id")
        messages.append({"role": "tool", "tool_call_id": call_id, "content": content})
    else:
        raise CannotAsk(TEXT_ONLY)


def _tool(tool: JsonValue, where: str) -> JsonValue:
    given = only(tool, _TOOL, where)
    if given.pop("type", None) != "function":
        raise honour(f"{where}.type")
    return {"type": "function", "function": given}


def _tool_choice(choice: JsonValue, tools: bool) -> JsonObject:
    if isinstance(choice, str):
        asks_nothing = not tools and choice in ("auto", "none")  # OpenAI's chats take no choice without tools
        return {} if asks_nothing else {"tool_choice": choice}
    given = only(choice, ("type", "name"), "tool_choice")
    if given.get("type") != "function":
        raise honour("tool_choice.type")
    name = text_of(given.get("name"), "tool_choice.name")
    return {"tool_choice": {"type": "function", "function": {"name": name}}}


def _format(text: JsonValue) -> JsonObject:
    given = only(text, ("format", "verbosity"), "text")
    if given.get("verbosity", "medium") != "medium":
        raise honour("text.verbosity")
    if "format" not in given:
        return {}
    form = only(given["format"], ("type", "name", "schema", "strict", "description"), "text.format")
    kind = form.pop("type", None)
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    if kind != "json_schema":
        raise honour("text.format.type")
    return {"response_format": {"type": "json_schema", "json_schema": form}}
