"""What a pipeline's stages are doing, told within its stream as comments, which readers of events pass over.

A client asks for it by `x-pipeline-progress: comments`. A line is `: stage {"stage", "call", "what", "ms"}`;
`call` counts a stage's calls from 1, `what` is begin or end, `ms` are since the request began.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
from starlette.types import Send

from gateway.upkeep import end_tasks

WISH = b"comments"


class StageProgress:
    """Of one request. What happens before the answer's head is out is told right after it."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._news = asyncio.Event()

    def saw(self, stage: str, call: int, what: str, ms: float) -> None:
        """A stage's call has begun, or is at its end."""
        told = msgspec.json.encode({"stage": stage, "call": call, "what": what, "ms": ms})
        self._lines.append(b": stage %b\n\n" % told)
        self._news.set()

    @contextlib.asynccontextmanager
    async def telling(self, send: Send) -> AsyncIterator[None]:
        """Send what is seen in the block, each as it comes; nothing is sent after it."""
        teller = asyncio.create_task(self._tell(send))
        try:
            yield
        finally:
            await end_tasks([teller])

    def rest(self) -> bytes:
        """What was seen and not told yet."""
        lines, self._lines = self._lines, []
        return b"".join(lines)

    async def _tell(self, send: Send) -> None:
        while True:
            self._news.clear()  # before the look: what is seen while these are sent is told next
            if told := self.rest():
                await send({"type": "http.response.body", "body": told, "more_body": True})
            await self._news.wait()
