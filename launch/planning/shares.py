"""What memory will be taken up with, for whoever looks at a running gateway."""

from __future__ import annotations

import dataclasses
import logging

from gateway.config.document import Config
from gateway.config.snapshot import MemoryPart, MemoryShares
from gateway.errors import LoraGatewayError
from launch.planning.device_memory import detect
from launch.planning.plan import MemoryPlan
from launch.planning.planner import plan_of

logger = logging.getLogger("launch.planning.shares")

OF_ADAPTERS = "adapters"
"""The row that the adapters' own sizes stand for, which change while an engine runs."""


def planned_shares(config: Config) -> MemoryShares | None:
    """For this machine; None where no engine of ours is on it, or nothing can be planned. It blocks."""
    if config.attached or not config.backend.local:
        return None
    try:
        # What is taken now may be the engine's own, which is planned here.
        device = dataclasses.replace(detect(), free_bytes=None)
        return shares_of(plan_of(config, device))
    except (LoraGatewayError, OSError) as error:
        logger.warning("the memory that the engine will take is not known: %s", error)
        return None


def shares_of(plan: MemoryPlan) -> MemoryShares:
    """Of a plan: what the engine has for itself, and what it leaves."""
    device = plan.inputs.device
    parts = [MemoryPart(row.name, row.size_bytes) for row in plan.rows if row.name != OF_ADAPTERS]
    return MemoryShares(device.gpu, device.total_bytes, plan.headroom_bytes, parts)
