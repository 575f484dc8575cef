"""Measures adapters against the base, through whatever serves them: a gateway, or a bare engine.

Both get the same system prompt and the same user message, and are decoded greedily. For `concept` both are
held to a JSON schema whose members are the given terms; ``--unconstrained`` measures what they do without
it as well. Any other task is measured by the share of answers that are the expected one; ``--choices``
measures what both do when they may only choose among the answers that the data has.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.console import Console
from rich.table import Table

from gateway.errors import ConfigError, told
from launch.base.progress import Report, silent, terminal_progress
from launch.training.concept_scores import named_groups, pipeline_scores
from launch.training.data.tasks import DEMO, EVERYDAY, SYSTEM_PROMPTS, DemoTask
from launch.training.examples import Example, read_examples
from launch.training.scores import (
    Interval,
    bootstrap,
    most_common_share,
    name_exact,
    name_in_lemmas,
    pairwise_f1,
    parse_groups,
)
from launch.training.served import BASE_MODEL, client_of, faults_named, tokens_within

if TYPE_CHECKING:
    from openai import AsyncOpenAI

DEFAULT_TASKS = ("naming", "concept")
MAX_TOKENS = {"naming": 24, "concept": 512}
MOST_CHOICES = 256
CONCURRENCY = 8
COMMONEST = "(the commonest answer)"
Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trial:
    """One task's examples with all that goes into a request beside them."""

    task: str
    examples: list[Example]
    system: str | None
    max_tokens: int
    data: str = ""
    """Of a pipeline's trial, what its clusters are called: it has no adapter or base to be compared with."""

    def choices(self) -> list[str]:
        """The different answers, for a choice among them. Raises ConfigError for too many."""
        found = sorted({example.answer for example in self.examples})
        if len(found) > MOST_CHOICES:
            mend = f"are too many to choose from ({MOST_CHOICES} at most); measure without --choices"
            raise ConfigError("--choices", f"{len(found)} different answers", mend)
        return found


@dataclass(frozen=True, slots=True)
class Measure:
    task: str
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


def read_held_out(task: str, limit: int | None) -> list[Example]:
    """A demo task's. Raises ConfigError."""
    return read_examples(DEMO / "heldout" / f"{task}.jsonl", "held-out data").examples[:limit]


def trial_of(task: str, data: Path | None, system: str | None, limit: int | None) -> Trial:
    """Own data or the demo's; own system prompt, or the data's, or the demo's. Raises ConfigError."""
    folder = DEMO / "heldout"
    known = [name for name in get_args(DemoTask) if (folder / f"{name}.jsonl").is_file()]
    if data is None and task not in known:
        shown = ", ".join(known) or "none"
        mend = f"name its examples with --data; only those in {folder} come with data: {shown}"
        raise ConfigError("--task", task, mend, code="training_data")
    file = read_examples(data or folder / f"{task}.jsonl")
    examples = file.examples[:limit]
    longest = max(_most_tokens(example.answer) for example in examples)
    prompt = system if system is not None else file.system or SYSTEM_PROMPTS.get(task)
    return Trial(task, examples, prompt or None, MAX_TOKENS.get(task, 16 + longest))


def _most_tokens(text: str) -> int:
    """More than any base makes of it, so that no right answer is cut short: two letters a token are fewer
    than words have; of a digit, and of each byte of another script, it may make one.
    """
    letters = sum(one.isascii() and not one.isdigit() for one in text)
    return letters // 2 + len(text.encode()) - letters


def pipeline_trials(pipeline: str, limit: int | None) -> list[Trial]:
    """A pipeline on the clusters held out of `concept`, and on those of everyday words."""
    files = {"concept": DEMO / "heldout" / "concept.jsonl", "everyday": EVERYDAY}
    return [
        Trial(pipeline, [as_asked(one) for one in read_examples(path).examples[:limit]], None, 512, name)
        for name, path in files.items()
    ]


def as_asked(example: Example) -> Example:
    """The same cluster as a client writes it to a pipeline."""
    pairs = [line.partition(": ")[::2] for line in example.prompt.splitlines()]
    terms = [{"term": term, "gloss": gloss or None} for term, gloss in pairs]
    return replace(example, prompt=json.dumps(terms, ensure_ascii=False))


def score_pipeline(trial: Trial, texts: Sequence[str]) -> list[Measure]:
    """Every metric of a pipeline's documents; one that is none counts 0 in each."""
    metrics: dict[str, list[float]] = {}
    for example, text in zip(trial.examples, texts, strict=True):
        for metric, value in pipeline_scores(example, named_groups(text) or []).items():
            metrics.setdefault(metric, []).append(value)
    return [
        Measure(trial.task, trial.data, True, name, bootstrap(values)) for name, values in metrics.items()
    ]


