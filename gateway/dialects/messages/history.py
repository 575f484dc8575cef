"""Blocks of a conversation on `/v1/messages` that the engine cannot read: kept as text, or left out. Pure.

As on `/v1/responses`, what has a text keeps it. A document is read where it is text; of media there is one
sentence.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

import msgspec
from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.chat import roles
from gateway.dialects.messages import tool_changes
from gateway.dialects.parameters import Limits, marked_list, unsupported
from gateway.dialects.request_body import Fields, raw_of
from gateway.errors import NOT_JSON, InvalidRequest

UNREADABLE = frozenset(
    {
        *("server_tool_use", "web_search_tool_result", "web_fetch_tool_result", "mcp_tool_use"),
        *("tool_search_tool_result", "container_upload", "advisor_tool_result", "fallback"),
        *("mcp_tool_listing", "browser_state"),
    }
)
"""Blocks without a text that the model could read."""
AS_TEXT = frozenset(
    {
        *("document", "search_result", "compaction", "mcp_tool_result", "code_execution_tool_result"),
        *("bash_code_execution_tool_result", "text_editor_code_execution_tool_result"),
    }
)
_MARKS = re.compile(
    roles.MARK
    + b"|"
    + tool_changes.MARK
    + b'|"(?:'
    + "|".join(sorted(UNREADABLE | AS_TEXT | {"clear_at", "output_config", "redacted_thinking"})).encode()
    + rb')"|"is_error"\s*:\s*true'
)
"""Without one of these nothing is looked at."""
CLEARED = "next_user_message"
"""Until when a message of the system's is shown, by its `clear_at`."""


class _Turn(msgspec.Struct):
    role: str = ""


_decode_turns = msgspec.json.Decoder(list[_Turn]).decode


def readable(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
    """Rewrite what the engine cannot read; the places of what is left out. Raises InvalidRequest.

    It reads no `is_error` of a tool's result either, which is named, and shows what was to be cleared. Tools
    that it would take from there go into `tools`.
    """
    value = marked_list(key, fields, _MARKS)
    if value is None:
        return ()
    messages: list[JsonValue] = []
    left: list[str] = []
    said = roles.respelled(key, value, limits)
    users = [index for index, one in enumerate(said) if isinstance(one, dict) and one.get("role") == "user"]
    last_user = users[-1] if users else -1
    for index, message in enumerate(said):
        if index < last_user and isinstance(message, dict) and _is_cleared(message):
            continue
        if limits.strict:
            _refuse_unheeded(message, f"{key}[{index}]")
            messages.append(message)
            continue
        if isinstance(message, dict) and message.get("output_config"):
            left.append(f"{key}[{index}].output_config")
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(message, dict) or not isinstance(content, list):
            messages.append(message)
            continue
        kept, names = _blocks(content, f"{key}[{index}].content")
        left += names
        # A message of which nothing is left goes too; one that came empty is the engine's to judge.
        if kept or not content:
            messages.append({**message, "content": kept})
    # It changes blocks in place, which `value` holds as well: a comparison alone would not show it.
    tools = tool_changes.brought(messages)
    if tools or messages != value:
        fields[key] = raw_of(messages)
    return [*left, *tool_changes.add_to_tools(tools, fields, limits)]


def _refuse_unheeded(message: JsonValue, where: str) -> None:
    """Raises InvalidRequest for what the engine takes and passes over; all else it refuses itself."""
    if not isinstance(message, dict):
        return
    if message.get("output_config"):
        raise unsupported(
            f"{where}.output_config", f"'{where}.output_config' is not supported: leave it out."
        )
    content = message.get("content")
    for index, block in enumerate(content if isinstance(content, list) else []):
        kind, place = block.get("type") if isinstance(block, dict) else None, f"{where}.content[{index}]"
        if kind == "redacted_thinking":
            raise unsupported(place, f"'{place}' is not supported: no model here can read it; leave it out.")
        if isinstance(block, dict) and kind == "tool_result" and block.get("is_error") is True:
            place = f"{place}.is_error"
            raise unsupported(
                place, f"'{place}' is not supported: the model is not told of it; say it in the content."
            )


def _is_cleared(message: JsonObject) -> bool:
    """Whether a user's message that comes later hides it."""
    return message.get("role") == "system" and message.get("clear_at") == CLEARED


def continued(key: str, fields: Fields) -> Sequence[str]:
    """The place of a last message of the assistant's: the engine answers it as a turn that is over."""
    try:
        turns = _decode_turns(fields[key])
    except NOT_JSON:
        return ()  # the engine says what is wrong with it
    last = turns[-1].role if turns else ""
    return (f"{key}[{len(turns) - 1}]",) if roles.MEANT.get(last, last) == "assistant" else ()


def _blocks(content: Sequence[JsonValue], where: str) -> tuple[list[JsonValue], list[str]]:
    kept: list[JsonValue] = []
    left: list[str] = []
    for index, block in enumerate(content):
        place = f"{where}[{index}]"
        kind = block.get("type") if isinstance(block, dict) else None
        if not isinstance(block, dict) or not isinstance(kind, str):
            kept.append(block)
        elif kind in AS_TEXT and (text := _text_of(block, place)):
            kept.append({"type": "text", "text": text})
        elif kind in AS_TEXT or kind in UNREADABLE or tool_changes.brings_hosted(block):
            left.append(place)
        elif kind == "redacted_thinking":
            kept.append(block)  # the engine takes it, and passes over it
            left.append(place)
        elif kind == "tool_result":
            if block.get("is_error") is True:
                left.append(f"{place}.is_error")
            if isinstance(inner := block.get("content"), list):
                held, names = _blocks(inner, f"{place}.content")
                block = {**block, "content": held}
                left += names
            kept.append(block)
        else:
            kept.append(block)
    return kept, left


def _text_of(block: JsonObject, where: str) -> str:
    if block.get("type") == "document":
        said = [block.get("title"), block.get("context"), _document(block.get("source"), where)]
    elif block.get("type") == "search_result":
        said = [block.get("title"), block.get("source"), _joined(block.get("content"), where)]
    else:
        said = [_joined(block.get("content"), where)]
    return "\n".join(text for text in said if isinstance(text, str) and text)


def _document(source: JsonValue, where: str) -> str:
    """A document's text. Raises InvalidRequest where it is none."""
    held = source if isinstance(source, dict) else {}
    kind, media, data = held.get("type"), str(held.get("media_type", "")), held.get("data")
    if kind == "text" and isinstance(data, str):
        return data
    if kind == "content":
        return _joined(held.get("content"), where)
    if kind == "base64" and media.startswith("text/") and isinstance(data, str):
        try:
            return base64.b64decode(data, validate=True).decode()
        except ValueError:
            raise InvalidRequest(f"'{where}.source.data' is no text in base64.", param=where) from None
    named = media or str(kind)
    raise InvalidRequest(
        f"'{where}' is a document of type {named[:80]!r}: the base reads text alone; send what it says.",
        param=where,
    )


def _joined(content: JsonValue, where: str) -> str:
    """The texts of nested blocks, or of what a program printed."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        printed = [content.get(name) for name in ("text", "stdout", "stderr", "content")]
        return "\n".join(text for text in printed if isinstance(text, str) and text)
    texts: list[str] = []
    for index, one in enumerate(content if isinstance(content, list) else []):
        if isinstance(one, dict) and one.get("type") == "image":
            place = f"{where}.content[{index}]"
            raise InvalidRequest(f"'{place}' is an image: the base reads text alone.", param=place)
        texts.append(_joined(one, where) if isinstance(one, dict) else "")
    return "\n".join(text for text in texts if text)
