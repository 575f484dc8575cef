"""What a LoRA tensor's shape must be on a given base, from the base's config.json alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from launch.base.lora_tensors import LoraTensor
from launch.base.served_classes import LARGEST_VOCABULARY, ServedClass, served_by
from launch.base.shape.skeleton import text_part, whole

# Decoders with llama's module names: q, k, v, o and a gated feed-forward layer. transformers (5.19) built
# each without weights, and its matrices were compared with what `_sides` says.
LLAMA_LIKE = frozenset(
    {
        "llama",
        "mistral",
        "ministral3",
        "qwen2",
        "qwen3",
        "gemma",
        "gemma2",
        "gemma3_text",
        "granite",
        "smollm3",
    }
    | {"cohere", "cohere2", "ernie4_5", "exaone4", "hyperclovax"}
    | {"qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text"}
)
# Of these the attention alone is like llama's; the rest of a layer is experts, or named otherwise.
LLAMA_ATTENTION = frozenset(
    {"apertus", "ernie4_5_moe", "exaone_moe", "glm4_moe", "gpt_oss", "granitemoe", "granitemoeshared"}
    | {
        "llama4_text",
        "minimax_m2",
        "mixtral",
        "nemotron",
        "olmoe",
        "qwen2_moe",
        "qwen3_moe",
        "qwen3_vl_moe_text",
    }
)
# What transformers' classes (5.19) take where a config.json does not say it, as a part of a larger model may
# not: a head's width where it is not hidden_size / heads, and the key-value heads where they are not all.
HEAD_WIDTHS = {
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text"), 256),
    **dict.fromkeys(("ernie4_5", "llama4_text", "minimax_m2", "ministral3", "qwen3", "qwen3_vl_text"), 128),
    "gpt_oss": 64,
}
KV_HEADS = {
    **dict.fromkeys(("exaone4", "exaone_moe", "qwen2", "qwen3", "qwen3_vl_text"), 32),
    **dict.fromkeys(("gemma", "qwen2_moe", "qwen3_vl_moe_text"), 16),
    **dict.fromkeys(
        ("glm4_moe", "gpt_oss", "llama4_text", "minimax_m2", "ministral3", "mistral", "mixtral"), 8
    ),
    **dict.fromkeys(("qwen2_vl_text", "qwen2_5_vl_text"), 8),
    **dict.fromkeys(("ernie4_5_moe", "gemma2", "gemma3_text", "qwen3_moe", "smollm3"), 4),
    "ernie4_5": 2,
}
# The whole name: what the engine cannot find in the base it leaves out without a word.
LAYER = re.compile(r"model\.layers\.(0|[1-9][0-9]{0,4})\.(self_attn|mlp)\.(\w+)")
INNER_LAYER = re.compile(r"(?:.*\.)?layers\.(0|[1-9][0-9]{0,4})\.(self_attn|mlp)\.(\w+)")
"""In a multimodal class, whose prefixes are its own."""
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
HEAD = "lm_head"
# Matrices that read or write the hidden state in whatever decoder has them, experts apart.
AT_HIDDEN = frozenset(
    {*ATTENTION, "gate_proj", "up_proj", "down_proj", "gate_up_proj", "qkv_proj", "query_key_value", "dense"}
    | {"dense_h_to_4h", "dense_4h_to_h", "fc1", "fc2", "out_proj", "in_proj", "Wqkv"}
)
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
    served: ServedClass | None = None  # None: what the engine does with LoRA is not known
    vocabulary: int | None = None
    experts: int | None = None
    expert_inner: int | None = None
    latent: bool = False  # attention goes through a narrower state
    whole_layers: bool = True
    """Whether `sides` has every matrix of a layer."""
    nested: bool = False
    """The language model is one part of several, under names of its own."""


@dataclass(frozen=True)
class Misfit:
    """A tensor that does not fit the base."""

    tensor: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.tensor} is {self.found}, the base needs {self.expected}"


def traits_of(config: Mapping[str, object]) -> dict[str, object]:
    """What tells language models apart in a config.json, as far as it is there."""
    text = text_part(config)
    found: dict[str, object] = {
        key: value
        for key in TELLING
        if isinstance(value := text.get(key), str | int) and not isinstance(value, bool)
    }
    if isinstance(kind := found.get("model_type"), str):  # the same decoder, alone or in a larger model
        found["model_type"] = kind.removesuffix("_text")
    return found


def describe_base(model: str, name: str, config: Mapping[str, object]) -> Base:
    """Read the layout out of a base's config.json."""
    text = text_part(config)
    kind = str(text.get("model_type"))
    sides = _sides(text) if kind in LLAMA_LIKE | LLAMA_ATTENTION else {}
    if kind in LLAMA_ATTENTION:
        sides = {module: pair for module, pair in sides.items() if module in ATTENTION}
    experts = whole(text, "num_local_experts", "num_experts", "n_routed_experts") or None
    inner = whole(text, "moe_intermediate_size", "intermediate_size") or None
    return Base(
        model=model,
        name=name,
        layers=whole(text, "num_hidden_layers") or None,
        sides=sides,
        hidden=whole(text, "hidden_size") or None,
        traits=traits_of(config),
        served=served_by(config),
        vocabulary=whole(text, "vocab_size") or None,
        experts=experts,
        expert_inner=inner if experts is not None else None,
        latent=whole(text, "kv_lora_rank") > 0,
        whole_layers=kind in LLAMA_LIKE,
        nested=text is not config,
    )


