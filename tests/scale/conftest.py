"""The table at the end, and `--real`: two real engines beside the fake ones, some 10 GiB of memory."""

from __future__ import annotations

import pytest

from tests.faults.conftest import note, pytest_terminal_summary

__all__ = ["note", "pytest_terminal_summary"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--real", action="store_true", help="also on two real engines (10 GiB of memory)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real: on two real engines; only with --real")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--real"):
        left_out = pytest.mark.skip(reason="needs two real engines: --real")
        for item in items:
            if item.get_closest_marker("real"):
                item.add_marker(left_out)
