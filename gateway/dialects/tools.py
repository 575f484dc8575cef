"""A request's tools: bounds, kinds that a model can call itself, and what becomes of the others. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import msgspec
from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.chat.allowed_tools import KIND, NAMESPACE, Allowed, allowed_in, respelled
from gateway.dialects.parameters import (
    Limits,
    Rule,
    asks_nothing,
    check_bytes,
    checked,
    unsupported,
    value_of,
)
from gateway.dialects.request_body import Fields, raw_of
from gateway.dialects.tool_schemas import fault_in
from gateway.errors import InvalidRequest

MAX_TOOLS = 128
"""As OpenAI has it."""
_encode = msgspec.json.Encoder().encode
_PASSED_OVER = ("input_examples", "output_schema", "allowed_callers")
"""Of a function what the engine shows no model; whom it may be called by, where not by the model alone."""
_OF_A_FUNCTION = ("function", "parameters", "input_schema")
"""What has one of these is a client's function, whatever its type says."""


class _Tool(msgspec.Struct):
    """Of a chat's tool what it is."""

    function: Fields


_decode_tools = msgspec.json.Decoder(list[_Tool]).decode


def functions_of(tools: msgspec.Raw) -> list[Fields]:
    """The functions of a task's default `tools`, which the configuration has checked."""
    return [tool.function for tool in _decode_tools(tools)]


