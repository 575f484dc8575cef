"""Engines on two nodes of a Ray cluster: one lost under load, an adapter replaced, both found again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.adapters.check import adapter_id
from launch.base.lora_shapes import describe_base
from launch.bench.engine.dummy_adapters import AdapterShape, write_dummy_adapter
from launch.machine.files import CONFIG, WEIGHTS
from launch.machine.threads import in_thread
from tests.fakes.fake_stack import LAYOUT
from tests.faults.conftest import Note
from tests.faults.promises import median_ms
from tests.faults.traffic import one_of, traffic
from tests.scale.deployment import Deployment, deployed, written
from tests.scale.nodes import Nodes, nodes
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio
LOAD = "8 clients, answers of 50 ms"
ENOUGH = 100
"""Right answers before and after what is done."""


@pytest.fixture
def cluster() -> Iterator[Nodes]:
    with nodes() as made:
        yield made


@pytest.fixture
def running(cluster: Nodes, tmp_path: Path) -> Iterator[Deployment]:
    written(tmp_path, cluster.address, {"replicas": 2}, ["--takes-ms", "50"])
    with deployed(tmp_path) as made:
        yield made


async def test_a_node_that_is_killed_costs_what_it_had_and_its_engine_comes_back(
    cluster: Nodes, running: Deployment, note: Note
) -> None:
    await running.until_ready(2)
    (lost,) = (name for name, one in running.engines.items() if "127.0.0.3" in one.url)
    before = running.engines[lost].pid
    async with traffic(running.gateway.url, "naming", one_of(running.ids())) as seen:
        await eventually(lambda: len(seen.replicas) == 2 and seen.outcomes["right"] > ENOUGH, 60)
        answered = seen.outcomes["right"]
        killed = time.monotonic()
        await in_thread(cluster.kill)
        await eventually(lambda: running.engines[lost].state != "ready", 60)
        noticed_s = time.monotonic() - killed
        await eventually(lambda: seen.outcomes["right"] > answered + ENOUGH, 60)
        assert running.ready() == 1
        added = time.monotonic()
        await in_thread(cluster.add)
        await running.until_ready(2)
        back_s = time.monotonic() - added
        seen.replicas.clear()
        await eventually(lambda: seen.replicas[lost] > ENOUGH // 4, 60)
    assert running.engines[lost].pid != before
    assert running.engines[lost].loaded == sorted(running.ids())
    assert seen.outcomes["wrong"] == 0, seen.wrong[:3]
    assert sum(seen.refused.values()) <= 2 * 8, seen.refused  # at most what was there, and one more of each
    note(
        "a lost node costs only what it had, and its engine comes back proven",
        load=f"{LOAD}, {seen.outcomes['right']} right, 0 wrong",
        fault="SIGKILL to a node of two, another added",
        outcome=f"refused: {_shown(seen.refused)}; the other node served on",
        figure=f"noticed {noticed_s:.1f} s, longest gap {seen.longest_gap_s():.2f} s, "
        f"serves {back_s:.1f} s after a node is there",
    )


async def test_an_adapter_is_replaced_on_all_engines_under_load(running: Deployment, note: Note) -> None:
    await running.until_ready(2)
    old = running.ids()
    known = set(old)
    new = running.folder / "naming-2"
    base = running.folder / "base"
    write_dummy_adapter(new, describe_base(str(base), "base", LAYOUT), AdapterShape(4, ()), seed=2)
    known.add(adapter_id("naming", (new / CONFIG).read_bytes(), new / WEIGHTS))
    async with traffic(running.gateway.url, "naming", one_of(known)) as seen:
        await eventually(lambda: seen.outcomes["right"] > ENOUGH, 60)
        began = time.monotonic()
        fields = {"task": "naming", "source": str(new)}
        added = await in_thread(running.client.ask, "POST", "/adapters", fields)
        took_s = time.monotonic() - began
        await eventually(lambda: seen.outcomes["right"] > 3 * ENOUGH, 60)
        fresh = traffic(running.gateway.url, "naming", one_of({added["id"]}), clients=2)
        async with fresh as after:
            await eventually(lambda: after.outcomes["right"] > ENOUGH // 2, 60)
    assert added["id"] not in old
    assert (seen.outcomes["wrong"], seen.refused) == (0, {})
    assert (after.outcomes["wrong"], after.refused) == (0, {})
    assert set(added["loaded_on"][added["id"]]) == {"engine-0", "engine-1"}
    note(
        "an adapter is replaced on all engines without a refusal",
        load=f"{LOAD}, {seen.outcomes['right']} right, 0 wrong",
        fault="another adapter for the task",
        outcome="only the new one from then on",
        figure=f"loaded and proven on 2 engines in {took_s:.1f} s, {median_ms(seen.took_s)}",
    )


async def test_a_control_plane_that_comes_back_finds_its_engines(
    cluster: Nodes, tmp_path: Path, note: Note
) -> None:
    written(tmp_path, cluster.address, {"replicas": 2}, ["--takes-ms", "50"])
    with deployed(tmp_path) as first:
        await first.until_ready(2)
        pids = {one.pid for one in first.engines.values()}
        async with traffic(first.gateway.url, "naming", one_of(first.ids())) as seen:
            await eventually(lambda: seen.outcomes["right"] > ENOUGH, 60)
            first.control.kill()
            answered = seen.outcomes["right"]
            await eventually(lambda: seen.outcomes["right"] > answered + ENOUGH, 60)
            version = first.snapshot.version
            with deployed(tmp_path) as second:
                took_s = await second.until_taken_up(version, 2)
                assert {one.pid for one in second.engines.values()} == pids
                assert seen.outcomes["wrong"] == 0
                refused = dict(seen.refused)
    note(
        "a control plane that is killed leaves engines serving, and finds them again",
        load=f"{LOAD}, 0 wrong",
        fault="SIGKILL to the control plane, started again",
        outcome=f"the same processes, proven anew; refused: {_shown(refused)}",
        figure=f"both ready {took_s:.1f} s after its start",
    )


def _shown(refused: dict[str, int]) -> str:
    return ", ".join(f"{count} x {code}" for code, count in sorted(refused.items())) or "none"
