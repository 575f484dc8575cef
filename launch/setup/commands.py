"""Commands that set-up runs side by side, with one log of them all. Standard library only."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LOOK_S = 0.1
"""How soon a command is seen to have ended."""
TICK_S = 0.5
TAIL = 200
"""Lines of a command's output that are looked through for why it failed."""


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    lines: Sequence[str]
    """The end of its output."""

    @property
    def said(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True)
class Commands:
    """What runs in `root`, and whose output goes to `log`."""

    root: Path
    log: Path
    keeps_fd: int
    """An open file that each inherits."""

    def run(self, argvs: Sequence[Sequence[str]], tick: Callable[[], None]) -> list[Ran]:
        """All at once, until all have ended; `tick` is called now and then meanwhile. What becomes of them,
        in the order in which they were given. All are ended where that raises.
        """
        env = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # the probe's imports leave what the engine starts from
        with contextlib.ExitStack() as stack:
            # Files, not pipes: nobody reads them while the commands run.
            outputs = [stack.enter_context(tempfile.TemporaryFile(dir=self.log.parent)) for _ in argvs]
            children: list[subprocess.Popen[bytes]] = []
            try:
                for argv, output in zip(argvs, outputs, strict=True):
                    children.append(self._start(argv, output, env))
                _wait(children, tick)
            finally:
                for child in children:
                    child.terminate()  # nothing, where it has ended
                for child in children:
                    child.wait()
                started = zip(argvs, children, outputs)  # noqa: B905  fewer children where one cannot be started
                ran = [self._logged(*each) for each in started]
        return ran

    def _start(self, argv: Sequence[str], output: IO[bytes], env: dict[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            argv,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[self.keeps_fd],
            env=env,
        )

    def _logged(self, argv: Sequence[str], child: subprocess.Popen[bytes], output: IO[bytes]) -> Ran:
        output.seek(0)
        said = output.read().decode(errors="replace")
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(argv)}\n{said}")
        return Ran(child.returncode, said.splitlines()[-TAIL:])


def _wait(children: Sequence[subprocess.Popen[bytes]], tick: Callable[[], None]) -> None:
    last = time.monotonic()
    while any(child.poll() is None for child in children):
        time.sleep(LOOK_S)
        if time.monotonic() - last >= TICK_S:
            last = time.monotonic()
            tick()
