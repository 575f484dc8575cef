"""A training from its options to the adapter's folder: what is checked first, the steps, Ctrl-C."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, get_args

import typer

from gateway.config.document import checked_name
from gateway.errors import ConfigError
from launch.base.demo_base import demo_base_path
from launch.base.progress import Report, terminal_progress
from launch.training.batches import (
    Sample,
    batches_by_length,
    encode_all,
    hold_out,
    learning_rate,
    shuffled_forever,
)
from launch.training.curve import Curve, Point
from launch.training.data.others import OtherPrompt, other_prompts
from launch.training.data.tasks import DEFAULT_SEED, SYSTEM_PROMPTS, DemoTask, demo_training
from launch.training.data.wordnet import DEFAULT_FOLDER
from launch.training.examples import ExampleFile, read_examples
from launch.training.kept import KEPT_PROMPTS, base_answers, kept_loss
from launch.training.output import check_output, save_adapter
from launch.training.start import check_start, other_system

if TYPE_CHECKING:
    from peft import PeftModel

DEMO_BASE_NAME = "SmolLM2-135M-Instruct"
BATCH_EXAMPLES = {"concept": 8}
DEFAULT_BATCH = 16
DEFAULT_RANK = 16
EPOCHS = 3
LEAST_STEPS = 60
CHECKPOINT_MINUTES = 4.0
LOOKED_AT = 24
"""Held-out examples that a checkpoint is measured with; the loss before and after is of all."""
PATIENCE = 4
STEPS_BETWEEN_LINES = 10


@dataclass(frozen=True, slots=True)
class Training:
    """What was asked for; None is filled in from the task and the data."""

    task: str
    output: Path
    base: str | None = None
    data: Path | None = None
    system: str | None = None
    steps: int | None = None
    max_minutes: float = 45.0
    seed: int = DEFAULT_SEED
    rank: int | None = None
    """None: `DEFAULT_RANK`, or as `start` has it."""
    last_layers: int | None = None
    peak_rate: float = 5e-4
    batch: int | None = None
    hold_out: float = 0.05
    max_tokens: int = 1024
    wordnet: Path = DEFAULT_FOLDER
    start: Path | None = None
    """An adapter to go on from, with its rank and layers."""
    patience: int = PATIENCE
    """Checkpoints without a lower loss after which it ends."""
    keep_base: int = 0
    """Other prompts a step on which what the base says is kept."""
    force: bool = False
    """Whether another adapter in the output folder may be replaced."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How it went; losses are of an answer token, on what was held out, None where nothing was."""

    system: str | None
    steps: int
    minutes: float
    examples: int
    loss: float
    held_out: int
    loss_before: float | None
    loss_after: float | None
    stopped: bool
    paid_until: float | None = None
    """Minutes after which the loss on what was held out fell no more: the adapter is the one of then."""
    curve: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that a training needs to know before the base's weights are loaded."""

    base: str
    base_name: str
    system: str | None
    train: Sequence[Sample]
    held_out: Sequence[Sample]
    pad: int
    batch: int
    steps: int
    others: Sequence[OtherPrompt] = ()
    """Prompts on which what the base says is kept."""

    def result(self, steps: int, minutes: float, loss: float) -> TrainResult:
        """Of a training that has come so far."""
        examples, held_out = steps * self.batch, len(self.held_out)
        return TrainResult(self.system, steps, minutes, examples, loss, held_out, None, None, stopped=True)


# -- before anything heavy is loaded ---------------------------------------------------------------


def examples_of(asked: Training) -> ExampleFile:
    """The file's, or a demo task's own. Raises ConfigError."""
    if asked.data is not None:
        return read_examples(asked.data)
    demo_tasks: dict[str, DemoTask] = {name: name for name in get_args(DemoTask)}
    if asked.task not in demo_tasks:
        known = ", ".join(demo_tasks)
        mend = f"name your examples with --data (JSON lines); only {known} come with data"
        raise ConfigError("--task", asked.task, mend)
    examples = demo_training(demo_tasks[asked.task], asked.wordnet, asked.seed)
    return ExampleFile(Path(f"(built-in {asked.task})"), examples, list(range(1, len(examples) + 1)))


def system_of(asked: Training, file: ExampleFile) -> str | None:
    """The option's, or the data's, or the demo task's. Raises ConfigError where the first two differ."""
    if asked.system is not None:
        if file.system is not None and file.system != asked.system:
            mend = "differs from the system message in the data; drop one of the two"
            raise ConfigError("--system", asked.system, mend)
        return asked.system or None
    return file.system or SYSTEM_PROMPTS.get(asked.task)


