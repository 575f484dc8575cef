"""What the gateway counts. A count costs a request a few additions; the text is made when it is asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence

from prometheus_client.metrics_core import Metric

from gateway.metrics import ledger
from gateway.metrics.exposition import (
    ADAPTER_AT,
    BACKGROUND,
    BATCHES,
    CANCELLED,
    COMPLETION_TOKENS,
    ERROR,
    FALLBACK,
    FIRST_TOKEN_SUM,
    GAUGE,
    GAUGED,
    IGNORED,
    INTER_TOKEN_SUM,
    OVERFLOW,
    PROMPT_TOKENS,
    QUEUE_BUCKETS,
    QUEUE_SUM,
    REQUEST_SUM,
    RESIDENT,
    RETIRED,
    SERIES,
    SHADOW,
    SLOT,
    SLOT_CELLS,
    SLOT_EVICTIONS,
    SLOT_LOADS,
    SLOT_WAIT_S,
    SLOT_WAITS,
    STATUS,
    UNFINISHED_EVENTS,
    USED,
    USED_CELLS,
    USED_COMPLETION_TOKENS,
    USED_PROMPT_TOKENS,
    USED_REQUESTS,
    WAITING,
    Buckets,
    Exposition,
    Records,
)
from gateway.metrics.ledger import Ledger
from gateway.metrics.recent import RecentRequests
from gateway.metrics.shared_memory import Cells, Region, key_of, parts_of

CLIENT_LEFT = 499
"""nginx's status for a client that left before its answer was whole; no client ever sees it."""
EVICTED = "evicted"
"""Why an adapter has left its LoRA slot: for another."""
MOST_KEYS = 1000
"""Of those that a worker's series name; what further ones use is added up as "overflow"."""


