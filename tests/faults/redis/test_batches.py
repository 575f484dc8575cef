"""Batches of gateways with a state directory each and one folder in common: one ends, another goes on."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import httpx
import pytest

from gateway.batches.lease import SILENT_S
from tests.faults.conftest import Note
from tests.faults.processes import Program, Served, soon
from tests.faults.redis.several import needs_redis, several
from tests.support.batches.batch_stack import CHAT, jsonl, line
from tests.support.real.redis_server import RedisServer

pytestmark = [pytest.mark.anyio, needs_redis]

LINES = 80
AT_ONCE = 4
FAULTS = {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP}


async def begun(client: httpx.AsyncClient) -> str:
    data = jsonl([line(number, text=f"slow {number} b c d e") for number in range(LINES)])
    file = await client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("input.jsonl", data)})
    made = {"input_file_id": file.json()["id"], "endpoint": CHAT, "completion_window": "24h"}
    answer = await client.post("/v1/batches", json=made)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def completed(s: Served, batch_id: str) -> int:
    answer = await s.client.get(f"/v1/batches/{batch_id}")
    return int(answer.json()["request_counts"]["completed"])


async def output(s: Served, batch_id: str) -> bytes:
    batch = (await s.client.get(f"/v1/batches/{batch_id}")).json()
    assert batch["error_file_id"] is None, batch
    return (await s.client.get(f"/v1/files/{batch['output_file_id']}/content")).content


@pytest.mark.parametrize("fault", FAULTS)
async def test_another_gateway_goes_on_with_a_batch(
    tmp_path: Path, redis: RedisServer, engine: Program, note: Note, fault: str
) -> None:
    common = tmp_path / "common"
    common.mkdir()
    batches = {"max_in_flight": AT_ONCE}
    async with several(tmp_path, engine, [redis.url] * 2, common=common, batches=batches) as (a, b):
        batch_id = await begun(b.client)

        async def some() -> bool:
            return await completed(b, batch_id) >= LINES // 5

        await soon(some)
        a.gateway.signal(FAULTS[fault])
        faulty = time.monotonic()
        await soon(lambda: "goes on with them" in b.gateway.said())
        took_s = time.monotonic() - faulty

        async def over() -> bool:
            answer = await b.client.get(f"/v1/batches/{batch_id}")
            return str(answer.json()["status"]) == "completed"

        await soon(over)
        before = await output(b, batch_id)
        if fault == "stopped":
            a.gateway.signal(signal.SIGCONT)
            await soon(lambda: "has gone on with the batches" in a.gateway.said())
            assert await output(a, batch_id) == before, "who wakes up changes nothing of it"
        answered = (await b.told())["answered"]
    assert took_s < SILENT_S + 4
    results = [json.loads(each) for each in before.splitlines()]
    assert sorted(int(one["custom_id"][1:]) for one in results) == list(range(LINES))
    for one in results:
        said = one["response"]["body"]["choices"][0]["message"]["content"].split()
        assert said == [one["custom_id"][1:], *"bcde"]
    assert answered <= LINES + AT_ONCE
    note(
        "another gateway goes on with a batch",
        load=f"2 gateways, a folder in common, {LINES} lines",
        fault=f"the one that runs it {fault}",
        outcome=f"{LINES} results, none twice; {answered - LINES} lines asked again",
        figure=f"after {took_s:.1f} s",
    )
