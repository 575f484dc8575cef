"""How a gateway ends when it is told to, and what becomes of a second one beside the first."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import httpx
import pytest

from tests.faults.conftest import Note
from tests.faults.processes import asking, configured, fault_engine, gateway_program, soon
from tests.support.waiting import CLIENT_S

pytestmark = pytest.mark.anyio
STREAMS = 10
A_MINUTE = 12


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def listens(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port_of(url))) == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_told_to_end_it_ends_what_it_accepted_first(tmp_path: Path, note: Note, workers: int) -> None:
    with fault_engine(tmp_path) as engine:
        configured(tmp_path, engine.url, workers=workers)
        with gateway_program(tmp_path) as gateway:
            async with asking(gateway, engine, tmp_path) as s:
                await s.good()
                streams = await s.held(STREAMS)
                gateway.signal(signal.SIGTERM)

                async def not_ready() -> bool:  # each worker has its own signal; the kernel says who answers
                    answers = [await status_of(gateway.url, "GET", "/ready") for _ in range(10)]
                    return answers == [(503, "shutting_down")] * 10

                await soon(not_ready)
                refused = [await status_of(gateway.url, "POST", "/v1/chat/completions") for _ in range(10)]
                assert refused == [(503, "shutting_down")] * 10
                assert listens(gateway.url)
                assert gateway.process.poll() is None
                begun = time.monotonic()
                await s.told(go=True)
                for reader in streams:
                    assert b"[DONE]" in await reader.readuntil(b"[DONE]\n\n")
                assert await gateway.ended() == 0
                took_s = time.monotonic() - begun
                assert not listens(gateway.url)
    note(
        "who is told to end ends what it accepted",
        load=f"{STREAMS} streams",
        fault=f"SIGTERM, {workers} workers",
        outcome="not ready, 503, streams whole, then the port closes",
        figure=f"gone {took_s:.1f} s after the last stream",
    )


async def status_of(url: str, method: str, path: str) -> tuple[int, str]:
    """On a connection of its own."""
    async with httpx.AsyncClient(base_url=url, timeout=CLIENT_S) as client:
        answer = await client.request(method, path, json={} if method == "POST" else None)
    if answer.status_code == 503:
        assert "retry-after" in answer.headers
    return answer.status_code, answer.json().get("error", {}).get("code", "")


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_second_gateway_on_the_port_is_refused(tmp_path: Path, note: Note, workers: int) -> None:
    with fault_engine(tmp_path) as engine:
        configured(tmp_path, engine.url, workers=workers)
        with gateway_program(tmp_path) as first:
            with gateway_program(tmp_path, port_of(first.url), "second", wait=False) as second:
                assert await second.ended() == 2
                assert (
                    f"gateway.port: 127.0.0.1:{port_of(first.url)}: Address already in use" in second.said()
                )
            async with asking(first, engine, tmp_path) as s:
                await s.good()
    note(
        "a second gateway on a port is refused",
        load="none",
        fault=f"the same port, {workers} workers",
        outcome="exit code 2 and the mend, the first serves",
    )


async def test_two_gateways_on_one_state_directory_count_together(tmp_path: Path, note: Note) -> None:
    with fault_engine(tmp_path) as engine:
        configured(tmp_path, engine.url, limits={"requests_per_minute": A_MINUTE})
        with gateway_program(tmp_path, name="one") as one, gateway_program(tmp_path, name="two") as two:
            async with asking(one, engine, tmp_path) as first, asking(two, engine, tmp_path) as second:
                began = time.monotonic()
                asked = [await s.chat("echo x") for _ in range(A_MINUTE) for s in (first, second)]
                passed = [answer.status_code for answer in asked].count(200)
                filled = (time.monotonic() - began) * A_MINUTE / 60
                assert A_MINUTE <= passed <= A_MINUTE + filled
                assert {answer.status_code for answer in asked} == {200, 429}
                one.kill()
                last = await second.chat("echo x")
                assert last.status_code in (200, 429)
    note(
        "two gateways on one state directory count together",
        load=f"{2 * A_MINUTE} requests over both",
        fault=f"a limit of {A_MINUTE} a minute, one killed",
        outcome="the limit holds over both",
        figure=f"{passed} passed",
    )
