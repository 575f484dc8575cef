"""What the OpenAPI document says of a route: its answer, and the schema of each parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, Field

from gateway.config.document import JsonObject
from gateway.config.sections.sampling import SamplingNumbers


class StageUsage(BaseModel):
    """What one stage of a pipeline took; milliseconds count from the request's beginning."""

    stage: str
    task: str
    adapter: str
    prompt_tokens: int
    completion_tokens: int
    calls: int
    errors: int
    start_ms: float
    ms: float


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int | None = None
    total_tokens: int
    stages: list[StageUsage] = Field(default=[], description="of a pipeline's answer alone")


class ResponseUsage(BaseModel):
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Description:
    """One route; `name` is the operation's, `tag` says whose API it is."""

    name: str
    tag: str
    summary: str
    answer: type[BaseModel]
    required: tuple[str, ...] = ()
    """Parameters without which there is no answer."""
    parameters: Mapping[str, JsonObject] = field(default_factory=dict)
    """Of this API alone, or with another meaning than elsewhere."""
    error: type[BaseModel] | None = None
    """Where its errors have an envelope that is not OpenAI's."""


def maybe(kind: str, description: str = "", **more: object) -> JsonObject:
    schema: JsonObject = {"type": [kind, "null"], **more}  # type: ignore[dict-item]  # `more` is JSON
    return schema | ({"description": description} if description else {})


def _numbered(told: dict[str, Any]) -> JsonObject:
    """As pydantic tells a number or null that a task's `defaults` may hold as well."""
    kind, _ = told["anyOf"]
    return maybe(kind["type"], told.get("description", ""), **{**kind, "type": [kind["type"], "null"]})


def closed(**members: JsonObject) -> JsonObject:
    """An object of which no other member has an effect."""
    return {"type": ["object", "null"], "properties": {**members}, "additionalProperties": False}


UNPADDED: JsonObject = {"enum": [False], "description": "Events are not padded."}
MODEL: JsonObject = {
    "type": "string",
    "description": "A task, a pipeline or the base, as /v1/models lists them.",
}
MESSAGES: JsonObject = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {"role": {"type": "string"}, "content": {}},
        "required": ["role"],
    },
}
OBJECTS: JsonObject = {"type": ["array", "null"], "items": {"type": "object"}}
STRINGS: JsonObject = {"type": ["array", "null"], "items": {"type": "string"}}
IDS: JsonObject = {"type": ["array", "null"], "items": {"type": "integer", "minimum": 0}}
TEXTS: JsonObject = {"type": ["string", "array", "null"], "items": {"type": "string"}}
TOKENS = maybe("integer", "From 1 to the model's context.", minimum=1)

COMMON: Mapping[str, JsonObject] = MappingProxyType(
    {
        "model": MODEL,
        "messages": MESSAGES,
        **{name: _numbered(told) for name, told in SamplingNumbers.model_json_schema()["properties"].items()},
        "stop": TEXTS,
        "stop_token_ids": IDS,
        "allowed_token_ids": IDS,
        "bad_words": STRINGS,
        "logit_bias": {"type": ["object", "null"], "additionalProperties": {"type": "number"}},
        "logprobs": maybe("boolean"),
        "top_logprobs": maybe("integer", "gateway.max_logprobs bounds it.", minimum=0),
        "prompt_logprobs": maybe("integer", minimum=0),
        "stream": maybe("boolean", "Answer as server-sent events."),
        "stream_options": closed(
            include_usage=maybe("boolean"),
            continuous_usage_stats=maybe("boolean"),
            include_obfuscation=UNPADDED,
        ),
        "response_format": {
            "type": ["object", "null"],
            "properties": {"type": {"enum": ["text", "json_object", "json_schema", "structural_tag"]}},
            "required": ["type"],
        },
        "structured_outputs": maybe("object", "vLLM's own: json, regex, choice, grammar, …"),
        "tools": OBJECTS,
        "tool_choice": {"type": ["string", "object", "null"]},
        "parallel_tool_calls": maybe("boolean"),
        "reasoning_effort": maybe("string"),
        "include_reasoning": maybe("boolean"),
        "chat_template_kwargs": maybe("object", "Names that gateway.template_variables lists."),
        "documents": OBJECTS,
        "user": maybe("string", "Ties a user to one of a task's versions."),
        "safety_identifier": maybe("string"),
        "prompt_cache_key": maybe("string"),
        "metadata": maybe("object"),
        "service_tier": {"enum": ["auto", "default", None]},
        "store": {"enum": [False, None], "description": "Nothing is kept here."},
        "best_of": {"enum": [1, None]},
        "echo": maybe("boolean"),
        "prompt": {"type": ["string", "array"]},
        "input": {"type": ["string", "array"]},
        "add_special_tokens": maybe("boolean"),
        "add_generation_prompt": maybe("boolean"),
        "continue_final_message": maybe("boolean"),
        "ignore_eos": maybe("boolean"),
        "skip_special_tokens": maybe("boolean"),
    }
)
"""By name, whichever API has it. A parameter that is not here is the engine's own, of any type."""
