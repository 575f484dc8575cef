"""What is sent for a call, and what its answer says. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from gateway.client.errors import InvalidArgument, unknown_argument

JsonObject = dict[str, Any]
"""Parsed JSON; its values are whatever the answer has."""

Prompt = str | Sequence[Mapping[str, Any]]
"""A user's message, or a whole conversation as OpenAI's `messages`."""

CHAT = "/v1/chat/completions"


class Sampling(TypedDict, total=False):
    """How to sample; what is left out is the task's own default, then the engine's."""

    max_tokens: int
    min_tokens: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    seed: int
    stop: str | list[str]
    presence_penalty: float
    frequency_penalty: float
    repetition_penalty: float
    ignore_eos: bool
    user: str
    extra_body: Mapping[str, Any]
    """Further parameters of the endpoint, passed on as they are."""


@dataclass(frozen=True)
class Call:
    """One request: `body` is posted; without one it is a GET."""

    path: str
    model: str = ""
    body: JsonObject | None = None


@dataclass(frozen=True)
class Completion:
    """An answer's text, and why it ended where that was said."""

    text: str
    finish_reason: str | None


def chat(
    model: str,
    prompt: Prompt,
    *,
    system: str | None,
    sampling: Mapping[str, Any],
    response_format: JsonObject | None = None,
    stream: bool = False,
) -> Call:
    """A chat completion. Raises InvalidArgument for a parameter that is none."""
    for name in sampling:
        if name not in Sampling.__annotations__:
            raise unknown_argument(name, Sampling.__annotations__)
    messages = _messages(prompt)
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    given = {name: value for name, value in sampling.items() if value is not None and name != "extra_body"}
    body: JsonObject = {"model": model, "messages": messages, **given, **(sampling.get("extra_body") or {})}
    if response_format is not None:
        body["response_format"] = response_format
    if stream:
        body["stream"] = True
    return Call(CHAT, model, body)


def _messages(prompt: object) -> list[JsonObject]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    given = prompt if isinstance(prompt, Sequence) and not isinstance(prompt, (bytes, bytearray)) else ()
    messages = [dict(message) for message in given if isinstance(message, Mapping) and "role" in message]
    if not messages or len(messages) < len(given):
        raise InvalidArgument("prompt", "give a text, or messages with role and content")
    return messages


def completion_of(document: object) -> Completion:
    """The first choice of an answer. Raises ValueError where it is no chat completion."""
    try:
        choice = document["choices"][0]  # type: ignore[index]  # checked by trying
        text, finish = choice["message"]["content"], choice["finish_reason"]
    except (LookupError, TypeError):
        raise ValueError("the answer is no chat completion") from None
    return Completion(text if isinstance(text, str) else "", finish if isinstance(finish, str) else None)


def delta_of(data: bytes) -> tuple[str, bytes | None]:
    """The text of one event of a stream, and the whole event where it is an error. Raises ValueError."""
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError("an event of the stream is no object")
    if "error" in document:
        return "", data
    # The event that has the usage has no choice.
    choices = document.get("choices") or [{}]
    content = (choices[0].get("delta") or {}).get("content")
    return (content if isinstance(content, str) else ""), None
