"""A gateway before a fake engine, both on real sockets in the test's own loop."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import httpx
import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from uvicorn.server import ServerState

from gateway.app import Gateway
from gateway.config.document import Config
from gateway.config.snapshot import (
    EngineStatus,
    Snapshot,
    TaskStatus,
    ToolChoices,
    VersionStatus,
    encode_snapshot,
    read_snapshot,
)
from gateway.http.server import protocol_with
from gateway.relay.fallback.provider import Provider
from gateway.routing.cold_start import HEARTBEAT_S
from tests.fakes.fake_engine import BACKLOG, FakeEngine
from tests.support.waiting import CLIENT_S
from tests.support.waiting import eventually as eventually

EXPRESS = True
"""Whether requests may be served without a task; the fixture `both_ways` runs a test with and without."""

SCHEMA = {
    "type": "object",
    "properties": {"concepts": {"type": "array", "items": {"type": "object"}}},
    "required": ["concepts"],
}
STAGES = [
    {"id": "extract", "task": "concept", "schema": SCHEMA, "prompt": "{{ text }}"},
    {
        "id": "name",
        "task": "naming",
        "for_each": "extract.concepts",
        "prompt": "{{ item.definition }}",
        "into": "name",
    },
]


def key_of(secret: str, **settings: object) -> dict[str, object]:
    """A key as the section `keys` has it."""
    return {"sha256": hashlib.sha256(secret.encode()).hexdigest(), **settings}


def config_of(
    folder: Path,
    *,
    keys: object = None,
    batches: object = None,
    fallback: object = None,
    shared: object = None,
    base: object = "base",
    **gateway: object,
) -> Config:
    """base, two tasks and a pipeline; `naming` has a whole prompt contract, and perhaps a fallback."""
    naming = {
        "adapter": str(folder / "naming"),
        "system": "Name the concept.",
        "defaults": {"temperature": 0, "max_tokens": 24},
        "schema": {"type": "string"},
        "fallback": fallback,
    }
    document = {
        "base": {"name": base, "model": "some/model", "tool_call_parser": None, "reasoning_parser": None},
        "tasks": {"concept": {"adapter": str(folder / "concept")}, "naming": naming},
        "pipelines": {"concept-naming": {"stages": STAGES}},
        "keys": keys or {},
        "gateway": gateway,
        "batches": batches or {},
        "shared": shared,
        "state_dir": str(folder),
    }
    return Config.model_validate(document)


@dataclass
class Stack:
    engine: FakeEngine
    gateway: Gateway
    port: int
    client: httpx.AsyncClient
    server: ServerState

    async def chat(self, body: object = None, **fields: object) -> httpx.Response:
        """POST a chat; `body` replaces the usual one."""
        asked = {"model": "naming", "messages": [{"role": "user", "content": "cat"}], **fields}
        content = body if isinstance(body, bytes) else json.dumps(asked if body is None else body)
        headers = {"content-type": "application/json"}
        return await self.client.post("/v1/chat/completions", content=content, headers=headers)

    @asynccontextmanager
    async def apart(self) -> AsyncIterator[Stack]:
        """The same with a client of its own: in one pool of httpcore's, who asks now and then may never get
        a connection before those who ask all the time.
        """
        async with httpx.AsyncClient(base_url=self.client.base_url, timeout=self.client.timeout) as client:
            yield replace(self, client=client)

    async def open(
        self, head: str = "", path: str = "/v1/chat/completions", **fields: object
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send a chat over a bare socket, for clients that leave."""
        asked = {"model": "naming", "messages": [{"role": "user", "content": "cat"}], **fields}
        body = json.dumps(asked)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = f"POST {path} HTTP/1.1\r\nhost: x\r\n{head}content-type: application/json\r\n"
        writer.write(f"{lines}content-length: {len(body)}\r\n\r\n{body}".encode())
        return reader, writer

    async def raw(self, *pieces: bytes) -> bytes:
        """Send bytes as they are; everything that comes back until the gateway closes."""
        async with asyncio.timeout(CLIENT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                return await reader.read()
            finally:
                writer.transport.abort()

    def samples(self) -> dict[tuple[str, ...], float]:
        """`/metrics`: a name without its prefix, then its labels as `name=value` → value."""
        text = self.gateway.metrics.render()[0].decode()
        return {
            (
                sample.name.removeprefix("lora_gateway_"),
                *(f"{name}={value}" for name, value in sorted(sample.labels.items())),
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def at_rest(self) -> None:
        """Wait until the gateway holds nothing of any request."""
        gateway = self.gateway
        await eventually(lambda: not gateway.admission.in_flight)
        await eventually(lambda: not gateway.replicas.open_connections and not self.engine.active)


TASKS = {"concept": "concept@aaaaaaaaaaaa", "naming": "naming@bbbbbbbbbbbb"}


def snapshot_of(config: Config, version: int = 1, **engine: object) -> Snapshot:
    """What the control plane says of the engine, with both adapters loaded where it is ready."""
    loaded = list(TASKS.values()) if engine.get("state") == "ready" else []
    known = {"loaded": loaded, "prompt_logprobs": True}
    status = EngineStatus("engine-0", **{**known, **engine})  # type: ignore[arg-type]
    document = config.model_dump(mode="json", by_alias=True)
    tasks = {
        name: TaskStatus(settings, [VersionStatus(TASKS[name])])
        for name, settings in document["tasks"].items()
    }
    return Snapshot(version, "base", [status], tasks, document["pipelines"], document["keys"])


def write_report(config: Config, **engine: object) -> None:
    """What the control plane would leave in the state directory, each time a newer one."""
    file = config.state_dir / "engine.json"
    before = read_snapshot(file)
    version = before.version + 1 if before else 1
    file.write_bytes(encode_snapshot(snapshot_of(config, version, **engine)))


@asynccontextmanager
async def stack(
    folder: Path,
    *,
    ready: bool = True,
    uds: Path | None = None,
    receive_timeout_s: float = 30.0,
    keep_alive_s: float = 5.0,
    keys: object = None,
    batches: object = None,
    express: bool | None = None,
    heartbeat_s: float = HEARTBEAT_S,
    fallback: object = None,
    provider: Provider | None = None,
    tools: ToolChoices = "",
    **gateway_settings: object,
) -> AsyncIterator[Stack]:
    """`uds`: the engine listens on that Unix socket. `tools`: what it says of calls."""
    engine = FakeEngine()
    url = await engine.start(uds)
    config = config_of(folder, keys=keys, batches=batches, fallback=fallback, **gateway_settings)
    if ready:
        write_report(config, url=url, state="ready", started_at=1.0, tools=tools)
    gateway = Gateway(config, heartbeat_s=heartbeat_s, fallback=provider)
    untasked = EXPRESS if express is None else express
    settings = uvicorn.Config(
        gateway,
        http=protocol_with(
            receive_timeout_s,
            gateway.express if untasked else None,
            gateway.uploads,
            max_body_bytes=config.gateway.max_body_bytes,
            cors=gateway.cors,
            own_name=gateway.own_name,
        ),
        lifespan="off",
        log_config=None,
        log_level="warning",
        ws="none",
        timeout_keep_alive=cast(int, keep_alive_s),
    )
    settings.load()
    state = ServerState()
    following = gateway.following()
    await following.__aenter__()
    protocol = settings.http_protocol_class

    def connect() -> asyncio.Protocol:
        made = protocol(config=settings, server_state=state, app_state={})  # type: ignore[call-arg]
        assert isinstance(made, asyncio.Protocol)
        return made

    server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0, backlog=BACKLOG)
    port = server.sockets[0].getsockname()[1]
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=CLIENT_S) as client:
            yield Stack(engine, gateway, port, client, state)
    finally:
        server.close()
        await following.__aexit__(None, None, None)
        await engine.stop()
        for connection in list(state.connections):
            connection.shutdown()
        await asyncio.gather(*state.tasks, return_exceptions=True)
