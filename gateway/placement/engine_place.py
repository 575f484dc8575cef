"""An engine as placement sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EnginePlace:
    """One engine that takes requests: its LoRA slots, and the ids of the adapters that are loaded on it."""

    name: str
    slots: int
    holds: frozenset[str] = frozenset()
    refuses: frozenset[str] = frozenset()
    """Those that could not be loaded or proven there: it is no new home of theirs."""
