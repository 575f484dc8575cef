"""vLLM's `/tokenize` and `/detokenize`, and OpenAI's `/v1/embeddings`: routes that answer without a text."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from gateway.dialects.chat import roles
from gateway.dialects.chat.dialect import RULES, TYPED_LABELS
from gateway.dialects.dialect import Dialect
from gateway.dialects.kinds import GATEWAYS_OWN, LABELS
from gateway.dialects.media import no_strange_addresses
from gateway.dialects.parameters import Limits, template_variables
from gateway.dialects.request_body import Fields, encode_body, given
from gateway.dialects.tokens import described
from gateway.dialects.tools import tools
from gateway.errors import InvalidRequest
from gateway.http.engine_connection import Segments
from gateway.http.event_stream import EventStream, TokenUsage, usage_of
from gateway.routing.table import Route


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
            "messages": no_strange_addresses(roles.respell),
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
