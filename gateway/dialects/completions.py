"""OpenAI's `/v1/chat/completions` and `/v1/completions`."""

from __future__ import annotations

from types import MappingProxyType

from gateway.contract import Fields, apply_contract, ask_for_usage, encode_body
from gateway.dialects.dialect import Dialect
from gateway.dialects.parameters import (
    count,
    flag,
    labelled,
    needs_reasoning,
    only,
    schema,
    stream_options,
    structured_outputs,
    template_variables,
    text,
    tokens,
    tools,
)
from gateway.events import EventStream, Usage, usage_of
from gateway.table import Route
from gateway.upstream_connection import Segments

SAMPLING = frozenset(
    {
        *("temperature", "top_p", "top_k", "min_p", "seed", "n", "max_tokens", "min_tokens"),
        *("presence_penalty", "frequency_penalty", "repetition_penalty", "repetition_detection"),
        *("stop", "stop_token_ids", "include_stop_str_in_output", "ignore_eos", "bad_words"),
        *("logit_bias", "allowed_token_ids", "logprobs", "prompt_logprobs", "logprob_token_ids"),
        *("use_beam_search", "length_penalty", "thinking_token_budget", "echo"),
        *("response_format", "structured_outputs"),
    }
)
RENDERING = frozenset(
    {
        *("stream", "stream_options", "stream_interval", "add_special_tokens", "skip_special_tokens"),
        *("spaces_between_special_tokens", "truncate_prompt_tokens", "truncation_side"),
        *("return_token_ids", "return_tokens_as_token_ids", "cache_salt", "session_id", "user"),
    }
)
LABELS = frozenset(
    {
        *("metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
        *("prompt_cache_options", "service_tier", "store"),
    }
)
TYPED_LABELS = MappingProxyType(
    {"metadata": labelled, "safety_identifier": text, "prompt_cache_key": text, "user": text}
)
GATEWAYS_OWN = MappingProxyType(
    {
        "api_base": "which engine answers is not a client's to choose; leave it out.",
        "base_url": "which engine answers is not a client's to choose; leave it out.",
        "api_key": "the key goes into the Authorization header.",
        "priority": "the gateway gives it; leave it out.",
        "request_id": "send it as the header X-Request-Id.",
        "chat_template": "the template is the base's own; leave it out.",
        "kv_transfer_params": "no other server's cache can be named here; leave it out.",
        "ec_transfer_params": "no other server's cache can be named here; leave it out.",
        "vllm_xargs": "there are no extensions that it could go to; leave it out.",
        "watermarking": "it is not a client's to choose; leave it out.",
        "mm_payload": "only text is taken; leave it out.",
        "return_mm_kwargs": "only text is taken; leave it out.",
        "mm_processor_kwargs": "only text is taken; leave it out.",
        "media_io_kwargs": "only text is taken; leave it out.",
    }
)
"""Of the engine's parameters those that no client may choose, whichever API it speaks."""

_NO_EFFECT = "it would have no effect here; leave it out."
_REMOVED = "vLLM has it no more; use structured_outputs."
REFUSED = MappingProxyType(
    {
        **GATEWAYS_OWN,
        "return_token_offsets": _NO_EFFECT,
        "routed_experts_prompt_start": _NO_EFFECT,
        "moderation": "nothing is moderated here; leave it out.",
        "guided_json": _REMOVED,
        "guided_regex": _REMOVED,
        "guided_choice": _REMOVED,
        "guided_grammar": _REMOVED,
        "guided_decoding_backend": "the engine's operator chooses it; leave it out.",
        "guided_whitespace_pattern": _REMOVED,
    }
)
RULES = MappingProxyType(
    {
        "n": count("max_n"),
        "best_of": only(1, why="the engine ranks no answers; ask for n and choose yourself."),
        "max_tokens": tokens,
        "logprobs": count("max_logprobs", 0),
        "prompt_logprobs": count("max_logprobs", 0),
        "response_format": schema,
        "structured_outputs": structured_outputs,
        "thinking_token_budget": needs_reasoning,
        "service_tier": only("auto", "default", why="there is one tier; send auto, or leave it out."),
        "store": only(False, why="nothing is kept here; send false, or leave it out."),
        "stream_options": stream_options,
        **TYPED_LABELS,
    }
)


class Completions(Dialect):
    """What both routes share."""

    def sticky_of(self, fields: Fields) -> bytes | None:
        named = fields if "user" in fields else {"user": fields.get("safety_identifier")}
        return super().sticky_of({key: raw for key, raw in named.items() if raw is not None})

    def ask_for_usage(self, fields: Fields) -> bool:
        return ask_for_usage(fields)

    def apply_contract(self, fields: Fields, route: Route) -> None:
        apply_contract(fields, route)

    def encode_body(self, fields: Fields, route: Route, received_bytes: int) -> Segments:
        return encode_body(fields, route, received_bytes)

    def usage_of(self, answer: bytes) -> Usage | None:
        return usage_of(answer)

    def events(self, usage_wanted: bool) -> EventStream:
        return EventStream(not usage_wanted)


class ChatCompletions(Completions):
    """`/v1/chat/completions`."""

    name = "chat"
    passed = (
        SAMPLING
        | RENDERING
        | {
            *("model", "messages", "max_completion_tokens", "top_logprobs", "documents"),
            *("tools", "tool_choice", "parallel_tool_calls", "reasoning_effort", "include_reasoning"),
            *("add_generation_prompt", "continue_final_message", "chat_template_kwargs"),
            "return_prompt_text",
        }
    )
    labels = LABELS | {"best_of", "modalities", "verbosity"}
    refused = MappingProxyType(
        {
            **REFUSED,
            "audio": "answers are text; leave it out.",
            "prediction": "the engine takes no predicted text; leave it out.",
            "web_search_options": "the model has no access to the web here; leave it out.",
            "prompt": "its name is messages.",
            "input": "its name is messages.",
            "system": "send a message with the role system.",
            "extra_body": "its members go to the top of the body.",
            "functions": "use tools.",
            "function_call": "use tool_choice.",
        }
    )
    rules = MappingProxyType(
        {
            **RULES,
            "max_completion_tokens": tokens,
            "logprobs": flag,
            "top_logprobs": count("max_logprobs", 0),
            "tools": tools(("function",), "none", "function.parameters"),
            "chat_template_kwargs": template_variables,
            "modalities": only(["text"], why='answers are text; send ["text"], or leave it out.'),
            "verbosity": only("medium", why="the model has no such setting; leave it out."),
        }
    )


class TextCompletions(Completions):
    """`/v1/completions`."""

    name = "completions"
    passed = SAMPLING | RENDERING | {"model", "prompt"}
    labels = LABELS | {"best_of"}
    refused = MappingProxyType(
        {
            **REFUSED,
            "messages": "its name is prompt.",
            "input": "its name is prompt.",
            "extra_body": "its members go to the top of the body.",
            "suffix": "the model does not fill in between; leave it out.",
            "prompt_embeds": "a prompt is text or token ids here; leave it out.",
        }
    )
    rules = RULES


CHAT = ChatCompletions("/v1/chat/completions")
TEXT = TextCompletions("/v1/completions")
