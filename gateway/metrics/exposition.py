"""What the cells mean, and the Prometheus text that is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway.metrics.shared_memory import Region, key_of, parts_of

# Kinds of records. Each has one cell, but for SERIES, USED and SLOT.
SERIES = "series"
STATUS = "status"
ERROR = "error"
WAITING = "waiting"  # a gauge
SHADOW = "shadow"
FALLBACK = "fallback"
IGNORED = "ignored"
RESIDENT = "resident"  # a gauge
BATCHES = "batches"  # of "batches" or "batch_lines"; a gauge
BACKGROUND = "background"
USED = "used"
SLOT_LOADS = "slot_loads"
SLOT = "slot"
GAUGED = (SERIES, WAITING, RESIDENT, BATCHES)

OF_A_TASK = ("task", "adapter", "origin")
LABELS: Mapping[str, tuple[str, ...]] = {
    SERIES: OF_A_TASK,
    STATUS: (*OF_A_TASK, "status"),
    ERROR: (*OF_A_TASK, "code"),
    WAITING: ("task",),
    SHADOW: ("task", "candidate", "outcome"),
    FALLBACK: ("task", "model", "reason", "outcome"),
    IGNORED: ("parameter",),
    RESIDENT: ("adapter",),
    BATCHES: ("what",),
    BACKGROUND: ("task",),
    USED: ("key", "tenant"),
    SLOT_LOADS: ("adapter", "reason"),
    SLOT: ("adapter",),
}
"""By kind, what the parts of a record's key are."""
ADAPTER_AT = {
    kind: at
    for kind, labels in LABELS.items()
    for at, label in enumerate(labels)
    if label in ("adapter", "candidate")
}
"""By kind, which label names an adapter."""
RETIRED = "retired"
"""In an adapter's place: what a task's adapters that are gone have counted."""
OVERFLOW = {kind: key_of(kind, *["overflow"] * len(labels)) for kind, labels in LABELS.items()}
"""By kind, the record that further keys share once a region is full."""

# Cells of a SERIES record. A gauge is the first cell of its record in every kind.
GAUGE = 0
CANCELLED = 1
UNFINISHED_EVENTS = 2
PROMPT_TOKENS = 3
COMPLETION_TOKENS = 4
QUEUE_SUM = 5
FIRST_TOKEN_SUM = 6
REQUEST_SUM = 7
INTER_TOKEN_SUM = 8
QUEUE_BUCKETS = 9  # the other histograms' buckets follow, see Buckets

# Cells of a USED record.
USED_REQUESTS, USED_PROMPT_TOKENS, USED_COMPLETION_TOKENS = range(3)
USED_CELLS = 3
# Cells of a SLOT record.
SLOT_EVICTIONS, SLOT_WAITS, SLOT_WAIT_S = range(3)
SLOT_CELLS = 3

INTER_TOKEN_S = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)
"""Upper bounds of the time between two tokens; streams count by them on their way (`http.event_stream`)."""

PREFIX = "lora_gateway_"
COUNTERS = (
    (
        STATUS,
        0,
        "requests",
        "Answers by HTTP status; 499: the client left. Refused requests have an empty adapter.",
    ),
    (ERROR, 0, "errors", "Requests that were refused or failed, by the error's code."),
    (SHADOW, 0, "shadow", "Copies of requests to a candidate that answers none, by how its answer compared."),
    (
        FALLBACK,
        0,
        "fallback",
        "Requests for a task's fallback, since the engine could not answer, by reason and outcome.",
    ),
    (
        IGNORED,
        0,
        "ignored",
        "Requests with a parameter that was taken and has no effect; other: a name that nobody knows.",
    ),
    (
        BACKGROUND,
        0,
        "background_failures",
        "Failures of tasks that run beside the requests; each is begun again. The log says why.",
    ),
    (SERIES, CANCELLED, "cancellations", "Requests whose client left before the answer was whole."),
    (
        SERIES,
        PROMPT_TOKENS,
        "prompt_tokens",
        "Tokens of the prompts of finished requests, as the engine counted them.",
    ),
    (SERIES, COMPLETION_TOKENS, "completion_tokens", "Tokens that the engine made for finished requests."),
    (
        SERIES,
        UNFINISHED_EVENTS,
        "unfinished_stream_events",
        "Events of streams that had been passed on when the client left; vLLM sends about one per token.",
    ),
    (USED, USED_REQUESTS, "key_requests", "Requests that an engine had, by key; a pipeline's is one."),
    (USED, USED_PROMPT_TOKENS, "key_prompt_tokens", "Tokens of prompts, by key."),
    (USED, USED_COMPLETION_TOKENS, "key_completion_tokens", "Tokens that the engine made, by key."),
    (
        SLOT_LOADS,
        0,
        "slot_loads",
        "LoRA slots that adapters took, by why they had none: first_use, evicted before, a restart of the "
        "engine, moved: another one had it, or all_fit: for a while each had its own. Only where not all "
        "adapters fit.",
    ),
    (SLOT, SLOT_EVICTIONS, "slot_evictions", "LoRA slots that adapters had to give to others."),
    (SLOT, SLOT_WAITS, "slot_waits", "Requests that waited while their adapter had no LoRA slot."),
    (SLOT, SLOT_WAIT_S, "slot_wait_seconds", "How long these waited for their place."),
)
GAUGES = (
    (SERIES, "requests_in_flight", "Requests at the engine now."),
    (WAITING, "requests_waiting", "Requests that wait for a place at the engine now."),
    (
        RESIDENT,
        "adapter_resident",
        "Workers that hold a LoRA slot of the engine for the adapter; only where not all adapters fit.",
    ),
)

