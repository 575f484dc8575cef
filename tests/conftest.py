"""What every test shares: the loop that production uses, no proxy to loopback, nobody trusted beyond."""

from __future__ import annotations

import os

import pytest

from gateway.config.loopback import PROXIES


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--dtype",
        choices=("auto", "bfloat16", "float32"),
        default="auto",
        help="of the base that the engine's tests are served by",
    )


@pytest.fixture(scope="session", autouse=True)
def no_proxy() -> None:
    """Nothing that a test starts or asks is beyond this machine."""
    for name in [name for name in os.environ if name.lower() in PROXIES]:
        del os.environ[name]


@pytest.fixture(scope="session", autouse=True)
def no_authorities(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nobody beyond this machine is asked, so nobody is trusted. The machine's authorities would be read anew
    for each client that is made, which takes as long as a whole gateway with its engine beside it.
    """
    os.environ.pop("SSL_CERT_FILE", None)
    os.environ["SSL_CERT_DIR"] = str(tmp_path_factory.mktemp("authorities"))


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(params=["express", "task"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with requests served without a task where that is possible, and with one always."""
    monkeypatch.setattr("tests.support.stack.EXPRESS", request.param == "express")
