"""`/health` and its other names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.stack import stack
from tests.unit.gateway.http.test_http_clients import KEYS

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/healthz", "/livez"])
async def test_health_has_the_names_that_probes_know(tmp_path: Path, path: str) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        assert (await s.client.get(path)).json().keys() == (await s.client.get("/health")).json().keys()
