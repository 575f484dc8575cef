"""Every route that leads to the engine."""

from __future__ import annotations

from collections.abc import Iterable

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


def dialect_of_headers(headers: Iterable[tuple[bytes, bytes]]) -> Dialect:
    """Which API a client speaks on a path that several have: Anthropic's send their API's version."""
    return MESSAGES if any(name == b"anthropic-version" for name, _ in headers) else CHAT


def dialect_of_path(path: str) -> Dialect:
    """Whose envelope an error has on a path that leads nowhere."""
    return MESSAGES if path.startswith(MESSAGES.path.decode()) else CHAT


DEPLOYED = ("/chat/completions", "/completions", "/embeddings", "/responses")
"""Below /v1, what Azure's clients write behind `/openai/deployments/<name>` and `/openai/v1`."""
