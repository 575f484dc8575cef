"""Items of a conversation on `/v1/responses` that the engine cannot read: kept as text, or left out. Pure.

A client replays what another server said: calls of that server's tools, thinking that only it can read. What
has text keeps it, as a message; what has none cannot be read by this model and is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.chat import roles
from gateway.dialects.parameters import Limits, marked_list, unsupported
from gateway.dialects.request_body import Fields, raw_of
from gateway.dialects.responses import chat_items

KEPT_NOWHERE = "no response is kept here; send the whole conversation in input."
UNREADABLE = frozenset(
    {
        *("web_search_call", "file_search_call", "image_generation_call", "computer_call"),
        *("computer_call_output", "compaction", "compaction_trigger", "context_compaction"),
        *("tool_search_call", "tool_search_output", "mcp_list_tools", "mcp_approval_request"),
        *("mcp_approval_response", "additional_tools", "program", "program_output"),
    }
)
"""Items without a text that the model could read."""


def _said(role: str, text: str) -> list[JsonValue]:
    return [{"role": role, "content": text}] if text else []


def _words(value: JsonValue, between: str = " ") -> str:
    return between.join(one for one in value if isinstance(one, str)) if isinstance(value, list) else ""


def _text(value: JsonValue) -> str:
    """Of a string, or of parts with a text or a shell's two outputs."""
    if isinstance(value, str):
        return value
    parts = [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
    texts = [part.get(name) for part in parts for name in ("text", "logs", "stdout", "stderr")]
    return "\n".join(text for text in texts if isinstance(text, str) and text)


def _member(item: JsonObject, name: str, inner: str) -> JsonValue:
    held = item.get(name)
    return held.get(inner) if isinstance(held, dict) else None


def _code(item: JsonObject) -> list[JsonValue]:
    return [*_said("assistant", _text(item.get("code"))), *_said("user", _text(item.get("outputs")))]


def _mcp(item: JsonObject) -> list[JsonValue]:
    called = f"{_text(item.get('name'))} {_text(item.get('arguments'))}".strip()
    return [*_said("assistant", called), *_said("user", _text(item.get("output")))]


AS_TEXT: dict[str, Callable[[JsonObject], list[JsonValue]]] = {
    "local_shell_call": lambda item: _said("assistant", _words(_member(item, "action", "command"))),
    "shell_call": lambda item: _said("assistant", _words(_member(item, "action", "commands"), "\n")),
    "apply_patch_call": lambda item: _said("assistant", _text(_member(item, "operation", "diff"))),
    "local_shell_call_output": lambda item: _said("user", _text(item.get("output"))),
    "shell_call_output": lambda item: _said("user", _text(item.get("output"))),
    "apply_patch_call_output": lambda item: _said("user", _text(item.get("output"))),
    "code_interpreter_call": _code,
    "mcp_call": _mcp,
}
"""The model's own words are the assistant's, what a tool said the user's."""
_MARKS = re.compile(
    roles.MARK
    + b"|"
    + chat_items.MARK
    + rb'|"(?:encrypted_content|item_reference|output_text|refusal|summary_text|reasoning_text|'
    + "|".join(sorted({*UNREADABLE, *AS_TEXT})).encode()
    + rb')"|"content"\s*:\s*\[\s*\]|"role"\s*:\s*"assistant"'
)
"""Without one of these nothing is looked at."""


def readable(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
    """Rewrite what the engine cannot read; the places of what is left out. Raises InvalidRequest.

    What stands on another server (`item_reference`) is refused.
    """
    value = marked_list(key, fields, _MARKS)
    if value is None:
        return ()
    items: list[JsonValue] = []
    left: list[str] = []
    for index, item in enumerate(roles.respelled(key, value, limits)):
        where = f"{key}[{index}]"
        if isinstance(item, dict) and item.get("type") == "item_reference":
            raise unsupported(where, f"'{where}' is an item_reference: {KEPT_NOWHERE}")
        if not isinstance(item, dict):
            items.append(item)
            continue
        last = index == len(value) - 1
        for one in chat_items.items_of(item, where, strict=limits.strict):
            if limits.strict:
                items.append(_joined(one, last=last))
                continue
            kept, name = _read(one, where, last=last)
            items += kept
            left += name
    if items != value:
        fields[key] = raw_of(items)
    return left


def _read(item: JsonObject, where: str, *, last: bool) -> tuple[list[JsonValue], list[str]]:
    kind = item.get("type")
    if isinstance(kind, str) and kind in AS_TEXT:
        said = AS_TEXT[kind](item)
        return said, [] if said else [where]
    if isinstance(kind, str) and kind in UNREADABLE:
        return [], [where]
    if kind == "reasoning" and item.get("encrypted_content") is not None:
        open_item = {name: held for name, held in item.items() if name != "encrypted_content"}
        if _text(item.get("content")) or _text(item.get("summary")):
            return [_joined(open_item, last=last)], [f"{where}.encrypted_content"]
        return [], [where]
    return [_joined(item, last=last)], []


def _joined(item: JsonObject, *, last: bool) -> JsonObject:
    """An assistant's words or thoughts in several parts as one: the engine reads the first alone."""
    if item.get("role") == "assistant":
        return _whole(item, last=last)
    if item.get("type") != "reasoning":
        return item
    whole = item
    for name in ("content", "summary"):
        parts = item.get(name)
        if isinstance(parts, list) and len(parts) > 1 and isinstance(first := parts[0], dict):
            whole = {**whole, name: [{**first, "text": _text(parts)}]}
    return whole


def _whole(item: JsonObject, *, last: bool) -> JsonObject:
    """An assistant's message as one text; the engine goes on with a last one that was not completed."""
    content = item.get("content")
    if not isinstance(content, list):
        return item
    first = content[0] if len(content) == 1 else None
    if item.get("type") == "message" and isinstance(first, dict) and "text" in first:
        return item
    texts = [part.get("text", part.get("refusal")) for part in content if isinstance(part, dict)]
    if len(texts) != len(content) or not all(isinstance(text, str) for text in texts):
        return item
    said = "".join(text for text in texts if isinstance(text, str))
    if last and item.get("status") in ("in_progress", "incomplete") and said:
        part: JsonObject = {"type": "output_text", "text": said, "annotations": []}
        return {**item, "type": "message", "content": [part]}
    # vLLM 0.32 takes the first part's `text` alone: a refusal has none, and an empty list no part.
    return {"role": "assistant", "content": said}
