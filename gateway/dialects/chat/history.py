"""What a chat's messages hold that the engine passes over without a word. Pure.

Of the assistant's calls it reads `tool_calls` alone, not the older `function_call`. A last message that is to
be gone on with has `prefix: true` for DeepSeek and Mistral, `partial: true` for Qwen; the engine has two
parameters for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.chat import roles
from gateway.dialects.parameters import Limits, marked_list, unsupported, value_of
from gateway.dialects.request_body import Fields, raw_of

NAMES = ("prefix", "partial")
# One pattern, since each is a pass through the whole conversation.
_MARKS = re.compile(
    b"|".join(
        (
            roles.MARK,
            rb'"(?:prefix|partial)"\s*:',
            rb'"function_call"\s*:\s*\{',
            rb'"name"\s*:\s*null',
            rb'"(?:reasoning_details|thinking_blocks)"\s*:\s*\[',
            rb'"audio"\s*:\s*\{',
        )
    )
)
"""Without one of these nothing is looked at."""
_FORMS = {"reasoning_details": list, "thinking_blocks": list, "audio": dict}
"""What is looked for of an assistant's is of these forms, whatever other marks there are."""
_HELD = (b'"json_object"', b'"json_schema"', b'"structural_tag"')
"""Formats that hold an answer from its first character on."""
_TRUE, _FALSE = msgspec.Raw(b"true"), msgspec.Raw(b"false")


def readable(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
    """A rule for messages: all of these. Raises InvalidRequest where the gateway is strict."""
    value = marked_list(key, fields, _MARKS)
    if value is None:
        return ()
    messages = [_without_null(message) for message in _renewed(roles.respelled(key, value, limits))]
    if messages != value:
        fields[key] = raw_of(messages)
    left = _overlooked(key, messages)
    if left and limits.strict:
        raise unsupported(left[0], f"'{left[0]}' is not supported: no model here is shown it; leave it out.")
    return [*left, *_continued(key, messages, fields, limits)]


def _renewed(messages: Iterable[JsonValue]) -> Iterator[JsonValue]:
    """Each older call, and the result that follows it, as a tool's."""
    called: tuple[str, JsonValue] | None = None
    for index, message in enumerate(messages):
        before, called = called, None
        call = message.get("function_call") if isinstance(message, dict) else None
        if not isinstance(message, dict):
            pass
        elif isinstance(call, dict) and message.get("role") == "assistant" and not message.get("tool_calls"):
            # The older form has no ids: a result stands right behind its call, and names the function.
            called = f"call_{index}", call.get("name")
            message = {name: value for name, value in message.items() if name != "function_call"}
            message["tool_calls"] = [{"id": called[0], "type": "function", "function": call}]
        elif before is not None and message.get("role") == "function" and message.get("name") == before[1]:
            message = {**message, "role": "tool", "tool_call_id": before[0]}
        yield message


def _without_null(message: JsonValue) -> JsonValue:
    """A message without a name that is null, as clients write that have none: the engine would refuse it."""
    if isinstance(message, dict) and message.get("name", "") is None:
        return {name: value for name, value in message.items() if name != "name"}
    return message


def _overlooked(key: str, messages: Iterable[JsonValue]) -> list[str]:
    """The places of what an assistant is to have thought or said in forms of other servers."""
    left: list[str] = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") != "assistant":
            continue
        told = message.get("reasoning") or message.get("reasoning_content")
        names = ("audio",) if told else _FORMS
        found = [name for name in names if isinstance(message.get(name), _FORMS[name]) and message[name]]
        left += [f"{key}[{index}].{name}" for name in found]
    return left


def _continued(key: str, messages: Sequence[JsonValue], fields: Fields, limits: Limits) -> list[str]:
    """Have the engine go on with a marked last message; the places of marks that are not followed.

    A mark elsewhere means nothing, nor one whose message a schema would have begin anew, or that the
    engine's own parameters contradict. Raises InvalidRequest where the gateway is strict.
    """
    left: list[str] = []
    for index, message in enumerate(messages):
        held = message if isinstance(message, dict) else {}
        for name in NAMES:
            mark = held.get(name)
            if mark is None or mark is False:
                continue
            place = f"{key}[{index}].{name}"
            if limits.strict:
                raise unsupported(
                    place,
                    f"'{place}' is not supported: send continue_final_message true and "
                    "add_generation_prompt false.",
                )
            if index == len(messages) - 1 and mark is True and _can_go_on(held) and _free(fields):
                # vLLM begins a new turn behind the last message by default, and cannot do both.
                fields["continue_final_message"], fields["add_generation_prompt"] = _TRUE, _FALSE
            else:
                left.append(place)
    return left


def given_up(key: str, fields: Fields) -> Sequence[str]:
    """Not to go on after all, since a task's own schema has the answer begin anew; the place of the mark."""
    messages = value_of(key, fields, None)
    del fields["continue_final_message"], fields["add_generation_prompt"]
    if not isinstance(messages, list) or not messages or not isinstance(last := messages[-1], dict):
        return ()
    return [f"{key}[{len(messages) - 1}].{name}" for name in NAMES if last.get(name) is True]


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
