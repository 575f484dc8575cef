"""Documents as the benches write them, small."""

from __future__ import annotations

import json
from pathlib import Path

FIGURES = {"requests_per_s": 3.0, "ttft_p50_ms": 500.0, "ttft_p99_ms": 4000.0}


def median(value: float) -> dict[str, float]:
    return {"median": value, "least": value, "most": value}


def slots_result(
    folder: Path, *cells: str, arms: tuple[str, ...] = ("direct", "gateway"), **settings: object
) -> Path:
    """Of `bench slots`: all cells through all arms were seen alike."""
    file = folder / "slots.json"
    seen = {figure: median(value) for figure, value in FIGURES.items()}
    document = {
        "what": "slots",
        "settings": {
            "clients": 4,
            "window_s": 5.0,
            "least_tokens": 8,
            "most_tokens": 16,
            "rounds": 3,
            "slots": 2,
            "max_num_seqs": 4,
            "least_residency_s": 0.5,
            "cells": list(cells),
            **settings,
        },
        "summary": {cell: dict.fromkeys(arms, seen) for cell in cells},
    }
    file.write_text(json.dumps(document))
    return file


def engine_result(folder: Path, gaps_ms: dict[str, float], first_ms: float = 100.0) -> Path:
    """Of `bench engine`, by the gaps between tokens of each arm; 8 at once, 64 prompt tokens."""
    file = folder / "engine.json"
    models = {"two": ["a", "b"], "four": ["a", "b", "c", "d"]}
    document = {
        "what": "engine",
        "load": {"concurrency": 8, "input_tokens": 64, "requests": 16},
        "load_single": {"concurrency": 1, "input_tokens": 64, "requests": 2},
        "arms": {arm: models.get(arm, ["a"]) for arm in gaps_ms},
        "summary": {
            "arms": {
                arm: {"inter_token_p50_ms": median(gap_ms), "ttft_mean_ms": median(first_ms)}
                for arm, gap_ms in gaps_ms.items()
            }
        },
    }
    file.write_text(json.dumps(document))
    return file
