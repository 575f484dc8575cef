"""The two stages as one would write them with the OpenAI SDK; prompts and schemas are the configuration's."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined
from pydantic import JsonValue

from gateway.config.document import Config, JsonObject, StageConfig
from gateway.errors import ConfigError, EngineFailure
from launch.bench.pipeline.inputs import Term, TwoStages, sampling_of

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Elements = list[dict[str, object]]


@dataclass(frozen=True)
class Timing:
    """One run of both stages, in seconds."""

    total_s: float
    first_s: float
    last_s: float  # the last element's call
    elements: int
    first_tokens: int
    each_tokens: int


@dataclass(frozen=True)
class Said:
    text: str
    tokens: int
    seconds: float


@dataclass(frozen=True)
class ByHand:
    """Both stages on one input, straight at the engine: `models` are its names for their adapters."""

    client: AsyncOpenAI
    config: Config
    stages: TwoStages
    terms: Sequence[Term]
    models: tuple[str, str]

    async def sequential(self, salt: str) -> Timing:
        """One call after the other. So its first stage and its last call ran alone."""
        began = time.perf_counter()
        first, elements = await self._extract(salt)
        answers = [await self._name(element, salt) for element in elements]
        return timing(began, first, answers)

    async def fan_out(self, salt: str) -> Timing:
        """The first stage whole, then every element at once."""
        began = time.perf_counter()
        first, elements = await self._extract(salt)
        answers = await asyncio.gather(*(self._name(element, salt) for element in elements))
        return timing(began, first, answers)

    async def warm_up(self, salt: str) -> None:
        """One token of the first stage, so that the engine has its grammar compiled."""
        await self._ask(self.models[0], self.first_body() | {"max_tokens": 1}, salt)

    def first_body(self) -> JsonObject:
        return stage_body(self.stages.first, self.config, self.terms, None)

    def each_body(self, element: Mapping[str, object]) -> JsonObject:
        return stage_body(self.stages.each, self.config, self.terms, element)

    async def _extract(self, salt: str) -> tuple[Said, Elements]:
        said = await self._ask(self.models[0], self.first_body(), salt)
        try:
            elements: Elements = json.loads(said.text)[self.stages.field]
        except (ValueError, KeyError) as error:
            raise EngineFailure(
                f"the first stage's answer is not the JSON asked for: {said.text[-200:]}"
            ) from error
        return said, elements

    async def _name(self, element: Mapping[str, object], salt: str) -> Said:
        return await self._ask(self.models[1], self.each_body(element), salt)

    async def _ask(self, model: str, body: JsonObject, salt: str) -> Said:
        began = time.perf_counter()
        # The SDK asks for messages; those of the body win.
        answer = await self.client.chat.completions.create(
            model=model, messages=[], extra_body={**body, "cache_salt": salt}
        )
        tokens = answer.usage.completion_tokens if answer.usage is not None else 0
        return Said(answer.choices[0].message.content or "", tokens, time.perf_counter() - began)


def timing(began: float, first: Said, answers: Sequence[Said]) -> Timing:
    return Timing(
        total_s=time.perf_counter() - began,
        first_s=first.seconds,
        last_s=answers[-1].seconds,
        elements=len(answers),
        first_tokens=first.tokens,
        each_tokens=sum(one.tokens for one in answers),
    )


def stage_body(
    stage: StageConfig, config: Config, terms: Sequence[Term], element: Mapping[str, object] | None
) -> JsonObject:
    """One call's body without the model's name; `element` in a stage that runs over a list."""
    task = config.tasks.get(stage.task)
    seen: dict[str, object] = {"terms": [asdict(one) for one in terms], "text": ""}
    if element is not None:
        seen["item"] = element
    prompt = Environment(undefined=StrictUndefined, autoescape=False).from_string(stage.prompt).render(seen)
    system = stage.system if stage.system is not None else task.system if task is not None else None
    messages: list[JsonValue] = [{"role": "user", "content": prompt.strip()}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    body: JsonObject = {"messages": messages, **sampling_of(stage, config)}
    schema = stage.schema_ if stage.schema_ is not None or task is None else task.schema_
    if schema is not None:
        wanted: JsonObject = {
            "name": stage.id,
            "schema": filled(schema, [t.term for t in terms]),
            "strict": True,
        }
        body["response_format"] = {"type": "json_schema", "json_schema": wanted}
    return body


def filled(node: JsonValue, terms: Sequence[str]) -> JsonValue:
    """A schema with the terms in it. Raises ConfigError for a reference to anything else."""
    if isinstance(node, list):
        return [filled(child, terms) for child in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$from", node.get("$count"))
    if reference is None:
        return {key: filled(child, terms) for key, child in node.items()}
    if reference != "terms":
        raise ConfigError("schema", str(reference), "written by hand, the bench fills in terms only")
    return len(terms) if "$count" in node else list(terms)
