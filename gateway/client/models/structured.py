"""Answers that are data: what the engine is told to write, and the check of what it wrote. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from gateway.client.calls import Completion, JsonObject
from gateway.client.errors import InvalidArgument, OutputInvalid
from gateway.client.model_list import Entry

Result = TypeVar("Result")

ANY_OBJECT: JsonObject = {"type": "json_object"}


@dataclass(frozen=True)
class Shape(Generic[Result]):
    """The form of an answer."""

    response_format: JsonObject | None
    """None where nothing is added: a task's own schema is in its contract, a pipeline has its stages'."""
    check: Callable[[str], Result]
    """Raises ValueError, in words."""

    def read(self, model: str, completion: Completion) -> Result:
        """The answer's text, checked and converted. Raises OutputInvalid where it does not fit."""
        try:
            return self.check(completion.text)
        except ValueError as error:
            problem = str(error).rstrip(".")
            raise OutputInvalid(model, completion.text, problem, completion.finish_reason) from error


def shape_of_type(entry: Entry, response_model: type[Result]) -> Shape[Result]:
    """What pydantic can check: a model, a dataclass, a TypedDict, list[…]. Raises InvalidArgument."""
    try:
        adapter = TypeAdapter(response_model)
        schema = adapter.json_schema()
    except Exception as error:  # pydantic has several for a type that has no schema
        raise InvalidArgument("response_model", f"pydantic makes no JSON schema of it: {error}") from error

    def check(text: str) -> Result:
        try:
            return adapter.validate_json(text)
        except ValidationError as error:
            raise ValueError(_first(error)) from error

    name = getattr(response_model, "__name__", "answer")
    return Shape(None if entry.kind == "pipeline" else _format(name, schema), check)


def shape_of_schema(entry: Entry, schema: Mapping[str, Any] | None) -> Shape[JsonObject]:
    """A JSON object: of `schema`, else of the task's own, else any.

    Without a schema an adapter writes as it was trained to: the engine's grammar of any object wants a space
    after each comma (xgrammar#945), and then the demo's `concept`, which learned none, groups differently.
    """
    wanted = schema if schema is not None else entry.schema
    asked: JsonObject | None = None
    if schema is not None and entry.kind != "pipeline":
        asked = _format(entry.id, schema)
    elif wanted is None and entry.kind == "base":
        asked = ANY_OBJECT

    def check(text: str) -> JsonObject:
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError(
                "it is no JSON object; give response_model for another type, or use generate_text"
            )
        if wanted is not None:
            _hold_against(wanted, document)
        return cast(JsonObject, document)

    return Shape(asked, check)


def _format(name: str, schema: Mapping[str, Any]) -> JsonObject:
    """OpenAI's structured output; its names are letters, digits, '_' and '-'."""
    plain = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in name)[:64]
    return {"type": "json_schema", "json_schema": {"name": plain, "schema": dict(schema), "strict": True}}


def _hold_against(schema: Mapping[str, Any], document: JsonObject) -> None:
    """Raises ValueError."""
    from jsonschema import Draft202012Validator  # 50 ms that only answers with a plain schema need

    error = next(iter(Draft202012Validator(schema).iter_errors(document)), None)
    if error is not None:
        raise ValueError(f"{error.json_path}: {error.message[:200]}")


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"]
