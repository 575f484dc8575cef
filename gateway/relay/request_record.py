"""One request's record: what was asked, where its time went, how it ended. It is counted once, at its end."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from functools import partial

import msgspec

from gateway.admission.quotas.quotas import Part, Reservation
from gateway.admission.suspect_line import Turn
from gateway.admission.turns.queues import Gate
from gateway.dialects.dialect import Asked, Dialect
from gateway.errors import RequestError
from gateway.http.engine_connection import Segments
from gateway.http.event_stream import EventStream, TokenUsage
from gateway.http.request_cycle import header_lines, header_pairs
from gateway.metrics.counters import CLIENT_LEFT, Metrics, Series
from gateway.metrics.ledger import (
    COMPLETION_TOKENS,
    CUT_OFF,
    CUT_OFF_EVENTS,
    PROMPT_TOKENS,
    REQUESTS,
    STAGE_CALLS,
)
from gateway.metrics.recent import RecentRequest
from gateway.routing.selection.visits import Visit
from gateway.routing.table import Route
from gateway.structs import changed_often
from gateway.traces.trace import Ended, RequestTrace, operation_of

LATE = 0.95
"""Of a client's time: its clock began a little before ours."""
HeaderList = list[tuple[bytes, bytes]]

BATCH = "batch"
"""The origin of a batch's request."""
PIPELINE = "pipeline"
"""The origin of a stage's."""
FALLBACK = "fallback"
"""The origin of one that its task's fallback answers."""
LOW_PRIORITY = msgspec.Raw(b"100")
"""What comes behind, in vLLM's priority scheduling: a larger number comes later; clients' requests have 0."""

_NO_QUEUE = b"x-gateway-queue-ms: 0.0\r\n"
COLD = (b"x-gateway-cold", b"true")
"""The header of an answer that waited for an engine to start."""
EVENT_STREAM = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))
"""The headers of a stream that is sent in a task."""

MOST_NAMED = 32
"""Of ignored parameters, which are the client's own words."""
_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")


def ignored_header(names: Sequence[str]) -> HeaderList:
    """`x-gateway-ignored`, where there is something to name; what a header cannot hold is called `other`."""
    if not names:
        return []
    shown = dict.fromkeys(name if _NAME.fullmatch(name) else "other" for name in names)
    return [(b"x-gateway-ignored", ",".join(list(shown)[:MOST_NAMED]).encode())]


Times = tuple[float, float, float, float | None, float | None]
Whose = tuple[str, Dialect, Route | None, str, str, bytes]


def _recent(times: Times, usage: TokenUsage | None, status: int, code: str, whose: Whose) -> RecentRequest:
    """What the page shows of a request, made where it is written: most are out of date by then."""
    origin, dialect, route, replica, key, request_id = whose
    task, adapter = (route.name, route.adapter_id or "") if route else ("", "")
    tokens = (usage.prompt_tokens, usage.completion_tokens or 0) if usage else (0, 0)
    path, own_id = dialect.path.decode(), request_id.decode("latin-1")
    return RecentRequest(*times, *tokens, status, code, origin, path, task, adapter, replica, key, own_id)


