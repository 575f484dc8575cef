"""An engine of our own: started, proven, watched, restarted, put to sleep, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TypeVar

from gateway.config.snapshot import Blame, EngineDeath, EngineStatus, FailureKind
from gateway.errors import ConfigError, EngineFailure, LoraGatewayError
from gateway.upkeep import end_tasks
from launch.engine.argv import EngineCommand
from launch.engine.engine import Keeper, say
from launch.engine.engine_log import STAGES, advice_for, reason_of, stage_of
from launch.engine.failures import blame_of, kind_of, oom_kills
from launch.engine.http import call, is_healthy, sleep_engine, tokens_done, wake_engine
from launch.engine.loaded_adapters import EngineDoor
from launch.engine.supervisor_interface import SupervisorInterface
from launch.engine.watchdog import Hang, Watchdog
from launch.machine import orphans
from launch.machine.child import Child
from launch.machine.memory import engine_memory
from launch.machine.restarts import Restarts
from launch.machine.threads import in_thread

POLL_S = 0.1
REPORT_EVERY_S = 5.0
NOTE_AGAIN_S = 5.0
Result = TypeVar("Result")


class Died(EngineFailure):
    """The engine ended by itself, or had to be ended."""

    def __init__(self, reason: str, advice: str, kind: FailureKind, blame: Blame = "nobody") -> None:
        super().__init__(reason, advice)
        self.kind = kind
        self.blame = blame


@dataclass(frozen=True)
class Means:
    """How an engine is run; tests give others."""

    command: EngineCommand
    can_sleep: bool = False
    env: Mapping[str, str] | None = None
    healthy: Callable[[str], bool] = is_healthy
    door: EngineDoor | None = None
    progress: Callable[[str], float | None] = tokens_done
    probe: Callable[[str, str], object] | None = None
    sleep: Callable[[str], None] = sleep_engine
    wake: Callable[[str], None] = wake_engine


class Managed(Keeper):
    """Runs in the event loop of the main thread: the parent-death signal is tied to the thread that forks."""

    def __init__(self, host: SupervisorInterface, status: EngineStatus, build: str, means: Means) -> None:
        super().__init__(host, status, build, means.door)
        settings = host.config.engine
        self._means = means
        self._restarts = Restarts(settings.max_restarts, settings.restart_backoff_s)
        self._demand = asyncio.Event()
        self._leave = asyncio.Event()
        self._halted = False
        self._stage = ""
        self._served_from: float | None = None
        if host.config.base.start == "eager":
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
        """Nobody has used it for a while: drain it, then let it go."""
        if self.status.state == "ready":
            self._demand.clear()
            self._leave.set()

    def halt(self) -> None:
        """End it, whatever it is doing; `run` returns."""
        self._halted = True
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
        say("stopped")

    async def _back_off(self, until: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.time())):
                await self._demand.wait()

    async def _life(self) -> None:
        """From start to end of one process; a failure is noted, not raised."""
        self._leave.clear()
        self._served_from = None
        began = time.time()
        self._stage = STAGES[0][1]
        self.residents.forget()
        self.enter(
            "start", stage=self._stage, reason="", kind="", started_at=began, next_try_at=None, loaded=[]
        )
        command = self._means.command
        env = os.environ if self._means.env is None else self._means.env
        kills = oom_kills()
        try:
            child = Child(command.argv, {**env, **command.env}, prefix="[engine] ", on_line=self._heard)
        except OSError as error:
            self._note_failure(Died(f"cannot be started: {error}", "", "start"))
            return
        failure: LoraGatewayError | None = None
        remembering = asyncio.create_task(self._remember(child.pid))
        try:
            self.update(pid=child.pid)
            await self._serve(child, began, kills)
        except LoraGatewayError as error:
            failure = error
        finally:
            await end_tasks([remembering])
            await self._end(child, hard=isinstance(failure, Hang))
        if failure is not None:
            self._note_failure(failure)
        elif not self._halted:
            self.enter("emptied", stage="", pid=0, loaded=[])
            say("stopped: it was idle; the next request starts it again")

    async def _remember(self, pid: int) -> None:
        """Its pid, for the next start; an engine serves though the disk is full, and is noted later."""
        told = False
        while True:
            try:
                orphans.remember(self.host.config.state_dir, pid)
            except OSError as error:
                if not told:
                    say(f"its pid cannot be noted and is tried again: {error}")
                told = True
                await asyncio.sleep(NOTE_AGAIN_S)
            else:
                return

    async def _serve(self, child: Child, began: float, kills: int) -> None:
        limit_s = self.host.config.engine.start_timeout_s
        starting = self._with(child, kills, self._become_ready(began, waking=False), limit_s=limit_s)
        await starting
        while not self._halted:
            await self._with(child, kills, self._until_leaving())
            if self._halted:
                say("stopping")
                self.update(stage="stopping")
                return
            if not await self._with(child, kills, self._drained()):
                continue
            if not self._means.can_sleep:
                return
            await self._with(child, kills, self._asleep())
            if not self._halted:
                await self._with(child, kills, self._awake(), limit_s=limit_s)

    async def _become_ready(self, began: float, *, waking: bool) -> None:
        url = self.status.url
        while not await in_thread(self._means.healthy, url):  # noqa: ASYNC110  it has no word for it
            await asyncio.sleep(POLL_S)
        if waking:
            self.residents.forget()  # what it held is proven again before anybody is answered
        await self.prove()
        held, where = await in_thread(engine_memory, self.status.pid)
        await self.catch_up()
        load_s = round(time.time() - began, 1)
        self._served_from = time.monotonic()
        self._demand.clear()
        self.enter("proven", stage="", load_s=load_s, memory_bytes=held, memory_on=where)
        served = ", ".join([self.host.config.base.name, *self.status.loaded])
        say(f"ready in {load_s} s on {url.removeprefix('http://')} ({served})")

    async def _until_leaving(self) -> None:
        url, base = self.status.url, self.host.config.base.name
        probe = self._means.probe or _probe
        timeout_s = self.host.config.engine.hang_timeout_s
        watchdog = Watchdog(
            lambda: in_thread(probe, url, base), lambda: in_thread(self._means.progress, url), timeout_s
        )
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watchdog.run())
            leaving = group.create_task(self._leave.wait())
            leaving.add_done_callback(lambda _: watching.cancel())

    async def _drained(self) -> bool:
        """False where a request came while the last ones ended: then it serves on."""
        self._leave.clear()
        self.enter("drain", stage="draining")
        timeout_s = self.host.config.engine.stop_timeout_s
        quiet = asyncio.create_task(self.host.quiet(timeout_s))
        wanted = asyncio.create_task(self._demand.wait())
        try:
            await asyncio.wait((quiet, wanted), return_when=asyncio.FIRST_COMPLETED)
            empty = quiet.done() and quiet.result() and not self._demand.is_set()
        finally:
            quiet.cancel()
            wanted.cancel()
        if not empty and not self._halted:
            self._demand.clear()
            await self.catch_up()
            self.enter("start", stage="")
        return empty

    async def _asleep(self) -> None:
        """Level 1 until somebody asks."""
        await in_thread(self._means.sleep, self.status.url)
        self.enter("slept", stage="", loaded=[])
        say("asleep: it was idle; the next request wakes it")
        await self._demand.wait()

    async def _awake(self) -> None:
        """Awake and proven. However long it slept, this has the time of a start."""
        began = time.time()
        self.enter("start", stage="waking", started_at=began)
        await in_thread(self._means.wake, self.status.url)
        await self._become_ready(began, waking=True)

    async def _with(
        self,
        child: Child,
        kills: int,
        work: Coroutine[object, object, Result],
        *,
        limit_s: float | None = None,
    ) -> Result | None:
        """Do `work` while the engine lives; None where a halt was asked for meanwhile.

        Raises Died where it ends, Hang from `work`, and Died after `limit_s`.
        """
        task = asyncio.ensure_future(work)
        began = time.monotonic()
        reported = began
        try:
            while True:
                await asyncio.wait((task,), timeout=POLL_S)
                code = child.exit_code()
                if code is not None:
                    raise await self._post_mortem(child, code, kills)
                if task.done():
                    return _result_of(task)
                if self._halted:
                    return None
                if limit_s is not None:
                    if time.monotonic() - began > limit_s:
                        advice = "raise engine.start_timeout_s"
                        raise Died(f"the engine was not ready after {limit_s:.0f} s", advice, "start")
                    reported = self._report(began, reported)
        finally:
            await end_tasks([task])

    async def _post_mortem(self, child: Child, code: int, kills: int) -> Died:
        await in_thread(child.stop, 0)  # what it left behind, and the rest of its log
        lines = list(child.last_lines)
        reason = reason_of(lines, code)
        kind = kind_of(code, "\n".join(lines), oom_kills() - kills, self._served_from is not None)
        advice = advice_for(reason, self.host.config.base.gpu_memory_utilization)
        if kind == "out_of_memory" and not advice:
            advice = "lower base.kv_cache_gib or base.max_num_seqs, or free memory"
        blame = blame_of(kind, code, "\n".join(lines))
        if advice and kind == "start":
            kind = "configuration"
        return Died(f"the engine died: {reason}", advice, kind, blame)

    async def _end(self, child: Child, *, hard: bool) -> None:
        timeout_s = 0.0 if hard else self.host.config.engine.stop_timeout_s
        await in_thread(child.stop, timeout_s, self.host.hurried)
        orphans.forget(self.host.config.state_dir)

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
        self._demand.clear()
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
        say(f"failed ({what}): {error}; {then}")

    def _heard(self, line: str) -> None:
        """A line of the engine's log; called in the reader's thread, so it only sets the stage."""
        self._stage = stage_of(line, self._stage)

    def _report(self, began: float, reported: float) -> float:
        """A line when the stage changes and every few seconds; when the last one was."""
        now = time.monotonic()
        stage = self.status.stage
        changed = not stage.startswith(("proving", "waking")) and self._stage != stage
        if changed:
            self.update(stage=self._stage)
        if changed or now - reported >= REPORT_EVERY_S:
            say(f"starting ({self.status.stage}) {now - began:.0f} s")
            return now
        return reported


def _probe(url: str, base: str) -> object:
    body = {"model": base, "prompt": "1", "max_tokens": 1, "temperature": 0}
    return call(f"{url}/v1/completions", body)


def _result_of(task: asyncio.Future[Result]) -> Result:
    try:
        return task.result()
    except BaseExceptionGroup as group:  # of the task group: the watchdog's own is the one that tells
        raise group.exceptions[0] from None
