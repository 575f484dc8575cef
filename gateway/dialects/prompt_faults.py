"""What is wrong with a conversation that the engine refused, in the client's own count. Pure.

vLLM's validator says of a part only which of a dozen forms it is not, and often not where it stands. So once
a request is refused, what the client sent is looked through for the first thing that no form allows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from gateway.config.document import JsonObject

Fault = tuple[str, str]
"""A place, and a sentence that says what is wrong there."""

ABOUT_MEDIA = re.compile(r"not a multimodal model|Unsupported chat content part type|At most 0 \w+ may be")
ABOUT_PROMPT = re.compile(
    ABOUT_MEDIA.pattern + r"|ValidatorIterator|body\.(?:messages|input|0)\b|Unsupported input item type"
)
MEDIA = ("image", "audio", "video", "file", "document")


@dataclass(frozen=True, slots=True)
class Form:
    """What the engine takes as a conversation on one API."""

    texts: tuple[str, ...]
    """Types of parts with a text; the first is a user's."""
    parts: frozenset[str]
    """All types of parts."""
    said: str = "text"
    """The type of a part that the assistant has said."""
    roles: tuple[str, ...] = ()
    """Empty where any is taken."""
    items: frozenset[str] | None = None
    """What there is beside messages, by its type; None where all are messages, and no text is a whole one."""
    silent: bool = True
    """The assistant's content may be left out."""
    calls: bool = False
    """Its messages hold calls of tools."""


CHAT = Form(
    ("text", "refusal", "thinking"),
    frozenset({"text", "refusal", "thinking", "tool_reference"}),
    calls=True,
)


def fault_in(form: Form, key: str, prompt: JsonValue, refusal: str) -> Fault | None:
    """The first fault; None where the refusal is about something else, or nothing is found.

    `key` is the prompt's name, `refusal` what the engine said.
    """
    if not ABOUT_PROMPT.search(refusal):
        return None
    return next(_faults(form, key, prompt, media=bool(ABOUT_MEDIA.search(refusal))), None)


def _faults(form: Form, key: str, prompt: JsonValue, *, media: bool) -> Iterator[Fault]:
    if isinstance(prompt, str) and form.items is not None:
        return
    if not isinstance(prompt, list):
        yield key, f"'{key}' must be a list of messages"
        return
    for index, message in enumerate(prompt):
        place = f"{key}[{index}]"
        if not isinstance(message, dict):
            yield place, f"'{place}' must be an object with role and content; it is {_called(message)}"
            continue
        kind = message.get("type", "message")
        if form.items is not None and kind != "message":
            if not isinstance(kind, str) or kind not in form.items:
                yield f"{place}.type", f"'{place}.type' is {_shown(kind)}, which is not known here"
            continue
        yield from _message(form, place, message, media=media)


def _message(form: Form, place: str, message: JsonObject, *, media: bool) -> Iterator[Fault]:
    role = message.get("role")
    if not isinstance(role, str) or (form.roles and role not in form.roles):
        known = ", ".join(form.roles or ("system", "developer", "user", "assistant", "tool"))
        yield f"{place}.role", f"'{place}.role' is {_shown(role)}; it may be {known}"
        return
    content, where = message.get("content"), f"{place}.content"
    if content is None:
        if role != "assistant" or not form.silent:
            state = "null" if "content" in message else "missing"
            yield where, f"'{where}' is {state}; it must be text or a list of parts"
    elif isinstance(content, list):
        for index, part in enumerate(content):
            yield from _part(form, f"{where}[{index}]", part, role, media=media)
    elif not isinstance(content, str):
        yield where, f"'{where}' must be text or a list of parts; it is {_called(content)}"
    if form.calls:
        if not isinstance(message.get("name", ""), str):
            yield f"{place}.name", f"'{place}.name' must be text; leave it out where there is none"
        yield from _calls(f"{place}.tool_calls", message.get("tool_calls"))


def _part(form: Form, place: str, part: JsonValue, role: str, *, media: bool) -> Iterator[Fault]:
    wanted = form.said if role == "assistant" else form.texts[0]
    example = f'{{"type": "{wanted}", "text": "…"}}'
    if not isinstance(part, dict):
        yield place, f"'{place}' must be an object such as {example}; it is {_called(part)}"
        return
    kind = part.get("type")
    if kind is None:
        yield f"{place}.type", f"'{place}.type' is missing; a text part is {example}"
    elif isinstance(kind, str) and any(name in kind for name in MEDIA):
        if media:  # else the base reads such parts, and something else was refused
            yield place, f"'{place}' is of type {_shown(kind)}, and the base reads text alone; leave it out"
    elif not isinstance(kind, str) or kind not in form.parts:
        yield f"{place}.type", f"'{place}.type' is {_shown(kind)}; a text part is {example}"
    elif kind in form.texts and kind != "thinking" and not isinstance(part.get(_field(kind)), str):
        yield f"{place}.{_field(kind)}", f"'{place}.{_field(kind)}' must be text"
    elif kind == "tool_result" and isinstance(inner := part.get("content"), list):
        for index, one in enumerate(inner):
            yield from _part(form, f"{place}.content[{index}]", one, role, media=media)


def _field(kind: JsonValue) -> str:
    return "refusal" if kind == "refusal" else "text"


def _calls(place: str, calls: JsonValue) -> Iterator[Fault]:
    """Calls of tools in a chat's history."""
    for index, call in enumerate(calls if isinstance(calls, list) else []):
        where = f"{place}[{index}]"
        if not isinstance(call, dict):
            yield where, f"'{where}' must be an object; it is {_called(call)}"
            continue
        if call.get("type") != "function":
            yield f"{where}.type", f"'{where}.type' is {_shown(call.get('type'))}; it must be 'function'"
        if not isinstance(call.get("id"), str):
            yield f"{where}.id", f"'{where}.id' must be text"
        held = call.get("function")
        named: Mapping[str, JsonValue] = held if isinstance(held, dict) else {}
        for name in ("name", "arguments"):
            if not isinstance(named.get(name), str):
                yield f"{where}.function.{name}", f"'{where}.function.{name}' must be text"


def _shown(value: JsonValue) -> str:
    return "missing" if value is None else repr(value)[:80]


def _called(value: JsonValue) -> str:
    """What a value of another kind is, for people."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "true or false"
    named = {str: "text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return named[type(value)]
