"""Roles by the names of other libraries: `human` and `ai` of LangChain, `model` of Gemini. Pure.

The engine takes any role and leaves it to the base's chat template, and many templates pass over a message
whose role they do not know: the model would not be shown it, and nothing would say so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import MappingProxyType

from pydantic import JsonValue

from gateway.dialects.parameters import Limits, marked_list, unsupported
from gateway.dialects.request_body import Fields, raw_of

MEANT = MappingProxyType({"human": "user", "ai": "assistant", "model": "assistant"})
MARK = rb'"role"\s*:\s*"(?:' + "|".join(MEANT).encode() + rb')"'
"""The pattern that such a role matches in a conversation's JSON."""
_MARKED = re.compile(MARK)


def respell(key: str, fields: Fields, limits: Limits) -> None:
    """A rule: write each such role as this API has it. Raises InvalidRequest where the gateway is strict."""
    messages = marked_list(key, fields, _MARKED)
    if messages is not None:
        fields[key] = raw_of(respelled(key, messages, limits))


def respelled(key: str, messages: Sequence[JsonValue], limits: Limits) -> list[JsonValue]:
    """The messages with the roles of this API; `key` is where they are. Raises InvalidRequest."""
    written: list[JsonValue] = []
    for index, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if isinstance(message, dict) and isinstance(role, str) and role in MEANT:
            if limits.strict:
                place = f"{key}[{index}].role"
                raise unsupported(place, f"'{place}' is '{role}'; its name here is '{MEANT[role]}'.")
            message = {**message, "role": MEANT[role]}
        written.append(message)
    return written
