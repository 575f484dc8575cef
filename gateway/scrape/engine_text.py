"""Of what vLLM says of itself in Prometheus' text, the figures that are shown beside our own. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

SHOWN = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:num_requests_waiting_by_reason",
    "vllm:kv_cache_usage_perc",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:num_preemptions_total",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:request_queue_time_seconds",
)
"""By their families' names. None has a label whose values grow with the requests."""
_NAMES = "|".join(SHOWN)
_SAMPLE = re.compile(rf"^({_NAMES})(_bucket|_sum|_count)?(?:\{{(.*)\}})? (\S+)$", re.M)
_SAID = re.compile(rf"^# (?:HELP|TYPE) ({_NAMES}) .*$", re.M)
_RANK = re.compile(r'(^|,)engine="')
"""vLLM's own label, which numbers the ranks of one server; in a value the quote would be escaped."""


@dataclass(slots=True)
class EngineText:
    """Of one engine: by family what is said of it, and its samples, which name the engine."""

    said: dict[str, list[str]] = field(default_factory=dict)
    samples: dict[str, list[str]] = field(default_factory=dict)


def selected(text: str, engine: str) -> EngineText:
    """The figures that are shown, with the label `engine` of this gateway's; vLLM's own becomes `rank`."""
    found = EngineText()
    for said in _SAID.finditer(text):
        found.said.setdefault(said[1], []).append(said[0])
    named = f'engine="{_escaped(engine)}"'
    for sample in _SAMPLE.finditer(text):
        family, suffix, labels, value = sample.groups()
        rest = _RANK.sub(r'\1rank="', labels or "")
        line = f"{family}{suffix or ''}{{{named}{',' if rest else ''}{rest}}} {value}"
        found.samples.setdefault(family, []).append(line)
    return found


def joined(engines: Iterable[EngineText]) -> str:
    """Several engines' figures as one text, each family in one piece."""
    said: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for engine in engines:
        for family, lines in engine.samples.items():
            said.setdefault(family, engine.said.get(family, []))
            samples.setdefault(family, []).extend(lines)
    lines = [line for family in SHOWN if family in samples for line in (*said[family], *samples[family])]
    return "".join(f"{line}\n" for line in lines)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
