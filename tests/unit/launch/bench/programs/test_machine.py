"""The machine that figures were measured on."""

from __future__ import annotations

from launch.bench.programs import machine


def test_machine_is_described_without_a_name() -> None:
    assert machine.cpu_model("processor: 0\nmodel name\t: Some CPU @ 2 GHz\n") == "Some CPU @ 2 GHz"
    assert "node" not in machine.describe({})
