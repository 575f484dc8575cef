"""The process of trials as its parent has it: what becomes of questions when it dies or hangs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.errors import Unavailable
from gateway.grammar_trial.process import TrialProcess
from tests.support.stack import eventually

pytestmark = pytest.mark.anyio
READY = 'import json,sys\nprint(json.dumps({"end": "ready"}), flush=True)\n'
ECHO = READY + 'for line in sys.stdin: print(json.dumps({"end": json.loads(line)["text"]}), flush=True)\n'
DIES = READY + "sys.stdin.readline()\n"
HANGS = READY + "sys.stdin.readline(); sys.stdin.readline()\n"
BABBLES = READY + 'sys.stdin.readline()\nprint("{}", flush=True)\nsys.stdin.readline()\n'
MISSING = "raise ImportError"
KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


@asynccontextmanager
async def running(program: str, answer_s: float = 30.0) -> AsyncIterator[TrialProcess]:
    process = TrialProcess((sys.executable, "-I", "-c", program), answer_s)
    yield process
    await process.stop()


async def test_it_is_started_once_and_asked_in_turn() -> None:
    async with running(ECHO) as process:
        assert [await process.ask("regex", text) for text in ("a", "b\n", "é" * 100_000)] == [
            "a",
            "b\n",
            "é" * 100_000,
        ]
        first = process._child
        assert first is not None
        first.kill()
        await first.wait()
        assert await process.ask("regex", "c") == "c"  # another one
    assert first.returncode is not None


@pytest.mark.parametrize(("program", "answer_s"), [(DIES, 30.0), (HANGS, 0.0), (BABBLES, 30.0)])
async def test_without_an_answer_nothing_is_known(program: str, answer_s: float) -> None:
    async with running(program, answer_s) as process:
        for _ in range(2):
            with pytest.raises(Unavailable) as gone:
                await process.ask("regex", "a")
            assert (gone.value.status, gone.value.code) == (503, "grammar_not_tried")
        assert process._child is None


async def test_one_that_is_left_answers_nobody_else() -> None:
    async with running(HANGS) as process:
        asked = asyncio.create_task(process.ask("regex", "a"))
        await eventually(lambda: process._alive)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert process._child is None


async def test_without_the_library_nothing_is_tried() -> None:
    async with running(MISSING) as process:
        assert [await process.ask("regex", "a") for _ in range(2)] == ["", ""]
        assert process.missing


async def test_one_that_is_killed_as_it_starts_is_started_again() -> None:
    """As the kernel does where memory is short; taken for a missing library, nothing would be tried again."""
    async with running(KILLED) as process:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await process.ask("regex", "a")
        process._program = (sys.executable, "-I", "-c", ECHO)
        assert await process.ask("regex", "a") == "a"
