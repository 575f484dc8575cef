"""Counts tokens, calls and time of each stage of one request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.pipeline.compile import Stage
from gateway.pipeline.stages.task_calls import Answer


@dataclass(slots=True)
class _StageTally:
    stage: Stage
    adapter: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls: int = 0
    errors: int = 0
    fallbacks: int = 0
    settled: list[JsonValue] = field(default_factory=list)
    begin_s: float | None = None
    end_s: float = 0.0

    def rendered(self, zero_s: float) -> JsonObject:
        begin_s = zero_s if self.begin_s is None else self.begin_s
        rendered: JsonObject = {
            "stage": self.stage.id,
            "task": self.stage.task,
            "adapter": self.adapter,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "calls": self.calls,
            "errors": self.errors,
            "start_ms": round((begin_s - zero_s) * 1e3, 1),
            "ms": round(max(self.end_s - begin_s, 0.0) * 1e3, 1) if self.calls else 0.0,
        }
        if self.fallbacks:
            rendered["fallbacks"] = self.fallbacks
        if self.settled:
            rendered["settled"] = self.settled
        return rendered


Watch = Callable[[str, int, str, float], None]
"""Told of each call of a stage: the stage, the call's number from 1, begin or end, milliseconds."""


class Tally:
    """One request's sums; times are milliseconds since its beginning."""

    def __init__(
        self, stages: tuple[Stage, ...], clock: Callable[[], float], watch: Watch | None = None
    ) -> None:
        self._clock = clock
        self._watch = watch
        self._zero_s = clock()
        self._stages = {stage.id: _StageTally(stage) for stage in stages}

    @contextmanager
    def call(self, stage: Stage) -> Iterator[None]:
        """Around each call of a stage: its time runs from the first call's begin to the last one's end."""
        tally = self._stages[stage.id]
        tally.calls += 1
        number = tally.calls
        if tally.begin_s is None:
            tally.begin_s = self._clock()
        watch = self._watch
        if watch is not None:
            watch(stage.id, number, "begin", self._now_ms())
        try:
            yield
        finally:
            tally.end_s = self._clock()
            if watch is not None:
                watch(stage.id, number, "end", self._now_ms())

    def _now_ms(self) -> float:
        return round((self._clock() - self._zero_s) * 1e3, 1)

    def add(self, stage: Stage, answer: Answer) -> None:
        tally = self._stages[stage.id]
        tally.adapter = answer.adapter or tally.adapter
        tally.fallbacks += answer.fallback
        tally.prompt_tokens += answer.usage.prompt_tokens
        tally.completion_tokens += answer.usage.completion_tokens or 0

    def error(self, stage: Stage) -> None:
        """An element has no answer from this stage."""
        self._stages[stage.id].errors += 1

    def settled(self, stage: Stage, what: list[JsonValue]) -> None:
        """What of the stage's answers was changed, so that it keeps to what the stage promises."""
        self._stages[stage.id].settled.extend(what)

    def usage(self) -> JsonObject:
        """OpenAI's usage, summed, with `stages` added."""
        prompt_tokens = completion_tokens = 0
        stages: list[JsonValue] = []
        for tally in self._stages.values():
            prompt_tokens += tally.prompt_tokens
            completion_tokens += tally.completion_tokens
            stages.append(tally.rendered(self._zero_s))
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "stages": stages,
        }
