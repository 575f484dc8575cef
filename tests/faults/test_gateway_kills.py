"""A gateway that is killed in each of its states: its requests are aborted, and the next one serves."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.http.workers import listen
from tests.faults.conftest import Note
from tests.faults.processes import (
    Program,
    Served,
    asking,
    configured,
    fault_engine,
    gateway_program,
    soon,
)

pytestmark = pytest.mark.anyio

Reach = Callable[[Served], Awaitable[None]]
STREAMS = 20


async def idle(s: Served) -> None:
    await s.good()


async def in_flight(s: Served) -> None:
    await s.open("held a b")
    await active(s, 1)


async def streaming(s: Served) -> None:
    await s.held(1)


async def queueing(s: Served) -> None:
    for _ in range(3):
        await s.open("held a b", model="concept")

    async def waiting() -> bool:
        return bool((await s.health())["waiting"] == 2)

    await soon(waiting)


async def uploading(s: Served) -> None:
    _, writer = await s.connect()
    form = b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x\r\n'
    form += b'content-disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"{}\n" * 100_000
    head = b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=x\r\n"
    writer.write(head + b"content-length: 10000000\r\n\r\n" + form)
    uploads = s.folder / "state" / "batches" / "uploads"
    await soon(lambda: uploads.is_dir() and any(one.stat().st_size for one in uploads.iterdir()))


async def draining(s: Served) -> None:
    await streaming(s)
    s.gateway.signal(signal.SIGTERM)

    async def not_ready() -> bool:
        return (await s.client.get("/ready")).status_code == 503

    await soon(not_ready)


async def active(s: Served, count: int) -> None:
    async def so_many() -> bool:
        return (await s.told())["active"] == count

    await soon(so_many)


STATES: dict[str, Reach] = {
    "idle": idle,
    "a request at the engine": in_flight,
    "a stream under way": streaming,
    "requests in the queue": queueing,
    "an upload under way": uploading,
    "draining": draining,
}
BOUNDS = {
    "max_in_flight_per_task": 1,
    "limits": {"max_in_flight": 3},
}
"""What a killed gateway held of either must be free for the next."""


async def test_killed_in_any_state_it_leaves_nothing_behind(tmp_path: Path, note: Note) -> None:
    (listener,) = listen("127.0.0.1", 0, 1)
    port = listener.getsockname()[1]
    listener.close()
    with fault_engine(tmp_path) as engine:
        configured(tmp_path, engine.url, **BOUNDS)
        killed_at, before = 0.0, ""
        for state in [*STATES, ""]:
            with gateway_program(tmp_path, port) as gateway:
                async with asking(gateway, engine, tmp_path) as s:
                    await s.good()
                    if killed_at:
                        back_s = time.monotonic() - killed_at
                        note(
                            "a killed gateway leaves nothing behind",
                            load="its clients'",
                            fault=f"gateway killed: {before}",
                            outcome="engine aborts, limits free, the next serves",
                            figure=f"answers after {back_s:.1f} s",
                        )
                    if not state:
                        assert not (await s.client.get("/v1/files")).json()["data"]
                        break
                    await STATES[state](s)
                    gateway.kill()
                    killed_at, before = time.monotonic(), state
                    await active(s, 0)


async def test_killed_while_it_starts_it_is_in_nobodys_way(tmp_path: Path, note: Note) -> None:
    with fault_engine(tmp_path) as engine:
        configured(tmp_path, engine.url)
        for moment_mib in (5, 20, 40):
            with gateway_program(tmp_path, name=f"killed-{moment_mib}", wait=False) as starting:
                await soon(lambda: starting.resident_mib() > moment_mib)  # noqa: B023  it ends within the turn
                starting.kill()
        with gateway_program(tmp_path) as gateway:
            async with asking(gateway, engine, tmp_path) as s:
                await s.good()
    note(
        "a killed gateway leaves nothing behind",
        load="none",
        fault="gateway killed: starting, 3 moments",
        outcome="the next serves",
    )


async def test_a_killed_worker_takes_only_its_own_requests(tmp_path: Path, note: Note) -> None:
    with fault_engine(tmp_path) as engine:
        configured(tmp_path, engine.url, workers=2)
        with gateway_program(tmp_path) as gateway:
            async with asking(gateway, engine, tmp_path) as s:
                streams = await s.held(STREAMS)
                workers = children(gateway)
                os.kill(workers[0], signal.SIGKILL)
                await soon(lambda: len({*children(gateway), *workers}) == 3)
                await s.told(go=True)
                ends = [await rest(reader) for reader in streams]
                for _ in range(STREAMS):
                    await s.good()
            whole = sum(end.endswith(b"data: [DONE]\n\n") for end in ends)
            assert 0 < whole < STREAMS
            assert ends.count(b"") == STREAMS - whole
    note(
        "a killed worker takes only its own requests",
        load=f"{STREAMS} streams",
        fault="one of 2 workers killed",
        outcome="the other's end whole, it is replaced",
        figure=f"{whole} whole, {STREAMS - whole} cut",
    )


async def rest(reader: asyncio.StreamReader) -> bytes:
    """To the stream's last event; empty where the connection is cut before that."""
    try:
        return await reader.readuntil(b"[DONE]\n\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def children(program: Program) -> list[int]:
    listed = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
    return [int(pid) for pid in listed]


async def test_beside_a_killed_gateway_its_requests_at_once_are_free(tmp_path: Path, note: Note) -> None:
    """Two on one state directory; the killed one is not started again."""
    with fault_engine(tmp_path) as engine:
        configured(tmp_path, engine.url, limits={"max_in_flight": 2})
        with gateway_program(tmp_path, name="killed") as killed, gateway_program(tmp_path) as other:
            async with asking(killed, engine, tmp_path) as its, asking(other, engine, tmp_path) as s:
                await its.held(2)
                refused = await s.chat("echo 1")
                assert (refused.status_code, refused.json()["error"]["code"]) == (429, "max_in_flight")
                killed.kill()
                killed_at = time.monotonic()

                async def is_let_in() -> bool:
                    return (await s.chat("echo 1")).status_code == 200

                await soon(is_let_in)
                free_s = time.monotonic() - killed_at
    note(
        "limits count no dead gateway's requests",
        load="2 streams, all that may be at once",
        fault="one of 2 gateways on a state directory killed",
        outcome="the other lets requests in for them",
        figure=f"after {free_s:.1f} s",
    )
