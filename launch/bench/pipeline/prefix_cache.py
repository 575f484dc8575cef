"""What an engine finds of prompts in its prefix cache, by its own counters."""

from __future__ import annotations

import re
from dataclasses import dataclass

from launch.engine.http import ask, with_key

_COUNTED = re.compile(r"^vllm:prefix_cache_(queries|hits)_total(?:\{.*\})? (\S+)$", re.M)


@dataclass(frozen=True)
class PrefixCache:
    """Tokens of prompts that were looked for, and those of them that were found."""

    queries: float
    hits: float

    def since(self, before: PrefixCache) -> PrefixCache:
        return PrefixCache(self.queries - before.queries, self.hits - before.hits)

    @property
    def hit_rate(self) -> float:
        """0 where nothing was looked for."""
        return self.hits / self.queries if self.queries else 0.0


def counted(text: str) -> PrefixCache:
    """From the text of an engine's /metrics, all its ranks together."""
    sums = {"queries": 0.0, "hits": 0.0}
    for name, value in _COUNTED.findall(text):
        sums[name] += float(value)
    return PrefixCache(**sums)


def read(url: str, key: str) -> PrefixCache:
    """What an engine has counted of its prefix cache until now; blocking. Raises EngineFailure."""
    return counted(ask(f"{url}/metrics", timeout_s=10, headers=with_key(key)).text)
