"""A base as memory sees it: its matrices, what each layer keeps of a token, its types. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gateway.errors import ConfigError
from launch.base.shape.kv_layers import LayerCache, is_compressed, layer_caches
from launch.base.shape.plain_decoder import EXPERTS, SAME
from launch.base.shape.quantization import Quantization, cache_type, read_quantization
from launch.base.shape.skeleton import Part, Settings, Skeleton, inside, text_part, whole

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "half": 2, "float": 4}
# Families whose class in vLLM 0.32 has `embedding_modules`: LoRA reaches their vocabulary.
VOCABULARY_LORA = frozenset(
    {"llama", "qwen3", "qwen3_moe", "mixtral", "granite", "granitemoe", "granitemoeshared", "apertus"}
    | {"granitemoehybrid", "minicpm", "nemotron", "nemotron_h", "nemotron-nas", "exaone", "exaone4", "cohere"}
    | {"exaone_moe", "cohere2", "jamba", "lfm2", "lfm2_moe", "phimoe", "solar", "falcon_h1", "param2moe"}
    | {"qwen3_5_text", "qwen3_5_moe_text", "qwen3_vl_text", "qwen3_vl_moe_text", "qwen3_5", "qwen3_5_moe"}
)
# Classes with `is_3d_moe_weight`: gate and up of an expert share one A.
FUSED_EXPERTS = frozenset(
    {"gpt_oss", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_vl_moe_text", "qwen3_omni_moe_text", "interns1_pro"}
)
NOT_GATED = frozenset({"nemotron_h"})  # their router takes no LoRA
CONTEXT = (
    *("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length"),
    *("max_target_positions", "max_seq_length", "seq_len", "model_max_length"),
)
UNSCALED = frozenset(
    {"default", "su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"}
)
DEFAULT_CONTEXT = 2048  # vLLM's, where a config says none

Split = Literal["outputs", "inputs", "none"]
"""How tensor parallelism cuts a matrix: by its outputs (column), its inputs (row), or not at all."""

BY_INPUTS = frozenset(
    {"o_proj", "down_proj", "out_proj", "dense", "c_proj", "fc2", "w2", "dense_4h_to_h", "output_linear"}
    | {"fc_out", "wo", "out_lin", "lin2"}
)
NOT_SPLIT = frozenset(
    {"gate", "router", "shared_expert_gate", "q_a_proj", "kv_a_proj_with_mqa", "kv_a_proj", "wq_a", "wkv_a"}
    | {"fc1_latent_proj", "fc2_latent_proj", "weights_proj", "wk", "in_proj_a", "in_proj_b"}
)
MAMBA2_SLICES = {"in_proj": 5, "conv1d": 3}  # mamba_mixer2.py: gate, x, B, C, dt; x, B, C
KEYS = frozenset({"k_proj", "v_proj"})


@dataclass(frozen=True)
class Matrix:
    """One linear layer, or all experts of a mixture, of one or more decoder layers."""

    inputs: int
    outputs: int
    split: Split
    part: Part
    experts: int = 1
    slices: int = 1  # A sides of LoRA: two where gate and up are one matrix and each has its own
    heads: int = 0  # key-value heads, which are repeated where there are fewer than cards
    lora: bool = True

    @property
    def elements(self) -> int:
        """Weights of this matrix in one layer, all experts together."""
        return self.inputs * self.outputs * self.experts

    @property
    def layers(self) -> int:
        return self.part.copies


@dataclass(frozen=True)
class ModelShape:
    """What memory depends on; sizes in elements, not bytes."""

    model_type: str
    hidden: int
    inner: int  # of the widest feed-forward layer; of a mixture twice an expert's where that is wider
    heads: int
    vocabulary: int
    tied: bool
    max_positions: int  # of one request
    context_known: bool
    dtype: str
    matrices: tuple[Matrix, ...]
    parameters: int
    vocabulary_parameters: int  # embedding and output layer
    plain_parameters: int  # norms, biases and the like
    caches: tuple[LayerCache, ...]
    chunked: bool  # vLLM keeps every token in every layer then
    compressed: bool  # its cache is smaller than what is planned
    quantization: Quantization | None
    cache_dtype: str | None  # that the checkpoint names
    counted_by: str
    exact: bool
    reason: str

    @property
    def vocabulary_lora(self) -> bool:
        """Whether vLLM gives embedding and output layer a LoRA slot."""
        return self.model_type in VOCABULARY_LORA

    @property
    def latent(self) -> bool:
        return any(cache.kind == "latent" for cache in self.caches)


def shape_of(config: Settings, skeleton: Skeleton, where: str = "base.model") -> ModelShape:
    """The sizes; `where` names the source. Raises ConfigError where it is no model's config.json."""
    settings = skeleton.settings
    sources = (config, text_part(config))
    if "architectures" not in config and not any(whole(one, *SAME["hidden_size"]) for one in sources):
        mend = "has no hidden_size, so its memory cannot be planned; is it a decoder's config.json?"
        raise ConfigError("base.model", where, mend)
    context = _context(config, settings)
    vocabulary = whole(settings, "vocab_size")
    words = [part for part in skeleton.parts if _is_vocabulary(part, vocabulary)]
    plain = sum(part.elements for part in skeleton.parts if part.kind == "plain")
    family = str(settings.get("model_type") or config.get("model_type", ""))
    return ModelShape(
        model_type=family,
        hidden=whole(settings, "hidden_size"),
        inner=_inner(settings),
        heads=whole(settings, "num_attention_heads"),
        vocabulary=vocabulary,
        tied=settings.get("tie_word_embeddings") is True,
        max_positions=context or DEFAULT_CONTEXT,
        context_known=bool(context),
        dtype=_dtype(config, settings),
        matrices=tuple(_matrices(skeleton, words, family)),
        parameters=skeleton.parameters,
        vocabulary_parameters=sum(part.elements for part in words),
        plain_parameters=plain,
        caches=layer_caches(skeleton),
        chunked=bool(whole(settings, "attention_chunk_size")),
        compressed=is_compressed(settings),
        quantization=read_quantization(config),
        cache_dtype=cache_type(config),
        counted_by=skeleton.counted_by,
        exact=skeleton.exact,
        reason=skeleton.reason,
    )


