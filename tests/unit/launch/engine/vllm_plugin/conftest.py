"""Both ways to multiply; vLLM's where this environment has its operators for a CPU."""

from __future__ import annotations

import pytest

from launch.engine.vllm_plugin.products import MakeProduct, Plain, Prepacked, best_product


@pytest.fixture(params=["torch", "oneDNN"])
def make(request: pytest.FixtureRequest) -> MakeProduct:
    if request.param == "torch":
        return Plain
    return prepacked()


def prepacked() -> MakeProduct:
    """Loads vLLM's operators as vLLM does: those for another processor would end the process."""
    platforms = pytest.importorskip("vllm.platforms", reason="vLLM's operators for a CPU")
    platforms.current_platform.import_kernels()
    if best_product() is not Prepacked:
        pytest.skip("this vLLM is none for a CPU")
    return Prepacked
