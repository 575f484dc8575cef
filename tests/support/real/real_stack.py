"""The real stack, started by tests: vLLM with the demo's adapters behind the gateway.

It imports nothing of the project itself, which the clients' environment does not have: both programs run
under the interpreter that is named.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.waiting import until

ROOT = Path(__file__).parents[3]
STOP_S = 60


def engine_url(state: Path) -> str:
    """As the control plane has published it."""
    found = re.search(r'"url": ?"([^"]+)"', (state / "engine.json").read_text())
    assert found is not None
    return found[1]


def engine_key(state: Path) -> str:
    return (state / "engine.key").read_text()


@dataclass(frozen=True)
class RealStack:
    url: str
    engine_log: Path
    state: Path
    config: Path

    @property
    def adapters(self) -> Path:
        """A folder that adapters may be added from, where the configuration names it."""
        return self.state / "adapters-to-add"

    @property
    def engine_url(self) -> str:
        """The engine itself, behind the gateway."""
        return engine_url(self.state)

    @property
    def engine_key(self) -> str:
        """What the engine asks of whoever comes past the gateway."""
        return engine_key(self.state)

    def running(self) -> float:
        """Requests that the engine decodes at this moment, by its own metrics."""
        return self._metric("vllm:num_requests_running")

    def written(self) -> float:
        """Tokens that the engine has written since it started."""
        return self._metric("vllm:generation_tokens_total")

    def _metric(self, name: str) -> float:
        found = re.search(
            rf"^{name}\S* (\S+)", httpx.get(f"{self.engine_url}/metrics", timeout=60).text, re.M
        )
        assert found is not None
        return float(found[1])

    def until_idle(self, limit_s: float = 5.0) -> None:
        """Raises TimeoutError where the engine goes on with a request that nobody waits for."""
        until(lambda: not self.running(), limit_s)


Ready = Callable[[float], RealStack]
"""Waits until the stack answers, for so many seconds at most."""


@contextmanager
def starting_stack(folder: Path, config: Path, python: Path) -> Iterator[Ready]:
    """Start both programs with their state and logs in `folder`, and stop them at the end."""
    logs = {name: folder / f"{name}.log" for name in ("launch", "gateway")}
    children: list[subprocess.Popen[bytes]] = []
    try:
        for name, extra in (("launch", []), ("gateway", ["--port", "0"])):
            where = ["--config", str(config), "--state-dir", str(folder)]
            command = [str(python), "-m", name, *where, *extra]
            with logs[name].open("wb") as log:
                children.append(
                    subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=os.environ.copy())
                )
        yield lambda limit_s: RealStack(_ready(children, logs, limit_s), logs["launch"], folder, config)
    finally:
        for child in reversed(children):
            child.send_signal(signal.SIGTERM)
        for child in reversed(children):
            child.wait(STOP_S)


@contextmanager
def real_stack(folder: Path, config: Path, python: Path, limit_s: float) -> Iterator[RealStack]:
    """As `starting_stack`, once it answers."""
    with starting_stack(folder, config, python) as ready:
        yield ready(limit_s)


def _ready(children: list[subprocess.Popen[bytes]], logs: dict[str, Path], limit_s: float) -> str:
    ready: list[str] = []

    def settled() -> bool:
        url = re.search(r"listening on (http://\S+)", logs["gateway"].read_text(errors="replace"))
        if url is not None and httpx.get(f"{url[1]}/ready", timeout=60).status_code == 200:
            ready.append(url[1])
        return bool(ready) or any(child.poll() is not None for child in children)

    with contextlib.suppress(TimeoutError):
        until(settled, limit_s, look_every_s=0.5)
    if ready:
        return ready[0]
    tails = "\n".join(f"{name}: {log.read_text(errors='replace')[-2000:]}" for name, log in logs.items())
    raise AssertionError(f"the stack did not become ready\n{tails}")
