"""What an actor is on its node: one engine's process, what it said, and the adapters that are kept for it.

It knows nothing of Ray: an actor is made of it elsewhere, and tests make it themselves. All its methods are
called one after the other, in the thread that made it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
import tempfile
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gateway.errors import EngineFailure
from launch.engine.failures import oom_kills
from launch.engine.on_ray.node_adapters import NodeAdapters
from launch.machine.child import Child
from launch.machine.memory import engine_memory
from launch.machine.ports import claimed_port

KEPT_LINES = 2000
"""Between two looks; of more, the first are lost."""
CANNOT_START = 127
LOOPBACK = "127.0.0.1"
OF_RAY = ("RAY_", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES_")
"""What Ray sets for its own workers says nothing to an engine: one processor's thread, whose job it is."""


@dataclass(frozen=True)
class EngineOrder:
    """What an engine is started with, on whatever node."""

    name: str
    argv: tuple[str, ...]
    """Its first word is the control plane's Python: the node's own stands for it, with a port of the node."""
    env: Mapping[str, str]
    first_port: int
    reached_from: str
    """The control plane's own address, where nobody else asks: on that machine an engine listens on loopback.
    Empty: on its node's address, whichever it is."""
    ray_address: str = ""
    """Of the cluster, for an engine that places its own workers on several nodes."""


@dataclass(frozen=True)
class ProcessStatus:
    """An engine as it was seen at one moment."""

    boot: str
    """The actor's life: another one after Ray has started it again."""
    run: int
    """Counts the processes of that life, from 1."""
    pid: int = 0
    url: str = ""
    exit_code: int | None = None
    lines: tuple[str, ...] = ()
    said: int = 0
    """How many lines there were so far; to be asked with next time."""
    kills: int = 0


class NodeEngine:
    """It starts its engine as it is made, so that one comes back with its actor, unasked."""

    def __init__(self, order: EngineOrder, address: str, folder: Path) -> None:
        """`address` is the node's; copies of adapters are kept in `folder`."""
        self._order = order
        self._address = LOOPBACK if address == order.reached_from else address
        self.adapters = NodeAdapters(folder)
        self._claim = ExitStack()
        self._boot = secrets.token_hex(8)
        self._run = 0
        self._child: Child | None = None
        self._url = ""
        self._kills = 0
        self._lines: deque[tuple[int, str]] = deque(maxlen=KEPT_LINES)
        """Each with its number, from 1."""
        self._said = 0
        self._start()

    def claim(self) -> ProcessStatus:
        """The engine that runs; one that has ended, or was stopped, is started again."""
        if self._child is None or self._child.exit_code() is not None:
            self._start()
        return self.look(0)

    def look(self, said: int) -> ProcessStatus:
        """How it stands now, with what it said after so many lines."""
        lines = list(self._lines)  # looked at once: its reader's thread may add to them meanwhile
        fresh = tuple(line for number, line in lines if number > said)
        made = lines[-1][0] if lines else 0
        sight = ProcessStatus(self._boot, self._run, lines=fresh, said=made, exit_code=CANNOT_START)
        if self._child is None:
            return sight
        return replace(
            sight,
            pid=self._child.pid,
            url=self._url,
            exit_code=self._child.exit_code(),
            kills=oom_kills() - self._kills,
        )

    def stop(self, timeout_s: float) -> None:
        """SIGTERM, then SIGKILL to all that it started; the actor stays, with what was reserved for it."""
        if self._child is not None:
            self._child.stop(timeout_s)

    def memory(self) -> tuple[int | None, Literal["", "gpu", "host"]]:
        """What it holds on this node, and where."""
        return engine_memory(self._child.pid) if self._child is not None else (None, "")

    def folder_of(self, path: str) -> str:
        """Where the node keeps the adapter of that path; as `NodeAdapters.folder_of`."""
        return self.adapters.folder_of(path)

    def begin_adapter(self, settings: bytes, size_bytes: int) -> None:
        """Announce an adapter that comes in pieces; as `NodeAdapters.begin`."""
        self.adapters.begin(settings, size_bytes)

    def write_adapter(self, data: bytes) -> None:
        """Take the next piece of the announced adapter; as `NodeAdapters.write`."""
        self.adapters.write(data)

    def end_adapter(self, adapter_id: str) -> str:
        """Keep the adapter that has come whole; returns its folder there, as `NodeAdapters.end`."""
        return self.adapters.end(adapter_id)

    def drop_adapter(self, adapter_id: str) -> None:
        """Delete the node's copy of an adapter; as `NodeAdapters.drop`."""
        self.adapters.drop(adapter_id)

    def _start(self) -> None:
        self._run += 1
        self.adapters.begin_anew()
        order, host = self._order, self._address
        if self._child is not None:
            self._child.stop(0)  # what it may have left behind
        self._child = None
        self._claim.close()
        try:
            port = self._claim.enter_context(claimed_port("engine.port", host, order.first_port))
            shown = f"[{host}]" if ":" in host else host
            self._url = f"http://{shown}:{port}"
            self._kills = oom_kills()
            argv = [sys.executable, *_placed(order.argv[1:], host, port)]
            self._child = Child(argv, self._environment(), on_line=self._heard, shown=lambda _: False)
        except (OSError, ValueError) as error:
            self._heard(f"OSError: it cannot be started here: {error}")

    def _environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(OF_RAY)}
        if self._order.ray_address:
            own["RAY_ADDRESS"] = self._order.ray_address
        return {**own, **self._order.env}

    def _heard(self, line: str) -> None:
        self._said += 1
        self._lines.append((self._said, line))


def scratch_of(namespace: str, engine: str, root: Path | None = None) -> Path:
    """Where a node keeps what that engine of that launch needs: below the user's own part of `root`.

    Raises EngineFailure where somebody else made that part, or may write there: an adapter would be changed
    after it was checked.
    """
    own = (root or Path(tempfile.gettempdir())) / f"lora-gateway-{os.getuid()}"
    own.mkdir(mode=0o700, exist_ok=True)
    found = own.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise EngineFailure(f"{own} may be written by others than this user; remove it on this node")
    return own / namespace / engine


def _placed(words: tuple[str, ...], host: str, port: int) -> list[str]:
    """The command with this node's host and port in the place of those that it was made with."""
    placed = list(words)
    for name, value in (("--host", host), ("--port", str(port))):
        with contextlib.suppress(ValueError):
            placed[placed.index(name) + 1] = value
    return placed
