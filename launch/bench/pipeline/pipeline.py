"""`bench pipeline`: through the gateway, against the two stages written by hand with the OpenAI SDK."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.config.document import Config, load_config
from gateway.errors import ConfigError, EngineFailure
from launch.bench.engine.config import GATEWAY_PORT, HOST, KEY, under_test
from launch.bench.engine.stack import Running, running_stack
from launch.bench.pipeline.by_hand import ByHand, Timing
from launch.bench.pipeline.inputs import Term, TwoStages, held_to, request_text, terms_for, two_stages
from launch.bench.pipeline.report import PipelineRun, summary, table_of
from launch.bench.programs.places import RESULTS
from launch.bench.results.record import DEMO, ConfigOption, OutputOption, console, recorded
from launch.machine.ports import free_port
from launch.training.evaluate import read_held_out

if TYPE_CHECKING:
    from openai import AsyncOpenAI

COUNTS = (3, 8, 16)
QUICK_COUNTS = (3,)
ARMS = ("gateway", "sequential", "fan-out")
TIMEOUT_S = 600.0


def pipeline_command(
    config: ConfigOption = DEMO,
    rounds: Annotated[int, typer.Option(min=1, help="visits to each way of asking")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="one round, three concepts")] = False,
    pipeline: Annotated[str, typer.Option(help="the pipeline's name")] = "concept-naming",
    count: Annotated[list[int] | None, typer.Option(help="concepts wanted; default: 3, 8 and 16")] = None,
    output: OutputOption = RESULTS,
) -> None:
    """Measure a pipeline against the same stages written by hand."""
    counts = count or (QUICK_COUNTS if quick else COUNTS)
    given, rounds = load_config(config), 1 if quick else rounds
    recorded(
        output, "pipeline", lambda scratch: measure(given, pipeline, counts, rounds, scratch), quick=quick
    )


def measure(given: Config, name: str, counts: Sequence[int], rounds: int, scratch: Path) -> dict[str, object]:
    """Everything, as a document. Raises ConfigError and EngineFailure."""
    stages = two_stages(given, name)
    held = {count: held_to(stages, given, count) for count in counts}
    examples = read_held_out("concept", None)
    terms = {count: terms_for(examples, count) for count in counts}
    config = under_test(
        given,
        {task: settings.adapter for task, settings in given.tasks.items()},
        state_dir=scratch / "state",
        gateway_port=free_port("gateway.port", HOST, GATEWAY_PORT),
        pipelines={one.name: one.pipeline for one in held.values()},
    )
    with running_stack(config, scratch, KEY) as stack:
        runs = asyncio.run(run_rounds(stack, config, held, terms, rounds))
    console().print(table_of(runs))
    return {
        "base": given.base.model,
        "pipeline": name,
        "terms": {str(n): [one.term for one in of_count] for n, of_count in terms.items()},
        "summary": summary(runs),
        "rounds": [asdict(run) for run in runs],
    }


async def run_rounds(
    stack: Running,
    config: Config,
    held: dict[int, TwoStages],
    terms: dict[int, list[Term]],
    rounds: int,
) -> list[PipelineRun]:
    """Every way of asking once a round and number of concepts, each in turn the first."""
    try:
        from openai import APIError, AsyncOpenAI, DefaultAsyncHttpxClient
    except ImportError as error:
        raise ConfigError("bench", str(error.name), "install it: pip install '.[train]'") from error
    runs: list[PipelineRun] = []
    try:
        engine, ours = (
            AsyncOpenAI(
                base_url=f"{url}/v1",
                api_key=KEY,
                timeout=TIMEOUT_S,
                max_retries=0,
                http_client=DefaultAsyncHttpxClient(trust_env=False),  # no proxy reaches our own loopback
            )
            for url in (stack.engine_url, stack.gateway_url)
        )
        async with engine, ours:
            hands = {}
            for count, stages in held.items():
                tasks = (stages.first.task, stages.each.task)
                models = (stack.adapters.get(tasks[0], tasks[0]), stack.adapters.get(tasks[1], tasks[1]))
                hands[count] = ByHand(engine, config, stages, terms[count], models)
                await hands[count].warm_up("warm-up")
            smallest = min(held)
            await through_gateway(ours, held[smallest], terms[smallest], "warm-up")
            for number in range(rounds):
                for count, stages in held.items():
                    turn = number % len(ARMS)
                    for arm in (*ARMS[turn:], *ARMS[:turn]):
                        salt = f"{number}-{count}-{arm}"
                        if arm == "gateway":
                            taken = await through_gateway(ours, stages, terms[count], salt)
                        elif arm == "sequential":
                            taken = await hands[count].sequential(salt)
                        else:
                            taken = await hands[count].fan_out(salt)
                        runs.append(PipelineRun(number, count, arm, taken))
                        console().print(
                            f"round {number + 1} of {rounds}, {count} concepts, {arm}: {taken.total_s:.2f} s"
                        )
    except APIError as error:
        raise EngineFailure(f"a request failed: {error.message}") from error
    return runs


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
