"""The table at the end, and `--real`: a real engine beside the fake ones, some 5 GiB of memory."""

from __future__ import annotations

import pytest

from tests.faults.conftest import note, pytest_terminal_summary
from tests.faults.redis.conftest import redis

__all__ = ["note", "pytest_terminal_summary", "redis"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--real", action="store_true", help="also on a real engine (5 GiB of memory)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real: on a real engine; only with --real")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--real"):
        left_out = pytest.mark.skip(reason="needs a real engine: --real")
        for item in items:
            if item.get_closest_marker("real"):
                item.add_marker(left_out)