def tools(
    kinds: Collection[str | None],
    none: JsonValue,
    schema_at: str,
    most: int | None = MAX_TOOLS,
    *,
    allows: bool = False,
) -> Rule:
    """Tools within bounds; of kinds that a model cannot call itself those are left out that nothing demands.

    `none` is the choice of no tool, `schema_at` where a tool has the schema of its arguments, `most` how many
    there may be; None: as many as there is room for. `allows`: a choice may allow some of them alone.
    """

    def check(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
        given = checked(key, fields, limits, "max_tools_bytes")
        if given is None or given == []:
            del fields[key]  # no tools, which the engine would refuse
            return ()
        if not isinstance(given, list):
            raise InvalidRequest(f"'{key}' must be a list.", param=key)
        # Read here as well: the rule for the choice may be asked before this one or after it.
        choice = value_of("tool_choice", fields) if "tool_choice" in fields else None
        if allows and not limits.strict:
            choice = _respell(choice, fields, schema_at)
        allowed = allowed_in(choice) if allows else None
        if allowed is not None:
            allowed.check_named(given)
            choice = allowed.mode
            # vLLM knows no such choice: with all other tools taken out, the mode says the same.
            fields["tool_choice"] = raw_of(choice)
        kept: list[JsonValue] = []
        left: dict[str, JsonObject] = {}
        overlooked: list[str] = []
        for where, tool in _asked_for(key, given, allowed):
            _check_form(where, tool, schema_at)
            if _callable(where, tool, kinds, schema_at):
                kept.append(tool)
                overlooked += _overlooked(where, tool, schema_at)
            elif limits.strict or not hosted(tool):
                raise _not_here(where, tool, kinds)
            else:
                left[where] = tool
        if overlooked and limits.strict:
            raise unsupported(overlooked[0], f"'{overlooked[0]}' is not supported: no model is shown it.")
        counted = sum(_functions(tool) for tool in kept)
        if most is not None and counted > most:
            raise InvalidRequest(f"'{key}' lists {counted} tools; it may list {most}.", param=key)
        check_bytes(key, _followed_bytes(kept, choice, schema_at), limits, "max_schema_bytes")
        if left:
            _check_demand(choice, kept, left, kinds)
        if left or allowed is not None:
            if kept:
                fields[key] = raw_of(kept)
            else:
                # Of a chat without tools vLLM takes no other choice.
                fields["tool_choice"] = raw_of(none)
                del fields[key]
        if kept:
            _check_choice(key, choice, none, limits)
        return (*left, *overlooked)

    return check


def _asked_for(
    key: str, given: Sequence[JsonValue], allowed: Allowed | None
) -> Iterator[tuple[str, JsonObject]]:
    """Each tool's place and what is allowed of it. Raises InvalidRequest for what is no object."""
    for index, tool in enumerate(given):
        where = f"{key}[{index}]"
        if not isinstance(tool, dict):
            raise InvalidRequest(f"'{where}' must be an object.", param=where)
        part = tool if allowed is None else allowed.part_of(tool)
        if part is not None:
            yield where, part


def tool_choice(key: str, fields: Fields, limits: Limits) -> None:
    """Among no tools a free choice, or none, asks for nothing: the engine would refuse it."""
    if "tools" in fields and not asks_nothing(fields["tools"]):
        return
    value = value_of(key, fields)
    kind = value.get("type") if isinstance(value, dict) else value
    if kind in ("auto", "none"):
        del fields[key]


def tool_choice_or_allowed(schema_at: str) -> Rule:
    """As `tool_choice`; what is allowed of tools the rule for them reads, and among none there is nothing."""

    def check(key: str, fields: Fields, limits: Limits) -> None:
        value = value_of(key, fields)
        if not limits.strict:
            value = _respell(value, fields, schema_at)
        if not isinstance(value, dict) or value.get("type") != KIND:
            tool_choice(key, fields, limits)
        elif "tools" not in fields or asks_nothing(fields["tools"]):
            allowed = allowed_in(value)
            if allowed is not None:
                allowed.check_named(())
            del fields[key]

    return check


def _respell(choice: JsonValue, fields: Fields, schema_at: str) -> JsonValue:
    """The choice as this API has it, and written so."""
    meant = respelled(choice, nested=schema_at.startswith("function."))
    if meant != choice:
        fields["tool_choice"] = raw_of(meant)
    return meant


def _overlooked(where: str, tool: JsonObject, schema_at: str) -> list[str]:
    inner = schema_at.startswith("function.")
    held = tool.get("function") if inner else tool
    function = held if isinstance(held, dict) else {}
    asked = [name for name in _PASSED_OVER if function.get(name) and function[name] != ["direct"]]
    return [f"{where}.function.{name}" if inner else f"{where}.{name}" for name in asked]


def _check_form(where: str, tool: JsonObject, schema_at: str) -> None:
    """Raises InvalidRequest for a function in the form of the other one of OpenAI's APIs."""
    nested, inner = schema_at.startswith("function."), isinstance(tool.get("function"), dict)
    if tool.get("type", "function") != "function" or nested == inner:
        return
    if nested and isinstance(tool.get("name"), str):
        raise InvalidRequest(
            f"'{where}.function' is missing: in a chat a tool's name and parameters stand in it.",
            param=f"{where}.function",
            code="missing_required_parameter",
        )
    if schema_at == "parameters" and "type" in tool and "name" not in tool:
        raise InvalidRequest(
            f"'{where}.name' is missing: a response's tool has name and parameters beside its type, not in "
            "'function'.",
            param=f"{where}.name",
            code="missing_required_parameter",
        )


def _callable(where: str, tool: JsonObject, kinds: Collection[str | None], schema_at: str) -> bool:
    """Whether the model can call it itself. Raises InvalidRequest where its schema is none."""
    kind, form = tool.get("type"), tool.get("format")
    if "type" not in tool and schema_at.startswith("function.") and isinstance(tool.get("function"), dict):
        kind = "function"  # a chat has no other kind, and the engine takes it so
    if kind not in kinds or (isinstance(form, dict) and form.get("type") == "grammar"):
        return False  # vLLM holds no call to a grammar of the client's
    if kind == NAMESPACE:
        inner = tool.get("tools")
        for index, one in enumerate(inner if isinstance(inner, list) else []):
            if isinstance(one, dict):
                _check_schema(f"{where}.tools[{index}]", one, schema_at)
    _check_schema(where, tool, schema_at)
    return True


def hosted(tool: JsonObject) -> bool:
    """Whether a tool that no model here can call is one that runs on a server."""
    return isinstance(tool.get("type"), str) and not any(name in tool for name in _OF_A_FUNCTION)


def _followed_bytes(tools: Sequence[JsonValue], choice: JsonValue, schema_at: str) -> int:
    """Of the schemas that a call is held to: the engine makes a grammar of these alone, others it shows."""
    kind, named = choice.get("type") if isinstance(choice, dict) else choice, _name_of(choice)
    every = kind in ("required", "any")
    found = 0
    for one in tools:
        tool = one if isinstance(one, dict) else {}
        if tool.get("type") == NAMESPACE:
            inner = tool.get("tools")
            found += _followed_bytes(inner if isinstance(inner, list) else [], choice, schema_at)
            continue
        held = tool.get("function") if schema_at.startswith("function.") else tool
        function = held if isinstance(held, dict) else {}
        if every or function.get("strict") is True or (named is not None and function.get("name") == named):
            found += len(_encode(function.get(schema_at.rpartition(".")[2])))
    return found


def _functions(tool: JsonValue) -> int:
    inner = tool.get("tools") if isinstance(tool, dict) else None
    return len(inner) if isinstance(inner, list) else 1


def _not_here(where: str, tool: JsonObject, kinds: Collection[str | None]) -> InvalidRequest:
    return unsupported(
        f"{where}.type",
        f"'{where}' is of type {str(tool.get('type'))[:80]!r}: no tool runs on the server's side here, only "
        f"the client's own functions are taken ({_listed(kinds)}).",
    )


def _check_demand(
    choice: JsonValue, kept: Sequence[JsonValue], left: dict[str, JsonObject], kinds: Collection[str | None]
) -> None:
    """Refuse to leave out what a choice demands."""
    kind = choice.get("type") if isinstance(choice, dict) else choice
    where, tool = next(iter(left.items()))
    if kind in ("required", "any") and not kept:
        raise _not_here(where, tool, kinds)
    named = _name_of(choice)
    if named is None or any(_name_of(one) == named for one in kept):
        return
    for where, tool in left.items():
        if _name_of(tool) == named:
            raise _not_here(where, tool, kinds)


def _name_of(value: JsonValue) -> JsonValue:
    """Of a tool or a choice, wherever an API has it."""
    held = value if isinstance(value, dict) else {}
    for key in ("function", "custom"):
        inner = held.get(key)
        if isinstance(inner, dict):
            return inner.get("name")
    return held.get("name")


def _check_choice(key: str, choice: JsonValue, none: JsonValue, limits: Limits) -> None:
    """Refuse calls that the engine would not tell from text; `none` is the choice of no tool."""
    able = limits.tools
    if able in ("", "all") or choice == none:
        return
    kind = choice.get("type") if isinstance(choice, dict) else choice
    spelled = _encode(none).decode()
    if able == "none":
        raise unsupported(
            key,
            f"'{key}' cannot be called here, because the engine has no parser for the model's calls: set "
            f"base.tool_call_parser and restart it, or send tool_choice {spelled}.",
        )
    if kind in (None, "auto"):
        raise unsupported(
            key,
            f"'{key}' with tool_choice auto is not supported: nothing is known to read the calls that this "
            "base writes of its own choice. Send tool_choice required (any), one function, or "
            f"{spelled}; or set base.tool_call_parser and restart the engine.",
        )


def _check_schema(where: str, tool: JsonObject, schema_at: str) -> None:
    """OpenAI's error for a function whose schema is none. What lacks one is the engine's to judge."""
    held: JsonValue = tool
    name: JsonValue = None
    for key in schema_at.split("."):
        if not isinstance(held, dict) or held.get(key) is None:
            return
        name = held.get("name", name)
        held = held[key]
    fault = fault_in(held)
    if fault is not None:
        place, why = fault
        raise InvalidRequest(
            f"Invalid schema for function '{str(name)[:80]}': {f'at {place[:200]}, ' if place else ''}{why}.",
            param=f"{where}.{schema_at}",
            code="invalid_function_parameters",
        )


def _listed(kinds: Collection[str | None]) -> str:
    return ", ".join(f'type "{kind}"' if kind else "without a type" for kind in kinds)
