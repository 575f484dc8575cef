"""OpenAI's `/v1/chat/completions` and `/v1/completions`."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from pydantic import JsonValue

from gateway.dialects.chat import described
from gateway.dialects.chat.conversion import OF_A_CHAT, OF_ANY_API, Conversion
from gateway.dialects.chat.from_chat import ChatRendering, TextRendering
from gateway.dialects.chat.history import given_up, readable
from gateway.dialects.chat.response_format import response_format
from gateway.dialects.chat.said import ChoiceReader
from gateway.dialects.chat.to_chat import chat_of_chat, chat_of_prompt
from gateway.dialects.cost.lists import LIST_RULES
from gateway.dialects.dialect import Dialect
from gateway.dialects.harmless import (
    needs_reasoning,
    refused_but_for,
    stream_options,
    template_switch,
    wish,
)
from gateway.dialects.kinds import ELSEWHERE, GATEWAYS_OWN, HARMLESS, LABELS, NO_EFFECT, RENDERING, SAMPLING
from gateway.dialects.media import no_strange_addresses
from gateway.dialects.parameters import (
    Limits,
    count,
    flag,
    labelled,
    only,
    structured_outputs,
    template_variables,
    text,
    tokens,
    unsupported,
    value_of,
    written_plainly,
)
from gateway.dialects.request_body import FORMATS, Fields, apply_contract, ask_for_usage, encode_body
from gateway.dialects.tools import tool_choice_or_allowed, tools
from gateway.http.event_stream import EventStream, usage_of
from gateway.routing.table import Contract, Route

TYPED_LABELS = MappingProxyType(
    {"metadata": labelled, "safety_identifier": text, "prompt_cache_key": text, "user": text}
)
NO_WEB = "the model has no access to the web here; leave it out."
_REMOVED = "vLLM has it no more; use structured_outputs."
REFUSED = MappingProxyType(
    {
        **GATEWAYS_OWN,
        "return_token_offsets": NO_EFFECT,
        "routed_experts_prompt_start": NO_EFFECT,
        "moderation": "nothing is moderated here; leave it out.",
        "guided_json": _REMOVED,
        "guided_regex": _REMOVED,
        "guided_choice": _REMOVED,
        "guided_grammar": _REMOVED,
        "guided_whitespace_pattern": _REMOVED,
    }
)
HELD_TO = (
    *("response_format", "structured_outputs", "stop", "stop_token_ids", "bad_words", "allowed_token_ids"),
    *("logit_bias", "min_tokens"),
)
"""What an answer is held to, of which the engine's beam search takes no notice."""
_NOTHING: tuple[JsonValue, ...] = ({"type": "text"}, {}, [], "", 0)


def _beams(key: str, fields: Fields, limits: Limits) -> None:
    """Raises InvalidRequest where beams would have to be held to something."""
    held = () if bytes(fields[key]) == b"false" else HELD_TO
    for name in held:
        if name in fields and value_of(name, fields, None) not in _NOTHING:
            raise unsupported(
                name, f"'{name}' is not supported with '{key}', whose answers are held to nothing."
            )


RULES = MappingProxyType(
    {
        "n": count("max_n"),
        "best_of": only(1, why="the engine ranks no answers; ask for n and choose yourself."),
        "max_tokens": tokens,
        **LIST_RULES,
        "logprobs": count("max_logprobs", 0),
        "prompt_logprobs": count("max_logprobs", 0),
        "response_format": response_format,
        "structured_outputs": structured_outputs,
        "thinking_token_budget": needs_reasoning,
        "use_beam_search": _beams,
        "service_tier": wish("auto", "default", why=HARMLESS["service_tier"]),
        "store": wish(False, why=HARMLESS["store"]),
        "stream_options": stream_options("include_usage", "continuous_usage_stats"),
        **TYPED_LABELS,
    }
)


