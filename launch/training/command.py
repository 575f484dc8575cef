"""Trains one LoRA adapter for one task, on a CPU, from prompts and answers, or chats.

    lora-gateway train --task relationship --data relationship.jsonl --max-minutes 14

The prompt goes through the model's own chat template with the task's system prompt, exactly as the engine
applies it; the loss is on the answer and the end of the turn alone. It computes in bfloat16 where the
processor does, else in float32; the adapter's exact values are in float32 either way, so that small updates
are not rounded away, and it is saved in bfloat16. A usable adapter is in the output folder from the first
checkpoint on.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gateway.errors import ConfigError, told
from launch.base.progress import said_on_stderr
from launch.training.data.tasks import DEFAULT_SEED
from launch.training.data.wordnet import DEFAULT_FOLDER
from launch.training.trainer import DEFAULT_RANK, PATIENCE, Training, TrainResult, train

INTERRUPTED = 130
"""What a shell says of a program that Ctrl-C ended."""


def report_of(asked: Training, result: TrainResult) -> str:
    """What was reached, and the next command."""
    lines = [
        f"{asked.output}: {result.steps} steps, {result.examples} examples, {result.minutes:.1f} min, "
        f"loss {result.loss:.3f}"
    ]
    if result.stopped:
        lines[0] = f"stopped; the adapter as it was then is kept in {lines[0]}"
    if result.paid_until is not None:
        lines.append(f"kept is the adapter as it was after {result.paid_until:.1f} min, with the lowest loss")
    if result.loss_before is not None and result.loss_after is not None:
        lines.append(
            f"held out, {result.held_out} examples: loss {result.loss_before:.3f} before, "
            f"{result.loss_after:.3f} after"
        )
    elif not result.held_out:
        lines.append("held out: nothing; some are, of 20 examples and more that do not all begin alike")
    return "\n".join([*lines, "next: " + shlex.join(next_command(asked, result))])


def facts_of(asked: Training, result: TrainResult) -> dict[str, object]:
    """The same for a program."""
    return {"output": str(asked.output), **asdict(result), "next": next_command(asked, result)}


def next_command(asked: Training, result: TrainResult) -> list[str]:
    """The command that serves the adapter that was trained."""
    command = ["lora-gateway", "adapters", "add", asked.task, str(asked.output)]
    return [*command, *(["--system", result.system] if result.system else [])]


def train_command(
    task: Annotated[str, typer.Option(help="the name under which it will be asked for")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="JSON of prompt and answer, messages, ShareGPT or Alpaca; the demo's tasks have their own"
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="folder for the adapter; default: ./TASK-adapter")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="folder or hub id of the base model; default: the demo's")
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="the system prompt; serve the task with the same one")
    ] = None,
    max_minutes: Annotated[float, typer.Option(min=0.01, help="minutes at most")] = 45.0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="steps at most; default: three times through the data")
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(min=1, max=512, help=f"rank of the adapter; default: {DEFAULT_RANK}, or --start's"),
    ] = None,
    last_layers: Annotated[
        int | None, typer.Option(min=1, help="adapt only so many of the base's last layers: smaller, quicker")
    ] = None,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="the highest, after the warm-up")] = 5e-4,
    batch: Annotated[int | None, typer.Option(min=1, help="examples a step; 8 for concept, else 16")] = None,
    hold_out: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="share kept back to measure the loss; 100 at most")
    ] = 0.05,
    max_tokens: Annotated[int, typer.Option(min=8, help="longest example")] = 1024,
    seed: Annotated[
        int, typer.Option(help="of the data's order and the adapter's first values")
    ] = DEFAULT_SEED,
    wordnet: Annotated[
        Path, typer.Option(help="WordNet's files, for a demo task's own data")
    ] = DEFAULT_FOLDER,
    start: Annotated[
        Path | None, typer.Option(help="folder of an adapter to go on from; default: a fresh one")
    ] = None,
    patience: Annotated[
        int, typer.Option(min=1, help="checkpoints (4 minutes) without a lower held-out loss, then it ends")
    ] = PATIENCE,
    keep_base: Annotated[
        int, typer.Option(min=0, help="other prompts a step, on which what the base says is kept")
    ] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="replace the adapter that the output folder holds")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="print JSON of what came of it; the steps go to stderr")
    ] = False,
) -> None:
    """Train a LoRA adapter for one task. Ctrl-C stops early and keeps what was learned."""
    asked = Training(
        task,
        output or Path(f"{task}-adapter"),
        base,
        data,
        system,
        steps,
        max_minutes,
        seed,
        rank,
        last_layers,
        learning_rate,
        batch,
        hold_out,
        max_tokens,
        wordnet,
        start,
        patience,
        keep_base,
        force,
    )
    try:
        with said_on_stderr(as_json):
            result = train(asked)
    except KeyboardInterrupt:
        kept = asked.output / "adapter_config.json"
        what = f"what {asked.output} held is kept" if kept.exists() else "nothing is kept"
        typer.echo(f"stopped before the first step was over, or at once; {what}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(json.dumps(facts_of(asked, result)) if as_json else report_of(asked, result))
    if result.stopped:
        raise typer.Exit(INTERRUPTED)


def main() -> None:
    """The command as a program of its own; exits with the error's text where something is to be mended."""
    try:
        typer.run(train_command)
    except ConfigError as error:
        sys.exit(told(error))


if __name__ == "__main__":
    main()