def _sides(text: Mapping[str, object]) -> dict[str, tuple[int, int]]:
    """Empty where a number is missing."""
    hidden, inner = whole(text, "hidden_size"), whole(text, "intermediate_size")
    heads = whole(text, "num_attention_heads")
    if not (hidden and inner and heads):
        return {}
    kind = str(text.get("model_type"))
    kv_heads = whole(text, "num_key_value_heads")
    if not kv_heads:  # null means all of them, a missing key what the class takes
        kv_heads = heads if "num_key_value_heads" in text else KV_HEADS.get(kind, heads)
    head = whole(text, "head_dim") or HEAD_WIDTHS.get(kind, hidden // heads)
    return {
        "q_proj": (hidden, heads * head),
        "k_proj": (hidden, kv_heads * head),
        "v_proj": (hidden, kv_heads * head),
        "o_proj": (heads * head, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }


def check_tensor(tensor: LoraTensor, rank: int, base: Base) -> Misfit | None:
    """None where the tensor fits, or where the base's layout is not known."""
    found = sides_text(tensor.shape)
    if len(tensor.shape) != 2:
        return Misfit(tensor.name, found, "a matrix")
    own_rank = tensor.shape[0] if tensor.side == "A" else tensor.shape[1]
    if own_rank != rank:
        return Misfit(tensor.name, found, f"rank {rank} as adapter_config.json says")
    module = base.served.place(tensor.module) if base.served is not None else tensor.module
    last = module.rpartition(".")[2]
    if last == HEAD or tensor.embedding:
        pair = (base.vocabulary, base.hidden) if tensor.embedding else (base.hidden, base.vocabulary)
        return compare(tensor, rank, pair)
    if base.served is not None and not base.served.reaches(tensor.module):
        return None  # a tower's: its shapes are its own, and the engine leaves it out
    if base.nested and (base.served is None or base.served.language is None):
        return None  # which of its parts the module is in is not known
    return _check_layer(tensor, module, rank, base) if base.sides else None


def check_reach(tensors: Iterable[LoraTensor], base: Base) -> Misfit | None:
    """On a base whose layout is not known: some matrix must read or write its hidden state."""
    telling = [
        tensor
        for tensor in tensors
        if tensor.module.rpartition(".")[2] in AT_HIDDEN and ".experts." not in tensor.module
    ]
    if base.sides or base.hidden is None or base.latent or not telling:
        return None
    if any(base.hidden in tensor.shape for tensor in telling):
        return None
    first = telling[0]
    return Misfit(
        first.name, sides_text(first.shape), f"some matrix at its hidden_size {base.hidden}, and has none"
    )


def vocabulary_problem(tensors: Iterable[LoraTensor], base: Base) -> str | None:
    """Why the engine takes no LoRA of the vocabulary here; None where it does, or that is not known."""
    served = base.served
    names = {tensor.module.rpartition(".")[2]: tensor for tensor in tensors}
    wanted = [name for name, tensor in names.items() if name == HEAD or tensor.embedding]
    if served is None or served.vocabulary is None or not wanted:
        return None
    refused = sorted(name for name in wanted if name not in served.vocabulary)
    if refused:
        return (
            f"trains {' and '.join(refused)}, which the engine's class {served.name} serves no LoRA for; "
            f"train without {' and '.join(refused)}"
        )
    if base.vocabulary is not None and base.vocabulary > LARGEST_VOCABULARY:
        return (
            f"trains {' and '.join(wanted)} of {base.vocabulary} entries; the engine's LoRA takes "
            f"{LARGEST_VOCABULARY} at most; train without"
        )
    return None


def sides_text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"


def _check_layer(tensor: LoraTensor, module: str, rank: int, base: Base) -> Misfit | None:
    inside = base.nested or (base.served is not None and base.served.language is not None)
    # A language model alone is matched by transformers' names: vLLM's may differ (gpt_oss: attn).
    layer = INNER_LAYER.fullmatch(module) if inside else LAYER.fullmatch(tensor.module)
    sides = base.sides.get(layer[3]) if layer else None
    if layer is None or sides is None or (layer[2] == "self_attn") != (layer[3] in ATTENTION):
        if inside or not base.whole_layers:
            return None  # other parts of such a base are its own
        known = f"model.layers.<number>.self_attn or .mlp with one of {', '.join(base.sides)}"
        return Misfit(tensor.name, f"for the module {tensor.module}", known)
    if base.layers is not None and int(layer[1]) >= base.layers:
        return Misfit(tensor.name, f"in layer {layer[1]}", f"a layer from 0 to {base.layers - 1}")
    return compare(tensor, rank, sides)


def compare(tensor: LoraTensor, rank: int, sides: tuple[int | None, int | None]) -> Misfit | None:
    """None where the tensor fits (inputs, outputs), as far as they are known."""
    side = sides[0] if tensor.side == "A" else sides[1]
    if side is None:
        return None
    wanted = (rank, side) if tensor.side == "A" else (side, rank)
    if tensor.shape == wanted:
        return None
    return Misfit(tensor.name, sides_text(tensor.shape), sides_text(wanted))
