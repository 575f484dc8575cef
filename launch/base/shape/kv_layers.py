"""What each layer keeps of a request: keys and values, one latent vector, or a state of fixed size. Pure.

vLLM 0.32: `get_kv_cache_spec` of vllm/model_executor/layers/attention/ and of the mamba layers; sizes of a
state from vllm/model_executor/layers/mamba/mamba_utils.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from launch.base.shape.skeleton import Part, Settings, Skeleton, whole

CacheKind = Literal["full", "window", "latent", "index", "state"]

SINGLE = ("k_proj", "key", "wk", "k", "key_proj")
VALUES = ("v_proj", "value", "wv", "v", "value_proj")
FUSED = (
    *("qkv_proj", "query_key_value", "Wqkv", "c_attn", "qkv", "wqkv", "qkv_linear", "W_pack", "c_qkv"),
    "att_proj",
)
OUTWARD = ("o_proj", "out_proj", "dense", "c_proj", "wo", "attn_out", "dense_proj")
LATENT = ("kv_a_proj_with_mqa", "kv_a_proj", "wkv_a")
EXPANDED = frozenset({"minicpm3"})
"""Of latent attention, the families whose class in vLLM keeps whole keys, and values as wide as they."""
STATE = ("A_log", "conv1d", "conv")  # a module with one of these keeps a state
LINEAR = ("linear_attention", "mamba", "conv", "recurrent")
INDEX_BLOCK = 128  # of the sparse index's keys: one float32 scale for so many bytes
FLOAT32 = 4
ALIGNED_STATES = 2


@dataclass(frozen=True)
class LayerCache:
    """Of one kind and size: so many layers keep it."""

    kind: CacheKind
    layers: int
    elements: int = 0  # of a token in a layer; `index`: bytes; `state`: of a request, its convolution's
    kv_heads: int = 1
    window: int = 0
    recurrent: int = 0
    """Of a state, beside what its convolution looks back on."""
    blocks: int = 0
    """Of a request's state where prefixes are cached: two, and in Mamba-2 one more for checkpoints."""
    float32: bool = False
    """Whether the recurrent part is kept in full whatever the model's type."""

    @property
    def attends(self) -> bool:
        return self.kind in ("full", "window", "latent")


def layer_caches(skeleton: Skeleton) -> tuple[LayerCache, ...]:
    """Equal layers together, in a fixed order."""
    settings = skeleton.settings
    found = [*_attention(skeleton), *_states(skeleton)]
    layers = whole(settings, "num_hidden_layers")
    shared = whole(settings, "num_kv_shared_layers")  # the last layers read what others keep
    counted = Counter(cache for layer, cache in found if layer < layers - shared or not layers)
    blocks = settings.get("layers_block_type")
    often = blocks.count("hybrid") if isinstance(blocks, list) else 0
    for cache in list(
        counted
    ):  # Zamba: one block's weights stand in many layers, each with a cache of its own
        if often and cache.attends:
            counted[cache] = often
    return tuple(
        replace(one, layers=count) for one, count in sorted(counted.items(), key=lambda item: str(item[0]))
    )


