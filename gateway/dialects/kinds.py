"""The three kinds of parameters, by name: honoured, harmless, refused. Each dialect adds what is its own.

Honoured are a dialect's `passed` and `labels`. Harmless is what cannot change what an answer means: how much
is spent on it, how soon it comes, in whose name, and what is kept beside it. It is taken and named in
`x-gateway-ignored`; `gateway.parameters: strict` refuses it. Refused is what an answer without it would not
be the answer that was asked for, or what is not a client's to choose. A name that nobody knows is harmless,
unless it is a misspelling of a known one, or one by which other servers steer the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

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

IDLE = LABELS | {"user", "session_id", "cache_control"}
"""What changes nothing in an answer where its name is right, so that a slip in it does no harm either."""

_EFFORT = "how long the model thinks is not set here; leave it out."
_NOT_NAMED = "it names nothing here; leave it out."
_ONE_TIER = "there is one tier; send auto, or leave it out."
NO_EFFECT = "it would have no effect here; leave it out."

HARMLESS: Mapping[str, str] = MappingProxyType(
    {
        "verbosity": "the model has no such setting; leave it out.",
        "reasoning": _EFFORT,
        "reasoning_effort": _EFFORT,
        "thinking": _EFFORT,
        "speed": "there is one speed; leave it out.",
        "service_tier": _ONE_TIER,
        "priority": "the gateway gives it; leave it out.",
        "store": "nothing is kept here; send false, or leave it out.",
        "context_management": "nothing is compacted here; send what the model is to see.",
        "prediction": "the engine takes no predicted text; leave it out.",
        "keep_alive": "the model stays loaded; leave it out.",
        "request_id": "send it as the header X-Request-Id.",
        "user": _NOT_NAMED,
        "metadata": _NOT_NAMED,
        "client_metadata": _NOT_NAMED,
        "session_id": _NOT_NAMED,
        "safety_identifier": _NOT_NAMED,
        "prompt_cache_key": NO_EFFECT,
        "prompt_cache_retention": NO_EFFECT,
        "prompt_cache_options": NO_EFFECT,
        "cache_control": NO_EFFECT,
        "betas": "no beta features are here; leave it out.",
        "anthropic_beta": "no beta features are here; leave it out.",
        "anthropic_version": "it belongs into the header anthropic-version.",
        "stream_options": "it goes with a stream of the chat's; leave it out.",
        "guided_decoding_backend": "the engine's operator chooses it; leave it out.",
        "mm_processor_kwargs": "only text is taken; leave it out.",
        "media_io_kwargs": "only text is taken; leave it out.",
    }
)
"""Whichever API they come on, where that does not honour them; and the mend where they are refused."""

COUNTED_MEMBERS = frozenset(
    {
        *("text.verbosity", "reasoning.context"),
        *("stream_options.include_obfuscation", "stream_options.include_usage"),
    }
)
"""Members that are counted by their own names; all others are by their object's."""

GATEWAYS_OWN: Mapping[str, str] = MappingProxyType(
    {
        "api_base": "which engine answers is not a client's to choose; leave it out.",
        "base_url": "which engine answers is not a client's to choose; leave it out.",
        "api_key": "the key goes into the Authorization header.",
        "chat_template": "the template is the base's own; leave it out.",
        "kv_transfer_params": "no other server's cache can be named here; leave it out.",
        "ec_transfer_params": "no other server's cache can be named here; leave it out.",
        "vllm_xargs": "there are no extensions that it could go to; leave it out.",
        "watermarking": "it is not a client's to choose; leave it out.",
        "mm_payload": "only text is taken; leave it out.",
        "return_mm_kwargs": "only text is taken; leave it out.",
    }
)
"""Of the engine's parameters those that no client may choose, whichever API it speaks."""

_STOP = "its name is stop."
_MAX_TOKENS = "its name is max_tokens."
_FORMAT = "use response_format, or structured_outputs."
_SYSTEM = "it goes into the system's message."
_NO_SUCH = "the engine samples without it; leave it out."
_TEXT_ONLY = "the model reads text here; leave it out."
_NO_TOOL = "no tool runs on the server's side here; leave it out."
_ADAPTER = "a task is chosen by model; leave it out."
_TOP = "its members go to the top of the body."
_THINKING = "it goes into chat_template_kwargs."

ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("stop_words", "stop_strings", "stop_token", "stop_tokens"), _STOP),
        **dict.fromkeys(("eos_token_id", "stop_ids"), "its name is stop_token_ids."),
        **dict.fromkeys(("min_new_tokens", "min_length"), "its name is min_tokens."),
        **dict.fromkeys(("max_new_tokens", "max_length", "max_tokens_to_sample"), _MAX_TOKENS),
        **dict.fromkeys(("num_predict", "n_predict"), _MAX_TOKENS),
        **dict.fromkeys(("num_return_sequences", "candidate_count", "num_completions"), "its name is n."),
        "random_seed": "its name is seed.",
        "streaming": "its name is stream.",
        "repeat_penalty": "its name is repetition_penalty.",
        **dict.fromkeys(("grammar", "json_schema", "regex", "ebnf", "format", "schema"), _FORMAT),
        **dict.fromkeys(("response_schema", "response_mime_type", "output_schema", "json_mode"), _FORMAT),
        **dict.fromkeys(("system_prompt", "system_instruction", "preamble", "safe_prompt"), _SYSTEM),
        **dict.fromkeys(("history", "chat_history", "context"), "earlier turns go into the messages."),
        **dict.fromkeys(("typical_p", "typical", "top_a", "tfs_z", "penalty_alpha", "num_beams"), _NO_SUCH),
        **dict.fromkeys(("mirostat", "mirostat_tau", "mirostat_eta", "do_sample", "samplers"), _NO_SUCH),
        **dict.fromkeys(("dry_multiplier", "xtc_probability", "dynatemp_range", "repeat_last_n"), _NO_SUCH),
        **dict.fromkeys(("logits_processors", "logits_processor", "smoothing_factor"), _NO_SUCH),
        **dict.fromkeys(
            ("top_n_sigma", "no_repeat_ngram_size", "suppress_tokens", "bad_words_ids"), _NO_SUCH
        ),
        **dict.fromkeys(("images", "image", "image_url", "files", "file_ids", "attachments"), _TEXT_ONLY),
        **dict.fromkeys(("plugins", "web_search", "enable_search", "search_parameters"), _NO_TOOL),
        "data_sources": _NO_TOOL,
        **dict.fromkeys(("adapter", "adapter_id", "adapter_name", "lora", "lora_name"), _ADAPTER),
        **dict.fromkeys(("lora_path", "lora_request", "loras"), _ADAPTER),
        **dict.fromkeys(("options", "parameters", "generation_config", "sampling_params"), _TOP),
        **dict.fromkeys(("enable_thinking", "thinking_budget"), _THINKING),
        "safety_settings": "nothing is moderated here; leave it out.",
        "template": "the template is the base's own; leave it out.",
    }
)
"""By what other servers steer an answer, and what to send here instead."""

# What is harmless steers nothing, though `user` and `stream_options` are of a rendering too.
STEERING = (SAMPLING | RENDERING | ELSEWHERE.keys()) - HARMLESS.keys() | {
    *("max_completion_tokens", "max_output_tokens", "stop_sequences", "top_logprobs", "suffix"),
    *("instructions", "system", "prompt", "input", "messages", "documents", "text", "output_config"),
    *("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "truncation"),
    *("add_generation_prompt", "continue_final_message", "chat_template_kwargs", "include_reasoning"),
}
"""What changes an answer on some API or server: where it is not known, it is not taken either."""
