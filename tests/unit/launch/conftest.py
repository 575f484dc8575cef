"""A terminal beside a control plane, for the tests of commands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from launch.cli import main as cli
from tests.fakes.plant import Plant, PlantOptions, adapter_folder, timed_plant


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


Shelled = Callable[..., AbstractAsyncContextManager[Shell]]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The control plane runs on the standard library's loop."""
    return "asyncio"


@pytest.fixture
def shelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shelled:
    """A terminal beside a plant whose engine is ready, or with options of its own."""

    @asynccontextmanager
    async def beside(options: PlantOptions | None = None, *, ready: bool = True) -> AsyncIterator[Shell]:
        async with timed_plant(tmp_path, options) as made:
            if ready:
                await made.until_state("ready")
            yield Shell(made, capsys)

    return beside
