"""Roles by the names of other libraries: `human` and `ai` of LangChain, `model` of Gemini. Pure.

The engine takes any role and leaves it to the base's chat template, and many templates pass over a message
whose role they do not know: the model would not be shown it, and nothing would say so.
"""

from __future__ import annotations

import re
from types import MappingProxyType

import msgspec
from pydantic import JsonValue

from gateway.dialects.parameters import Limits, unsupported, value_of
from gateway.dialects.request_body import Fields

MEANT = MappingProxyType({"human": "user", "ai": "assistant", "model": "assistant"})
_MARK = re.compile(rb'"role"\s*:\s*"(?:' + "|".join(MEANT).encode() + rb')"')
"""Without it nothing is looked at."""
_encode = msgspec.json.Encoder().encode


def respell(key: str, fields: Fields, limits: Limits) -> None:
    """A rule: write each such role as this API has it. Raises InvalidRequest where the gateway is strict."""
    if not _MARK.search(fields[key]):
        return
    messages = value_of(key, fields, None)
    if not isinstance(messages, list):
        return
    written: list[JsonValue] = []
    for index, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        meant = MEANT.get(role) if isinstance(role, str) else None
        if meant is None or not isinstance(message, dict):
            written.append(message)
            continue
        if limits.strict:
            place = f"{key}[{index}].role"
            raise unsupported(place, f"'{place}' is '{role}'; its name here is '{meant}'.")
        written.append({**message, "role": meant})
    fields[key] = msgspec.Raw(_encode(written))
