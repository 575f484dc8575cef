"""A real vLLM on a node of a Ray cluster: served, lost with its node, and proven again on another."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from launch.machine.threads import in_thread
from tests.faults.conftest import Note
from tests.faults.traffic import LOST, one_of, traffic
from tests.scale.deployment import Deployment, deployed, written_real
from tests.scale.nodes import nodes
from tests.support.waiting import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.real]
START_S = 600.0
QUESTION = {
    "model": "naming",
    "messages": [{"role": "user", "content": "apple, pear, plum"}],
    "max_tokens": 8,
    "temperature": 0,
}


async def test_two_real_engines_answer_alike_and_one_goes_on_without_the_other(
    tmp_path: Path, note: Note
) -> None:
    with nodes() as cluster:
        written_real(tmp_path, cluster.address, {"replicas": 2})
        with deployed(tmp_path) as running:
            await running.until_ready(2, START_S)
            loads_s = [one.load_s for one in running.engines.values()]
            (lost,) = (name for name, one in running.engines.items() if "127.0.0.3" in one.url)
            right = await answered(running)
            async with traffic(
                running.gateway.url, "naming", one_of([right]), clients=4, more=QUESTION
            ) as seen:
                await eventually(lambda: len(seen.replicas) == 2 and seen.outcomes["right"] > 40, 120)
                killed = time.monotonic()
                await in_thread(cluster.kill)
                await eventually(lambda: running.engines[lost].state != "ready", 120)
                noticed_s = time.monotonic() - killed
                after = seen.outcomes["right"]
                await eventually(lambda: seen.outcomes["right"] > after + 40, 120)
            assert seen.outcomes["wrong"] == 0
    note(
        "of two real engines one goes on without the other",
        load=f"4 clients, {seen.outcomes['right']} right",
        fault="SIGKILL to one node",
        outcome=f"refused: {dict(seen.refused) or 'none'}; {seen.outcomes[LOST]} lost",
        figure=f"ready after {loads_s} s, noticed {noticed_s:.1f} s",
    )


async def answered(running: Deployment) -> str:
    async with httpx.AsyncClient(base_url=running.gateway.url, timeout=120) as client:
        answer = await client.post("/v1/chat/completions", json=QUESTION)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] in running.ids()
    return str(answer.json()["choices"][0]["message"]["content"])


async def test_a_lost_nodes_engine_answers_the_same_on_another(tmp_path: Path, note: Note) -> None:
    with nodes() as cluster:
        written_real(tmp_path, cluster.address)
        with deployed(tmp_path) as running:
            await running.until_ready(1, START_S)
            engine = running.engines["engine-0"]
            before, load_s = await answered(running), engine.load_s
            assert "127.0.0.3" in engine.url
            async with httpx.AsyncClient() as client:  # its key is asked for on the node's address
                assert (await client.get(f"{engine.url}/v1/models")).status_code == 401
            killed = time.monotonic()
            await in_thread(cluster.kill)
            await eventually(lambda: running.engines["engine-0"].state != "ready", 120)
            noticed_s = time.monotonic() - killed
            await in_thread(cluster.add)
            await running.until_ready(1, START_S)
            assert running.engines["engine-0"].pid != engine.pid
            assert running.engines["engine-0"].loaded == engine.loaded
            assert await answered(running) == before
            again_s = running.engines["engine-0"].load_s
    note(
        "a lost node's real engine is proven on another and answers the same",
        load="the demo's base and two adapters",
        fault="SIGKILL to its node, another added",
        outcome="the same answer; without the key 401",
        figure=f"first start {load_s} s, noticed {noticed_s:.1f} s, ready again in {again_s} s",
    )
