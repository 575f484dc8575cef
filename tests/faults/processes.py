"""The programs as they run: a gateway and the engine behind it, each a process that can be killed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from gateway.config.document import Config
from tests.support.process_ends import ending_with_us
from tests.support.stack import TASKS, config_of, write_report
from tests.support.waiting import CLIENT_S, eventually, until

ROOT = Path(__file__).parents[2]
LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:(\d+))")
LIMIT_S = CLIENT_S
LEAST_BESIDE = 40
"""Answers of others, however quickly a fault is over."""
QUICK: Mapping[str, Any] = {
    "first_byte_timeout_s": 3.0,
    "idle_timeout_s": 3.0,
    "connect_timeout_s": LIMIT_S,
    "receive_timeout_s": 3.0,
}
"""Bounds short enough to be met, and long enough for good requests on a busy machine."""


async def soon(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Look until it is so; each look may be a question to another process. Raises TimeoutError."""
    async with asyncio.timeout(LIMIT_S):
        await eventually(condition, 10 * LIMIT_S)


@dataclass
class Program:
    """A process and what it has said."""

    process: subprocess.Popen[bytes]
    log: Path
    url: str = ""

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def listens(self) -> bool:
        """Whether it has said where; its `url` from then on."""
        assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.said()[-2000:]}"
        found = LISTENING.search(self.said())
        if found is not None:
            self.url = found[1]
        return found is not None

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait(LIMIT_S)

    def until_said(self, text: str, limit_s: float = LIMIT_S) -> None:
        until(lambda: text in self.said(), limit_s)

    async def ended(self) -> int:
        """Its exit code."""
        await soon(lambda: self.process.poll() is not None)
        return int(self.process.returncode)

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident_mib(self) -> float:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0


@contextmanager
def program(
    argv: Sequence[str],
    log: Path,
    *,
    wait: bool = True,
    env: Mapping[str, str] | None = None,
    user: int | None = None,
    descriptors: int = 0,
    before: Sequence[str] = (),
) -> Iterator[Program]:
    """Start `python -m …`, wait until it listens, and kill it at the end.

    `descriptors`: its `ulimit -n`, soft and hard. `before`: a command that runs it.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(
            ending_with_us([*before, sys.executable, "-m", *argv], descriptors),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **(env or {})},
            user=user,
            start_new_session=True,
        )
    made = Program(process, log)
    try:
        if wait:
            until(made.listens, LIMIT_S)
        yield made
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(LIMIT_S)


@contextmanager
def fault_engine(folder: Path, port: int = 0) -> Iterator[Program]:
    with program(["tests.faults.fault_engine", str(port)], folder / f"engine-{port}.log") as made:
        yield made


def configured(folder: Path, engine_url: str, **settings: Any) -> Config:
    """A configuration file and the control plane's last word, that there is such an engine."""
    state = folder / "state"
    state.mkdir(exist_ok=True)
    config = config_of(folder, **settings)
    config = config.model_copy(update={"state_dir": state})
    document = config.model_dump(mode="json", by_alias=True)
    (folder / "config.yaml").write_text(json.dumps(document), encoding="utf-8")
    write_report(config, url=engine_url, state="ready", started_at=1.0, managed=False)
    return config


@contextmanager
def gateway_program(folder: Path, port: int = 0, name: str = "gateway", **options: Any) -> Iterator[Program]:
    """`python -m gateway` on the folder's configuration."""
    argv = ["gateway", "--config", str(folder / "config.yaml"), "--port", str(port)]
    with program(argv, folder / f"{name}.log", **options) as made:
        yield made


@dataclass
class Served:
    """A gateway before an engine, and a client of it."""

    gateway: Program
    engine: Program
    client: httpx.AsyncClient
    folder: Path
    count: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def chat(self, wish: str, **fields: Any) -> httpx.Response:
        return await self.client.post("/v1/chat/completions", json=asked(wish, **fields))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare connection to the gateway, which is closed at the end if not before."""
        host, _, port = self.gateway.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        self.writers.append(writer)
        return reader, writer

    async def open(self, wish: str, **fields: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A chat over a bare connection, for clients that leave or do not read."""
        reader, writer = await self.connect()
        body = json.dumps(asked(wish, **fields)).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        return reader, writer

    async def held(self, count: int) -> list[asyncio.StreamReader]:
        """So many streams that have begun and go on once the engine is told so."""
        readers = [(await self.open("held a b c", stream=True))[0] for _ in range(count)]
        for reader in readers:
            await reader.readuntil(b' a"')
        return readers

    async def good(self, wish: str = "echo") -> float:
        """A good answer, which is this request's own; how long it took, in seconds."""
        self.count = count = self.count + 1
        answer = await self.chat(f"{wish} {count}")
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"].split() == [str(count)]
        assert answer.json()["model"] == TASKS["naming"]
        return answer.elapsed.total_seconds()

    async def told(self, go: bool = False) -> dict[str, int]:
        """What goes on at the engine; `go` lets go what it holds."""
        async with httpx.AsyncClient(base_url=self.engine.url, timeout=LIMIT_S) as client:
            answer = await client.request("POST" if go else "GET", "/fake", json={})
        told: dict[str, int] = answer.json()
        return told

    async def health(self) -> dict[str, Any]:
        health: dict[str, Any] = (await self.client.get("/health")).json()
        return health

    async def at_rest(self) -> None:
        """Nothing of any request is left, neither here nor at the engine."""

        async def rests() -> bool:
            health = await self.health()
            return not (health["in_flight"] or health["waiting"] or health["open_connections"])

        await soon(rests)

        async def idle() -> bool:
            return not (await self.told())["active"]

        await soon(idle)


def asked(wish: str, **fields: Any) -> dict[str, Any]:
    return {"model": "naming", "messages": [{"role": "user", "content": wish}], **fields}


@asynccontextmanager
async def asking(gateway: Program, engine: Program, folder: Path) -> AsyncIterator[Served]:
    """Clients of a gateway that runs; all of them have left at the end."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=LIMIT_S, limits=limits) as client:
        made = Served(gateway, engine, client, folder)
        try:
            yield made
        finally:
            for writer in made.writers:
                writer.transport.abort()


@asynccontextmanager
async def served(
    folder: Path, options: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Served]:
    """`settings` are the gateway's, `options` its process's."""
    with fault_engine(folder) as engine:
        configured(folder, engine.url, **settings)
        with gateway_program(folder, **(options or {})) as gateway:
            async with asking(gateway, engine, folder) as s:
                yield s


async def load(s: Served, clients: int, until_done: asyncio.Event) -> list[float]:
    """Good requests one after the other from so many clients; their times. Each must be right."""
    times: list[float] = []

    async def one() -> None:
        while not until_done.is_set() or len(times) < LEAST_BESIDE:
            times.append(await s.good())

    await asyncio.gather(*(one() for _ in range(clients)))
    return times


@asynccontextmanager
async def beside(s: Served, clients: int = 4) -> AsyncIterator[Callable[[], list[float]]]:
    """Others ask meanwhile, and are answered right; gives their times once the block is over."""
    done = asyncio.Event()
    running = asyncio.create_task(load(s, clients, done))
    try:
        yield lambda: running.result()
    finally:
        done.set()
        await running
