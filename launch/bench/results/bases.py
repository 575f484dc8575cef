"""`lora-gateway bench bases`: what `plan` makes of many config.json files, beside what is true."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from gateway.config.document import Config
from gateway.errors import ConfigError
from launch.base.config_json import read_config
from launch.base.memory import kv_bytes_per_token
from launch.base.shape.counting import skeletons_of
from launch.base.steps import counted_steps
from launch.bench.results.record import JsonOption, print_json
from launch.planning.device_memory import named_card
from launch.planning.planner import plan_of

NEAR = ((0.02, "within 2 %"), (0.05, "within 5 %"))
ROOMY = "100000GiB"  # so that fit says nothing about counting
WIDTH = 180


@dataclass(frozen=True)
class Planned:
    """One base: the plan's figures, and what was said where there are none."""

    name: str
    parameters: int = 0
    weight_bytes: int = 0
    kv_bytes: int = 0  # of a token, in the model's own type
    engine_kv_bytes: int = 0  # of a token, in the type that the engine's cache has
    slot_bytes: int = 0
    exact: bool = True
    refused: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class BaseFacts:
    """What is known of a base; 0 where it is not."""

    parameters: int = 0
    kv_bytes: int = 0


def bases_command(
    folder: Annotated[Path, typer.Argument(help="a folder of <base>.json files, each a config.json")],
    truth: Annotated[
        Path | None, typer.Option(help="a JSON list of base, parameters, kv_bytes_per_token")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Plan every base of a folder; exit code 1 where one is refused or off by more than 5 %."""
    files = [
        file for file in sorted(folder.glob("*.json")) if truth is None or file.resolve() != truth.resolve()
    ]
    if not files:
        raise ConfigError("bench bases", str(folder), "holds no <base>.json")
    known = read_truth(truth) if truth else {}
    skeletons_of([read_config(file) for file in files])  # in one process; what is counted is kept
    found: list[Planned] = []
    with counted_steps(len(files), print) as steps:
        for file in files:
            steps.now(file.stem)
            found.append(plan_base(file))
            steps.advance()
    verdicts = Counter(verdict(one, known.get(one.name, BaseFacts())) for one in found)
    if as_json:
        print_json({"bases": [asdict(one) for one in found], "verdicts": verdicts}, as_json)
    else:
        console = Console(width=WIDTH, highlight=False)
        console.print(_table(found, known))
        console.print(", ".join(f"{count} {name}" for name, count in sorted(verdicts.items())))
    wrong = {"refused", "off by more"} & verdicts.keys()
    raise typer.Exit(1 if wrong else 0)


def plan_base(file: Path) -> Planned:
    """The plan of one config.json on a card that is large enough for anything."""
    begun = time.perf_counter()
    try:
        plan = plan_of(Config.model_validate({"base": {"model": str(file.resolve())}}), named_card(ROOMY))
    except ConfigError as error:
        return Planned(file.stem, refused=str(error))
    shape, weights, engine = plan.inputs.shape, plan.inputs.weights, plan.inputs.engine
    return Planned(
        name=file.stem,
        parameters=weights.parameters,
        weight_bytes=weights.size_bytes,
        kv_bytes=kv_bytes_per_token(shape, "auto", engine.dtype),
        engine_kv_bytes=plan.cache.bytes_per_token,
        slot_bytes=plan.slot_bytes,
        exact=shape.exact,
        seconds=time.perf_counter() - begun,
    )


def verdict(planned: Planned, true: BaseFacts) -> str:
    """How near the parameters are, in one word or two."""
    if planned.refused:
        return "refused"
    if not planned.exact:
        return "not countable"
    if not true.parameters:
        return "not known"
    if planned.parameters == true.parameters:
        return "exact"
    off = abs(planned.parameters / true.parameters - 1)
    return next((name for most, name in NEAR if off <= most), "off by more")


def read_truth(file: Path) -> Mapping[str, BaseFacts]:
    """The true figures of each base, from a JSON list. Raises ConfigError where it cannot be read."""
    try:
        listed = json.loads(file.read_bytes())
        return {
            str(one["base"]): BaseFacts(one.get("parameters") or 0, one.get("kv_bytes_per_token") or 0)
            for one in listed
        }
    except OSError as error:
        raise ConfigError("--truth", str(file), f"cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError("--truth", str(file), "is no JSON list of objects with `base`") from error


def _table(found: Sequence[Planned], known: Mapping[str, BaseFacts]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Parameters in millions, key-value bytes of a token")
    table.add_column("base", no_wrap=True)
    for name in ("planned", "true", "off", "weights, GB", "KV", "KV, true", "KV, engine", "slot, MB", "ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        table.add_row(one.name, *_cells(one, known.get(one.name, BaseFacts())))
    return table


def _cells(one: Planned, true: BaseFacts) -> Iterable[str]:
    if one.refused:
        return [one.refused]
    off = f"{one.parameters / true.parameters - 1:+.2%}" if true.parameters else ""
    return [
        f"{one.parameters / 1e6:,.1f}",
        f"{true.parameters / 1e6:,.1f}" if true.parameters else "",
        off if one.exact else f"{off} estimated",
        f"{one.weight_bytes / 1e9:,.2f}",
        f"{one.kv_bytes:,}",
        f"{true.kv_bytes:,}" if true.kv_bytes else "",
        f"{one.engine_kv_bytes:,}",
        f"{one.slot_bytes / 1e6:,.0f}",
        f"{one.seconds * 1e3:.0f}",
    ]
