"""A model in use by plain code."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, TypeVar, Unpack, overload

from gateway.client.calls import JsonObject, Prompt, Sampling
from gateway.client.models.handle import Handle
from gateway.client.transport import Link

Result = TypeVar("Result")


class Model(Handle):
    """`with manager.use_model("concept") as model:`; one thread at a time: its active adapter is one."""

    def __init__(self, link: Link, name: str) -> None:
        """Raises AdapterNotLoaded, and other ClientErrors."""
        self._link = link
        super().__init__(link.target.url, link.catalogue(), name)

    def set_lora_adapter(self, name: str | None) -> None:
        """Let another adapter answer from now on; None for the base. Raises AdapterNotLoaded.

        Nothing is loaded or moved: the next request names another adapter.
        """
        self._activate(self._link.catalogue(), name)

    def list_adapters(self) -> list[str]:
        """The adapters that are loaded now, in the configuration's order."""
        return self._link.catalogue().adapters

    def generate_text(
        self, prompt: Prompt, *, system: str | None = None, **sampling: Unpack[Sampling]
    ) -> str:
        """The answer's text. `system` replaces the task's own system prompt."""
        call = self._text_call(prompt, system, sampling)
        return self._completion(self._link.ask(call, self._catalogue.adapters)).text

    def stream_text(
        self, prompt: Prompt, *, system: str | None = None, **sampling: Unpack[Sampling]
    ) -> Generator[str, None, None]:
        """The answer's text in pieces as it is made; closing or dropping the iterator aborts the rest."""
        call = self._text_call(prompt, system, sampling, stream=True)
        return self._link.stream(call, self._catalogue.adapters)

    @overload
    def generate_modeling(
        self,
        prompt: Prompt,
        *,
        response_model: type[Result],
        system: str | None = None,
        **sampling: Unpack[Sampling],
    ) -> Result: ...

    @overload
    def generate_modeling(
        self,
        prompt: Prompt,
        *,
        schema: Mapping[str, Any] | None = None,
        system: str | None = None,
        **sampling: Unpack[Sampling],
    ) -> JsonObject: ...

    def generate_modeling(
        self,
        prompt: Prompt,
        *,
        response_model: type[Any] | None = None,
        schema: Mapping[str, Any] | None = None,
        system: str | None = None,
        **sampling: Unpack[Sampling],
    ) -> Any:
        """The answer as data: the engine writes JSON of that form, and it is checked here again.

        Of `response_model` (anything that pydantic has a schema for), of a JSON `schema`, else of the task's
        own schema; where there is none either, any JSON object. Raises OutputInvalid, which has the text.
        """
        call, read = self._data_call(response_model, schema, prompt, system, sampling)
        return read(self._link.ask(call, self._catalogue.adapters))
