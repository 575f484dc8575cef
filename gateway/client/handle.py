"""What both sorts of handles share: which model is asked, and what is sent. Pure.

The active adapter belongs to the handle: nothing of it is kept anywhere else, so threads and tasks that have
handles of their own never disturb each other. A call uses the adapter that was active when it began.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from gateway.client.calls import Call, Completion, JsonObject, Prompt, chat, completion_of
from gateway.client.catalogue import Catalogue
from gateway.client.errors import GatewayUnreachable
from gateway.client.structured import Shape, shape_of_schema, shape_of_type

Result = TypeVar("Result")


class Handle:
    """A model in use; `with manager.use_model(name)` makes one."""

    def __init__(self, url: str, catalogue: Catalogue, name: str) -> None:
        """Raises AdapterNotLoaded."""
        self._url = url
        self._catalogue = catalogue
        self._entry = catalogue.model(name)

    @property
    def name(self) -> str:
        """The public name of the model that answers now."""
        return self._entry.id

    def get_active_adapter(self) -> str | None:
        """The adapter that answers now; None for the base and for a pipeline."""
        return self._entry.id if self._entry.kind == "task" else None

    def _activate(self, catalogue: Catalogue, name: str | None) -> None:
        """Raises AdapterNotLoaded, InvalidArgument; the active adapter stays then."""
        self._catalogue = catalogue
        self._entry = catalogue.adapter(name if name is not None else "base")

    def _text_call(
        self, prompt: Prompt, system: str | None, sampling: Mapping[str, Any], *, stream: bool = False
    ) -> Call:
        return chat(self._entry.id, prompt, system=system, sampling=sampling, stream=stream)

    def _shape_of_schema(self, schema: Mapping[str, Any] | None) -> Shape[JsonObject]:
        return shape_of_schema(self._entry, schema)

    def _shape_of_type(self, response_model: type[Result]) -> Shape[Result]:
        return shape_of_type(self._entry, response_model)

    def _shaped_call(
        self, shape: Shape[Any], prompt: Prompt, system: str | None, sampling: Mapping[str, Any]
    ) -> Call:
        asked = shape.response_format
        return chat(self._entry.id, prompt, system=system, sampling=sampling, response_format=asked)

    def _completion(self, document: object) -> Completion:
        return read_completion(self._url, document)


def read_completion(url: str, document: object) -> Completion:
    """Raises GatewayUnreachable where what answered is something else."""
    try:
        return completion_of(document)
    except ValueError as error:
        raise GatewayUnreachable(url, f"what answers there is no lora-gateway: {error}") from error


def one_shape(response_model: object, schema: object) -> None:
    """Raises TypeError where both are given."""
    if response_model is not None and schema is not None:
        raise TypeError("give response_model or schema, not both")
