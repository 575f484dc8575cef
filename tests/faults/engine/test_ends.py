"""An attached engine that ends or stands still under requests, and comes back: nobody restarts it."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.faults.conftest import Note
from tests.faults.processes import QUICK, asking, configured, fault_engine, gateway_program, served, soon

pytestmark = pytest.mark.anyio
STREAMS = 10


async def test_a_killed_engine_breaks_its_requests_off_and_is_asked_again(tmp_path: Path, note: Note) -> None:
    with fault_engine(tmp_path) as engine:
        configured(tmp_path, engine.url)
        port = int(engine.url.rpartition(":")[2])
        with gateway_program(tmp_path) as gateway:
            async with asking(gateway, engine, tmp_path) as s:
                streams = await s.held(STREAMS)
                whole = [asyncio.create_task(s.chat("silent")) for _ in range(STREAMS)]

                async def all_there() -> bool:
                    return (await s.told())["active"] == 2 * STREAMS

                await soon(all_there)
                engine.kill()
                for reader in streams:
                    end = await reader.readuntil(b"0\r\n\r\n")
                    assert b'"code":"engine_error"' in end
                assert {(await one).status_code for one in whole} == {502}
                gone = await s.chat("echo x")
                assert (gone.status_code, gone.json()["error"]["code"]) == (502, "engine_unreachable")
                with fault_engine(tmp_path, port):
                    back = time.monotonic()
                    await s.good()
                    back_s = time.monotonic() - back
                    await s.at_rest()
    note(
        "a killed engine is asked again once it is back",
        load=f"{2 * STREAMS} requests",
        fault="engine SIGKILL",
        outcome="502 or an error event for each, then answered",
        figure=f"first answer {back_s * 1000:.0f} ms after it listens",
    )


async def test_a_stopped_engine_costs_its_requests_their_time_and_no_more(tmp_path: Path, note: Note) -> None:
    async with served(tmp_path, **QUICK) as s:
        await s.good()
        s.engine.signal(signal.SIGSTOP)
        began = time.monotonic()
        told = await asyncio.gather(*(s.chat("echo x") for _ in range(STREAMS)))
        took_s = time.monotonic() - began
        assert {(one.status_code, one.json()["error"]["code"]) for one in told} == {(504, "timeout")}
        s.engine.signal(signal.SIGCONT)
        await s.good()
        await s.at_rest()
    note(
        "a stopped engine costs its requests their time",
        load=f"{STREAMS} requests",
        fault="engine SIGSTOP, first_byte_timeout_s 3",
        outcome="504 for each, then answered",
        figure=f"told after {took_s:.1f} s",
    )
