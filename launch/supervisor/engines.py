"""All engines of a launch: an adapter goes onto each that runs, or stays on none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence

from gateway.config.document import Config, environment
from gateway.config.secrets.engine_keys import key_of_attached
from gateway.config.snapshot import EngineStateName, EngineStatus, proving_on
from gateway.errors import Unavailable
from launch.adapters.versions import Version
from launch.engine.attached import Attached
from launch.engine.engine import Keeper
from launch.engine.loaded_adapters import EngineCalls
from launch.engine.managed import Managed, Means
from launch.engine.supervisor_interface import SupervisorInterface

Laid = tuple[EngineStatus, Means | None]
"""An engine as it will be, and how it is run; None for one that somebody else runs."""

IDLE: tuple[EngineStateName, ...] = ("draining", "sleeping", "stopped")
"""The sooner there again, the earlier."""
STARTS_WITHIN_S = 900.0  # as long as engine.start_timeout_s is by default
POLL_S = 0.1


def _calls_to(config: Config, status: EngineStatus) -> EngineCalls:
    return EngineCalls.with_key(key_of_attached(config, status.url, environment()))


def _runs(one: Laid) -> bool:
    return one[1] is not None and one[1].runs


def started_at_once(laid: Sequence[Laid], first: int | None) -> list[bool]:
    """Those that run, and of the others as many as `first` lacks then; all where it is None."""
    rest = len(laid) if first is None else first - sum(map(_runs, laid))
    found: list[bool] = []
    for one in laid:
        found.append(_runs(one) or rest > 0)
        rest -= not _runs(one)
    return found


class Engines:
    """Use it in the event loop of the main thread, since engines are forked from it."""

    def __init__(
        self,
        supervisor: SupervisorInterface,
        laid: Sequence[Laid],
        build: str,
        first: int | None = None,
        homes_of: Callable[[str], Collection[str] | None] = lambda _: None,
    ) -> None:
        """`first`: so many are started at once, those that run already before others, and the rest once they
        are wanted; all where it is None.

        `homes_of` has the engines that an adapter is loaded on; None for each.
        """
        self._homes_of = homes_of
        self.keepers: list[Managed | Attached] = [
            Attached(supervisor, status, build, _calls_to(supervisor.config, status))
            if means is None
            else Managed(supervisor, status, build, means, spare=not at_once)
            for (status, means), at_once in zip(laid, started_at_once(laid, first), strict=True)
        ]
        self._wanted = None if first is None else max(first, sum(map(_runs, laid)))
        """How many there are to be, where their number changes."""
        self._asked = False

    @property
    def ready(self) -> Sequence[Keeper]:
        """Those that answer requests now."""
        return [keeper for keeper in self.keepers if keeper.ready]

    @property
    def failures(self) -> dict[str, str]:
        """Ids that an engine could not load or prove, with the reason."""
        found: dict[str, str] = {}
        for one in self.keepers:
            found.update(one.adapters.failed)  # in one step: a thread that proves may write to it meanwhile
        return found

    def start(self, *, force: bool = False) -> None:
        """Ask for each, or for as many as are wanted; `force` has those that failed for good start too."""
        if self._wanted is not None and not force:
            self._asked = True
            self.scale(max(1, self._wanted))
            return
        for keeper in self.keepers:
            keeper.start(force=force and keeper.status.state == "failed")

    @property
    def wanted(self) -> int | None:
        """How many there are to be; None where that does not change."""
        return self._wanted

    @property
    def coming(self) -> int:
        """Those that start, but for those that failed before: who waits for them may wait for long."""
        return sum(_comes(one) and not one.status.restarts for one in self.keepers)

    def take_asked(self) -> bool:
        """Whether somebody has asked for an engine since this was asked last."""
        asked, self._asked = self._asked, False
        return asked

    def scale(self, wanted: int) -> None:
        """Have so many serve, the first that can; of the others the last drain, and end."""
        self._wanted = wanted
        serving = [one for one in self.keepers if one.ready or _comes(one)]
        idle = [one for one in self.keepers if one.status.state in IDLE]
        idle.sort(key=lambda one: IDLE.index(one.status.state))
        for keeper in idle[: max(0, wanted - len(serving))]:
            keeper.start()
        ready = [one for one in reversed(self.keepers) if one.ready]
        for keeper in ready[: max(0, len(ready) - wanted)]:
            keeper.idle()

    def retry_failed(self) -> None:
        """Start engines that have failed anew; one that is stopped still waits for somebody."""
        for keeper in self.keepers:
            if keeper.status.state == "failed":
                keeper.start(force=True)

    def halt(self, *, leave: bool = False) -> None:
        """End them all; their `run` returns. `leave`: those elsewhere go on, for who has them next."""
        for keeper in self.keepers:
            keeper.halt(leave=leave)

    async def load(
        self,
        version: Version,
        key: str,
        enter: Callable[[str], None] = lambda _: None,
        system: str | None = None,
    ) -> None:
        """Load and prove it on each engine that runs and is to have it; where none runs, one is started.

        `enter` is told what it is at. Raises ConfigError, EngineFailure, and Unavailable where no engine
        will be ready; what fails on one is undone on all.
        """
        if not self.ready:
            enter("waiting for an engine")
            self.start()
            await self._until_ready()
        new = not any(version.id in keeper.adapters.proven for keeper in self.keepers)
        # One after the other: what one engine refuses the others need not load.
        try:
            for keeper in self._at_home(version.id):
                if keeper.ready:  # those before it took their time
                    enter(proving_on(keeper.status.name))
                    await keeper.ensure(version, key, system)
        except BaseException:  # also where the control plane ends meanwhile
            if new:  # else a task may be served with it
                for keeper in self.keepers:
                    await keeper.unload(version.id)
            raise

    def _at_home(self, adapter_id: str) -> list[Managed | Attached]:
        homes = self._homes_of(adapter_id)
        ready = [keeper for keeper in self.keepers if keeper.ready]
        if homes is None:
            return list(self.keepers)
        return [keeper for keeper in ready if keeper.status.name in homes] or ready

    async def unload(self, adapter_id: str, wanted: Callable[[], Collection[str]] = tuple) -> None:
        """From each engine that runs, until it is among those `wanted`: who adds it meanwhile relies
        on engines that have it still, and comes behind this at those that are asked already.
        """
        for keeper in self.keepers:
            if keeper.ready and adapter_id not in wanted():
                await keeper.unload(adapter_id)

    async def _until_ready(self) -> None:
        """Raises Unavailable where no engine will be ready."""
        end = time.monotonic() + STARTS_WITHIN_S
        while not self.ready:
            if time.monotonic() > end or not any(keeper.may_start for keeper in self.keepers):
                states = [(keeper.status.name, keeper.status) for keeper in self.keepers]
                why = "; ".join(f"{name}: {status.state} {status.reason}".strip() for name, status in states)
                raise Unavailable(
                    f"No engine is ready to prove the adapter on ({why}).", code="engine_not_ready"
                )
            await asyncio.sleep(POLL_S)


def _comes(keeper: Managed | Attached) -> bool:
    """Whether it will serve without being asked again."""
    return keeper.status.state == "starting" or keeper.status.next_try_at is not None
