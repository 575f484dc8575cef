"""What a route of the engine's needs that another one does not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import msgspec

from gateway.contract import Fields
from gateway.errors import RequestError
from gateway.events import EventStream, Usage
from gateway.table import Route
from gateway.upstream import Segments

_encode = msgspec.json.Encoder().encode


class Dialect(ABC):
    """One API; without state, one object for each of its routes.

    A request passes `ask_for_usage` where it is a stream, `apply_contract`, `encode_body`; its answer
    `usage_of`, or `events` in a stream.
    """

    name: ClassVar[str]
    """In records and documents."""

    def __init__(self, path: str) -> None:
        self.path = path.encode()
        """The gateway's and the engine's."""

    def ask_for_usage(self, fields: Fields) -> bool:
        """Have a stream end with its usage; False where the client did not ask and must not see it.

        Raises InvalidRequest.
        """
        return True

    @abstractmethod
    def apply_contract(self, fields: Fields, route: Route) -> None:
        """Write the engine's model name and, where the client gave none, the task's own settings."""

    @abstractmethod
    def encode_body(self, fields: Fields, route: Route, received_bytes: int) -> Segments:
        """The body for the engine; `received_bytes`, the size of what came, decides whether it is joined.

        Raises InvalidRequest.
        """

    @abstractmethod
    def usage_of(self, answer: bytes) -> Usage | None:
        """The usage in a whole answer, or None."""

    @abstractmethod
    def events(self, usage_wanted: bool) -> EventStream:
        """What reads a stream on its way through; `usage_wanted` is what `ask_for_usage` said."""

    def error_body(self, error: RequestError, request_id: bytes) -> bytes:
        """An error in the API's envelope: OpenAI's."""
        return _encode(error.envelope)

    def refusal(self, status: int, answer: bytes, request_id: bytes) -> bytes:
        """What a client is told where the engine refused: its own words."""
        return answer

    def last_event(self, error_body: bytes) -> bytes:
        """An error as the last event of a stream. In JSON a line break only stands between two tokens."""
        return b"data: " + error_body.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n\n"
