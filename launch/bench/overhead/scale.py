"""How the gateway takes many tasks, many clients, large bodies and slow readers."""

from __future__ import annotations

import http.client
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from launch.base.steps import Steps
from launch.bench.overhead import payload
from launch.bench.overhead.idle import held_idle, raise_open_files
from launch.bench.overhead.overhead import RowList, order, settle
from launch.bench.overhead.slow_readers import measure_slow_readers
from launch.bench.overhead.stream_load import connect, request_bytes
from launch.bench.overhead.subjects import Checkout, start_gateway, start_mock, start_upstream
from launch.bench.overhead.ticker import ticking
from launch.bench.overhead.wrk import run_wrk
from launch.bench.programs import proc
from launch.bench.programs.running import Programs, ProxyUnderTest, post
from launch.bench.results.record import visits
from launch.machine.memory import MIB
from launch.simulation.figures import percentile

FEW_TASKS = 3
CONNECTIONS = (1, 64)
"""With few tasks and with many."""
MANY_MODELS = 1000
"""Of the many tasks, wrk asks this many in turn: its Lua script holds one request for each."""


@dataclass(frozen=True)
class ScalePlan:
    """How much is measured; sizes in bytes."""

    tasks: int = 10_000
    rounds: int = 3
    load_s: float = 3.0
    clients: int = 10_000
    bodies: tuple[tuple[int, int], ...] = ((1_000, 3_000), (100_000, 1_500), (10_000_000, 30))
    readers: int = 1_000
    readers_s: float = 20.0

    @classmethod
    def quick(cls) -> ScalePlan:
        """A smoke run: the same sizes, little time on each."""
        bodies = ((1_000, 500), (100_000, 300), (10_000_000, 5))
        return cls(rounds=1, load_s=1.0, clients=2_000, bodies=bodies, readers=200, readers_s=8.0)


def measure_scale(programs: Programs, folder: Path, checkout: Checkout, plan: ScalePlan) -> dict[str, object]:
    """All four; the figures as they stand in the results. Raises EngineFailure."""
    loads = 2 * len(CONNECTIONS) * plan.rounds
    with visits(loads + 1 + len(plan.bodies) + 1) as steps:
        return _measured(programs, folder, checkout, plan, steps)


def _measured(
    programs: Programs, folder: Path, checkout: Checkout, plan: ScalePlan, steps: Steps
) -> dict[str, object]:
    steps.now(f"tasks: {FEW_TASKS} against {plan.tasks}")
    upstream = start_upstream(programs, folder / "upstream", plan.tasks)
    found: dict[str, object] = {"tasks": _measure_tasks(programs, folder, upstream, checkout, plan, steps)}
    open_files = raise_open_files()
    # A descriptor each here and in the gateway; 500 are left for whatever else either has open.
    clients = max(1, min(plan.clients, open_files - 500))
    steps.now(f"{clients} idle clients")
    with_bodies, child, _ = start_gateway(
        programs, folder / "wide", upstream, checkout, FEW_TASKS, max_body_bytes=32 * MIB
    )
    found["idle"] = {"asked": plan.clients, "open_files": open_files} | _measure_idle(
        with_bodies, folder, clients, plan
    )
    child.stop(3.0)
    steps.done(f"{clients} idle clients")
    bodies: list[dict[str, object]] = []
    for size, count in plan.bodies:
        steps.now(f"bodies of {size:,} bytes")
        # A gateway of its own for each size: what an allocator kept from the last would hide the peak.
        subject, child, _ = start_gateway(
            programs, folder / f"body-{size}", upstream, checkout, FEW_TASKS, max_body_bytes=32 * MIB
        )
        row = _measure_bodies(subject, ProxyUnderTest("direct", upstream), size, count)
        bodies.append({"bytes": size, **row})
        child.stop(3.0)
        steps.done(f"bodies of {size:,} bytes")
    found["bodies"] = bodies
    steps.now(f"{plan.readers} slow readers for {plan.readers_s:.0f} s")
    mock = start_mock(programs)
    subject, child, _ = start_gateway(programs, folder / "slow", mock, checkout)
    found["slow_readers"] = measure_slow_readers(subject, mock, folder, plan.readers, plan.readers_s)
    child.stop(3.0)
    steps.done(f"{plan.readers} slow readers for {plan.readers_s:.0f} s")
    return found


