"""The process of trials as its parent has it: started at the first question, asked one at a time."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gateway.errors import Unavailable

logger = logging.getLogger("gateway.grammar_trial.process")

START_S = 60.0
ANSWER_S = 60.0
"""By the clock; the process itself counts what it computes, so that a busy machine refuses nothing."""
# Isolated (`-I`): neither Python's variables nor the current folder change what it imports.
PROGRAM = (sys.executable, "-I", str(Path(__file__).with_name("program.py")))
LONGEST_LINE = 1024 * 1024


class TrialProcess:
    """Make it in the event loop that it is used in."""

    def __init__(self, program: Sequence[str] = PROGRAM, answer_s: float = ANSWER_S) -> None:
        self._program = program
        self._answer_s = answer_s
        self._child: asyncio.subprocess.Process | None = None
        self.missing = False
        """The engine's library is not installed here, so nothing can be tried."""

    async def ask(self, kind: str, text: str) -> str:
        """How the trial ended (`program.ENDS`); empty where none can be made.

        Raises Unavailable (503) where no answer comes: nothing is known of the grammar then.
        """
        try:
            child = self._child if self._alive else await self._start()
            if child is None:
                return ""
            assert child.stdin is not None
            child.stdin.write(json.dumps({"kind": kind, "text": text}).encode() + b"\n")
            await child.stdin.drain()
            return await self._line(child, self._answer_s)
        except (OSError, EOFError, TimeoutError, ValueError, LookupError) as error:
            logger.warning("a grammar's trial gave no answer: %r", error)
            await self.stop()
            raise Unavailable(
                "The schema or pattern could not be tried; send the request again.",
                code="grammar_not_tried",
                retry_after_s=5,
            ) from error
        except BaseException:  # cancelled: its answer must not be the next one's
            await self.stop()
            raise

    async def stop(self) -> None:
        """End it; the next question starts another."""
        # Taken out first: who asks while this waits starts another.
        child, self._child = self._child, None
        if child is not None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    @property
    def _alive(self) -> bool:
        return self._child is not None and self._child.returncode is None

    async def _start(self) -> asyncio.subprocess.Process | None:
        if self.missing:
            return None
        pipe = asyncio.subprocess.PIPE
        # It ends when its standard input is closed: with this process, however that ends.
        child = self._child = await asyncio.create_subprocess_exec(
            *self._program, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, limit=LONGEST_LINE
        )
        try:
            await self._line(child, START_S)
        except EOFError:
            async with asyncio.timeout(START_S):
                code = await child.wait()
            if code == -signal.SIGKILL:  # as by the kernel, short of memory: the next one may live
                raise
            self.missing = True
            logger.warning("schemas and patterns are not tried before the engine gets them: no xgrammar here")
            return None
        return child

    async def _line(self, child: asyncio.subprocess.Process, limit_s: float) -> str:
        assert child.stdout is not None
        async with asyncio.timeout(limit_s):
            line = await child.stdout.readline()
        if not line:
            raise EOFError("the process has ended")
        return str(json.loads(line)["end"])
