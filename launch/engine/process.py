"""One process of an engine: started, watched while something is awaited of it, ended, and why it died."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeVar

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
from launch.machine.memory import engine_memory
from launch.machine.threads import in_thread

POLL_S = 0.1
NOTE_AGAIN_S = 5.0
START_STOP_S = 3.0
"""Of one that never served: vLLM may miss a signal while it starts, and nothing runs there yet."""
Result = TypeVar("Result")


class Died(EngineFailure):
    """The engine ended by itself, or had to be ended."""

    def __init__(self, reason: str, advice: str, kind: FailureKind, blame: Blame = "nobody") -> None:
        super().__init__(reason, advice)
        self.kind = kind
        self.blame = blame


class EngineChild(Protocol):
    """What runs an engine: a child of ours here, or one on another machine."""

    here: bool
    """Whether it is a process of this machine, and a child of ours."""

    @property
    def pid(self) -> int:
        """0 while it has none yet."""

    @property
    def url(self) -> str:
        """Where it listens; empty while that is not known, or where it is as it was laid out."""

    @property
    def last_lines(self) -> Sequence[str]:
        """The last that it said."""

    def exit_code(self) -> int | None:
        """None while it runs, or may yet run; negative where a signal ended it."""

    def kills(self) -> int:
        """Processes that its kernel has killed for want of memory since it began."""

    def memory(self) -> tuple[int | None, Literal["", "gpu", "host"]]:
        """Bytes that the engine's processes hold, and of which memory; None where unknown. It blocks."""

    def stop(self, timeout_s: float, hurry: Callable[[], bool]) -> None:
        """SIGTERM, then SIGKILL after `timeout_s` or once `hurry()`; blocking, and idempotent."""

    def leave(self) -> None:
        """Look after it no more: it goes on, where it is no child of ours; blocking."""

    def release(self) -> None:
        """It is stopped and not to be started again soon: what was kept for it is free; blocking."""


Begin = Callable[[Callable[[str], None], Callable[[str], bool]], EngineChild]
"""Starts one, with a function for each line that it says, and one that says whether a line is shown.
Raises OSError where it cannot be started."""


class LocalEngine:
    """An engine's process that is a child of this one."""

    here = True
    url = ""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._kills = oom_kills()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def last_lines(self) -> Sequence[str]:
        return list(self._child.last_lines)

    def exit_code(self) -> int | None:
        return self._child.exit_code()

    def kills(self) -> int:
        return oom_kills() - self._kills

    def memory(self) -> tuple[int | None, Literal["", "gpu", "host"]]:
        return engine_memory(self.pid)

    def stop(self, timeout_s: float, hurry: Callable[[], bool]) -> None:
        self._child.stop(timeout_s, hurry)

    def leave(self) -> None:
        """A child is ended with its parent."""

    def release(self) -> None:
        """Nothing to give back: what a child holds goes with it."""


def child_of(argv: Sequence[str], env: Mapping[str, str], label: str) -> Begin:
    """How a process of this machine is begun; call it in the main thread, which the child is tied to.

    `label` stands before each line of it that is shown.
    """

    def begin(on_line: Callable[[str], None], shown: Callable[[str], bool]) -> EngineChild:
        return LocalEngine(Child(argv, env, prefix=f"[{label}] ", on_line=on_line, shown=shown))

    return begin


class Process:
    """Make it in the event loop of the main thread: the parent-death signal is tied to the thread that forks.

    Raises Died where it cannot be started. Its pid is noted for the next launch, until it has ended.
    """

    def __init__(self, config: Config, name: str, begin: Begin, on_line: Callable[[str], None]) -> None:
        """`name` is the engine's."""
        self._config = config
        self._name = name
        self.output = EngineOutput(config.state_dir, name, everything=config.engine.log == "all")
        self.served = False
        """Whether it was ever ready; so that its end can be told from a start that failed."""
        try:
            self._running = begin(on_line, self.output.take)
        except OSError as error:
            raise Died(f"cannot be started: {error}", "", "start") from error
        self._noting = asyncio.create_task(self._note())

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def url(self) -> str:
        """Where it listens, once that is known; empty where it is as it was laid out."""
        return self._running.url

    @property
    def log(self) -> Path:
        """The file that all it says is in."""
        return self.output.file

    async def memory(self) -> tuple[int | None, Literal["", "gpu", "host"]]:
        """What it holds now, and where."""
        return await in_thread(self._running.memory)

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
                code = self._running.exit_code()
                if code is not None:  # before the work's own error, which its end would have caused
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
        await end_tasks([self._noting])  # or it would note the pid again after `forget`
        self.output.hush()
        most_s = 0.0 if hard else math.inf if self.served else START_STOP_S
        await in_thread(self._running.stop, min(most_s, self._config.engine.stop_timeout_s), hurry)
        if self._running.here:
            orphans.forget(self._config.state_dir, self._name)

    async def leave(self) -> None:
        """In place of `end`, for whoever looks after it from now on; not for a child of ours."""
        await end_tasks([self._noting])
        self.output.hush()
        await in_thread(self._running.leave)

    async def release(self) -> None:
        """After `end`, where it is not to be started again soon."""
        await in_thread(self._running.release)

    async def _note(self) -> None:
        """An engine serves though the disk is full, and is noted later."""
        if not self._running.here:
            return
        told = False
        while True:
            try:
                orphans.remember(self._config.state_dir, self._name, self.pid)
            except OSError as error:
                if not told:
                    say(f"its pid cannot be noted and is tried again: {error}")
                told = True
                await asyncio.sleep(NOTE_AGAIN_S)
            else:
                return

    async def _post_mortem(self, code: int) -> Died:
        # What it left behind, and the rest of its log.
        await in_thread(self._running.stop, 0, lambda: False)
        lines = self._running.last_lines
        reason, text = reason_of(lines, code), "\n".join(lines)
        kind = kind_of(code, text, self._running.kills(), self.served)
        advice = advice_for(reason, self._config.base.gpu_memory_utilization)
        if kind == "out_of_memory" and not advice:
            advice = "lower base.kv_cache_gib or base.max_num_seqs, or free memory"
        blame = blame_of(kind, code, text)
        if advice and kind == "start":  # a setting is to mend it: the next start would end in the same way
            kind = "configuration"
        return Died(f"the engine died: {reason}", advice, kind, blame)


def _result_of(task: asyncio.Future[Result]) -> Result:
    try:
        return task.result()
    except BaseExceptionGroup as group:  # of the task group: the watchdog's own is the one that tells
        raise group.exceptions[0] from None
