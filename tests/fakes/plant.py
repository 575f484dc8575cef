"""A whole control plane in the test's own loop, with `tests/fakes/fake_vllm.py` in vLLM's place."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from gateway.config.document import Config
from gateway.config.snapshot import EngineStatus, Snapshot, VersionStatus, read_snapshot
from gateway.errors import ConfigError
from launch.adapters.check import Adapter, adapter_id, check_adapter
from launch.adapters.store import AdapterStore
from launch.adapters.versions import Desired, Version, Wanted
from launch.base.lora_shapes import Base
from launch.engine.argv import EngineCommand
from launch.engine.managed import Means
from launch.engine.process import Begin
from launch.machine.files import Origin
from launch.supervisor.control_api import control_app
from launch.supervisor.database import StateStore
from launch.supervisor.supervisor import Prepared, Supervisor
from tests.support.waiting import CLIENT_S, eventually

ROOT = Path(__file__).parents[2]
FAKE = ROOT / "tests" / "fakes" / "fake_vllm.py"
BASE = Base("/base", "Base", None, {})
BUILD = "test"
SETUP = "test"
"""Of the engine, by which it is remembered how that repeats itself."""


class Stop:
    """`launch.machine.signals.StopSignals` without signals."""

    def __init__(self) -> None:
        self.count = 0
        self.reload = False

    def asked(self) -> bool:
        return self.count > 0

    def hurried(self) -> bool:
        return self.count > 1

    def reload_asked(self) -> bool:
        asked, self.reload = self.reload, False
        return asked


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def adapter_folder(folder: Path, content: str) -> Path:
    """What the fake engine takes for an adapter; its id comes from its content."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"content": content}))
    (folder / "adapter_model.safetensors").write_bytes(content.encode())
    return folder


@dataclass
class PlantOptions:
    base: dict[str, object] = field(default_factory=dict)
    engine: dict[str, object] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    attached: tuple[str, ...] = ()
    can_sleep: bool = False
    replicas: int | dict[str, object] = 1
    elsewhere: Callable[[EngineCommand], Begin] | None = None
    """How an engine is begun that is no child of the plant's."""
    tasks: dict[str, str] = field(default_factory=lambda: {"naming": "one"})
    """Task → its adapter's content."""
    keys: dict[str, object] = field(default_factory=dict)
    tenants: dict[str, object] = field(default_factory=dict)
    placement: dict[str, object] = field(default_factory=dict)


@dataclass
class Plant:
    supervisor: Supervisor
    stop: Stop
    client: httpx.AsyncClient
    folder: Path
    port: int
    options: PlantOptions
    adapters: Unchecked

    @property
    def snapshot(self) -> Snapshot:
        return self.supervisor.publisher.snapshot

    @property
    def engine(self) -> EngineStatus:
        return self.supervisor.engines.keepers[0].status

    @property
    def on_disk(self) -> Snapshot:
        found = read_snapshot(self.folder / "state" / "engine.json")
        assert found is not None
        return found

    def versions(self, task: str = "naming") -> dict[str, VersionStatus]:
        return {version.id: version for version in self.snapshot.tasks[task].versions}

    async def until(self, condition: Callable[[], bool], limit_s: float = 10.0) -> None:
        await eventually(condition, limit_s)  # the supervisor announces to gateways alone

    async def until_state(self, state: str) -> None:
        await self.until(lambda: self.engine.state == state)

    async def add(self, task: str, content: str, **fields: object) -> httpx.Response:
        folder = adapter_folder(self.folder / "adapters" / f"{task}-{content}", content)
        return await self.client.post("/adapters", json={"task": task, "source": str(folder), **fields})

    @asynccontextmanager
    async def listened_to(self, gateway: str = "g1") -> AsyncIterator[None]:
        """A gateway of that name hears every snapshot meanwhile."""
        async with self.client.stream("GET", "/events", params={"gateway": gateway}) as events:
            lines = events.aiter_lines()  # to be kept: with it the stream would end
            await anext(lines)
            yield

    async def fake(self, **fields: object) -> None:
        async with httpx.AsyncClient(timeout=CLIENT_S) as client:
            await client.post(f"{self.engine.url}/fake", json=fields)


