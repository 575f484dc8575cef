"""What a start of an engine finds in LoRA that is not as it should be."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from launch.engine.vllm_plugin import lora_kernels, packed_weights, plugin, self_check
from launch.engine.vllm_plugin.packed_weights import Layer
from launch.engine.vllm_plugin.slot_weights import Stack
from tests.unit.launch.engine.vllm_plugin.test_plugin import FakeWrapper


def mended() -> Any:
    return plugin.mended_wrapper(type("Wrapper", (FakeWrapper,), {"kernels": lora_kernels}))


def test_sound_kernels_pass() -> None:
    assert self_check.deviation(mended()) == self_check.logits_deviation(mended()) == ""


def test_weights_that_are_served_as_they_were_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def always(self: Layer, a: Stack, b: Stack) -> bool:
        return a[0] is self._a[0]

    monkeypatch.setattr(Layer, "is_current", always)
    assert "adapter in slot 0" in self_check.deviation(mended())


def test_slots_that_leak_into_each_others_rows_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only once several slots share a product."""
    monkeypatch.setattr("launch.engine.vllm_plugin.step.Step.mask", lambda *_: torch.tensor(1.0))
    assert f"visit {packed_weights.PATIENCE - 1}" in self_check.deviation(mended())
