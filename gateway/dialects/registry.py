"""Every route that leads to the engine."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.dialects.chat.dialect import CHAT, TEXT
from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import COUNT_TOKENS, MESSAGES
from gateway.dialects.responses.dialect import RESPONSES
from gateway.dialects.tokens.dialect import DETOKENIZE, EMBEDDINGS, TOKENIZE
from gateway.errors import did_you_mean

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


def unknown_defaults(defaults: Iterable[str]) -> dict[str, str]:
    """Of a task's defaults those that no API has a parameter for, each with what is wrong and the mend."""
    left_out = [set(one.unwritten(defaults)) for one in DIALECTS if one.generates]
    text = "no API has such a parameter, so no request gets it"
    return {key: text + did_you_mean(key, CHAT.passed) for key in sorted(set.intersection(*left_out))}


def dialect_of_headers(headers: Iterable[tuple[bytes, bytes]]) -> Dialect:
    """Which API a client speaks on a path that several have: Anthropic's send their API's version."""
    return MESSAGES if any(name == b"anthropic-version" for name, _ in headers) else CHAT


def dialect_of_path(path: str) -> Dialect:
    """Whose envelope an error has on a path that leads nowhere."""
    return MESSAGES if path.startswith(MESSAGES.path.decode()) else CHAT


DEPLOYED = ("/chat/completions", "/completions", "/embeddings", "/responses")
"""Below /v1, what Azure's clients write behind `/openai/deployments/<name>` and `/openai/v1`."""
