"""The memory table of a base with its adapters, and what fits. Pure: nothing is read or loaded here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from launch.adapters.check import engine_rank
from launch.base import memory
from launch.base.lookup import Weights
from launch.base.memory import Cache, EngineArguments
from launch.base.shape.model_shape import ModelShape
from launch.engine.argv import LEAST_RANK
from launch.planning.device_memory import DeviceMemory
from launch.planning.findings import Finding

Known = Literal["header", "config", "vLLM source", "allowance", "measured", "given", "sum"]
"""How a figure is known; all but `allowance` are facts."""

CONTEXTS = (1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
SLOTS_SHARE = 0.10  # of the memory beside the weights, at most, for slots that are only recommended


@dataclass(frozen=True)
class AdapterSize:
    """One adapter's file; on a card it takes a slot, which has one size whatever the adapter's rank."""

    task: str
    rank: int
    size_bytes: int
    known: Known
    how: str


@dataclass(frozen=True)
class Row:
    """One line of the table, for one card."""

    name: str
    size_bytes: int
    known: Known
    how: str


@dataclass(frozen=True)
class Inputs:
    """Everything that a plan is made of."""

    base: str
    shape: ModelShape
    weights: Weights
    engine: EngineArguments
    adapters: Sequence[AdapterSize]
    device: DeviceMemory

    def with_engine(self, **changes: object) -> Inputs:
        return replace(self, engine=replace(self.engine, **changes))  # type: ignore[arg-type]  # as replace


@dataclass(frozen=True)
class MemoryPlan:
    """What is needed, what is left for the cache, and what would be better."""

    inputs: Inputs
    rows: Sequence[Row]
    outside: Sequence[Row]
    """Beside the engine's own budget: of a card it comes out of the headroom."""
    budget_bytes: int
    cache: Cache
    slot_bytes: int
    recommended: dict[str, int | float]
    findings: Sequence[Finding] = ()

    @property
    def headroom_bytes(self) -> int:
        """What the engine leaves: of a card whole, of main memory what other programs do not use."""
        total = self.inputs.device.total_bytes - self.budget_bytes
        return total if self.inputs.engine.gpu else total - sum(row.size_bytes for row in self.outside)

    @property
    def headroom_share(self) -> float:
        return self.headroom_bytes / self.inputs.device.total_bytes

    @property
    def slot_tokens(self) -> int:
        """Cache tokens that one more slot costs."""
        return math.ceil(self.slot_bytes / self.cache.bytes_per_token)

    def contexts(self) -> list[tuple[int, float]]:
        """Context lengths up to the model's own, and how many requests of each fit at once."""
        if not self.inputs.shape.caches:
            return []
        most = self.inputs.shape.max_positions
        lengths = sorted({*(n for n in CONTEXTS if n <= most), self.inputs.engine.max_model_len})
        return [(length, self.cache.concurrency(length)) for length in lengths]


def draft(inputs: Inputs) -> MemoryPlan:
    """The plan with its rows, budget, cache and slot size, but without recommendations and findings."""
    rows, outside = (_card_rows if inputs.engine.gpu else _main_rows)(inputs)
    engine = inputs.engine
    budget = budget_bytes(inputs)
    layout = memory.kv_layout(inputs.shape, engine)
    available = engine.kv_cache_bytes or budget - sum(row.size_bytes for row in rows)
    cache = memory.cache(available, layout, engine.block_size, engine.max_model_len)
    how = f"{cache.tokens:,} tokens x {layout.bytes_per_token:,} B in blocks of {engine.block_size}"
    if len(layout.groups) > 1:
        how = f"{cache.tokens:,} tokens in {cache.blocks:,} blocks for {len(layout.groups)} groups of layers"
    if not inputs.shape.caches:
        how = "what a token takes is not known"
    if not engine.kv_cache_bytes:
        how = f"what is left: {how}" if available > 0 else "nothing is left: so much is missing"
    # Behind all others, as the weights stand before them: the advice takes both by their place.
    rows.append(Row("key-value cache", available, "given" if engine.kv_cache_bytes else "sum", how))
    if not engine.gpu:
        # No share bounds an engine there: it takes what its parts do.
        budget = sum(row.size_bytes for row in rows)
    return MemoryPlan(inputs, rows, outside, budget, cache, slot_size(inputs), {})


