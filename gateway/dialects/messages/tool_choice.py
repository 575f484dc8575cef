"""`tool_choice` on `/v1/messages`: an object with a type; as another API writes it, it is read. Pure."""

from __future__ import annotations

import msgspec
from pydantic import JsonValue

from gateway.dialects.parameters import Limits, value_of
from gateway.dialects.request_body import Fields, given, raw_of, with_member
from gateway.dialects.tools import tool_choice as free_among_none
from gateway.errors import InvalidRequest

KEY = "tool_choice"
_TYPES = {"auto": "auto", "any": "any", "required": "any", "none": "none"}
"""OpenAI says required for any."""
_AUTO, _TRUE = msgspec.Raw(b'{"type":"auto"}'), msgspec.Raw(b"true")


def respell(fields: Fields, limits: Limits) -> None:
    """Write a choice as this API has it, before the rules look at it. Raises InvalidRequest.

    Where the gateway is strict one in another form is refused.
    """
    if not given(fields, KEY):
        return
    choice = value_of(KEY, fields)
    meant = respelled(choice)
    if meant == choice:
        return
    if meant is None or limits.strict:
        shown = repr(choice)[:80] if isinstance(choice, str) else "in the form of another API"
        raise InvalidRequest(
            f"'{KEY}' is {shown}; it must be an object with a type: "
            '{"type": "auto"}, {"type": "any"}, {"type": "none"} or {"type": "tool", "name": "…"}.',
            param=KEY,
        )
    fields[KEY] = raw_of(meant)


def respelled(choice: JsonValue) -> JsonValue:
    """A choice as this API has it; None for what means nothing here.

    What has a form of its own is the engine's to judge.
    """
    if isinstance(choice, str):
        return {"type": _TYPES[choice]} if choice in _TYPES else None
    if not isinstance(choice, dict):
        return None
    if choice.get("type") == "required":
        return {**choice, "type": "any"}
    if choice.get("type") != "function":
        return choice
    inner = choice.get("function")
    name = inner.get("name") if isinstance(inner, dict) else choice.get("name")
    return {"type": "tool", "name": name} if isinstance(name, str) else None


def check(key: str, fields: Fields, limits: Limits) -> None:
    """A rule: the engine forgets a choice among no tools. Raises InvalidRequest."""
    free_among_none(key, fields, limits)
    value = value_of(key, fields) if key in fields else None
    if isinstance(value, dict) and value.get("type") in ("any", "tool") and not given(fields, "tools"):
        raise InvalidRequest("tool_choice: it may only be specified while providing tools", param=key)


def take_one_at_a_time(fields: Fields) -> None:
    """As a chat's `parallel_tool_calls: false`, where the client does not say itself."""
    fields.setdefault(KEY, _AUTO)
    with_member(fields, KEY, "disable_parallel_tool_use", _TRUE)