@changed_often
class Exchange(msgspec.Struct, eq=False):
    """A request of a client's, a pipeline stage's or a batch's (`origin`: "client", "pipeline", "batch").

    Times are seconds of `time.perf_counter`. A struct, since each request makes one with all of this.
    """

    _metrics: Metrics
    request_id: bytes
    dialect: Dialect
    origin: str = "client"
    behind: bool = False
    """It comes behind every client's, at the gateway (`background`) and at the engine."""
    progress: bool = False
    """Its client wants to hear of a pipeline's stages while they run."""
    _series: Series | None = None
    _runs: bool = False
    beside: bool = False
    """It has a place beside the bounds."""
    arrived: float = msgspec.field(default_factory=time.perf_counter)
    begin_by: float = math.inf
    """Until when its client waits for its answer's first bytes (`patience`)."""
    end_by: float = math.inf
    """Until when it waits for all of it."""
    streaming: bool = False
    answer_tokens: int = 0
    """That its answers may have together; 0 where that was not looked at, since nothing had to wait."""
    key: str = ""
    """Whose turn it takes where it must wait."""
    tenant: str = ""
    """Who has used what it takes."""
    let_in: bool = False
    """It is a call of a pipeline that was let in with room for it."""
    cost: int = 0
    """Of its key's turns, in tokens; 0 where that was not looked at, since nothing had to wait."""
    charged: int = 0
    """What its key was charged for its turn, where it had to wait for one."""
    sequences: int = 1
    """What it counts as: its prompts, times the answers to each."""
    places: int = 1
    """What it takes of the places in flight."""
    route: Route | None = None
    gate: Gate | None = None
    replica: str = ""
    seat: str | None = None
    """The engine at which it holds a slot of its adapter's, where that is one of several."""
    visit: Visit | None = None
    """At one of several engines."""
    reservation: Reservation | Part | None = None
    """What it holds of its key's limits, where there are any."""
    body: Segments = ()
    """What the engine was sent: its digest is made where the engine dies meanwhile."""
    broken: bool = False
    """The engine ended the answer, which had begun well, with an error."""
    undone: bool = False
    """The engine has said that it did nothing for it."""
    turn: Turn | None = None
    queue_s: float = 0.0
    prompt: msgspec.Raw | None = None
    """The client's own conversation, to be looked through where the engine refuses it."""
    ignored: list[str] = []
    """What it has of parameters, or members of them, that were taken and have no effect."""
    length: tuple[str, int] | None = None
    """The parameter that bounds the answer's length, and the longest prompt that leaves room for that."""
    cold: bool = False
    """It waited for an engine to start."""
    begun: bool = False
    """The head of its answer, an event stream's, went out while it waited."""
    sent: float = 0.0
    engine_s: float = 0.0
    """Until the engine's answer began, or for a whole answer ended."""
    first_token_s: float | None = None
    status: int = 0
    trace: RequestTrace | None = None
    stream: EventStream | None = None
    """Where its answer is one."""
    usage: TokenUsage | None = None
    events: int = 0

    def haste(self) -> tuple[float, int | None]:
        """For `Admission.enter`: how long its client waits yet, and the tokens that are to come by then."""
        begin_by = math.inf if self.begun else self.begin_by
        left_s = min(begin_by, self.end_by) - time.perf_counter()
        return left_s, None if self.streaming and self.end_by == math.inf else self.answer_tokens

    def is_late(self) -> bool:
        """Whether its client waits no longer, or leaves about when its time is over."""
        return time.perf_counter() - self.arrived >= LATE * (self._late_from() - self.arrived)

    def given_s(self) -> float:
        """How long its client was to wait yet when it was sent to the engine."""
        return self._late_from() - self.sent

    def _late_from(self) -> float:
        return self.end_by if self.streaming or self.begun else min(self.begin_by, self.end_by)

    def begin(self, route: Route) -> None:
        """It has its place, and runs from now on as far as the gauges know."""
        if self.route is not route:
            self.route = route
        self._series = self._metrics.series[route.name, route.adapter_id or "", self.origin]
        self._series.enter()
        self._runs = True

    def release(self) -> None:
        """Its place is free again; nothing where it has none, as one that came again and met no engine."""
        if self._runs and self._series is not None:
            self._runs = False
            stream = self.stream
            if stream is not None:
                self.stream = None
                self._series.streamed(stream.gaps, stream.gap_sum_s)
            self._series.leave()

    def waited_for_slot(self, seconds: float) -> None:
        """It had no place at once, and its adapter no LoRA slot."""
        assert self.route is not None
        self._metrics.slot_wait(self.route.adapter_id or "", seconds)
        if self.trace is not None:
            self.trace.waited_for_slot(seconds)

    def finished(self) -> None:
        """Answered to the end, whatever the status."""
        assert self._series is not None
        if self.ignored:
            self._count_ignored()
        self._settle(self.broken)
        usage, total_s = self.usage, time.perf_counter() - self.arrived
        prompt_tokens = usage.prompt_tokens if usage else 0
        completion_tokens = (usage.completion_tokens or 0) if usage else 0
        self._series.finished(
            self.status, total_s, self.queue_s, self.first_token_s, prompt_tokens, completion_tokens
        )
        self._remember(self.status, total_s=total_s)

    def failed(self, error: RequestError) -> None:
        """Ended with an error of ours, before or after it had its place."""
        code = error.code or error.kind
        self._settle(True)
        if self.reservation is not None and not error.headers:
            error.headers = header_pairs(self.reservation.header_block)  # so it is this request's alone
        if self._series is not None:
            self._count_ignored()
            self._series.failed(code, error.status, time.perf_counter() - self.arrived)
        else:
            name = self.route.name if self.route else ""
            self._metrics.refused(name, code, error.status, self.origin)
        if error.status != 401:  # whoever has no key would push out all others
            self._remember(error.status, code)

    def cancelled(self) -> None:
        """The client left before the answer's end."""
        series = self._series
        self._settle(True)
        if series is None:
            name = self.route.name if self.route else ""
            series = self._metrics.series[name, "", self.origin]
        else:
            self._count_ignored()
        series.cancelled(time.perf_counter() - self.arrived, self.events)
        self._remember(CLIENT_LEFT, "client_left")

    def _remember(self, status: int, code: str = "", total_s: float | None = None) -> None:
        """It is over: among the last requests, for the page, and as spans."""
        if total_s is None:
            total_s = time.perf_counter() - self.arrived
        times = time.time(), total_s, self.queue_s, self.engine_s or None, self.first_token_s
        whose = self.origin, self.dialect, self.route, self.replica, self.key, self.request_id
        # Not itself, which holds its body.
        self._metrics.recent.note(partial(_recent, times, self.usage, status, code, whose))
        if self.trace is not None:
            self._end_trace(self.trace, status, code or (str(status) if status >= 400 else ""))

    def _end_trace(self, trace: RequestTrace, status: int, error: str) -> None:
        route, usage = self.route, self.usage
        adapter = (route.adapter_id or "") if route and self._series is not None else ""
        facts: dict[str, str | bool] = {
            "key": self.key,
            "tenant": self.tenant,
            "origin": self.origin,
            "replica": self.replica,
            "request_id": self.request_id.decode("latin-1"),
        }
        trace.ended(
            Ended(
                operation_of(self.dialect.path, self.dialect.generates),
                route.name if route else "",
                adapter.partition("/")[0] if self.origin == FALLBACK else "vllm",
                adapter,
                status,
                error,
                self.arrived,
                self.queue_s,
                self.sent,
                self.engine_s,
                self.first_token_s,
                usage.prompt_tokens if usage else None,
                usage.completion_tokens if usage else None,
                {name: value for name, value in facts.items() if value} | {"cold": self.cold},
            )
        )

    def _settle(self, cut_off: bool) -> None:
        """Its key has used what its answer says; where that broke off, what is known of it."""
        held, usage = self.reservation, self.usage
        if self._series is not None:
            assert self.route is not None
            figures = self._metrics.ledger[self.key, self.route.name, self.route.adapter_id or ""]
            figures[STAGE_CALLS if self.origin == PIPELINE else REQUESTS] += 1
            if usage is not None:
                figures[PROMPT_TOKENS] += usage.prompt_tokens
                figures[COMPLETION_TOKENS] += usage.completion_tokens or 0
            elif cut_off:
                figures[CUT_OFF] += 1
                figures[CUT_OFF_EVENTS] += self.events
        if held is None:
            return
        if self._series is None:
            held.give_back()
        elif usage is not None:
            held.settle(usage.prompt_tokens + (usage.completion_tokens or 0))
        else:
            # The engine has read the prompt, and with vLLM an event is about one token.
            began = self.sent and self.status < 400
            held.settle(held.prompt_tokens + self.events if began else 0)

    def _count_ignored(self) -> None:
        for label in {self.dialect.label_of(name) for name in self.ignored}:
            self._metrics.ignored(label)

    def refusal(self, status: int, answer: bytes) -> tuple[int, bytes]:
        """Status and body for the client where the engine refused."""
        system = self.route is not None and self.route.contract.system_message is not None
        return self.dialect.refusal(status, answer, self.request_id, Asked(self.prompt, system))

    def header_block(self) -> bytes:
        """The answer's own header lines: who answered, and what was waited for, in milliseconds."""
        assert self.route is not None
        if self.length is not None and self.usage is not None:
            name, room = self.length
            if self.usage.prompt_tokens > room and name not in self.ignored:
                self.ignored.append(name)  # the engine itself lowered it to what the prompt left
        queue_s = self.queue_s
        overhead_s = max(0.0, time.perf_counter() - self.arrived - self.engine_s - queue_s)
        # None can hold a line break: names are lines (`strict.Line`), an id was looked at (`asgi.Head`).
        block = b"x-request-id: %b\r\n%bx-gateway-replica: %b\r\n%bx-gateway-overhead-ms: %.2f\r\n" % (
            self.request_id,
            self.route.header_block,
            self.replica.encode(),
            b"x-gateway-queue-ms: %.1f\r\n" % (queue_s * 1000) if queue_s else _NO_QUEUE,
            overhead_s * 1000,
        )
        if self.dialect.id_header:
            block += b"%b: %b\r\n" % (self.dialect.id_header, self.request_id)
        if self.cold:
            block += header_lines([COLD])
        if self.reservation is not None:
            block += self.reservation.header_block
        if self.ignored:
            block += header_lines(ignored_header(self.ignored))
        return block