def _tokens(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
    """None at all where the prompt alone is to be echoed, as who has it scored wants."""
    if bytes(fields.get("echo", b"")) == b"true" and written_plainly(key, fields) == 0:
        return ()
    return tokens(key, fields, limits)


class Completions(Dialect):
    """What `/v1/chat/completions` and `/v1/completions` share: body and usage."""

    # The functions themselves: methods that called them would be calls more in each request (design 141).
    ask_for_usage = staticmethod(ask_for_usage)
    encode_body = staticmethod(encode_body)
    usage_of = staticmethod(usage_of)

    def events(self, usage_wanted: bool) -> EventStream:
        return EventStream(not usage_wanted)


class ChatCompletions(Completions):
    """`/v1/chat/completions`: which of a chat's parameters are passed on, mere labels or refused."""

    name = "chat"
    described = described.CHAT
    conversion = Conversion(chat_of_chat, ChatRendering, ChoiceReader, OF_A_CHAT)
    system_among_messages = True
    apply_contract = staticmethod(apply_contract)
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
    lengths = ("max_completion_tokens", "max_tokens")
    labels = LABELS | {"best_of", "modalities", "verbosity"}
    refused = MappingProxyType(
        {
            **REFUSED,
            "audio": "answers are text; leave it out.",
            "web_search_options": NO_WEB,
            "prompt": "its name is messages.",
            "input": "its name is messages.",
            "system": "send a message with the role system.",
            "extra_body": "its members go to the top of the body.",
            "enable_thinking": ELSEWHERE["enable_thinking"],
            "functions": "use tools.",
            "function_call": "use tool_choice.",
        }
    )
    rules = MappingProxyType(
        {
            **RULES,
            "messages": no_strange_addresses(readable),
            "max_completion_tokens": tokens,
            "logprobs": flag,
            "top_logprobs": count("max_logprobs", 0),
            "tools": tools(("function",), "none", "function.parameters", allows=True),
            "tool_choice": tool_choice_or_allowed("function.parameters"),
            "function_call": refused_but_for("none", "auto", why="use tool_choice."),
            "web_search_options": refused_but_for(why=NO_WEB),
            "chat_template_kwargs": template_variables,
            "enable_thinking": template_switch,
            "modalities": only(["text"], why='answers are text; send ["text"], or leave it out.'),
            "verbosity": wish("medium", why=HARMLESS["verbosity"]),
        }
    )

    def check_fields(self, fields: Fields, limits: Limits, contract: Contract | None = None) -> list[str]:
        held = contract is not None and contract.response_format is not None
        may_be_marked = held and "continue_final_message" not in fields
        ignored = Completions.check_fields(self, fields, limits, contract)  # `super` is an object more
        # Only here both are known: a mark that a rule has followed, and the task's own schema.
        if may_be_marked and "continue_final_message" in fields and fields.keys().isdisjoint(FORMATS):
            ignored += given_up("messages", fields)
        return ignored


class TextCompletions(Completions):
    """`/v1/completions`: a prompt of text or token ids; a chat's `messages` are refused."""

    name = "completions"
    described = described.TEXT
    conversion = Conversion(chat_of_prompt, TextRendering, ChoiceReader, (OF_ANY_API & SAMPLING) | {"n"})
    prompt = ""
    listed = "prompt"
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
    rules = MappingProxyType({**RULES, "max_tokens": _tokens})
    renamed = MappingProxyType({"max_completion_tokens": "max_tokens"})

    def apply_contract(self, fields: Fields, route: Route) -> None:
        defaults = route.contract.defaults
        own = {key: value for key, value in defaults.items() if key in self.passed}
        # Last, since of both names in a chat it is the engine's.
        own |= {name: defaults[key] for key, name in self.renamed.items() if key in defaults}
        apply_contract(fields, route, own)


CHAT = ChatCompletions("/v1/chat/completions")
TEXT = TextCompletions("/v1/completions")
