"""A scripted caller for pipelines: holds a piece, fails a call, counts what was cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import yaml

from gateway.config.document import Config, JsonObject
from gateway.errors import RequestError
from gateway.http.event_stream import TokenUsage
from gateway.pipeline.compile import Pipeline, compile_pipelines
from gateway.pipeline.stages.task_calls import Answer, Delta

Reply = Callable[[JsonObject], "str | RequestError"]

CONCEPTS = """
base: {model: b}
tasks:
  concept: {adapter: a, defaults: {temperature: 0, max_tokens: 512}}
  naming: {adapter: a, system: Name it., defaults: {max_tokens: 24}}
pipelines:
  p:
    %s
    stages:
      - id: extract
        task: concept
        prompt: "{%% for term in terms %%}{{ term.term }}\\n{%% else %%}{{ text }}{%% endfor %%}"
        schema:
          type: object
          properties:
            concepts:
              type: array
              items:
                type: object
                properties:
                  members: {type: array, items: {enum: {$from: terms}}}
                  definition: {type: string}
                required: [members, definition]
            summary: {type: string}
          required: [concepts]
      - {id: name, task: naming, for_each: extract.concepts, into: name, prompt: "{{ item.definition }}"}
"""


def pipeline(text: str, name: str = "p") -> Pipeline:
    """One pipeline of a configuration in YAML."""
    return compile_pipelines(Config.model_validate(yaml.safe_load(text)))[name]


def demo(extra: str = "on_error: fail") -> Pipeline:
    return pipeline(CONCEPTS % extra)


def root() -> Path:
    return Path(__file__).resolve().parents[2]


def chat(text: str, **more: object) -> JsonObject:
    body: dict[str, object] = {"model": "p", "messages": [{"role": "user", "content": text}], **more}
    return body  # type: ignore[return-value]  # the tests pass JSON values only


def prompt_of(body: JsonObject) -> str:
    messages = body["messages"]
    assert isinstance(messages, list)
    message = messages[-1]
    assert isinstance(message, dict)
    return str(message["content"])


class Script:
    """`stream[task]` is the pieces of that task's streamed answer, `reply` gives whole answers.

    A piece that is an Event is waited for. `hold` holds whole answers whose prompt it names.
    """

    def __init__(
        self, stream: dict[str, list[str | asyncio.Event]], reply: Reply, *, finish: str = "stop"
    ) -> None:
        self._stream = stream
        self._reply = reply
        self._finish = finish
        self.hold: dict[str, asyncio.Event] = {}
        self.calls: list[tuple[str, JsonObject]] = []
        self.called: asyncio.Queue[str] = asyncio.Queue()
        self.open = 0
        self.cancelled = 0

    async def answer(self, task: str, body: JsonObject) -> Answer:
        self._begin(task, body)
        try:
            if (held := self.hold.get(prompt_of(body))) is not None:
                await held.wait()
            reply = self._reply(body)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.open -= 1
        if isinstance(reply, RequestError):
            raise reply
        return Answer(reply, TokenUsage(7, 2), f"{task}@1", "stop")

    async def deltas(self, task: str, body: JsonObject) -> AsyncGenerator[Delta, None]:
        self._begin(task, body)
        try:
            for piece in self._stream[task]:
                if isinstance(piece, asyncio.Event):
                    await piece.wait()
                else:
                    yield Delta(piece)
            yield Delta("", self._finish)
            yield Delta("", None, TokenUsage(11, 5), f"{task}@1")
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        finally:
            self.open -= 1

    def _begin(self, task: str, body: JsonObject) -> None:
        self.open += 1
        self.calls.append((task, body))
        self.called.put_nowait(prompt_of(body))
