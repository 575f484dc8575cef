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
        self._last = Delta("")

    def add(self, delta: Delta) -> None:
        self._parts.append(delta.text)
        last = self._last
        self._last = Delta(
            "",
            delta.finish_reason or last.finish_reason,
            delta.usage or last.usage,
            delta.adapter or last.adapter,
            delta.fallback or last.fallback,
        )

    def answer(self) -> Answer:
        last = self._last
        usage = last.usage or TokenUsage()
        return Answer("".join(self._parts), usage, last.adapter, last.finish_reason, last.fallback)


class TaskCaller(Protocol):
    """Runs tasks through the same way as a client's own request.

    `body` holds `messages`, sampling and perhaps `response_format`; the caller adds the engine's model name,
    and the task's system prompt and defaults where `body` has none. Both methods raise RequestError.
    Cancelling the caller aborts the engine's request, and so does closing the generator.
    """

    async def answer(self, task: str, body: JsonObject) -> Answer: ...

    def deltas(self, task: str, body: JsonObject) -> AsyncGenerator[Delta, None]: ...
