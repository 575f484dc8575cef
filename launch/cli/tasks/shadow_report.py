"""What a shadow's records say: how often its answers are the clients' own, where they differ, how fast it is.

The gateways write them to `<state_dir>/shadow/<task>.jsonl` and, before that, `<task>.jsonl.1`.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.errors import NOT_JSON

FOLDER = "shadow"
FIELDS_SHOWN = 10
INDEX = re.compile(r"\[\d+\]")


class Seen(msgspec.Struct, frozen=True):
    """Of a record, what is summed; of two-element lists the first is the client's own answer."""

    at: float
    candidate: str
    outcome: str
    sampled: bool = False
    structured: bool = False
    paths: list[str] = []
    chars: list[int] = []
    tokens: list[int] = []
    finish: list[str] = []
    ms: list[float] = []
    reason: str = ""


_decode = msgspec.json.Decoder(Seen).decode


@dataclass(frozen=True)
class ShadowReport:
    """A candidate's answers beside the clients' own. Shares run from 0 to 1, None where nothing counts."""

    candidate: str
    first_at: float
    last_at: float
    """Unix seconds."""
    same: int
    different: int
    failed: int
    same_share: float | None
    """Of the copies that were answered."""
    greedy: int
    """Answered copies at temperature 0: only there does a difference say that the adapters differ."""
    greedy_same_share: float | None
    fields: dict[str, int]
    """By field (`concepts[].name`), in how many answers it differs; the most frequent first."""
    finish_differs: int
    """Answers that ended for another reason, such as `length` for `stop`."""
    latency_ratio: float | None
    """The median of the candidate's time over the own answer's."""
    length_ratio: float | None
    reasons: dict[str, int]
    """Why copies failed, the most frequent first."""

    def lines(self) -> list[str]:
        """The report for a terminal, line by line; what is not known is left out."""
        answered = self.same + self.different
        lines = [f"shadow {self.candidate}: {answered} copies answered, {self.failed} failed"]
        if self.same_share is not None:
            greedy = (
                f"; of {self.greedy} greedy ones {percent(self.greedy_same_share)}" if self.greedy else ""
            )
            lines.append(f"  the same answer: {percent(self.same_share)}{greedy}")
        if self.fields:
            shown = ", ".join(f"{path} {count}" for path, count in self.fields.items())
            lines.append(f"  fields that differ: {shown}")
        if self.finish_differs:
            lines.append(f"  ended for another reason: {self.finish_differs}")
        if self.latency_ratio is not None and self.length_ratio is not None:
            lines.append(
                f"  median time {self.latency_ratio:.2f} and length {self.length_ratio:.2f} of the own one's"
            )
        if self.reasons:
            shown = ", ".join(f"{reason} {count}" for reason, count in self.reasons.items())
            lines.append(f"  copies that failed: {shown}")
        return lines


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.1f} %"


def read_report(state_dir: Path, task: str, candidate: str | None = None) -> ShadowReport | None:
    """The sums of one candidate's records, without one those of the last; None where there are none."""
    folder = state_dir / FOLDER
    records = [
        record
        for name in (f"{task}.jsonl.1", f"{task}.jsonl")
        for record in _records(folder / name)
        if candidate is None or record.candidate == candidate
    ]
    if not records:
        return None
    last = records[-1].candidate
    return summed([record for record in records if record.candidate == last])


def summed(records: list[Seen]) -> ShadowReport:
    """The sums of one candidate's records, of which there is at least one."""
    answered = [record for record in records if record.outcome in ("same", "different")]
    greedy = [record for record in answered if not record.sampled]
    fields = Counter(field for record in answered for field in {INDEX.sub("[]", p) for p in record.paths})
    reasons = Counter(record.reason for record in records if record.outcome == "failed")
    same = sum(record.outcome == "same" for record in answered)
    return ShadowReport(
        candidate=records[-1].candidate,
        first_at=records[0].at,
        last_at=records[-1].at,
        same=same,
        different=len(answered) - same,
        failed=sum(reasons.values()),
        same_share=_same_share(answered),
        greedy=len(greedy),
        greedy_same_share=_same_share(greedy),
        fields=dict(fields.most_common(FIELDS_SHOWN)),
        finish_differs=sum(len(set(record.finish)) > 1 for record in answered),
        latency_ratio=_median_ratio(record.ms for record in answered),
        length_ratio=_median_ratio(record.chars for record in answered),
        reasons=dict(reasons.most_common(FIELDS_SHOWN)),
    )


def _same_share(records: list[Seen]) -> float | None:
    if not records:
        return None
    return round(sum(record.outcome == "same" for record in records) / len(records), 4)


def _median_ratio(pairs: Iterable[list[int] | list[float]]) -> float | None:
    ratios = [pair[1] / pair[0] for pair in pairs if len(pair) == 2 and pair[0]]
    return round(statistics.median(ratios), 3) if ratios else None


def _records(path: Path) -> Iterator[Seen]:
    """Those that can be read: the last line may be half written."""
    try:
        with path.open("rb") as lines:
            for line in lines:
                try:
                    yield _decode(line)
                except NOT_JSON:
                    continue
    except OSError:
        return
