"""OpenAI's `/v1/chat/completions` and `/v1/completions`."""

from __future__ import annotations

from gateway.contract import Fields, apply_contract, ask_for_usage, encode_body
from gateway.dialects.dialect import Dialect
from gateway.events import EventStream, Usage, usage_of
from gateway.table import Route
from gateway.upstream import Segments


class Completions(Dialect):
    """What both routes share."""

    def ask_for_usage(self, fields: Fields) -> bool:
        return ask_for_usage(fields)

    def apply_contract(self, fields: Fields, route: Route) -> None:
        apply_contract(fields, route)

    def encode_body(self, fields: Fields, route: Route, received_bytes: int) -> Segments:
        return encode_body(fields, route, received_bytes)

    def usage_of(self, answer: bytes) -> Usage | None:
        return usage_of(answer)

    def events(self, usage_wanted: bool) -> EventStream:
        return EventStream(not usage_wanted)


class ChatCompletions(Completions):
    """`/v1/chat/completions`."""

    name = "chat"


class TextCompletions(Completions):
    """`/v1/completions`."""

    name = "text"


CHAT = ChatCompletions("/v1/chat/completions")
TEXT = TextCompletions("/v1/completions")
