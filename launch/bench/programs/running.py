"""Programs of a benchmark: started on a core of their own, waited for, stopped."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from gateway.errors import EngineFailure
from launch.bench.overhead import payload
from launch.bench.programs.places import program
from launch.machine.child import Child
from launch.machine.memory import tree

POLL_S = 0.05
READY_WITHIN_S = 90.0


@dataclass(frozen=True)
class Cores:
    """Which core the proxy has, and which load and mock share; the same where there is but one."""

    proxy: int
    load: int

    @property
    def apart(self) -> bool:
        return self.proxy != self.load


def choose_cores(available: Iterable[int]) -> Cores:
    """The first for the proxy, the second for everything else."""
    ordered = sorted(available)
    return Cores(ordered[0], ordered[min(1, len(ordered) - 1)])


@dataclass
class ProxyUnderTest:
    """One proxy under test, or none (`direct`)."""

    name: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    pid: int = 0

    @property
    def pids(self) -> list[int]:
        return tree(self.pid) if self.pid else []


class Programs:
    """Everything that a benchmark started; leaving the block stops all of it."""

    def __init__(self, cores: Cores, log: TextIO) -> None:
        self.cores = cores
        self._log = log
        self._stack = ExitStack()
        self._children: list[Child] = []
        self._taken: set[int] = set()
        self._before: set[int] = set()

    def __enter__(self) -> Programs:
        self._before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.cores.load})  # the watchers and this process keep off the proxy's core
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()
        os.sched_setaffinity(0, self._before)

    def port(self) -> int:
        """A free port that was not given before."""
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            # Free until the program runs that it is for, and so perhaps found once more.
            if port not in self._taken:
                self._taken.add(port)
                return port

    def start(self, name: str, argv: Sequence[str], core: int, env: Mapping[str, str] | None = None) -> Child:
        """Start a program on one core; its output goes to the log."""
        # taskset becomes the program, whose pid is the child's; what it starts is pinned with it.
        pinned = [program("taskset"), "-c", str(core), *argv]
        child = Child(pinned, env or os.environ, prefix=f"{name}: ", out=self._log)
        self._stack.callback(child.stop, 3.0)
        self._children.append(child)
        return child

    def pids(self) -> set[int]:
        """Of all that was started and runs, with what it started."""
        return {pid for child in self._children if child.exit_code() is None for pid in tree(child.pid)}


def wait_until(child: Child, ready: Callable[[], bool], name: str) -> None:
    """Poll until it is ready. Raises EngineFailure where it ends first, or takes longer."""
    end = time.monotonic() + READY_WITHIN_S
    while not ready():
        last = child.last_lines[-1] if child.last_lines else "it said nothing"
        if child.exit_code() is not None:
            raise EngineFailure(f"{name} ended with exit code {child.exit_code()}: {last}")
        if time.monotonic() > end:
            raise EngineFailure(f"{name} was not ready within {READY_WITHIN_S:.0f} s: {last}")
        time.sleep(POLL_S)


def answers(url: str, headers: Mapping[str, str], model: str = payload.TASK) -> bool:
    """Whether a chat request is answered with a completion now."""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        status, body = post(url + payload.CHAT_PATH, payload.chat_body(model), headers)
        return status == 200 and bool(json.loads(body).get("choices"))
    return False


def post(url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """One request on a connection of its own. Raises OSError, HTTPException."""
    _, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.request("POST", f"/{path}", body, {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def write_nginx(folder: Path, text: str) -> list[str]:
    """A configuration in a folder of its own; the command that runs it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    return [
        program("nginx"),
        "-p",
        str(folder),
        "-e",
        str(folder / "error.log"),
        "-c",
        str(folder / "nginx.conf"),
    ]
