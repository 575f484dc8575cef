"""What came of a batch's lines: two files that are the record of the work as well.

A line is done when its result stands whole, with its line break, in one of them, and not before. Results are
only added, and synced to disk before they are counted. So a restart needs nothing but these files: it cuts
off what a kill left unfinished at their ends, reads which lines are done, and runs the others. The number of
a line stands in its result's `id`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.batches.folder import Unreadable, reading, sync_folder
from gateway.batches.in_process import Answered
from gateway.batches.records import Counts
from gateway.errors import NOT_JSON

logger = logging.getLogger("gateway.batches")

_encode = msgspec.json.Encoder().encode
LINE_ENDS = {b"\xe2\x80\xa8": rb"\u2028", b"\xe2\x80\xa9": rb"\u2029", b"\xc2\x85": rb"\u0085"}
"""What ends a line for Python's `splitlines`, and so for `iter_lines` of OpenAI's SDK, but not for JSON."""


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Body(msgspec.Struct):
    usage: _Usage | None = None


class _Response(msgspec.Struct):
    status_code: int
    body: msgspec.Raw


class _Record(msgspec.Struct):
    """Of a result, what a restart needs."""

    id: str
    response: _Response | None


_decode_record = msgspec.json.Decoder(_Record).decode
_decode_body = msgspec.json.Decoder(_Body).decode
_decode_any = msgspec.json.Decoder().decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode


@dataclass(frozen=True, slots=True)
class LineResult:
    """One line's, ready to be written."""

    number: int
    good: bool
    """It belongs into the output file."""
    asked: bool
    """It failed by itself, if it failed; else the batch ended before it."""
    data: bytes
    usage: tuple[int, int] = (0, 0)


def answered(batch_id: str, number: int, custom_id: str, answer: Answered) -> LineResult:
    """What an endpoint said: into the output file with status 200, else into the errors."""
    good = answer.status == 200
    body = _in_one_line(answer.body)
    response = {"status_code": answer.status, "request_id": answer.request_id, "body": body}
    data = _line(batch_id, number, custom_id, response, None)
    return LineResult(number, good, True, data, _usage(answer.body) if good else (0, 0))


def not_asked(batch_id: str, number: int, custom_id: str, code: str, message: str) -> LineResult:
    """A line that the batch's end came before: OpenAI's `batch_expired` and `batch_cancelled`."""
    data = _line(batch_id, number, custom_id, None, {"code": code, "message": message})
    return LineResult(number, False, False, data)


def _line(batch_id: str, number: int, custom_id: str, response: object, error: object) -> bytes:
    document = {
        "id": f"{_prefix(batch_id)}{number}",
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }
    line = _encode(document)
    for end, escaped in LINE_ENDS.items():
        line = line.replace(end, escaped)
    return line + b"\n"


def _prefix(batch_id: str) -> str:
    return f"batch_req_{batch_id.removeprefix('batch_')}_"


def _in_one_line(body: bytes) -> object:
    """An answer as it is where that is JSON without line breaks, which would end a result."""
    try:
        return _decode_any(body) if b"\n" in body or b"\r" in body else _decode_raw(body)
    except NOT_JSON:
        return body[:1000].decode(errors="replace")


def _usage(body: bytes | msgspec.Raw) -> tuple[int, int]:
    """Tokens in and out, by whichever names the API has for them."""
    try:
        usage = _decode_body(body).usage
    except NOT_JSON:
        return 0, 0
    if usage is None:
        return 0, 0
    return usage.prompt_tokens or usage.input_tokens or 0, usage.completion_tokens or usage.output_tokens or 0


class Results:
    """The two files of one batch. Everything blocks; calls come one after another."""

    def __init__(self, batch_id: str, output: Path, errors: Path) -> None:
        self._prefix = _prefix(batch_id)
        self._done = bytearray()
        """A bit for each line."""
        self.folder = output.parent
        self._completed = self._failed = self._input_tokens = self._output_tokens = 0
        self._files = (_ResultFile(errors), _ResultFile(output))  # by whether a result is good

    def take_over(self) -> None:
        """What is there of a batch that ran before. Raises OSError; Unreadable once it knows all else."""
        unreadable: Unreadable | None = None
        try:
            for is_good, file in enumerate(self._files):
                try:
                    for record in file.recover():
                        self._know(record, bool(is_good))
                except Unreadable as error:
                    unreadable = error
            if unreadable is not None:
                raise unreadable
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        for file in self._files:
            file.close()

    @property
    def counts(self) -> Counts:
        return Counts(self._completed, self._failed, self._input_tokens, self._output_tokens)

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of output and errors."""
        errors, output = self._files
        return output.size, errors.size

    def done(self, number: int) -> bool:
        at, bit = divmod(number, 8)
        return at < len(self._done) and bool(self._done[at] & 1 << bit)

    def add(self, results: Iterable[LineResult]) -> None:
        """Write and sync, then count. Raises OSError; then none of them is written, or all of one file."""
        for good, file in enumerate(self._files):
            # After a fault in one file all are given again, and the other one has its own already.
            mine = [each for each in results if each.good == good and not self.done(each.number)]
            if not mine:
                continue
            file.append(b"".join(each.data for each in mine))
            for each in mine:
                self._count(each.number, each.good, each.asked, each.usage)

    def _know(self, record: _Record, good: bool) -> None:
        number = int(record.id.removeprefix(self._prefix))
        response = record.response
        usage = _usage(response.body) if good and response is not None else (0, 0)
        self._count(number, good, response is not None, usage)

    def _count(self, number: int, good: bool, asked: bool, usage: tuple[int, int]) -> None:
        at, bit = divmod(number, 8)
        if at >= len(self._done):
            self._done.extend(bytes(at + 1024 - len(self._done)))  # of 8,192 lines at a time
        self._done[at] |= 1 << bit
        self._completed += good
        self._failed += asked and not good
        self._input_tokens += usage[0]
        self._output_tokens += usage[1]


class _ResultFile:
    """One of them, for adding; there is none before there is something in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None
        self.size = 0

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _opened(self) -> int:
        if self._handle is None:
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._handle

    def recover(self) -> Iterator[_Record]:
        """The results that are whole; what comes after the last of them is cut off."""
        if not self._path.exists():
            return
        handle = self._opened()
        with reading(self._path), self._path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    record = _decode_record(line)
                except NOT_JSON:
                    break
                self.size += len(line)
                yield record
        there = os.fstat(handle).st_size
        if there > self.size:
            logger.warning("%s: %d bytes of an unfinished result are cut off", self._path, there - self.size)
            os.ftruncate(handle, self.size)
        # What a killed process wrote may be in the kernel's memory alone, and counts as done from here on.
        self._sync(handle)

    def append(self, data: bytes) -> None:
        """All of it, on disk; or nothing, and OSError."""
        handle = self._opened()
        try:
            written = 0
            while written < len(data):
                # By position, not appended: what a failed write left behind is written over.
                written += os.pwrite(handle, data[written:], self.size + written)
            if self.size:
                os.fsync(handle)
            else:
                self._sync(handle)
        except OSError:
            # Linux tells once of a page that it could not write, so it is cut off and written anew.
            os.ftruncate(handle, self.size)
            raise
        self.size += len(data)

    def _sync(self, handle: int) -> None:
        """With its name, which may be new."""
        os.fsync(handle)
        sync_folder(self._path.parent)
