"""vLLM's `/tokenize` and `/detokenize`, and OpenAI's `/v1/embeddings`: routes that answer without a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import MappingProxyType

import msgspec

from gateway.dialects.chat import roles
from gateway.dialects.chat.dialect import RULES, TYPED_LABELS
from gateway.dialects.cost.sequences import sequences_of
from gateway.dialects.dialect import Dialect
from gateway.dialects.kinds import GATEWAYS_OWN, LABELS
from gateway.dialects.media import no_strange_addresses
from gateway.dialects.parameters import Limits, template_variables
from gateway.dialects.request_body import Fields, encode_body, given, raw_of
from gateway.dialects.tokens import described
from gateway.dialects.tools import tools
from gateway.errors import InvalidRequest
from gateway.http.engine_connection import Segments
from gateway.http.event_stream import EventStream, TokenUsage, usage_of
from gateway.routing.table import Route

_SEVERAL = re.compile(rb"\[\s*\[")
_CONVERSATION = re.compile(rb"\[\s*(?:\[\s*)?\{")
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Wordless(Dialect):
    system_among_messages = True

    def apply_contract(self, fields: Fields, route: Route) -> None:
        fields["model"] = route.model_json

    def encode_body(self, fields: Fields, route: Route, received_bytes: int) -> Segments:
        """With the task's system prompt, where there are messages."""
        return encode_body(fields, route, received_bytes)

    def usage_of(self, answer: bytes) -> TokenUsage | None:
        return None  # no token went through the model

    def events(self, usage_wanted: bool) -> EventStream:
        return EventStream(not usage_wanted)


_respelled = no_strange_addresses(roles.respell)


def _no_prompt_beside(key: str, fields: Fields, limits: Limits) -> Sequence[str] | None:
    """Of the two the engine would take the prompt."""
    if given(fields, key) and given(fields, "prompt"):
        raise InvalidRequest("Give 'prompt' or 'messages', not both.", param=key)
    return _respelled(key, fields, limits)


def _one_or_several(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
    """A rule: a conversation, or a list of them, of which each is one. Raises InvalidRequest."""
    if not _SEVERAL.match(fields[key]):
        return _respelled(key, fields, limits) or ()
    sequences_of({key: fields[key]}, key, {}, limits.max_sequences)
    came = _decode_list(fields[key])
    held = {f"{key}[{index}]": one for index, one in enumerate(came)}
    left = [name for place in [*held] for name in _respelled(place, held, limits) or ()]
    if [*held.values()] != came:
        fields[key] = raw_of([*held.values()])
    return left


def _embedded(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
    """A rule: the engine takes conversations for texts, and would fetch what they name as in `messages`."""
    return _one_or_several(key, fields, limits) if _CONVERSATION.match(fields[key]) else ()


class TokenizeDialect(_Wordless):
    """The token ids of a prompt, or of messages as the model would see them."""

    name = "tokenize"
    described = described.TOKENIZE
    model_required = False
    passed = frozenset(
        {
            *("model", "prompt", "messages", "add_special_tokens", "add_generation_prompt", "tools"),
            *("continue_final_message", "return_token_strs", "chat_template_kwargs"),
        }
    )
    refused = GATEWAYS_OWN
    rules = MappingProxyType(
        {
            "messages": _no_prompt_beside,
            "tools": tools(("function",), "none", "function.parameters"),
            "chat_template_kwargs": template_variables,
        }
    )

    def apply_contract(self, fields: Fields, route: Route) -> None:
        super().apply_contract(fields, route)
        if "messages" in fields:
            self.take_defaults(fields, route.contract.defaults, "")


class DetokenizeDialect(_Wordless):
    """The text of token ids."""

    name = "detokenize"
    described = described.DETOKENIZE
    model_required = False
    passed = frozenset({"model", "tokens"})
    refused = GATEWAYS_OWN


class EmbeddingsDialect(_Wordless):
    """Vectors of texts, where the base can: an engine that cannot has no such route."""

    name = "embeddings"
    described = described.EMBEDDINGS
    listed = "input"
    missing_route = "The base is a generative model and makes no embeddings; ask a base that does."
    passed = frozenset(
        {
            *("model", "input", "messages", "encoding_format", "dimensions", "user", "add_special_tokens"),
            *("truncate_prompt_tokens", "truncation_side", "embed_dtype", "endianness", "use_activation"),
            *("add_generation_prompt", "continue_final_message", "chat_template_kwargs", "cache_salt"),
            "padding",
        }
    )
    labels = LABELS
    refused = GATEWAYS_OWN
    rules = MappingProxyType(
        {
            "messages": _one_or_several,
            "input": _embedded,
            "chat_template_kwargs": template_variables,
            "service_tier": RULES["service_tier"],
            "store": RULES["store"],
            **TYPED_LABELS,
        }
    )

    def usage_of(self, answer: bytes) -> TokenUsage | None:
        return usage_of(answer)


TOKENIZE = TokenizeDialect("/tokenize")
DETOKENIZE = DetokenizeDialect("/detokenize")
EMBEDDINGS = EmbeddingsDialect("/v1/embeddings")
