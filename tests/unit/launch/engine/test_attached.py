"""A server that somebody else runs: kept in step, never started or stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.fakes.plant import PlantOptions, free_port, plant, timed_plant

pytestmark = pytest.mark.anyio


async def test_attached_engine_is_kept_in_step(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with timed_plant(tmp_path / "a", PlantOptions(tasks={})) as somebody:
        await somebody.until_state("ready")
        options = PlantOptions(attached=(somebody.engine.url,))
        async with plant(tmp_path / "b", options) as made:
            await made.until_state("ready")
            assert len(made.engine.loaded) == 1
            assert (await made.add("naming", "two")).status_code == 200
            before = made.engine.started_at
            os.kill(somebody.engine.pid, signal.SIGKILL)  # it comes back without any adapter
            # `failed` may be over between two looks; each new beginning has a time of its own.
            await made.until(lambda: made.engine.started_at > before and made.engine.state == "ready", 30)
            assert made.engine.last_death is not None
            assert made.engine.last_death.blame == "unknown"
            assert len(made.engine.loaded) == 2


async def test_attached_engine_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with timed_plant(tmp_path, PlantOptions(attached=(url,))) as made:
        await made.until_state("failed")
        assert made.engine.reason == f"{url}/v1/models: connection refused"
