"""What `bench slots` and `bench engine` measured, as far as the simulation needs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.errors import NOT_JSON, ConfigError

DIRECT, GATEWAY = "direct", "gateway"
LAWS = ("zipf", "uniform", "own")
FIGURES = ("requests_per_s", "first_token_p50_s", "first_token_p99_s")


class Median(msgspec.Struct, frozen=True):
    """A figure's median over a result's rounds; its spread is not read."""

    median: float


class SlotSettings(msgspec.Struct, frozen=True):
    """What every visit of `bench slots` asked for; several engines say how many they were."""

    clients: int
    window_s: float
    least_tokens: int
    most_tokens: int
    slots: int
    max_num_seqs: int
    least_residency_s: float
    cells: list[str]
    engines: int = 1
    # `bench slots` writes no such key: its prompts are of 16 words (slots_load.PROMPT_WORDS).
    prompt_tokens: int = 16


class SlotsResult(msgspec.Struct, frozen=True):
    """A document of `bench slots`: cell → arm → figure."""

    settings: SlotSettings
    summary: dict[str, dict[str, dict[str, Median]]]


class EngineLoad(msgspec.Struct, frozen=True):
    """What every arm of `bench engine` asked for at once."""

    concurrency: int
    input_tokens: int


class EngineSummary(msgspec.Struct, frozen=True):
    """The figures of a result, by the way that was asked and by name."""

    arms: dict[str, dict[str, Median]]


class EngineResult(msgspec.Struct, frozen=True):
    """A document of `bench engine`; an arm asks so many models, in turn."""

    load: EngineLoad
    load_single: EngineLoad
    arms: dict[str, list[str]]
    summary: EngineSummary


@dataclass(frozen=True, slots=True)
class Visit:
    """One cell through one arm: a closed loop, and what was seen of it."""

    cell: str
    arm: str
    law: str
    adapters: int
    seen: dict[str, float]
    """By `FIGURES`."""


def read_result(option: str, named: str) -> SlotsResult | EngineResult:
    """A result by its file. Raises ConfigError where it is of neither bench, or lacks something."""
    try:
        text = Path(named).read_bytes()
        # Its kind first, with all else undecoded: so what is wrong is told of the right kind.
        what = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).get("what", msgspec.Raw(b"null"))
        kind = {b'"slots"': SlotsResult, b'"engine"': EngineResult}.get(bytes(what))
        if kind is None:
            raise ConfigError(option, named, "is not what `bench slots` or `bench engine` wrote")
        found: SlotsResult | EngineResult = msgspec.json.decode(text, type=kind)
    except OSError as error:
        raise ConfigError(option, named, f"cannot be read ({error.strerror})") from error
    except NOT_JSON as error:
        raise ConfigError(option, named, f"does not fit ({error})") from error
    return found


def visits_of(result: SlotsResult) -> list[Visit]:
    """Every cell and arm, as they were asked. Raises ConfigError for a cell's name that says no law."""
    return [
        Visit(cell, arm, *_cell(cell), _seen(figures))
        for cell in result.settings.cells
        for arm, figures in sorted(result.summary.get(cell, {}).items())
        if arm in (DIRECT, GATEWAY)
    ]


def _seen(figures: dict[str, Median]) -> dict[str, float]:
    return {
        "requests_per_s": figures["requests_per_s"].median,
        "first_token_p50_s": figures["ttft_p50_ms"].median / 1000,
        "first_token_p99_s": figures["ttft_p99_ms"].median / 1000,
    }


def _cell(named: str) -> tuple[str, int]:
    law, _, adapters = named.partition(", ")
    count = adapters.partition(" ")[0]
    if law not in LAWS or not count.isdecimal() or not int(count):
        raise ConfigError(
            "settings.cells", named, f"must be a law ({', '.join(LAWS)}) and a number of adapters"
        )
    return law, int(count)
