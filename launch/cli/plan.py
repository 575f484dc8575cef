"""`lora-gateway plan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from gateway.config.document import Config
from gateway.errors import ConfigError
from launch.base.progress import terminal_progress
from launch.planning.device_memory import detect, named_card
from launch.planning.findings import errors
from launch.planning.found_config import default_config
from launch.planning.inputs import Asked, planned_config, read_for_plan
from launch.planning.planner import plan_of
from launch.planning.table import as_json, show

LEAST_WIDTH = 120


def plan_command(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="the configuration (YAML); default: ./lora-gateway.yaml, in a checkout the demo's",
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="a model's name, folder or config.json, over the configuration's")
    ] = None,
    gpu_memory: Annotated[
        str | None, typer.Option(help="a card's size, such as 48GB; default: this machine's card or memory")
    ] = None,
    adapters: Annotated[int | None, typer.Option(min=0, help="how many; default: the tasks'")] = None,
    adapter_rank: Annotated[int | None, typer.Option(min=1, max=512, help="of every adapter")] = None,
    max_model_len: Annotated[int | None, typer.Option(min=1, help="context in tokens")] = None,
    max_loras: Annotated[int | None, typer.Option(min=1, help="LoRA slots")] = None,
    gpu_memory_utilization: Annotated[float | None, typer.Option(help="share of the card")] = None,
    tensor_parallel_size: Annotated[int | None, typer.Option(min=1, help="cards for one engine")] = None,
    as_json_: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """The memory that a base and its adapters need, before anything is loaded; exit code 2 if too much."""
    changes: dict[str, object] = {
        "model": base,
        "max_model_len": max_model_len,
        "max_loras": max_loras,
        "gpu_memory_utilization": gpu_memory_utilization,
        "tensor_parallel_size": tensor_parallel_size,
    }
    device = named_card(gpu_memory) if gpu_memory else detect()
    with terminal_progress(quiet=as_json_) as progress:
        progress("reading the base", None)
        plan = plan_of(_configured(config, changes), device, Asked(adapters, adapter_rank))
    if as_json_:
        print(json.dumps(as_json(plan), indent=2))
    else:
        console = Console(highlight=False)
        show(plan, console if console.is_terminal else Console(width=LEAST_WIDTH, highlight=False))
    raise typer.Exit(2 if errors(plan.findings) else 0)


def _configured(file: Path | None, changes: dict[str, object]) -> Config:
    """Adapters need not be there; without a file, a base alone will do."""
    try:
        if file is None and changes["model"] is not None:
            loaded = Config.model_validate({"base": {"model": changes["model"]}})
        else:
            loaded = read_for_plan(file or default_config())
        return planned_config(loaded, changes)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = str(problem["loc"][-1])
        option = "base" if key == "model" else key.replace("_", "-")
        raise ConfigError(f"--{option}", problem.get("input"), problem["msg"]) from error
