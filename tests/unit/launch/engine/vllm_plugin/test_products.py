"""Both ways to multiply by a weight that stays."""

from __future__ import annotations

import pytest
import torch

from launch.engine.vllm_plugin import products
from launch.engine.vllm_plugin.products import MakeProduct, product_type


def test_a_weight_that_changes_later_changes_no_product(make: MakeProduct) -> None:
    weight, inputs, output = torch.randn(16, 32), torch.randn(5, 16), torch.empty(5, 32)
    expected = inputs @ weight
    product = make(weight)
    weight.zero_()
    product(inputs, output)
    torch.testing.assert_close(output, expected)


def test_rows_of_a_wider_tensor_and_a_transposed_weight(make: MakeProduct) -> None:
    weight, inputs, output = torch.randn(32, 16).t(), torch.randn(5, 40)[:, 3:19], torch.empty(5, 32)
    make(weight)(inputs, output)
    torch.testing.assert_close(output, inputs @ weight)


@pytest.mark.parametrize(
    ("weights", "slow", "expected"),
    [
        (torch.bfloat16, False, torch.bfloat16),
        (torch.bfloat16, True, torch.float32),
        (torch.float32, False, torch.float32),
        (torch.float16, False, torch.float32),
    ],
    ids=str,
)
def test_type_is_one_that_the_processor_multiplies_fast(
    weights: torch.dtype, slow: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "has_slow_bfloat16", lambda: slow)
    assert product_type(weights) is expected
