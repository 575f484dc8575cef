"""How much memory a base with LoRA slots needs. Pure arithmetic; sizes in bytes for one card unless said.

Shapes and defaults are those of vLLM 0.32; the file that each comes from is named beside it. What no file
says (the driver's share, CUDA graphs, libraries) is an allowance, and named so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from launch.model_config import DTYPE_BYTES, POST_NORMS, QK_NORM, Matrix, ModelShape, Quantization

GIB = 1024**3
GB = 10**9

# Allowances. Published logs of vLLM on one card show 0.1 to 0.3 GiB for libraries, 0.1 to 0.8 GiB for graphs.
LIBRARIES_BYTES = GIB // 4
CONTEXT_BYTES = GIB // 2  # the CUDA context, taken before vLLM looks at what is free
NCCL_BYTES = GIB  # buffers between cards, taken then too
GRAPHS_BYTES = GIB
SAMPLER_BYTES = 40  # for one logit: fp32, a copy, the sorted values and places, probabilities, the sort's own
CPU_RUNTIME_BYTES = int(1.65 * GIB)  # Python, torch and vLLM in its three processes, measured: docs/memory.md
DRIVER_SHARE = 0.01  # of a card's memory, which its driver keeps: a 48 GB card shows 47.5 GiB
HEADROOM = (0.10, 0.15)


@dataclass(frozen=True)
class Engine:
    """What the engine is started with, as far as memory depends on it."""

    gpu: bool
    dtype: str
    max_model_len: int
    max_num_seqs: int
    max_batched_tokens: int
    tensor_parallel: int
    slots: int
    rank: int
    adapters_in_memory: int
    eager: bool
    utilization: float = 0.9
    kv_cache_bytes: int = 0
    """Given outright on the CPU; on a card it is what is left."""
    kv_dtype: str = "auto"
    block_size: int = 16


def dtype_bytes(dtype: str) -> int:
    return DTYPE_BYTES.get(dtype, 2)


def parameters(shape: ModelShape) -> int:
    """Every weight of the model, as its model card counts them."""
    linear = sum(m.inputs * m.outputs * m.copies for m in _all_matrices(shape))
    return linear + _plain_parameters(shape)


def weight_bytes(shape: ModelShape, dtype: str, quantization: Quantization | None, cards: int = 1) -> int:
    """The weights on one card: the decoder's matrices as they are quantized, all else in `dtype`."""
    plain = dtype_bytes(dtype)
    total = 0.0
    for matrix in _all_matrices(shape):
        elements = matrix.inputs * matrix.outputs * matrix.copies * _share(matrix, cards)
        each = _element_bytes(quantization, plain) if quantization and matrix.quantized else plain
        total += elements * each
    small = _plain_parameters(shape) - _vocabulary_parameters(shape)
    vocabulary = _vocabulary_parameters(shape) + _padding(shape)
    return math.ceil(total + (vocabulary / cards + small) * plain)


def sharded_bytes(whole_bytes: int, shape: ModelShape, cards: int) -> int:
    """One card's share of weights whose whole size is known, split as the config's arithmetic says."""
    if cards == 1:
        return whole_bytes
    one, part = weight_bytes(shape, "bfloat16", None), weight_bytes(shape, "bfloat16", None, cards)
    return math.ceil(whole_bytes * part / one)


def slot_bytes(shape: ModelShape, rank: int, dtype: str, cards: int = 1) -> int:
    """One LoRA slot, which vLLM allocates at its start for every layer whatever the adapters use.

    vllm/lora/layers/{column_parallel,row_parallel,base}_linear.py: A is [slots, 1, rank, inputs], B is
    [slots, 1, outputs, rank], for q, k, v, gate and up each its own; fused_moe.py: the same for each expert.
    vocab_parallel_embedding.py and logits_processor.py: embedding and output layer, never split.
    """
    sides = 0.0
    for matrix in _all_matrices(shape):
        inputs = matrix.inputs / cards if matrix.split == "inputs" else matrix.inputs
        outputs = matrix.outputs * _share(matrix, cards) if matrix.split == "outputs" else matrix.outputs
        sides += (inputs + outputs) * matrix.copies
    if shape.vocabulary_lora:
        sides += 2 * (shape.vocabulary + shape.hidden)
    return math.ceil(sides * rank * dtype_bytes(dtype))


def adapter_bytes(shape: ModelShape, rank: int, dtype: str = "bfloat16") -> int:
    """An adapter on every linear layer of the decoder, as peft trains with all-linear."""
    sides = sum((m.inputs + m.outputs) * m.copies for m in _all_matrices(shape) if m.quantized)
    return sides * rank * dtype_bytes(dtype)


