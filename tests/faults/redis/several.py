"""Several gateways on machines of their own, as far as they know, that agree through one Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.processes import Program, Served, asking, configured, gateway_program, soon
from tests.support.real.redis_server import installed

needs_redis = pytest.mark.skipif(
    installed() is None, reason="needs redis-server or valkey-server (Debian: apt-get install redis-server)"
)
PATIENT_MS = 5000
"""`timeout_ms` where a busy machine must not count as a Redis that is away."""


@asynccontextmanager
async def several(
    folder: Path,
    engine: Program,
    addresses: Sequence[str],
    *,
    timeout_ms: float = PATIENT_MS,
    common: Path | None = None,
    **settings: Any,
) -> AsyncIterator[list[Served]]:
    """A gateway for each of Redis's addresses, with a state directory of its own; `common` is for all."""
    async with AsyncExitStack() as held:
        made: list[Served] = []
        for number, address in enumerate(addresses):
            own = folder / f"gateway-{number}"
            own.mkdir()
            shared = {"redis": address, "timeout_ms": timeout_ms, "folder": common and str(common)}
            configured(own, engine.url, shared=shared, **settings)
            gateway = held.enter_context(gateway_program(own, wait=False))
            await soon(gateway.listens)  # the way to Redis may be in this loop
            gateway.until_said("shared: redis://")
            made.append(await held.enter_async_context(asking(gateway, engine, own)))
        yield made
