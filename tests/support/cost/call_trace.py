"""Which of the project's functions requests enter: `python -m tests.support.cost.call_trace` shows five ways.

Each runs in this process, before the fake engine. A coroutine counts each time that it goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Self

import gateway
from gateway.metrics.recent import after
from tests.fakes.fake_engine import Answer
from tests.fakes.plant import plant
from tests.support.batches.batch_stack import create, line, until
from tests.support.stack import Stack, stack
from tests.support.waiting import eventually

ROOT = str(Path(gateway.__file__).parent.parent)
ROOMS = (f"{ROOT}/gateway/", f"{ROOT}/launch/")
KEY = "k" * 40
CHAT: dict[str, object] = {"model": "naming", "messages": [{"role": "user", "content": "cat"}]}
WAYS: dict[str, dict[str, object]] = {
    "hot chat": CHAT,
    "stream": CHAT | {"stream": True},
    "concept-naming": CHAT | {"model": "concept-naming"},
}
TIMES = 40


class CallTrace:
    """Counts while it is entered; in the thread that enters it."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        """By file and qualified name."""
        self.moves = 0
        """How often a call is another file's than the one before it."""
        self._file = ""

    def __enter__(self) -> Self:
        sys.setprofile(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _called(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        file = code.co_filename
        if event == "call" and file.startswith(ROOMS):
            self.calls[file, code.co_qualname] += 1
            self.moves += file != self._file
            self._file = file

    def of(self, name: str) -> int:
        """Calls of the functions whose qualified name ends so."""
        return sum(count for (_, known), count in self.calls.items() if known.endswith(name))

    def less(self, other: CallTrace) -> CallTrace:
        """What this has more than `other`."""
        rest = CallTrace()
        rest.calls = self.calls - other.calls
        rest.moves = self.moves - other.moves
        return rest

    def row(self, name: str, times: int) -> str:
        """One line of a table in Markdown, each figure for one of so many requests."""
        regular = {file for (file, _), count in self.calls.items() if count >= times}
        figures = (self.calls.total(), self.moves, self.of("decode_body"), self.of("Keys._known"))
        per_request = " | ".join(f"{figure / times:.0f}" for figure in (*figures, self.of("Head.__init__")))
        return f"| {name} | {len(regular)} | {per_request} |"


@asynccontextmanager
async def traced_stack(folder: Path) -> AsyncIterator[Stack]:
    """A gateway with a key, whose concept-naming finds two concepts."""
    keys = {"one": {"sha256": hashlib.sha256(KEY.encode()).hexdigest()}}
    concepts = json.dumps({"concepts": [{"definition": "a"}, {"definition": "b"}]})
    async with stack(folder, keys=keys) as made:
        made.client.headers["authorization"] = f"Bearer {KEY}"
        made.gateway.metrics.recent.later = after(asyncio.get_running_loop())  # as a worker that serves
        made.engine.answers["concept@aaaaaaaaaaaa"] = Answer(tokens=[concepts[:20], concepts[20:]])
        made.engine.answers["naming@bbbbbbbbbbbb"] = Answer(tokens=['"Par', 'is"'])
        yield made


async def ask(made: Stack, body: dict[str, object]) -> None:
    answer = await made.client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text


async def batch_of(made: Stack, lines: int) -> CallTrace:
    """A batch from its upload until its files are made."""
    with CallTrace() as traced:
        batch_id = await create(made, [line(number) for number in range(lines)])
        await eventually(lambda: traced.of("Runner._ended") > 0)
    await until(made, batch_id, "completed")  # outside: its looks are requests too
    return traced


async def _requests(folder: Path) -> None:
    async with traced_stack(folder) as made:
        for name, body in WAYS.items():
            await ask(made, body)
            with CallTrace() as traced:
                for _ in range(TIMES):
                    await ask(made, body)
            print(traced.row(name, TIMES))
        few = await batch_of(made, TIMES)
        print((await batch_of(made, 2 * TIMES)).less(few).row("batch line", TIMES))
        alone = [await batch_of(made, 1) for _ in range(9)]  # the runner's own looks fall among them
        alone.sort(key=lambda one: one.calls.total())
        print(alone[4].row("batch of one line", 1))


async def _adapter(folder: Path) -> None:
    async with plant(folder) as made:
        await made.until_state("ready")
        with CallTrace() as traced:
            assert (await made.add("later", "two")).status_code == 200
        print(traced.row("adapters add", 1))


if __name__ == "__main__":
    print("| request | files | calls | moves between files | decodings | hashes | heads |")
    print("|---|---|---|---|---|---|---|")
    for way in (_requests, _adapter):
        with tempfile.TemporaryDirectory() as made_for:
            asyncio.run(way(Path(made_for)))
