"""What a LoRA tensor's shape must be on a given base, from the base's config.json alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# Decoders with llama's module names: q, k, v, o and a gated feed-forward layer.
LLAMA_LIKE = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "granite", "smollm3"})
# The whole name: what the engine cannot find in the base it leaves out without a word.
LAYER = re.compile(r"model\.layers\.(0|[1-9][0-9]{0,4})\.(self_attn|mlp)\.(\w+)")
ATTENTION = frozenset({"q_proj", "k_proj", "v_proj", "o_proj"})
OUTSIDE_LAYERS = ("lm_head", "model.embed_tokens")
LORA_TENSOR = re.compile(r"^(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<side>[AB])\.weight$")
EMBEDDING_TENSOR = re.compile(r"\.lora_embedding_[AB]$")
TELLING = (
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
)
"""Two models that differ in one of these have no adapter in common."""


@dataclass(frozen=True)
class Base:
    """The base model as far as an adapter must fit it; `sides` is empty where its layout is not known."""

    model: str  # what the engine is told: a folder or a hub id
    name: str  # its name among people, for comparing with what an adapter was trained on
    layers: int | None
    sides: Mapping[str, tuple[int, int]]  # module → (inputs, outputs)
    hidden: int | None = None
    traits: Mapping[str, object] = field(default_factory=dict)  # TELLING → value, as far as given


@dataclass(frozen=True)
class Misfit:
    """A tensor that does not fit the base."""

    tensor: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.tensor} is {self.found}, the base needs {self.expected}"


def traits_of(config: Mapping[str, object]) -> dict[str, object]:
    """What tells models apart in a config.json, as far as it is there."""
    return {
        key: value
        for key in TELLING
        if isinstance(value := config.get(key), str | int) and not isinstance(value, bool)
    }


def describe_base(model: str, name: str, config: Mapping[str, object]) -> Base:
    """Read the layout out of a base's config.json."""
    layers, traits = _whole(config, "num_hidden_layers"), traits_of(config)
    hidden, inner = _whole(config, "hidden_size"), _whole(config, "intermediate_size")
    heads = _whole(config, "num_attention_heads")
    if config.get("model_type") not in LLAMA_LIKE or hidden is None or inner is None or heads is None:
        return Base(model, name, layers, {}, hidden, traits)
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
    return Base(model, name, layers, sides, hidden, traits)


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
    if module in OUTSIDE_LAYERS:  # their other side depends on padding
        reads_hidden = module == "lm_head" and side == "A" and base.hidden is not None
        return (
            Misfit(tensor, found, f"{rank} x {base.hidden}")
            if reads_hidden and shape[1] != base.hidden
            else None
        )
    return _check_layer(tensor, module, side, shape, rank, base)


def _check_layer(
    tensor: str, module: str, side: str, shape: tuple[int, ...], rank: int, base: Base
) -> Misfit | None:
    layer = LAYER.fullmatch(module)
    sides = base.sides.get(layer[3]) if layer else None
    if layer is None or sides is None or (layer[2] == "self_attn") != (layer[3] in ATTENTION):
        known = f"model.layers.<number>.self_attn or .mlp with one of {', '.join(base.sides)}"
        return Misfit(tensor, f"for the module {module}", known)
    if base.layers is not None and int(layer[1]) >= base.layers:
        return Misfit(tensor, f"in layer {layer[1]}", f"a layer from 0 to {base.layers - 1}")
    wanted = (rank, sides[0]) if side == "A" else (sides[1], rank)
    if shape != wanted:
        return Misfit(tensor, " x ".join(map(str, shape)), f"{wanted[0]} x {wanted[1]}")
    return None


def _whole(config: Mapping[str, object], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
