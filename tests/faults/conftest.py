"""The table at the end, and one gateway before one engine for all tests that leave both as they were."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.processes import QUICK, Program, Served, asking, configured, fault_engine, gateway_program
from tests.faults.promises import NAME, table

Note = Callable[..., None]


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Note:
    """Notes the test's row; called last, since what is noted has been seen."""

    def noted(promise: str, *, load: str, fault: str, outcome: str, figure: str = "") -> None:
        request.node.user_properties.append((NAME, (promise, load, fault, outcome, figure)))

    return noted


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows: list[tuple[str, ...]] = []
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            if report.when == "call":
                rows += [tuple(row) for name, row in report.user_properties if name == NAME]
    if rows:
        terminalreporter.section("faults")
        for line in table(sorted(rows)):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, Program, Path]]:
    folder = tmp_path_factory.mktemp("shared")
    with fault_engine(folder) as engine:
        configured(folder, engine.url, **QUICK)
        with gateway_program(folder) as gateway:
            yield gateway, engine, folder


@pytest.fixture
async def s(programs: tuple[Program, Program, Path]) -> AsyncIterator[Served]:
    """The shared ones; nothing of a test is left in them at its end."""
    async with asking(*programs) as made:
        yield made
        for writer in made.writers:
            writer.transport.abort()
        await made.at_rest()