class Metrics:
    """One worker's counters, and the text that adds up those of all workers.

    Make the regions before the fork and this in the worker, after it. A worker that replaces a dead one goes
    on with its counters; its gauges begin at 0. Where a region is full, further labels share records labelled
    "overflow". `render` may run in another thread; everything else belongs to the event loop's.
    """

    def __init__(
        self,
        regions: Sequence[Region],
        index: int = 0,
        buckets: Buckets | None = None,
        recent: RecentRequests | None = None,
    ) -> None:
        """`regions` are all workers', `index` is this one's; `buckets` must be the same in every worker.

        `recent` was made before the fork too, where several workers share it.
        """
        self._buckets = buckets or Buckets()
        self._sizes = {SERIES: self._buckets.cells, USED: USED_CELLS, SLOT: SLOT_CELLS}
        self.recent = recent or RecentRequests()
        """The last requests of all workers."""
        self.recent.take(index if recent is not None else 0)
        self._region = regions[index]
        self._others = [region for region in regions if region is not self._region]
        self._cells = self._region.take()
        self.series = SeriesByLabels(self, self._buckets)
        """By task, adapter and origin, which is as `request_record.Exchange` has it."""
        self._refused: dict[tuple[str, str, int, str], tuple[Cells, Cells]] = {}
        self._waiting: dict[str, Cells] = {}
        self._batches: tuple[Cells, Cells] | None = None
        self.ledger = Ledger()
        """What requests have used since `take_ledger`; exchanges write to it themselves."""
        self._users: set[tuple[str, str]] = set()
        self._exposition = Exposition(regions, self._buckets)
        self._by_adapter: dict[str, list[bytes]] = {}
        for key in self._cells:
            self._index(key)
        for key, cells in self._cells.items():
            if parts_of(key)[0] in GAUGED:
                cells[GAUGE] = 0.0
        for kind, key in OVERFLOW.items():  # now, while there is room
            self.cells(kind, key)

    @classmethod
    def single(cls) -> Metrics:
        """For a gateway of one process."""
        return cls([Region()])

    def refused(self, task: str, code: str, status: int, origin: str = "client") -> None:
        """A request that was answered with an error and never reached an engine.

        It counts in requests_total and errors_total, under an empty adapter. `task` is "" where the request
        named no known one: what a client made up must not become a label.
        """
        try:
            by_status, by_code = self._refused[task, code, status, origin]
        except KeyError:
            by_status = self.cells(STATUS, key_of(STATUS, task, "", origin, str(status)))
            by_code = self.cells(ERROR, key_of(ERROR, task, "", origin, code))
            self._refused[task, code, status, origin] = by_status, by_code
        by_status[0] += 1.0
        by_code[0] += 1.0

    def waiting(self, task: str, delta: int) -> None:
        """Change the number of the task's requests that wait for a place at the engine."""
        try:
            cells = self._waiting[task]
        except KeyError:
            cells = self._waiting[task] = self.cells(WAITING, key_of(WAITING, task))
        cells[GAUGE] += delta
        self._region.clients_waiting += delta

    def any_wait_elsewhere(self) -> bool:
        """Whether requests of clients wait for a place in another worker."""
        # A worker that was killed has left its number where it stood.
        return bool(self._others) and any(one.clients_waiting and one.alive for one in self._others)

    def resident(self, adapter: str, delta: int, why: str) -> None:
        """An adapter takes a LoRA slot (1) or leaves it (-1), with why as `lora_slots` has it."""
        self.cells(RESIDENT, key_of(RESIDENT, adapter))[GAUGE] += delta
        if delta > 0:
            self.cells(SLOT_LOADS, key_of(SLOT_LOADS, adapter, why))[0] += 1.0
        elif why == EVICTED:
            self.cells(SLOT, key_of(SLOT, adapter))[SLOT_EVICTIONS] += 1.0

    def slot_wait(self, adapter: str, seconds: float) -> None:
        """A request has waited for its place, and its adapter had no LoRA slot when it came."""
        cells = self.cells(SLOT, key_of(SLOT, adapter))
        cells[SLOT_WAITS] += 1.0
        cells[SLOT_WAIT_S] += seconds

    def batches(self, batches: int, lines: int) -> None:
        """How many batches and lines of theirs are not at their end yet; told by who runs them."""
        if self._batches is None:
            self._batches = (
                self.cells(BATCHES, key_of(BATCHES, "batches")),
                self.cells(BATCHES, key_of(BATCHES, "batch_lines")),
            )
        self._batches[0][GAUGE] = batches
        self._batches[1][GAUGE] = lines

    def shadow(self, task: str, candidate: str, outcome: str) -> None:
        """A copy of a request to a candidate: same, different, failed or dropped."""
        self.cells(SHADOW, key_of(SHADOW, task, candidate, outcome))[0] += 1.0

    def fallback(self, task: str, model: str, reason: str, outcome: str) -> None:
        """A request for a task's fallback: answered, failed, refused or cancelled."""
        self.cells(FALLBACK, key_of(FALLBACK, task, model, reason, outcome))[0] += 1.0

    def ignored(self, parameter: str) -> None:
        """A parameter that was taken and has no effect, by a name of the gateway's own tables."""
        self.cells(IGNORED, key_of(IGNORED, parameter))[0] += 1.0

    def take_ledger(self) -> Ledger:
        """What was used since the last call."""
        taken, self.ledger = self.ledger, Ledger()
        return taken

    def used(self, key: str, tenant: str, figures: Sequence[int]) -> None:
        """A key has used so much, in the order of `ledger.FIGURES`."""
        if len(self._users) < MOST_KEYS:
            self._users.add((key, tenant))
        label = key_of(USED, key, tenant) if (key, tenant) in self._users else OVERFLOW[USED]
        cells = self.cells(USED, label)
        cells[USED_REQUESTS] += figures[ledger.REQUESTS]
        cells[USED_PROMPT_TOKENS] += figures[ledger.PROMPT_TOKENS]
        cells[USED_COMPLETION_TOKENS] += figures[ledger.COMPLETION_TOKENS]

    def background_failure(self, task: str) -> None:
        """A task that runs beside the requests has failed."""
        self.cells(BACKGROUND, key_of(BACKGROUND, task))[0] += 1.0

    def render(
        self, control_faults: Mapping[str, int] | None = None, others: Iterable[Metric] = ()
    ) -> tuple[bytes, str]:
        """The Prometheus text of all workers together, and its content type.

        `control_faults` are the control plane's own background failures, by task, as its snapshot has them;
        `others` are families that somebody else has made.
        About 0.5 ms for each series, nearly all of it the library's: call it in a thread.
        """
        return self._exposition.render(control_faults or {}, others)

    def sums(self) -> dict[str, Records]:
        """What all workers have counted, by kind of record (`exposition.LABELS`). Call it in a thread."""
        return self._exposition.sums()

    def cells(self, kind: str, key: bytes) -> Cells:
        """The own record of that key, made on first use; the kind's overflow record where no room is left."""
        cells = self._cells.get(key)
        if cells is None:
            cells = self._region.append(key, self._sizes.get(kind, 1))
            if cells is None:
                cells = self._cells[OVERFLOW[kind]]
            self._cells[key] = cells
            self._index(key)
        return cells

    def _index(self, key: bytes) -> None:
        kind, labels = parts_of(key)
        adapter = labels[ADAPTER_AT[kind]] if kind in ADAPTER_AT else ""
        if adapter and adapter != RETIRED and key != OVERFLOW[kind]:
            self._by_adapter.setdefault(adapter, []).append(key)

    @property
    def adapters(self) -> Collection[str]:
        """Adapters that something was counted for."""
        return self._by_adapter.keys()

    def retire(self, adapter: str) -> bool:
        """Add what was counted for an adapter to what its tasks' retired ones have, and forget it.

        False where it has requests in flight, or a LoRA slot; then nothing changes.
        """
        keys = self._by_adapter[adapter]
        if any(parts_of(key)[0] in GAUGED and self._is_own(key) and self._cells[key][GAUGE] for key in keys):
            return False
        del self._by_adapter[adapter]
        heirs = [(key, self._heir(key)) for key in keys]  # made before, since making one is a change too
        # In one change: a reader finds a figure with the adapter or with its heir, never with both.
        with self._region.replacing():
            for key, heir in heirs:
                if not self._is_own(key):
                    continue  # it was counted where no room was left, and stays there
                cells = self._cells[key]
                for at, value in enumerate(cells if heir is not None else ()):
                    heir[at] += value  # type: ignore[index]  # none is enumerated without one
                self._region.remove(key)
        for key in keys:
            del self._cells[key]
            kind, labels = parts_of(key)
            if kind == SERIES:
                task, _, origin = labels
                series = self.series.pop((task, adapter, origin), None)
                if series is not None:
                    series.become(self.series[task, RETIRED, origin])
        return True

    def _is_own(self, key: bytes) -> bool:
        return self._cells[key] is not self._cells[OVERFLOW[parts_of(key)[0]]]

    def _heir(self, key: bytes) -> Cells | None:
        kind, labels = parts_of(key)
        if kind == RESIDENT:
            return None
        at = ADAPTER_AT[kind]
        return self.cells(kind, key_of(kind, *labels[:at], RETIRED, *labels[at + 1 :]))


