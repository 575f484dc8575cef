"""A terminal beside a control plane, for the tests of commands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from launch.cli import main as cli
from tests.fakes.plant import Plant, PlantOptions, adapter_folder, plant


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


@dataclass
class Shell:
    """A terminal beside a control plane."""

    plant: Plant
    capsys: pytest.CaptureFixture[str]

    async def type(self, *arguments: str) -> Said:
        state = str(self.plant.folder / "state")
        return await asyncio.to_thread(run_cli, self.capsys, *arguments, "--state-dir", state)

    def folder(self, task: str, content: str) -> str:
        return str(adapter_folder(self.plant.folder / "adapters" / f"{task}-{content}", content))

    async def add(self, task: str, content: str, *options: str) -> Said:
        return await self.type("adapters", "add", task, self.folder(task, content), *options)


def run_cli(capsys: pytest.CaptureFixture[str], *arguments: str) -> Said:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    captured = capsys.readouterr()
    return Said(int(caught.value.code or 0), captured.out, captured.err)


Work = Callable[[Shell], Awaitable[None]]


Run = Callable[..., None]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a coroutine function beside a plant whose engine is ready, or with options of its own."""

    def run(work: Work, options: PlantOptions | None = None, *, ready: bool = True) -> None:
        async def main() -> None:
            async with asyncio.timeout(60), plant(tmp_path, options) as made:
                if ready:
                    await made.until_state("ready")
                await work(Shell(made, capsys))

        asyncio.run(main())

    return run
