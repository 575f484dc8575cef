"""Raw rounds → medians, added times and ratios; nothing here measures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

Row = Mapping[str, object]
Figures = dict[str, float]
Summary = Mapping[str, Mapping[str, Mapping[str, Figures]]]
"""Cell → subject → figure, as `summarise` makes it."""
Compared = Mapping[str, Mapping[str, Figures]]
"""What is compared → figure, as `ratios_within` makes it."""
Arm = tuple[str, str]
"""A cell, and the subject that was asked in it."""

DIRECT = "direct"
OURS = "gateway"
FLOOR = "nginx"
ADDED = {"p50_us": "added_p50_us", "p99_us": "added_p99_us"}
ADDED |= {"ttft_p50_us": "added_ttft_p50_us", "ttft_p99_us": "added_ttft_p99_us"}
MORE_IS_BETTER = frozenset({"requests_per_s", "chunks_per_s"})
RATIO_KEYS = (
    "added_p50_us",
    "added_p99_us",
    "added_ttft_p50_us",
    "added_ttft_p99_us",
    "requests_per_s",
    "chunks_per_s",
    "cpu_us",
    "peak_mib",
    "instructions",
)


def with_added(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Each row, and what it took beyond `direct` of its own round and cell."""
    direct = {(row["round"], row["cell"]): row for row in rows if row["subject"] == DIRECT}
    completed = []
    for row in rows:
        base = direct.get((row["round"], row["cell"]))
        added: dict[str, object] = {}
        if base is not None and row["subject"] != DIRECT:
            added = {
                to: number(row[key]) - number(base[key])
                for key, to in ADDED.items()
                if key in row and key in base
            }
        completed.append({**row, **added})
    return completed


def number(value: object) -> float:
    """A figure of a row."""
    assert isinstance(value, int | float)
    return float(value)


def summarise(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, Figures]]]:
    """cell → subject → figure → its median over the rounds, its least and its most."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row in with_added(rows):
        figures = found.setdefault(str(row["cell"]), {}).setdefault(str(row["subject"]), {})
        for key, value in row.items():
            if key != "round" and isinstance(value, int | float):
                figures.setdefault(key, []).append(float(value))
    return {
        cell: {
            subject: {key: spread(values) for key, values in figures.items()}
            for subject, figures in subjects.items()
        }
        for cell, subjects in found.items()
    }


def spread(values: Sequence[float]) -> Figures:
    """The `median`, `least` and `most` of the values, of which there must be one at least."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def ratios_within(
    rows: Sequence[Row], pairs: Mapping[str, tuple[Arm, Arm]], keys: Sequence[str]
) -> dict[str, dict[str, Figures]]:
    """Pair → figure → the first arm's over the second's, formed within each round."""
    known = {(row["round"], row["cell"], row["subject"]): row for row in rows}
    turns = dict.fromkeys(row["round"] for row in rows)
    return {
        name: {
            key: spread([number(known[n, *one][key]) / number(known[n, *other][key]) for n in turns])
            for key in keys
        }
        for name, (one, other) in pairs.items()
    }


def ratios(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, Figures]]]:
    """cell → `to_nginx` / `to_best_peer` → figure → this gateway's over theirs, round by round.

    The best peer is the best in that figure and that round, nginx not counted. A figure that is not above
    zero on either side has no ratio that means anything, and is left out.
    """
    by_cell: dict[tuple[object, str], dict[str, Row]] = {}
    for row in with_added(rows):
        by_cell.setdefault((row["round"], str(row["cell"])), {})[str(row["subject"])] = row
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for (_, cell), subjects in by_cell.items():
        ours = subjects.get(OURS)
        if ours is None:
            continue
        peers = [row for name, row in subjects.items() if name not in (DIRECT, OURS, FLOOR)]
        for key in RATIO_KEYS:
            if key not in ours:
                continue
            floor = [subjects[FLOOR]] if FLOOR in subjects else []
            for against, others in (("to_nginx", floor), ("to_best_peer", peers)):
                values = [number(row[key]) for row in others if key in row]
                if not values:
                    continue
                best = max(values) if key in MORE_IS_BETTER else min(values)
                if best > 0 and number(ours[key]) > 0:
                    found.setdefault(cell, {}).setdefault(against, {}).setdefault(key, []).append(
                        number(ours[key]) / best
                    )
    return {
        cell: {
            against: {key: spread(values) for key, values in figures.items()}
            for against, figures in sides.items()
        }
        for cell, sides in found.items()
    }
