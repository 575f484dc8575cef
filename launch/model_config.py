"""A base's dimensions, out of its config.json; nothing is loaded and no network is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.errors import ConfigError

QKV_BIAS = frozenset({"qwen2", "qwen2_moe"})  # their config.json does not say it
QK_NORM = frozenset({"qwen3", "qwen3_moe", "gemma3_text"})
POST_NORMS = frozenset({"gemma2", "gemma3_text"})  # four norms a layer instead of two
TIED_BY_DEFAULT = frozenset({"gemma", "gemma2", "gemma3_text", "cohere"})
# Classes with `embedding_modules` in vLLM 0.32, vllm/model_executor/models: LoRA reaches their vocabulary.
VOCABULARY_LORA = frozenset(
    {"llama", "qwen3", "qwen3_moe", "mixtral", "granite", "granitemoe", "minicpm", "nemotron", "exaone"}
    | {"exaone4", "apertus", "cohere", "jamba", "lfm2", "phimoe", "solar"}
)
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "half": 2, "float": 4}

Split = Literal["outputs", "inputs", "none"]
"""How tensor parallelism cuts a matrix: by its outputs (column), its inputs (row), or not at all."""


@dataclass(frozen=True)
class Quantization:
    """How the decoder's matrices are stored; embeddings and norms stay in the model's own type."""

    method: str
    bits: int
    group_size: int  # weights that share one scale; 0: none worth counting


@dataclass(frozen=True)
class Experts:
    """A mixture's part of a layer."""

    count: int
    inner: int
    shared_inner: int  # all shared experts together, 0 where there are none
    shared_gate: bool
    first: int  # layers before this one are dense
    every: int  # of the rest, one in so many is a mixture


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention (DeepSeek): one small vector a token is kept instead of keys and values."""

    kv_rank: int
    rope: int
    nope: int
    value: int
    query_rank: int  # 0 where queries are projected directly


@dataclass(frozen=True)
class Matrix:
    """One linear layer of a decoder layer."""

    inputs: int
    outputs: int
    split: Split
    copies: int = 1  # experts
    heads: int = 0  # key-value heads, which are repeated where there are fewer than cards
    quantized: bool = True


@dataclass(frozen=True)
class ModelShape:
    """What memory depends on; sizes in elements, not bytes."""

    model_type: str
    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    tied: bool
    max_positions: int
    dtype: str
    attention_layers: int  # those that keep keys and values
    windowed: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    experts: Experts | None = None
    latent: Latent | None = None
    quantization: Quantization | None = None

    @property
    def vocabulary_lora(self) -> bool:
        """Whether vLLM gives embedding and output layer a LoRA slot."""
        return self.model_type in VOCABULARY_LORA

    def is_mixture(self, layer: int) -> bool:
        return (
            self.experts is not None and layer >= self.experts.first and (layer + 1) % self.experts.every == 0
        )

    def matrices(self, layer: int) -> list[Matrix]:
        """Every linear layer of one decoder layer."""
        return [*self._attention(), *(self._mixture() if self.is_mixture(layer) else self._feed(self.inner))]

    def _attention(self) -> list[Matrix]:
        wide = self.heads * self.head
        if self.latent is None:
            narrow = self.kv_heads * self.head
            return [
                Matrix(self.hidden, wide, "outputs"),
                Matrix(self.hidden, narrow, "outputs", heads=self.kv_heads),
                Matrix(self.hidden, narrow, "outputs", heads=self.kv_heads),
                Matrix(wide, self.hidden, "inputs"),
            ]
        latent = self.latent
        queries = self.heads * (latent.nope + latent.rope)
        asked = [Matrix(self.hidden, queries, "outputs")]
        if latent.query_rank:
            asked = [
                Matrix(self.hidden, latent.query_rank, "none"),
                Matrix(latent.query_rank, queries, "outputs"),
            ]
        return [
            *asked,
            Matrix(self.hidden, latent.kv_rank + latent.rope, "none"),
            Matrix(latent.kv_rank, self.heads * (latent.nope + latent.value), "outputs"),
            Matrix(self.heads * latent.value, self.hidden, "inputs"),
        ]

    def _feed(self, inner: int, copies: int = 1) -> list[Matrix]:
        return [
            Matrix(self.hidden, inner, "outputs", copies),
            Matrix(self.hidden, inner, "outputs", copies),
            Matrix(inner, self.hidden, "inputs", copies),
        ]

    def _mixture(self) -> list[Matrix]:
        experts = self.experts
        assert experts is not None
        found = [*self._feed(experts.inner, experts.count)]
        found.append(Matrix(self.hidden, experts.count, "none", quantized=False))
        if experts.shared_inner:
            found += self._feed(experts.shared_inner)
        if experts.shared_gate:
            found.append(Matrix(self.hidden, 1, "none", quantized=False))
        return found


def read_shape(config: Mapping[str, object], where: str = "base.model") -> ModelShape:
    """The dimensions; `where` names the source in errors. Raises ConfigError."""
    inner = config.get("text_config")
    text = inner if isinstance(inner, dict) else config
    values = _Values(text, where)
    model_type = str(text.get("model_type", ""))
    hidden, layers = values.needed("hidden_size"), values.needed("num_hidden_layers")
    heads = values.needed("num_attention_heads")
    kinds = text.get("layer_types")
    attention = layers
    if isinstance(kinds, list) and "linear_attention" in kinds:
        attention = sum(kind != "linear_attention" for kind in kinds)
    bias = text.get("attention_bias") is True
    return ModelShape(
        model_type=model_type,
        layers=layers,
        hidden=hidden,
        inner=values.needed("intermediate_size"),
        heads=heads,
        kv_heads=values.known("num_key_value_heads", heads),
        head=values.known("head_dim", hidden // heads),
        vocabulary=values.needed("vocab_size"),
        tied=_is_true(text, config, "tie_word_embeddings", model_type in TIED_BY_DEFAULT),
        max_positions=values.known("max_position_embeddings", 2048),
        dtype=_dtype(text, config),
        attention_layers=attention,
        windowed=_is_windowed(text),
        qkv_bias=bias or model_type in QKV_BIAS,
        output_bias=bias,
        experts=_experts(text, values),
        latent=_latent(text, values),
        quantization=_quantization(text.get("quantization_config", config.get("quantization_config"))),
    )


class _Values:
    def __init__(self, config: Mapping[str, object], where: str) -> None:
        self._config = config
        self._where = where

    def known(self, key: str, default: int) -> int:
        value = self._config.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default

    def needed(self, key: str) -> int:
        value = self.known(key, 0)
        if not value:
            mend = f"has no {key}, so its memory cannot be planned; is it a decoder's config.json?"
            raise ConfigError("base.model", self._where, mend)
        return value


def _is_true(text: Mapping[str, object], outer: Mapping[str, object], key: str, default: bool) -> bool:
    value = text.get(key, outer.get(key))
    return value if isinstance(value, bool) else default


def _dtype(text: Mapping[str, object], outer: Mapping[str, object]) -> str:
    for source in (text, outer):
        value = source.get("dtype", source.get("torch_dtype"))
        if isinstance(value, str):
            return value.removeprefix("torch.")
    return "float32"  # what transformers takes where nothing is said


def _is_windowed(text: Mapping[str, object]) -> bool:
    window = text.get("sliding_window")
    return isinstance(window, int) and window > 0 and text.get("use_sliding_window", True) is not False


def _experts(text: Mapping[str, object], values: _Values) -> Experts | None:
    counts = (values.known(key, 0) for key in ("num_experts", "num_local_experts", "n_routed_experts"))
    count = next((found for found in counts if found), 0)
    if not count:
        return None
    inner = values.known("moe_intermediate_size", values.needed("intermediate_size"))
    shared = values.known("shared_expert_intermediate_size", 0)
    return Experts(
        count=count,
        inner=inner,
        shared_inner=shared or values.known("n_shared_experts", 0) * inner,
        shared_gate=bool(shared),
        first=values.known("first_k_dense_replace", 0),
        every=values.known("decoder_sparse_step", 1),
    )


def _latent(text: Mapping[str, object], values: _Values) -> Latent | None:
    rank = values.known("kv_lora_rank", 0)
    if not rank:
        return None
    return Latent(
        kv_rank=rank,
        rope=values.needed("qk_rope_head_dim"),
        nope=values.needed("qk_nope_head_dim"),
        value=values.needed("v_head_dim"),
        query_rank=values.known("q_lora_rank", 0),
    )


def _quantization(settings: object) -> Quantization | None:
    if not isinstance(settings, dict):
        return None
    values = _Values(settings, "quantization_config")
    method = str(settings.get("quant_method", ""))
    if method == "bitsandbytes":
        return quantized_by("bitsandbytes" if settings.get("load_in_4bit") else "bitsandbytes-8bit")
    if method == "compressed-tensors":
        return _compressed(method, settings)
    if method == "fp8" or "bits" not in settings:
        return quantized_by(method)
    return Quantization(method, values.known("bits", 4), values.known("group_size", 0))


def _compressed(method: str, settings: Mapping[str, object]) -> Quantization | None:
    groups = settings.get("config_groups")
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        if isinstance(weights, dict):
            values = _Values(weights, "quantization_config")
            return Quantization(method, values.known("num_bits", 8), values.known("group_size", 0))
    return None


def quantized_by(method: str) -> Quantization | None:
    """By a method's name alone, as `--quantization` gives it; None where it says nothing about size."""
    known = {"fp8": 8, "bitsandbytes": 4, "bitsandbytes-8bit": 8, "awq": 4, "gptq": 4, "int8": 8}
    plain = method.removesuffix("_marlin")
    if plain not in known:
        return None
    # bitsandbytes: one float32 for 64 weights; AWQ and GPTQ as they are mostly published: groups of 128.
    groups = {"bitsandbytes": 64, "awq": 128, "gptq": 128}
    return Quantization(plain, known[plain], groups.get(plain, 0))
