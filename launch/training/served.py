"""The service that a training's programs ask: an engine, or a gateway before it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.config.loopback import may_use_proxy
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

BASE_MODEL = "base"
LEAST_CONTEXT = 512
"""In tokens; answers no longer than this are taken to fit every model."""


@asynccontextmanager
async def client_of(url: str, program: str) -> AsyncIterator[AsyncOpenAI]:
    """A client with the key that LORA_GATEWAY_API_KEY holds; `url` may be without /v1.

    Raises ConfigError without its package.
    """
    try:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient
    except ImportError as error:
        raise ConfigError(
            program, str(error.name), "install it: pip install 'lora-gateway[train]'"
        ) from error
    key = os.environ.get("LORA_GATEWAY_API_KEY", "none")
    base_url = url if urlsplit(url).path.strip("/") else f"{url.rstrip('/')}/v1"
    http = DefaultAsyncHttpxClient(trust_env=may_use_proxy(url))
    async with AsyncOpenAI(
        base_url=base_url, api_key=key, timeout=600, max_retries=2, http_client=http
    ) as client:
        yield client


async def tokens_within(client: AsyncOpenAI, model: str, tokens: int) -> int:
    """So many, or the whole context of the model where that is less: an engine refuses more."""
    if tokens <= LEAST_CONTEXT:
        return tokens
    context = await _context_of(client, model)
    if context is None:  # of an engine that still starts, or sleeps, it is not known; a request waits for it
        await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "hi"}], max_tokens=1
        )
        context = await _context_of(client, model)
    return min(tokens, context or tokens)


async def _context_of(client: AsyncOpenAI, model: str) -> int | None:
    found = [getattr(one, "max_model_len", None) async for one in client.models.list() if one.id == model]
    return found[0] if found and isinstance(found[0], int) else None


@contextmanager
def faults_named(url: str, key: str) -> Iterator[None]:
    """Raises ConfigError where the service cannot be reached, or refuses a request, which is `key`'s."""
    from openai import APIConnectionError, APIStatusError

    try:
        yield
    except APIConnectionError as error:
        raise ConfigError("--url", url, "nothing answers there; is it served?") from error
    except APIStatusError as error:
        said = error.body.get("message") if isinstance(error.body, dict) else None
        raise ConfigError(key, url, f"HTTP {error.status_code}: {said or error.message}") from error
