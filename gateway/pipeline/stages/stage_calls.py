"""One call's body from a stage, and a stage's value from a call's answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import jiter
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.errors import EngineError, InvalidRequest, RequestError
from gateway.pipeline.compile import Pipeline, Stage
from gateway.pipeline.stages.sampling import stage_sampling
from gateway.pipeline.stages.schemas import fill_schema
from gateway.pipeline.stages.task_calls import Answer
from gateway.pipeline.stages.templates import RENDER_ERRORS


def call_body(
    pipeline: Pipeline,
    stage: Stage,
    values: Mapping[str, object],
    shared: JsonObject,
    cap: int | None,
    lead: str = "",
) -> JsonObject:
    """The body of one call; `values` is what the stage's template sees. Raises EngineError (500).

    `lead` goes before the stage's system prompt, or before its task's where it has none.
    """
    try:
        prompt = stage.prompt.template.render(values).strip()
    except RENDER_ERRORS as error:
        raise EngineError(
            f"the prompt of stage '{stage.id}' of '{pipeline.name}' cannot be written: {error} "
            f"(pipelines.{pipeline.name}.stages.{stage.id}.prompt)",
            status=500,
            kind="internal_error",
            code="stage_prompt_failed",
        ) from error
    messages: list[JsonValue] = [{"role": "user", "content": prompt}]
    system = stage.system
    if lead:
        own = stage.task_system if system is None else system
        system = f"{lead}\n\n{own}" if own else lead
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    body: JsonObject = {"messages": messages, **stage_sampling(stage.sampling, shared, cap)}
    if stage.schema is not None:
        schema = stage.schema if stage.schema_is_fixed else fill_schema(stage.schema, values)
        json_schema: JsonObject = {"name": stage.id, "schema": schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": json_schema}
    return body


def parsed_answer(
    pipeline: Pipeline, stage: Stage, answer: Answer, body: JsonObject, cap: int | None
) -> JsonValue:
    """A stage's value: stripped text, or with a schema the checked JSON. Raises RequestError."""
    if stage.schema is None:
        return answer.text.strip()
    try:
        value: JsonValue = jiter.from_json(answer.text.strip().encode(), allow_inf_nan=False)
    except ValueError as error:
        raise unusable(pipeline, stage, answer.finish_reason, body, cap, str(error)) from error
    check_against_schema(pipeline, stage, value, body)
    return value


def check_against_schema(pipeline: Pipeline, stage: Stage, value: JsonValue, body: JsonObject) -> None:
    """Hold a parsed answer against the schema that was sent with the call. Raises EngineError."""
    validator = stage.validator
    if validator is None:
        wanted = body.get("response_format")
        json_schema = wanted.get("json_schema") if isinstance(wanted, dict) else None
        schema = json_schema.get("schema") if isinstance(json_schema, dict) else None
        if not isinstance(schema, dict):
            return
        validator = Draft202012Validator(schema)
    error = best_match(validator.iter_errors(value))
    if error is not None:
        # jsonschema repeats the value that is wrong, which may be the whole answer.
        raise invalid_output(pipeline, stage, f"{error.json_path}: {error.message[:200]}")


def unusable(
    pipeline: Pipeline,
    stage: Stage,
    finish_reason: str | None,
    body: JsonObject,
    cap: int | None,
    reason: str,
) -> RequestError:
    """The error for an answer that is no JSON: cut short by the client or the stage, or malformed."""
    bound = body.get("max_tokens")
    if finish_reason != "length":
        return invalid_output(pipeline, stage, reason)
    if cap is not None and bound == cap:
        return InvalidRequest(
            f"stage '{stage.id}' of '{pipeline.name}' was cut short by max_tokens={cap}; raise it or omit it",
            param="max_tokens",
            code="stage_output_truncated",
        )
    where = f"pipelines.{pipeline.name}.stages.{stage.id}.defaults.max_tokens"
    limit = f"{bound} tokens" if bound is not None else "the model's context"
    return invalid_output(pipeline, stage, f"cut short at {limit}; send fewer terms or raise {where}")


def invalid_output(pipeline: Pipeline, stage: Stage, reason: str) -> EngineError:
    """The 502 for an answer of the model that a stage cannot use."""
    return EngineError(
        f"stage '{stage.id}' of '{pipeline.name}' gave no usable answer: {reason}",
        code="stage_output_invalid",
    )
