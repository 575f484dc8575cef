"""Inputs that give a wanted number of concepts, and the pipeline held to that number. Pure."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from gateway.config.document import Config, JsonObject, PipelineConfig, StageConfig
from gateway.errors import ConfigError
from launch.training.examples import Example

MEMBERS = 2  # of each group of the held-out data
TOKENS_PER_ELEMENT = 80
"""Room for one element of the first stage's answer; an answer cut short would be no answer."""


@dataclass(frozen=True)
class Term:
    term: str
    gloss: str | None


@dataclass(frozen=True)
class TwoStages:
    """A pipeline of one list and one call per element: what can be written by hand in a few lines."""

    name: str
    pipeline: PipelineConfig
    first: StageConfig
    each: StageConfig
    field: str  # the list's name in the first stage's answer


def two_stages(config: Config, name: str) -> TwoStages:
    """Raises ConfigError where there is no such pipeline, or one of another form."""
    pipeline = config.pipelines.get(name)
    if pipeline is None:
        known = ", ".join(config.pipelines) or "none"
        raise ConfigError("--pipeline", name, f"is no pipeline (pipelines: {known})")
    if len(pipeline.stages) != 2 or not (pipeline.stages[1].for_each or "").startswith(pipeline.stages[0].id):
        raise ConfigError("--pipeline", name, "the bench needs two stages, the second over the first's list")
    first, each = pipeline.stages
    return TwoStages(name, pipeline, first, each, (each.for_each or "").partition(".")[2])


def held_to(stages: TwoStages, config: Config, count: int) -> TwoStages:
    """The same pipeline whose first stage must give `count` elements, with the tokens that they need.

    Raises ConfigError where the first stage's schema does not show the list.
    """
    schema = copy.deepcopy(stages.first.schema_ or {})
    properties = schema.get("properties")
    elements = properties.get(stages.field) if isinstance(properties, dict) else None
    if not isinstance(elements, dict):
        key = f"pipelines.{stages.name}.stages.{stages.first.id}.schema"
        raise ConfigError(key, "", f"the bench bounds the list {stages.field!r}, which it does not show")
    elements |= {"minItems": count, "maxItems": count}
    defaults = sampling_of(stages.first, config)
    wanted = TOKENS_PER_ELEMENT * count
    given = defaults.get("max_tokens")
    defaults["max_tokens"] = max(wanted, given) if isinstance(given, int) else wanted
    # Written by hand nothing is settled; with it the gateway would make other calls.
    first = stages.first.model_copy(update={"schema_": schema, "defaults": defaults, "partition": None})
    each = stages.each.model_copy(update={"distinct": False})
    pipeline = stages.pipeline.model_copy(
        update={"stages": [first, each], "max_items": max(count, stages.pipeline.max_items)}
    )
    return TwoStages(f"{stages.name}-{count}", pipeline, first, each, stages.field)


def varied(stages: TwoStages, name: str, defaults: JsonObject) -> TwoStages:
    """The same pipeline under another name, whose calls of each element have these defaults too."""
    each = stages.each.model_copy(update={"defaults": {**stages.each.defaults, **defaults}})
    pipeline = stages.pipeline.model_copy(update={"stages": [stages.first, each]})
    return TwoStages(f"{stages.name}-{name}", pipeline, stages.first, each, stages.field)


def sampling_of(stage: StageConfig, config: Config) -> JsonObject:
    """The stage's defaults over its task's."""
    task = config.tasks.get(stage.task)
    return {**(task.defaults if task is not None else {}), **stage.defaults}


def terms_for(examples: Sequence[Example], count: int, skip: int = 0) -> list[Term]:
    """Members of `count` groups, so that as many concepts are there to be found; the groups are mixed.

    `skip`: so many groups are left for others. Raises ConfigError where the data has too few.
    """
    taken: list[list[Term]] = []
    used: set[str] = set()
    for example in examples:
        glosses = dict(line.partition(": ")[::2] for line in example.prompt.splitlines())
        for group in example.groups:
            members = [Term(term, glosses.get(term) or None) for term in group[:MEMBERS]]
            names = {one.term for one in members}
            if len(taken) < skip + count and len(names) == MEMBERS and not names & used:
                taken.append(members)
                used |= names
    if len(taken) < skip + count:
        reason = f"the held-out data has only {len(taken)} groups that fit, and each round takes others"
        raise ConfigError("--count", count, reason)
    return [group[index] for index in range(MEMBERS) for group in taken[skip:]]


def request_text(terms: Sequence[Term]) -> str:
    """What a client sends: a JSON list of terms."""
    listed: list[JsonValue] = [{"term": one.term, "gloss": one.gloss} for one in terms]
    return json.dumps(listed, ensure_ascii=False)
