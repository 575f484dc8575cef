"""What a chat's messages hold that the engine passes over without a word. Pure.

Of the assistant's calls it reads `tool_calls` alone, not the older `function_call`. A last message that is to
be gone on with has `prefix: true` for DeepSeek and Mistral, `partial: true` for Qwen; the engine has two
parameters for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.chat import roles
from gateway.dialects.parameters import Limits, unsupported, value_of
from gateway.dialects.request_body import Fields

NAMES = ("prefix", "partial")
_MARK = re.compile(rb'"(?:prefix|partial)"\s*:')
"""Without it nothing is looked at."""
_ANY_MARK = re.compile(
    rb'"(?:prefix|partial|function_call|name|reasoning_details|thinking_blocks|audio|'
    + "|".join(roles.MEANT).encode()
    + rb')"'
)
"""What each mark here has within it, so that a conversation without them is gone through once."""
_HELD = (b'"json_object"', b'"json_schema"', b'"structural_tag"')
"""Formats that hold an answer from its first character on."""
_OLD_CALL = re.compile(rb'"function_call"\s*:\s*\{')
_NO_NAME = re.compile(rb'"name"\s*:\s*null')
_PASSED_OVER = re.compile(rb'"(?:reasoning_details|thinking_blocks)"\s*:\s*\[|"audio"\s*:\s*\{')
_encode = msgspec.json.Encoder().encode
_TRUE, _FALSE = msgspec.Raw(b"true"), msgspec.Raw(b"false")


def readable(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
    """A rule for messages: all of these. Raises InvalidRequest where the gateway is strict."""
    if not _ANY_MARK.search(fields[key]):
        return ()
    roles.respell(key, fields, limits)
    if _OLD_CALL.search(fields[key]):
        _renew_calls(key, fields)
    if _NO_NAME.search(fields[key]):
        _drop_names(key, fields)
    left = _overlooked(key, fields) if _PASSED_OVER.search(fields[key]) else []
    if left and limits.strict:
        raise unsupported(left[0], f"'{left[0]}' is not supported: no model here is shown it; leave it out.")
    return [*left, *continued(key, fields, limits)]


def _drop_names(key: str, fields: Fields) -> None:
    """Of messages whose name is null, as clients write that have none: the engine would refuse it."""
    messages = value_of(key, fields, None)
    if isinstance(messages, list):
        named: list[JsonValue] = []
        for message in messages:
            nameless = isinstance(message, dict) and message.get("name", "") is None
            if isinstance(message, dict) and nameless:
                message = {name: value for name, value in message.items() if name != "name"}
            named.append(message)
        fields[key] = msgspec.Raw(_encode(named))


def _overlooked(key: str, fields: Fields) -> list[str]:
    """The places of what an assistant is to have thought or said in forms of other servers."""
    messages = value_of(key, fields, None)
    left: list[str] = []
    for index, message in enumerate(messages if isinstance(messages, list) else []):
        if not isinstance(message, dict) or message.get("role") != "assistant":
            continue
        told = message.get("reasoning") or message.get("reasoning_content")
        names = ("audio",) if told else ("reasoning_details", "thinking_blocks", "audio")
        left += [f"{key}[{index}].{name}" for name in names if message.get(name)]
    return left


def _renew_calls(key: str, fields: Fields) -> None:
    """Each older call, and the result that follows it, as a tool's."""
    messages = value_of(key, fields, None)
    if not isinstance(messages, list):
        return
    renewed: list[JsonValue] = []
    called: tuple[str, JsonValue] | None = None
    for index, message in enumerate(messages):
        call = message.get("function_call") if isinstance(message, dict) else None
        if not isinstance(message, dict):
            called = None
        elif isinstance(call, dict) and message.get("role") == "assistant" and not message.get("tool_calls"):
            called = f"call_{index}", call.get("name")
            message = {name: value for name, value in message.items() if name != "function_call"}
            message["tool_calls"] = [{"id": called[0], "type": "function", "function": call}]
        elif called is not None and message.get("role") == "function" and message.get("name") == called[1]:
            message = {**message, "role": "tool", "tool_call_id": called[0]}
            called = None
        else:
            called = None
        renewed.append(message)
    if renewed != messages:
        fields[key] = msgspec.Raw(_encode(renewed))


def continued(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
    """Have the engine go on with a marked last message; the places of marks that are not followed.

    A mark elsewhere means nothing, nor one whose message a schema would have begin anew, or that the
    engine's own parameters contradict. Raises InvalidRequest where the gateway is strict.
    """
    if not _MARK.search(fields[key]):
        return ()
    messages = value_of(key, fields, None)
    left: list[str] = []
    for index, message in enumerate(messages if isinstance(messages, list) else []):
        for name in NAMES:
            mark = message.get(name) if isinstance(message, dict) else None
            if mark is None or mark is False or not isinstance(message, dict):
                continue
            place = f"{key}[{index}].{name}"
            if limits.strict:
                raise unsupported(
                    place,
                    f"'{place}' is not supported: send continue_final_message true and "
                    "add_generation_prompt false.",
                )
            last = isinstance(messages, list) and index == len(messages) - 1
            if last and mark is True and _can_go_on(message) and _free(fields):
                fields["continue_final_message"], fields["add_generation_prompt"] = _TRUE, _FALSE
            else:
                left.append(place)
    return left


def given_up(key: str, fields: Fields) -> Sequence[str]:
    """Not to go on after all, since a task's own schema has the answer begin anew; the place of the mark."""
    messages = value_of(key, fields, None)
    last = messages[-1] if isinstance(messages, list) and messages else None
    del fields["continue_final_message"], fields["add_generation_prompt"]
    marks = [name for name in NAMES if isinstance(last, dict) and last.get(name) is True]
    return [f"{key}[{len(messages) - 1}].{name}" for name in marks] if isinstance(messages, list) else ()


def _can_go_on(message: JsonObject) -> bool:
    """Whether it is words of the assistant's, and they are its end."""
    if message.get("role") != "assistant" or message.get("tool_calls"):
        return False
    content = message.get("content")
    if isinstance(content, list):
        return bool(content) and all(_text_in(part) for part in content)
    return isinstance(content, str) and bool(content.strip())


def _text_in(part: JsonValue) -> bool:
    text = part.get("text") if isinstance(part, dict) else part
    return isinstance(text, str) and bool(text.strip())


def _free(fields: Fields) -> bool:
    """Whether nothing else in the request says how the answer begins."""
    for name, wanted in (("continue_final_message", b"true"), ("add_generation_prompt", b"false")):
        if bytes(fields.get(name, wanted)) != wanted:
            return False
    form = bytes(fields.get("response_format", b""))
    return "structured_outputs" not in fields and not any(held in form for held in _HELD)
