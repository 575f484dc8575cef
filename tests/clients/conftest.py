"""The real stack, once for the whole run, and one with a fake engine.

LORA_GATEWAY_TEST_URL names a stack that runs already; it must have the configuration beside this file.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support.real.real_stack import ROOT, Ready, RealStack, starting_stack

CLIENTS = Path(__file__).parent
PYTHON = ROOT / ".venv/bin/python"
START_S = 900.0
LEFT_OUT = pytest.StashKey[dict[str, set[str]]]()
"""What became of tests that were not simply run: by function, `skipped` or `xfailed`."""

# Clients that would look something up elsewhere are told not to, before any of them is imported.
os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
# Nor is anybody beyond it trusted: each client would read the machine's authorities anew. No such folder.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = str(CLIENTS / "no-authorities")


@pytest.fixture(scope="session", autouse=True)
def starting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ready | None]:
    """The real stack, under way from the first test on: those that ask a fake engine run meanwhile."""
    if os.environ.get("LORA_GATEWAY_TEST_URL") or not any(map(asks_a_real_engine, request.session.items)):
        yield None
        return
    with starting_stack(tmp_path_factory.mktemp("real"), CLIENTS / "config.yaml", PYTHON) as ready:
        yield ready


@pytest.fixture(scope="session")
def real(starting: Ready | None) -> RealStack:
    """The real stack; one that runs already has to be named with its state directory."""
    if starting is not None:
        return starting(START_S)
    running, state = os.environ["LORA_GATEWAY_TEST_URL"], os.environ.get("LORA_GATEWAY_TEST_STATE")
    if state is None:
        pytest.skip("LORA_GATEWAY_TEST_STATE does not name the state directory of LORA_GATEWAY_TEST_URL")
    return RealStack(running.rstrip("/"), Path(state) / "launch.log", Path(state), CLIENTS / "config.yaml")


@pytest.fixture(scope="session")
def url(request: pytest.FixtureRequest) -> str:
    """The real gateway's address, without a path."""
    running = os.environ.get("LORA_GATEWAY_TEST_URL")
    return running.rstrip("/") if running else str(request.getfixturevalue("real").url)


def asks_a_real_engine(item: pytest.Item) -> bool:
    return not {"real", "url"}.isdisjoint(getattr(item, "fixturenames", ()))


def asks_a_fake_alone(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    return not {"fake_url", "agents_url"}.isdisjoint(fixtures) and not asks_a_real_engine(item)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What asks no real engine comes first, while that starts: whole files, and tests that ask a fake one.
    The page's test makes keys, after which nobody gets in without one: it comes last.
    """
    real_ones = {item.path for item in items if asks_a_real_engine(item)}
    items.sort(
        key=lambda item: (
            item.path.name == "test_ui.py",
            item.path in real_ones and not asks_a_fake_alone(item),
        )
    )


@pytest.fixture(scope="session")
def fake_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway with keys and narrow bounds before a fake engine."""
    yield from _fake_stack(tmp_path_factory.mktemp("fake"))


@pytest.fixture(scope="session")
def agents_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway with keys before a fake engine that has a parser of tool calls."""
    yield from _fake_stack(tmp_path_factory.mktemp("agents"), "agents")


@pytest.fixture(scope="session")
def cold_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway whose engine nobody has started."""
    yield from _fake_stack(tmp_path_factory.mktemp("cold"), "cold")


@pytest.fixture(scope="session")
def failed_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway whose engine could not be started."""
    yield from _fake_stack(tmp_path_factory.mktemp("failed"), "failed")


@pytest.fixture(scope="session")
def several_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway with several engines, each with some of the adapters."""
    yield from _fake_stack(tmp_path_factory.mktemp("several"), "several")


def _fake_stack(folder: Path, *purpose: str) -> Iterator[str]:
    command = [str(PYTHON), "-m", "tests.clients.fake_stack", str(folder), *purpose]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.terminate()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and isinstance(item, pytest.Function):
        how = "xfailed" if hasattr(report, "wasxfail") else "skipped"
        item.config.stash.setdefault(LEFT_OUT, {}).setdefault(item.originalname, set()).add(how)
    return report
