"""What both sorts of handles share: which model is asked, and what is sent. Pure.

The active adapter belongs to the handle: nothing of it is kept anywhere else, so threads and tasks that have
handles of their own never disturb each other. A call uses the adapter that was active when it began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.client.calls import Call, Completion, Prompt, chat, completion_of
from gateway.client.errors import GatewayUnreachable
from gateway.client.model_list import BASE, Catalogue
from gateway.client.models.structured import Shape, shape_of_schema, shape_of_type


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
        self._entry = catalogue.adapter(name if name is not None else BASE)

    def _text_call(
        self, prompt: Prompt, system: str | None, sampling: Mapping[str, Any], *, stream: bool = False
    ) -> Call:
        return chat(self._entry.id, prompt, system=system, sampling=sampling, stream=stream)

    def _data_call(
        self,
        response_model: type[Any] | None,
        schema: Mapping[str, Any] | None,
        prompt: Prompt,
        system: str | None,
        sampling: Mapping[str, Any],
    ) -> tuple[Call, Callable[[object], Any]]:
        """What is sent for data, and what reads the answer. Raises TypeError where both forms are given."""
        if response_model is not None and schema is not None:
            raise TypeError("give response_model or schema, not both")
        shape: Shape[Any]
        shape = (
            shape_of_type(self._entry, response_model)
            if response_model
            else shape_of_schema(self._entry, schema)
        )
        model = self._entry.id
        asked = shape.response_format
        call = chat(model, prompt, system=system, sampling=sampling, response_format=asked)
        return call, lambda document: shape.read(model, self._completion(document))

    def _completion(self, document: object) -> Completion:
        return read_completion(self._url, document)


def read_completion(url: str, document: object) -> Completion:
    """Raises GatewayUnreachable where what answered is something else."""
    try:
        return completion_of(document)
    except ValueError as error:
        raise GatewayUnreachable(url, f"what answers there is no lora-gateway: {error}") from error
