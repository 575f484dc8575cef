"""Follows the control plane, by its socket or by its file, and tells it what goes on here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time

import msgspec

from gateway.admission.death_guard import DeathGuard
from gateway.admission.limits import Admission
from gateway.config.snapshot import FILE, GatewayReport, Snapshot, read_snapshot
from gateway.errors import RequestError
from gateway.routing.availability import rooms_of, slots_of
from gateway.routing.cold_start import WaitingRoom
from gateway.routing.control_socket import ControlPlane
from gateway.routing.replicas import Replicas
from gateway.upkeep import Upkeep, end_tasks

logger = logging.getLogger("gateway.routing.snapshot_follower")

POLL_S = 0.2
"""Between two looks at the file, and two tries to reach the socket."""
REPORT_EVERY_S = 2.0
CLOSELY_S = 0.05
"""Between two looks at what is in flight, while somebody waits for it to end."""
DEMAND_EVERY_S = 1.0


class Follower:
    """Make it in the event loop that it is used in."""

    def __init__(
        self,
        control: ControlPlane,
        replicas: Replicas,
        admission: Admission,
        room: WaitingRoom,
        guard: DeathGuard,
        upkeep: Upkeep,
        *,
        by_file: bool = True,
    ) -> None:
        """`by_file`: while nobody is heard the file is looked at for changes, and not at the start alone; it
        may be another control plane's than the one that is followed.
        """
        self._by_file = by_file
        self._guard = guard
        self._control = control
        self._replicas = replicas
        self._admission = admission
        self._room = room
        self._upkeep = upkeep
        self._file = replicas.config.state_dir / FILE
        self._stamp: tuple[int, int] | None = None
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._tasks: list[asyncio.Task[None]] = []
        self._told: GatewayReport | None = None
        """What the control plane that is there now knows."""

    async def start(self) -> None:
        """Read the file once, then follow."""
        keep = self._upkeep.keep
        try:
            self._look()
        except Exception as error:  # the file may be another version's; what comes over the socket may do
            self._upkeep.failed("follower.look", error, "the file is left out")
        self._tasks = [
            keep("follower.follow", self._follow),
            keep("follower.report", self._report),
            keep("follower.demand", self._demand),
        ]

    async def stop(self) -> None:
        await end_tasks(self._tasks)
        self._control.close()

    async def _follow(self) -> None:
        while True:
            try:
                await self._listen()
            except RequestError as error:
                if self._replicas.control_alive:
                    logger.warning("the control plane is gone, the last table goes on: %s", error)
            except Exception as error:  # it is listened to again at once, and not ever later: the next may do
                self._upkeep.failed(
                    "follower.follow", error, "the last table goes on until the next snapshot"
                )
            self._told = None
            self._replicas.control_is(False)
            if self._by_file:
                self._look()
            await asyncio.sleep(POLL_S)

    async def _listen(self) -> None:
        async with contextlib.aclosing(self._control.snapshots(self._name)) as snapshots:
            async for snapshot in snapshots:
                self._replicas.control_is(True)
                self._apply(snapshot)

    def _apply(self, snapshot: Snapshot, *, heard: bool = True) -> None:
        self._guard.heard(snapshot)
        self._replicas.apply(snapshot, heard=heard)
        reached = self._replicas.reached
        rooms = rooms_of(reached)
        if rooms is None:
            self._admission.set_slots(*slots_of(reached))
        else:
            self._admission.follow_slots(rooms)

    def _look(self) -> None:
        """The file, where it has changed: there may be no control plane, or not yet."""
        try:
            stat = self._file.stat()
        except OSError:
            return
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp == self._stamp:
            return
        # From before it is read: what is written in between is news the next time.
        self._stamp = stamp
        snapshot = read_snapshot(self._file)
        # A control plane whose disk was full left an older one than it had told.
        if snapshot is not None and snapshot.version > self._replicas.snapshot.version:
            self._apply(snapshot, heard=False)

    async def _report(self) -> None:
        """At each change that the control plane waits for, and every few seconds."""
        told_at = 0.0
        while True:
            news = self._replicas.news  # from before the report: what comes while it is sent is told next
            report = self._now()
            # What each request changes is no reason to report at once.
            gist = msgspec.structs.replace(report, last_request_s=None, tokens={})
            due = gist != self._told or time.monotonic() - told_at >= REPORT_EVERY_S
            if due and self._replicas.control_alive and await self._posted("/gateways", report):
                self._told = gist
                told_at = time.monotonic()
            snapshot = self._replicas.snapshot
            closely = snapshot.retiring or any(
                one.state == "draining" or one.leaving for one in snapshot.engines
            )
            await _either(news, CLOSELY_S if closely else REPORT_EVERY_S)

    async def _posted(self, path: str, document: object) -> bool:
        """Whether the control plane has taken it."""
        try:
            status, _ = await self._control.request("POST", path, msgspec.json.encode(document))
        except RequestError:
            return False
        return 200 <= status < 300

    def _now(self) -> GatewayReport:
        snapshot, admission = self._replicas.snapshot, self._admission
        last = admission.last_request_at
        return GatewayReport(
            gateway=self._name,
            version=snapshot.version,
            in_flight=admission.in_flight + admission.waiting + admission.held,
            busy=[one for one in snapshot.retiring if admission.busy(one)],
            last_request_s=None if last is None else max(0.0, time.perf_counter() - last),
            waiting=self._room.waiting,
            queue_s=round(admission.queue_s, 1),
            draining=self._replicas.draining,
            leaving=self._replicas.on_leaving(admission.in_flight_for),
            tokens=dict(self._replicas.tokens),
        )

    async def _demand(self) -> None:
        """Ask for an engine while somebody waits, once for each time that it stands still."""
        asked: object = None
        while True:
            await self._room.wanted.wait()
            if not self._room.waiting:
                self._room.wanted.clear()
                asked = None
                continue
            replicas, news = self._replicas, self._replicas.news
            standing = [(one.name, one.state, one.started_at) for one in replicas.snapshot.engines]
            wanted = replicas.control_alive and replicas.availability.wants_start()
            if wanted and standing != asked and await self._posted("/engines/start", {}):
                asked = standing
            if not wanted:
                asked = None
            await _either(news, DEMAND_EVERY_S)


async def _either(news: asyncio.Event, most_s: float) -> None:
    """Until there is news, or so long."""
    try:
        async with asyncio.timeout(most_s):
            await news.wait()
    except TimeoutError:
        return
