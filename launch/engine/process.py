"""One process of an engine: started, watched while something is awaited of it, ended, and why it died."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TypeVar

from gateway.config.document import Config
from gateway.config.snapshot import Blame, FailureKind
from gateway.errors import EngineFailure
from gateway.upkeep import end_tasks
from launch.engine.engine import say
from launch.engine.failures import blame_of, kind_of, oom_kills
from launch.engine.log.engine_log import advice_for, reason_of
from launch.engine.log.engine_output import EngineOutput
from launch.machine import orphans
from launch.machine.child import Child
from launch.machine.threads import in_thread

POLL_S = 0.1
NOTE_AGAIN_S = 5.0
Result = TypeVar("Result")


class Died(EngineFailure):
    """The engine ended by itself, or had to be ended."""

    def __init__(self, reason: str, advice: str, kind: FailureKind, blame: Blame = "nobody") -> None:
        super().__init__(reason, advice)
        self.kind = kind
        self.blame = blame


class Process:
    """Make it in the event loop of the main thread: the parent-death signal is tied to the thread that forks.

    Raises Died where it cannot be started. Its pid is noted for the next launch, until it has ended.
    """

    def __init__(
        self, config: Config, argv: Sequence[str], env: Mapping[str, str], on_line: Callable[[str], None]
    ) -> None:
        self._config = config
        self._kills = oom_kills()
        self.output = EngineOutput(config.state_dir, everything=config.engine.log == "all")
        self.served = False
        """Whether it was ever ready; so that its end can be told from a start that failed."""
        try:
            shown = self.output.take
            self._child = Child(argv, env, prefix="[engine] ", on_line=on_line, shown=shown)
        except OSError as error:
            raise Died(f"cannot be started: {error}", "", "start") from error
        self._noting = asyncio.create_task(self._note())

    @property
    def pid(self) -> int:
        return self._child.pid

    async def while_it_lives(
        self,
        work: Coroutine[object, object, Result],
        halted: Callable[[], bool],
        *,
        limit_s: float | None = None,
        report: Callable[[float], None] = lambda _: None,
    ) -> Result | None:
        """Do `work`, telling `report` how many seconds it takes; None once `halted()`.

        Raises Died where the engine ends, or `limit_s` is over, and what `work` raises.
        """
        task = asyncio.ensure_future(work)
        began = time.monotonic()
        try:
            while True:
                await asyncio.wait((task,), timeout=POLL_S)
                code = self._child.exit_code()
                if code is not None:
                    raise await self._post_mortem(code)
                if task.done():
                    return _result_of(task)
                if halted():
                    return None
                took_s = time.monotonic() - began
                if limit_s is not None and took_s > limit_s:
                    advice = "raise engine.start_timeout_s"
                    raise Died(f"the engine was not ready after {limit_s:.0f} s", advice, "start")
                report(took_s)
        finally:
            await end_tasks([task])

    async def end(self, *, hard: bool, hurry: Callable[[], bool]) -> None:
        """SIGTERM and the configured time, none where `hard`, then SIGKILL; nothing of it is left."""
        await end_tasks([self._noting])
        self.output.hush()
        await in_thread(self._child.stop, 0.0 if hard else self._config.engine.stop_timeout_s, hurry)
        orphans.forget(self._config.state_dir)

    async def _note(self) -> None:
        """An engine serves though the disk is full, and is noted later."""
        told = False
        while True:
            try:
                orphans.remember(self._config.state_dir, self.pid)
            except OSError as error:
                if not told:
                    say(f"its pid cannot be noted and is tried again: {error}")
                told = True
                await asyncio.sleep(NOTE_AGAIN_S)
            else:
                return

    async def _post_mortem(self, code: int) -> Died:
        await in_thread(self._child.stop, 0)  # what it left behind, and the rest of its log
        lines = list(self._child.last_lines)
        reason, text = reason_of(lines, code), "\n".join(lines)
        kind = kind_of(code, text, oom_kills() - self._kills, self.served)
        advice = advice_for(reason, self._config.base.gpu_memory_utilization)
        if kind == "out_of_memory" and not advice:
            advice = "lower base.kv_cache_gib or base.max_num_seqs, or free memory"
        blame = blame_of(kind, code, text)
        if advice and kind == "start":
            kind = "configuration"
        return Died(f"the engine died: {reason}", advice, kind, blame)


def _result_of(task: asyncio.Future[Result]) -> Result:
    try:
        return task.result()
    except BaseExceptionGroup as group:  # of the task group: the watchdog's own is the one that tells
        raise group.exceptions[0] from None
