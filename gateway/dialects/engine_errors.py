"""The engine's own 400 in the client's idiom: its reason, without the validator's inner forms. Pure.

vLLM writes what its validator found as a dictionary for each error, for a value that may have several forms
one for each form, and types and codes (`Bad Request`, 400) that no OpenAI client knows.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator

import msgspec

from gateway.errors import NOT_JSON, InvalidRequest

MAX_SHOWN = 3
"""Of what a validator found: a value that may have many forms has an error for each."""

_COUNTED = re.compile(r"(\d+) validation errors?(?: for \w+)?:?")
# How vLLM's `VLLMValidationError` ends its text.
_PARAMETER = re.compile(r" ?\(parameter=(\w+)(?:, value=.*)?\)$", re.DOTALL)
# Before xgrammar's errors: the line of its C++ that raised them.
_SOURCE = re.compile(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ")
# vLLM's `SamplingParams` names a parameter in its words alone.
_LEADING = re.compile(r"`?(\w+)`? must be ")
_FORM = re.compile(r"[A-Z]\w*|function-.*")
"""In a place the name of one of several forms, which is no field of the client's."""
_KIND = re.compile(r" \[type=\w+,.*\]$")

_REWORDED = {
    "Invalid structural tag specification.": (
        None,
        "Invalid structural tag: the schema of a tool (or of the tag) is none that a grammar can be made of.",
    ),
    "n must be 1 when using greedy sampling": ("n", "'n' over 1 needs a temperature over 0; send one."),
}
"""By how the engine's words begin: the parameter, and words that say what to do."""

_FULL = "max_tokens must be at least 1, got 0."
"""What is left for the answer; a client's own 0 never comes so far."""
_TOO_LONG = (
    "This model's maximum context length",
    *("The engine prompt length ", "The decoder prompt (length ", "Input length ("),
)
"""How it begins, by where it is seen."""
_PROMPTS = ("messages", "prompt", "input")


class _Fault(msgspec.Struct):
    message: str = ""
    param: str | None = None
    code: int | str | None = None


class _Refusal(msgspec.Struct):
    error: _Fault


_decode = msgspec.json.Decoder(_Refusal).decode


def refusal_of(answer: bytes, parameters: Collection[str]) -> InvalidRequest | None:
    """The engine's 400 as one of ours, or None where it has not the form of one.

    `parameters` are those of the API: where the engine names one in words alone, it is the error's `param`.
    """
    try:
        fault = _decode(answer).error
    except NOT_JSON:
        return None
    if not fault.message or isinstance(fault.code, str):  # a code in words is OpenAI's own idiom
        return None
    # Several forms of a union say the same of the same place.
    found = list(dict.fromkeys(_found(fault.message)))
    if found:
        return InvalidRequest(_listed(found, fault.message), param=found[0][0] or _place(fault.param or ""))
    for beginning, (param, words) in _REWORDED.items():
        if fault.message.startswith(beginning):
            return InvalidRequest(words, param=param)
    message, param = _SOURCE.sub("", fault.message), _place(fault.param or "")
    if named := _PARAMETER.search(message):
        message, param = message[: named.start()], param or named[1]
    if message == _FULL:
        message = (
            f"{_TOO_LONG[0]} is filled by the prompt, which leaves no room for an answer; send a shorter one."
        )
    if message.startswith(_TOO_LONG):  # by this code clients know that a shorter prompt is worth a try
        prompt = next((name for name in _PROMPTS if name in parameters), None)
        return InvalidRequest(message, param=prompt, code="context_length_exceeded")
    leading = _LEADING.match(message)
    if param is None and leading and leading[1] in parameters:
        param = leading[1]
    return InvalidRequest(message, param=param)


def _found(message: str) -> Iterator[tuple[str | None, str]]:
    """Place and reason of each of a validator's errors, whether each is a dictionary or two lines of text."""
    first, *lines = message.split("\n")
    if not _COUNTED.match(first):
        return
    place: str | None = None
    for line in lines:
        text = line.strip()
        if text.startswith("{"):
            if (error := _error(text)) is not None:
                yield error
        elif not line.startswith(" "):
            place = _place(text)
        elif not text.startswith(("For further information", "...and")):
            yield place, _KIND.sub("", text)


def _error(text: str) -> tuple[str | None, str] | None:
    try:
        # vLLM writes Python's `repr` of a dictionary, which is no JSON.
        error = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # a long one is cut by the engine
        return None
    reason = error.get("msg") if isinstance(error, dict) else None
    return (_place(str(error.get("loc", ""))), reason) if isinstance(reason, str) else None


def _place(dotted: str) -> str | None:
    """`body.messages.1.Form.content` as `messages[1].content`."""
    place = ""
    for part in dotted.split("."):
        if part.isdecimal():
            place += f"[{part}]"
        elif part and not _FORM.fullmatch(part) and not (part == "body" and not place):
            place += f".{part}" if place else part
    return place or None


def _listed(found: list[tuple[str | None, str]], message: str) -> str:
    shown = "; ".join(f"'{place}': {reason}" if place else reason for place, reason in found[:MAX_SHOWN])
    counted = _COUNTED.match(message)
    total = int(counted[1]) if counted else len(found)
    several = total > len(found) or len(found) > MAX_SHOWN
    return f"{shown}; and more of the kind." if several else f"{shown}."
