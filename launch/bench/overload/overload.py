"""`bench overload`: what is answered in time, and whose, where more is asked than the engine can answer.

Two keys ask at their own times: one a tenth of what the engine can answer, the other all the rest of the
load. Asked are the gateway and the same engine directly. The engine is a mock with a fixed number of seats,
so that its rate is known, or with `--config` a real one.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.table import Table

from gateway.config.document import Config, KeyConfig, load_config
from gateway.errors import EngineFailure
from launch.bench.engine.config import KEY, under_test
from launch.bench.engine.stack import running_stack
from launch.bench.faults.slots_load import PROMPT_WORDS, WORDS
from launch.bench.overhead import payload
from launch.bench.overhead.subjects import Checkout, start_gateway, start_mock
from launch.bench.overload.figures import figures_of
from launch.bench.overload.load import Asking, Body, OpenLoop
from launch.bench.programs.places import RESULTS
from launch.bench.programs.running import Programs, choose_cores, post
from launch.bench.results.record import JsonOption, OutputOption, console, recorded, visits
from launch.bench.results.summary import DIRECT, OURS, Figures, Summary, summarise
from launch.bench.results.tables import MEDIANS, rows_of, spread_table
from launch.bench.results.turns import rotated
from launch.supervisor.tenancy.issued_keys import digest_of

LIGHT, FLOOD = "light", "flood"
KEYS = {name: f"sk-bench-{name}-0123456789abcdef0123456789abcdef" for name in (LIGHT, FLOOD)}
LIGHT_SHARE = 0.1
"""Of what the engine can answer: what the light key asks for."""
LOADS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Times what the engine can answer; 0: the light key alone."""
PATIENCE = 4.0
"""Times the usual answer with all seats taken: how long a client waits."""
MOCK = {"first_ms": 50, "interval_ms": 50, "seats": 16}
MOCK_TOKENS = 8
SHOWN = {
    "goodput_per_s": ("answers/s", 1),
    "of_peak": ("of the peak", 2),
    "light_answered": ("light answered", 2),
    "light_total_p50_ms": ("light p50, ms", 0),
    "light_total_p99_ms": ("light p99, ms", 0),
    "total_p99_ms": ("all p99, ms", 0),
    "ttft_p99_ms": ("first token p99, ms", 0),
    "refusal_p99_ms": ("refused within, p99 ms", 1),
}


@dataclass(frozen=True)
class OverloadPlan:
    """How long and how often."""

    rounds: int = 3
    window_s: float = 15.0
    tokens: int = MOCK_TOKENS
    clients: int = MOCK["seats"]
    """As many at once as the engine has seats: how quick it is then is what it can answer."""

    @classmethod
    def quick(cls) -> OverloadPlan:
        """One round of two-second windows, to see that it runs: its figures say nothing."""
        return cls(rounds=1, window_s=2.0)


@dataclass(frozen=True)
class Subjects:
    """Where to ask, and with which body."""

    urls: Mapping[str, str]
    bodies: Mapping[str, Body]
    engine_key: str = ""
    """Opens the engine itself; empty where it asks for none."""

    def asking(self, subject: str, name: str, per_s: float) -> Asking:
        """One key's requests to one of the subjects."""
        key = self.engine_key if subject == DIRECT and self.engine_key else KEYS[name]
        return Asking(name, {"authorization": f"Bearer {key}"}, self.bodies[subject], per_s)


def overload_command(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="a real engine by this configuration, not the mock")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="visits to each arm; default 3")] = None,
    window_s: Annotated[float | None, typer.Option(min=1, help="of one visit; default 15")] = None,
    tokens: Annotated[int, typer.Option(min=2, help="of one answer")] = MOCK_TOKENS,
    clients: Annotated[int, typer.Option(min=1, help="at once, to see what the engine can answer")] = MOCK[
        "seats"
    ],
    quick: Annotated[bool, typer.Option("--quick", help="a smoke run: once, two seconds each")] = False,
    output: OutputOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Goodput and each key's waits at half to four times what the engine can answer, beside it alone."""
    basis = OverloadPlan.quick() if quick else OverloadPlan()
    plan = OverloadPlan(rounds or basis.rounds, window_s or basis.window_s, tokens, clients)
    what = "overload" if config is None else "overload-engine"

    def measure(scratch: Path) -> dict[str, object]:
        with (
            on_mock(scratch, plan)
            if config is None
            else on_engine(load_config(config), scratch, plan) as subjects
        ):
            return measured(subjects, plan)

    recorded(output, what, measure, quick=quick, as_json=as_json)


