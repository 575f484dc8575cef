"""From the configuration's pipelines to checked, compiled ones, at start."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2.sandbox import ImmutableSandboxedEnvironment
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from gateway.config.document import Config, JsonObject, PipelineConfig, StageConfig
from gateway.errors import ConfigError
from gateway.pipeline.settling.declared import Terms, check_distinct, terms_of
from gateway.pipeline.stages.schemas import check_schema, fill_schema
from gateway.pipeline.stages.templates import Prompt, compile_prompt, environment

STAGE_ID = re.compile(r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$")


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage, ready to run."""

    id: str
    task: str
    prompt: Prompt
    system: str | None
    """Over the task's own."""
    task_system: str | None
    sampling: JsonObject  # the stage's defaults over the task's
    schema: JsonObject | None
    schema_is_fixed: bool  # it takes no value from the input
    validator: Draft202012Validator | None  # of a schema that is fixed
    source: str | None  # the stage whose list this one runs over
    field: str  # that list's name
    into: str
    needs: frozenset[str]  # earlier stages that the prompt or the schema reads
    partition: Terms | None = None
    distinct: bool = False
    """No two elements get the same answer."""


@dataclass(frozen=True, slots=True)
class Fan:
    """One list of a stage's answer, with the stages that run over its elements, in order."""

    source: str
    field: str
    stages: tuple[Stage, ...]
    tasks: frozenset[str]
    """Of those stages."""
    into: tuple[str, ...]
    """What those stages fill in an element."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages behind one model name."""

    name: str
    stages: tuple[Stage, ...]
    last: Stage
    """The one whose answer is the pipeline's."""
    tasks: tuple[str, ...]
    """Of all stages, each once."""
    called_once: tuple[str, ...]
    """The task of each stage without for_each."""
    fans: tuple[Fan, ...]
    fans_of: Mapping[str, Mapping[str, Fan]]
    """By a stage's id, then by name: lists that later ones run over, in the order of the first of those."""
    max_items: int
    max_input_terms: int
    max_input_bytes: int
    max_input_members: int
    null_on_error: bool
    system: str = "ignore"
    """What becomes of a client's system message: refuse, ignore, prepend."""


def compile_pipelines(config: Config) -> dict[str, Pipeline]:
    """Every pipeline of a configuration, checked. Raises ConfigError."""
    sandbox = environment()
    return {name: _pipeline(sandbox, config, name, given) for name, given in config.pipelines.items()}


def _pipeline(
    sandbox: ImmutableSandboxedEnvironment, config: Config, name: str, given: PipelineConfig
) -> Pipeline:
    stages: list[Stage] = []
    for stage_config in given.stages:
        key = f"pipelines.{name}.stages.{stage_config.id}"
        stages.append(_stage(sandbox, config, key, stage_config, stages, given.max_items))
    lists: dict[tuple[str, str], list[Stage]] = {}
    for stage in stages:
        if stage.source is None:
            continue
        group = lists.setdefault((stage.source, stage.field), [])
        if any(other.into == stage.into for other in group):
            key = f"pipelines.{name}.stages.{stage.id}.into"
            raise ConfigError(key, stage.into, "is filled by an earlier stage over the same list")
        group.append(stage)
    for stage in stages:
        if stage.partition is not None and (stage.id, stage.partition.field) not in lists:
            key = f"pipelines.{name}.stages.{stage.id}.partition"
            field = stage.partition.field
            raise ConfigError(key, field, f"needs a later stage with for_each: {stage.id}.{field}")
    fans = tuple(_fan(source, field, group) for (source, field), group in lists.items())
    return Pipeline(
        name=name,
        stages=tuple(stages),
        last=stages[-1],
        tasks=tuple(dict.fromkeys(stage.task for stage in stages)),
        called_once=tuple(stage.task for stage in stages if stage.source is None),
        fans=fans,
        fans_of={stage.id: {fan.field: fan for fan in fans if fan.source == stage.id} for stage in stages},
        max_items=given.max_items,
        max_input_terms=given.max_input_terms,
        max_input_bytes=given.max_input_bytes,
        max_input_members=given.max_input_members,
        null_on_error=given.on_error == "null",
        system=given.system,
    )


def _fan(source: str, field: str, stages: Sequence[Stage]) -> Fan:
    tasks = frozenset(stage.task for stage in stages)
    return Fan(source, field, tuple(stages), tasks, tuple(stage.into for stage in stages))


def _stage(
    sandbox: ImmutableSandboxedEnvironment,
    config: Config,
    key: str,
    given: StageConfig,
    before: list[Stage],
    max_items: int,
) -> Stage:
    if not STAGE_ID.match(given.id):
        raise ConfigError(f"{key}.id", given.id, "use letters, digits, '_' or '-', a letter first")
    earlier = [stage.id for stage in before]
    task = config.tasks.get(given.task)
    per_item = given.for_each is not None
    prompt = compile_prompt(sandbox, f"{key}.prompt", given.prompt, earlier, per_item=per_item)
    schema = given.schema_ if given.schema_ is not None or task is None else task.schema_
    needs, filled = prompt.needs, schema
    if schema is not None:
        needs |= check_schema(f"{key}.schema", schema, earlier, per_item=per_item)
        filled = fill_schema(schema, {})
        try:
            # Without its references: `{"$from": …}` under `enum` is no JSON schema.
            Draft202012Validator.check_schema(filled)
        except SchemaError as error:
            raise ConfigError(f"{key}.schema", "", f"is not a valid JSON schema: {error.message}") from error
    check_distinct(key, given, schema)
    source, _, field = (given.for_each or "").partition(".")
    if per_item:
        _check_source(key, next(stage for stage in before if stage.id == source), field)
    return Stage(
        id=given.id,
        task=given.task,
        prompt=prompt,
        system=given.system,
        task_system=task.system if task is not None else None,
        sampling={**(task.defaults if task is not None else {}), **given.defaults},
        schema=schema,
        schema_is_fixed=filled == schema,
        validator=Draft202012Validator(schema) if schema is not None and filled == schema else None,
        source=source or None,
        field=field,
        into=given.into or "",
        needs=needs,
        partition=terms_of(key, given, schema, max_items),
        distinct=given.distinct,
    )


def _check_source(key: str, source: Stage, field: str) -> None:
    if source.source is not None:
        raise ConfigError(
            f"{key}.for_each", f"{source.id}.{field}", "a stage with for_each yields no list of its own"
        )
    if "." in field:
        raise ConfigError(
            f"{key}.for_each", f"{source.id}.{field}", "name a list at the top of the stage's answer"
        )
    properties = source.schema.get("properties") if source.schema is not None else None
    if isinstance(properties, dict) and field not in properties:
        known = ", ".join(properties) or "none"
        raise ConfigError(
            f"{key}.for_each",
            f"{source.id}.{field}",
            f"the stage's schema has no such field (it has: {known})",
        )
