"""All that an engine says, in a file; what of it a person sees as it comes.

vLLM says some two hundred lines at a start and 25 at an end, and warns of what was chosen on purpose. A
terminal gets the errors, and those only until the engine is told to end.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from gateway.json_lines import append_lines, older_files

FIRST = "engine-0"
FILE = "engine.log"
"""Of the first engine, which is the only one as a rule."""
MOST_BYTES = 16 * 1024 * 1024
KEPT = 1
START = "==== started "
_HEAD = re.compile(r"^(?:\(\w+(?: pid=\d+)?\) )?(?P<level>[A-Z]+)(?: |: )")
_TELLING = frozenset({"ERROR", "CRITICAL", "FATAL"})


class EngineOutput:
    """One process's lines. They come from one thread; `hush` may be called from another."""

    def __init__(self, state_dir: Path, name: str = FIRST, *, everything: bool = False) -> None:
        """`name` is the engine's; each has a file of its own."""
        self.file = log_of(state_dir, name)
        self._everything = everything
        self._hushed = False
        self._append(f"{START}{time.strftime('%Y-%m-%d %H:%M:%S')} ====")

    def take(self, line: str) -> bool:
        """Keep it; whether it is to be shown too. A full disk loses lines and stops nothing."""
        self._append(line)
        return self._everything or (not self._hushed and is_telling(line))

    def hush(self) -> None:
        """It was told to end: what it says of that is no error."""
        self._hushed = True

    def _append(self, line: str) -> None:
        with contextlib.suppress(OSError):
            data = f"{line}\n".encode(errors="replace")
            append_lines(self.file, data, most_bytes=MOST_BYTES, kept=KEPT)


def log_of(state_dir: Path, name: str) -> Path:
    """The file of what the engine of that name says."""
    return state_dir / (FILE if name == FIRST else f"{name}.log")


def is_telling(line: str) -> bool:
    """Whether a line is one of an error, in the form that vLLM and uvicorn log in."""
    head = _HEAD.match(line)
    return head is not None and head["level"] in _TELLING


def kept_lines(file: Path) -> Iterator[str]:
    """Everything that was kept of one engine, the oldest first; nothing where it never ran."""
    for each in (*older_files(file, KEPT), file):
        with contextlib.suppress(FileNotFoundError), each.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                yield line.rstrip("\n")


def since_last_start(lines: Sequence[str]) -> Sequence[str]:
    """What the newest process said."""
    starts = [number for number, line in enumerate(lines) if line.startswith(START)]
    return lines[starts[-1] :] if starts else lines


def folded(lines: Sequence[str]) -> list[str]:
    """The telling lines, those between them counted."""
    shown: list[str] = []
    hidden = 0
    for line in lines:
        if is_telling(line) or line.startswith(START):
            shown += _counted(hidden)
            hidden = 0
            shown.append(line)
        else:
            hidden += 1
    return shown + _counted(hidden)


def _counted(hidden: int) -> list[str]:
    return [f"… {hidden} line{'s' * (hidden > 1)} folded"] if hidden else []
