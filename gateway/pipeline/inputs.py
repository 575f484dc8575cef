"""From a client's request to what the stages see: text, parsed value, terms, sampling. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

import jiter
import msgspec
from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.chat.request_parts import TEXTS
from gateway.errors import NOT_JSON, InvalidRequest
from gateway.pipeline.terms import Steps, Term, distinct, list_of_terms, terms_in_text, terms_of

FENCED = re.compile(r"```[\w-]*[ \t\r]*\n(.*)\n[ \t]*```", re.DOTALL)
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode


@dataclass(frozen=True, slots=True)
class Input:
    """What the client sent: its text, the text parsed where it is a JSON object or list, and its terms."""

    text: str
    value: JsonValue
    terms: tuple[Term, ...]

    def context(self) -> JsonObject:
        """The values that templates and schemas see."""
        return {"input": self.value, "text": self.text, "terms": [*msgspec.to_builtins(self.terms)]}


def memory_bytes(raw: bytes, members: int) -> int:
    """About what a value of a request takes while it is read and held, no less; by its bytes alone.

    `members` as `check_members` has counted them.
    Measured: 22 bytes for each byte of `[],[],`, 30 of `[[[[[]]]]]`, 33 of lines with one letter, 2 of prose.
    """
    return 4 * len(raw) + 100 * members + 120 * raw.count(b"\\n")


def check_members(raw: bytes, pipeline: str, most: int) -> int:
    """How many members the lists and objects of JSON have at most; none is made.

    Raises InvalidRequest for more than `most`, without what only looks like them in texts.
    To parse a megabyte of `[],[],…` takes 0.1 s, and with the collector's passes over it up to 0.9, at once.
    """
    seen = found = _members(raw)
    if found > most and b'"' in raw:  # those in texts do not count
        # Escaped backslashes first: behind one a quote is the text's end.
        bare = raw.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in raw else raw
        found = _members(b"".join(bare.split(b'"')[::2]))
    if found > most:
        raise InvalidRequest(
            f"the request has {found} members in lists and objects; '{pipeline}' takes at most {most} "
            f"(pipelines.{pipeline}.max_input_members)",
            param="messages",
            code="too_many_members",
        )
    return seen


def _members(raw: bytes) -> int:
    """Commas and opening brackets; `bytes.count` of what stands everywhere takes several times as long."""
    return len(raw) - len(raw.translate(None, b",[{"))


def read_input(body: JsonObject, pipeline: str, max_terms: int, max_members: int = 50_000) -> Steps[Input]:
    """The input of a chat, its last message, found in steps. Raises InvalidRequest."""
    text = _last_text(body.get("messages")).removeprefix("\ufeff")  # a byte order mark is no letter
    bare = _unfenced(text)
    value = _parsed(bare, pipeline, max_members)
    if isinstance(value, (dict, list)):
        listed = yield from terms_of(value)
    else:
        value, listed = text, (yield from terms_in_text(bare))
    terms = yield from distinct(listed)
    if not text.strip() or (not terms and _holds_nothing(value)):
        raise InvalidRequest(
            f"the input is empty: '{pipeline}' needs terms or text", param="messages", code="empty_input"
        )
    if len(terms) > max_terms:
        raise InvalidRequest(
            f"the input lists {len(terms)} terms; '{pipeline}' takes at most {max_terms} "
            f"(pipelines.{pipeline}.max_input_terms)",
            param="messages",
            code="too_many_terms",
        )
    return Input(text, value, terms)


def _unfenced(text: str) -> str:
    """What stands in a fence of Markdown's, as models write their JSON, where there is nothing else."""
    found = FENCED.fullmatch(text.strip())
    return found[1] if found and "```" not in found[1] else text


def _last_text(messages: JsonValue) -> str:
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("'messages' must be a list with at least one message", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidRequest("a message must be an object", param=f"messages[{index}]")
    last = len(messages) - 1
    message = messages[last]
    if not isinstance(message, dict) or message.get("role") != "user":
        raise InvalidRequest("the last message must be the user's", param=f"messages[{last}].role")
    return message_text(message.get("content"), last)


def message_text(content: JsonValue, index: int) -> str:
    """The text of the message at `index`. Raises InvalidRequest where it is not text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    param = f"messages[{index}].content"
    if not isinstance(content, list):
        raise InvalidRequest(f"'{param}' must be a string or a list of text parts", param=param)
    parts: list[str] = []
    for number, part in enumerate(content):
        text = part.get("text") if isinstance(part, dict) and part.get("type") in TEXTS else None
        if not isinstance(text, str):
            where = f"{param}[{number}]"
            raise InvalidRequest(f"'{where}' is no text part, and a pipeline reads only those", param=where)
        parts.append(text)
    return "\n".join(parts)


def _parsed(text: str, pipeline: str, max_members: int) -> JsonValue:
    stripped = text.strip()
    if not stripped.startswith(("{", "[")):
        return text
    try:
        raw = stripped.encode()
        try:
            check_members(raw, pipeline, max_members)
        except InvalidRequest:
            if _is_json(raw):
                raise
            return text
        parsed: JsonValue = jiter.from_json(raw, allow_inf_nan=False)
    except ValueError:  # not JSON after all (or a lone surrogate): plain text
        return text
    return parsed


def _is_json(raw: bytes) -> bool:
    """Without making anything of it."""
    try:
        _decode_raw(raw)
    except NOT_JSON:
        return False
    return True


def _holds_nothing(value: JsonValue) -> bool:
    """Of an input without terms."""
    if (listed := list_of_terms(value)) is not None:
        return all(isinstance(element, str) for element in listed)
    return isinstance(value, dict) and all(held in (None, "") for held in value.values())
