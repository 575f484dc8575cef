"""`lora-gateway run`: what is kept between runs, and the output in its order.

Results are added to `<output>.part` as they come. Once every line has one they are put in the input's order
into the output, and the part is gone. So whenever a run ends, these two hold all that was answered; each
result's `id` says which line it is of, and a digest of what that line was.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from gateway.config.launch_lock import lock_now
from gateway.errors import NOT_JSON, ConfigError
from launch.cli.run.results import LineOutcome

ID = re.compile(r"^run-(\d{1,12})-([0-9a-f]{12})\Z")
NOWHERE = -1


class _Response(msgspec.Struct):
    status_code: int = 0


class _Record(msgspec.Struct):
    """Of a result, what the next run needs."""

    id: str
    response: _Response | msgspec.UnsetType | None = msgspec.UNSET
    error: dict[str, object] | None = None

    @property
    def good(self) -> bool:
        if self.error is not None:
            return False
        return self.response is msgspec.UNSET or (
            self.response is not None and self.response.status_code == 200
        )


_decode = msgspec.json.Decoder(_Record).decode


class KeptResults:
    """Results by line, of this run and of those before. Use it as a context."""

    def __init__(self, output: Path) -> None:
        """Raises ConfigError where the output is somebody else's, or another run writes it."""
        self.output = output
        self.part = output.with_name(f"{output.name}.part")
        # Arrays: 17 bytes for a line, of which a file may have millions.
        self._digests = array("Q", [0])
        self._places = array("q", [NOWHERE])
        """By line: where its result stands, times two, and one more where that is the part."""
        self._good = bytearray(1)
        self.last = 0
        """The highest line that has a result."""
        self._files: list[BinaryIO] = []
        try:
            self._open()
        except OSError as error:
            self.close()
            raise ConfigError("--output", str(output), f"cannot be used: {error.strerror}") from error
        except ConfigError:
            self.close()
            raise

    def __enter__(self) -> KeptResults:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """An empty part is of no use to anybody."""
        if self._files and self.part.exists() and not self.part.stat().st_size:
            self.part.unlink()
        for file in self._files:
            file.close()

    def _open(self) -> None:
        part = os.fdopen(os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b")
        if not lock_now(part.fileno()):
            part.close()
            raise ConfigError("--output", str(self.output), "another run is writing it")
        self._files.append(part)
        former = (self.output if self.output.exists() else Path(os.devnull)).open("rb")
        self._files.insert(0, former)
        self._take_over(0, self.output)
        part.truncate(self._take_over(1, self.part))
        part.seek(0, os.SEEK_END)

    def _take_over(self, which: int, path: Path) -> int:
        """Read what a file holds; where its last whole result ends. Raises ConfigError."""
        at = 0
        for line in self._files[which]:
            if not line.endswith(b"\n") and which:
                break  # of a run that was killed
            try:
                record = _decode(line)
                found = ID.match(record.id)
            except NOT_JSON:
                found = None
            if found is None:
                mend = "exists and holds something else; name another file, or delete it"
                raise ConfigError("--output", str(path), mend)
            self._note(int(found[1]), int(found[2], 16), 2 * at + which, record.good)
            at += len(line)
        return at

    def _note(self, number: int, digest: int, place: int, good: bool) -> None:
        missing = number + 1 - len(self._digests)
        if missing > 0:
            self._digests.extend([0] * missing)
            self._places.extend([NOWHERE] * missing)
            self._good.extend(bytes(missing))
        self._digests[number] = digest
        self._places[number] = place
        self._good[number] = good
        self.last = max(self.last, number)

    def has(self, number: int) -> bool:
        """Whether the line has a result, good or not."""
        return number < len(self._places) and self._places[number] != NOWHERE

    def done(self, number: int) -> bool:
        """Whether it has a good one, and need not be asked again."""
        return self.has(number) and bool(self._good[number])

    def is_of(self, number: int, digest: str) -> bool:
        """Whether the line's result is of this line, and not of what stood there before."""
        return self._digests[number] == int(digest, 16)

    @property
    def in_part(self) -> bool:
        """Whether there are results that are not in the output yet."""
        return any(place & 1 for place in self._places if place != NOWHERE)

    def add(self, outcome: LineOutcome, digest: str) -> None:
        """Write it; it outlives this process from now on. Raises OSError."""
        part = self._files[1]
        at = part.tell()
        part.write(outcome.data)
        part.flush()
        self._note(outcome.number, int(digest, 16), 2 * at + 1, not outcome.reason)

    def finish(self) -> None:
        """Put everything into the output, in order. Raises OSError."""
        made = self.output.with_name(f"{self.output.name}.new")
        with made.open("wb") as file:
            for line in self._in_order():
                file.write(line)
            file.flush()
            os.fsync(file.fileno())
        made.replace(self.output)
        self.part.unlink()

    def _in_order(self) -> Iterator[bytes]:
        for place in self._places:
            if place != NOWHERE:
                file = self._files[place & 1]
                file.seek(place >> 1)
                line = file.readline()
                yield line if line.endswith(b"\n") else line + b"\n"
