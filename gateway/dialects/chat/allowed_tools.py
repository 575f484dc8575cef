"""`tool_choice` of type `allowed_tools`: of the tools these alone, and whether one must be called. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.errors import InvalidRequest

KIND = "allowed_tools"
MODES = ("auto", "required")
NAMESPACE = "namespace"
_NAMED = ("function", "custom", NAMESPACE)
_Identity = tuple[str, str]


class Allowed:
    """What one choice allows; of a namespace it may be a part."""

    def __init__(self, mode: str, places: dict[_Identity, str]) -> None:
        self.mode = mode
        """`auto`, or `required`: one of them must be called."""
        self._places = places
        """What is allowed, and where the choice says so."""

    def check_named(self, tools: Sequence[JsonValue]) -> None:
        """Raises InvalidRequest where what is named is not among the tools, or a call is demanded of none."""
        if not self._places and self.mode == "required":
            raise InvalidRequest(
                "'tool_choice' allows no tool, and its mode demands a call: name one, or send mode auto.",
                param="tool_choice",
            )
        known = [one for tool in tools if isinstance(tool, dict) for one in (tool, *_inner(tool))]
        there = {_identity(one) for one in known}
        for named, place in self._places.items():
            if named not in there:
                names = ", ".join(dict.fromkeys(_shown(_identity(one)) for one in known[:20]))
                listed = names or "there are none"
                raise InvalidRequest(
                    f"'{place}' names {_shown(named)}, which is not among 'tools' ({listed}).", param=place
                )

    def part_of(self, tool: JsonObject) -> JsonObject | None:
        """The tool as far as it is allowed; None where it is not at all."""
        if _identity(tool) in self._places:
            return tool
        inner: list[JsonValue] = [one for one in _inner(tool) if _identity(one) in self._places]
        return {**tool, "tools": inner} if inner else None


def allowed_in(choice: JsonValue) -> Allowed | None:
    """What a choice allows, None where it is of another kind. Raises InvalidRequest.

    A chat has mode and tools in a member of their own, a response beside the type; both are read on both.
    """
    if not isinstance(choice, dict) or choice.get("type") != KIND:
        return None
    where, held = "tool_choice", choice
    if (inner := choice.get(KIND)) is not None:
        where = f"{where}.{KIND}"
        if not isinstance(inner, dict):
            raise InvalidRequest(f"'{where}' must be an object.", param=where)
        held = inner
    mode, listed = held.get("mode"), held.get("tools")
    if not isinstance(mode, str) or mode not in MODES:
        state = "missing" if mode is None else repr(mode)[:80]
        raise InvalidRequest(f"'{where}.mode' is {state}; it may be auto or required.", param=f"{where}.mode")
    if not isinstance(listed, list):
        raise InvalidRequest(f"'{where}.tools' must be a list of tools.", param=f"{where}.tools")
    places: dict[_Identity, str] = {}
    for index, entry in enumerate(listed):
        place = f"{where}.tools[{index}]"
        kind, name = _identity(entry) if isinstance(entry, dict) else ("", "")
        if not kind or (kind in _NAMED and not name):
            raise InvalidRequest(
                f"'{place}' must name a tool by its type and name, as 'tools' has them.", param=place
            )
        places.setdefault((kind, name), place)
    return Allowed(mode, places)


def respelled(choice: JsonValue, *, nested: bool) -> JsonValue:
    """A choice that a client wrote as another API has it, as this one has; all others as they are.

    Mistral and Anthropic say `any`, Anthropic's are objects with a type, a chat's name stands in `function`
    (`nested`), a response's beside the type.
    """
    if choice == "any":
        return "required"
    if not isinstance(choice, dict):
        return choice
    kind, inner = choice.get("type"), choice.get("function")
    # With more than a type it says what this API writes elsewhere, and the engine refuses it.
    if choice.keys() == {"type"} and kind in (*MODES, "any", "none"):
        return "required" if kind == "any" else kind
    name = inner.get("name") if isinstance(inner, dict) else choice.get("name")
    if kind not in ("function", "tool") or not isinstance(name, str):
        return choice
    return {"type": "function", "function": {"name": name}} if nested else {"type": "function", "name": name}


def _identity(tool: JsonObject) -> _Identity:
    """Type and name: of a function, wherever an API has it; of a server of tools its label."""
    kind = tool.get("type", "function")
    named: JsonValue = None
    if kind == "mcp":
        named = tool.get("server_label")
    elif kind in _NAMED:
        inner = tool.get(str(kind))
        named = inner.get("name") if isinstance(inner, dict) else tool.get("name")
    return (kind if isinstance(kind, str) else "", named if isinstance(named, str) else "")


def _inner(tool: JsonObject) -> list[JsonObject]:
    """The functions of a namespace."""
    inner = tool.get("tools") if tool.get("type") == NAMESPACE else None
    return [one for one in inner if isinstance(one, dict)] if isinstance(inner, list) else []


def _shown(identity: _Identity) -> str:
    return repr((identity[1] or identity[0])[:80])
