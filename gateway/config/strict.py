"""What every part of the configuration is held to."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

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


Name = Annotated[str, AfterValidator(_named)]
"""What may stand in a key or a path."""
Word = Annotated[str, Field(coerce_numbers_to_str=True)]
"""What goes to a program as text: a number needs no quotes."""
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]
Duration = Annotated[Annotated[float, Field(gt=0)], BeforeValidator(_seconds)]
"""Seconds, or a number with a unit: 90s, 15m, 2h."""


class Strict(BaseModel):
    """A section: no key that is not known, and never changed once it was checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
