"""`python -m tests.soak.watched_gateway FILE …`: at SIGUSR1 it writes how many tasks it has."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from gateway.__main__ import main


def count_in(file: Path) -> None:
    """A signal's handler runs within the loop, between two of its steps."""

    def tell(number: int, frame: object) -> None:
        fresh = file.with_suffix(".new")
        fresh.write_text(str(len(asyncio.all_tasks())))
        fresh.replace(file)

    signal.signal(signal.SIGUSR1, tell)


if __name__ == "__main__":
    count_in(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
