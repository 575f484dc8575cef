"""The life of one engine: check, start, prove, serve, stop; engine.json follows it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.config import Config
from gateway.errors import EngineFailure, LoraGatewayError
from launch.adapters import Adapter, check_adapters
from launch.base import resolve_base
from launch.command import EngineCommand, engine_command
from launch.engine_log import STAGES, advice_for, reason_of, stage_of
from launch.hardware import has_gpu
from launch.ports import claimed_port, free_port
from launch.process import Child
from launch.proof import Subject, is_healthy, prove
from launch.shapes import Base
from launch.signals import StopSignals
from launch.state import EngineState, sole_launch, write_state

POLL_S = 0.1
REPORT_EVERY_S = 5.0


@dataclass(frozen=True)
class Plan:
    """Everything known before a start."""

    base: Base
    adapters: list[Adapter]
    port: int
    command: EngineCommand


def plan_engine(config: Config, port: int | None = None) -> Plan:
    """Check base and adapters, and look for a free port where none is given; raises ConfigError."""
    base = resolve_base(config.base)
    adapters = check_adapters(config, base)
    if port is None:
        port = free_port("engine.port", config.engine.host, config.engine.port)
    command = engine_command(config, base, adapters, port, has_gpu=has_gpu())
    return Plan(base, adapters, port, command)


def run_engine(config: Config, stop: StopSignals) -> None:
    """Run until `stop` asks; raises ConfigError before a start, EngineFailure where the engine dies."""
    settings = config.engine
    with (
        sole_launch(config.state_dir),
        claimed_port("engine.port", settings.host, settings.port) as port,
    ):
        plan = plan_engine(config, port)
        for adapter in plan.adapters:
            for warning in adapter.warnings:
                say(f"warning: tasks.{adapter.task}.adapter {warning}; their shapes fit")
        EngineRun(config, plan, stop).run()


def say(text: str) -> None:
    """A line for the person who started it, apart from the engine's own log."""
    with contextlib.suppress(BrokenPipeError):  # its reader was killed; the engine is still to be stopped
        print(f"engine: {text}", file=sys.stderr, flush=True)


class EngineRun:
    """One start of one engine. Owns the child and engine.json; all but the proof runs in the main thread."""

    def __init__(
        self,
        config: Config,
        plan: Plan,
        stop: StopSignals,
        *,
        prover: Callable[[str, str, Sequence[Subject], Callable[[str], None]], None] = prove,
        healthy: Callable[[str], bool] = is_healthy,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._config = config
        self._plan = plan
        self._stop = stop
        self._prover = prover
        self._healthy = healthy
        self._env = os.environ if env is None else env
        self._began = time.monotonic()
        self._reported = 0.0
        self._stage = STAGES[0][1]
        host = f"[{config.engine.host}]" if ":" in config.engine.host else config.engine.host
        self._state = EngineState(
            url=f"http://{host}:{plan.port}",
            pid=0,
            started_at=time.time(),
            state="starting",
            stage=self._stage,
            base=config.base.name,
            adapters={adapter.task: adapter.id for adapter in plan.adapters},
        )

    def run(self) -> None:
        command = self._plan.command
        child = Child(command.argv, {**self._env, **command.env}, prefix="[engine] ", on_line=self._heard)
        self._publish(pid=child.pid)
        try:
            if self._wait_until_healthy(child) and self._prove(child):
                self._announce()
                self._serve(child)
            say("stopping")
            self._publish(stage="stopping", state="stopped", reason="stopped on request")
        except LoraGatewayError as error:
            self._publish(state="failed", stage="", reason=str(error))
            raise
        finally:
            child.stop(self._config.engine.stop_timeout_s, self._stop.hurried)
        self._publish(stage="", pid=0)
        say("stopped")

    def _wait_until_healthy(self, child: Child) -> bool:
        """False where a stop was asked for."""
        while not self._stop.asked():
            self._fail_if_dead(child)
            self._report()
            if self._healthy(self._state.url):
                return True
            time.sleep(POLL_S)
        return False

    def _prove(self, child: Child) -> bool:
        problems: list[LoraGatewayError] = []
        subjects = [
            Subject(f"tasks.{a.task}.adapter", str(a.path), a.id, self._config.tasks[a.task].system or "")
            for a in self._plan.adapters
        ]

        def work() -> None:
            try:
                self._prover(self._state.url, self._state.base, subjects, self._enter)
            except LoraGatewayError as error:
                problems.append(error)

        # In a thread of its own, since a completion may take long and a stop must not wait for it.
        prover = threading.Thread(target=work, name="proof", daemon=True)
        prover.start()
        while prover.is_alive():
            if self._stop.asked():
                return False
            self._fail_if_dead(child)
            self._report()
            prover.join(POLL_S)
        self._fail_if_dead(child)
        if problems:
            raise problems[0]
        return True

    def _serve(self, child: Child) -> None:
        while not self._stop.asked():
            self._fail_if_dead(child)
            time.sleep(POLL_S)

    def _fail_if_dead(self, child: Child) -> None:
        code = child.exit_code()
        if code is not None:
            child.stop(0)  # what it left behind, and the rest of its log
            reason = reason_of(list(child.last_lines), code)
            advice = advice_for(reason, self._config.base.gpu_memory_utilization)
            raise EngineFailure(f"the engine died: {reason}", advice)
        limit_s = self._config.engine.start_timeout_s
        if self._state.state == "starting" and time.monotonic() - self._began > limit_s:
            raise EngineFailure(
                f"the engine was not ready after {limit_s:.0f} s ({self._stage})",
                "raise engine.start_timeout_s",
            )

    def _announce(self) -> None:
        load_s = round(time.monotonic() - self._began, 1)
        self._publish(state="ready", stage="", load_s=load_s)
        served = ", ".join([self._state.base, *self._state.adapters.values()])
        where = self._state.url.removeprefix("http://")
        say(f"ready in {load_s} s on {where} ({served})")

    def _heard(self, line: str) -> None:
        """A line of the engine's log; called in the reader's thread, so it only sets the stage."""
        if self._state.state == "starting" and not self._stage.startswith("proving"):
            self._stage = stage_of(line, self._stage)

    def _enter(self, stage: str) -> None:
        self._stage = stage

    def _report(self) -> None:
        """A line when the stage changes and every few seconds."""
        seconds = time.monotonic() - self._began
        changed = self._stage != self._state.stage
        if changed:
            self._publish(stage=self._stage)
        if changed or seconds - self._reported >= REPORT_EVERY_S or not self._reported:
            self._reported = max(seconds, POLL_S)
            say(f"starting ({self._stage}) {seconds:.0f} s")

    def _publish(self, **changes: object) -> None:
        self._state = dataclasses.replace(self._state, **changes)  # type: ignore[arg-type]  # names its own fields
        write_state(self._config.state_dir, self._state)