def concept_schema(terms: Sequence[str]) -> Schema:
    """The demo's schema with the given terms as the only members there can be."""
    schema: Schema = json.loads((DEMO / "concepts.schema.json").read_bytes())
    bounds = {"maxItems": len(terms), "items": {"enum": list(terms)}}
    schema["properties"]["concepts"]["items"]["properties"]["members"] |= bounds
    return schema


def score(
    task: str, model: str, constrained: bool, examples: Sequence[Example], texts: Sequence[str]
) -> list[Measure]:
    """Every metric of one task for one model's answers, in the order of the examples."""
    pairs = list(zip(examples, texts, strict=True))
    metrics: dict[str, list[float]] = {}
    if task == "concept":
        parsed = [parse_groups(text) for text in texts]
        metrics["pairwise F1"] = [
            0.0 if groups is None else pairwise_f1(example.groups, groups)
            for example, groups in zip(examples, parsed, strict=True)
        ]
        metrics["valid JSON"] = [float(groups is not None) for groups in parsed]
    else:
        metrics["exact match"] = [float(name_exact(example.answer, text)) for example, text in pairs]
        if any(example.lemmas for example in examples):
            metrics["lemma match"] = [float(name_in_lemmas(example.lemmas, text)) for example, text in pairs]
    return [
        Measure(task, model, constrained, metric, bootstrap(values)) for metric, values in metrics.items()
    ]


def floor_of(trial: Trial) -> list[Measure]:
    """What it would give to say the commonest answer each time; nothing for `concept`."""
    if trial.task == "concept" or trial.data:
        return []
    values = most_common_share([example.answer for example in trial.examples])
    return [Measure(trial.task, COMMONEST, False, "exact match", bootstrap(values))]


def table_of(measures: Sequence[Measure]) -> Table:
    table = Table(title="Held-out examples, mean (95 % bootstrap interval)")
    for heading in ("task", "model", "held to a form", "metric", "mean", "n"):
        table.add_column(heading, justify="right" if heading == "n" else "left")
    for measure in measures:
        schema = "yes" if measure.constrained else "no"
        row = (measure.task, measure.model, schema, measure.metric, str(measure.value))
        table.add_row(*row, str(measure.value.count))
    return table


def report_of(measures: Sequence[Measure], timings: Sequence[dict[str, object]]) -> dict[str, object]:
    return {"measures": [asdict(measure) for measure in measures], "runs": list(timings)}


# -- asking ----------------------------------------------------------------------------------------


def form_of(trial: Trial, example: Example, constrained: bool) -> dict[str, object]:
    """What a request is held to: the concepts' schema, or the answers there are."""
    if not constrained or trial.data:
        return {}
    if trial.task == "concept":
        schema = {"name": trial.task, "schema": concept_schema(example.terms)}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {"structured_outputs": {"choice": trial.choices()}}


async def ask_all(
    client: AsyncOpenAI, trial: Trial, model: str, constrained: bool, report: Report = silent
) -> Answers:
    """Every answer, `CONCURRENCY` at a time; the first error of the service ends the run."""
    gate = asyncio.Semaphore(CONCURRENCY)
    most = await tokens_within(client, model, trial.max_tokens)
    tokens = answered = 0

    async def ask(example: Example) -> str:
        nonlocal tokens, answered
        async with gate:
            response = await client.chat.completions.create(
                model=model,
                messages=example.messages(trial.system),  # type: ignore[arg-type]  # its roles are literals
                temperature=0,
                max_tokens=most,
                extra_body=form_of(trial, example, constrained),
            )
        answered += 1
        report(f"{trial.task}: {model}", answered / len(trial.examples))
        if response.usage is not None:
            tokens += response.usage.completion_tokens
        return response.choices[0].message.content or ""

    started = time.monotonic()
    texts = await asyncio.gather(*(ask(example) for example in trial.examples))
    return Answers(list(texts), time.monotonic() - started, tokens)


def conditions_of(task: str, *, unconstrained: bool, choices: bool) -> list[bool]:
    """Whether the answers are held to a form, once for each round of requests."""
    if task == "concept":
        return [True, False] if unconstrained else [True]
    return [False, True] if choices else [False]


