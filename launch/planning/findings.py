"""What a look at a configuration found, and where to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from gateway.errors import ConfigError

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """An error prevents a start; a warning does not, and a note only says what is assumed."""

    level: Level
    key: str
    text: str
    code: str | None = None
    """Where the page on troubleshooting has it, if not by its key."""

    @classmethod
    def of(cls, error: ConfigError) -> Finding:
        """The error as it would have been raised; the key leads its text already."""
        text = " ".join(str(error).split()).removeprefix(f"{error.key}: ")
        return cls("error", error.key, text, error.code)

    def __str__(self) -> str:
        return f"{self.level}: {self.key}: {self.text}"


def by_level(findings: Iterable[Finding]) -> list[Finding]:
    """What prevents a start, then what is unwise, then what is assumed."""
    order = get_args(Level)
    return sorted(findings, key=lambda finding: order.index(finding.level))


def errors(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level == "error"]
