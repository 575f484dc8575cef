"""`bench engine`: the same load direct to vLLM and through the gateway, and what adapters cost the engine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import linear_regression
from typing import Annotated

import typer

from gateway.config.document import Config
from gateway.errors import ConfigError
from launch.base.locate import resolve_base
from launch.base.lora_shapes import Base
from launch.bench.engine.config import KEY, extra_tasks, load_given, under_test
from launch.bench.engine.dummy_adapters import (
    ON_DUMMY_BASE,
    ON_TRAINED_BASE,
    AdapterShape,
    shape_like,
    tensor_shapes,
    weight_bytes,
    write_dummy_adapter,
)
from launch.bench.engine.load import Load, VllmBenchClient, client_arguments, running_client
from launch.bench.engine.report import arms_table, ratios_table, starts_table
from launch.bench.engine.rounds import Arm, ArmRun, arms_of, comparisons, figures_of, in_order, summary
from launch.bench.engine.stack import Running, post, running_stack
from launch.bench.overhead.payload import asked_for
from launch.bench.programs.places import RESULTS
from launch.bench.results.record import ConfigOption, JsonOption, OutputOption, console, recorded, visits
from launch.machine.memory import tree_memory
from launch.planning.found_config import CHECKOUT

ADAPTERS = 4
MEMORY_COUNTS = (0, 1, 2)  # the stack under load is started with all
WARM_UP = Load(requests=8, concurrency=8, input_tokens=16, output_tokens=4)
QUICK = Load(requests=8, concurrency=8, input_tokens=64, output_tokens=16)
FIRST_TOKENS = 16
DEFAULT_RANK = 16
LOG_FACTS = re.compile(r"Model loading took .*|GPU KV cache size: .*|Maximum concurrency for .*")


def engine_command(
    config: ConfigOption = CHECKOUT,
    rounds: Annotated[int, typer.Option(min=1, help="visits to each arm")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="one short round, no starts for memory")] = False,
    dummy_weights: Annotated[
        bool,
        typer.Option("--dummy-weights", help="random base and adapters: config and tokenizer are enough"),
    ] = False,
    rank: Annotated[
        int | None, typer.Option(min=1, help="of made adapters; default: the first task's")
    ] = None,
    task: Annotated[str | None, typer.Option(help="the one adapter; default: naming, or the first")] = None,
    requests: Annotated[int, typer.Option(min=1, help="per arm and round")] = 16,
    concurrency: Annotated[int, typer.Option(min=1, help="requests at once")] = 8,
    input_tokens: Annotated[int, typer.Option(min=1, help="per request")] = 64,
    output_tokens: Annotated[int, typer.Option(min=2, help="per request")] = 48,
    memory: Annotated[bool, typer.Option(help="start with 0, 1 and 2 adapters too, to read memory")] = True,
    output: OutputOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Measure the engine: directly, through the gateway, and with one, two and four adapters in a batch."""
    load = QUICK if quick else Load(requests, concurrency, input_tokens, output_tokens)

    def measure(scratch: Path) -> dict[str, object]:
        bench = EngineBench(config, scratch, task=task, rank=rank, dummy=dummy_weights)
        return bench.run(load, 1 if quick else rounds, MEMORY_COUNTS if memory and not quick else ())

    recorded(output, "engine", measure, quick=quick, as_json=as_json)


