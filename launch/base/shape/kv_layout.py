"""How vLLM lays layers of several kinds into one pool of blocks, and what a request takes of it. Pure.

vLLM 0.32, vllm/v1/core/kv_cache_utils.py: layers of one kind share one table of blocks; layers of several are
put into groups of equally many, their pages are made equally large, and every group takes blocks of its own.
So a layer with a window takes no more than the window and what is in flight.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from launch.base.shape.kv_layers import FLOAT32, LayerCache

LATENT_ALIGNMENT = 128  # platforms/interface.py, for latent attention beside states
SPARSE_FP8_BYTES = 656  # of a token and layer: 512 of fp8, 4 scales, 64 rotary elements (fp8_ds_mla)
NVFP4_BITS = 4 + 8 / 16


@dataclass(frozen=True)
class KvCacheGroup:
    """Layers that share one table of blocks."""

    block_size: int  # tokens
    window: int = 0
    states: int = 0  # blocks of a request whatever its length

    def blocks(self, tokens: int, in_flight: int) -> int:
        """Of a request of so many tokens."""
        if self.states:
            return self.states
        if self.window:
            # One block more, since a window may begin within one.
            return math.ceil(min(self.window - 1 + in_flight, tokens) / self.block_size) + 1
        return math.ceil(tokens / self.block_size)


@dataclass(frozen=True)
class KvLayout:
    """The pool's block, and the groups that draw on it."""

    block_bytes: int
    groups: tuple[KvCacheGroup, ...]
    bytes_per_token: int
    """Of all layers that attend, index included, on one card."""
    index_bytes_per_token: int
    in_flight: int

    def request_blocks(self, tokens: int) -> int:
        return max(1, sum(group.blocks(tokens, self.in_flight) for group in self.groups))


@dataclass(frozen=True)
class Storing:
    """What the sizes depend on beside the layers."""

    dtype_bytes: int
    kv_dtype: str
    block_size: int
    batched_tokens: int
    cards: int = 1
    batches: int = 1
    """In flight at once: two on a card, whose scheduler runs ahead; on the CPU one."""
    float32_states: bool = False
    """As on the CPU, where the recurrent part of a state is kept in full."""
    whole_context: bool = False
    """Every layer keeps every token: the hybrid manager is off, as with chunked attention."""


@dataclass(frozen=True)
class _Page:
    """One kind of layer: so many layers with a page of so many bytes."""

    layers: int
    token_bytes: int
    kind: str
    window: int
    fixed_bytes: int = 0  # of a state
    states: int = 0  # blocks of a request


def lay_out(caches: Sequence[LayerCache], storing: Storing) -> KvLayout:
    """The layout of a base's layers on one card."""
    sparse = any(cache.kind == "index" for cache in caches)
    pages = [_page(cache, storing, sparse) for cache in caches]
    attending = [page for page in pages if not page.fixed_bytes]
    states = [page for page in pages if page.fixed_bytes]
    per_token = sum(page.layers * page.token_bytes for page in attending)
    index = sum(page.layers * page.token_bytes for page in attending if page.kind == "index")
    block, groups = _groups(attending, states, storing)
    in_flight = storing.batches * storing.batched_tokens
    return KvLayout(max(1, block), groups, per_token, index, in_flight)


def _groups(
    attending: Sequence[_Page], states: Sequence[_Page], storing: Storing
) -> tuple[int, tuple[KvCacheGroup, ...]]:
    size = storing.block_size
    if not attending:
        return sum(page.layers * page.fixed_bytes for page in states), (KvCacheGroup(size, states=1),)
    windows = {page.window for page in attending}
    if not states and len(windows) == 1:
        block = size * sum(page.layers * page.token_bytes for page in attending)
        return block, (KvCacheGroup(size, window=windows.pop()),)
    if states:
        size = _size_over_states(attending, states, storing)
    page_bytes = max(page.token_bytes * size for page in attending)
    buckets: Counter[KvCacheGroup] = Counter()
    for page in attending:
        own = page.token_bytes * size
        longer = page_bytes // own if page_bytes % own == 0 else 1
        buckets[KvCacheGroup(size * longer, page.window)] += page.layers
    for page in states:
        buckets[KvCacheGroup(size, states=page.states)] += page.layers
    # vLLM's own bound: kinds of nearly as many layers get groups of the larger one's size, with a few empty
    # places; else all groups are as large as the smallest kind.
    least, most = min(buckets.values()), max(buckets.values())
    each = most if most < 1.5 * least else least
    groups = [group for group, layers in buckets.items() for _ in range(math.ceil(layers / each))]
    return page_bytes * each, tuple(groups)


def _size_over_states(attending: Sequence[_Page], states: Sequence[_Page], storing: Storing) -> int:
    """Tokens of a block that is as large as a state: `_align_hybrid_block_size`."""
    step = storing.block_size
    if any(page.kind == "latent" for page in attending):
        step = max(step, LATENT_ALIGNMENT)
    token = max(page.token_bytes for page in attending)
    state = max(page.fixed_bytes for page in states)
    return max(storing.block_size, step * math.ceil(state / (step * token)))


def _page(cache: LayerCache, storing: Storing, sparse: bool) -> _Page:
    plain = storing.dtype_bytes
    if cache.kind == "state":
        wide = FLOAT32 if cache.float32 or storing.float32_states else plain
        fixed = (cache.elements * plain + cache.recurrent * wide) // storing.cards
        return _Page(cache.layers, 0, cache.kind, 0, max(1, fixed), cache.blocks)
    if cache.kind == "index":
        return _Page(cache.layers, cache.elements, cache.kind, 0)
    if sparse and cache.kind == "latent" and storing.kv_dtype.startswith("fp8"):
        return _Page(cache.layers, SPARSE_FP8_BYTES, cache.kind, 0)
    share = 1.0
    if cache.kind != "latent":
        share = max(1, cache.kv_heads // storing.cards) / cache.kv_heads
    size = math.ceil(cache.elements * share * _element_bytes(storing.kv_dtype, plain))
    window = 0 if storing.whole_context else cache.window
    return _Page(cache.layers, size, cache.kind, window)


def _element_bytes(kv_dtype: str, plain: int) -> float:
    if kv_dtype.startswith(("fp8", "int8")):
        return 1
    return NVFP4_BITS / 8 if kv_dtype.startswith("nvfp4") else plain
