"""What a plan is to keep to."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """Bounds of one plan; the caller turns what is allowed in a minute into what is allowed in one call."""

    min_replicas: int = 1
    """Engines that each adapter is on, as far as there are engines; kept even where slots are too few."""
    max_moves: int = 1_000_000
    """Loads in one call, and as many unloads. Not counted: the first home of an adapter that has none, since
    nobody could answer it, and the unload of what is no longer wanted."""
    engine_tokens_per_s: float = math.inf
    """What one engine gives with a full batch."""
    fullest_share: float = 0.125
    """Of an engine's tokens/s, what one adapter may need of each of its engines; above it, it is spread. So
    little that a burst of four times what it was planned for finds room before the next plan."""
    spare_share: float = 0.075
    """Of an engine's tokens/s: a replica is given up only where those that stay need less than this."""
    full_engine: float = 0.85
    """Of an engine's tokens/s: with more on it something moves to an engine with less."""
