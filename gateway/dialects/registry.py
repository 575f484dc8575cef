"""Every route that leads to the engine."""

from __future__ import annotations

from gateway.dialects.chat.dialect import CHAT, TEXT
from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import COUNT_TOKENS, MESSAGES
from gateway.dialects.responses.dialect import RESPONSES
from gateway.dialects.tokens.dialect import DETOKENIZE, EMBEDDINGS, TOKENIZE

DIALECTS: tuple[Dialect, ...] = (
    CHAT,
    TEXT,
    RESPONSES,
    MESSAGES,
    COUNT_TOKENS,
    EMBEDDINGS,
    TOKENIZE,
    DETOKENIZE,
)

DEPLOYED = ("/chat/completions", "/completions", "/embeddings", "/responses")
"""Below /v1, what Azure's clients write behind `/openai/deployments/<name>` and `/openai/v1`."""
