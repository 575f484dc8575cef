"""What a LoRA tensor's shape must be on a given base, from the base's config.json alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Decoders with llama's module names: q, k, v, o and a gated feed-forward layer.
LLAMA_LIKE = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "granite", "smollm3"})
LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)$")
LORA_TENSOR = re.compile(r"^(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<side>[AB])\.weight$")
EMBEDDING_TENSOR = re.compile(r"\.lora_embedding_[AB]$")


@dataclass(frozen=True)
class Base:
    """The base model as far as an adapter must fit it; `sides` is empty where its layout is not known."""

    model: str  # what the engine is told: a folder or a hub id
    name: str  # its name among people, for comparing with what an adapter was trained on
    layers: int | None
    sides: Mapping[str, tuple[int, int]]  # module → (inputs, outputs)


@dataclass(frozen=True)
class Misfit:
    """A tensor that does not fit the base."""

    tensor: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.tensor} is {self.found}, the base needs {self.expected}"


def describe_base(model: str, name: str, config: Mapping[str, object]) -> Base:
    """Read the layout out of a base's config.json."""
    layers = _whole(config, "num_hidden_layers")
    if config.get("model_type") not in LLAMA_LIKE:
        return Base(model, name, layers, {})
    hidden, inner = _whole(config, "hidden_size"), _whole(config, "intermediate_size")
    heads = _whole(config, "num_attention_heads")
    if hidden is None or inner is None or heads is None:
        return Base(model, name, layers, {})
    kv_heads = _whole(config, "num_key_value_heads") or heads
    head = _whole(config, "head_dim") or hidden // heads
    sides = {
        "q_proj": (hidden, heads * head),
        "k_proj": (hidden, kv_heads * head),
        "v_proj": (hidden, kv_heads * head),
        "o_proj": (heads * head, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }
    return Base(model, name, layers, sides)


def check_tensor(tensor: str, shape: tuple[int, ...], rank: int, base: Base) -> Misfit | None:
    """None where the tensor fits, or where the base's layout is not known."""
    found = " x ".join(map(str, shape)) or "a single number"
    match = LORA_TENSOR.match(tensor)
    if match is None:
        return Misfit(tensor, "no lora_A or lora_B weight", "only those")
    module, side = match["module"], match["side"]
    if len(shape) != 2:
        return Misfit(tensor, found, "a matrix")
    own_rank = shape[0] if side == "A" else shape[1]
    if own_rank != rank:
        return Misfit(tensor, found, f"rank {rank} as adapter_config.json says")
    if not base.sides:
        return None
    layer = LAYER.search(module)
    if layer is None:
        # The embedding and the output layer: vLLM takes them, and their sizes depend on padding.
        return None if module.endswith(("lm_head", "embed_tokens")) else _unknown(tensor, module, base)
    if base.layers is not None and int(layer[1]) >= base.layers:
        return Misfit(tensor, f"in layer {layer[1]}", f"a layer from 0 to {base.layers - 1}")
    sides = base.sides.get(layer[2])
    if sides is None:
        return _unknown(tensor, layer[2], base)
    wanted = (rank, sides[0]) if side == "A" else (sides[1], rank)
    if shape != wanted:
        return Misfit(tensor, found, f"{wanted[0]} x {wanted[1]}")
    return None


def _unknown(tensor: str, module: str, base: Base) -> Misfit:
    return Misfit(tensor, f"for the module {module}", f"one of {', '.join(base.sides)}")


def _whole(config: Mapping[str, object], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
