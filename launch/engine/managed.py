"""An engine of our own: started, proven, watched, restarted, put to sleep, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from gateway.config.snapshot import EngineDeath, EngineStatus, FailureKind
from gateway.errors import ConfigError, LoraGatewayError, see
from launch.engine.argv import EngineCommand
from launch.engine.engine import Keeper, say
from launch.engine.failures import blame_of
from launch.engine.http import call, is_healthy, sleep_engine, tokens_done, wake_engine
from launch.engine.loaded_adapters import EngineCalls
from launch.engine.log.engine_log import STAGES, stage_of
from launch.engine.process import Begin, Died, Process, child_of
from launch.engine.supervisor_interface import SupervisorInterface
from launch.engine.watchdog import Hang, Watchdog
from launch.machine.restarts import Restarts
from launch.machine.threads import in_thread

ONE = "engine"
"""What the only engine is called where people read of it."""
POLL_S = 0.1
REPORT_EVERY_S = 5.0
Result = TypeVar("Result")


@dataclass(frozen=True)
class Means:
    """How an engine is run; tests give others."""

    command: EngineCommand
    can_sleep: bool = False
    setup: str = ""
    """All that its rounding may hang on."""
    env: Mapping[str, str] | None = None
    label: str = ONE
    """What stands before the lines of its log that are shown."""
    elsewhere: Begin | None = None
    """How it is begun where it is no child of ours."""
    runs: bool = False
    """An earlier control plane left it running."""
    first_stage: str = STAGES[0][1]
    healthy: Callable[[str], bool] = is_healthy
    calls: EngineCalls | None = None
    progress: Callable[[str], float | None] = tokens_done
    probe: Callable[[str, str], object] | None = None
    sleep: Callable[[str], None] = sleep_engine
    wake: Callable[[str], None] = wake_engine

    @property
    def begin(self) -> Begin:
        """How it is begun: as a child of ours, unless `elsewhere`."""
        if self.elsewhere is not None:
            return self.elsewhere
        env = os.environ if self.env is None else self.env
        return child_of(self.command.argv, {**env, **self.command.env}, self.label)

    @classmethod
    def with_key(cls, command: EngineCommand, can_sleep: bool, key: str) -> Means:
        """Of an engine that asks for that key, as its command says."""
        return cls(
            command,
            can_sleep,
            healthy=partial(is_healthy, key=key),
            calls=EngineCalls.with_key(key),
            progress=partial(tokens_done, key=key),
            probe=partial(_probe, key=key),
            sleep=partial(sleep_engine, key=key),
            wake=partial(wake_engine, key=key),
        )


class Managed(Keeper):
    """Runs in the event loop of the main thread: the parent-death signal is tied to the thread that forks."""

    def __init__(
        self,
        host: SupervisorInterface,
        status: EngineStatus,
        build: str,
        means: Means,
        *,
        spare: bool = False,
    ) -> None:
        """`spare`: it is not started before somebody asks for it, whatever `base.start` says. One that runs
        already is none: it would hold what is reserved for it, and serve nobody.
        """
        setup = "" if means.elsewhere else means.setup  # of another machine nothing is known here
        super().__init__(host, status, build, means.calls, setup)
        settings = host.config.engine
        self._means = means
        self._restarts = Restarts(settings.max_restarts, settings.restart_backoff_s)
        self._demand = asyncio.Event()
        self._leave = asyncio.Event()
        self._halted = False
        self._left = False
        """Another control plane has it."""
        self._stage = ""
        self._reported_s = 0.0
        self._served_from: float | None = None
        self._log: Path | None = None
        if means.runs or (host.config.base.start == "eager" and not spare):
            self._demand.set()

    def start(self, *, force: bool = False) -> None:
        """Ask for it; without `force` not where it has failed for good. Idempotent."""
        status = self.status
        if status.state == "draining" and not self._halted:
            self._demand.set()
        elif status.state in ("stopped", "sleeping") or force:
            if force:
                self._restarts = self._restarts.anew()
            self._demand.set()

    def idle(self) -> None:
        """Nobody has used it for a while: drain it, then let it go; not while an adapter is loaded on it."""
        if self.status.state == "ready" and not self._one_at_a_time.locked():
            self._demand.clear()
            self._leave.set()

    def halt(self, *, leave: bool = False) -> None:
        """End it, whatever it is doing; `run` returns. `leave`: one elsewhere goes on for who has it next."""
        self._halted = True
        self._left = leave and self._means.elsewhere is not None
        self._leave.set()
        self._demand.set()

    async def run(self) -> None:
        """Keep the engine running while it is wanted, again after each failure, until `halt`."""
        while not self._halted:
            if self.status.state != "failed" or self.status.next_try_at is None:
                await self._demand.wait()
            else:
                await self._back_off(self.status.next_try_at)
            if self._halted:
                break
            await self._life()
        self.enter("halt", stage="", reason="stopped on request", pid=0, next_try_at=None)
        self._say("left to another control plane" if self._left else "stopped")

    async def _back_off(self, until: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.time())):
                await self._demand.wait()

    async def _life(self) -> None:
        """From start to end of one process; a failure is noted, not raised."""
        self._leave.clear()
        self._served_from = None
        began = time.monotonic()
        self._stage = self._means.first_stage
        self.adapters.forget()
        self.enter(
            "start",
            stage=self._stage,
            reason="",
            kind="",
            started_at=time.time(),
            next_try_at=None,
            loaded=[],
        )
        try:
            process = Process(self.host.config, self.status.name, self._means.begin, self._heard)
        except Died as died:
            self._note_failure(died)
            return
        self._log = process.log
        failure: LoraGatewayError | None = None
        try:
            self._locate(process)
            await self._serve(process, began)
        except LoraGatewayError as error:
            failure = error
        finally:
            if self._left:
                await process.leave()
            else:
                await process.end(hard=isinstance(failure, Hang), hurry=self.host.hurried)
        if failure is not None:
            self._note_failure(failure)
        if self.status.next_try_at is None and not self._left:  # else it is started there again
            await process.release()
        if failure is not None:
            return
        if not self._halted:
            self.enter("emptied", stage="", pid=0, loaded=[])
            self._say("stopped: it was idle; the next request starts it again")

    async def _serve(self, process: Process, began: float) -> None:
        limit_s = self.host.config.engine.start_timeout_s

        async def lasting(work: Coroutine[object, object, Result]) -> Result | None:
            return await process.while_it_lives(work, self._is_halted)

        async def starting(work: Coroutine[object, object, None]) -> None:
            self._reported_s = 0.0
            await process.while_it_lives(work, self._is_halted, limit_s=limit_s, report=self._report)

        await starting(self._become_ready(process, began, waking=False))
        while not self._halted:
            await lasting(self._until_leaving())
            if self._halted:
                self._say("stopping")
                self.update(stage="stopping")
                return
            if not await lasting(self._drained()):
                continue
            if not self._means.can_sleep:
                return
            await lasting(self._asleep())
            if not self._halted:
                await starting(self._awake(process))

    async def _become_ready(self, process: Process, began: float, *, waking: bool) -> None:
        while not self.status.pid or not await in_thread(self._means.healthy, self.status.url):
            await asyncio.sleep(POLL_S)  # it has no word for it
            self._locate(process)
        if waking:
            gone = self.adapters.proven.keys() - {one.id for one in self.host.wanted_on(self.status.name)}
            self.adapters.forget()  # what it held is proven again before anybody is answered
            for adapter_id in gone:  # while it slept
                await self.unload(adapter_id)
        await self.prove()
        # From the end of `catch_up` to `enter` nothing is awaited: a change would pass this engine over.
        held, where = await process.memory()
        await self.catch_up()
        load_s = round(time.monotonic() - began, 1)
        self._served_from, process.served = time.monotonic(), True
        self._demand.clear()
        self.enter("proven", stage="", load_s=load_s, memory_bytes=held, memory_on=where)
        served = ", ".join([self.host.config.base.name, *self.status.loaded])
        self._say(f"ready in {load_s} s on {self.status.url.removeprefix('http://')} ({served})")

    def _locate(self, process: Process) -> None:
        """What runs elsewhere tells later where that is, and may be at another place than before."""
        pid, url = process.pid, process.url or self.status.url
        if (pid, url) != (self.status.pid, self.status.url):
            if pid and self._stage == self._means.first_stage:
                self._stage = STAGES[0][1]
            self.adapters.move(url)
            self.update(pid=pid, url=url)

    async def _until_leaving(self) -> None:
        url, base = self.status.url, self.host.config.base.name
        probe = self._means.probe or _probe
        timeout_s = self.host.config.engine.hang_timeout_s
        watchdog = Watchdog(
            lambda: in_thread(probe, url, base), lambda: in_thread(self._means.progress, url), timeout_s
        )
        async with asyncio.TaskGroup() as group:  # the watchdog's Hang ends it too
            watching = group.create_task(watchdog.run())
            leaving = group.create_task(self._leave.wait())
            leaving.add_done_callback(lambda _: watching.cancel())

    async def _drained(self) -> bool:
        """False where a request came while the last ones ended: then it serves on."""
        self._leave.clear()
        self.enter("drain", stage="draining")
        timeout_s = self.host.config.engine.stop_timeout_s
        quiet = asyncio.create_task(self.host.quiet(timeout_s, self.status.name))
        wanted = asyncio.create_task(self._demand.wait())
        try:
            await asyncio.wait((quiet, wanted), return_when=asyncio.FIRST_COMPLETED)
            empty = quiet.done() and quiet.result() and not self._demand.is_set()
        finally:
            quiet.cancel()
            wanted.cancel()
        if not empty and not self._halted:
            self._demand.clear()
            await self.catch_up()  # changes passed it over while it drained
            self.enter("start", stage="")
        return empty

    async def _asleep(self) -> None:
        """Level 1 until somebody asks."""
        await in_thread(self._means.sleep, self.status.url)
        self.enter("slept", stage="", loaded=[])
        self._say("asleep: it was idle; the next request wakes it")
        await self._demand.wait()

    async def _awake(self, process: Process) -> None:
        """Awake and proven. However long it slept, this has the time of a start."""
        began = time.monotonic()
        self.enter("start", stage="waking", started_at=time.time())
        await in_thread(self._means.wake, self.status.url)
        await self._become_ready(process, began, waking=True)

    def _note_failure(self, error: LoraGatewayError) -> None:
        kind: FailureKind = "hang" if isinstance(error, Hang) else "crash"
        if isinstance(error, Died):
            kind = error.kind
        elif isinstance(error, ConfigError):
            kind = "configuration"
        elif self._served_from is None and not isinstance(error, Hang):
            kind = "start"
        served_s = time.monotonic() - self._served_from if self._served_from is not None else 0.0
        self._restarts, delay_s = self._restarts.failed(served_s, kind)
        next_try_at = None if delay_s is None else time.time() + delay_s
        self._demand.clear()  # or the back-off would end at once
        death = self.status.last_death
        if self._served_from is not None:
            blame = error.blame if isinstance(error, Died) else blame_of(kind, None, "")
            death = EngineDeath(self.status.process, blame)
        self.enter(
            "died",
            last_death=death,
            stage="",
            reason=str(error),
            kind=kind,
            pid=0,
            loaded=[],
            restarts=self._restarts.in_a_row,
            next_try_at=next_try_at,
        )
        what = {"out_of_memory": "out of memory", "configuration": "a setting"}.get(kind, kind)
        then = "it is not started again" if delay_s is None else f"the next start is in {delay_s:.0f} s"
        self._say(f"failed ({what}): {error}; {then}")
        if isinstance(error, Died) and self._log is not None:
            self._say(f"all that it said: {self._log}")
        self._say(see("out_of_memory" if kind == "out_of_memory" else error.code))

    def _heard(self, line: str) -> None:
        """A line of the engine's log; called in the reader's thread, so it only sets the stage."""
        self._stage = stage_of(line, self._stage)

    def _report(self, took_s: float) -> None:
        """A line when the stage changes and every few seconds."""
        stage = self.status.stage  # of a proof it is this keeper's own: the log says nothing of one
        changed = not stage.startswith(("proving", "waking")) and self._stage != stage
        if changed:
            self.update(stage=self._stage)
        if changed or took_s - self._reported_s >= REPORT_EVERY_S:
            self._say(f"starting ({self.status.stage}) {took_s:.0f} s")
            self._reported_s = took_s

    def _say(self, text: str) -> None:
        label = self._means.label
        say(text if label == ONE else f"{label}: {text}")

    def _is_halted(self) -> bool:
        return self._halted


def _probe(url: str, base: str, *, key: str = "") -> object:
    body = {"model": base, "prompt": "1", "max_tokens": 1, "temperature": 0}
    return call(f"{url}/v1/completions", body, key=key)
