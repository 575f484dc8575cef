"""A real redis-server on loopback, and a way to it that can be cut; nothing of it is kept on a disk.

For the tests on faults and at scale: `redis_server` starts one, `Cut` stands between.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.plant import free_port
from tests.support.process_ends import ending_with_us
from tests.support.waiting import until

PROGRAMS = ("redis-server", "valkey-server")


def installed() -> str | None:
    """The server's path; None where there is none."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


@dataclass
class RedisServer:
    """Runs until `kill`; `start` begins another, which is empty, on the same port."""

    program: str
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        argv = [
            self.program,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                ending_with_us([*argv, "--dir", str(self.folder)]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._answers)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0) as asked:
            asked.sendall(b"PING\r\n")
            return asked.recv(16).startswith(b"+PONG")
        return False

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """One on a free port, ended with the block."""
    program = installed()
    assert program is not None
    server = RedisServer(program, folder, free_port())
    try:
        server.start()
        yield server
    finally:
        server.kill()


@dataclass
class Cut:
    """A way to a server that can be cut as a network is: nothing comes through, and nobody is told."""

    port: int = 0
    open: bool = True
    _pairs: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def _serve(self, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._pairs.append(writer)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        self._pairs.append(far_writer)
        with suppress(OSError):
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self.open:  # what is sent meanwhile is lost
                writer.write(data)
        writer.close()


@asynccontextmanager
async def cut(target: int) -> AsyncIterator[Cut]:
    """A way to the port `target`."""
    made = Cut()
    serving: set[asyncio.Task[None]] = set()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(task := asyncio.create_task(made._serve(target, reader, writer)))
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for writer in made._pairs:
            writer.transport.abort()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