def base_of(asked: Training) -> tuple[str, str]:
    """Where the base is, and the name that the adapter keeps of it. Raises ConfigError."""
    if asked.base is None:
        folder = demo_base_path()
        if not (folder / "config.json").is_file():
            raise ConfigError(
                "--base",
                str(folder),
                "the demo's base is not there; python -m launch.base.demo_base fetches it",
            )
        return str(folder), DEMO_BASE_NAME
    folder = Path(os.path.expanduser(asked.base))
    if (folder / "config.json").is_file():
        return str(folder), DEMO_BASE_NAME if folder == demo_base_path() else folder.resolve().name
    if folder.exists() or asked.base.startswith(("/", ".", "~")) or asked.base.count("/") != 1:
        mend = "holds no model (config.json); give a model's folder or a hub id such as owner/name"
        raise ConfigError("--base", asked.base, mend)
    return asked.base, asked.base


def prepare(asked: Training) -> Material:
    """Checks all that can be known first: names, folders, every line. Raises ConfigError."""
    checked_name("--task", asked.task)
    base, base_name = base_of(asked)
    goes_on = asked.start is not None and os.path.realpath(asked.start) == os.path.realpath(asked.output)
    check_output(asked.output, replaced=asked.force or goes_on)
    if asked.start is not None:
        check_start(asked.start, asked.task, base, base_name, asked.rank, asked.last_layers)
    file = examples_of(asked)
    system = system_of(asked, file)
    from launch.training.model import load_tokenizer, need_training_packages

    need_training_packages()
    tokenizer = load_tokenizer(base)
    samples = encode_all(tokenizer, system, file, asked.max_tokens)
    back = hold_out(file.examples, asked.hold_out)
    train = [sample for at, sample in enumerate(samples) if at not in back]
    size = min(asked.batch or BATCH_EXAMPLES.get(asked.task, DEFAULT_BATCH), len(train))
    return Material(
        base,
        base_name,
        system,
        train,
        [samples[at] for at in sorted(back)],
        int(tokenizer.pad_token_id or 0),
        size,
        asked.steps or max(LEAST_STEPS, math.ceil(EPOCHS * len(train) / size)),
        other_prompts(system, KEPT_PROMPTS, asked.seed) if asked.keep_base else (),
    )


# -- training --------------------------------------------------------------------------------------


