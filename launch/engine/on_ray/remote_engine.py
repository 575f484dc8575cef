"""An engine in an actor, as the control plane's keeper sees it: followed in a thread, lost with its node."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal, Protocol, TypeVar

from gateway.config.process import say
from gateway.errors import EngineFailure, LoraGatewayError
from launch.engine.on_ray.node_engine import ProcessStatus
from launch.engine.process import Begin, EngineChild
from launch.machine.child import KEPT_LINES

logger = logging.getLogger("launch.engine.on_ray.remote_engine")

LOOK_EVERY_S = 0.3
LOST_AFTER_S = 10.0
"""An actor that has said nothing for so long counts as lost."""
GONE_AFTER_S = 2.0
"""As one whose process Ray cannot reach. Where it lives on, the next start finds its engine running."""
Result = TypeVar("Result")
KILLED = -9
LOST = "NodeLostError: its node or its actor was lost; Ray starts the actor again where there is room"


class Gone(EngineFailure):
    """The actor's process cannot be reached: its node is gone, or Ray starts it again."""


class Silent(EngineFailure):
    """The actor has not answered in time: it waits for a node, or is busy."""


class Seat(Protocol):
    """What is asked of an actor; each call blocks, and raises Gone, Silent, or EngineFailure."""

    name: str

    def occupy(self) -> None:
        """Find the actor, or have one made; it need not have a node yet."""

    def claim(self) -> ProcessStatus:
        """Have its engine run, whoever started it; as `NodeEngine.claim`."""

    def look(self, said: int) -> ProcessStatus:
        """How the engine does, and what it said after the first `said` lines; as `NodeEngine.look`."""

    def stop(self, timeout_s: float) -> None:
        """End the engine, by force after `timeout_s`; as `NodeEngine.stop`."""

    def memory(self) -> tuple[int | None, Literal["", "gpu", "host"]]:
        """Bytes that the engine holds, and of which memory; as `NodeEngine.memory`."""

    def folder_of(self, path: str) -> str:
        """Where the node keeps the adapter of that path; as `NodeAdapters.folder_of`."""

    def begin_adapter(self, settings: bytes, size_bytes: int) -> None:
        """Announce an adapter that comes in pieces; as `NodeAdapters.begin`."""

    def write_adapter(self, data: bytes) -> None:
        """Send the next piece of the announced adapter; as `NodeAdapters.write`."""

    def end_adapter(self, adapter_id: str) -> str:
        """Keep the adapter that has come whole; returns its folder there, as `NodeAdapters.end`."""

    def drop_adapter(self, adapter_id: str) -> None:
        """Delete the node's copy of an adapter; as `NodeAdapters.drop`."""

    def vacate(self) -> None:
        """End the actor and free what was reserved for it; one that is gone already is no error."""


class RemoteEngine:
    """Of one process. While the actor waits for a node it has no pid yet, and has not ended."""

    here = False

    def __init__(
        self,
        seat: Seat,
        door: threading.Lock,
        on_line: Callable[[str], None],
        shown: Callable[[str], bool],
    ) -> None:
        """`door`: the seat's, through which engines that follow each other there go one at a time."""
        self._seat = seat
        self._engine = seat.name.partition(".")[0]
        self._door = door
        self._on_line = on_line
        self._shown = shown
        self._sight: ProcessStatus | None = None
        self._lost = False
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._stopping = threading.Event()
        self._released = threading.Event()
        self._follower = threading.Thread(target=self._follow, name=f"{seat.name} on Ray", daemon=True)
        self._follower.start()

    @property
    def pid(self) -> int:
        return self._sight.pid if self._sight is not None else 0

    @property
    def url(self) -> str:
        return self._sight.url if self._sight is not None else ""

    @property
    def last_lines(self) -> Sequence[str]:
        return [*self._lines, LOST] if self._lost else list(self._lines)

    def exit_code(self) -> int | None:
        if self._lost:
            return KILLED
        return self._sight.exit_code if self._sight is not None else None

    def kills(self) -> int:
        return self._sight.kills if self._sight is not None else 0

    def memory(self) -> tuple[int | None, Literal["", "gpu", "host"]]:
        with suppress(LoraGatewayError):
            return self._seat.memory()
        return None, ""

    def stop(self, timeout_s: float, hurry: Callable[[], bool]) -> None:
        """One that was lost is not asked: the actor that came after it has another process."""
        self._stopping.set()
        self._follower.join(LOST_AFTER_S)  # else both might take the same lines
        if self._lost or self._sight is None:
            return
        with suppress(LoraGatewayError):
            self._seat.stop(0.0 if hurry() else timeout_s)
            self._take(self._seat.look(self._sight.said))

    def leave(self) -> None:
        """The actor is another control plane's by now, or will be."""
        self._stopping.set()
        self._follower.join(LOST_AFTER_S)

    def release(self) -> None:
        self._stopping.set()
        self._released.set()
        with suppress(LoraGatewayError):
            self._seat.vacate()

    def _follow(self) -> None:
        try:
            self._until(self._occupy, forever=True)
            claimed = self._until(self._seat.claim, forever=True)
            if claimed is not None:
                self._take(claimed)
            while not self._stopping.wait(LOOK_EVERY_S) and claimed is not None:
                sight = self._until(lambda: self._seat.look(self._said))
                if sight is None:
                    return
                # Another process than this life's, begun by Ray or by another control plane (design 93).
                if (sight.boot, sight.run) != (claimed.boot, claimed.run):
                    self._lost = True
                    return
                self._take(sight)
        except Exception as error:  # its thread would end unheard: the engine counts as lost
            if not isinstance(error, LoraGatewayError):
                logger.exception("%s cannot be followed", self._seat.name)
            self._note(f"RayError: {' '.join(str(error).split())}")
            self._lost = True

    def _occupy(self) -> None:
        """What is made after the release is ended here, before the next engine comes in."""
        with self._door:
            if self._released.is_set():
                return
            try:
                self._seat.occupy()
            finally:
                if self._released.is_set():
                    self.release()

    @property
    def _said(self) -> int:
        return self._sight.said if self._sight is not None else 0

    def _until(self, ask: Callable[[], Result], *, forever: bool = False) -> Result | None:
        """Its answer, however often it is asked for; None once this is stopped, or it counts as lost."""
        began = time.monotonic()
        while not self._stopping.is_set():
            patience_s = LOST_AFTER_S
            try:
                return ask()
            except Gone:
                patience_s = GONE_AFTER_S
            except Silent:
                pass
            if not forever and time.monotonic() - began > patience_s:
                break
            self._stopping.wait(LOOK_EVERY_S)
        self._lost = not self._stopping.is_set()
        return None

    def _take(self, sight: ProcessStatus) -> None:
        for line in sight.lines:
            self._note(line)
        self._sight = sight

    def _note(self, line: str) -> None:
        self._lines.append(line)
        if self._shown(line):
            say(f"[{self._engine}] {line}")
        self._on_line(line)


def on_seat(seat: Seat) -> Begin:
    """How an engine is begun there."""

    door = threading.Lock()

    def begin(on_line: Callable[[str], None], shown: Callable[[str], bool]) -> EngineChild:
        return RemoteEngine(seat, door, on_line, shown)

    return begin
