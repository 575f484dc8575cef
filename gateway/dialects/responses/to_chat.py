"""A request to `/v1/responses` as a chat. Pure.

LiteLLM has a bridge of its own, which is not used: what a provider's API has not it leaves out unsaid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.chat.as_chat import AsChat
from gateway.dialects.chat.request_parts import (
    TEXT_ONLY,
    TEXTS,
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

READ = ("input", "instructions", "max_output_tokens", "text", "tools", "tool_choice", "reasoning")
"""What a chat has in another form; all else stays as it is."""
NAMES = MappingProxyType(
    {
        "messages": "input",
        "max_tokens": "max_output_tokens",
        "response_format": "text.format",
        "reasoning_effort": "reasoning.effort",
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
_PART = frozenset({"type", "text", "annotations", "logprobs", "prompt_cache_breakpoint"})
_MESSAGE = frozenset({"type", "role", "content", "id", "status", "phase"})
_CALL = frozenset({"type", "call_id", "name", "arguments", "id", "status", "caller"})
_RESULT = frozenset({"type", "call_id", "output", "id", "status", "name", "caller"})
_TOOL = frozenset({"type", "name", "description", "parameters", "strict"})
_ROLES = ("user", "assistant", "system", "developer")


def chat_of_response(body: JsonObject) -> AsChat:
    """The whole request. Raises CannotAsk."""
    chat = AsChat(
        {
            key: value
            for key, value in body.items()
            if key not in READ and not (key in ASKS_NOTHING and ASKS_NOTHING[key](value))
        },
        NAMES,
    )
    if "max_output_tokens" in body:
        chat.parameters["max_tokens"] = body["max_output_tokens"]
    if body.get("instructions"):
        chat.take({"role": "system", "content": body["instructions"]}, "instructions", _add)
    asked = body.get("input")
    if isinstance(asked, str):
        chat.take({"role": "user", "content": asked}, "input", _add)
    else:
        for index, item in enumerate(items_of(asked, "input")):
            chat.take(item, f"input[{index}]", _add)
    tools = tools_of(body.get("tools"), _function)
    chat.parameters |= tools
    if not tools:
        chat.parameters.pop("parallel_tool_calls", None)  # OpenAI's chats take it beside tools alone
    if "tool_choice" in body:
        chat.parameters |= _tool_choice(body["tool_choice"], bool(tools))
    if "text" in body:
        chat.parameters |= _format(body["text"])
    reasoning = only(body.get("reasoning", {}), ("effort",), "reasoning")
    if "effort" in reasoning:
        chat.parameters["reasoning_effort"] = reasoning["effort"]
    return chat


def _add(item: JsonValue, messages: list[JsonValue]) -> None:
    """One item of the input; a chat has an assistant's words and its calls in one message."""
    kind = item.get("type", "message") if isinstance(item, dict) else None
    last = messages[-1] if messages else None
    turn = last if isinstance(last, dict) and last.get("role") == "assistant" else None
    if kind == "message":
        given = only(item, _MESSAGE, "input")
        role = given.get("role")
        if role not in _ROLES:
            raise honour("input.role")
        content = content_of(texts_of(given.get("content"), TEXTS, _PART))
        if role == "assistant" and turn is not None and turn.get("content") is None:
            turn["content"] = content
        else:
            messages.append({"role": role, "content": content})
    elif kind == "function_call":
        given = without_caller(only(item, _CALL, kind), kind)
        call_id = text_of(given.get("call_id"), "function_call.call_id")
        call = call_of(call_id, given.get("name"), given.get("arguments"), kind)
        calls = turn.get("tool_calls") if turn is not None else None
        if isinstance(calls, list):
            calls.append(call)
        elif turn is not None:
            turn["tool_calls"] = [call]
        else:
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
    elif kind == "function_call_output":
        given = without_caller(only(item, _RESULT, kind), kind)
        content = "\n".join(texts_of(given.get("output"), TEXTS, _PART))
        call_id = text_of(given.get("call_id"), "function_call_output.call_id")
        messages.append({"role": "tool", "tool_call_id": call_id, "content": content})
    else:
        raise CannotAsk(TEXT_ONLY)


def _function(tool: JsonValue, where: str) -> JsonObject:
    given = only(tool, _TOOL, where)
    if given.pop("type", None) != "function":
        raise honour(f"{where}.type")
    return given


def _tool_choice(choice: JsonValue, tools: bool) -> JsonObject:
    if isinstance(choice, str):
        asks_nothing = not tools and choice in ("auto", "none")  # OpenAI's chats take no choice without tools
        return {} if asks_nothing else {"tool_choice": choice}
    given = only(choice, ("type", "name"), "tool_choice")
    if given.get("type") != "function":
        raise honour("tool_choice.type")
    return {"tool_choice": chosen(given.get("name"))}


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
