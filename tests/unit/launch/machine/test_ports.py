"""Ports that nobody has and nobody claims."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigError
from launch.machine import ports


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
