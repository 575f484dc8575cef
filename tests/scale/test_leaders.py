"""Two control planes, one after the other, for the same engines on a Ray cluster."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.conftest import Note
from tests.faults.redis.several import needs_redis
from tests.faults.traffic import one_of, traffic
from tests.scale.deployment import deployed, written_for_leaders
from tests.scale.nodes import nodes
from tests.support.real.redis_server import RedisServer
from tests.support.waiting import eventually

pytestmark = [pytest.mark.anyio, needs_redis]
ENOUGH = 100
ENDS_S = 30.0


async def test_another_leader_finds_the_engines_and_the_earlier_one_leaves_them(
    tmp_path: Path, redis: RedisServer, note: Note
) -> None:
    with nodes() as cluster:
        second_folder = written_for_leaders(tmp_path, cluster.address, redis.url)
        with deployed(tmp_path) as first:
            await first.until_ready(2)
            before = {name: (one.pid, one.url) for name, one in first.engines.items()}
            assert not any("127.0.0.1" in url for _, url in before.values()), (
                "gateways elsewhere ask them too"
            )
            with deployed(second_folder) as second:
                await eventually(lambda: second.ready() == 2, 60)
                async with traffic(second.gateway.url, "naming", one_of(first.ids())) as seen:
                    await eventually(lambda: seen.outcomes["right"] > ENOUGH, 60)
                    stopped = time.monotonic()
                    os.kill(first.control.process.pid, signal.SIGSTOP)
                    await eventually(lambda: "this control plane leads" in second.control.said(), 60)
                    await eventually(lambda: "engine-1: ready" in second.control.said(), 90)
                    took_s = time.monotonic() - stopped
                    os.kill(first.control.process.pid, signal.SIGCONT)
                    await eventually(lambda: first.control.said().count("left to another") == 2, 60)
                    answered = seen.outcomes["right"]
                    await eventually(lambda: seen.outcomes["right"] > answered + ENOUGH, 60)
                    assert {name: (one.pid, one.url) for name, one in second.engines.items()} == before
                    assert seen.outcomes["wrong"] == 0
                    refused = dict(seen.refused)
                    right = seen.outcomes["right"]
                # What stands by ends first, so that the engines end with their leader.
                first.control.process.terminate()
                with suppress(TimeoutError):
                    await eventually(lambda: first.control.process.poll() is not None, ENDS_S)
    note(
        "another control plane that leads finds the engines on Ray; the earlier one leaves them",
        load=f"8 clients, answers of 50 ms, {right} right",
        fault="SIGSTOP to the leader, SIGCONT once the other leads",
        outcome=f"the same processes, proven anew, 0 wrong; refused: {refused or 'none'}",
        figure=f"both ready with the other {took_s:.1f} s after the first was stopped",
    )