def _is_vocabulary(part: Part, vocabulary: int) -> bool:
    if part.kind == "embedding":
        return True
    return part.kind == "linear" and part.layers is None and part.shape[1] == vocabulary


def _matrices(skeleton: Skeleton, words: Sequence[Part], family: str) -> Iterator[Matrix]:
    # Mamba-2 has one decay for a head; its projections are merged, with an A for each.
    merged = {part.owner for part in skeleton.parts if part.last == "A_log" and len(part.shape) == 1}
    for part in skeleton.parts:
        if part.kind in ("experts", "conv", "linear") and part not in words:
            matrix = _matrix(part, skeleton.settings, family)
            slices = MAMBA2_SLICES.get(part.last, 1) if part.owner in merged else matrix.slices
            yield replace(matrix, slices=slices)


def _matrix(part: Part, settings: Settings, family: str) -> Matrix:
    if part.kind == "experts":
        return _experts(part, settings, family)
    inputs, outputs = part.shape
    heads = whole(settings, "num_key_value_heads") if part.last in KEYS else 0
    split: Split = "outputs"
    if part.last in BY_INPUTS:
        split = "inputs"
    elif part.last in NOT_SPLIT:
        split = "none"
    ignored = family in NOT_GATED and part.last == "gate"
    return Matrix(inputs, outputs, split, part, heads=heads, lora=not ignored)


def _experts(part: Part, settings: Settings, family: str) -> Matrix:
    """Either side may stand first; the hidden size, or a latent one, tells them apart."""
    count, first, second = part.shape
    outer = {whole(settings, "hidden_size"), whole(settings, "moe_latent_size")}
    down = "down" in part.last or part.last in ("w2", "output_linear")
    inner, other = (first, second) if second in outer and first not in outer else (second, first)
    if first in outer and second in outer and not down:  # as wide as the hidden size: gate and up are wider
        inner, other = max(first, second), min(first, second)
    if down:
        return Matrix(inner, other, "inputs", part, experts=count)
    gated = "gate_up" in part.last
    slices = 2 if gated and family not in FUSED_EXPERTS else 1
    return Matrix(other, inner, "outputs", part, experts=count, slices=slices)


def _inner(settings: Settings) -> int:
    inner = whole(settings, "intermediate_size", "ffn_hidden_size", "ffn_dim", "n_inner")
    if not inner:
        inner = 4 * whole(settings, "hidden_size")
    if whole(settings, *EXPERTS):
        inner = max(inner, 2 * whole(settings, "moe_intermediate_size", default=inner))
    return inner


def _dtype(config: Settings, settings: Settings) -> str:
    for source in (text_part(config), config, settings):
        value = source.get("dtype") or source.get("torch_dtype")  # the older name beside one that is null
        if isinstance(value, str):
            return value.removeprefix("torch.")
    return "float32"  # what transformers takes where nothing is said


def _context(config: Settings, settings: Settings) -> int:
    """vLLM's `_get_and_verify_max_len`: the least of the names, times a scaling that is not in it yet."""
    own = text_part(config)
    found = [value for source in (settings, own) for name in CONTEXT if (value := whole(source, name))]
    if not found:
        return 0
    family = str(config.get("model_type", ""))
    factors = [1.0] if "gemma3" in family else [1.0, *_factors(own)]
    return math.floor(min(found) * factors[-1])


def _factors(config: Settings) -> list[float]:
    found: list[float] = []
    for key in ("rope_scaling", "rope_parameters"):
        value = inside(config, key)
        entries = [value, *(each for each in value.values() if isinstance(each, dict))]
        for entry in entries:
            kind, factor = entry.get("rope_type", entry.get("type", "default")), entry.get("factor")
            if kind not in UNSCALED and isinstance(factor, int | float) and factor >= 1:
                found.append(float(factor))
    return found


def dtype_bytes(dtype: str) -> int:
    return DTYPE_BYTES.get(dtype, 2)
