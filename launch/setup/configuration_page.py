"""`docs/configuration.md`, written from the configuration's own models by `make docs`."""

from __future__ import annotations

import re
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo

from gateway.config.document import Config

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"

HEAD = """# Configuration

Written from the models that check it, by `make docs`; a test holds the two together.
[configs/example.yaml](../configs/example.yaml) shows every key in its place.

- A configuration is one YAML file, checked whole at the start (`lora-gateway check` prints every mend at
  once). An unknown key is an error that names the nearest known one.
- `${VAR}` and `${VAR:-default}` are taken from the environment, then from `.env` in the working directory.
- `<TASK>_ADAPTER_PATH` in either gives a task its adapter, or adds the task; `<NAME>_KEY_SHA256` does
  the same for a key.
- Relative paths start at the configuration's folder; those from the environment and `state_dir` at the
  working directory.
- A changed file is taken live for `tasks`, `pipelines`, `keys`, `tenants`, `adapters` and `placement`; every
  other key waits for the next start.
"""

Sections = list[tuple[str, type[BaseModel]]]

PLURALS = {"text": "texts", "path": "paths", "mapping": "mappings"}
NAMED = {"tasks": "<task>", "pipelines": "<pipeline>", "keys": "<name>"}
"""Sections that map a name of the user's to a model, and how that name is shown."""


def page() -> str:
    """The page as Markdown: its head, then one section for each part of the configuration."""
    sections: Sections = [("", Config), *section_models("", Config)]
    return "\n".join([HEAD, *(_section(path, model) for path, model in sections)])


def section_models(prefix: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """The models within `model`, each with its dotted path, depth first."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        for inner, shape in _models_in(field.annotation):
            placed = {"dict": f"{key}.{NAMED.get(key, '<name>')}", "list": f"{key}[]"}
            path = f"{prefix}{placed.get(shape, key)}"
            yield path, inner
            yield from section_models(f"{path}.", inner)


def _section(path: str, model: type[BaseModel]) -> str:
    """A heading, what the section is for, and its keys as a table."""
    head = "## At the top"
    if path:
        level = "###" if path.count(".") > path.count(".<") else "##"
        head = f"{level} `{path}`\n\n{' '.join((model.__doc__ or '').split())}"
    rows = [
        _row(field.alias or name, field)
        for name, field in model.model_fields.items()
        # One with more than one form too, so that a row says which.
        if path or len(found := _models_in(field.annotation)) > 1 or not any(not shape for _, shape in found)
    ]
    return "\n".join([head, "", "| key | type | default | what it is |", "|---|---|---|---|", *rows, ""])


def _row(key: str, field: FieldInfo) -> str:
    parts = " ".join((field.description or "").split()).split("`")
    about = "`".join(part if at % 2 else part.replace("<", "\\<") for at, part in enumerate(parts))
    cells = (f"`{key}`", _type(field), _default(field), about)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _models_in(annotation: object) -> list[tuple[type[BaseModel], str]]:
    """The models that a key may hold, and whether each in a `dict`, in a `list` or as it is."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [(annotation, "")]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (dict, list):
        return [(inner, origin.__name__) for inner, _ in _models_in(arguments[-1])]
    if origin is typing.Annotated:
        return _models_in(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return [found for argument in arguments for found in _models_in(argument)]
    return []


def _type(field: FieldInfo) -> str:
    bounds = _bounds(field.metadata)
    kind = _kind(field.annotation)
    return f"{kind}, {bounds}" if bounds else kind


def _kind(annotation: object) -> str:
    """A type in words."""
    words = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}
    if isinstance(annotation, type) and annotation in words:
        return words[annotation]
    if annotation is AwareDatetime:
        return "time with its zone"
    if annotation is type(None):
        return ""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        inner, bounds = _kind(arguments[0]), _bounds(arguments[1:])
        if any(type(one).__name__ == "BeforeValidator" for one in arguments[1:]):
            return "seconds, or 90s, 15m, 2h"
        return f"{inner}, {bounds}" if bounds else inner
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(kind for kind in map(_kind, arguments) if kind)
    if origin is list:
        one = _kind(arguments[0])
        return f"list of {PLURALS.get(one, one)}"
    if origin is dict or annotation is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return re.sub(r"\W+", " ", str(annotation)).strip()


def _bounds(metadata: typing.Iterable[object]) -> str:
    said = []
    for one in metadata:
        if isinstance(one, FieldInfo):
            said.append(_bounds(one.metadata))
        elif isinstance(one, Gt):
            said.append(f"over {one.gt}")
        elif isinstance(one, Ge):
            said.append(f"from {one.ge}")
        elif isinstance(one, Le):
            said.append(f"up to {one.le}")
        elif isinstance(one, MinLen):
            said.append(f"at least {one.min_length}")
    return " ".join(part for part in said if part)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return ""
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if isinstance(value, BaseModel):
        return "as below"
    if isinstance(value, dict):
        return "`{}`"
    if isinstance(value, list):
        return "`[" + ", ".join(map(str, value)) + "]`"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value}`" if value != "" else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stderr.write(f"written: {PAGE.name}\n")
