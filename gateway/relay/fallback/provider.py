"""Other models, asked through LiteLLM."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import cast

from pydantic import JsonValue

from gateway.config.document import FallbackConfig, JsonObject
from gateway.errors import ProviderFailed
from gateway.relay.fallback.litellm_loader import Dumps, Library, LiteLLM, Stream

LOST_IN_A_RESPONSE = frozenset(
    {
        *("seed", "stop", "n", "presence_penalty", "frequency_penalty"),
        *("logprobs", "top_logprobs"),
    }
)
"""Of a chat's parameters those that LiteLLM leaves out unsaid where it asks a model in OpenAI's newer API."""
RAISED_TO = 16
"""There it also asks for no fewer tokens than this."""


class Provider:
    """The way to other models."""

    def __init__(self, env: Mapping[str, str]) -> None:
        """`env` is where keys are looked up, by the names that the configuration gives."""
        self._env = env
        self._library = Library()

    def start(self) -> None:
        """Have LiteLLM loaded, without waiting for it; `loaded` does."""
        self._library.start()

    async def loaded(self) -> None:
        """Once LiteLLM is there. Raises ProviderFailed."""
        try:
            await self._library.get()
        except ImportError as error:
            raise ProviderFailed("LiteLLM is not installed: pip install 'lora-gateway[fallback]'") from error

    async def close(self) -> None:
        """Close LiteLLM's kept connections, which belong to this event loop."""
        await self._library.close()

    async def answer(self, fallback: FallbackConfig, asked: JsonObject) -> JsonObject:
        """A whole answer as a chat completion. Raises ProviderFailed."""
        return _document(cast(Dumps, await self._call(fallback, asked)))

    async def chunks(self, fallback: FallbackConfig, asked: JsonObject) -> AsyncGenerator[JsonObject, None]:
        """A stream's chunks; closing it ends the call. Raises ProviderFailed."""
        asked = {**asked, "stream": True, "stream_options": {"include_usage": True}}
        async with aclosing(cast(Stream, await self._call(fallback, asked))) as stream:
            chunks = aiter(stream)
            while True:
                try:
                    # Of each chunk by itself: a long answer may take longer in all.
                    async with asyncio.timeout(fallback.timeout_s):
                        chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
                except Exception as error:  # each provider's library raises its own
                    raise ProviderFailed(said_of(error)) from error
                yield _document(chunk)

    async def _call(self, fallback: FallbackConfig, asked: JsonObject) -> Dumps | Stream:
        key = key_of(fallback, self._env)
        try:
            async with asyncio.timeout(fallback.timeout_s):
                await self.loaded()
                library = await self._library.get()
                lost = _lost(library, fallback, asked)
                if lost is not None:
                    raise ProviderFailed(f"it cannot honour '{lost}'")
                return await library.acompletion(
                    **asked,
                    model=fallback.model,
                    api_base=fallback.api_base,
                    api_key=key,
                    timeout=fallback.timeout_s,
                    num_retries=0,  # of LiteLLM's own
                    max_retries=0,  # of the provider's library
                    drop_params=False,  # what a provider has not is an error, and not left out
                )
        except Exception as error:  # as above
            raise ProviderFailed(said_of(error)) from error


def _lost(library: LiteLLM, fallback: FallbackConfig, asked: JsonObject) -> str | None:
    """A parameter that LiteLLM would leave out or change: some models, some with tools, it asks no chats."""
    lost = sorted(asked.keys() & LOST_IN_A_RESPONSE)
    for key in ("max_tokens", "max_completion_tokens"):
        tokens = asked.get(key)
        if isinstance(tokens, int) and tokens < RAISED_TO:
            lost.append(key)
    # No public name (LiteLLM 1.106): a release without it is asked as if it left nothing out.
    check = getattr(library.main, "responses_api_bridge_check", None)
    if not lost or check is None:
        return None
    name, provider, _, _ = library.get_llm_provider(fallback.model)
    info, _ = check(
        name,
        provider,
        tools=asked.get("tools"),
        reasoning_effort=asked.get("reasoning_effort"),
        api_base=fallback.api_base,
    )
    return lost[0] if info.get("mode") == "responses" else None


def key_of(fallback: FallbackConfig, env: Mapping[str, str]) -> str | None:
    """The key that is sent; None where LiteLLM is to find its own for the provider.

    Another address than the provider's is told only what was meant for it, never a key that happens to be in
    the environment. Raises ProviderFailed, which names the variable alone.
    """
    name = fallback.api_key_env
    if name is None:
        return None if fallback.api_base is None else "none"
    if not env.get(name):
        raise ProviderFailed(f"{name} is not set in the environment")
    return env[name]


def said_of(error: Exception) -> str:
    """A failure by its kind and status; a provider's text may hold keys or addresses."""
    if isinstance(error, ProviderFailed):
        return error.what
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    status = getattr(error, "status_code", None)
    return f"{type(error).__name__}{f' ({status})' if isinstance(status, int) else ''}"


def _document(answer: Dumps) -> JsonObject:
    """OpenAI's own fields of what LiteLLM returns."""
    document = answer.model_dump(exclude_none=True)
    choices = document.get("choices")
    given = [one for one in choices if isinstance(one, dict)] if isinstance(choices, list) else []
    for choice in given:
        _restore_refusal(choice.get("message"))
    _strip(document)
    document["choices"] = list[JsonValue](given)
    for choice in given:
        choice.setdefault("finish_reason", None)
    return document


def _restore_refusal(message: JsonValue) -> None:
    """LiteLLM moves it among its own fields, and the message without it says nothing, not even that."""
    if isinstance(message, dict):
        message.setdefault("content", None)  # a message has one, be it null
        own = message.get("provider_specific_fields")
        if isinstance(own, dict) and isinstance(own.get("refusal"), str):
            message["refusal"] = own["refusal"]


def _strip(value: object) -> None:
    """What LiteLLM adds for itself is taken out."""
    if isinstance(value, dict):
        value.pop("provider_specific_fields", None)
        for one in value.values():
            _strip(one)
    elif isinstance(value, list):
        for one in value:
            _strip(one)
