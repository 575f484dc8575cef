"""A gateway before a fake engine and under a fake control plane, on real sockets in the test's own loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx

from gateway.config.snapshot import EngineStateName, EngineStatus
from gateway.relay.heartbeat import Heartbeat
from gateway.routing.replica import Replica
from gateway.routing.replicas import Replicas
from tests.fakes.fake_control import FakeControl, Weights, engine_of, snapshot_with
from tests.fakes.fake_engine import Answer, FakeEngine
from tests.support.stack import TASKS, Stack, eventually, stack

TWO_TASKS: Mapping[str, Weights] = {name: {adapter_id: 100.0} for name, adapter_id in TASKS.items()}


@dataclass
class Controlled:
    control: FakeControl
    stack: Stack
    version: int = 0
    engines: list[EngineStatus] = field(default_factory=list)
    tasks: Mapping[str, Weights] = field(default_factory=lambda: TWO_TASKS)

    @property
    def engine(self) -> FakeEngine:
        return self.stack.engine

    @property
    def replicas(self) -> Replicas:
        return self.stack.gateway.replicas

    def replica(self, name: str = "engine-0") -> Replica:
        return next(one for one in self.replicas.ready if one.name == name)

    def status(self, state: EngineStateName = "ready", *loaded: str, **fields: Any) -> EngineStatus:
        """The stack's own engine; every task's adapters are loaded unless others are named."""
        every = [adapter_id for weights in self.tasks.values() for adapter_id in weights]
        names = loaded or (tuple(every) if state in ("ready", "draining") else ())
        return engine_of(self.engine.url, state, *names, **fields)

    def say(
        self,
        engines: Sequence[EngineStatus] | None = None,
        tasks: Mapping[str, Weights] | None = None,
        **fields: Any,
    ) -> int:
        """Publish; what is not given stays. The snapshot's version."""
        if tasks is not None:
            self.tasks = tasks
        self.engines = list(self.engines if engines is None else engines)
        self.version = fields.pop("version", self.version + 1)
        config = self.stack.gateway.replicas.config
        self.control.publish(snapshot_with(config, self.engines, self.tasks, self.version, **fields))
        return self.version

    async def tell(
        self,
        engines: Sequence[EngineStatus] | None = None,
        tasks: Mapping[str, Weights] | None = None,
        **fields: Any,
    ) -> None:
        """`say`, and wait until the gateway routes by it."""
        version = self.say(engines, tasks, **fields)
        await eventually(lambda: self.replicas.snapshot.version == version)

    async def connected(self) -> None:
        await eventually(lambda: self.replicas.control_alive)

    async def state(self, state: EngineStateName, *loaded: str, **fields: Any) -> None:
        """The one engine's next state."""
        await self.tell([self.status(state, *loaded, **fields)])

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.stack.client.get(path, headers=headers)

    async def health(self) -> dict[str, Any]:
        answer = await self.get("/health")
        assert answer.status_code == 200
        document: dict[str, Any] = answer.json()
        return document


@asynccontextmanager
async def controlled(
    folder: Path, state: EngineStateName | None = "ready", *, lazy: bool = False, **stack_settings: Any
) -> AsyncIterator[Controlled]:
    """One engine in that state, and both tasks; with None nothing is said yet."""
    async with FakeControl(folder) as control, stack(folder, ready=False, **stack_settings) as s:
        made = Controlled(control, s)
        if state is not None:
            made.say([made.status(state, lazy=lazy)])
            await eventually(lambda: made.replicas.snapshot.version == 1)
            await made.connected()
        yield made


def says(answer: httpx.Response) -> str:
    """The adapter that answered, by the header and by the answer itself, which must be one."""
    assert answer.status_code == 200, answer.text
    adapter_id = answer.headers["x-gateway-adapter"]
    if answer.headers["content-type"].startswith("text/event-stream"):
        events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
        models = {json.loads(event)["model"] for event in events}
    else:
        models = {answer.json()["model"]}
    assert models == {adapter_id}
    return adapter_id


@contextmanager
def beats() -> Iterator[list[str]]:
    """Grows by one with every sign of life that a waiting stream has been sent."""
    whole = Heartbeat.__call__
    sent: list[str] = []

    async def beat(self: Heartbeat) -> None:
        await whole(self)
        sent.append("beat")

    with patch.object(Heartbeat, "__call__", beat):
        yield sent


class Two:
    """The stack's engine and another one."""

    def __init__(self, c: Controlled, other: FakeEngine) -> None:
        self.c = c
        self.other = other

    def engines(
        self, first: EngineStateName = "ready", second: EngineStateName = "ready"
    ) -> list[EngineStatus]:
        return [
            engine_of(self.c.engine.url, first, *TASKS.values()),
            engine_of(self.other.url, second, *TASKS.values(), name="engine-1"),
        ]

    @property
    def counts(self) -> tuple[int, int]:
        return len(self.c.engine.completions), len(self.other.completions)

    async def active(self, count: int) -> None:
        await eventually(lambda: self.c.engine.active + self.other.active == count)


@asynccontextmanager
async def two(folder: Path, **settings: Any) -> AsyncIterator[Two]:
    other = FakeEngine()
    await other.start()
    try:
        async with controlled(folder, **settings) as c:
            made = Two(c, other)
            await c.tell(made.engines())
            await eventually(lambda: all(one.models for one in c.replicas.ready))
            yield made
            await eventually(lambda: not c.stack.gateway.admission.in_flight)
            await eventually(lambda: not c.replicas.open_connections)  # an engine's list may be asked for
    finally:
        await other.stop()


def held() -> tuple[asyncio.Event, Answer]:
    hold = asyncio.Event()
    return hold, Answer(hold_head=hold)
