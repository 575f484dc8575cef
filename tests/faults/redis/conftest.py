"""A Redis of the test's own, and an engine that does what requests wish."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.processes import Program, fault_engine
from tests.support.real.redis_server import RedisServer, redis_server


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as made:
        yield made


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Program]:
    with fault_engine(tmp_path) as made:
        yield made