class Stop:
    """Set by Ctrl-C (or SIGTERM): the step under way is finished, and what was learned is kept."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        before = {name: signal.signal(name, self._hear) for name in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt  # the second time: at once
        self.asked = True
        typer.echo("stopping after this step; once more stops at once", err=True)


def train(asked: Training) -> TrainResult:
    """Trains until the steps or the minutes are over, and leaves the adapter in the output folder.

    Raises ConfigError where anything is missing or wrong, before the weights are loaded as far as it can
    be known then.
    """
    material = prepare(asked)
    typer.echo(
        f"{asked.task}: {len(material.train)} examples to train on, {len(material.held_out)} held out; "
        f"{material.steps} steps of {material.batch}, {asked.max_minutes:g} min at most; "
        f"base {material.base_name}"
    )
    if asked.start is not None and (said := other_system(asked.start, material.system)):
        typer.echo(said)
    from launch.training.model import (
        attention_for,
        held_out_loss,
        load_for_training,
        load_tokenizer,
        load_weights,
    )

    attention = attention_for([*material.train, *material.held_out], material.batch)
    with terminal_progress() as report:
        report("loading the base", None)
        model = load_for_training(
            material.base,
            asked.rank or DEFAULT_RANK,
            asked.seed,
            asked.last_layers,
            asked.start,
            attention,
        )
        kept = base_answers(model, load_tokenizer(material.base), material.others, report)
    stop, curve = Stop(), Curve()
    with stop.heard(), terminal_progress() as report:
        report("measuring what is held out, before", None)
        before = held_out_loss(model, material.held_out, material.batch, material.pad)
        steps, minutes, loss = _learn(model, asked, material, kept, stop, curve, report)
        if steps == 0:
            raise KeyboardInterrupt  # as when Ctrl-C comes twice: there is nothing to save
        result = replace(material.result(steps, minutes, loss), stopped=stop.asked, loss_before=before)
        best = stop.asked or _is_best(model, material, curve, steps, minutes)
        if not best:  # what lies in the folder is better than what training ended with
            assert curve.best is not None
            result = replace(result, paid_until=curve.best.minutes)
            load_weights(model, asked.output)
        if not stop.asked:
            report("measuring what is held out, after", None)
            after = held_out_loss(model, material.held_out, material.batch, material.pad)
            result = replace(result, loss_after=after)
        result = replace(result, curve=tuple(curve.points))
        _save(model, asked, material, result)
    return result


def _is_best(model: PeftModel, material: Material, curve: Curve, steps: int, minutes: float) -> bool:
    """Look at the adapter on its way; whether it was never better. Without anything held out it is."""
    from launch.training.model import held_out_loss

    if curve.points and curve.points[-1].steps == steps:  # training ended with a checkpoint
        return curve.best == curve.points[-1]
    loss = held_out_loss(model, material.held_out[:LOOKED_AT], material.batch, material.pad)
    return loss is None or curve.add(Point(minutes, steps, loss))


def _learn(
    model: PeftModel,
    asked: Training,
    material: Material,
    kept: Sequence[Sample],
    stop: Stop,
    curve: Curve,
    report: Report,
) -> tuple[int, float, float]:
    """Steps, minutes, and the loss at the end, smoothed; saves the adapter every few minutes where it is
    better than before, and ends once that has happened no more for a while.
    """
    from launch.training.model import ExactAdamW, batch_loss

    model.train()
    optimizer = ExactAdamW([weight for weight in model.parameters() if weight.requires_grad])
    began = saved = time.monotonic()
    mean_loss, steps, tokens, strayed = 0.0, 0, 0, 0.0
    others = batches_by_length(shuffled_forever(kept, asked.seed), asked.keep_base) if kept else None
    for batch in batches_by_length(shuffled_forever(material.train, asked.seed), material.batch):
        minutes = (time.monotonic() - began) / 60
        # In whole thousandths: else the first step's rate would hang on how many microseconds had gone by.
        progress = max(steps / material.steps, int(1000 * minutes / asked.max_minutes) / 1000)
        if progress >= 1 or stop.asked or not curve.pays(asked.patience):
            break
        report(f"step {steps + 1} of {material.steps}", progress)
        loss = batch_loss(model, batch, material.pad)
        loss.backward()
        if others is not None:
            apart = kept_loss(model, next(others), material.pad)
            apart.backward()
            strayed = apart.item() if steps == 0 else 0.9 * strayed + 0.1 * apart.item()
        optimizer.step(learning_rate(progress, asked.peak_rate))
        steps += 1
        tokens += sum(len(sample.ids) for sample in batch)
        mean_loss = loss.item() if steps == 1 else 0.95 * mean_loss + 0.05 * loss.item()
        now = time.monotonic()
        if steps % STEPS_BETWEEN_LINES == 0 or steps <= 3:
            typer.echo(
                f"step {steps} of {material.steps}, {(now - began) / 60:.1f} of {asked.max_minutes:g} min, "
                f"loss {mean_loss:.3f}{f', from the base {strayed:.3f}' if kept else ''}, "
                f"{tokens / (now - began):.0f} tokens/s"
            )
        if now - saved >= 60 * CHECKPOINT_MINUTES:
            minutes = (now - began) / 60
            if _is_best(model, material, curve, steps, minutes):
                result = replace(material.result(steps, minutes, mean_loss), curve=tuple(curve.points))
                _save(model, asked, material, result)
                typer.echo(f"checkpoint after step {steps} in {asked.output}{_held_out_said(curve)}")
            else:
                typer.echo(f"no better after step {steps}{_held_out_said(curve)}")
            saved = time.monotonic()
    return steps, (time.monotonic() - began) / 60, mean_loss


def _held_out_said(curve: Curve) -> str:
    return f", held out loss {curve.points[-1].loss:.4f}" if curve.points else ""


def _save(model: PeftModel, asked: Training, material: Material, result: TrainResult) -> None:
    record = {
        "task": asked.task,
        "seed": asked.seed,
        "rank": model.peft_config["default"].r,
        "last_layers": asked.last_layers,
        "keep_base": asked.keep_base,
        "learning_rate": asked.peak_rate,
        "batch": material.batch,
        "data": asked.data.name if asked.data is not None else None,
        "started_from": asked.start.name if asked.start is not None else None,
        **{
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(result).items()
        },
        "curve": [point.rendered() for point in result.curve],
    }
    save_adapter(model, asked.output, material.base_name, record)
