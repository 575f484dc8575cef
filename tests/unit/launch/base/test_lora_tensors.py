"""What an adapter's tensors are called, and what the names of others tell about how they came."""

from __future__ import annotations

import pytest

from launch.base.lora_tensors import read_names
from launch.base.safetensors_header import Tensor
from launch.machine.files import Unfit

Q = "base_model.model.model.layers.0.self_attn.q_proj"


def tensors(*names: str) -> dict[str, Tensor]:
    return {name: Tensor("F32", (2, 2)) for name in names}


def test_pairs_are_read_and_know_each_other() -> None:
    first, second, embedding = read_names(
        tensors(f"{Q}.lora_A.weight", f"{Q}.lora_B.weight", "model.embed_tokens.lora_embedding_A")
    )
    assert (first.module, first.side, first.embedding) == ("model.layers.0.self_attn.q_proj", "A", False)
    assert (first.twin, second.twin) == (second.name, first.name)
    assert (embedding.twin, embedding.embedding) == ("model.embed_tokens.lora_embedding_B", True)


def test_bases_own_vocabulary_beside_a_lora_of_it_is_left_out() -> None:
    (kept,) = read_names(
        tensors("base_model.model.lm_head.base_layer.weight", "base_model.model.lm_head.lora_A.weight")
    )
    assert kept.module == "lm_head"
    with pytest.raises(Unfit, match="no tensors"):
        read_names(tensors("base_model.model.lm_head.base_layer.weight"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (f"{Q}.lora_magnitude_vector", "DoRA"),
        (f"{Q}.lora_E", "AdaLoRA"),
        (f"{Q}.lora_B.bias", "lora_bias: false"),
        (f"{Q}.vera_lambda_b", "VeRA"),
        (f"{Q}.ia3_l", "IA3"),
        (f"{Q}.lora_velora_embed", "without velora_config"),
        ("lora_unet_x.lora_down.weight", "kohya"),
        (f"{Q}.lora_a", "MLX"),
        (f"{Q}.lora_A.default.weight", "saved without peft's save_pretrained"),
        ("base_model.model.lm_head.weight", "whole vocabulary"),
        ("base_model.model.model.norm.weight", "modules_to_save"),
        (f"_orig_mod.{Q}.lora_A.weight", "training wrapper"),
    ],
)
def test_other_tensors_are_named_by_what_they_are(name: str, said: str) -> None:
    with pytest.raises(Unfit, match=said):
        read_names(tensors(name))


def test_tensor_without_elements_is_said_by_its_cause() -> None:
    with pytest.raises(Unfit, match="ZeRO-3"):
        read_names({f"{Q}.lora_A.weight": Tensor("F32", (0, 16))})
    of_no_token = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"
    with pytest.raises(Unfit, match="without trainable_token_indices"):  # what peft saves for no token
        read_names({of_no_token: Tensor("F32", (0, 16))})
