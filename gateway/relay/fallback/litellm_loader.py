"""LiteLLM: seconds of import and 250 MB, so in a thread of its own, and only where a task has a fallback."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Protocol, cast

from pydantic import JsonValue

from gateway.config.document import JsonObject

logger = logging.getLogger("gateway.relay.fallback")

QUIET = ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router", "httpx", "openai")
"""Their lines may hold a provider's own text, or an address with a key in it."""

SETTINGS = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else the import asks a server for a list of prices
    "LITELLM_MODE": "PRODUCTION",  # else the import puts a .env of its own choice into the environment
}


class Dumps(Protocol):
    """An answer, or a piece of one: a pydantic model."""

    def model_dump(self, *, exclude_none: bool) -> JsonObject: ...


class Stream(Protocol):
    def __aiter__(self) -> AsyncIterator[Dumps]: ...

    async def aclose(self) -> None: ...


class Cache(Protocol):
    def flush_cache(self) -> None: ...


class BridgeCheck(Protocol):
    """Which of OpenAI's APIs a chat goes to: `mode` is `responses` in what it returns, or another."""

    def __call__(
        self,
        model: str,
        custom_llm_provider: str,
        *,
        tools: JsonValue,
        reasoning_effort: JsonValue,
        api_base: str | None,
    ) -> tuple[JsonObject, str]: ...


class Main(Protocol):
    responses_api_bridge_check: BridgeCheck


class LiteLLM(Protocol):
    """What is used of it."""

    main: Main

    suppress_debug_info: bool
    telemetry: bool
    disable_aiohttp_transport: bool
    in_memory_llm_clients_cache: Cache

    async def acompletion(self, **asked: object) -> Dumps | Stream: ...

    def get_llm_provider(self, model: str) -> tuple[str, str, str | None, str | None]: ...

    def get_supported_openai_params(self, model: str) -> list[str] | None: ...

    async def close_litellm_async_clients(self) -> None: ...


def import_library() -> LiteLLM:
    """Import it, without what its import does on its own account. Raises ImportError."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    return cast(LiteLLM, importlib.import_module("litellm"))


def load() -> LiteLLM:
    """Import it, quietly. Raises ImportError."""
    library = import_library()
    library.suppress_debug_info = True
    library.telemetry = False
    library.disable_aiohttp_transport = True  # it leaves connections open when a call is cancelled
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return library


def load_warm() -> LiteLLM:
    """As `load`, with what it imports at its first call, which would stop the event loop for a second."""
    library = load()
    try:
        asyncio.run(_first_call(library))
    except Exception as error:  # the first request does it then
        logger.info("LiteLLM could not be warmed up: %s", type(error).__name__)
    return library


async def _first_call(library: LiteLLM) -> None:
    """A call that is answered here, without a network."""
    import httpx
    import openai

    choice = {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}
    answer = {"id": "0", "object": "chat.completion", "created": 0, "model": "none", "choices": [choice]}
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))
    async with httpx.AsyncClient(transport=transport) as http:
        client = openai.AsyncOpenAI(api_key="none", base_url="http://localhost", http_client=http)
        messages = [{"role": "user", "content": ""}]
        await library.acompletion(model="openai/none", messages=messages, client=client, max_retries=0)


class Library:
    """Loaded once. A process that ends does not wait for it."""

    def __init__(self) -> None:
        self._loaded: Future[LiteLLM] | None = None

    def start(self) -> None:
        """Begin to load it, unless that was begun."""
        if self._loaded is None:
            loaded = self._loaded = Future()
            loaded.set_running_or_notify_cancel()  # so that a request which leaves cannot cancel it
            threading.Thread(target=_load_into, args=(loaded,), name="litellm", daemon=True).start()

    async def get(self) -> LiteLLM:
        """It, once it is there. Raises ImportError."""
        self.start()
        assert self._loaded is not None
        try:
            return await asyncio.wrap_future(self._loaded)
        except Exception as error:
            raise error.with_traceback(None) from None  # one for all: it would gather each one's frames

    async def close(self) -> None:
        """Close the connections that it keeps in this event loop."""
        if self._loaded is not None and self._loaded.done() and self._loaded.exception() is None:
            library = self._loaded.result()
            await library.close_litellm_async_clients()
            library.in_memory_llm_clients_cache.flush_cache()


def _load_into(loaded: Future[LiteLLM]) -> None:
    try:
        loaded.set_result(load_warm())
    except BaseException as error:  # handed to whoever waits
        logger.error("no task's fallback can answer: LiteLLM is not there: %s", type(error).__name__)
        loaded.set_exception(error)
