"""What a pipeline needs of the data plane: a way to run one task, in process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from gateway.config.document import JsonObject
from gateway.http.event_stream import TokenUsage


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of a task."""

    text: str
    usage: TokenUsage
    adapter: str
    finish_reason: str | None
    fallback: bool = False
    """`adapter` is no adapter, but the model that answered instead of the engine."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a streamed answer; usage, adapter and finish reason come with whichever piece has them."""

    text: str
    finish_reason: str | None = None
    usage: TokenUsage | None = None
    adapter: str = ""
    fallback: bool = False


class Collected:
    """A streamed answer, added up."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._finish_reason: str | None = None
        self._usage: TokenUsage | None = None
        self._adapter = ""
        self._fallback = False

    def add(self, delta: Delta) -> None:
        self._parts.append(delta.text)
        self._finish_reason = delta.finish_reason or self._finish_reason
        self._usage = delta.usage or self._usage
        self._adapter = delta.adapter or self._adapter
        self._fallback = delta.fallback or self._fallback

    def answer(self) -> Answer:
        text, usage = "".join(self._parts), self._usage or TokenUsage()
        return Answer(text, usage, self._adapter, self._finish_reason, self._fallback)


class TaskCaller(Protocol):
    """Runs tasks through the same way as a client's own request.

    `body` holds `messages`, sampling and perhaps `response_format`; the caller adds the engine's model name,
    and the task's system prompt and defaults where `body` has none. Both methods raise RequestError.
    Cancelling the caller aborts the engine's request, and so does closing the generator.
    """

    async def answer(self, task: str, body: JsonObject) -> Answer: ...

    def deltas(self, task: str, body: JsonObject) -> AsyncGenerator[Delta, None]: ...
