"""`bench pipeline`: through the gateway, against the two stages written by hand with the OpenAI SDK."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.config.document import Config, load_config
from gateway.errors import ConfigError, EngineFailure
from launch.base.steps import Steps
from launch.bench.engine.config import KEY, under_test
from launch.bench.engine.stack import Running, running_stack
from launch.bench.pipeline.by_hand import ByHand, Timing
from launch.bench.pipeline.inputs import (
    Term,
    TwoStages,
    held_to,
    request_text,
    terms_for,
    two_stages,
    varied,
)
from launch.bench.pipeline.prefix_cache import read
from launch.bench.pipeline.report import ARMS, PipelineRun, summary, table_of
from launch.bench.programs.places import RESULTS
from launch.bench.results.record import ConfigOption, JsonOption, OutputOption, console, recorded, visits
from launch.bench.results.turns import rotated
from launch.planning.found_config import CHECKOUT
from launch.training.evaluate import read_held_out

if TYPE_CHECKING:
    from openai import AsyncOpenAI

COUNTS = (3, 8, 16)
QUICK_COUNTS = (3,)
LATER = 50
"""A priority of vLLM's: a larger number comes later, and the first stage has 0."""
TIMEOUT_S = 600.0
KEPT_S = 2.0
"""An idle connection: vLLM's server ends one after 5 s, and what is sent just then is lost."""


def pipeline_command(
    config: ConfigOption = CHECKOUT,
    rounds: Annotated[int, typer.Option(min=1, help="visits to each way of asking")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="one round, three concepts")] = False,
    pipeline: Annotated[str, typer.Option(help="the pipeline's name")] = "concept-naming",
    count: Annotated[list[int] | None, typer.Option(help="concepts wanted; default: 3, 8 and 16")] = None,
    output: OutputOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Measure a pipeline against the same stages written by hand."""
    counts = count or (QUICK_COUNTS if quick else COUNTS)
    given, rounds = load_config(config), 1 if quick else rounds
    recorded(
        output,
        "pipeline",
        lambda scratch: measure(given, pipeline, counts, rounds, scratch),
        quick=quick,
        as_json=as_json,
    )


def measure(given: Config, name: str, counts: Sequence[int], rounds: int, scratch: Path) -> dict[str, object]:
    """Everything, as a document. Raises ConfigError and EngineFailure."""
    stages = two_stages(given, name)
    ways = {count: ways_of(held_to(stages, given, count)) for count in counts}
    examples = read_held_out("concept", None)
    terms = {
        count: [terms_for(examples, count, count * number) for number in range(rounds)] for count in counts
    }
    config = under_test(
        given,
        {task: settings.adapter for task, settings in given.tasks.items()},
        state_dir=scratch / "state",
        pipelines={one.name: one.pipeline for of_count in ways.values() for one in of_count.values()},
    )
    with running_stack(config, scratch, KEY) as stack, visits(rounds * len(counts) * len(ARMS)) as steps:
        runs = asyncio.run(run_rounds(stack, config, ways, terms, rounds, steps))
    console().print(table_of(runs))
    return {
        "base": given.base.model,
        "pipeline": name,
        "terms": {str(n): [[one.term for one in of_round] for of_round in own] for n, own in terms.items()},
        "summary": summary(runs),
        "rounds": [asdict(run) for run in runs],
    }


def ways_of(stages: TwoStages) -> dict[str, TwoStages]:
    """One pipeline for each arm through the gateway."""
    return {"gateway": stages, "behind": varied(stages, "behind", {"priority": LATER})}


async def run_rounds(
    stack: Running,
    config: Config,
    ways: dict[int, dict[str, TwoStages]],
    terms: dict[int, list[list[Term]]],
    rounds: int,
    steps: Steps,
) -> list[PipelineRun]:
    """Every way of asking once a round and number of concepts, each in turn the first.

    Each round has other terms. A way of asking has one cache salt over all of them, so that the engine knows
    of a prompt again what all requests have alike, and no more.
    """
    try:
        from httpx import Limits
        from openai import APIError, AsyncOpenAI, DefaultAsyncHttpxClient
    except ImportError as error:
        raise ConfigError(
            "bench", str(error.name), "install it: pip install 'lora-gateway[train]'"
        ) from error
    runs: list[PipelineRun] = []
    try:
        engine, ours = (
            AsyncOpenAI(
                base_url=f"{url}/v1",
                api_key=KEY,
                timeout=TIMEOUT_S,
                max_retries=0,
                # No proxy reaches our own loopback.
                http_client=DefaultAsyncHttpxClient(trust_env=False, limits=Limits(keepalive_expiry=KEPT_S)),
            )
            for url in (stack.engine_url, stack.gateway_url)
        )
        async with engine, ours:
            smallest = min(ways)
            await through_gateway(ours, ways[smallest]["gateway"], terms[smallest][0], "warm-up")
            for number, (count, by_arm) in itertools.product(range(rounds), ways.items()):
                given = terms[count][number]
                hand = ByHand(engine, config, by_arm["gateway"], given, _models(stack, by_arm["gateway"]))
                await hand.warm_up("warm-up")
                by_hand = {"sequential": hand.sequential, "fan-out": hand.fan_out}
                for arm in rotated(ARMS, number):
                    which = f"round {number + 1} of {rounds}, {count} concepts, {arm}"
                    steps.now(which)
                    salt, before = f"{arm}-{count}", await asyncio.to_thread(read, stack.engine_url, KEY)
                    if arm in by_arm:
                        taken = await through_gateway(ours, by_arm[arm], given, salt)
                    else:
                        taken = await by_hand[arm](salt)
                    cache = (await asyncio.to_thread(read, stack.engine_url, KEY)).since(before)
                    runs.append(PipelineRun(number, count, arm, taken, cache))
                    steps.done(f"{which}: {taken.total_s:.2f} s")
    except APIError as error:
        raise EngineFailure(f"a request failed: {error.message}") from error
    return runs


def _models(stack: Running, stages: TwoStages) -> tuple[str, str]:
    """The engine's names for both stages' adapters; a stage without one asks the base by its own."""
    first, each = stages.first.task, stages.each.task
    return stack.adapters.get(first, first), stack.adapters.get(each, each)


async def through_gateway(client: AsyncOpenAI, stages: TwoStages, terms: Sequence[Term], salt: str) -> Timing:
    """One request to the pipeline; the stages' times are the gateway's own. Raises EngineFailure."""
    began = time.perf_counter()
    answer = await client.chat.completions.create(
        model=stages.name,
        messages=[{"role": "user", "content": request_text(terms)}],
        extra_body={"cache_salt": salt},
    )
    total_s = time.perf_counter() - began
    usage = answer.usage.model_dump() if answer.usage is not None else {}
    try:
        first, each = usage["stages"]
    except (KeyError, ValueError) as error:
        raise EngineFailure("the pipeline's answer does not say what its stages took") from error
    return Timing(
        total_s=total_s,
        first_s=first["ms"] / 1000,
        last_s=total_s - (first["start_ms"] + first["ms"]) / 1000,
        elements=each["calls"],
        first_tokens=first["completion_tokens"],
        each_tokens=each["completion_tokens"],
    )
