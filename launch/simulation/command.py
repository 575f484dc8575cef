"""`lora-gateway simulate`."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from gateway.admission.turns.lora_slots import QUANTUM
from gateway.errors import ConfigError
from launch.base.steps import Steps, counted_steps
from launch.simulation.arrivals import PATTERNS, OfferedLoad, recorded_rows
from launch.simulation.engine_speed import EngineSpeed, read_speed
from launch.simulation.figures import NoRequests, PolicyFigures
from launch.simulation.picture import draw
from launch.simulation.policies import BOUNDS, NAMES
from launch.simulation.replay.fit import fitted
from launch.simulation.replay.measured import SlotsResult, read_result
from launch.simulation.replay.report import rows_of
from launch.simulation.replay.report import table_of as seen_table
from launch.simulation.run import Scenario, simulate

LEAST_WIDTH = 110  # of what is no terminal: a table would be folded at the 80 columns that rich takes there
COLUMNS = {
    "first_token_p50_s": ("p50 s", 3),
    "first_token_p99_s": ("p99 s", 3),
    "goodput_per_s": ("goodput/s", 1),
    "good_share": ("good", 3),
    "output_tokens_per_s": ("tokens/s", 0),
    "loads_per_minute": ("loads/min", 0),
}


def simulate_command(
    engine: Annotated[
        str, typer.Option(help="its speed: cpu-demo (its steps measured), gpu-8b (assumed), or a JSON file")
    ] = "gpu-8b",
    replicas: Annotated[int, typer.Option(min=1, max=1000, help="engines")] = 64,
    adapters: Annotated[int, typer.Option(min=1, max=10_000, help="how many there are")] = 1000,
    zipf: Annotated[float, typer.Option(min=0, help="the k-th is asked for 1/k^this as often")] = 1.0,
    arrivals: Annotated[str, typer.Option(help=f"with commas: {', '.join(PATTERNS)}")] = "poisson",
    load: Annotated[str, typer.Option(help="shares of what the engines can do, with commas")] = "0.2,0.4,0.6",
    duration_s: Annotated[
        float, typer.Option(min=1, max=1e6, help="simulated; a fifth of it is warm-up")
    ] = 150.0,
    prompt_tokens: Annotated[
        int, typer.Option(min=1, help="on average; recorded arrivals have theirs")
    ] = 500,
    output_tokens: Annotated[int, typer.Option(min=1, help="on average")] = 150,
    slo_s: Annotated[float, typer.Option(min=0, help="a first token within it is good")] = 2.0,
    patience_s: Annotated[
        float, typer.Option(min=0, help="a client without a token leaves after this")
    ] = 10.0,
    policy: Annotated[
        str, typer.Option(help=f"with commas: {', '.join(NAMES)}; or a bound: {', '.join(BOUNDS)}")
    ] = ",".join(NAMES),
    min_replicas: Annotated[int, typer.Option(min=1, help="homes of each adapter")] = 2,
    moves_per_minute: Annotated[float, typer.Option(min=0, help="loads by plan, for each replica")] = 6.0,
    quantum: Annotated[
        int, typer.Option(min=1, help="of an adapter's turn at a slot: requests one after the other")
    ] = QUANTUM,
    seed: Annotated[int, typer.Option(help="the same seed, the same requests")] = 1,
    fit: Annotated[
        Path | None,
        typer.Option(help="a result of bench engine or bench slots, which the engine's speed fits"),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(help="a result of bench slots, simulated beside what was seen; nothing else is run"),
    ] = None,
    svg: Annotated[Path | None, typer.Option(help="write a picture there")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Try many engines and adapters in simulated time, beside other ways to route."""
    speed = read_speed(engine)
    if fit:
        speed = fitted(read_result("--fit", str(fit)), speed, f"fitted to {fit.name}")
    if replay:
        _replay(str(replay), speed, as_json=as_json)
        return
    if svg is not None:
        try:  # before the minutes that a simulation takes
            svg.open("a").close()
        except OSError as error:
            mend = f"cannot be written: {error.strerror}; name another file"
            raise ConfigError("--svg", str(svg), mend) from error
    chosen = _words("--policy", policy, [*NAMES, *BOUNDS])
    patterns = _words("--arrivals", arrivals, list(PATTERNS))
    console = Console(highlight=False, stderr=as_json)
    if not console.is_terminal:
        console = Console(width=LEAST_WIDTH, highlight=False, stderr=as_json)
    cells = [
        (pattern, share, share * replicas * rate_of(speed, pattern, prompt_tokens, output_tokens))
        for pattern, share in itertools.product(patterns, shares(load))
    ]
    rows: list[dict[str, object]] = []
    with counted_steps(len(cells) * len(chosen), console.print) as steps:
        for pattern, share, per_s in cells:
            scenario = Scenario(
                speed,
                replicas,
                adapters,
                zipf,
                OfferedLoad(pattern, per_s, duration_s, prompt_tokens, output_tokens),
                slo_s,
                patience_s,
                min_replicas,
                moves_per_minute,
                seed=seed,
                quantum=quantum,
            )
            found = [_tried(scenario, one, f"{pattern}, load {share:g}", steps) for one in chosen]
            rows += [{"arrivals": pattern, "load": share, **asdict(one)} for one in found]
            if not as_json:
                title = f"{pattern}, {share:g} of what {replicas} engines can do: {per_s:,.1f}/s"
                steps.say(table_of(title, found))
    settings: dict[str, object] = {
        **{"replicas": replicas, "adapters": adapters, "zipf": zipf, "slo_s": slo_s, "seed": seed},
        **{"min_replicas": min_replicas, "quantum": quantum, "duration_s": duration_s},
        **{"patience_s": patience_s, "moves_per_minute": moves_per_minute},
        **{"prompt_tokens": prompt_tokens, "output_tokens": output_tokens, "engine": asdict(speed)},
    }
    if as_json:
        print(json.dumps({"settings": settings, "rows": rows}, indent=2))
    if svg is not None:
        foot = (
            f"{replicas} engines of {speed.slots} slots, {adapters:,} adapters; simulated, engine: {engine}"
        )
        svg.write_text(draw(rows, foot), encoding="utf-8")


