"""A gateway before a fake engine: `python -m tests.clients.fake_stack FOLDER [agents|cold|failed]`.

It runs where the project is installed, and prints its address. For a client's errors `concept` never answers
and has one place and no queue, so that a second request is one too many; `team-a` may call only that and
`naming`. For coding agents the engine has a parser of tool calls, and nothing else is set. `cold` and
`failed` are states of an engine that the page shows; nobody needs a key there.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path

from tests.fakes.fake_engine import Answer
from tests.support.stack import config_of, stack, write_report

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
    else:
        made = stack(folder, keys=keys, max_in_flight_per_task=1, max_waiting_per_task=0)
    async with made as gateway:
        gateway.engine.answers["concept@aaaaaaaaaaaa"] = Answer(hold_head=asyncio.Event())
        print(f"http://127.0.0.1:{gateway.port}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), "".join(sys.argv[2:])))
