"""The JSON schema of a request: its dialect says which parameters there are, this says what each one is."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gateway.config.document import JsonObject
from gateway.dialects.dialect import Dialect


def _maybe(kind: str, description: str = "", **more: object) -> JsonObject:
    schema: JsonObject = {"type": [kind, "null"], **more}  # type: ignore[dict-item]  # `more` is JSON
    return schema | ({"description": description} if description else {})


def _only(**members: JsonObject) -> JsonObject:
    """An object of which no other member has an effect."""
    return {"type": ["object", "null"], "properties": {**members}, "additionalProperties": False}


_UNPADDED: JsonObject = {"enum": [False], "description": "Events are not padded."}
_MODEL: JsonObject = {
    "type": "string",
    "description": "A task, a pipeline or the base, as /v1/models lists them.",
}
_MESSAGES: JsonObject = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {"role": {"type": "string"}, "content": {}},
        "required": ["role"],
    },
}
_OBJECTS: JsonObject = {"type": ["array", "null"], "items": {"type": "object"}}
_STRINGS: JsonObject = {"type": ["array", "null"], "items": {"type": "string"}}
_IDS: JsonObject = {"type": ["array", "null"], "items": {"type": "integer", "minimum": 0}}
_TEXTS: JsonObject = {"type": ["string", "array", "null"], "items": {"type": "string"}}
_TOKENS = _maybe("integer", "From 1 to the model's context.", minimum=1)

COMMON: Mapping[str, JsonObject] = MappingProxyType(
    {
        "model": _MODEL,
        "messages": _MESSAGES,
        "max_tokens": _TOKENS,
        "max_completion_tokens": _TOKENS,
        "max_output_tokens": _TOKENS,
        "min_tokens": _maybe("integer", minimum=0),
        "temperature": _maybe("number", minimum=0),
        "top_p": _maybe("number", exclusiveMinimum=0, maximum=1),
        "top_k": _maybe("integer"),
        "min_p": _maybe("number", minimum=0, maximum=1),
        "seed": _maybe("integer"),
        "n": _maybe("integer", "Answers; gateway.max_n bounds it.", minimum=1),
        "stop": _TEXTS,
        "stop_token_ids": _IDS,
        "allowed_token_ids": _IDS,
        "bad_words": _STRINGS,
        "presence_penalty": _maybe("number", minimum=-2, maximum=2),
        "frequency_penalty": _maybe("number", minimum=-2, maximum=2),
        "repetition_penalty": _maybe("number", exclusiveMinimum=0),
        "logit_bias": {"type": ["object", "null"], "additionalProperties": {"type": "number"}},
        "logprobs": _maybe("boolean"),
        "top_logprobs": _maybe("integer", "gateway.max_logprobs bounds it.", minimum=0),
        "prompt_logprobs": _maybe("integer", minimum=0),
        "stream": _maybe("boolean", "Answer as server-sent events."),
        "stream_options": _only(
            include_usage=_maybe("boolean"),
            continuous_usage_stats=_maybe("boolean"),
            include_obfuscation=_UNPADDED,
        ),
        "response_format": {
            "type": ["object", "null"],
            "properties": {"type": {"enum": ["text", "json_object", "json_schema", "structural_tag"]}},
            "required": ["type"],
        },
        "structured_outputs": _maybe("object", "vLLM's own: json, regex, choice, grammar, …"),
        "tools": _OBJECTS,
        "tool_choice": {"type": ["string", "object", "null"]},
        "parallel_tool_calls": _maybe("boolean"),
        "reasoning_effort": _maybe("string"),
        "include_reasoning": _maybe("boolean"),
        "chat_template_kwargs": _maybe("object", "Names that gateway.template_variables lists."),
        "documents": _OBJECTS,
        "user": _maybe("string", "Ties a user to one of a task's versions."),
        "safety_identifier": _maybe("string"),
        "prompt_cache_key": _maybe("string"),
        "metadata": _maybe("object"),
        "service_tier": {"enum": ["auto", "default", None]},
        "store": {"enum": [False, None], "description": "Nothing is kept here."},
        "best_of": {"enum": [1, None]},
        "echo": _maybe("boolean"),
        "prompt": {"type": ["string", "array"]},
        "input": {"type": ["string", "array"]},
        "instructions": _maybe("string"),
        "system": {"type": ["string", "array", "null"]},
        "stop_sequences": _STRINGS,
        "include": _STRINGS,
        "text": _only(format=_maybe("object"), verbosity={"enum": ["medium", None]}),
        "reasoning": _only(
            effort=_maybe("string"), summary=_maybe("string"), generate_summary=_maybe("string")
        ),
        "thinking": _maybe("object"),
        "output_config": _only(effort=_maybe("string"), format=_maybe("object")),
        "truncation": _maybe("string"),
        "background": {"enum": [False, None]},
        "tokens": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "encoding_format": {"enum": ["float", "base64", None]},
        "dimensions": _maybe("integer", minimum=1),
        "add_special_tokens": _maybe("boolean"),
        "add_generation_prompt": _maybe("boolean"),
        "continue_final_message": _maybe("boolean"),
        "return_token_strs": _maybe("boolean"),
        "ignore_eos": _maybe("boolean"),
        "skip_special_tokens": _maybe("boolean"),
    }
)
"""By name, whichever API has it. A parameter that is not here is the engine's own, of any type."""

OWN: Mapping[str, Mapping[str, JsonObject]] = MappingProxyType(
    {
        "completions": {"logprobs": _maybe("integer", "gateway.max_logprobs bounds it.", minimum=0)},
        "messages": {
            "max_tokens": {**_TOKENS, "type": "integer"},
            "tool_choice": _maybe("object"),
            "metadata": _only(user_id=_maybe("string", "Ties a user to one of a task's versions.")),
            "service_tier": {"enum": ["auto", "standard_only", None]},
        },
        "count_tokens": {"tool_choice": _maybe("object")},
        "responses": {"stream_options": _only(include_obfuscation=_UNPADDED)},
    }
)
"""By dialect, where it means another thing there."""

REQUIRED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "chat": ("model", "messages"),
        "completions": ("model", "prompt"),
        "responses": ("model", "input"),
        "messages": ("model", "messages", "max_tokens"),
        "count_tokens": ("model", "messages"),
        "detokenize": ("tokens",),
        "embeddings": ("model", "input"),
    }
)


def request_schema(dialect: Dialect) -> JsonObject:
    """What the body of this route may hold: every parameter that is honoured, and no other."""
    own = OWN.get(dialect.name, {})
    names = sorted(dialect.passed | dialect.labels)
    return {
        "type": "object",
        "description": "What has an effect. Unless gateway.parameters is strict, what cannot change what an "
        "answer means is taken too, and named in the header x-gateway-ignored.",
        "properties": {name: own.get(name) or COMMON.get(name, {}) for name in names},
        "required": list(REQUIRED.get(dialect.name, ())),
        "additionalProperties": False,
    }
