"""Parts of a request, read for a chat: what has no place in one is refused by its name. Pure."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.errors import LoraGatewayError

DIRECT: JsonObject = {"type": "direct"}
"""Who called a tool: the model itself, and no program on a server."""
TEXT_ONLY = "it takes messages of text only"
TEXTS = ("text", "input_text", "output_text")
"""What APIs call a part of a message that is text."""


class CannotAsk(LoraGatewayError):
    """A chat cannot say this: its text says why, of the model or the pipeline that would be asked."""

    def __init__(self, why: str, param: str | None = None) -> None:
        """`param` is where the request has it."""
        super().__init__(why)
        self.param = param


def honour(key: str) -> CannotAsk:
    return CannotAsk(f"it cannot honour '{key[:80]}'", key[:80])


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


def without_caller(given: JsonObject, where: str) -> JsonObject:
    """A call, or its result, that the model made itself, which is what a chat's is. Raises CannotAsk."""
    if given.pop("caller", DIRECT) != DIRECT:
        raise honour(f"{where}.caller")
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


def tools_of(tools: JsonValue, read: Callable[[JsonValue, str], JsonObject]) -> JsonObject:
    """A chat's `tools`, each a function as `read` has it of the tool and its place; nothing for none."""
    listed = items_of(tools, "tools") if tools else []
    functions: list[JsonValue] = [
        {"type": "function", "function": read(tool, f"tools[{index}]")} for index, tool in enumerate(listed)
    ]
    return {"tools": functions} if functions else {}


def chosen(name: JsonValue) -> JsonObject:
    """A chat's choice of one function. Raises CannotAsk."""
    return {"type": "function", "function": {"name": text_of(name, "tool_choice.name")}}


def call_of(call_id: JsonValue, name: JsonValue, arguments: JsonValue, where: str) -> JsonObject:
    """A chat's call of a function; `arguments` are JSON as text. Raises CannotAsk."""
    function: JsonObject = {
        "name": text_of(name, f"{where}.name"),
        "arguments": text_of(arguments, f"{where}.arguments"),
    }
    return {"id": call_id, "type": "function", "function": function}
