"""What every part of the configuration is held to."""

from __future__ import annotations

import re
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from gateway.errors import ConfigError

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
"""Of a task, a pipeline and a key."""
NAME_RULE = "must be letters, digits, '.', '_' or '-', at most 63"
DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*(s|m|h)?$")
_UNIT_S = {None: 1, "s": 1, "m": 60, "h": 3600}


def _seconds(value: object) -> object:
    """`15m`, `90s`, `2h` as seconds; all else is left to pydantic."""
    match = DURATION.match(value.strip()) if isinstance(value, str) else None
    return float(match[1]) * _UNIT_S[match[2]] if match else value


def checked_name(key: str, name: object) -> str:
    """The name of a task, a pipeline or a key. Raises ConfigError about `key` where it cannot be one."""
    if not isinstance(name, str) or not NAME.match(name):
        raise ConfigError(key, str(name), NAME_RULE)
    return name


def _named(value: str) -> str:
    if not NAME.match(value):
        raise ValueError(NAME_RULE)
    return value


def _on_one_line(value: str) -> str:
    """Raises ValueError for what would be more than a header's value."""
    if "\n" in value or "\r" in value:
        raise ValueError(f"{value!r} must be on one line, since answers say it in a header")
    return value


Name = Annotated[str, AfterValidator(_named)]
"""What may stand in a key or a path."""
Line = Annotated[str, AfterValidator(_on_one_line)]
"""What answers say in a header."""
Word = Annotated[str, Field(coerce_numbers_to_str=True)]
"""What goes to a program as text: a number needs no quotes."""
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]
Duration = Annotated[Annotated[float, Field(gt=0)], BeforeValidator(_seconds)]
"""Seconds, or a number with a unit: 90s, 15m, 2h."""


class Strict(BaseModel):
    """A section: no key that is not known, and never changed once it was checked."""

    # No `.inf`: a time-out without an end is no number of whole seconds, and no JSON of a snapshot holds it.
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_flag_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        """pydantic would read true as 1."""
        if not isinstance(value, bool | dict):  # as nearly always
            return value
        if _misread(plain_kinds(cls.model_fields[info.field_name or ""].annotation), value):
            raise ValueError("must be a number; YAML reads yes and on as true, no and off as false")
        return value


def plain_kinds(kind: Any) -> list[Any]:
    """Of a union each, without what is annotated."""
    if get_origin(kind) is Annotated:
        return plain_kinds(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [plain for one in get_args(kind) for plain in plain_kinds(one)]
    return [kind]


def _misread(kinds: list[Any], value: object) -> bool:
    """Whether a flag stands where a number is wanted, by itself or in a table of numbers."""
    if isinstance(value, bool):
        return bool not in kinds and (int in kinds or float in kinds)
    if not isinstance(value, dict):
        return False
    tables = [plain_kinds(get_args(one)[1]) for one in kinds if get_origin(one) is dict]
    return any(_misread(table, one) for table in tables for one in value.values())
