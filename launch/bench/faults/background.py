"""`bench beside`: what a client's requests feel of a batch that runs behind them, and of priorities at all.

Two stacks stand at once, one engine with vLLM's priority scheduling (the project's own setting) and one first
come, first served. A round visits each of them alone and beside a batch; the other stack is idle meanwhile.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import openai
import typer
from rich.table import Table

from gateway.config.document import Config, load_config
from gateway.errors import EngineFailure
from launch.bench.engine.config import KEY, under_test
from launch.bench.engine.stack import Running, running_stack
from launch.bench.faults.slots_load import PROMPT_WORDS, WORDS, SlotClients, SlotsLoad, figures_of, own
from launch.bench.overhead.payload import asked_for
from launch.bench.programs.places import RESULTS
from launch.bench.results.record import ConfigOption, JsonOption, OutputOption, console, recorded, visits
from launch.bench.results.summary import Compared, Figures, ratios_within, summarise
from launch.bench.results.tables import MEDIANS, ratios_of, spread_table
from launch.bench.results.turns import rotated
from launch.planning.found_config import CHECKOUT

POLICIES = ("priority", "fcfs")
ALONE, BESIDE = "alone", "beside a batch"
WARM_UP = SlotsLoad(clients=2, window_s=2.0, least_tokens=4, most_tokens=4)
BEGUN_TIMEOUT_S = 60.0
ENDED_TIMEOUT_S = 120.0
POLL_S = 0.1
CELL = "clients"
SHOWN = {
    "requests_per_s": ("requests/s", 2),
    "ttft_p50_ms": ("first token, p50 ms", 0),
    "ttft_p99_ms": ("p99 ms", 0),
    "lines_per_s": ("batch lines/s", 2),
}
RATIOS = ("requests_per_s", "ttft_p50_ms", "ttft_p99_ms")


@dataclass(frozen=True)
class Batch:
    """What runs behind: more lines than a visit can end."""

    lines: int
    tokens: int


def beside_command(
    config: ConfigOption = CHECKOUT,
    rounds: Annotated[int, typer.Option(min=1, help="visits to each arm")] = 3,
    clients: Annotated[int, typer.Option(min=1, help="at once")] = 2,
    window_s: Annotated[float, typer.Option(min=1, help="of one visit")] = 20.0,
    tokens: Annotated[int, typer.Option(min=1, help="of one client's answer")] = 16,
    lines: Annotated[int, typer.Option(min=1, help="of a batch")] = 2000,
    line_tokens: Annotated[int, typer.Option(min=1, help="of one line's answer")] = 48,
    output: OutputOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Measure a client's requests alone and beside a batch, with priorities and without."""
    load = SlotsLoad(clients, window_s, tokens, tokens)
    given, batch = load_config(config), Batch(lines, line_tokens)
    recorded(output, "beside", lambda scratch: measure(given, scratch, load, batch, rounds), as_json=as_json)


def measure(given: Config, scratch: Path, load: SlotsLoad, batch: Batch, rounds: int) -> dict[str, object]:
    """Everything, as a document. Raises ConfigError and EngineFailure."""
    rows: list[dict[str, object]] = []
    with contextlib.ExitStack() as standing:
        stacks: dict[str, Running] = {}
        for policy in POLICIES:
            console().print(f"starting an engine with {policy}", highlight=False)
            folder = scratch / policy
            folder.mkdir()
            stacks[policy] = standing.enter_context(
                running_stack(configured(given, folder, policy), folder, KEY)
            )
            ask(stacks[policy], WARM_UP, "warm-up")
        arms = [(turn, *arm) for turn in range(rounds) for arm in in_order(turn)]
        with visits(len(arms)) as steps:
            for turn, policy, beside in arms:
                arm = arm_of(policy, beside)
                which = f"round {turn + 1} of {rounds}: {arm}"
                steps.now(which)
                figures = visit(stacks[policy], load, batch if beside else None, f"{turn}-{policy}-{beside}")
                rows.append({"round": turn, "cell": CELL, "subject": arm, **figures})
                rate = f"{figures['requests_per_s']:.2f} requests/s"
                steps.done(f"{which}: first token {figures['ttft_p50_ms']:.0f} ms, {rate}")
    summary = summarise(rows)[CELL]
    console().print(figures_table(summary))
    console().print(ratios_table(ratios(rows)))
    return {
        "settings": {
            **asdict(load),
            "rounds": rounds,
            "batch": asdict(batch),
            "batch_in_flight": given.batches.max_in_flight,
            "max_num_seqs": given.base.max_num_seqs,
        },
        "summary": summary,
        "ratios": ratios(rows),
        "rounds": rows,
    }


