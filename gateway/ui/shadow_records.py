"""The last records of a task's shadow, for the page: where the candidate's answers differ, never a text."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.errors import NOT_JSON
from gateway.relay.shadow.journal import FOLDER, ShadowRecord

READ_BYTES = 256 * 1024
MOST = 50
_decode = msgspec.json.Decoder(ShadowRecord).decode


def last_records(state_dir: Path, task: str) -> list[dict[str, object]]:
    """The newest first; it blocks. Empty where there are none, or none that can be read."""
    try:
        with (state_dir / FOLDER / f"{task}.jsonl").open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - READ_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return []
    found: list[dict[str, object]] = []
    for line in reversed(lines):
        if len(found) == MOST:
            break
        try:
            found.append(_shown(_decode(line)))
        except NOT_JSON:  # cut off by the look from the end, or of another release
            continue
    return found


def _shown(record: ShadowRecord) -> dict[str, object]:
    return {
        "at": record.at,
        "candidate": record.candidate,
        "outcome": record.outcome,
        "structured": record.structured,
        "sampled": record.sampled,
        "paths": record.paths,
        "chars": record.chars,
        "tokens": record.tokens,
        "ms": record.ms,
        "reason": record.reason,
    }
