"""Measures the demo's adapters against the base, through whatever serves them: a gateway, or a bare engine.

Both get the same system prompt and the same user message, and are decoded greedily. For `concept` both are
held to a JSON schema whose members are the given terms; ``--unconstrained`` measures what they do without
it as well.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from gateway.errors import ConfigError
from launch.scores import Interval, bootstrap, name_exact, name_in_lemmas, pairwise_f1, parse_groups
from launch.tasks_data import SYSTEM_PROMPTS, Example, Task

if TYPE_CHECKING:
    from openai import AsyncOpenAI

DEMO = Path(__file__).parent.parent / "configs" / "demo"
DEFAULT_LIMITS: dict[Task, int] = {"naming": 150, "concept": 60}
MAX_TOKENS: dict[Task, int] = {"naming": 24, "concept": 512}
CONCURRENCY = 8
BASE_MODEL = "base"
Schema = dict[str, object]


@dataclass(frozen=True, slots=True)
class Measure:
    task: Task
    model: str
    constrained: bool
    metric: str
    value: Interval


@dataclass(frozen=True, slots=True)
class Answers:
    texts: list[str]
    seconds: float
    tokens: int


# -- pure parts ------------------------------------------------------------------------------------


def read_held_out(task: Task, limit: int | None, folder: Path = DEMO / "heldout") -> list[Example]:
    path = folder / f"{task}.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError("held-out data", str(path), f"cannot be read ({error.strerror})") from error
    examples = [example_from(json.loads(line)) for line in lines if line.strip()]
    return examples[: limit or DEFAULT_LIMITS[task]]


def example_from(fields: dict[str, list[str]]) -> Example:
    return Example(
        str(fields["prompt"]),
        str(fields["completion"]),
        synsets=tuple(fields.get("synsets", ())),
        terms=tuple(fields.get("terms", ())),
        groups=tuple(tuple(group) for group in fields.get("groups", ())),
        lemmas=tuple(fields.get("lemmas", ())),
    )


def concept_schema(terms: Sequence[str]) -> Schema:
    """The demo's schema with the given terms as the only members there can be."""
    definition: Schema = {"type": "string", "maxLength": 200}
    members: Schema = {
        "type": "array",
        "minItems": 1,
        "maxItems": len(terms),
        "items": {"enum": list(terms)},
    }
    concept: Schema = {
        "type": "object",
        "properties": {"members": members, "definition": definition},
        "required": ["members", "definition"],
        "additionalProperties": False,
    }
    concepts: Schema = {"type": "array", "minItems": 1, "maxItems": 16, "items": concept}
    return {
        "type": "object",
        "properties": {"concepts": concepts},
        "required": ["concepts"],
        "additionalProperties": False,
    }


def score(
    task: Task, model: str, constrained: bool, examples: Sequence[Example], texts: Sequence[str]
) -> list[Measure]:
    """Every metric of one task for one model's answers, in the order of the examples."""
    pairs = list(zip(examples, texts, strict=True))
    metrics: dict[str, list[float]] = {}
    if task == "naming":
        metrics["exact match"] = [float(name_exact(example.completion, text)) for example, text in pairs]
        metrics["lemma match"] = [float(name_in_lemmas(example.lemmas, text)) for example, text in pairs]
    else:
        parsed = [parse_groups(text) for text in texts]
        metrics["pairwise F1"] = [
            0.0 if groups is None else pairwise_f1(example.groups, groups)
            for example, groups in zip(examples, parsed, strict=True)
        ]
        metrics["valid JSON"] = [float(groups is not None) for groups in parsed]
    return [
        Measure(task, model, constrained, metric, bootstrap(values)) for metric, values in metrics.items()
    ]


def table_of(measures: Sequence[Measure]) -> Table:
    table = Table(title="Held-out examples, mean (95 % bootstrap interval)")
    for heading in ("task", "model", "schema", "metric", "mean", "n"):
        table.add_column(heading, justify="right" if heading == "n" else "left")
    for measure in measures:
        schema = "yes" if measure.constrained else "no"
        row = (measure.task, measure.model, schema, measure.metric, str(measure.value))
        table.add_row(*row, str(measure.value.count))
    return table


def report_of(measures: Sequence[Measure], timings: Sequence[dict[str, object]]) -> dict[str, object]:
    return {"measures": [asdict(measure) for measure in measures], "runs": list(timings)}


# -- asking ----------------------------------------------------------------------------------------


