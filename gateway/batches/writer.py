"""Results on their way to disk: those that come while others are written go together in one sync."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from gateway.batches.results import LineResult, Results
from gateway.upkeep import MEND

TRY_AGAIN_S = 5.0
"""A full disk is tried again; what it has no room for is kept meanwhile, and nothing new begins."""


class Writer:
    """Writes in another thread, in the order of coming."""

    def __init__(self, results: Results, again_s: float, complain: Callable[[str], None]) -> None:
        """`complain` says into the log what stays so, as often as it bears."""
        self._results = results
        self._complain = complain
        self._again_s = again_s
        self._pending: list[tuple[LineResult, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._given_up = asyncio.Event()

    def put(self, result: LineResult) -> asyncio.Future[None]:
        """Done once it is on disk. Cancelled, it is written all the same; `drain` waits for that."""
        written = asyncio.get_running_loop().create_future()
        self._pending.append((result, written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return written

    async def put_all(self, results: Sequence[LineResult]) -> None:
        """Returns once all are on disk. Cancelled, they are written all the same, as with `put`."""
        await asyncio.gather(*map(self.put, results))

    async def drain(self) -> None:
        """Until everything that was put is on disk."""
        while self._writing is not None:
            # Who waits may be cancelled; what is written must not be.
            await asyncio.shield(self._writing)

    def give_up(self) -> None:
        """From now on what the disk does not take is left out: whoever goes on asks those lines again."""
        self._given_up.set()

    async def _write(self) -> None:
        try:
            while self._pending:
                taken, self._pending = self._pending, []
                results, puts = zip(*taken, strict=True)
                try:
                    await asyncio.to_thread(self._results.add, results)
                except OSError as error:
                    self._complain(
                        f"results of batches cannot be written in {self._results.folder}: {error.strerror}; "
                        f"{MEND}: they are kept, and tried again every {self._again_s:.0f} s"
                    )
                    if self._given_up.is_set():
                        for written in puts:
                            written.cancel()
                        continue
                    self._pending = taken + self._pending
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._again_s):
                            await self._given_up.wait()
                # A fault of ours: else who waits would wait for ever, and the batch with it
                except Exception as fault:
                    for written in puts:
                        if not written.done():
                            written.set_exception(fault)
                else:
                    for written in puts:
                        if not written.done():
                            written.set_result(None)
        finally:
            self._writing = None
