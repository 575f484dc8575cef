"""A model in use by coroutines: as `gateway.client.models.sync_model`, awaited."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, TypeVar, Unpack, overload

from gateway.client.calls import JsonObject, Prompt, Sampling
from gateway.client.model_list import Catalogue
from gateway.client.models.handle import Handle
from gateway.client.transport import AsyncLink

Result = TypeVar("Result")


class AsyncModel(Handle):
    """`async with manager.use_model("concept") as model:`; one task at a time sets its active adapter."""

    def __init__(self, link: AsyncLink, catalogue: Catalogue, name: str) -> None:
        """Raises AdapterNotLoaded."""
        self._link = link
        super().__init__(link.target.url, catalogue, name)

    async def set_lora_adapter(self, name: str | None) -> None:
        """Let another adapter answer from now on; None for the base. Raises AdapterNotLoaded."""
        self._activate(await self._link.catalogue(), name)

    async def list_adapters(self) -> list[str]:
        """The adapters that are loaded now, in the configuration's order."""
        return (await self._link.catalogue()).adapters

    async def generate_text(
        self, prompt: Prompt, *, system: str | None = None, **sampling: Unpack[Sampling]
    ) -> str:
        """The answer's text. `system` replaces the task's own system prompt."""
        call = self._text_call(prompt, system, sampling)
        return self._completion(await self._link.ask(call, self._catalogue.adapters)).text

    def stream_text(
        self, prompt: Prompt, *, system: str | None = None, **sampling: Unpack[Sampling]
    ) -> AsyncGenerator[str, None]:
        """The answer's text in pieces as it is made; `async for`. Closing it (aclosing) aborts the rest."""
        call = self._text_call(prompt, system, sampling, stream=True)
        return self._link.stream(call, self._catalogue.adapters)

    @overload
    async def generate_modeling(
        self,
        prompt: Prompt,
        *,
        response_model: type[Result],
        system: str | None = None,
        **sampling: Unpack[Sampling],
    ) -> Result: ...

    @overload
    async def generate_modeling(
        self,
        prompt: Prompt,
        *,
        schema: Mapping[str, Any] | None = None,
        system: str | None = None,
        **sampling: Unpack[Sampling],
    ) -> JsonObject: ...

    async def generate_modeling(
        self,
        prompt: Prompt,
        *,
        response_model: type[Any] | None = None,
        schema: Mapping[str, Any] | None = None,
        system: str | None = None,
        **sampling: Unpack[Sampling],
    ) -> Any:
        """The answer as data, as `Model.generate_modeling`. Raises OutputInvalid, which has the text."""
        call, read = self._data_call(response_model, schema, prompt, system, sampling)
        return read(await self._link.ask(call, self._catalogue.adapters))
