"""What every part of the configuration is held to."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
"""Of a task, a pipeline and a key."""


class Strict(BaseModel):
    """A section: no key that is not known, and never changed once it was checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
