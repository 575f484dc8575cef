"""Whether a whole input file is as it must be, before anything in it is run; what is wrong, line by line.

The file is read in slices by other threads, with a pause after each as long as it took, and of several files
in turn: clients' requests keep the processor. What custom ids there are stands in a database on disk, so that
memory stays as it is.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from gateway.batches.input_lines import Check, Flaw, LineReader, RequestLine, flaw_of, read_line
from gateway.errors import InvalidRequest, RequestError

MOST_FLAWS = 100
MOST_FLAW_CHARS = 64 * 1024
"""More of them are counted and not listed: an error may name every model that there is."""


@dataclass(slots=True)
class Verdict:
    """What was found; without flaws it may be run."""

    total: int = 0
    flaws: list[Flaw] = field(default_factory=list)
    unlisted: int = 0
    chars: int = 0
    """Of the messages that are listed."""

    def add(self, flaw: Flaw) -> None:
        if len(self.flaws) < MOST_FLAWS and self.chars < MOST_FLAW_CHARS:
            self.flaws.append(flaw)
            self.chars += len(flaw.message)
        else:
            self.unlisted += 1

    def listed(self) -> list[Flaw]:
        """As they are shown, the last saying how many are not."""
        if not self.unlisted:
            return self.flaws
        more = Flaw("more_errors", f"{self.unlisted} more lines have errors, which are not listed.")
        return [*self.flaws, more]


async def validate(
    path: Path,
    endpoint: str,
    check_model: Check,
    *,
    most_lines: int,
    most_line_bytes: int,
    turns: asyncio.Semaphore,
    given_up: Callable[[], bool] = lambda: False,
    pause: Callable[[float], object] = time.sleep,
) -> Verdict:
    """Raises OSError where it cannot be read. `check_model` is called in other threads.

    `turns`: of those who look through files, each slice by slice, however many files there are. `given_up`:
    whether the rest need not be looked through.
    """
    validator = _Validator(path, endpoint, check_model, most_lines, most_line_bytes)
    try:
        more = True
        while more and not given_up():
            async with turns:
                more = await asyncio.to_thread(validator.slice, pause)
    finally:
        validator.close()
    return validator.verdict()


class _Validator:
    """One file on its way through; each slice may be another thread's."""

    def __init__(
        self, path: Path, endpoint: str, check_model: Check, most_lines: int, most_line_bytes: int
    ) -> None:
        self._file = path.open("rb")
        self._reader = LineReader(self._file, most_line_bytes)
        self._most_line_bytes = most_line_bytes
        self._most_lines = most_lines
        self._endpoint = endpoint
        self._check_model = check_model
        self._models: dict[str, RequestError | None] = {}
        self._verdict = Verdict()
        self._at_work = threading.Lock()
        # An empty name: a database of its own on disk, which is gone when it is closed.
        self._seen = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._seen.execute("CREATE TABLE seen (custom_id TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID")

    def close(self) -> None:
        with self._at_work:  # where the wait for a slice was given up, its thread goes on
            self._file.close()
            self._seen.close()

    def slice(self, pause: Callable[[float], object]) -> bool:
        """Whether there may be more."""
        began = time.perf_counter()
        with self._at_work:
            lines = self._reader.slice()
            self._seen.execute("BEGIN")
            for number, line in lines:
                self._verdict.total += 1
                if self._verdict.total > self._most_lines:
                    return False
                self._look(number, line)
            self._seen.execute("COMMIT")
        # Without the lock, which `close` waits for, but in the turn of all files, which it slows.
        pause(time.perf_counter() - began)
        return not self._reader.at_end

    def _look(self, number: int, line: bytes | None) -> None:
        if line is None:
            message = f"The line is longer than {self._most_line_bytes} bytes."
            self._verdict.add(Flaw("line_too_long", message, number))
            return
        try:
            request = read_line(line, self._endpoint)
            self._check_once(request.model)
        except RequestError as error:
            self._verdict.add(flaw_of(error, number))
            return
        self._check_unique(request, number)

    def _check_once(self, model: str) -> None:
        """Each model is looked up once; of made-up names not more are remembered than errors are listed."""
        if model not in self._models:
            if len(self._models) > MOST_FLAWS:
                if self._verdict.unlisted:  # only counted, and the nearest spelling takes milliseconds
                    raise InvalidRequest("not looked up", param="body.model")
                self._models.clear()
            try:
                self._check_model(model)
                self._models[model] = None
            except RequestError as error:
                at = "body" if error.param is None else f"body.{error.param}"
                self._models[model] = type(error)(error.message, param=at, code=error.code)
        known = self._models[model]
        if known is not None:
            # Without its trace, to which each raise would add frames that keep their line: whole files, where
            # a misspelt model stands in every one.
            raise known.with_traceback(None)

    def _check_unique(self, request: RequestLine, number: int) -> None:
        with closing(
            self._seen.execute(
                "INSERT INTO seen VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING line",
                (request.custom_id, number),
            )
        ) as added:
            if added.fetchone() is not None:
                return
        first = self._seen.execute(
            "SELECT line FROM seen WHERE custom_id = ?", (request.custom_id,)
        ).fetchone()
        message = f"The custom_id '{request.custom_id[:100]}' stands in line {first[0]} already."
        self._verdict.add(Flaw("duplicate_custom_id", message, number, "custom_id"))

    def verdict(self) -> Verdict:
        verdict = self._verdict
        if not verdict.total:
            verdict.add(Flaw("empty_file", "The file holds no request."))
        if verdict.total > self._most_lines:
            message = f"The file holds more than {self._most_lines} requests (batches.max_lines)."
            verdict.flaws.insert(0, Flaw("too_many_requests", message))
        return verdict
