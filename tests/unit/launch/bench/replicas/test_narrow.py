"""A gateway before fewer engines than the stack has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO

import pytest

from gateway.config.document import load_config
from gateway.config.secrets.state_secrets import ENGINE_KEY
from gateway.config.snapshot import FILE, EngineStatus, Snapshot, encode_snapshot, read_snapshot
from gateway.errors import ConfigError
from launch.bench.engine.config import KEY, under_test
from launch.bench.engine.stack import Running
from launch.bench.replicas import narrow
from launch.planning.found_config import CHECKOUT
from tests.fakes.plant import free_port

KNOWN = Snapshot(
    engines=[EngineStatus(f"engine-{number}", f"http://engine-{number}", state="ready") for number in (0, 1)]
)
STACK = Running(
    "http://engine-0", "http://both", 7, "base", {}, 1.0, Path("log"), ("http://engine-0", "http://engine-1")
)


class Program:
    """In the gateway's place."""

    begun: list[Program] = []

    def __init__(self, argv: list[str], env: dict[str, str], *, out: TextIO) -> None:
        self.argv = argv
        self.stopped = False
        self.begun.append(self)

    def stop(self, timeout_s: float) -> None:
        self.stopped = True


def test_it_knows_the_first_engine_alone_and_ends_with_its_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(narrow, "Child", Program)
    monkeypatch.setattr(narrow, "wait_for_gateway", lambda *_: None)
    config = under_test(load_config(CHECKOUT), {}, state_dir=tmp_path / "state", gateway_port=free_port())
    config.state_dir.mkdir()
    (config.state_dir / FILE).write_bytes(encode_snapshot(KNOWN))
    (config.state_dir / ENGINE_KEY).write_text("the engines' key")
    with narrow.narrow_gateway(config, STACK, tmp_path / "one", KEY) as one:
        state = tmp_path / "one" / "state"
        known = read_snapshot(state / FILE)
        assert known is not None
        assert [engine.name for engine in known.engines] == ["engine-0"]
        assert (state / ENGINE_KEY).read_text() == "the engines' key"
        assert one.engine_urls == ("http://engine-0",)
        assert one.gateway_url != STACK.gateway_url
        written = json.loads((tmp_path / "one" / "config.yaml").read_text())
        assert one.gateway_url.endswith(f":{written['gateway']['port']}")
        (program,) = Program.begun
        assert str(state) in program.argv
        assert not program.stopped
    assert program.stopped


def test_without_a_control_plane_there_is_nothing_to_follow(tmp_path: Path) -> None:
    config = under_test(load_config(CHECKOUT), {}, state_dir=tmp_path / "state", gateway_port=free_port())
    with (
        pytest.raises(ConfigError, match="no snapshot"),
        narrow.narrow_gateway(config, STACK, tmp_path / "one", KEY),
    ):
        pass
