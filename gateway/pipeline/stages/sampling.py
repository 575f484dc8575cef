"""Which of a client's parameters a pipeline takes, and what becomes of them. Pure."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.kinds import LABELS
from gateway.errors import InvalidRequest

# Goes to every call of every stage, over the stage's and the task's defaults.
SHARED = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "cache_salt",
    }
)
# Caps every call: the smaller of it and the stage's own counts.
CAPS = ("max_completion_tokens", "max_tokens")
# Read elsewhere, or labels that change nothing in the answer.
READ_ELSEWHERE = LABELS | {
    *("model", "messages", "response_format", "stream", "stream_options", "user", "session_id")
}
# How a prompt and an answer are written, as vLLM has it unless it is told otherwise.
ON = ("skip_special_tokens", "spaces_between_special_tokens", "add_generation_prompt")
OFF = (
    *("include_stop_str_in_output", "add_special_tokens", "continue_final_message", "return_token_ids"),
    *("return_tokens_as_token_ids", "return_prompt_text"),
)
# Other parameters are taken only with a value that asks for nothing.
ASKS_NOTHING: dict[str, Callable[[JsonValue], bool]] = {
    "n": lambda value: value == 1,
    "best_of": lambda value: value == 1,
    "echo": lambda value: value is False,
    "logprobs": lambda value: value is False,
    "top_logprobs": lambda value: value == 0,
    "tool_choice": lambda value: value in ("none", "auto"),
    "parallel_tool_calls": lambda value: isinstance(value, bool),
    "stop": lambda value: value in ("", []),
    "logit_bias": lambda value: value == {},
    "modalities": lambda value: value == ["text"],
    "verbosity": lambda value: value == "medium",
    "ignore_eos": lambda value: value is False,
    "min_tokens": lambda value: value == 0,
    "include_reasoning": lambda value: isinstance(value, bool),
    "reasoning_effort": lambda value: value == "none",
    "use_beam_search": lambda value: value is False,
    "length_penalty": lambda value: value == 1,
    "stream_interval": lambda value: isinstance(value, int),
    "chat_template_kwargs": lambda value: value == {},
    **dict.fromkeys(("stop_token_ids", "bad_words", "documents"), lambda value: value == []),
    **dict.fromkeys(ON, lambda value: value is True),
    **dict.fromkeys(OFF, lambda value: value is False),
}
# Of what a task would honour, what cannot change what a pipeline's answer means: its stages have their own.
WISHES: dict[str, Callable[[JsonValue], bool]] = {
    "reasoning_effort": lambda value: True,
    "reasoning": lambda value: True,
    "thinking": lambda value: value != {"type": "disabled"},
    "chat_template_kwargs": lambda value: True,
}


def take_wishes(asked: JsonObject) -> list[str]:
    """Take what is harmless in a pipeline out of a request; the names of that."""
    taken: list[str] = []
    for key in tuple(asked):
        if key in WISHES and WISHES[key](asked[key]):
            taken.append(key)
            del asked[key]
    config = asked.get("output_config")
    if isinstance(config, dict) and "effort" in config:
        asked["output_config"] = {key: value for key, value in config.items() if key != "effort"}
        taken.append("output_config.effort")
    return taken


def leave_out_tools(asked: JsonObject, pipeline: str) -> None:
    """Tools of which none may be called ask for nothing. Raises InvalidRequest for others."""
    if asked.pop("tools", None) and asked.get("tool_choice") not in ("none", {"type": "none"}):
        raise cannot_honour("tools", pipeline)


def cannot_honour(name: str, pipeline: str) -> InvalidRequest:
    return InvalidRequest(
        f"'{pipeline}' is a pipeline and cannot honour '{name}'; omit it, or call one of its tasks",
        param=name,
        code="unsupported_parameter",
    )


def shared_sampling(body: JsonObject, pipeline: str) -> tuple[JsonObject, int | None]:
    """The sampling for every stage, and the client's cap on tokens per call. Raises InvalidRequest."""
    shared: JsonObject = {}
    cap: int | None = None
    for name, value in body.items():
        if value is None or name in READ_ELSEWHERE:
            continue
        if name in SHARED:
            shared[name] = value
        elif name in CAPS:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidRequest(f"'{name}' must be a whole number of at least 1", param=name)
            cap = value if cap is None else min(cap, value)
        elif name not in ASKS_NOTHING or not ASKS_NOTHING[name](value):
            raise cannot_honour(name, pipeline)
    return shared, cap


def stage_sampling(defaults: JsonObject, shared: JsonObject, cap: int | None) -> JsonObject:
    """The sampling of one call: the stage's defaults, the client's over them, tokens capped."""
    sampling = {**defaults, **shared}
    if cap is None:
        return sampling
    # Both names: of the two vLLM (0.32) takes max_completion_tokens.
    own = [sampling.pop(name, None) for name in CAPS]
    sampling["max_tokens"] = min([cap, *(value for value in own if isinstance(value, int))])
    return sampling
