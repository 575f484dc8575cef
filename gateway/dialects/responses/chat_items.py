"""A chat's messages among the items of `/v1/responses`, as clients write them that convert by halves. Pure.

A call of a tool and its result are items of their own there; what says the same is read so, and what does
not is named with what to send.
"""

from __future__ import annotations

import msgspec
from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.chat.request_parts import TEXTS
from gateway.errors import InvalidRequest

_encode = msgspec.json.Encoder().encode
MARK = rb'"role"\s*:\s*"(?:tool|function)"|"tool_calls"\s*:\s*\[|"function_call"\s*:\s*\{'
"""The pattern that such a message matches in a conversation's JSON."""


def items_of(item: JsonObject, where: str, *, strict: bool) -> list[JsonObject]:
    """The items that a chat's message means, others as they are. Raises InvalidRequest.

    Where the gateway is strict a chat's message is refused.
    """
    if item.get("type", "message") != "message":
        return [item]
    role, calls = item.get("role"), item.get("tool_calls")
    if role == "function" or isinstance(item.get("function_call"), dict):
        name = "role" if role == "function" else "function_call"
        raise _refused(f"{where}.{name}", "is an older chat's and names no call; " + _SEND)
    called = calls if role == "assistant" and isinstance(calls, list) else []
    if role != "tool" and not called:
        return [item]
    if strict:
        raise _refused(where, "is a chat's message; " + _SEND)
    if role == "tool":
        call_id = _text(item.get("tool_call_id"), f"{where}.tool_call_id", "must be the call's id, text")
        output = _joined(item.get("content"), f"{where}.content")
        return [{"type": "function_call_output", "call_id": call_id, "output": output}]
    rest: JsonObject = {name: value for name, value in item.items() if name != "tool_calls"}
    said = [rest] if rest.get("content") else []
    return [*said, *(_call(one, f"{where}.tool_calls[{index}]") for index, one in enumerate(called))]


_SEND = (
    "send a call as an item of type function_call (call_id, name, arguments), "
    "its result as function_call_output (call_id, output)"
)


def _call(call: JsonValue, where: str) -> JsonObject:
    held = call if isinstance(call, dict) else {}
    function = held.get("function")
    if not isinstance(function, dict) or held.get("type", "function") != "function":
        raise _refused(where, "is no call of a function; " + _SEND)
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        arguments = _encode(arguments).decode()
    return {
        "type": "function_call",
        "call_id": _text(held.get("id"), f"{where}.id", "must be text"),
        "name": _text(function.get("name"), f"{where}.function.name", "must be text"),
        "arguments": _text(arguments, f"{where}.function.arguments", "must be JSON in a text"),
    }


def _joined(content: JsonValue, where: str) -> str:
    """A tool's words, in one piece or in parts."""
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        held = part if isinstance(part, dict) else {}
        text = held.get("text")
        if held.get("type") not in TEXTS or not isinstance(text, str):
            raise _refused(where, 'must be text, or parts such as {"type": "text", "text": "…"}')
        texts.append(text)
    return "\n".join(texts)


def _text(value: JsonValue, where: str, rule: str) -> str:
    if not isinstance(value, str):
        raise _refused(where, rule)
    return value


def _refused(where: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"'{where}' {why}.", param=where)
