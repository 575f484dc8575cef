"""From two readings of a gateway's `/metrics` to what each task does in a second. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

PREFIX = "lora_gateway_"
CLIENT_LEFT = "499"
"""The status of a request whose client did not wait for the answer."""
ERRORS = "requests_total of errors"
"""By their status, since an engine's own refusals are in no `errors_total`."""
COUNTED = (
    "requests_total",
    ERRORS,
    "prompt_tokens_total",
    "completion_tokens_total",
    "requests_in_flight",
    "requests_waiting",
    "time_to_first_token_seconds_sum",
    "time_to_first_token_seconds_count",
)

Sums = Mapping[str, Mapping[str, float]]
"""A sample's name without the prefix → task → its sum over all other labels."""


@dataclass(frozen=True)
class Reading:
    """One look at `/metrics`; `at_s` is on any clock that does not jump."""

    at_s: float
    sums: Sums


@dataclass(frozen=True)
class TaskFigures:
    """One task between two looks. What cannot be said, since nothing was asked, is None."""

    requests_per_s: float = 0.0
    errors_per_s: float = 0.0
    tokens_per_s: float = 0.0
    """Of answers; they are counted when a request ends."""
    first_token_s: float | None = None
    """The mean of the streamed answers that ended."""
    in_flight: int = 0
    waiting: int = 0
    requests: int = 0
    """Since the gateway began."""


@dataclass(frozen=True)
class Figures:
    """Every task that was ever asked for."""

    tasks: Mapping[str, TaskFigures] = field(default_factory=dict)


def read_metrics(text: str, at_s: float) -> Reading:
    """Raises ValueError where it is not Prometheus' text."""
    sums: dict[str, dict[str, float]] = {name: defaultdict(float) for name in COUNTED}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix(PREFIX)
            if name in sums and "task" in sample.labels:
                sums[name][sample.labels["task"]] += sample.value
                if "400" <= sample.labels.get("status", "") != CLIENT_LEFT:
                    sums[ERRORS][sample.labels["task"]] += sample.value
    return Reading(at_s, sums)


def figures_between(before: Reading, now: Reading) -> Figures:
    """A gateway that was started again in between counts from nothing, which makes no rate negative."""
    seconds = now.at_s - before.at_s

    def grown(name: str, task: str) -> float:
        value, was = now.sums[name].get(task, 0.0), before.sums[name].get(task, 0.0)
        return value - was if value >= was else value

    def rate(name: str, task: str) -> float:
        return grown(name, task) / seconds if seconds > 0 else 0.0

    tasks = sorted({task for each in now.sums.values() for task in each if task})
    found: dict[str, TaskFigures] = {}
    for task in tasks:
        first_tokens = grown("time_to_first_token_seconds_count", task)
        first_token_sum_s = grown("time_to_first_token_seconds_sum", task)
        found[task] = TaskFigures(
            requests_per_s=rate("requests_total", task),
            errors_per_s=rate(ERRORS, task),
            tokens_per_s=rate("completion_tokens_total", task),
            first_token_s=first_token_sum_s / first_tokens if first_tokens else None,
            in_flight=int(now.sums["requests_in_flight"].get(task, 0)),
            waiting=int(now.sums["requests_waiting"].get(task, 0)),
            requests=int(now.sums["requests_total"].get(task, 0)),
        )
    return Figures(found)
