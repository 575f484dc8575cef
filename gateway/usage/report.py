"""What was used, as people and programs ask for it: grouped, since a day, with what it costs."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from gateway.config.settings import Config, PriceConfig
from gateway.errors import InvalidRequest, Unavailable
from gateway.metrics.ledger import COMPLETION_TOKENS, FIGURES, PROMPT_TOKENS
from gateway.usage.database import LABELS, Used, read_usage
from gateway.usage.writer import day_of

Document = dict[str, object]
NUMBERS = (*FIGURES, "cost")
"""What a row has beside its labels."""

BY = "key,task"
SINCE = "30d"
"""What is meant where nothing is said."""
_BACK = re.compile(r"^(\d{1,6})(m|h|d)\Z")
_UNIT_S = {"m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Question:
    """Grouped by which labels, and from which day on."""

    by: tuple[str, ...]
    since: str


def question(by: str, since: str, now: float) -> Question:
    """From `key,task`, and `30d`, `24h` or a day such as `2026-11-01`. Raises InvalidRequest."""
    labels = tuple(dict.fromkeys(name.strip() for name in by.split(",")))
    for name in labels:
        if name not in LABELS:
            raise InvalidRequest(f"'{name[:80]}' is none of {', '.join(LABELS)}.", param="by")
    return Question(labels, _first_day(since.strip(), now))


def _first_day(since: str, now: float) -> str:
    back = _BACK.match(since)
    if back:
        return day_of(max(0.0, now - int(back[1]) * _UNIT_S[back[2]]))  # 999999d lies before 1970
    try:
        return date.fromisoformat(since).isoformat()
    except ValueError:
        shown = since[:80]
        raise InvalidRequest(f"'{shown}' is no time such as 30d, 24h or 2026-11-01.", param="since") from None


def usage_report(config: Config, asked: Question, tenant: str | None = None) -> Document:
    """The rows, and all of them together; of one tenant's keys alone where given. It blocks.

    `cost` is by the prices of now, None where no task has one. Raises Unavailable.
    """
    by = asked.by if "task" in asked.by else (*asked.by, "task")  # a price is a task's
    try:
        found = read_usage(config.state_dir, by, asked.since, tenant)
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(f"What was used cannot be read: {error}.", code="usage_unreadable") from error
    prices = {name: task.price for name, task in config.tasks.items() if task.price is not None}
    groups: dict[tuple[str, ...], list[Used]] = {}
    for used in found:
        groups.setdefault(tuple(used.labels[name] for name in asked.by), []).append(used)
    return {
        "since": asked.since,
        "by": list(asked.by),
        "rows": [
            {**dict(zip(asked.by, labels, strict=True)), **_figures(members, prices)}
            for labels, members in sorted(groups.items())
        ],
        "total": _figures(found, prices),
    }


def _figures(members: Sequence[Used], prices: Mapping[str, PriceConfig]) -> Document:
    sums = [sum(column) for column in zip(*(used.figures for used in members), strict=True)]
    figures: Document = dict(zip(FIGURES, sums or [0] * len(FIGURES), strict=True))
    figures["cost"] = sum(_cost(used, prices) for used in members) if prices else None
    return figures


def _cost(used: Used, prices: Mapping[str, PriceConfig]) -> float:
    price = prices.get(used.labels["task"])
    if price is None:
        return 0.0
    prompt, completion = used.figures[PROMPT_TOKENS], used.figures[COMPLETION_TOKENS]
    return (prompt * price.input_per_million + completion * price.output_per_million) / 1e6