def _tried(scenario: Scenario, policy: str, cell: str, steps: Steps) -> PolicyFigures:
    """Raises ConfigError where the time is too short."""
    steps.now(f"{cell}: {policy}")
    try:
        found = simulate(scenario, policy)
    except NoRequests as error:
        raise ConfigError("--duration-s", scenario.load.duration_s, f"{error}; take longer") from error
    steps.advance()
    return found


def _replay(named: str, speed: EngineSpeed, *, as_json: bool) -> None:
    result = read_result("--replay", named)
    if not isinstance(result, SlotsResult):
        raise ConfigError("--replay", named, "must be a result of bench slots")
    rows = rows_of(result, speed)
    if as_json:
        print(json.dumps({"engine": asdict(speed), "rows": rows}, indent=2))
        return
    console = Console(width=LEAST_WIDTH, highlight=False, soft_wrap=True)
    console.print(seen_table(rows))
    console.print(f"engine: {json.dumps(asdict(speed))}", markup=False)


def shares(text: str) -> list[float]:
    """`0.2,0.4` → numbers above nothing. Raises ConfigError."""
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError as error:
        raise ConfigError("--load", text, "must be numbers with commas between them") from error
    if not all(0 < one < math.inf for one in found):
        raise ConfigError("--load", text, "must be above 0, and a number")
    return found


def rate_of(speed: EngineSpeed, pattern: str, prompt_tokens: int, output_tokens: int) -> float:
    """Requests a second that keep one engine busy, with every seat taken and no slot in the way."""
    if pattern == "recorded":
        rows = recorded_rows()
        work = sum(speed.work(prompt, output) for _, prompt, output in rows) / len(rows)
    else:
        work = speed.work(prompt_tokens, output_tokens)
    return speed.tokens_per_s / work


def table_of(title: str, found: Sequence[PolicyFigures]) -> Table:
    """The figures of each policy as a row of a table."""
    table = Table(box=box.SIMPLE_HEAD, title=title)
    table.add_column("policy")
    for heading, _ in COLUMNS.values():
        table.add_column(heading, justify="right")
    for one in found:
        values = asdict(one)
        table.add_row(one.policy, *(f"{values[key]:,.{digits}f}" for key, (_, digits) in COLUMNS.items()))
    return table


def _words(option: str, text: str, known: Sequence[str]) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in known:
            raise ConfigError(option, word, f"must be one of {', '.join(known)}")
    return words
