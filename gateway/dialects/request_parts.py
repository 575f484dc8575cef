"""Parts of a request, read for a fallback: what has no place in a chat is refused by its name. Pure."""

from __future__ import annotations

from collections.abc import Container, Sequence

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.errors import LoraGatewayError

TEXT_ONLY = "it takes messages of text only"


class CannotAsk(LoraGatewayError):
    """The fallback cannot be asked this; its text says why."""


def honour(key: str) -> CannotAsk:
    return CannotAsk(f"it cannot honour '{key[:80]}'")


def only(value: JsonValue, names: Container[str], where: str) -> JsonObject:
    """An object's members that are set, all of them among `names`. Raises CannotAsk."""
    if not isinstance(value, dict):
        raise honour(where)
    given: JsonObject = {}
    for key, one in value.items():
        if one is None:
            continue
        if key not in names:
            raise honour(f"{where}.{key}" if where else key)
        given[key] = one
    return given


def items_of(value: JsonValue, where: str) -> list[JsonValue]:
    if not isinstance(value, list):
        raise honour(where)
    return value


def text_of(value: JsonValue, where: str) -> str:
    if not isinstance(value, str):
        raise honour(where)
    return value


def texts_of(content: JsonValue, kinds: Sequence[str], names: Container[str]) -> list[str]:
    """A content's texts: itself, or its parts of these kinds, without the empty ones. Raises CannotAsk."""
    if isinstance(content, str):
        return [content] if content else []
    if not isinstance(content, list):
        raise CannotAsk(TEXT_ONLY)
    texts: list[str] = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") not in kinds:
            raise CannotAsk(TEXT_ONLY)
        text = text_of(only(part, names, "content").get("text"), "content.text")
        if text:
            texts.append(text)
    return texts


def content_of(texts: list[str]) -> JsonValue:
    """A chat message's content: the one text itself, several as parts, empty for none."""
    if len(texts) > 1:
        return [{"type": "text", "text": text} for text in texts]
    return texts[0] if texts else ""
