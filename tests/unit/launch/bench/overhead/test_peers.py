"""The peers that are compared, pinned."""

from __future__ import annotations

from launch.bench.overhead.peers import read_peers
from launch.bench.overhead.subjects import render


def test_every_peer_is_pinned_and_its_configuration_renders() -> None:
    peers = read_peers()
    assert {peer.name for peer in peers} == {"vllm-router", "sglang-router", "smg", "litellm", "portkey"}
    assert all("==" in peer.pip or peer.npm.count("@") == 2 for peer in peers)
    text = render("litellm.yaml.j2", task="t", adapter_id="t@0", key="sk-x", upstream_port=1)
    assert "disable_spend_logs: true" in text
