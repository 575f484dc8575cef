"""A client's request in another API's form, as the chat completion that a pipeline reads. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.errors import InvalidRequest
from gateway.pipeline.output import FORMAT

_MESSAGE = re.compile(r"messages(?:\[(?P<index>\d+)\])?(?P<rest>.*)")
_TEXTS = ("text", "input_text", "output_text")
_ASKS_NOTHING: Mapping[str, Callable[[JsonValue], bool]] = MappingProxyType(
    {
        "include": lambda value: value in ([], ["reasoning.encrypted_content"]),
        "text": lambda value: _only_text(value),
        "truncation": lambda value: value == "disabled",
        "background": lambda value: value is False,
        "include_reasoning": lambda value: isinstance(value, bool),
        "stop_sequences": lambda value: value == [],
        "thinking": lambda value: value == {"type": "disabled"},
        "output_config": lambda value: value == {},
        "cache_control": lambda value: True,
        "max_tool_calls": lambda value: True,
        "speed": lambda value: value == "standard",
    }
)
"""Parameters that chat completions have not, with a value that changes nothing in a pipeline."""


def _only_text(value: JsonValue) -> bool:
    if not isinstance(value, dict):
        return False
    plain: JsonObject = {"format": {"type": "text"}, "verbosity": "medium"}
    return all(one in (None, plain.get(key)) for key, one in value.items())


def from_response(body: JsonObject) -> JsonObject:
    """The chat that a body of `/v1/responses` asks for. Raises InvalidRequest where a chat cannot say it."""
    chat = _without_what_asks_nothing(body)
    given = chat.pop("input", None)
    messages: list[JsonValue] = []
    if isinstance(given, str):
        messages = [{"role": "user", "content": given}]
    elif isinstance(given, list):
        messages = [_message(item, index) for index, item in enumerate(given)]
    else:
        raise InvalidRequest("'input' must be text or a list of messages.", param="input")
    if "text" in chat:
        chat[FORMAT] = _format_of(chat.pop("text"), "text")
    instructions = chat.pop("instructions", None)
    if instructions:
        messages.insert(0, {"role": "system", "content": instructions})
    if "max_output_tokens" in chat:
        chat["max_tokens"] = chat.pop("max_output_tokens")
    return {**chat, "messages": messages}


def told_of_response(error: InvalidRequest, asked: JsonObject) -> InvalidRequest:
    """An error about the chat that a response's request became, in the names of that request."""
    message, param = error.message, error.param or ""
    place = _MESSAGE.match(param)
    if place is not None:
        index = place["index"]
        param = place_in_response(int(index), asked) if index else "input"
        message = message.replace(f"messages[{index}]", param).replace("'messages'", "'input'")
        param += place["rest"] if param.startswith("input[") else ""
    elif param == FORMAT:
        message, param = message.replace(f"'{FORMAT}'", "'text.format'"), "text.format"
    elif param == "max_tokens":
        message, param = message.replace("max_tokens", "max_output_tokens"), "max_output_tokens"
    return InvalidRequest(message, param=param or None, code=error.code, status=error.status)


def place_in_response(index: int, asked: JsonObject) -> str:
    """Where the request has what is a chat's message `index`."""
    index -= bool(asked.get("instructions"))
    if index < 0:
        return "instructions"
    return "input" if isinstance(asked.get("input"), str) else f"input[{index}]"


def from_message(body: JsonObject) -> JsonObject:
    """The chat that a body of `/v1/messages` asks for. Raises InvalidRequest where a chat cannot say it."""
    chat = _without_what_asks_nothing(body)
    if "output_config" in chat:
        chat[FORMAT] = _format_of(chat.pop("output_config"), "output_config")
    system = chat.pop("system", None)
    messages = chat.get("messages")
    if system and isinstance(messages, list):
        chat["messages"] = [{"role": "system", "content": system}, *messages]
    if chat.get("service_tier") == "standard_only":
        del chat["service_tier"]
    if chat.get("tool_choice") in ({"type": "auto"}, {"type": "none"}):
        del chat["tool_choice"]
    return chat


def told_of_message(error: InvalidRequest, asked: JsonObject) -> InvalidRequest:
    """An error about the chat that a message's request became, in the names and the count of that request."""
    message, param = error.message, error.param or ""
    place = _MESSAGE.match(param)
    if place is not None and place["index"]:
        named = place_in_message(int(place["index"]), asked)
        message, param = message.replace(f"messages[{place['index']}]", named), f"{named}{place['rest']}"
    elif param == FORMAT:
        message, param = message.replace(f"'{FORMAT}'", "'output_config.format'"), "output_config.format"
    return InvalidRequest(message, param=param or None, code=error.code, status=error.status)


def place_in_message(index: int, asked: JsonObject) -> str:
    """What a client of `/v1/messages` calls the chat's message at `index`: `system` or `messages[i]`."""
    index -= bool(asked.get("system"))
    return "system" if index < 0 else f"messages[{index}]"


def _format_of(value: JsonValue, name: str) -> JsonValue:
    """A chat's format of what other APIs keep in an object, whose other members ask for nothing here."""
    held = value if isinstance(value, dict) else {}
    for key in held:
        if key != "format" and held[key] not in (None, "medium"):
            raise InvalidRequest(f"a pipeline cannot honour '{name}.{key}'; omit it", param=f"{name}.{key}")
    wanted = held.get("format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return wanted
    return {"type": "json_schema", "json_schema": {"schema": wanted.get("schema")}}


def _without_what_asks_nothing(body: JsonObject) -> JsonObject:
    return {
        key: value
        for key, value in body.items()
        if value is not None and not (key in _ASKS_NOTHING and _ASKS_NOTHING[key](value))
    }


def _message(item: JsonValue, index: int) -> JsonValue:
    if not isinstance(item, dict) or item.get("type", "message") != "message":
        kind = item.get("type") if isinstance(item, dict) else item
        raise InvalidRequest(
            f"a pipeline reads messages only; this is of type {str(kind)[:80]!r}", param=f"input[{index}]"
        )
    content = item.get("content")
    if isinstance(content, list):
        content = [
            {"type": "text", "text": part.get("text")}
            if isinstance(part, dict) and part.get("type") in _TEXTS
            else part
            for part in content
        ]
    return {"role": item.get("role"), "content": content}