class Series:
    """The counters of one task, adapter and origin.

    An admitted request calls `enter`, then one of `finished`, `failed` and `cancelled`, then `leave`.
    """

    __slots__ = (
        "_cells",
        "_first_token_buckets",
        "_first_token_s",
        "_inter_token_buckets",
        "_labels",
        "_metrics",
        "_queue_s",
        "_request_buckets",
        "_request_s",
        "_statuses",
    )

    def __init__(self, metrics: Metrics, labels: tuple[str, str, str], buckets: Buckets) -> None:
        self._metrics = metrics
        self._labels = labels
        self._cells = metrics.cells(SERIES, key_of(SERIES, *labels))
        self._statuses: dict[int, Cells] = {}
        self._queue_s = buckets.queue_s
        self._first_token_s = buckets.first_token_s
        self._request_s = buckets.request_s
        self._first_token_buckets = buckets.first_token_at
        self._request_buckets = buckets.request_at
        self._inter_token_buckets = buckets.inter_token_at

    def become(self, other: Series) -> None:
        """Whoever holds this one counts in the other from now on."""
        self._labels, self._cells, self._statuses = other._labels, other._cells, other._statuses

    def enter(self) -> None:
        """The request has its place at the engine."""
        self._cells[GAUGE] += 1.0

    def leave(self) -> None:
        """The place is free again."""
        self._cells[GAUGE] -= 1.0

    def finished(
        self,
        status: int,
        total_s: float,
        queue_s: float,
        first_token_s: float | None,
        prompt_tokens: int,
        completion_tokens: int,
    ) -> None:
        """The engine's answer was passed on whole, whatever its status.

        `total_s` runs from the request's arrival to the answer's last byte, `queue_s` is the wait for a
        place, `first_token_s` runs from the arrival to the first piece of a streamed answer (None where the
        answer came in one piece).
        """
        cells = self._cells
        try:
            self._statuses[status][0] += 1.0
        except KeyError:
            self._count_status(status)
        cells[QUEUE_BUCKETS + bisect_left(self._queue_s, queue_s)] += 1.0
        if queue_s:
            cells[QUEUE_SUM] += queue_s
        if first_token_s is not None:
            cells[self._first_token_buckets + bisect_left(self._first_token_s, first_token_s)] += 1.0
            cells[FIRST_TOKEN_SUM] += first_token_s
        cells[self._request_buckets + bisect_left(self._request_s, total_s)] += 1.0
        cells[REQUEST_SUM] += total_s
        cells[PROMPT_TOKENS] += prompt_tokens
        cells[COMPLETION_TOKENS] += completion_tokens

    def streamed(self, gaps: Sequence[int], sum_s: float) -> None:
        """Times between two pieces of a stream: how many in each bucket of INTER_TOKEN_S, and their sum."""
        cells = self._cells
        for at, count in enumerate(gaps, self._inter_token_buckets):
            if count:
                cells[at] += count
        cells[INTER_TOKEN_SUM] += sum_s

    def failed(self, code: str, status: int, total_s: float) -> None:
        """An error after admission: the engine died, a timeout. `status` is what the client is told.

        Only the total is observed: a request that failed does not say how long an answer takes to begin.
        """
        self._count_status(status)
        self._metrics.cells(ERROR, key_of(ERROR, *self._labels, code))[0] += 1.0
        self._observe_total(total_s)

    def cancelled(self, total_s: float, unfinished_events: int) -> None:
        """The client left: status 499. `unfinished_events` of its stream it had been sent."""
        self._count_status(CLIENT_LEFT)
        self._cells[CANCELLED] += 1.0
        self._cells[UNFINISHED_EVENTS] += unfinished_events
        self._observe_total(total_s)

    def _observe_total(self, total_s: float) -> None:
        self._cells[self._request_buckets + bisect_left(self._request_s, total_s)] += 1.0
        self._cells[REQUEST_SUM] += total_s

    def _count_status(self, status: int) -> None:
        cells = self._statuses.get(status)
        if cells is None:
            cells = self._metrics.cells(STATUS, key_of(STATUS, *self._labels, str(status)))
            self._statuses[status] = cells
        cells[0] += 1.0


class SeriesByLabels(dict[tuple[str, str, str], Series]):
    """The counters of every task, adapter and origin that something was counted for; new ones begin at 0."""

    def __init__(self, metrics: Metrics, buckets: Buckets) -> None:
        super().__init__()
        self._metrics = metrics
        self._buckets = buckets

    def __missing__(self, labels: tuple[str, str, str]) -> Series:
        # Found by the dict itself: a method in between would be a call for each request (72).
        series = self[labels] = Series(self._metrics, labels, self._buckets)
        return series