def budget_bytes(inputs: Inputs) -> int:
    """What the engine takes of a card: vllm/v1/worker/utils.py, request_memory."""
    return math.ceil(inputs.device.total_bytes * inputs.engine.utilization)


def slot_size(inputs: Inputs, rank: int | None = None) -> int:
    engine = inputs.engine
    return memory.slot_bytes(inputs.shape, rank or engine.rank, engine.dtype, engine.tensor_parallel)


def largest_rank(adapters: Sequence[AdapterSize]) -> int:
    """The adapters' largest, rounded up to vLLM's list; where there are none yet, room for the usual one."""
    return engine_rank([adapter.rank for adapter in adapters] or [LEAST_RANK])


def _common_rows(inputs: Inputs) -> list[Row]:
    engine, shape = inputs.engine, inputs.shape
    weights = memory.sharded_bytes(inputs.weights.size_bytes, shape, engine.tensor_parallel)
    part = f", one of {engine.tensor_parallel} cards" if engine.tensor_parallel > 1 else ""
    known: Known = "header" if "safetensors" in inputs.weights.known_from else "config"
    slots = engine.slots * slot_size(inputs)
    reach = "every linear layer" + (", embedding and output" if shape.vocabulary_lora else "")
    activations = memory.activation_bytes(shape, engine)
    batch = f"{engine.max_batched_tokens:,} tokens, {engine.max_num_seqs} requests in a batch"
    return [
        Row("base weights", weights, known, inputs.weights.known_from + part),
        Row("LoRA slots", slots, "vLLM source", f"{engine.slots} x rank {engine.rank} x {reach}"),
        Row("activations", activations, "allowance", f"widest layer or sampler: {batch}"),
    ]


def _card_rows(inputs: Inputs) -> tuple[list[Row], list[Row]]:
    engine = inputs.engine
    rows = _common_rows(inputs)
    graphs, how = memory.GRAPHS_BYTES, "flat; the engine measures them at its start"
    if engine.eager:
        graphs, how = 0, "enforce_eager: none"
    rows.append(Row("CUDA graphs", graphs, "allowance", how))
    rows.append(Row("libraries", memory.LIBRARIES_BYTES, "allowance", "cuBLAS and others, outside torch"))
    context = memory.CONTEXT_BYTES
    how = "taken before the engine looks at what is free"
    if engine.tensor_parallel > 1:
        context += memory.NCCL_BYTES
        how += ", with NCCL's buffers"
    return rows, [Row("CUDA context", context, "allowance", how)]


def _main_rows(inputs: Inputs) -> tuple[list[Row], list[Row]]:
    rows = _common_rows(inputs)
    each = [adapter.size_bytes for adapter in inputs.adapters]
    kept = min(inputs.engine.adapters_in_memory, len(each))
    known: Known = "header"
    if any(adapter.known == "allowance" for adapter in inputs.adapters):
        known = "allowance"
    size = sum(sorted(each)[-kept:]) if kept else 0  # the largest may meet; [-0:] is all
    rows.append(Row("adapters", size, known, f"{kept} in the engine's memory"))
    slots = min(inputs.engine.slots, len(each))
    packed = math.ceil(slots * slot_size(inputs) * memory.PACKED_OF_SLOT)
    how = f"{slots} slots' weights once more, as the processor's kernels want them"
    rows.append(Row("LoRA products", packed, "allowance", how))
    rows.append(
        Row("programs", memory.CPU_RUNTIME_BYTES, "measured", "Python, torch and vLLM in three processes")
    )
    free = inputs.device.free_bytes
    others = 0 if free is None else inputs.device.total_bytes - free
    return rows, [Row("other programs", others, "measured", "in main memory now")]