def _measure_tasks(
    programs: Programs, folder: Path, upstream: str, checkout: Checkout, plan: ScalePlan, steps: Steps
) -> dict[str, object]:
    subjects: dict[str, ProxyUnderTest] = {}
    starts: dict[str, dict[str, object]] = {}
    models: dict[str, list[str]] = {}
    for count in (FEW_TASKS, plan.tasks):
        name = f"{count}-tasks"
        subject, _, started_s = start_gateway(programs, folder / name, upstream, checkout, count)
        subject.name = name
        subjects[name] = subject
        names = payload.task_names(count)
        # Spread over all of them, not the first ones.
        models[name] = names[:: max(1, len(names) // MANY_MODELS)][:MANY_MODELS]
        listing_ms, listing_bytes = _timed_get(subject, "/v1/models")
        misspelt_ms = _misspelt_ms(subject)
        starts[name] = {
            "started_s": started_s,
            "resident_mib": proc.resident_bytes(subject.pids) / MIB,
            "models_list_ms": listing_ms,
            "models_list_bytes": listing_bytes,
            "unknown_model_ms": misspelt_ms,
        }
    rows: RowList = []
    for number, connections in itertools.product(range(plan.rounds), CONNECTIONS):
        for name in order(list(subjects), number, 1):
            which = f"round {number + 1} of {plan.rounds}: {name}, {connections} connections"
            steps.now(which)
            settle(subjects.values())
            figures = run_wrk(subjects[name], folder, connections, plan.load_s, models[name])
            rows.append({"round": number, "cell": f"whole-{connections}", "subject": name, **figures.row()})
            steps.done(f"{which}: {figures.per_s:,.0f} requests/s")
    return {"starts": starts, "rounds": rows}


def _timed_get(subject: ProxyUnderTest, path: str) -> tuple[float, int]:
    parts = urlsplit(subject.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        began = time.perf_counter()
        connection.request("GET", path, headers=subject.headers)
        body = connection.getresponse().read()
        return (time.perf_counter() - began) * 1000, len(body)
    finally:
        connection.close()


def _misspelt_ms(subject: ProxyUnderTest) -> float:
    """A model that does not exist: the answer names the nearest, which takes a search."""
    began = time.perf_counter()
    status, _ = post(subject.url + payload.CHAT_PATH, payload.chat_body("namimg"), subject.headers)
    assert status == 404, status
    return (time.perf_counter() - began) * 1000


def _measure_idle(subject: ProxyUnderTest, folder: Path, clients: int, plan: ScalePlan) -> dict[str, object]:
    # What first requests leave in memory is there before anything is counted to the idle ones.
    run_wrk(subject, folder, 64, 1.0)
    alone = run_wrk(subject, folder, 1, plan.load_s)
    before = proc.resident_bytes(subject.pids)
    with held_idle(subject, clients) as opened:
        after = proc.resident_bytes(subject.pids)
        beside = run_wrk(subject, folder, 1, plan.load_s)
    return {
        "clients": opened,
        "bytes_per_client": (after - before) / max(1, opened),
        "alone": alone.row(),
        "beside_idle": beside.row(),
    }


def _measure_bodies(
    subject: ProxyUnderTest, direct: ProxyUnderTest, size: int, count: int
) -> dict[str, object]:
    """Sequential requests with a body of one size; small ones go through the gateway beside them.

    The pauses are also taken while the same bodies go directly to the engine: what shows there is the load
    generator's own core, not the gateway.
    """
    body = payload.chat_body(content="x" * size)
    with ticking(subject) as beside_direct:
        direct_us = uvloop.run(_ask_many(direct, body, count))
    with ticking(subject) as beside:
        before = proc.resident_bytes(subject.pids)
        proc.forget_peak(subject.pids)
        through_us = uvloop.run(_ask_many(subject, body, count))
        peak = proc.peak_bytes(subject.pids)
    return {
        "count": count,
        "p50_us": percentile(through_us, 0.5),
        "direct_p50_us": percentile(direct_us, 0.5),
        "added_p50_us": percentile(through_us, 0.5) - percentile(direct_us, 0.5),
        "peak_over_body": (peak - before) / size,
        "small_requests": _rounded(beside),
        "small_requests_beside_direct": _rounded(beside_direct),
    }


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {key: round(value, 1) for key, value in figures.items()}


async def _ask_many(subject: ProxyUnderTest, body: bytes, count: int) -> list[float]:
    url = subject.url + payload.CHAT_PATH
    request = request_bytes(url, body, subject.headers)
    client = await connect(url)
    taken: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        await client.ask(request)
        assert client.status == 200, client.status
        taken.append((time.perf_counter() - began) * 1e6)
    client.transport.close()
    return taken