def rounds_of(trial: Trial, *, unconstrained: bool, choices: bool) -> list[tuple[bool, str]]:
    """Whether it is held to a form, and which model is asked; a pipeline has its own form, and no base."""
    if trial.data:
        return [(True, trial.task)]
    held = conditions_of(trial.task, unconstrained=unconstrained, choices=choices)
    return [(constrained, model) for constrained in held for model in (BASE_MODEL, trial.task)]


async def evaluate(
    url: str,
    trials: Sequence[Trial],
    *,
    unconstrained: bool = False,
    choices: bool = False,
    samples: Path | None = None,
    report: Report = silent,
) -> tuple[list[Measure], list[dict[str, object]]]:
    """Asks the base and each task's adapter every example. `samples` gets the answers, for reading.

    `report` is told how far each of them has come with the examples.

    Raises ConfigError where the service cannot be reached or refuses a request.
    """
    measures: list[Measure] = []
    runs: list[dict[str, object]] = []
    async with client_of(url, "evaluate") as client:
        for trial in trials:
            measures += floor_of(trial)
            for constrained, model in rounds_of(trial, unconstrained=unconstrained, choices=choices):
                with faults_named(url, f"model {model}"):
                    answers = await ask_all(client, trial, model, constrained, report)
                if trial.data:
                    measures += score_pipeline(trial, answers.texts)
                else:
                    measures += score(trial.task, model, constrained, trial.examples, answers.texts)
                runs.append(
                    {
                        "task": trial.task,
                        "model": trial.data or model,
                        "schema": constrained,
                        "seconds": round(answers.seconds, 1),
                        "completion_tokens": answers.tokens,
                    }
                )
                if samples is not None:
                    form = trial.data or ("schema" if constrained else "free")
                    path = samples / f"{trial.task}-{model}-{form}.jsonl"
                    write_samples(path, trial.examples, answers)
    return measures, runs


def check_writable(option: str, folder: Path) -> None:
    """Makes the folder where it is not there. Raises ConfigError where nothing can be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        mend = f"cannot be written: {error.strerror}; name another folder"
        raise ConfigError(option, str(folder), mend) from error


def write_samples(path: Path, examples: Sequence[Example], answers: Answers) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps(
            {
                **({"messages": example.messages(None)} if example.turns else {}),
                "prompt": example.prompt,
                "expected": example.answer,
                "answer": text,
            },
            ensure_ascii=False,
        )
        for example, text in zip(examples, answers.texts, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def evaluate_command(
    url: Annotated[str, typer.Option(help="an OpenAI-compatible address")] = "http://127.0.0.1:8080/v1",
    task: Annotated[str | None, typer.Option(help="a model; default: naming and concept")] = None,
    data: Annotated[
        Path | None, typer.Option(help="its examples, as for train; default: the demo's held-out ones")
    ] = None,
    system: Annotated[str | None, typer.Option(help="the system prompt; default: as for train")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="examples at most")] = None,
    choices: Annotated[
        bool, typer.Option("--choices", help="measure a choice among the data's answers too")
    ] = False,
    unconstrained: Annotated[
        bool, typer.Option("--unconstrained", help="measure concept without a schema too")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="folder in which TASK/evaluation.json is written")
    ] = None,
    samples: Annotated[Path | None, typer.Option(help="folder for the answers themselves")] = None,
    pipeline: Annotated[
        str | None,
        typer.Option(
            help="a pipeline that groups and names, on held-out and everyday clusters; no task then"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """Measure an adapter against the base on examples it was not trained on."""
    if task is None and (data is not None or system is not None):
        raise ConfigError("--task", "", "say whose --data and --system these are")
    if pipeline is not None and (task is not None or data is not None):
        raise ConfigError("--pipeline", pipeline, "is measured by itself; leave --task and --data out")
    if pipeline is not None:
        trials = pipeline_trials(pipeline, limit)
    else:
        trials = [trial_of(each, data, system, limit) for each in ([task] if task else DEFAULT_TASKS)]
    for option, folder in (("--output", output), ("--samples", samples)):
        if folder is not None:
            check_writable(option, folder)  # told before the minutes that the answers take
    with terminal_progress(quiet=as_json) as progress:
        measures, runs = asyncio.run(
            evaluate(
                url, trials, unconstrained=unconstrained, choices=choices, samples=samples, report=progress
            )
        )
    if output is not None:
        for name in dict.fromkeys(trial.task for trial in trials):
            own = [measure for measure in measures if measure.task == name]
            report = report_of(own, [run for run in runs if run["task"] == name])
            path = output / name / "evaluation.json"
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
        sys.exit(told(error))