Records = list[tuple[tuple[str, ...], list[float]]]
"""Labels and cells of each record of one kind."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """Upper bounds in seconds, inclusive and ascending; a last bucket without a bound is always there."""

    queue_s: tuple[float, ...] = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
    first_token_s: tuple[float, ...] = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
    request_s: tuple[float, ...] = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

    @property
    def first_token_at(self) -> int:
        return QUEUE_BUCKETS + len(self.queue_s) + 1

    @property
    def request_at(self) -> int:
        return self.first_token_at + len(self.first_token_s) + 1

    @property
    def inter_token_at(self) -> int:
        return self.request_at + len(self.request_s) + 1

    @property
    def cells(self) -> int:
        """Of a whole SERIES record."""
        return self.inter_token_at + len(INTER_TOKEN_S) + 1


class Exposition(Collector):
    """Adds up every worker's cells and renders them."""

    def __init__(self, regions: Sequence[Region], buckets: Buckets) -> None:
        self._regions = regions
        self._histograms = (
            (
                "queue_seconds",
                "Wait of a finished request for a place at the engine.",
                QUEUE_SUM,
                QUEUE_BUCKETS,
                buckets.queue_s,
            ),
            (
                "time_to_first_token_seconds",
                "From a finished request's arrival to the first piece of its answer; streamed answers only.",
                FIRST_TOKEN_SUM,
                buckets.first_token_at,
                buckets.first_token_s,
            ),
            (
                "request_seconds",
                "From an admitted request's arrival to its end, be it finished, failed or cancelled.",
                REQUEST_SUM,
                buckets.request_at,
                buckets.request_s,
            ),
            (
                "inter_token_seconds",
                "Between two pieces of a stream on their way, with vLLM a token each; what follows within a "
                "millisecond is of the same piece.",
                INTER_TOKEN_SUM,
                buckets.inter_token_at,
                INTER_TOKEN_S,
            ),
        )
        self._control_faults: Mapping[str, int] = {}
        self._others: Iterable[Metric] = ()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self, control_faults: Mapping[str, int], others: Iterable[Metric]) -> tuple[bytes, str]:
        """The text, with the families of `others`, and the content type of Prometheus' library."""
        # The library hands `collect` no arguments. Two at once may render each other's, which are as new.
        self._control_faults, self._others = control_faults, others
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    def collect(self) -> Iterator[Metric]:
        """Called by the library, once for each rendering."""
        alive = [region.alive for region in self._regions]
        sums = self.sums(alive)
        sums[BACKGROUND] += [((f"control.{name}",), [count]) for name, count in self._control_faults.items()]
        for kind, cell, name, text in COUNTERS:
            counter = CounterMetricFamily(PREFIX + name, text, labels=LABELS[kind])
            for labels, cells in sums[kind]:
                counter.add_metric(labels, cells[cell])
            yield counter
        yield from self._observed(sums[SERIES])
        for kind, name, text in GAUGES:
            gauge = GaugeMetricFamily(PREFIX + name, text, labels=LABELS[kind])
            for labels, cells in sums[kind]:
                gauge.add_metric(labels, cells[GAUGE])
            yield gauge
        unfinished = dict(sums[BATCHES])
        for what, text in (("batches", "Batches"), ("batch_lines", "Lines of batches")):
            if (what,) in unfinished:
                text = f"{text} that are not at their end yet."
                yield GaugeMetricFamily(f"{PREFIX}{what}_unfinished", text, value=unfinished[what,][GAUGE])
        yield GaugeMetricFamily(PREFIX + "workers", "Worker processes that run now.", value=sum(alive))
        yield from self._others

    def _observed(self, series: Records) -> Iterator[Metric]:
        for name, text, sum_at, first, bounds in self._histograms:
            histogram = HistogramMetricFamily(PREFIX + name, text, labels=OF_A_TASK)
            bounds_text = [*map(floatToGoString, bounds), "+Inf"]
            for labels, cells in series:
                counts = cells[first : first + len(bounds_text)]
                if any(counts):  # a third of the text where nothing is streamed
                    cumulative = list(zip(bounds_text, accumulate(counts), strict=True))
                    histogram.add_metric(labels, cumulative, cells[sum_at])
            yield histogram

    def sums(self, alive: Sequence[bool] | None = None) -> dict[str, Records]:
        """The records of all regions added up, by kind; a dead worker's requests are no longer anywhere."""
        if alive is None:
            alive = [region.alive for region in self._regions]
        sums: dict[bytes, list[float]] = {}
        for region, lives in zip(self._regions, alive, strict=True):
            for key, values in region.read():
                if not lives and parts_of(key)[0] in GAUGED:
                    values[GAUGE] = 0.0
                known = sums.get(key)
                sums[key] = values if known is None else [a + b for a, b in zip(known, values, strict=True)]
        by_kind: dict[str, Records] = {kind: [] for kind in LABELS}
        for key, values in sums.items():
            kind, labels = parts_of(key)
            if any(values) or key != OVERFLOW[kind]:  # those are there from the start, as a rule empty
                by_kind[kind].append((labels, values))
        return by_kind
