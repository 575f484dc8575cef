"""A control plane for tests of the gateway: its routes on a Unix socket, with hooks instead of sleeps."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from gateway.config.document import Config
from gateway.config.snapshot import (
    FILE,
    SOCKET,
    EngineStateName,
    EngineStatus,
    GatewayReport,
    ShadowStatus,
    Snapshot,
    TaskStatus,
    VersionStatus,
    encode_snapshot,
)
from tests.support.waiting import turns

Weights = Mapping[str, float]
"""Adapter id → weight."""


def engine_of(
    url: str, state: EngineStateName = "ready", *loaded: str, name: str = "engine-0", **fields: Any
) -> EngineStatus:
    """An engine as the control plane tells it."""
    began = {"started_at": 1.0, "pid": 1} if state in ("ready", "draining") else {}
    return EngineStatus(name, url, state=state, loaded=list(loaded), **{**began, **fields})


def snapshot_with(
    config: Config,
    engines: Sequence[EngineStatus],
    tasks: Mapping[str, Weights],
    version: int = 1,
    *,
    shadow: Mapping[str, ShadowStatus] | None = None,
    **fields: Any,
) -> Snapshot:
    """The configuration's own settings, with these versions; a task that it does not know has none."""
    document = config.model_dump(mode="json", by_alias=True)
    status = {
        name: TaskStatus(
            document["tasks"].get(name, {"adapter": f"/adapters/{name}"}),
            [VersionStatus(adapter_id, weight) for adapter_id, weight in weights.items()],
            shadow=(shadow or {}).get(name),
        )
        for name, weights in tasks.items()
    }
    pipelines = {
        name: pipeline
        for name, pipeline in document["pipelines"].items()
        if all(stage["task"] in {*status, config.base.name} for stage in pipeline["stages"])
    }
    whole = {"pipelines": pipelines, "keys": document["keys"], **fields}
    return Snapshot(version, config.base.name, list(engines), status, **whole)


@dataclass
class Asked:
    """One request that came."""

    method: str
    path: str
    body: bytes


class FakeControl:
    """`async with` starts it; `publish` tells every gateway that listens."""

    def __init__(self, state_dir: Path, snapshot: Snapshot | None = None) -> None:
        self.state_dir = state_dir
        self.snapshot = snapshot
        self.asked: list[Asked] = []
        self.reports: list[GatewayReport] = []
        self.statuses: dict[str, int] = {}
        """Path → the status that it is answered with, other than 204."""
        self.answers: dict[str, bytes] = {}
        """Path → JSON that it is answered with."""
        self.hold: asyncio.Event | None = None
        """What every request but that for events waits for."""
        self.joined = 0
        self._listeners: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> FakeControl:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        path = self.state_dir / SOCKET
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._connected, path)

    async def stop(self) -> None:
        """Gone at once, as a killed one is; its file stays."""
        server, self._server = self._server, None
        loop = asyncio.get_running_loop()
        for listening in server.sockets if server is not None else ():
            loop.remove_reader(listening)
        self.break_off()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await turns()  # what was accepted a moment ago comes to `_connected`, which nobody waits for then
        if server is not None:
            server.close()

    def publish(self, snapshot: Snapshot, *, file: bool = False) -> None:
        """To every gateway, and into the file where asked."""
        self.snapshot = snapshot
        line = encode_snapshot(snapshot) + b"\n"
        if file:
            (self.state_dir / FILE).write_bytes(line)
        self.tell(line)

    def tell(self, data: bytes) -> None:
        """Bytes as they are, into every event stream."""
        for writer in self._listeners:
            writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    def break_off(self) -> None:
        """End every event stream in the middle of whatever it says."""
        for writer in list(self._listeners):
            writer.transport.abort()
        self._listeners.clear()

    @property
    def listening(self) -> int:
        return len(self._listeners)

    def starts(self) -> int:
        """How often an engine was asked for."""
        return sum(one.path == "/engines/start" for one in self.asked)

    async def until(self, condition: Callable[[], bool], limit_s: float = 20.0) -> None:
        """Wait until what came makes it true."""
        async with asyncio.timeout(limit_s), self._changed:
            await self._changed.wait_for(condition)

    async def until_reported(self, condition: Callable[[GatewayReport], bool], limit_s: float = 20.0) -> None:
        """Wait for a newest report that is so."""
        await self.until(lambda: bool(self.reports) and condition(self.reports[-1]), limit_s)

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._server is None:
            writer.transport.abort()
            return
        self._tasks.add(task)
        try:
            while (asked := await _read(reader)) is not None:
                if asked.path.startswith("/events"):
                    await self._listen(reader, writer)
                    return
                self.asked.append(asked)
                if asked.path == "/gateways":
                    self.reports.append(msgspec.json.decode(asked.body, type=GatewayReport))
                await self._note()
                if self.hold is not None:
                    await self.hold.wait()
                answer = self.answers.get(asked.path, b"")
                status = self.statuses.get(asked.path, 200 if answer else 204)
                length = b"" if status == 204 else b"content-length: %d\r\n" % len(answer)
                writer.write(b"HTTP/1.1 %d X\r\n%s\r\n%s" % (status, length, answer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._listeners.discard(writer)
            writer.transport.abort()

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        self._listeners.add(writer)
        self.joined += 1
        if self.snapshot is not None:
            line = encode_snapshot(self.snapshot) + b"\n"
            writer.write(b"%x\r\n%s\r\n" % (len(line), line))
        await self._note()
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readexactly(1)  # until the gateway goes


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, path, _ = head[0].split(" ")
    length = next((line.split(": ")[1] for line in head if line.lower().startswith("content-length")), "0")
    return Asked(method, path, await reader.readexactly(int(length)))