class EngineBench:
    """One run: adapters, stacks, rounds."""

    def __init__(
        self, config_path: Path, scratch: Path, *, task: str | None, rank: int | None, dummy: bool
    ) -> None:
        self._scratch = scratch
        self._dummy = dummy
        self._config = load_given(config_path, dummy=dummy, placeholder=scratch / "unset")
        self._base = resolve_base(self._config.base)
        self._shape = adapter_shape(self._config, self._base, rank, dummy=dummy)
        self._adapters = self._make_adapters()
        self._task = task or ("naming" if "naming" in self._adapters else next(iter(self._adapters)))
        if self._task not in self._adapters:
            raise ConfigError("--task", self._task, f"is no task (tasks: {', '.join(self._adapters)})")

    def run(self, load: Load, rounds: int, memory_counts: Sequence[int]) -> dict[str, object]:
        """Everything, as a document. Raises ConfigError and EngineFailure."""
        starts = [self._start_alone(count) for count in memory_counts]
        config = self._under_test(len(self._adapters))
        # One after the other: an eighth of them takes no longer than all of them eight at once.
        single = Load(max(1, load.requests // 8), 1, load.input_tokens, load.output_tokens)
        with running_stack(config, self._folder("loaded"), KEY) as stack:
            starts.append(self._describe_start(stack))
            first = {model: first_request_ms(stack, model) for model in [stack.base, *stack.adapters]}
            arms = arms_of(
                stack.engine_url, stack.gateway_url, stack.base, stack.adapters, self._task, load, single
            )
            with running_client(KEY, self._scratch / "client.log") as client:
                runs = self._rounds(client, arms, rounds)
        wanted = comparisons(arms)
        for table in (arms_table(runs), ratios_table(runs, wanted), starts_table(starts)):
            console().print(table)
        return {
            "base": self._base.name or self._base.model,
            "dummy_weights": self._dummy,
            "adapter": self._adapter_facts(starts),
            "task": self._task,
            "load": asdict(load),
            "load_single": asdict(single),
            "arms": {arm.name: list(arm.target.models) for arm in arms},
            "starts": starts,
            "first_request_ms": first,
            "summary": summary(runs, wanted),
            "rounds": [asdict(run) for run in runs],
        }

    def _rounds(self, client: VllmBenchClient, arms: Sequence[Arm], rounds: int) -> list[ArmRun]:
        for arm in arms:
            # Not counted: a first visit makes connections and products, and brings an adapter into its slot.
            self._visit(client, Arm(arm.name, arm.target, WARM_UP), -1, 0)
        runs: list[ArmRun] = []
        with visits(rounds * len(arms)) as steps:
            for number in range(rounds):
                for position, arm in enumerate(in_order(arms, number)):
                    which = f"round {number + 1} of {rounds}, {arm.name}"
                    steps.now(which)
                    runs.append(self._visit(client, arm, number, position))
                    steps.done(f"{which}: {runs[-1].figures['output_tokens_per_s']:.1f} tokens/s")
        return runs

    def _make_adapters(self) -> dict[str, Path]:
        """The configuration's own, unless the weights are to be random, and random ones up to four."""
        own = {} if self._dummy else {name: task.adapter for name, task in self._config.tasks.items()}
        made = [*(self._config.tasks if self._dummy else ()), *extra_tasks(self._config, ADAPTERS)]
        strength = ON_DUMMY_BASE if self._dummy else ON_TRAINED_BASE
        # A seed each, since the mixed batch of a start asks for adapters that answer differently.
        for seed, name in enumerate(made):
            own[name] = self._scratch / "adapters" / name
            write_dummy_adapter(own[name], self._base, self._shape, seed, strength)
        return own

    def _under_test(self, count: int) -> Config:
        return under_test(
            self._config,
            dict([*self._adapters.items()][:count]),
            state_dir=self._scratch / "state",
            load_format="dummy" if self._dummy else None,
        )

    def _start_alone(self, count: int) -> dict[str, object]:
        console().print(f"starting with {count} adapters, for memory and load time")
        config = self._under_test(count)
        with running_stack(config, self._folder(f"with-{count}"), KEY, gateway=False) as stack:
            return self._describe_start(stack)

    def _describe_start(self, stack: Running) -> dict[str, object]:
        text = stack.log.read_text(encoding="utf-8", errors="replace")
        return {
            "adapters": len(stack.adapters),
            "load_s": stack.load_s,
            **asdict(tree_memory(stack.engine_pid)),
            "engine_says": LOG_FACTS.findall(text),
        }

    def _adapter_facts(self, starts: Sequence[dict[str, object]]) -> dict[str, object]:
        """What one adapter takes: computed for one slot, and read off the starts where there were several."""
        facts: dict[str, object] = {"rank": self._shape.rank, "modules": list(self._shape.modules)}
        if self._base.sides:
            facts["bytes_in_bfloat16"] = weight_bytes(tensor_shapes(self._base, self._shape))
        counts = [int(str(one["adapters"])) for one in starts]
        with_some = [(count, one) for count, one in zip(counts, starts, strict=True) if count]
        if len({count for count, _ in with_some}) > 1:
            # Without the start that has none: there vLLM leaves LoRA out altogether.
            values = [float(str(one["pss_bytes"])) for _, one in with_some]
            facts["pss_bytes_per_adapter"] = round(
                linear_regression([count for count, _ in with_some], values).slope
            )
        return facts

    def _visit(self, client: VllmBenchClient, arm: Arm, number: int, position: int) -> ArmRun:
        tokenizer = self._base.model
        salt = f"{number}-{arm.name}"
        # The same prompts for every arm of a round.
        arguments = client_arguments(arm.target, arm.load, tokenizer, seed=number + 1, salt=salt)
        return ArmRun(number, position, arm.name, figures_of(client.run(arguments, arm.load)))

    def _folder(self, name: str) -> Path:
        folder = self._scratch / name
        folder.mkdir()
        return folder


def adapter_shape(config: Config, base: Base, rank: int | None, *, dummy: bool) -> AdapterShape:
    """Of the adapters to make: as the first trained one where there is one, with `rank` over it."""
    trained = None if dummy else next(iter(config.tasks.values()), None)
    shape = (
        shape_like(trained.adapter) if trained is not None else AdapterShape(DEFAULT_RANK, tuple(base.sides))
    )
    return AdapterShape(rank or shape.rank, shape.modules or tuple(base.sides))


def first_request_ms(stack: Running, model: str) -> float:
    """The first request after ready through the gateway, 16 tokens, in milliseconds."""
    seconds, _ = post(f"{stack.gateway_url}/v1/completions", KEY, asked_for(model, "1", FIRST_TOKENS))
    return round(seconds * 1000, 1)
