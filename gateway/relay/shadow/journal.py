"""Records of a candidate's answers beside the clients' own: JSON lines in files of a bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from gateway.json_lines import append_lines

FOLDER = "shadow"
MAX_FILE_BYTES = 16 * 1024 * 1024
"""Of a task's file; beside it stands the one before, `<task>.jsonl.1`, and no more."""


NOTHING = msgspec.Raw(b"null")


class ShadowRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One copy. Of the two-element lists the first is the client's own answer, the second the candidate's."""

    at: float
    """Unix seconds."""
    task: str
    answered: str
    """The id whose answer the client got."""
    candidate: str
    outcome: str
    """same, different or failed."""
    request_id: str
    streamed: bool = False
    sampled: bool = False
    """Not greedy, so that the same adapter too would answer otherwise the next time."""
    structured: bool = False
    paths: list[str] = []
    """Where structured answers differ."""
    digests: list[str] = []
    """Of the texts, keyed anew by each process: they tell what is equal, and nothing of what it is."""
    chars: list[int] = []
    tokens: list[int] = []
    finish: list[str] = []
    ms: list[float] = []
    reason: str = ""
    """Why a copy failed."""
    request: msgspec.Raw = NOTHING
    """What was asked, and below the answers, where `gateway.shadow_texts` is set."""
    texts: list[str] = []


class Journal:
    """One file for each task. Several processes may write: a lock keeps their lines and their turns apart."""

    def __init__(self, state_dir: Path, max_file_bytes: int = MAX_FILE_BYTES) -> None:
        self._folder = state_dir / FOLDER
        self._max_file_bytes = max_file_bytes

    def write(self, task: str, records: Sequence[ShadowRecord]) -> None:
        """Append; it blocks. Raises OSError."""
        data = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        append_lines(self._folder / f"{task}.jsonl", data, most_bytes=self._max_file_bytes, kept=1)
