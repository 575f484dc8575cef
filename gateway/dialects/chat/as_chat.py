"""A client's request as the chat that it asks for, and where the request has what the chat says. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.chat.request_parts import CannotAsk
from gateway.errors import InvalidRequest

_MESSAGE = re.compile(r"messages\[(\d+)\](.*)")


@dataclass(slots=True)
class AsChat:
    """One request. What a chat has no parameter for stays under its own name: whoever is asked judges it."""

    parameters: JsonObject
    """All but the messages."""
    names: Mapping[str, str]
    """What the request calls a chat's parameter, where that is another name."""
    messages: list[JsonValue] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    """Where the request has each message."""
    unsaid: CannotAsk | None = None
    """Of the messages the first that a chat cannot say; it stands among them as it came."""

    @property
    def document(self) -> JsonObject:
        """The body of a chat completion."""
        return {**self.parameters, "messages": self.messages}

    def take(self, item: JsonValue, place: str, add: Callable[[JsonValue, list[JsonValue]], None]) -> None:
        """Add what stands at `place`: as `add` puts it among the messages, or as it is where it cannot."""
        try:
            add(item, self.messages)
        except CannotAsk as error:
            self.unsaid = self.unsaid or error
            self.messages.append(item)
        self.places += [place] * (len(self.messages) - len(self.places))

    def told(self, error: InvalidRequest) -> InvalidRequest:
        """An error about the chat, in the names and the count of the request."""
        named = error.param or ""
        param = self.names.get(named, named)
        if found := _MESSAGE.fullmatch(named):
            place, rest = self.places[int(found[1])], found[2]
            # A text that is the whole of a parameter has neither a role nor a content of its own.
            param = place + (rest if place.endswith("]") else rest.removeprefix(".content"))
        if param == named:
            return error
        message = error.message.replace(f"'{named}'", f"'{param}'").replace(f"{named}=", f"{param}=")
        return InvalidRequest(message, param=param, code=error.code, status=error.status)