def _attention(skeleton: Skeleton) -> Iterable[tuple[int, LayerCache]]:
    settings, parts = skeleton.settings, skeleton.parts
    stateful = {(part.owner, layer) for part in parts if part.last in STATE for layer in part.layers or ()}
    linears = {
        (part.owner, part.last, layer): part.shape
        for part in parts
        if part.kind == "linear"
        for layer in part.layers or ()
    }
    rank = whole(settings, "kv_lora_rank")
    for (owner, name, layer), shape in linears.items():
        if (owner, layer) in stateful or _is_linear(settings, layer):
            continue
        if owner.endswith("indexer"):
            if name == "wk":
                yield layer, LayerCache("index", 1, shape[1] + shape[1] // INDEX_BLOCK * FLOAT32)
            continue
        if "compressor" in owner:
            continue
        if is_compressed(settings):
            if name == "kv_proj":
                yield layer, LayerCache("latent", 1, shape[1])
        elif name in LATENT and rank and settings.get("model_type") in EXPANDED:
            heads = whole(settings, "num_attention_heads")
            wide = whole(settings, "qk_nope_head_dim") + whole(settings, "qk_rope_head_dim")
            yield layer, LayerCache("full", 1, 2 * heads * wide, heads)
        elif name in LATENT and rank:
            yield layer, LayerCache("latent", 1, rank + whole(settings, "qk_rope_head_dim"))
        elif name in SINGLE and not rank:
            values = next((linears[key] for own in VALUES if (key := (owner, own, layer)) in linears), shape)
            yield layer, _keys(settings, layer, shape[1], values[1])
        elif name in FUSED:
            outward = next((linears[key] for own in OUTWARD if (key := (owner, own, layer)) in linears), None)
            if outward is not None and shape[1] > outward[0]:
                kept = shape[1] - outward[0]
                yield layer, _keys(settings, layer, kept // 2, kept - kept // 2)
        elif name == "kv_proj" and not rank:
            yield layer, _keys(settings, layer, shape[1] // 2, shape[1] - shape[1] // 2)


def is_compressed(settings: Settings) -> bool:
    """DeepSeek-V4: what it keeps of many tokens at once is not counted; every token is, as an upper bound."""
    kinds = settings.get("layer_types")
    return isinstance(kinds, list) and any("compressed" in str(kind) for kind in kinds)


def _keys(settings: Settings, layer: int, keys: int, values: int) -> LayerCache:
    head = whole(settings, "head_dim")
    if not head and whole(settings, "num_attention_heads"):
        head = whole(settings, "hidden_size") // whole(settings, "num_attention_heads")
    window = _window(settings, layer)
    heads = keys // head if head and keys % head == 0 else 1
    return LayerCache("window" if window else "full", 1, keys + values, max(1, heads), window)


def _window(settings: Settings, layer: int) -> int:
    """0 where the layer sees everything."""
    window = whole(settings, "sliding_window", "sliding_window_size")
    if not window or settings.get("use_sliding_window", True) is False:
        return 0
    kinds = settings.get("layer_types")
    if isinstance(kinds, list) and kinds:
        return window if layer < len(kinds) and kinds[layer] == "sliding_attention" else 0
    return window


def _is_linear(settings: Settings, layer: int) -> bool:
    kinds = settings.get("layer_types")
    return isinstance(kinds, list) and layer < len(kinds) and kinds[layer] in LINEAR


def _states(skeleton: Skeleton) -> Iterable[tuple[int, LayerCache]]:
    """Of Mamba, short convolutions, linear attention: what the convolution looks back on, and the state."""
    convolutions: dict[tuple[str, int], int] = {}
    for part in skeleton.parts:
        if part.kind == "conv":
            for layer in part.layers or ():
                key = (part.owner, layer)
                convolutions[key] = convolutions.get(key, 0) + (part.shape[0] - 1) * part.shape[1]
    matrices = {
        (part.owner, layer): part
        for part in skeleton.parts
        if part.last == "A_log"
        for layer in part.layers or ()
    }
    for (owner, layer), looked in convolutions.items():
        state = _state(skeleton.settings, matrices.get((owner, layer)))
        full = _in_float32(skeleton.settings)
        decay = matrices.get((owner, layer))
        heads = decay is not None and len(decay.shape) == 1 and not owner.endswith("linear_attn")
        blocks = ALIGNED_STATES + 1 if heads else ALIGNED_STATES
        yield layer, LayerCache("state", 1, looked, recurrent=state, blocks=blocks, float32=full)


def _state(settings: Settings, decay: Part | None) -> int:
    if decay is None:
        return 0
    if len(decay.shape) == 2:  # Mamba: channels x states
        return decay.shape[0] * decay.shape[1]
    values, keys = whole(settings, "linear_value_head_dim"), whole(settings, "linear_key_head_dim")
    if values and keys:  # gated delta net
        return whole(settings, "linear_num_value_heads") * values * keys
    heads = decay.shape[-1]
    head = whole(settings, "mamba_head_dim", "mamba_d_head", "mamba_headdim", "head_dim")
    return heads * head * whole(settings, "ssm_state_size", "mamba_d_state", "state_size", default=head)


def _in_float32(settings: Settings) -> bool:
    named = settings.get("mamba_ssm_cache_dtype", settings.get("mamba_ssm_dtype"))
    return named == "float32" or (named is None and settings.get("model_type") == "nemotron_h")
