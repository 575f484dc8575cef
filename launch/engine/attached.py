"""A vLLM server that somebody else runs: followed, and its adapters kept in step as on one of our own."""

from __future__ import annotations

import asyncio
import time

from gateway.config.snapshot import EngineDeath, EngineStatus
from gateway.errors import LoraGatewayError
from launch.engine.engine import Keeper, say
from launch.engine.loaded_adapters import EngineCalls
from launch.engine.supervisor_interface import SupervisorInterface
from launch.machine.threads import in_thread

POLL_S = 2.0
LOST_AFTER = 2
"""So many unanswered questions in a row: a busy server may miss one."""


class Attached(Keeper):
    """Never starts, stops or restarts anything; what it cannot reach it tries again every `POLL_S`."""

    def __init__(
        self,
        host: SupervisorInterface,
        status: EngineStatus,
        build: str,
        calls: EngineCalls | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        super().__init__(host, status, build, calls)
        self._poll_s = poll_s
        self._halted = asyncio.Event()
        self._missed = 0

    def start(self, *, force: bool = False) -> None:
        """It is somebody else's to start."""

    def idle(self) -> None:
        """It is somebody else's to stop."""

    def halt(self, *, leave: bool = False) -> None:
        """`run` returns; it is left to itself in any case."""
        self._halted.set()

    async def run(self) -> None:
        """Until `halt`. The adapters stay loaded there, so that requests of other gateways go on."""
        self.enter("start", stage="connecting", started_at=time.time())
        while not self._halted.is_set():
            try:
                await self._look()
                self._missed = 0
            except LoraGatewayError as error:
                self._missed += 1
                if self._missed >= LOST_AFTER or not self.ready:
                    self._lost(str(error))
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._halted.wait()
            except TimeoutError:
                continue
        self.enter("halt", stage="", reason="detached on request")

    async def _look(self) -> None:
        """Ready stays ready while it answers and serves what it should; else it is proven anew."""
        if self.ready:
            if not await self.missing():
                return
            say(f"{self.status.name} has lost adapters; it was restarted, or they were unloaded there")
            death = EngineDeath(self.status.process, "unknown")
            self.enter("died", reason="adapters were lost", kind="crash", loaded=[], last_death=death)
        if self.status.state == "failed":
            await in_thread(self._answers)
            self.enter("start", stage="connecting", started_at=time.time(), next_try_at=None)
        began = time.monotonic()
        self.adapters.forget()  # it may be another process, with other weights under the same names
        await self.prove()
        self.enter("proven", stage="", reason="", kind="", load_s=round(time.monotonic() - began, 1))
        served = ", ".join(self.status.loaded) or "the base alone"
        say(f"{self.status.name} on {self.status.url}: ready ({served})")

    def _answers(self) -> None:
        """Raises EngineFailure."""
        self.adapters.answers()

    def _lost(self, reason: str) -> None:
        if self.status.state != "failed" or self.status.reason != reason:
            say(f"{self.status.name} on {self.status.url}: {reason}")
        status = self.status
        self.enter(
            "died",
            stage="",
            reason=reason,
            kind="crash",
            loaded=[],
            last_death=EngineDeath(status.process, "unknown") if self.ready else status.last_death,
            next_try_at=time.time() + self._poll_s,
        )
