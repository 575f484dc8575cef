"""Options that several commands of `lora-gateway` share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from gateway.config.document import load_config
from gateway.config.launch_lock import is_running
from launch.machine.gateway_address import noted_url, url_of
from launch.planning.found_config import CHECKOUT, OWN, default_config, demo_config
from launch.supervisor.control_client import ControlClient, Document

# Stands for "not given": the callbacks below look for the configuration when a command runs, in its folder.
DEMO_CONFIG = CHECKOUT


def _chosen(context: typer.Context, parameter: typer.CallbackParam, value: Path) -> Path:
    return value if _given(context, parameter) else default_config()


def _chosen_demo(context: typer.Context, parameter: typer.CallbackParam, value: Path) -> Path:
    return value if _given(context, parameter) else demo_config()


def _given(context: typer.Context, parameter: typer.CallbackParam) -> bool:
    source = context.get_parameter_source(parameter.name or "")
    return source is not None and source.name != "DEFAULT"


ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        help="the configuration (YAML)",
        callback=_chosen,
        show_default="./lora-gateway.yaml",
    ),
]
DemoOption = Annotated[
    Path,
    typer.Option(
        "--config", "-c", help="the configuration (YAML)", callback=_chosen_demo, show_default="the demo's"
    ),
]
StateOption = Annotated[
    Path | None, typer.Option("--state-dir", file_okay=False, help="over the configuration's own")
]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]
UrlOption = Annotated[
    str | None, typer.Option(help="the gateway's; default: the one that runs here, else by the configuration")
]
KEYS = ("LORA_GATEWAY_API_KEY", "OPENAI_API_KEY")
"""Where a key for the gateway is looked for in the environment."""
INTERRUPTED = 130
"""A shell's exit code for a program that SIGINT ended."""


def api_key() -> str | None:
    """The key that the environment has for a gateway."""
    return next((value for name in KEYS if (value := os.environ.get(name))), None)


def gateway_url(url: str | None, config: Path, state_dir: Path | None) -> str:
    """As given, else of the launch that runs on the state directory, else by the configuration.

    Raises ConfigError.
    """
    if url is not None:
        return url.rstrip("/").removesuffix("/v1")
    folder = state_folder(config, state_dir)
    noted = noted_url(folder) if is_running(folder) else None
    return noted or url_of(load_config(config))


def control_of(config: Path, state_dir: Path | None) -> ControlClient:
    """The control plane of a configuration. Raises ConfigError."""
    return ControlClient(state_folder(config, state_dir))


def show(document: Document, as_json: bool, lines: Callable[[], Iterable[str]]) -> None:
    """What a command found: the document for a program, as it came from whatever release; else the lines."""
    for line in [json.dumps(document, indent=2)] if as_json else lines():
        print(line)


def state_folder(config: Path, state_dir: Path | None) -> Path:
    """Where a configuration's state is. Raises ConfigError.

    With a state directory the configuration is not read: it may be broken while the launch runs on.
    """
    if state_dir is not None:
        return state_dir.absolute()
    return served_here(config) or load_config(config).state_dir


def served_here(config: Path) -> Path | None:
    """The state of a launch that was started in this folder, by a configuration that is not in it."""
    here = Path(".state").absolute()
    return here if config == OWN and not OWN.exists() and is_running(here) else None
