"""Engines as the gateway sees them: what the launcher wrote, and what the engine itself answers.

The launcher leaves `engine.json` in the state directory. Every change of it is followed within a fifth of
a second by a new immutable table; requests read the current one and take no lock.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from gateway.config import Config
from gateway.errors import RequestError, Unavailable
from gateway.table import Route, Table, build_table
from gateway.upstream import Address, Timeouts, Upstream

logger = logging.getLogger("gateway.replicas")

POLL_S = 0.2
READY_FOR_S = 2.0
"""A completion that worked answers `/ready` for this long."""


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What the launcher says of its engine."""

    state: str = "stopped"
    stage: str = ""
    reason: str = ""
    url: str = ""
    load_s: float | None = None
    started_at: float = 0.0


@dataclass(frozen=True, slots=True)
class EngineModel:
    """One entry of the engine's own model list."""

    id: str
    root: str | None
    parent: str | None
    max_model_len: int | None
    created: int


@dataclass(frozen=True, slots=True)
class Replica:
    """A ready engine."""

    name: str
    upstream: Upstream
    models: Mapping[str, EngineModel] = field(default_factory=lambda: MappingProxyType({}))


def read_report(path: Path) -> EngineReport:
    """The launcher's report; a missing or unreadable file is an engine that does not run."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return EngineReport()
    if not isinstance(document, dict):
        return EngineReport()
    load_s = document.get("load_s")
    return EngineReport(
        state=str(document.get("state", "stopped")),
        stage=str(document.get("stage", "")),
        reason=str(document.get("reason", "")),
        url=str(document.get("url", "")),
        load_s=float(load_s) if isinstance(load_s, int | float) else None,
        started_at=float(document.get("started_at") or 0.0),
    )


def address_of(url: str) -> Address:
    """`http://host:port` or `unix:/path`."""
    if url.startswith("unix:"):
        return Address(uds=url.removeprefix("unix:"))
    parts = urlsplit(url)
    return Address(host=parts.hostname or "127.0.0.1", port=parts.port or 80)


def ids_by_task(config: Config, models: Mapping[str, EngineModel]) -> dict[str, str]:
    """Base and tasks → the engine's names: an adapter's id is its task, `@`, and a digest."""
    ids: dict[str, str] = {}
    for model in models:
        task, at, _ = model.rpartition("@")
        if model == config.base.name or (at and task in config.tasks):
            ids[task if at else model] = model
    return ids


class Replicas:
    """The engine now: its state, its address and the table that goes with it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._file = config.state_dir / "engine.json"
        self._stamp: tuple[int, int] | None = None
        self._replica: Replica | None = None
        self._watching: asyncio.Task[None] | None = None
        self._proving: asyncio.Task[bool] | None = None
        self._proven_until = 0.0
        self.report = EngineReport()
        self.table: Table = build_table(config, {})

    @property
    def current(self) -> Replica | None:
        """The ready engine, if there is one."""
        return self._replica

    @property
    def open_connections(self) -> int:
        """Connections with an exchange on them."""
        return self._replica.upstream.open_connections if self._replica else 0

    async def start(self) -> None:
        """Read the state once, then follow it."""
        await self._look()
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop following and close idle connections."""
        for task in (self._watching, self._proving):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._replica is not None:
            self._replica.upstream.close()

    def pick(self, route: Route) -> Replica:
        """The engine for a route. Raises Unavailable while it starts, or is stopped or failed."""
        if self._replica is None:
            raise self.unavailable()
        if route.adapter_id is None:
            raise Unavailable(
                f"The adapter of '{route.name}' is not loaded.", code="adapter_not_loaded", retry_after_s=5
            )
        return self._replica

    def unavailable(self) -> Unavailable:
        """The 503 that says what the engine is doing and when to come again."""
        report = self.report
        if report.state in ("starting", "ready"):
            running_s = max(0.0, time.time() - report.started_at) if report.started_at else 0.0
            stage = report.stage or "connecting"
            rest_s = (report.load_s or 60.0) - running_s
            return Unavailable(
                f"The engine is starting ({stage}, {running_s:.0f} s so far).",
                retry_after_s=int(min(60, max(2, rest_s))),
            )
        reason = f": {report.reason}" if report.state == "failed" and report.reason else ""
        return Unavailable(
            f"The engine is not running (state: {report.state}{reason}).",
            code="engine_not_running",
            retry_after_s=10,
        )

    async def proven(self) -> bool:
        """Whether a real completion on the base works now; one probe at a time, kept for two seconds."""
        replica = self._replica
        if replica is None:
            return False
        if time.monotonic() < self._proven_until:
            return True
        if self._proving is None or self._proving.done():
            self._proving = asyncio.create_task(self._prove(replica.upstream))
        return await asyncio.shield(self._proving)

    async def _prove(self, upstream: Upstream) -> bool:
        body = json.dumps({"model": self._config.base.name, "prompt": "1", "max_tokens": 1, "temperature": 0})
        try:
            async with asyncio.timeout(30):
                status, _ = await _fetch(upstream, b"/v1/completions", body.encode())
        except (RequestError, TimeoutError):
            return False
        if status == 200:
            self._proven_until = time.monotonic() + READY_FOR_S
        return status == 200

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self._look()
            except Exception:  # whatever stands in that file, the next one is read
                logger.exception("%s cannot be followed", self._file.name)

    async def _look(self) -> None:
        """Follow the launcher's file, when it changed or the engine has not listed its models yet."""
        try:
            stat = self._file.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
        except OSError:
            stamp = None
        waiting = self.report.state == "ready" and self._replica is None
        if stamp == self._stamp and not waiting:
            return
        self._stamp = stamp
        before = self.report
        self.report = read_report(self._file)
        if self.report.state != "ready":
            self._swap(None)
        elif self._replica is None or (self.report.url, self.report.started_at) != (
            before.url,
            before.started_at,
        ):
            await self._adopt(self.report)

    async def _adopt(self, report: EngineReport) -> None:
        gateway = self._config.gateway
        timeouts = Timeouts(
            connect_s=gateway.connect_timeout_s,
            first_byte_s=gateway.first_byte_timeout_s,
            idle_s=gateway.idle_timeout_s,
            total_s=gateway.total_timeout_s,
        )
        upstream = Upstream(address_of(report.url), timeouts)
        try:
            async with asyncio.timeout(10):
                status, body = await _fetch(upstream, b"/v1/models")
            models = _models(status, body)
        except (RequestError, TimeoutError, ValueError, LookupError, TypeError) as error:
            logger.warning("the engine on %s does not list its models: %s", upstream.address, error)
            upstream.close()
            self._swap(None)
            return
        self._swap(Replica("engine-0", upstream, MappingProxyType(models)))

    def _swap(self, replica: Replica | None) -> None:
        old, self._replica = self._replica, replica
        self._proven_until = 0.0
        self.table = build_table(self._config, ids_by_task(self._config, replica.models) if replica else {})
        if old is not None:
            old.upstream.close()
        if replica is not None or old is not None:
            logger.info(
                "engine: %s", f"ready on {replica.upstream.address}" if replica else self.report.state
            )


def _models(status: int, body: bytes) -> dict[str, EngineModel]:
    """What the engine lists. Raises ValueError, LookupError, TypeError where it is no such list."""
    if status != 200:
        raise ValueError(f"status {status}")
    document = json.loads(body)
    models: dict[str, EngineModel] = {}
    for entry in document["data"]:
        models[entry["id"]] = EngineModel(
            entry["id"],
            entry.get("root"),
            entry.get("parent"),
            entry.get("max_model_len"),
            entry.get("created", 0),
        )
    return models


async def _fetch(upstream: Upstream, path: bytes, body: bytes | None = None) -> tuple[int, bytes]:
    """The engine's own answer to a question of the gateway's; with a body it is posted."""
    if body is None:
        connection = await upstream.get(path)
    else:
        connection = await upstream.exchange(path, (body,), b"gateway-ready")
    try:
        pieces: list[bytes] = []
        while piece := await connection.read():
            pieces.append(piece)
        return connection.status, b"".join(pieces)
    finally:
        upstream.finish(connection)