def configured(given: Config, folder: Path, policy: str) -> Config:
    """The given base without adapters, under one policy."""
    engine = given.engine.model_copy(
        update={"extra_args": [*given.engine.extra_args, "--scheduling-policy", policy]}
    )
    return under_test(given.model_copy(update={"engine": engine}), {}, state_dir=folder / "state")


def in_order(turn: int) -> list[tuple[str, bool]]:
    """Every arm once; who is first changes with the round."""
    return rotated(list(itertools.product(POLICIES, (False, True))), turn)


def arm_of(policy: str, beside: bool) -> str:
    return f"{policy}, {BESIDE if beside else ALONE}"


def visit(stack: Running, load: SlotsLoad, batch: Batch | None, salt: str) -> dict[str, float]:
    """What the clients saw, and how many lines a second were done meanwhile."""
    if batch is None:
        return {**ask(stack, load, salt), "lines_per_s": 0.0}
    with running_batch(stack, batch, salt) as done:
        before, began = done(), time.monotonic()
        figures = ask(stack, load, salt)
        return {**figures, "lines_per_s": (done() - before) / (time.monotonic() - began)}


def ask(stack: Running, load: SlotsLoad, salt: str) -> dict[str, float]:
    clients = SlotClients(stack.gateway_url, KEY, [stack.base], own(1))
    return figures_of(clients.run(load, salt, salt), load)


@contextlib.contextmanager
def running_batch(stack: Running, batch: Batch, salt: str) -> Iterator[Callable[[], int]]:
    """A batch from its first answered line on; cancelled at the end. Yields how many lines are done.

    Raises EngineFailure where it does not begin or end.
    """
    http = openai.DefaultHttpxClient(trust_env=False)  # no proxy reaches our own loopback
    url = f"{stack.gateway_url}/v1"
    with openai.OpenAI(api_key=KEY, base_url=url, max_retries=0, http_client=http) as client:
        content = jsonl(stack.base, batch, salt)
        file = client.files.create(file=("lines.jsonl", content), purpose="batch")
        made = client.batches.create(
            input_file_id=file.id, endpoint="/v1/completions", completion_window="24h"
        )

        def now() -> openai.types.Batch:
            return client.batches.retrieve(made.id)

        def done() -> int:
            counts = now().request_counts
            return 0 if counts is None else counts.completed

        _wait(lambda: done() > 0, BEGUN_TIMEOUT_S, "has no answer")
        try:
            yield done
        finally:
            # Waited for too: lines that are in flight would be in the next visit's way.
            client.batches.cancel(made.id)
            _wait(lambda: now().status == "cancelled", ENDED_TIMEOUT_S, "is not cancelled")


def jsonl(model: str, batch: Batch, salt: str) -> bytes:
    """The input file; no prompt begins as another visit's does, so none is found in the engine's cache."""
    chance = random.Random(salt)
    lines = []
    for place in range(batch.lines):
        body = asked_for(model, " ".join((salt, *chance.choices(WORDS, k=PROMPT_WORDS))), batch.tokens)
        line = {"custom_id": str(place), "method": "POST", "url": "/v1/completions", "body": body}
        lines.append(json.dumps(line) + "\n")
    return "".join(lines).encode()


def _wait(condition: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise EngineFailure(f"the batch {otherwise} after {timeout_s:.0f} s")
        time.sleep(POLL_S)


def ratios(rows: Sequence[Mapping[str, object]]) -> dict[str, dict[str, Figures]]:
    """What is compared → figure → the one over the other, formed within each round."""
    alone, beside = ({policy: (CELL, arm_of(policy, to)) for policy in POLICIES} for to in (False, True))
    wanted = {
        "priority to fcfs, alone": (alone["priority"], alone["fcfs"]),
        "priority to fcfs, beside a batch": (beside["priority"], beside["fcfs"]),
        "beside a batch to alone, priority": (beside["priority"], alone["priority"]),
        "beside a batch to alone, fcfs": (beside["fcfs"], alone["fcfs"]),
    }
    return ratios_within(rows, wanted, RATIOS)


def figures_table(summary: Compared) -> Table:
    """One row for each arm, with the spread of its figures."""
    return spread_table(MEDIANS, ["clients"], SHOWN, (([arm], figures) for arm, figures in summary.items()))


def ratios_table(found: Compared) -> Table:
    """One row for each comparison, with the spread of its ratios."""
    columns = {key: SHOWN[key] for key in RATIOS}
    return ratios_of(found, "Ratios, each formed within its round", "ratio", columns)
