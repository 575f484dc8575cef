"""A stack under test: `python -m launch` and perhaps `python -m gateway`, stopped whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from gateway.config.document import Config
from gateway.config.secrets.state_secrets import ENGINE_KEY
from gateway.config.snapshot import FILE, Snapshot, read_snapshot
from gateway.errors import ConfigError, EngineFailure
from launch.base.progress import terminal_progress
from launch.bench.engine.config import HOST, environment_of, write_config
from launch.engine.http import ask
from launch.machine.child import Child
from launch.machine.stack import ENGINE_GRACE_S, GATEWAY_GRACE_S

POLL_S = 0.1
READY_AFTER_ENGINE_S = 60.0
REQUEST_TIMEOUT_S = 600.0
SHOWN_LINES = 12


@dataclass(frozen=True)
class Running:
    """An engine that runs, with its gateway where one was asked for: addresses, adapters, seconds to load."""

    engine_url: str
    gateway_url: str  # empty where none was asked for
    engine_pid: int
    base: str
    adapters: dict[str, str]  # task → adapter id
    load_s: float
    log: Path
    engine_urls: tuple[str, ...] = ()
    """Of all engines, the first of which is `engine_url`."""


@contextlib.contextmanager
def running_stack(config: Config, folder: Path, key: str, *, gateway: bool = True) -> Iterator[Running]:
    """Start, wait until ready, yield, stop. `folder` takes configuration, state and log.

    Call it in the main thread: SIGTERM is turned into an exit there, so that the stack is stopped in order.
    Raises EngineFailure where the stack does not become ready, ConfigError where its log cannot be written.
    """
    path, log_path = folder / "config.yaml", folder / "stack.log"
    env = environment_of(config, os.environ)
    where = ["--config", str(path), "--state-dir", str(config.state_dir)]
    children: list[tuple[Child, float]] = []
    try:
        config.state_dir.mkdir(parents=True, exist_ok=True)
        write_config(config, path, key)
        (config.state_dir / ENGINE_KEY).write_text(key)  # so that the same client can ask the engine too
        log = log_path.open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigError("bench", str(folder), f"cannot be written: {error.strerror}") from error
    with log, _exit_on_sigterm():
        try:
            launch = Child([sys.executable, "-m", "launch", *where], env, out=log)
            children.append((launch, config.engine.stop_timeout_s + ENGINE_GRACE_S))
            if gateway:
                own = Child([sys.executable, "-m", "gateway", *where], env, out=log)
                children.append((own, config.gateway.shutdown_timeout_s + GATEWAY_GRACE_S))
            state = _wait_for_engine(config, [child for child, _ in children])
            url = f"http://{HOST}:{config.gateway.port}" if gateway else ""
            if url:
                wait_for_gateway(url, [child for child, _ in children])
            yield Running(
                engine_url=state.engines[0].url,
                gateway_url=url,
                engine_pid=state.engines[0].pid,
                base=state.base,
                adapters={name: task.versions[0].id for name, task in state.tasks.items()},
                load_s=state.engines[0].load_s or 0.0,
                log=log_path,
                engine_urls=tuple(one.url for one in state.engines),
            )
        finally:
            # As `up` does it: the gateway first, so that what it has let in still has its engine.
            for child, grace_s in reversed(children):
                child.stop(grace_s)


def post(url: str, key: str, body: object) -> tuple[float, bytes]:
    """Wall time in seconds, and the answer. Raises EngineFailure for any other than a 2xx."""
    began = time.perf_counter()
    answer = ask(url, body, REQUEST_TIMEOUT_S, {"Authorization": f"Bearer {key}"})
    return time.perf_counter() - began, answer.content


def _wait_for_engine(config: Config, children: list[Child]) -> Snapshot:
    with terminal_progress() as report:
        report("starting the engine", None)
        while True:  # the launcher bounds its own start
            fail_if_ended(children)
            state = read_snapshot(config.state_dir / FILE)
            engines = [] if state is None else state.engines
            if state is not None and engines and all(one.state == "ready" for one in engines):
                return state
            for engine in engines:
                if engine.state == "failed":
                    raise EngineFailure(engine.reason)
                if engine.stage:
                    report(f"starting {engine.name}: {engine.stage}", None)
            time.sleep(POLL_S)


def wait_for_gateway(url: str, children: list[Child]) -> None:
    deadline = time.monotonic() + READY_AFTER_ENGINE_S
    while time.monotonic() < deadline:
        fail_if_ended(children)
        with contextlib.suppress(EngineFailure):
            # It answers once a completion has come through, which takes its time on a slow machine.
            ask(f"{url}/ready", timeout_s=READY_AFTER_ENGINE_S)
            return
        time.sleep(POLL_S)
    raise EngineFailure(f"the gateway on {url} was not ready {READY_AFTER_ENGINE_S:.0f} s after the engine")


def fail_if_ended(children: Sequence[Child]) -> None:
    """Raises EngineFailure where one has, with what it said last."""
    for child in children:
        code = child.exit_code()
        if code is not None:
            child.stop(0)  # the rest of its log
            lines = list(child.last_lines)
            tail = " / ".join(lines[-SHOWN_LINES:])
            # Told by either program where it knows why; where it does not, the end of the log has to do.
            said = next((line for line in reversed(lines) if line.startswith("error: ")), tail)
            raise EngineFailure(f"the stack under test ended with {code}: {said}")


@contextlib.contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    def leave(_number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