async def ask_all(
    client: AsyncOpenAI, task: Task, model: str, examples: Sequence[Example], constrained: bool
) -> Answers:
    """Every answer, `CONCURRENCY` at a time; the first error of the service ends the run."""
    gate = asyncio.Semaphore(CONCURRENCY)
    tokens = 0

    async def ask(example: Example) -> str:
        nonlocal tokens
        extra: dict[str, object] = {}
        if constrained:
            schema = {"name": task, "schema": concept_schema(example.terms)}
            extra["response_format"] = {"type": "json_schema", "json_schema": schema}
        async with gate:
            response = await client.chat.completions.create(
                model=model,
                messages=[
                    {"role": "system", "content": SYSTEM_PROMPTS[task]},
                    {"role": "user", "content": example.prompt},
                ],
                temperature=0,
                max_tokens=MAX_TOKENS[task],
                extra_body=extra,
            )
        if response.usage is not None:
            tokens += response.usage.completion_tokens
        return response.choices[0].message.content or ""

    started = time.monotonic()
    texts = await asyncio.gather(*(ask(example) for example in examples))
    return Answers(list(texts), time.monotonic() - started, tokens)


async def evaluate(
    url: str,
    *,
    tasks: Sequence[Task] = ("naming", "concept"),
    limit: int | None = None,
    unconstrained: bool = False,
    samples: Path | None = None,
) -> tuple[list[Measure], list[dict[str, object]]]:
    """Asks the base and each task's adapter every held-out example. `samples` gets the answers, for reading.

    Raises ConfigError where the service cannot be reached or refuses a request.
    """
    try:
        from openai import APIConnectionError, APIStatusError, AsyncOpenAI
    except ImportError as error:
        raise ConfigError("evaluate", str(error.name), "install it: pip install '.[train]'") from error
    measures: list[Measure] = []
    runs: list[dict[str, object]] = []
    key = os.environ.get("LORA_GATEWAY_API_KEY", "none")
    async with AsyncOpenAI(base_url=url, api_key=key, timeout=600, max_retries=2) as client:
        for task in tasks:
            examples = read_held_out(task, limit)
            conditions = [False] if task == "naming" else [True, False] if unconstrained else [True]
            for constrained in conditions:
                for model in (BASE_MODEL, task):
                    try:
                        answers = await ask_all(client, task, model, examples, constrained)
                    except APIConnectionError as error:
                        raise ConfigError("--url", url, "nothing answers there; is it served?") from error
                    except APIStatusError as error:
                        raise ConfigError(
                            f"model {model}", url, f"HTTP {error.status_code}: {error.message}"
                        ) from error
                    measures += score(task, model, constrained, examples, answers.texts)
                    runs.append(
                        {
                            "task": task,
                            "model": model,
                            "schema": constrained,
                            "seconds": round(answers.seconds, 1),
                            "completion_tokens": answers.tokens,
                        }
                    )
                    if samples is not None:
                        write_samples(
                            samples / f"{task}-{model}-{'schema' if constrained else 'free'}.jsonl",
                            examples,
                            answers,
                        )
    return measures, runs


def write_samples(path: Path, examples: Sequence[Example], answers: Answers) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps(
            {"prompt": example.prompt, "expected": example.completion, "answer": text}, ensure_ascii=False
        )
        for example, text in zip(examples, answers.texts, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def evaluate_command(
    url: Annotated[str, typer.Option(help="an OpenAI-compatible address")] = "http://127.0.0.1:8080/v1",
    task: Annotated[Literal["concept", "naming"] | None, typer.Option(help="both by default")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="held-out examples; 150 and 60 by default")] = None,
    output: Annotated[
        Path | None, typer.Option(help="folder in which TASK/evaluation.json is written")
    ] = None,
    unconstrained: Annotated[bool, typer.Option(help="measure concept without a schema too")] = False,
    samples: Annotated[Path | None, typer.Option(help="folder for the answers themselves")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """Measure the adapters against the base on held-out examples."""
    tasks: list[Task] = [task] if task else ["naming", "concept"]
    measures, runs = asyncio.run(
        evaluate(url, tasks=tasks, limit=limit, unconstrained=unconstrained, samples=samples)
    )
    if output is not None:
        for each in tasks:
            own = [measure for measure in measures if measure.task == each]
            report = report_of(own, [run for run in runs if run["task"] == each])
            path = output / each / "evaluation.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(report_of(measures, runs), indent=2))
    else:
        Console().print(table_of(measures))


if __name__ == "__main__":
    try:
        typer.run(evaluate_command)
    except ConfigError as error:
        sys.exit(str(error))