@asynccontextmanager
async def plant(
    folder: Path,
    options: PlantOptions | None = None,
) -> AsyncIterator[Plant]:
    """Everything but the checks on disk, which have tests of their own."""
    options = options or PlantOptions()
    state = folder / "state"
    state.mkdir(exist_ok=True)

    def read() -> Config:
        return config_of(folder, options)

    def configured_by(config: Config, expect: Callable[[str], None] = lambda _: None) -> Desired:
        versions = {name: version_of(name, task.adapter) for name, task in config.tasks.items()}
        for version in versions.values():
            expect(version.id)
        return {name: Wanted(name, (version,)) for name, version in versions.items()}

    config = read()
    ports = [free_port() for _ in range(config.backend.most)]
    port = ports[0]
    lazy = config.base.start == "lazy" or config.base.idle_unload != "never"
    engines: tuple[tuple[EngineStatus, Means | None], ...] = tuple(
        (
            EngineStatus(f"engine-{index}", f"http://127.0.0.1:{each}", lazy=lazy, slots=4),
            means_of(command_of(each, options), options),
        )
        for index, each in enumerate(ports)
    )
    if options.attached:
        engines = tuple(
            (EngineStatus(f"engine-{index}", url, managed=False), None)
            for index, url in enumerate(options.attached)
        )
    prepared = Prepared(config, BASE, BUILD, configured_by(config), engines, None)
    store, stop = StateStore(state), Stop()
    supervisor = Supervisor(
        prepared,
        store,
        adapters := Unchecked(state / "adapters"),
        stop,  # type: ignore[arg-type]  # the same methods, without signals
        read,
        [folder / "config.yaml"],
        configured_by,
        control_app,
    )
    running = asyncio.create_task(supervisor.run())
    transport = httpx.AsyncHTTPTransport(uds=str(state / "control.sock"))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://control", timeout=30) as client:
            made = Plant(supervisor, stop, client, folder, port, options, adapters)
            await made.until(lambda: (state / "control.sock").exists())
            yield made
    finally:
        stop.count += 1
        with contextlib.suppress(asyncio.CancelledError):
            await running
        store.close()


@asynccontextmanager
async def timed_plant(
    folder: Path, options: PlantOptions | None = None, limit_s: float = 60.0
) -> AsyncIterator[Plant]:
    """A test that waits on it for ever fails after so long."""
    async with asyncio.timeout(limit_s), plant(folder, options) as made:
        yield made


def means_of(command: EngineCommand, options: PlantOptions) -> Means:
    """As a child of ours, or elsewhere."""
    if options.elsewhere is None:
        return Means(command, options.can_sleep, SETUP)
    place = "waiting for a place"
    return Means(command, False, SETUP, elsewhere=options.elsewhere(command), first_stage=place)


def command_of(port: int, options: PlantOptions) -> EngineCommand:
    """The fake engine's."""
    argv = (sys.executable, str(FAKE), "--port", str(port), *options.arguments)
    return EngineCommand(argv, {}, 4, 64)


class Unchecked(AdapterStore):
    """Takes any folder: what the real one refuses has tests of its own."""

    def take(
        self,
        task: str,
        source: Path,
        base: Base,
        rank_limit: int | None = None,
        *,
        key: str | None = None,
        origin: Origin | None = None,
        expect: Callable[[str], None] = lambda _: None,
    ) -> Adapter:
        warnings = self.warnings
        if self.checking:
            warnings = check_adapter(task, source, base, rank_limit, key=key, origin=origin).warnings
        if not (source / "adapter_config.json").is_file():
            raise ConfigError(key or "", str(source), "has no adapter_config.json; is it a peft adapter?")
        version = version_of(task, source)
        expect(version.id)
        return Adapter(task, version.id, source, 8, 1, warnings)

    def verify(self, adapter_id: str) -> bool:
        return True

    def remove(self, adapter_id: str, expected: Collection[str] = ()) -> None:
        self.removed.append(adapter_id)

    def sweep(self, keep: object) -> None:
        pass

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.removed: list[str] = []
        self.checking = False
        self.warnings: tuple[str, ...] = ()


def version_of(task: str, folder: Path) -> Version:
    settings = (folder / "adapter_config.json").read_bytes()
    return Version(adapter_id(task, settings, folder / "adapter_model.safetensors"), str(folder), rank=8)


def config_of(folder: Path, options: PlantOptions) -> Config:
    tasks = {
        name: {"adapter": str(adapter_folder(folder / "adapters" / f"{name}-{content}", content))}
        for name, content in options.tasks.items()
    }
    document = {
        "base": {"model": "some/model", **options.base},
        "tasks": tasks,
        "engine": {"stop_timeout_s": 2, "restart_backoff_s": 0.05, **options.engine},
        "engines": {"replicas": options.replicas} if options.replicas != 1 else [],
        "keys": options.keys,
        "tenants": options.tenants,
        "placement": options.placement,
        "adapters": {"roots": [str(folder)]},
        "state_dir": str(folder / "state"),
    }
    return Config.model_validate(document)
