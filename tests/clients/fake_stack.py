"""A gateway before a fake engine: `python -m tests.clients.fake_stack FOLDER [agents|cold|failed|several]`.

It runs where the project is installed, and prints its address. For a client's errors `concept` never answers
and has one place and no queue, so that a second request is one too many; `team-a` may call only that and
`naming`. For coding agents the engine has a parser of tool calls, and nothing else is set. `cold` and
`failed` are states of an engine that the page shows, `several` are engines of which each has some of the
adapters; nobody needs a key there.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from pathlib import Path

import msgspec

from tests.fakes.fake_control import FakeControl, engine_of, snapshot_with
from tests.fakes.fake_engine import Answer
from tests.support.stack import Stack, config_of, stack, write_report

KEYS = {"whole": None, "team-a": ["concept", "naming"]}
"""A key is its own name here."""
NOT_READY: dict[str, dict[str, object]] = {
    "cold": {"state": "stopped", "lazy": True},
    "failed": {
        "state": "failed",
        "kind": "out_of_memory",
        "reason": "out of memory: 9 GiB are wanted, 4 are free",
    },
}
NAMES = (
    "concept",
    "naming",
    "relationship",
    "attribute",
    "synonym",
    "example",
    "translation-to-plain-english",
)
IDS = [f"{name}@{number:012x}" for number, name in enumerate(NAMES, 0xA1)]
ON = {"engine-0": IDS[:4], "engine-1": IDS[3:6], "engine-2": [], "engine-3": []}
COMING, LEAVING = {"engine-1": IDS[:1]}, {"engine-0": IDS[3:4]}
STATES = {"engine-0": "ready", "engine-1": "ready", "engine-2": "starting", "engine-3": "stopped"}
SHARES = "48.2 of 90.0 tokens/s, more than one engine is given"
PLACEMENT = {
    "policy": "auto",
    "planned": True,
    "min_replicas": 1,
    "moves_left": 11,
    "engines": [
        {
            "name": name,
            "state": STATES[name],
            "slots": 4,
            "adapters": held,
            "coming": COMING.get(name, []),
            "leaving": LEAVING.get(name, []),
        }
        for name, held in ON.items()
    ],
    "adapters": [
        {
            "id": adapter_id,
            "tokens_per_s": round(48.2 / (number + 1), 1) if number < 6 else 0.0,
            "homes": ["engine-0", "engine-1"] if number == 0 else ["engine-0" if number < 3 else "engine-1"],
            "loaded_on": [name for name, held in ON.items() if adapter_id in held],
            "why": SHARES if number == 0 else "its first home by its name has a slot for it",
        }
        for number, adapter_id in enumerate(IDS)
    ],
    "moves": [
        {
            "at": 1_790_000_000.0 + number,
            "id": IDS[number],
            "engine": "engine-1",
            "did": "loaded",
            "why": "it had no engine",
        }
        for number in range(3, 6)
    ],
}
"""As the control plane tells it (`Mover.shown`) where one home is asked for, which is not the default."""


async def main(folder: Path, purpose: str) -> None:
    keys = {
        name: {"sha256": hashlib.sha256(name.encode()).hexdigest(), "tasks": tasks}
        for name, tasks in KEYS.items()
    }
    if purpose == "agents":
        made = stack(folder, keys=keys, tools="all")
    elif purpose in NOT_READY:
        write_report(config_of(folder), **NOT_READY[purpose])
        made = stack(folder, ready=False)
    elif purpose == "several":
        await several(folder)
        return
    else:
        made = stack(folder, keys=keys, max_in_flight_per_task=1, max_waiting_per_task=0)
    async with made as gateway:
        gateway.engine.answers["concept@aaaaaaaaaaaa"] = Answer(hold_head=asyncio.Event())
        await serve(gateway)


async def several(folder: Path) -> None:
    """Two engines that run, one that starts, one that nobody needs now; a control plane that says why."""
    engines = [
        engine_of("http://127.0.0.1:9", STATES[name], *held, name=name, slots=4, load_s=40.0)  # type: ignore[arg-type]
        for name, held in ON.items()
    ]
    engines[2] = msgspec.structs.replace(engines[2], started_at=time.time(), stage="loading weights")
    tasks = {name: {adapter_id: 100} for name, adapter_id in zip(NAMES, IDS, strict=True)}
    async with FakeControl(folder, snapshot_with(config_of(folder), engines, tasks)) as control:
        control.answers["/placement"] = msgspec.json.encode(PLACEMENT)
        async with stack(folder, ready=False) as gateway:
            await serve(gateway)


async def serve(gateway: Stack) -> None:
    print(f"http://127.0.0.1:{gateway.port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), "".join(sys.argv[2:])))
