"""The real stack, once for the whole run: vLLM with both demo adapters behind the gateway."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config.document import load_config
from tests.engine.own_stack import own_stack, own_start
from tests.support.real.real_stack import ROOT, Ready, RealStack, starting_stack

__all__ = ["CONFIG", "ROOT", "RealStack", "own_stack", "own_start", "real"]

CONFIG = ROOT / "configs/demo/config.yaml"


@pytest.fixture(scope="session", autouse=True)
def starting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ready | None]:
    """What takes long to start, under way from the first test on: what needs none of it runs meanwhile."""
    wanted = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    if "real" not in wanted:
        yield None
        return
    folder = tmp_path_factory.mktemp("real")
    adapters = folder / "adapters-to-add"
    adapters.mkdir()
    dtype = request.config.getoption("--dtype")
    config = _configuration(folder / "config.json", dtype, [CONFIG.parent, adapters])
    if "own_start" in wanted:
        request.getfixturevalue("own_start")
    with starting_stack(folder, config, Path(sys.executable)) as ready:
        yield ready


@pytest.fixture(scope="session")
def real(starting: Ready) -> RealStack:
    return starting(load_config(CONFIG).engine.start_timeout_s)


def _configuration(file: Path, dtype: str, roots: list[Path]) -> Path:
    """The demo's as JSON, which YAML reads too; with folders for adapters, and the base in that type."""
    document = load_config(CONFIG).model_dump(mode="json", by_alias=True)
    document["base"]["dtype"] = dtype
    document["adapters"]["roots"] = [str(root) for root in roots]
    file.write_text(json.dumps(document))
    return file
