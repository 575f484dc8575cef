"""`python -m tests.fakes.plant_process FOLDER`: a control plane in a process of its own, to be killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.fakes.plant import PlantOptions, plant


async def main(folder: Path) -> None:
    async with plant(folder, PlantOptions(tasks={"naming": "one", "concept": "one"})):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
