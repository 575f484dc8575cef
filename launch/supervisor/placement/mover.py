"""The plan carried out: adapters loaded and proven at new homes, then unloaded at old ones, as requests run.

An adapter leaves an engine only while another one that takes requests has it proven. Gateways stop to send
requests for it there first, and it is unloaded when none is in flight; where they do not end, it stays. So
whatever fails or dies between leaves it where it answers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from gateway.config.snapshot import Operation, proving_on
from gateway.errors import LoraGatewayError
from gateway.placement.layout import Move
from gateway.upkeep import Upkeep
from launch.adapters.versions import Version, ids_of
from launch.engine.engine import Keeper
from launch.engine.supervisor_interface import SupervisorInterface
from launch.supervisor.gateway_reports import Gateways
from launch.supervisor.placement.homes import EngineView, Outlook, look_ahead

logger = logging.getLogger("launch.supervisor.placement.mover")

LOOK_EVERY_S = 0.5
"""For an engine that came or went, or an adapter that is wanted."""
PLAN_EVERY_S = 10.0
"""For what is asked for."""
START_TOGETHER_S = 60.0
"""After the first engine takes requests, others that start for the first time keep their adapters so long."""
LEAVE_WITHIN_S = 120.0
"""Requests that are in flight for longer keep an adapter where it is."""
MINUTE_S = 60.0
UNBOUNDED = 1_000_000
"""Moves while nothing is loaded anywhere yet."""
MOVES_REMEMBERED = 50


@dataclass(frozen=True)
class Moved:
    """What was done with the adapter `id`, or failed; `at` as `time.time()`."""

    at: float
    id: str
    engine: str
    did: str
    why: str


class Mover:
    """Use it in the control plane's event loop."""

    def __init__(
        self,
        host: SupervisorInterface,
        keepers: Sequence[Keeper],
        gateways: Gateways,
        upkeep: Upkeep,
        publish: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`publish` tells the gateways how things are now, and gives the version that they hear."""
        self._host = host
        self._keepers = keepers
        self._gateways = gateways
        self._upkeep = upkeep
        self._publish = publish
        self._clock = clock
        self._sleep = sleep
        self.outlook = Outlook(False, {})
        self.moved: deque[Moved] = deque(maxlen=MOVES_REMEMBERED)
        self.operations: dict[str, Operation] = {}
        """By engine, what is loaded and proven there."""
        self._leaving: defaultdict[str, set[str]] = defaultdict(set)
        self._coming: defaultdict[str, set[str]] = defaultdict(set)
        self._then: dict[str, Move] = {}
        """What leaves an engine once it is proven on another."""
        self._due = False
        self._counted: deque[float] = deque()
        """When moves were made, of the last minute."""
        self._was_ready: set[str] = set()
        self._first_ready_at: float | None = None

    def leaving(self, engine: str) -> Collection[str]:
        """What is loaded there, and not to be asked for any more."""
        return self._leaving.get(engine, ())

    def to_come(self) -> set[str]:
        """Adapters that no engine answers for, and one of several that take requests is to have."""
        ready = self._ready()
        if len(self._keepers) < 2 or not ready:
            return set()
        there = set[str]().union(*(one.adapters.proven for one in ready))
        nowhere = set(ready[0].adapters.failed).intersection(*(one.adapters.failed for one in ready))
        return {one.id for one in self._host.wanted_versions} - there - nowhere

    def wanted_on(self, engine: str) -> list[Version]:
        """What an engine that starts is to load: of several its share, before it takes requests.

        What it has of that already it keeps until then, so that a start comes to an end.
        """
        outlook = self._look_ahead(starting=engine)
        wanted = self._host.wanted_versions
        if not outlook.planned:
            return wanted
        here = outlook.on(engine) | self._keeper(engine).adapters.proven.keys()
        return [version for version in wanted if version.id in here]

    def homes_of(self, adapter_id: str) -> Collection[str] | None:
        """The engines that a version on its way in is loaded on; None for all that run."""
        outlook = self._look_ahead(adapter_id)
        return outlook.homes[adapter_id] if outlook.planned else None

    def moves_left(self) -> int:
        """That may be made now, by what was moved within a minute."""
        now = self._clock()
        while self._counted and now - self._counted[0] >= MINUTE_S:
            self._counted.popleft()
        return max(0, self._host.config.placement.max_moves_per_minute - len(self._counted))

    async def run(self) -> None:
        """Look and move, until it is cancelled."""
        seen: object = None
        planned_at = -PLAN_EVERY_S
        while True:
            here = self._gist()
            again = self._due or self._clock() - planned_at >= PLAN_EVERY_S
            if here != seen or (again and not self._under_way):
                seen, planned_at, self._due = here, self._clock(), False
                self.look()
            await self._sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Plan by what is there now, and begin what is to be done."""
        outlook = self._look_ahead()
        keepers = {keeper.status.name: keeper for keeper in self._ready()}
        loads: defaultdict[str, list[Move]] = defaultdict(list)
        # Nothing leaves while something comes: that counts as held already, and may yet fail.
        settled, self._then = not self._under_way, {}
        for move in outlook.moves:
            keeper = keepers.get(move.engine)
            if keeper is None or move.adapter_id not in outlook.homes:
                continue
            if not move.load:
                if settled and not self._begin_to_leave(keeper, move):
                    self._then[move.adapter_id] = move
            elif move.adapter_id not in keeper.adapters.failed:
                loads[move.engine].append(move)
        for engine, moves in loads.items():
            if not self._coming[engine]:  # else it is asked again when that is done
                self._coming[engine].update(move.adapter_id for move in moves)
                self._upkeep.once(f"load on {engine}", partial(self._load, keepers[engine], moves))
        self._host.changed()

    @property
    def _under_way(self) -> bool:
        """While something is, a plan would take what comes for a replica too many."""
        return any(self._coming.values()) or any(self._leaving.values())

    def shown(self) -> dict[str, object]:
        """For `/placement`: who is where, what for, and what was moved."""
        outlook = self.outlook
        settings = self._host.config.placement
        loaded_on: defaultdict[str, list[str]] = defaultdict(list)
        for one in self._ready():
            for adapter_id in list(one.adapters.proven):
                loaded_on[adapter_id].append(one.status.name)
        engines = [
            {
                "name": keeper.status.name,
                "state": keeper.status.state,
                "slots": keeper.status.slots,
                "adapters": sorted(keeper.adapters.proven),
                "coming": sorted(self._coming[keeper.status.name]),
                "leaving": sorted(self.leaving(keeper.status.name)),
            }
            for keeper in self._keepers
        ]
        adapters = [
            {
                "id": adapter_id,
                "tokens_per_s": round(tokens_per_s, 1),
                "homes": list(outlook.homes.get(adapter_id, ())),
                "loaded_on": loaded_on.get(adapter_id, []),
                "why": outlook.why.get(adapter_id, ""),
            }
            for adapter_id, tokens_per_s in sorted(outlook.demand.items())
        ]
        return {
            "policy": settings.policy,
            "planned": outlook.planned,
            "min_replicas": settings.min_replicas,
            "moves_left": self.moves_left(),
            "engines": engines,
            "adapters": adapters,
            "moves": [asdict(one) for one in self.moved],
        }

    def _keeper(self, engine: str) -> Keeper:
        return next(keeper for keeper in self._keepers if keeper.status.name == engine)

    def _ready(self) -> list[Keeper]:
        return [keeper for keeper in self._keepers if keeper.ready]

    def _gist(self) -> object:
        """What, when it changes, is a reason to plan at once."""
        ready = frozenset((one.status.name, one.status.started_at) for one in self._ready())
        return ready, frozenset(ids_of(self._host.desired)), self._host.config.placement

    def _demand(self) -> dict[str, float]:
        asked = self._gateways.demand.tokens_per_s(self._clock())
        return {version.id: asked.get(version.id, 0.0) for version in self._host.wanted_versions}

    def _look_ahead(self, more: str | None = None, starting: str | None = None) -> Outlook:
        """With another adapter, or with an engine that is not among those that count yet."""
        demand = self._demand()
        if more is not None:
            demand.setdefault(more, 0.0)
        asked = {
            version.id
            for wanted in self._host.desired.values()
            for version in wanted.versions
            if version.weight or version.id == wanted.shadow
        }
        if more is not None:
            asked.add(more)
        settings = self._host.config.placement
        moves_left = self.moves_left() if self._ready() else UNBOUNDED
        sights = self._sights(more)
        if starting is not None and all(one.name != starting for one in sights):
            # An outlook of this start alone: the engine counts for the others once it takes requests.
            keeper = self._keeper(starting)
            held, failed = frozenset(keeper.adapters.proven), frozenset(keeper.adapters.failed)
            sights.append(EngineView(starting, keeper.status.slots, False, held, failed))
            return look_ahead(settings, sights, demand, asked, moves_left)
        self.outlook = look_ahead(settings, sights, demand, asked, moves_left)
        return self.outlook

    def _sights(self, again: str | None) -> list[EngineView]:
        """The engines that are to have adapters: those that take requests, and those that start with them.

        `again`: it is tried wherever it failed before.
        """
        now, ready = self._clock(), self._ready()
        self._was_ready.update(keeper.status.name for keeper in ready)
        if not ready:
            self._first_ready_at = None
            self._was_ready.clear()
        elif self._first_ready_at is None:
            self._first_ready_at = now
        together = self._first_ready_at is None or now - self._first_ready_at < START_TOGETHER_S
        sights: list[EngineView] = []
        for keeper in self._keepers:
            status, failed = keeper.status, frozenset(keeper.adapters.failed) - {again}
            if keeper.ready:
                held = keeper.adapters.proven.keys() | self._coming[status.name]
                held -= self._leaving[status.name]
                sights.append(EngineView(status.name, status.slots, True, frozenset(held), failed))
            elif together and status.state == "starting" and status.name not in self._was_ready:
                to_be = self.outlook.on(status.name) - failed
                sights.append(EngineView(status.name, status.slots, False, to_be, failed))
        return sights

    def _answered_elsewhere(self, adapter_id: str, engine: str) -> bool:
        return any(
            adapter_id in one.adapters.proven and adapter_id not in self._leaving[one.status.name]
            for one in self._ready()
            if one.status.name != engine
        )

    async def _load(self, keeper: Keeper, moves: Sequence[Move]) -> None:
        """Onto one engine, one after the other."""
        name = keeper.status.name
        try:
            for move in moves:
                version = self._versions().get(move.adapter_id)  # each anew: the ones before took their time
                if version is None or not keeper.ready:
                    continue
                await self._load_one(keeper, version, move)
                self._coming[name].discard(version.id)
        finally:
            self._coming[name].clear()  # with what was passed over
            self._due = True
            self.operations.pop(name, None)
            self._host.changed()

    async def _load_one(self, keeper: Keeper, version: Version, move: Move) -> None:
        name, task = keeper.status.name, version.id.rpartition("@")[0]
        if self._answered_elsewhere(version.id, name):  # what no engine has is no move (design 89)
            self._counted.append(self._clock())
        self.operations[name] = Operation(task, version.source, proving_on(name), time.time())
        self._host.changed()
        try:
            await keeper.ensure(version, f"tasks.{task}.adapter")
        except LoraGatewayError as error:
            self._note(move, "failed", str(error))
        else:
            self._note(move, "loaded", move.why)
            then = self._then.pop(version.id, None)
            former = next((one for one in self._ready() if then and one.status.name == then.engine), None)
            if then is not None and former is not None:
                self._begin_to_leave(former, then)

    def _begin_to_leave(self, keeper: Keeper, move: Move) -> bool:
        """Whether it does, or had begun to."""
        name = keeper.status.name
        if move.adapter_id in self._leaving[name]:
            return True
        if not self._answered_elsewhere(move.adapter_id, name):
            return False
        self._leaving[name].add(move.adapter_id)
        self._upkeep.once(f"unload from {name}", partial(self._leave, keeper, move))
        return True

    async def _leave(self, keeper: Keeper, move: Move) -> None:
        name, adapter_id = keeper.status.name, move.adapter_id
        try:
            version = self._publish()
            if not await self._gateways.until_left(name, adapter_id, version, LEAVE_WITHIN_S):
                self._note(move, "kept", f"its requests there took longer than {LEAVE_WITHIN_S:.0f} s")
            # The other engine may have ended while requests were waited for.
            elif self._answered_elsewhere(adapter_id, name) and keeper.ready:
                await keeper.unload(adapter_id)
                self._note(move, "unloaded", move.why)
        finally:
            self._leaving[name].discard(adapter_id)
            self._due = True
            self._host.changed()

    def _versions(self) -> Mapping[str, Version]:
        return {version.id: version for version in self._host.wanted_versions}

    def _note(self, move: Move, did: str, why: str) -> None:
        self.moved.append(Moved(time.time(), move.adapter_id, move.engine, did, why))
        logger.info("%s %s on %s: %s", move.adapter_id, did, move.engine, why)
