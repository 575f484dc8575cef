"""`python -m tests.soak`: mixed traffic of five keys with faults among it, and what is left of it at the end.

`--real` asks a real engine at its own pace. Exit code 1 where an answer was wrong or anything leaked.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from gateway.admission.quotas.account_book import AccountBook
from launch.bench.programs import machine
from launch.bench.results.record import write_result
from tests.soak.fake_traffic import KINDS
from tests.soak.findings import Document, findings, foot, memory, said
from tests.soak.load import Load
from tests.soak.picture import draw
from tests.soak.real_traffic import REAL_KINDS, real_gateway
from tests.soak.subject import FakeEngine, fake_gateway
from tests.soak.watch import Held, Sample, Watched

KEYS = {f"soak-key-{name}": share for name, share in zip("abcde", (3, 1, 1, 1, 1), strict=True)}
MOST_AT_ONCE = 400
REAL_CLIENTS = 8
SAMPLE_EVERY_S = 5.0
IDLE_S = 5.0
"""After so long a kept connection to an engine is not used again."""
WARM_UP_S = 5.0
LOOKS = 4
LIMITS = {"requests_per_minute": 100_000, "tokens_per_minute": 100_000_000, "max_in_flight": 300}
A_FAULT_EVERY_S = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second, on the fake engine")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--real", action="store_true", help="on a real engine, at its pace")
    parser.add_argument("--output", type=Path, default=Path("tests/bench/results"))
    options = parser.parse_args()
    name = "soak-real" if options.real else "soak"
    with tempfile.TemporaryDirectory(prefix="lora-gateway-soak-") as folder:
        document, samples = asyncio.run(soak(Path(folder), name, options))
    path = write_result(options.output, name, document)
    picture = draw(samples, f"{name}, {options.minutes:g} minutes", foot(document))
    path.with_suffix(".svg").write_text(picture, encoding="utf-8")
    print("\n".join([*said(document), str(path)]))
    return 1 if document["faults"] else 0


async def soak(folder: Path, name: str, options: argparse.Namespace) -> tuple[Document, Sequence[Sample]]:
    """Everything, as a document, and the series in it."""
    about = machine.describe({})
    keys = {key[-1]: {"sha256": hashlib.sha256(key.encode()).hexdigest(), "limits": LIMITS} for key in KEYS}
    kinds, most_at_once, per_s = KINDS, MOST_AT_ONCE, float(options.rate)
    if options.real:
        kinds, most_at_once, per_s = REAL_KINDS, REAL_CLIENTS, 0.0
    with real_gateway(folder, keys) if options.real else fake_gateway(folder, keys) as subject:
        watched = Watched(subject.pid, subject.port, subject.tasks, next(iter(KEYS)))
        warm_up = Load(subject.port, list(KEYS.items()), kinds, options.seed, 8)
        await warm_up.run(per_s and 100.0, WARM_UP_S)
        await warm_up.end()
        load = Load(subject.port, list(KEYS.items()), kinds, options.seed, most_at_once)
        before = await at_rest(watched, load)
        samples: list[Sample] = []
        beside = [asyncio.create_task(watch(watched, load, samples))]
        if subject.engine is not None:
            beside.append(asyncio.create_task(fail(load, subject.engine, options.seed)))
        await load.run(per_s, options.minutes * 60)
        for task in beside:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await load.end()
        after = await at_rest(watched, load)
        reserved = reservations(subject.state)
        watched.close()
    document: Document = {
        "what": name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": about,
        "settings": {
            "minutes": options.minutes,
            "rate": per_s,
            "seed": options.seed,
            "most_at_once": most_at_once,
        },
        "requests": sum(load.verdicts.values()),
        "skipped": load.skipped,
        "verdicts": dict(load.verdicts),
        "by_kind": {kind: dict(found) for kind, found in sorted(load.by_kind.items())},
        "by_key": {key: dict(found) for key, found in sorted(load.by_key.items())},
        "wrong": load.wrong,
        "before": asdict(before),
        "after": asdict(after),
        "reservations_left": reserved,
        "memory_mib": memory(samples),
        "samples": [one.row() for one in samples],
    }
    document["faults"] = findings(document, before, after)
    return document, samples


async def fail(load: Load, engine: FakeEngine, seed: int) -> None:
    """Take the engine away at moments that the seed gives."""
    chance = random.Random(seed)
    while True:
        await asyncio.sleep(A_FAULT_EVERY_S * chance.uniform(0.5, 1.5))
        load.away = True
        await engine.away()
        load.back()


async def watch(watched: Watched, load: Load, samples: list[Sample]) -> None:
    loop = asyncio.get_running_loop()
    began = last = loop.time()
    while True:
        await asyncio.sleep(SAMPLE_EVERY_S)
        now = loop.time()
        times, load.times_s = load.times_s, []
        samples.append(await watched.sample(now - began, times, now - last, load.verdicts))
        last = now


async def at_rest(watched: Watched, load: Load) -> Held:
    """Once kept connections are old: the next request to an engine closes them."""
    held = await watched.held()
    for _ in range(6):
        await asyncio.sleep(IDLE_S)
        last = Load(load.port, load.keys, load.kinds[:1], 0, 1)
        await last.run(10.0, 0.5)
        await last.end()
        await asyncio.sleep(1.0)
        held = await watched.held()
        if not held.in_flight and not held.open_connections:
            break
    for _ in range(LOOKS):  # a task that comes and goes, as a look at the engine, is nothing left
        await asyncio.sleep(1.0)
        held = min(held, await watched.held(), key=lambda one: one.tasks)
    return held


def reservations(state: Path) -> int:
    """What keys still have in flight, by the book that limits are counted in."""
    book = AccountBook(state)
    with book.locked():
        return sum(book.in_flight(f"key:{key[-1]}") for key in KEYS)


if __name__ == "__main__":
    sys.exit(main())
