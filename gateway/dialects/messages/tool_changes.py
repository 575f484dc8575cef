"""Tools that a conversation on `/v1/messages` brings along by value: they go among the others. Pure.

The engine makes grammars of their schemas too, so they have the same bounds.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.parameters import Limits, value_of
from gateway.dialects.request_body import Fields, raw_of
from gateway.dialects.tools import hosted, tools

_KINDS = (None, "custom")
TOOLS = tools(_KINDS, {"type": "none"}, "input_schema", most=None)
"""The rule for `tools`."""
KIND = "tool_addition"
MARK = KIND.encode() + rb"|\\u00[0-7]"
"""The pattern that such a block matches in a conversation's JSON, whichever letters are escaped."""


def brings_hosted(block: JsonObject) -> bool:
    """Whether a block brings a tool that runs on a server; by its name alone the engine would refuse it."""
    change = block.get("tool") if block.get("type") == KIND else None
    tool = change.get("definition") if isinstance(change, dict) else None
    return isinstance(tool, dict) and tool.get("type") not in _KINDS and hosted(tool)


def brought(messages: Sequence[JsonValue]) -> dict[str, JsonValue]:
    """The tools by their names, of each the last; where they stood, only the names are left."""
    found: dict[str, JsonValue] = {}
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        for block in content if isinstance(content, list) else []:
            change = block.get("tool") if isinstance(block, dict) and block.get("type") == KIND else None
            given = isinstance(change, dict) and change.get("type") == "tool_definition"
            tool = change.get("definition") if given and isinstance(change, dict) else None
            name = tool.get("name") if isinstance(tool, dict) else None
            if isinstance(block, dict) and isinstance(name, str):
                found[name] = tool
                block["tool"] = {"type": "tool_reference", "name": name}
    return found


def add_to_tools(found: dict[str, JsonValue], fields: Fields, limits: Limits) -> Sequence[str]:
    """Put them into `tools`, in the place of those that had their names; what of them no model is shown.

    Raises InvalidRequest.
    """
    if not found:
        return ()
    order = [*fields]
    # Rules are asked in the request's order: that for tools which come after the conversation is yet to be,
    # and would find none where all are left out here.
    judged_later = "tools" in order[order.index("messages") :]
    held = value_of("tools", fields, None) if "tools" in fields else []
    if isinstance(held, list):
        names = [tool.get("name") if isinstance(tool, dict) else None for tool in held]
        kept = [
            found.pop(name, tool) if isinstance(name, str) else tool
            for name, tool in zip(names, held, strict=True)
        ]
        fields["tools"] = raw_of([*kept, *found.values()])
    return () if judged_later else TOOLS("tools", fields, limits) or ()
