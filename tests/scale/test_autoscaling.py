"""The number of engines on a real cluster follows what clients wait for: up, down, to none and back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Note
from tests.faults.traffic import one_of, traffic
from tests.scale.deployment import Deployment, deployed, written
from tests.scale.nodes import nodes
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio
COOL_DOWN_S = 3.0
BOUNDS = {"min": 0, "max": 2, "wait_s": 0.2, "in_flight": 4, "add_every_s": 1, "remove_after_s": COOL_DOWN_S}
REPORTED_S = 1.0
"""What a gateway's report may be old, and the answer that came last was no need of two."""
PLACES = 4
"""Of the whole gateway, for 16 clients whose answers take 200 ms: who comes last waits 0.6 s."""
ENOUGH = 60


async def test_a_control_plane_that_comes_back_has_all_engines_that_served(
    tmp_path: Path, note: Note
) -> None:
    """Those beyond the least would hold what is reserved for them, and serve nobody."""
    bounds = {**BOUNDS, "min": 1, "remove_after_s": 600}
    with nodes() as cluster:
        arguments = ["--takes-ms", "200"]
        written(tmp_path, cluster.address, {"replicas": bounds}, arguments, gateway={"max_in_flight": PLACES})
        with deployed(tmp_path) as first:
            await first.until_ready(1)
            async with traffic(first.gateway.url, "naming", one_of(first.ids()), clients=16):
                await first.until_ready(2)
            pids = {one.pid for one in first.engines.values()}
            version = first.snapshot.version
            first.control.kill()
            with deployed(tmp_path) as second:
                took_s = await second.until_taken_up(version, 2)
                assert {one.pid for one in second.engines.values()} == pids
    note(
        "a control plane that comes back has all engines that served, however few there must be",
        load="none",
        fault="SIGKILL to the control plane with two engines where one is the least, started again",
        outcome="the same processes, proven anew",
        figure=f"both ready {took_s:.1f} s after its start",
    )


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Deployment]:
    with nodes() as cluster:
        arguments = ["--takes-ms", "200"]
        written(tmp_path, cluster.address, {"replicas": BOUNDS}, arguments, gateway={"max_in_flight": PLACES})
        with deployed(tmp_path) as made:
            yield made


def states(running: Deployment) -> list[str]:
    return sorted(one.state for one in running.engines.values())


async def test_engines_come_with_the_queue_and_go_with_it(running: Deployment, note: Note) -> None:
    await eventually(lambda: states(running) == ["stopped", "stopped"], 90)
    came_s: list[float] = []
    ids = sorted(running.ids())
    began = time.monotonic()
    async with traffic(running.gateway.url, "naming", one_of(ids), clients=16) as seen:
        for count in (1, 2):
            await running.until_ready(count)
            came_s.append(time.monotonic() - began)
            assert [one.loaded for one in running.engines.values() if one.state == "ready"] == [ids] * count
        await eventually(lambda: len(seen.replicas) == 2 and min(seen.replicas.values()) > ENOUGH, 60)
        assert running.ready() == 2, "while it is needed, none goes"
    ended = time.monotonic()
    went_s: list[float] = []
    for count in (1, 0):
        await running.until_ready(count)
        went_s.append(time.monotonic() - ended)
    await eventually(lambda: states(running) == ["stopped", "stopped"], 60)
    again = time.monotonic()
    async with traffic(running.gateway.url, "naming", one_of(ids), clients=1) as fresh:
        await eventually(lambda: fresh.outcomes["right"] > 0, 60)
        back_s = time.monotonic() - again
        assert running.ready() == 1
    assert (seen.outcomes["wrong"], seen.refused) == (0, {})
    assert (fresh.outcomes["wrong"], fresh.refused) == (0, {})
    assert went_s[0] >= COOL_DOWN_S - REPORTED_S
    assert went_s[1] - went_s[0] >= COOL_DOWN_S - REPORTED_S
    note(
        "engines follow the queue between none and two, complete before they serve",
        load=f"none, 16 clients on {PLACES} places, none, one; {seen.outcomes['right']} right, 0 wrong",
        fault=f"none; cool-down {COOL_DOWN_S:.0f} s",
        outcome="0, 1, 2, 1, 0 and 1 engines; the first requests waited, none was refused",
        figure=f"first after {came_s[0]:.1f} s, second after {came_s[1]:.1f} s; gone {went_s[0]:.1f} and "
        f"{went_s[1]:.1f} s after the last request; from none answered after {back_s:.1f} s",
    )
