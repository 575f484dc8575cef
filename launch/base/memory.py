"""How much memory a base with LoRA slots needs. Pure arithmetic; sizes in bytes for one card unless said.

Shapes and defaults are those of vLLM 0.32; the file that each comes from is named beside it. What no file
says (the driver's share, CUDA graphs, libraries) is an allowance, and named so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from launch.base.safetensors_header import ITEM_BITS
from launch.base.shape.kv_layout import KvLayout, Storing, lay_out
from launch.base.shape.model_shape import Matrix, ModelShape, dtype_bytes
from launch.base.shape.quantization import ROUTERS, Quantization
from launch.machine.memory import GIB

GB = 10**9

# Allowances. Published logs of vLLM on one card show 0.1 to 0.3 GiB for libraries, 0.1 to 0.8 GiB for graphs.
LIBRARIES_BYTES = GIB // 4
CONTEXT_BYTES = GIB // 2  # the CUDA context, taken before vLLM looks at what is free
NCCL_BYTES = GIB  # buffers between cards, taken then too
GRAPHS_BYTES = GIB
SAMPLER_BYTES = 40  # for one logit: fp32, a copy, the sorted values and places, probabilities, the sort's own
PACKED_OF_SLOT = 3.5
"""On a CPU, of a used slot's size, what its products take that keep their weights laid out: A, B as blocks of
a diagonal (half as much again where a layer has several slices), once more for those that share one, and once
for the copy that a change is told by."""
CPU_RUNTIME_BYTES = int(1.65 * GIB)  # Python, torch and vLLM in its three processes, measured: docs/memory.md
DRIVER_SHARE = 0.01  # of a card's memory, which its driver keeps: a 48 GB card shows 47.5 GiB
HEADROOM = (0.10, 0.15)
LONGEST = 2**30  # tokens of a request, where no length exhausts the cache
# Parts of a checkpoint that a text engine leaves out: towers (`--language-model-only`), drafts (MTP).
NOT_LOADED = frozenset(
    {
        "visual",
        "vision_tower",
        "vision_model",
        "vision_encoder",
        "vision_embed_tokens",
        "embed_vision",
        "audio_tower",
    }
    | {"embed_audio", "audio_model", "multi_modal_projector", "mm_projector", "vision_projection", "mtp"}
)


@dataclass(frozen=True)
class EngineArguments:
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


def weight_bytes(shape: ModelShape, dtype: str, quantization: Quantization | None, cards: int = 1) -> int:
    """The weights on one card: the decoder's matrices as they are quantized, all else in `dtype`."""
    plain = dtype_bytes(dtype)
    total = 0.0
    for matrix in shape.matrices:
        stored = (
            _stored(matrix, quantization, plain) if quantization else matrix.elements * plain * matrix.layers
        )
        total += stored * _share(matrix, cards)
    vocabulary = shape.vocabulary_parameters + _padding(shape)
    return math.ceil(total + (vocabulary / cards + shape.plain_parameters) * plain)


def _stored(matrix: Matrix, quantization: Quantization, plain: int) -> float:
    """Bytes of all its layers; some may be left out of the quantization."""
    total = 0.0
    for layer in matrix.part.layers or (None,):
        scheme = quantization.scheme(matrix.part, layer)
        each = plain if scheme is None else scheme.bits / 8
        total += matrix.elements * each + (scheme.matrix_bytes * matrix.experts if scheme else 0)
    return total


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
    for matrix in shape.matrices:
        if not matrix.lora:
            continue
        inputs = matrix.inputs / cards if matrix.split == "inputs" else matrix.inputs
        outputs = matrix.outputs * _share(matrix, cards) if matrix.split == "outputs" else matrix.outputs
        sides += (inputs * matrix.slices + outputs) * matrix.experts * matrix.layers
    if shape.vocabulary_lora:
        sides += 2 * (shape.vocabulary + shape.hidden)
    return math.ceil(sides * rank * dtype_bytes(dtype))


