"""From a configuration to a plan's inputs: the base's files, the adapters' folders, the engine's command."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.config.document import Config, read_config
from gateway.errors import ConfigError
from launch.adapters.check import Adapter, check_adapter
from launch.adapters.settings import ENGINE_RANKS
from launch.base.argv_read import quantization_of, read_settings
from launch.base.locate import as_run
from launch.base.lookup import BaseSource, find_base, weigh
from launch.base.lora_shapes import Base, describe_base
from launch.base.memory import adapter_bytes
from launch.engine.argv import engine_command
from launch.planning.device_memory import DeviceMemory
from launch.planning.findings import Finding
from launch.planning.plan import AdapterSize, Inputs

ASSUMED_RANK = 16
ADAPTER_KEY = re.compile(r"^tasks\..+\.adapter$")
NOWHERE = Path("not-there")


@dataclass(frozen=True)
class Asked:
    """What the command line says over the configuration."""

    adapters: int | None = None
    rank: int | None = None


def gather(
    config: Config,
    device: DeviceMemory,
    asked: Asked | None = None,
    checked: Mapping[str, Adapter] | None = None,
) -> tuple[Inputs, list[Finding]]:
    """The inputs, and what was wrong with single adapters. Raises ConfigError where the base is not known."""
    asked = asked or Asked()
    source = find_base(config.base.model)
    base = as_run(describe_base(str(source.folder or source.name), source.name, source.config), config)
    findings: list[Finding] = []
    if checked is None:
        checked, findings = _look(config, base, asked)
    sizes = _sizes(config, source, asked, checked)
    # The command asks of adapters how many there are and of what rank; no folder is opened by it.
    stand_ins = [Adapter(size.task, size.task, NOWHERE, size.rank, size.size_bytes) for size in sizes]
    # The command that a start would give is made and read back: no default is told twice (design 33).
    argv = engine_command(
        config,
        base,
        stand_ins,
        config.engine.port,
        has_gpu=device.gpu,
        slow_bfloat16=device.slow_bfloat16,
    ).argv
    engine = read_settings(argv, source.shape, gpu=device.gpu, card_bytes=device.total_bytes)
    weights = weigh(source, engine.dtype, quantization_of(argv, source.shape))
    return Inputs(source.name, source.shape, weights, engine, sizes, device), findings


def _look(config: Config, base: Base, asked: Asked) -> tuple[dict[str, Adapter], list[Finding]]:
    """The adapters that are there; none where the command line gives every rank."""
    checked: dict[str, Adapter] = {}
    findings: list[Finding] = []
    for name, task in list(config.tasks.items())[: asked.adapters]:
        if asked.rank is not None or not task.adapter.is_dir():
            continue
        try:
            checked[name] = check_adapter(name, task.adapter, base)
        except ConfigError as error:
            findings.append(Finding.of(error))
    return checked, findings


def _sizes(
    config: Config, source: BaseSource, asked: Asked, checked: Mapping[str, Adapter]
) -> list[AdapterSize]:
    rank = asked.rank or _assumed_rank(config)
    names = list(config.tasks)[: asked.adapters]
    sizes = [_read(checked[name]) if name in checked else _assumed(name, rank, source) for name in names]
    # A rank alone is that of one adapter, where no task says how many there are.
    wanted = asked.adapters if asked.adapters is not None else int(asked.rank is not None and not names)
    return sizes + [_assumed(f"adapter {number + 1}", rank, source) for number in range(len(sizes), wanted)]


def _read(adapter: Adapter) -> AdapterSize:
    return AdapterSize(adapter.task, adapter.rank, adapter.size_bytes, "header", f"rank {adapter.rank}")


def _assumed(task: str, rank: int, source: BaseSource) -> AdapterSize:
    size = adapter_bytes(source.shape, rank)
    how = f"rank {rank} on every linear layer, in bfloat16; no folder is read"
    return AdapterSize(task, rank, size, "allowance", how)


def _assumed_rank(config: Config) -> int:
    limit = config.base.max_lora_rank
    return ASSUMED_RANK if limit == "auto" else min(limit, ENGINE_RANKS[-1])


def read_for_plan(file: Path) -> Config:
    """A configuration whose adapters need not be there, nor their variables be set. Raises ConfigError."""
    config, problems = read_config(file)
    others = [problem for problem in problems if not ADAPTER_KEY.match(problem.key)]
    if others:
        raise others[0]
    if config is None:
        raise problems[0]
    return config


def planned_config(config: Config, changes: Mapping[str, object]) -> Config:
    """The configuration with other values in `base`, checked again. Raises pydantic's ValidationError."""
    given = {key: value for key, value in changes.items() if value is not None}
    if not given:
        return config
    document = config.model_dump(by_alias=True)
    document["base"].update(given)
    return Config.model_validate(document)