def kv_bytes_per_token(shape: ModelShape, kv_dtype: str, model_dtype: str, cards: int = 1) -> int:
    """vllm/v1/kv_cache_interface.py: keys and values of each layer; of latent attention the one vector."""
    each = 1 if kv_dtype.startswith(("fp8", "int8")) else dtype_bytes(model_dtype)
    if shape.latent is not None:
        return shape.attention_layers * (shape.latent.kv_rank + shape.latent.rope) * each
    heads = max(1, shape.kv_heads // cards)
    return shape.attention_layers * 2 * heads * shape.head * each


@dataclass(frozen=True)
class Cache:
    """A key-value cache of whole blocks."""

    tokens: int
    blocks: int
    block_size: int
    bytes_per_token: int

    def concurrency(self, context: int) -> float:
        """Requests of `context` tokens that fit at once, as vLLM reports it (kv_cache_utils.py)."""
        return self.blocks / math.ceil(context / self.block_size)

    @property
    def longest(self) -> int:
        """Tokens of one request; vLLM keeps one block back."""
        return max(0, self.blocks - 1) * self.block_size


def cache(available_bytes: int, bytes_per_token: int, block_size: int) -> Cache:
    """As many whole blocks as fit."""
    blocks = max(0, available_bytes) // (bytes_per_token * block_size)
    return Cache(blocks * block_size, blocks, block_size, bytes_per_token)


def activation_bytes(shape: ModelShape, engine: Engine) -> int:
    """The peak of vLLM's profile run: the widest layer of a full batch, or the sampler's logits.

    Tokens of the batch x (residual, hidden state, gate and up together, their product) in the model's type,
    or requests x vocabulary x 40 bytes; then the hidden states that stay beside either.
    """
    each = dtype_bytes(engine.dtype)
    inner = max(shape.inner, shape.experts.inner * 2 if shape.experts else 0) // engine.tensor_parallel
    layer = engine.max_batched_tokens * (2 * shape.hidden + 3 * inner) * each
    requests = min(engine.max_num_seqs, engine.max_batched_tokens)
    logits = requests * shape.vocabulary * SAMPLER_BYTES
    return max(layer, logits) + engine.max_batched_tokens * shape.hidden * each


def default_batch(gpu: bool, card_bytes: int) -> tuple[int, int]:
    """vLLM's own (max_num_batched_tokens, max_num_seqs): vllm/engine/arg_utils.py, get_batch_defaults."""
    if not gpu:
        return 2048, 128
    if card_bytes >= 160 * GIB:
        return 16384, 1024
    return (8192, 1024) if card_bytes >= 70 * GIB else (2048, 256)


def default_block_size(shape: ModelShape, gpu: bool) -> int:
    """16; on the CPU 128, and 16 again for latent attention: vllm/platforms/cpu.py."""
    return 16 if gpu or shape.latent is not None else 128


def stored_bytes(tensors: Iterable[tuple[str, str, int]], shape: ModelShape, dtype: str) -> int:
    """Tensors (name, type as in safetensors, elements) as they are once loaded: floats become `dtype`."""
    loaded = dtype_bytes(dtype)
    total = _padding(shape) * loaded
    for name, kind, elements in tensors:
        if shape.tied and name.endswith("lm_head.weight"):
            continue  # some files hold it twice, the engine does not
        total += elements * (loaded if kind in ("F32", "F16", "BF16") else STORED_BYTES.get(kind, 2))
    return total


STORED_BYTES: Mapping[str, int] = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16"), 2),
    **dict.fromkeys(("U32", "I32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}


def _all_matrices(shape: ModelShape) -> Iterable[Matrix]:
    for layer in range(shape.layers):
        yield from shape.matrices(layer)


def _share(matrix: Matrix, cards: int) -> float:
    """One card's part of a matrix; key-value heads are repeated where there are fewer than cards."""
    if matrix.split == "none":
        return 1.0
    if matrix.heads:
        return max(1, matrix.heads // cards) / matrix.heads
    return 1.0 / cards


def _element_bytes(quantization: Quantization, plain: int) -> float:
    """A quantized weight with its part of scale and zero point."""
    bits = quantization.bits / 8
    if not quantization.group_size:
        return bits
    scale = 4 if quantization.method == "bitsandbytes" else plain
    zero = 0.0 if quantization.method == "bitsandbytes" else bits
    return bits + (scale + zero) / quantization.group_size


def _vocabulary_parameters(shape: ModelShape) -> int:
    return shape.vocabulary * shape.hidden * (1 if shape.tied else 2)


def _padding(shape: ModelShape) -> int:
    """vLLM fills the vocabulary up to a multiple of 64: vocab_parallel_embedding.py."""
    return (-shape.vocabulary % 64) * shape.hidden * (1 if shape.tied else 2)


def _plain_parameters(shape: ModelShape) -> int:
    """Embedding, output layer, norms and biases."""
    norms = (4 if shape.model_type in POST_NORMS else 2) * shape.hidden
    if shape.model_type in QK_NORM:
        norms += 2 * shape.head
    if shape.latent is not None:
        norms += shape.latent.kv_rank + shape.latent.query_rank
    biases = (shape.heads + 2 * shape.kv_heads) * shape.head if shape.qkv_bias else 0
    biases += shape.hidden if shape.output_bias else 0
    return _vocabulary_parameters(shape) + shape.layers * (norms + biases) + shape.hidden
