"""From a configuration to its plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from gateway.config.document import Config
from launch.adapters.check import Adapter
from launch.planning.advice import make_plan
from launch.planning.device_memory import DeviceMemory
from launch.planning.inputs import Asked, gather
from launch.planning.plan import MemoryPlan


def plan_of(
    config: Config,
    device: DeviceMemory,
    asked: Asked | None = None,
    checked: Mapping[str, Adapter] | None = None,
) -> MemoryPlan:
    """The plan of one engine of a configuration, with what was wrong with its adapters. Raises ConfigError.

    Several engines here share main memory in equal parts; each has cards of its own.

    `checked` are adapters that were looked at already, by task: then no folder is read again.
    """
    count = config.backend.most
    if not device.gpu and count > 1:
        free = None if device.free_bytes is None else device.free_bytes // count
        device = dataclasses.replace(device, total_bytes=device.total_bytes // count, free_bytes=free)
    inputs, found = gather(config, device, asked, checked)
    plan = make_plan(inputs)
    return dataclasses.replace(plan, findings=[*found, *plan.findings])
