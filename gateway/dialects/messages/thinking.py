"""How long a model thinks before it answers, on `/v1/messages`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.config.document import JsonObject
from gateway.dialects.harmless import ignore, needs_reasoning, only_members
from gateway.dialects.parameters import Limits, value_of
from gateway.dialects.request_body import Fields, raw_of

_NO_EFFORT, _MINIMAL, _LOW = (msgspec.Raw(b'"%b"' % effort) for effort in (b"none", b"minimal", b"low"))
_DISABLED = msgspec.Raw(b'{"type":"disabled"}')
LEAST_BUDGET = 1024
"""Tokens for thinking; a smaller budget is refused by the engine, as by Anthropic."""
_NOT_BETWEEN = "the model thinks before it answers or not at all; leave it out."


def kind(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
    """The engine does not know the newest kind, and would refuse it."""
    value = value_of(key, fields)
    if isinstance(value, dict) and value.get("type") == "between_tools":
        return ignore(key, fields, limits, _NOT_BETWEEN)
    return ()


def thinking(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
    """Thinking is told from the answer by a parser: where there is none, the answer is all there is."""
    if ignored := kind(key, fields, limits):
        return ignored
    value = value_of(key, fields)
    if not isinstance(value, dict):
        return ()
    if value.get("type") == "enabled" and (ignored := needs_reasoning(key, fields, limits)):
        return ignored
    return only_members(key, value, ("type", "budget_tokens"), fields, limits)


def lower_budget(fields: Fields) -> Sequence[str]:
    """Keep a budget for thinking below a lowered `max_tokens`, which the engine asks for."""
    asked, most = value_of("thinking", fields), value_of("max_tokens", fields)
    budget = asked.get("budget_tokens") if isinstance(asked, dict) else None
    if not isinstance(asked, dict) or not isinstance(budget, int) or not isinstance(most, int):
        return ()
    if budget < most:
        return ()
    room = most > LEAST_BUDGET
    kept: JsonObject = {**asked, "budget_tokens": most - 1} if room else {"type": "adaptive"}
    fields["thinking"] = raw_of(kept)
    return ("thinking.budget_tokens",)


def effort(chats: msgspec.Raw) -> msgspec.Raw:
    """A chat's `reasoning_effort` in this API's words, which have no `minimal`."""
    return _LOW if chats == _MINIMAL else chats


def as_defaults(chats: Mapping[str, msgspec.Raw], fields: Fields) -> Mapping[str, msgspec.Raw]:
    """A task's defaults; no effort is none of this API's: thinking is turned off, where the client says
    nothing of either.
    """
    if chats.get("reasoning_effort") != _NO_EFFORT:
        return chats
    defaults = {key: raw for key, raw in chats.items() if key != "reasoning_effort"}
    config = value_of("output_config", fields) if "output_config" in fields else None
    if not (isinstance(config, dict) and config.get("effort")):
        defaults.setdefault("thinking", _DISABLED)
    return defaults