def adapter_bytes(shape: ModelShape, rank: int) -> int:
    """An adapter in bfloat16 on every linear layer of the decoder, as peft trains with all-linear."""
    sides = sum(
        (matrix.inputs * matrix.slices + matrix.outputs) * matrix.experts * matrix.layers
        for matrix in shape.matrices
        if matrix.part.kind != "conv" and matrix.part.last not in ROUTERS
    )
    return sides * rank * dtype_bytes("bfloat16")


def kv_layout(shape: ModelShape, engine: EngineArguments) -> KvLayout:
    """What the engine's cache holds of this base."""
    storing = Storing(
        dtype_bytes=dtype_bytes(engine.dtype),
        kv_dtype=engine.kv_dtype,
        block_size=engine.block_size,
        batched_tokens=engine.max_batched_tokens,
        cards=engine.tensor_parallel,
        batches=2 if engine.gpu else 1,
        float32_states=not engine.gpu,
        whole_context=shape.chunked,
    )
    return lay_out(shape.caches, storing)


def kv_bytes_per_token(shape: ModelShape, kv_dtype: str, model_dtype: str, cards: int = 1) -> int:
    """Keys and values, or latent vectors, of every layer that attends; without a sparse index."""
    storing = Storing(dtype_bytes(model_dtype), kv_dtype, 1, 1, cards)
    layout = lay_out(shape.caches, storing)
    return layout.bytes_per_token - layout.index_bytes_per_token


@dataclass(frozen=True)
class Cache:
    """A key-value cache of whole blocks."""

    tokens: int
    """As vLLM logs them: requests of the longest context that fit, times that context."""
    blocks: int
    block_size: int
    bytes_per_token: int
    layout: KvLayout

    def concurrency(self, context: int) -> float:
        """Requests of `context` tokens that fit at once, as vLLM reports it (kv_cache_utils.py)."""
        return self.blocks / self.layout.request_blocks(context)

    @property
    def longest(self) -> int:
        """Tokens of one request; vLLM keeps one block back."""
        least, most = 0, LONGEST
        while least < most:
            tried = (least + most + 1) // 2
            if self.layout.request_blocks(tried) <= self.blocks - 1:
                least = tried
            else:
                most = tried - 1
        return least


def cache(available_bytes: int, layout: KvLayout, block_size: int, context: int) -> Cache:
    """As many whole blocks as fit."""
    blocks = max(0, available_bytes) // layout.block_bytes
    tokens = blocks * context // layout.request_blocks(context)
    return Cache(tokens, blocks, block_size, max(1, layout.bytes_per_token), layout)


def activation_bytes(shape: ModelShape, engine: EngineArguments) -> int:
    """The peak of vLLM's profile run: the widest layer of a full batch, or the sampler's logits.

    Tokens of the batch x (residual, hidden state, gate and up together, their product) in the model's type,
    or requests x vocabulary x 40 bytes; then the hidden states that stay beside either.
    """
    each = dtype_bytes(engine.dtype)
    inner = shape.inner // engine.tensor_parallel
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
    return 16 if gpu or shape.latent else 128


def stored_bytes(tensors: Iterable[tuple[str, str, int]], shape: ModelShape, dtype: str) -> int:
    """Tensors (name, type as in safetensors, elements) as they are once loaded: floats become `dtype`."""
    loaded = dtype_bytes(dtype)
    total = _padding(shape) * loaded
    for name, kind, elements in tensors:
        if shape.tied and name.endswith("lm_head.weight"):
            continue  # some files hold it twice, the engine does not
        if not NOT_LOADED.isdisjoint(name.split(".")):
            continue
        total += elements * (loaded if kind in ("F32", "F16", "BF16") else ITEM_BITS.get(kind, 16) // 8)
    return total


def _share(matrix: Matrix, cards: int) -> float:
    """One card's part of a matrix; key-value heads are repeated where there are fewer than cards."""
    if matrix.split == "none":
        return 1.0
    if matrix.heads:
        return max(1, matrix.heads // cards) / matrix.heads
    return 1.0 / cards


def _padding(shape: ModelShape) -> int:
    """vLLM fills the vocabulary up to a multiple of 64: vocab_parallel_embedding.py."""
    return (-shape.vocabulary % 64) * shape.hidden * (1 if shape.tied else 2)