def measured(subjects: Subjects, plan: OverloadPlan) -> dict[str, object]:
    """Every arm, round after round. Raises EngineFailure."""
    rows: list[dict[str, object]] = []
    arms = [(turn, *arm) for turn in range(plan.rounds) for arm in in_order(turn)]
    with visits(1 + len(arms)) as steps:
        steps.now("how much the engine can answer")
        capacity_per_s, usual_s = capacity(subjects, plan)
        patience_s = PATIENCE * usual_s
        said = f"the engine answers {capacity_per_s:.1f}/s, each in {usual_s:.2f} s"
        steps.done(f"{said}; a client waits for {patience_s:.1f} s")
        for turn, load, subject in arms:
            which = f"round {turn + 1} of {plan.rounds}: {load:g} times, {subject}"
            steps.now(which)
            askings = [
                subjects.asking(subject, name, per_s) for name, per_s in rates(load, capacity_per_s).items()
            ]
            loop = OpenLoop(subjects.urls[subject], patience_s)
            # A loop for each visit, so that no connection stays from one to the next.
            outcomes = uvloop.run(loop.run(askings, plan.window_s, f"{turn}-{load}"))
            figures = figures_of(outcomes, (LIGHT, FLOOD), plan.window_s)
            figures["of_peak"] = figures["goodput_per_s"] / capacity_per_s
            rows.append({"round": turn, "cell": f"{load:g}", "subject": subject, **figures})
            rate = f"{figures['goodput_per_s']:.1f} answers/s of {figures['offered_per_s']:.1f} asked for"
            steps.done(f"{which}: {rate}")
    summary = summarise(rows)
    console().print(figures_table(summary))
    return {
        "settings": {**asdict(plan), "patience_s": patience_s, "light_share": LIGHT_SHARE},
        "capacity": {"answers_per_s": capacity_per_s, "usual_s": usual_s},
        "summary": summary,
        "rounds": rows,
    }


def capacity(subjects: Subjects, plan: OverloadPlan) -> tuple[float, float]:
    """What the engine can answer in a second, and how long an answer takes then. Raises EngineFailure."""
    asking = subjects.asking(DIRECT, FLOOD, 0.0)
    loop = OpenLoop(subjects.urls[DIRECT], 600.0)
    outcomes = uvloop.run(loop.closed(asking, plan.clients, plan.window_s, "capacity"))
    good = [one for one in outcomes if one.status == 200]
    if len(good) < len(outcomes) or not good:
        raise EngineFailure(
            f"{len(outcomes) - len(good)} of {len(outcomes)} requests failed on an engine that is not full"
        )
    usual_s = statistics.median(one.ended_s for one in good)
    # Little's law: to count what ended in the window would leave out what ran at its end.
    return plan.clients / statistics.fmean(one.ended_s for one in good), usual_s


def rates(load: float, capacity_per_s: float) -> dict[str, float]:
    """Requests a second of each key, where so many times the capacity is asked for in all."""
    light = LIGHT_SHARE * capacity_per_s
    return {LIGHT: light, FLOOD: max(0.0, load * capacity_per_s - light) if load else 0.0}


def in_order(turn: int) -> list[tuple[float, str]]:
    """Every arm once; who is asked first changes with the round."""
    return [(load, subject) for load in LOADS for subject in rotated((DIRECT, OURS), turn)]


@contextlib.contextmanager
def on_mock(scratch: Path, plan: OverloadPlan) -> Iterator[Subjects]:
    """A mock engine with seats and a gateway before it."""
    with (
        (scratch / "programs.log").open("w", encoding="utf-8") as log,
        Programs(choose_cores(os.sched_getaffinity(0)), log) as programs,
    ):
        mock = start_mock(programs)
        gateway, _, _ = start_gateway(
            programs,
            scratch / "gateway",
            mock,
            Checkout(),
            more_keys=KEYS,
            # The defaults, since bounds are looked at here; other benches reach none (IN_FLIGHT).
            max_in_flight=512,
            max_in_flight_per_task=256,
        )
        post(f"{mock}/pace", json.dumps(MOCK).encode(), {})
        body = payload.chat_body(stream=True, tokens=plan.tokens)
        urls = {DIRECT: mock + payload.CHAT_PATH, OURS: gateway.url + payload.CHAT_PATH}
        yield Subjects(urls, dict.fromkeys(urls, lambda _: body))


@contextlib.contextmanager
def on_engine(given: Config, scratch: Path, plan: OverloadPlan) -> Iterator[Subjects]:
    """A real engine with its base alone, and a gateway before it."""
    keys = {name: KeyConfig.model_validate({"sha256": digest_of(key)}) for name, key in KEYS.items()}
    config = under_test(given.model_copy(update={"keys": keys}), {}, state_dir=scratch / "state")
    with running_stack(config, scratch, KEY) as stack:

        def body(chance: random.Random) -> bytes:
            prompt = " ".join(chance.choices(WORDS, k=PROMPT_WORDS))
            return json.dumps(payload.asked_for(stack.base, prompt, plan.tokens, stream=True)).encode()

        urls = {DIRECT: f"{stack.engine_url}/v1/completions", OURS: f"{stack.gateway_url}/v1/completions"}
        yield Subjects(urls, dict.fromkeys(urls, body), KEY)


def figures_table(summary: Summary) -> Table:
    """One row for each load and whom it is put on."""
    nothing: Figures = dict.fromkeys(("median", "least", "most"), float("nan"))
    rows = ((names, {key: figures.get(key, nothing) for key in SHOWN}) for names, figures in rows_of(summary))
    return spread_table(MEDIANS, ["load", "asked"], SHOWN, rows)
