"""One engine in simulated time: a batch that decodes in steps, prompts that stretch one, slots that change.

A step that takes up new requests is an event of its own. Between two of these all that run get a token a
step, so that only their ends are events: a request costs two or three, however long its answer is.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Collection, Sequence

from launch.simulation.engine_speed import EngineSpeed
from launch.simulation.request import Request
from launch.simulation.waiting import InOrder

NEVER = math.inf
ROUNDING = 1e-6
"""Of a step."""


class Packing:
    """The products that adapters of one batch share: made once it has wanted the same for some steps."""

    def __init__(self, speed: EngineSpeed) -> None:
        self._each_s = speed.pack_s_per_adapter
        self._patience = speed.steps_to_pack
        self._held: frozenset[str] = frozenset()
        self._wanted: frozenset[str] = frozenset()
        self._since = 0
        self._during = -1

    @property
    def longer_s(self) -> float:
        """What the step takes longer in which those that are held now are made."""
        return self._each_s * len(self._held)

    def steps_left(self, busy: Collection[str], step: int) -> float:
        """From this step on, with these adapters in the batch, to the longer one; 0: it is this one."""
        if not self._each_s:
            return NEVER
        if step == self._during:
            return 0
        wanted = frozenset(busy)
        # As vllm_plugin/packed_weights.joint decides it: products for some slots serve fewer, down to a half.
        if len(wanted) < 2 or (wanted <= self._held and len(self._held) <= 2 * len(wanted)):
            return NEVER
        if wanted != self._wanted:
            self._wanted, self._since = wanted, step
        left = self._since + self._patience - 1 - step
        if left <= 0:
            self._held, self._during = wanted, step
        return max(0, left)

    def loaded(self, instead: str = "") -> None:
        """A slot has another adapter: steps are counted anew, and what was made with the former is void."""
        self._wanted = frozenset()
        if instead in self._held:
            self._held = frozenset()


class SimulatedEngine:
    """`event_at` says when `happens` is to be called next; it changes with every call."""

    def __init__(self, name: str, speed: EngineSpeed) -> None:
        self.name = name
        self.speed = speed
        self.waiting = InOrder(speed.slots)
        self.resident: OrderedDict[str, None] = OrderedDict()
        """The adapters in its slots, by when they were used last."""
        self.loads = 0
        self.event_at = NEVER
        self.in_flight = 0
        """Requests that wait here or run."""
        self.queued_work = 0.0
        """Of all of them, in tokens."""
        self.beside: Sequence[SimulatedEngine] = ()
        """The other engines of its machine, where they slow it down while they work."""
        self._now = 0.0
        self._step = 0.0
        """Steps made, with the part of the one under way."""
        self._step_s = 0.0
        self._running: list[tuple[float, int, Request]] = []
        """By the step after which they have ended."""
        self._busy: dict[str, int] = {}
        self._joining: list[Request] = []
        self._taken = 0
        self._steps_with_prompt = 0
        self._loading = 0
        self._blocked = False
        """Those who wait could not begin when they were asked last."""
        self._packing = Packing(speed)

    @property
    def running(self) -> int:
        """Requests in the engine's batch, those included that join with the next step."""
        return len(self._running) + len(self._joining)

    @property
    def without_seat(self) -> int:
        """Requests that wait here, where a seat is what they lack."""
        return len(self.waiting) if self.running >= self.speed.seats else 0

    def arrives(self, request: Request, now: float) -> None:
        """A request comes to this replica."""
        self.in_flight += 1
        # Kept with the request, so that what is taken off at its end is what was added.
        request.work = self.speed.work(request.prompt_tokens, request.output_tokens)
        self.queued_work += request.work
        self.waiting.add(request)
        self._blocked = False
        # While a step with prompts is under way nothing is planned: at its end all that wait are looked at.
        if not self._joining:
            self._advance(now)
            self._plan()

    def abandon(self, request: Request) -> bool:
        """Its client leaves; whether it had not begun, and so is here no longer."""
        if not self.waiting.remove(request):
            return False
        self.in_flight -= 1
        self.queued_work -= request.work
        return True

    def load(self, adapter: str) -> None:
        """Bring an adapter into a slot ahead of its requests: the next step with a prompt takes longer."""
        self._use(adapter)

    def happens(self, now: float) -> list[Request]:
        """What was due now; those that have ended."""
        if self._joining:
            ended = self._joined(now)
        else:
            self._advance(now)
            ended = self._ended(now)
        if not self._begin(now):
            self._plan()
        return ended

    def _advance(self, now: float) -> None:
        if self._running and self._step_s:
            self._step += (now - self._now) / self._step_s
        self._now = now

    def _plan(self) -> None:
        """When the next step with a prompt may begin, or a request ends, or a slot may change hands."""
        count = len(self._running)
        self._step_s = self._pace() * self.speed.decode_s(count, len(self._busy)) if count else 0.0
        current = math.floor(self._step + ROUNDING)
        until_packed = self._packing.steps_left(self._busy, current) if count else NEVER
        if until_packed == 0:
            # The step under way is the longer one; at its end it is seen what comes then.
            self._step_s += self._pace() * self._packing.longer_s
            until_packed = 1
        at = self._now + max(0.0, self._running[0][0] - self._step) * self._step_s if count else NEVER
        if len(self.waiting) and count < self.speed.seats and not self._blocked:
            to_boundary = (math.ceil(self._step - ROUNDING) - self._step) * self._step_s
            at = min(at, self._now + max(0.0, to_boundary))
        # Step by step where the others begin and end meanwhile.
        steps = 1 if count and self.beside else until_packed
        if steps < NEVER:
            at = min(at, self._now + (current + steps - self._step) * self._step_s)
        self.event_at = at

    def _pace(self) -> float:
        """How many times longer a step is, by how many of the others are at work."""
        if not self.beside:
            return 1.0
        share = sum(one.in_flight > 0 for one in self.beside) / len(self.beside)
        return 1.0 + (self.speed.together - 1.0) * share

    def _begin(self, now: float) -> bool:
        """A step that takes up whoever may begin, as many prompt tokens as it takes."""
        seats, prompt_tokens = self.speed.seats - len(self._running), 0
        while len(self._joining) < seats and len(self.waiting) and prompt_tokens < self.speed.tokens_in_step:
            request = self.waiting.next(self._busy)
            if request is None:
                break
            self._busy[request.adapter] = self._busy.get(request.adapter, 0) + 1
            self._use(request.adapter)
            self._joining.append(request)
            prompt_tokens += request.prompt_tokens
        # Else `_plan` would look again at this same boundary, and time would stand still.
        self._blocked = not self._joining and len(self.waiting) > 0
        if not self._joining:
            return False
        # The last one taken up may go over what a step takes: its prompt is read in pieces, a step each.
        steps = max(1, math.ceil(prompt_tokens / self.speed.tokens_in_step))
        batch = len(self._running) + len(self._joining)
        took_s = steps * self.speed.decode_s(batch, len(self._busy))
        took_s += prompt_tokens / self.speed.prompt_tokens_per_s + self._loading * self.speed.load_s
        if not self._running:
            took_s += self.speed.wake_s
        self._loading, self._steps_with_prompt = 0, steps
        self._now, self.event_at = now, now + self._pace() * took_s
        return True

    def _joined(self, now: float) -> list[Request]:
        """The step is over: each that it took up has its first token, each that ran `steps` more."""
        # It began at the boundary that was reached; the sum of the parts before it is whole but for rounding.
        self._step = math.floor(self._step + ROUNDING) + self._steps_with_prompt
        self._now = now
        for request in self._joining:
            request.first_s = now + self.speed.answer_s
            # Ends of the same step are told apart by it: requests have no order of their own.
            self._taken += 1
            heapq.heappush(self._running, (self._step + request.output_tokens - 1, self._taken, request))
        self._joining = []
        return self._ended(now)

    def _ended(self, now: float) -> list[Request]:
        ended: list[Request] = []
        while self._running and self._running[0][0] <= self._step + ROUNDING:
            request = heapq.heappop(self._running)[2]
            request.end_s = now + self.speed.answer_s
            self.in_flight -= 1
            self.queued_work -= request.work
            count = self._busy[request.adapter] - 1
            if count:
                self._busy[request.adapter] = count
            else:
                del self._busy[request.adapter]
            ended.append(request)
        return ended

    def _use(self, adapter: str) -> None:
        if adapter in self.resident:
            self.resident.move_to_end(adapter)
            return
        self.loads += 1
        self._loading += 1
        if len(self.resident) >= self.speed.slots:
            # The one used longest ago, as vLLM's cache does it; those in the batch stay.
            idle = next((each for each in self.resident if each not in self._busy), None)
            if idle is None:
                return  # loaded ahead, into memory alone
            del self.resident[idle]
            self._packing.loaded(idle)
        else:
            self._packing.loaded()
        self.resident[adapter] = None
