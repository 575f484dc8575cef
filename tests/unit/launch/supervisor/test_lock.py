"""One launch per folder, one port per launch, and what a configuration's engine is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.document import Config
from gateway.config.launch_lock import is_running
from gateway.errors import ConfigError
from launch.machine import ports
from launch.supervisor.lock import sole_launch
from launch.supervisor.reload import differing


def test_second_launch_on_a_folder_is_refused(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    with sole_launch(tmp_path):
        assert is_running(tmp_path)
        with pytest.raises(ConfigError, match="another launch runs"), sole_launch(tmp_path):
            pass
    assert not is_running(tmp_path)


def test_free_port_passes_over_taken_and_avoided_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda _host, port: port != 9001)
    assert ports.free_port("engine.port", "127.0.0.1", 9001, avoid={9002}) == 9003
    monkeypatch.setattr(ports, "is_free", lambda _host, _port: False)
    with pytest.raises(ConfigError, match=r"engine\.port: 9001: no free port"):
        ports.free_port("engine.port", "127.0.0.1", 9001)


def test_two_launchers_claim_two_ports() -> None:
    first = ports.free_port("engine.port", "127.0.0.1", 28101)
    with (
        ports.claimed_port("engine.port", "127.0.0.1", first) as mine,
        ports.claimed_port("engine.port", "127.0.0.1", first) as other,
    ):
        assert mine == first
        assert other > mine
    with ports.claimed_port("engine.port", "127.0.0.1", first, {first}) as another:
        assert another != first
    with ports.claimed_port("engine.port", "127.0.0.1", first) as again:
        assert again == first


def test_what_waits_for_the_next_start_is_named_by_key() -> None:
    def config(**sections: object) -> Config:
        return Config.model_validate({"base": {"model": "m"}, **sections})

    new = config(gateway={"port": 9}, engine={"stop_timeout_s": 3}, tasks={"naming": {"adapter": "/b"}})
    assert differing(config(), new) == ["gateway.port", "engine.stop_timeout_s"]
