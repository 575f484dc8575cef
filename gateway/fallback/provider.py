"""LiteLLM, imported when the first task with a fallback is configured and not before."""

from __future__ import annotations

import asyncio
import importlib
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Protocol, cast

from gateway.config import FallbackConfig, JsonObject
from gateway.errors import LoraGatewayError

CALLS = {"chat": "acompletion", "completions": "atext_completion"}
"""By the dialect's name, LiteLLM's function."""


class ProviderFailed(LoraGatewayError):
    """The other model did not answer; `what` names the failure without the provider's own words."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class _Model(Protocol):
    def model_dump(self, *, exclude_none: bool) -> JsonObject: ...


Call = Callable[..., Awaitable[object]]


class Provider:
    """The way to other models. LiteLLM's import takes seconds, so it happens in a thread of its own."""

    def __init__(self, env: Mapping[str, str]) -> None:
        """`env` is where keys are looked up, by the names that the configuration gives."""
        self._env = env
        self._functions: Mapping[str, Call] | None = None
        self._loading = threading.Lock()

    def load(self) -> Mapping[str, Call]:
        """Import LiteLLM, which takes seconds the first time. Raises ProviderFailed where it is missing."""
        with self._loading:
            if self._functions is None:
                # Else the import asks a server for a list of prices.
                os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
                try:
                    litellm: Any = importlib.import_module("litellm")
                except ImportError as error:
                    raise ProviderFailed("LiteLLM is not installed: pip install litellm") from error
                litellm.suppress_debug_info = True
                litellm.telemetry = False
                # Its own transport leaves connections open when a call is cancelled.
                litellm.disable_aiohttp_transport = True
                self._functions = {name: getattr(litellm, function) for name, function in CALLS.items()}
            return self._functions

    async def close(self) -> None:
        """Close LiteLLM's kept connections, which belong to this event loop."""
        if self._functions is None:
            return
        litellm: Any = importlib.import_module("litellm")
        await litellm.close_litellm_async_clients()
        litellm.in_memory_llm_clients_cache.flush_cache()

    async def answer(self, dialect: str, fallback: FallbackConfig, asked: JsonObject) -> JsonObject:
        """A whole answer in OpenAI's form. Raises ProviderFailed."""
        answer = await self._call(dialect, fallback, asked)
        return _document(answer)

    async def chunks(
        self, dialect: str, fallback: FallbackConfig, asked: JsonObject
    ) -> AsyncGenerator[JsonObject, None]:
        """A stream's chunks in OpenAI's form; closing it ends the call. Raises ProviderFailed."""
        asked = {**asked, "stream": True, "stream_options": {"include_usage": True}}
        stream = await self._call(dialect, fallback, asked)
        async with aclosing(_closing(stream)) as chunks:
            while True:
                try:
                    async with asyncio.timeout(fallback.timeout_s):
                        chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
                except Exception as error:
                    raise ProviderFailed(said_of(error)) from error
                yield _document(chunk)

    async def _call(self, dialect: str, fallback: FallbackConfig, asked: JsonObject) -> object:
        functions = self._functions
        if functions is None:
            functions = await asyncio.to_thread(self.load)
        key = self._env.get(fallback.api_key_env) if fallback.api_key_env else None
        if fallback.api_key_env and not key:
            raise ProviderFailed(f"{fallback.api_key_env} is not set in the environment")
        try:
            async with asyncio.timeout(fallback.timeout_s):
                return await functions[dialect](
                    **asked,
                    model=fallback.model,
                    api_base=fallback.api_base,
                    api_key=key,
                    timeout=fallback.timeout_s,
                    num_retries=0,
                    max_retries=0,
                    drop_params=False,
                )
        except Exception as error:
            raise ProviderFailed(said_of(error)) from error


async def _closing(stream: object) -> AsyncGenerator[object, None]:
    """LiteLLM's stream, whose connection is closed when it is left early."""
    try:
        async for chunk in cast(AsyncIterator[object], stream):
            yield chunk
    finally:
        inner = getattr(stream, "completion_stream", None)
        close = getattr(inner, "close", None) or getattr(inner, "aclose", None)
        if close is not None:
            await close()


def said_of(error: Exception) -> str:
    """A failure by its kind and status; a provider's text may hold keys or addresses."""
    if isinstance(error, ProviderFailed):
        return error.what
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    status = getattr(error, "status_code", None)
    return f"{type(error).__name__}{f' ({status})' if isinstance(status, int) else ''}"


def _document(answer: object) -> JsonObject:
    """OpenAI's own fields of what LiteLLM returns."""
    document = cast(_Model, answer).model_dump(exclude_none=True)
    _strip(document)
    choices = document.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        if isinstance(choice, dict):
            choice.setdefault("finish_reason", None)
    return document


def _strip(value: object) -> None:
    """What LiteLLM adds for itself is taken out."""
    if isinstance(value, dict):
        value.pop("provider_specific_fields", None)
        for one in value.values():
            _strip(one)
    elif isinstance(value, list):
        for one in value:
            _strip(one)
