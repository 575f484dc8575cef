"""Both ways to multiply; vLLM's where this environment has its operators for a CPU."""

from __future__ import annotations

import pytest

from launch.engine.vllm_plugin.products import MakeProduct, Plain, Prepacked, best_product


@pytest.fixture(params=["torch", "oneDNN"])
def make(request: pytest.FixtureRequest) -> MakeProduct:
    if request.param == "torch":
        return Plain
    pytest.importorskip("vllm._C", reason="vLLM's operators for a CPU")
    if best_product() is not Prepacked:
        pytest.skip("this vLLM is none for a CPU")
    return Prepacked
