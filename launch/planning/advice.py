"""What a plan recommends, and the key to change where it does not fit. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from launch.base import memory
from launch.base.memory import HEADROOM
from launch.base.served_classes import LARGEST_VOCABULARY
from launch.base.shape.quantization import quantized_by
from launch.engine.argv import LEAST_RANK, LEAST_SLOTS
from launch.machine.memory import GIB
from launch.planning.findings import Finding, Level, by_level
from launch.planning.plan import SLOTS_SHARE, Inputs, MemoryPlan, draft, largest_rank, slot_size

CARDS = (2, 4, 8)
SPARE = 0.02  # of a card, beside the context
# The budget is rounded up to a byte: a utilization of 0.9 leaves a hair less than a tenth.
ROUNDING = 1e-6
SMALL_BYTES = memory.GB // 10  # that a smaller rank frees: a note, from there on a warning
SMALLER = "take a smaller base or a larger machine"


def make_plan(inputs: Inputs) -> MemoryPlan:
    """The whole table, with what is wrong and what would be better."""
    plan = draft(inputs)
    plan = replace(plan, recommended=recommend(plan))
    return replace(plan, findings=advise(plan))


def recommend(plan: MemoryPlan) -> dict[str, int | float]:
    """Values for the keys of `base`."""
    inputs = plan.inputs
    engine = inputs.engine
    rank = largest_rank(inputs.adapters)
    slots = _affordable_slots(plan, rank)
    found: dict[str, int | float] = {
        "max_loras": slots,
        "max_lora_rank": rank,
        "max_cpu_loras": max(2 * len(inputs.adapters), 2 * slots),
    }
    if engine.gpu:
        best = _best_utilization(plan)
        # How long a context fits hangs on the other three, so they are taken as recommended.
        better = draft(inputs.with_engine(utilization=best, slots=slots, rank=rank))
        longest = min(engine.max_model_len, inputs.shape.max_positions, better.cache.longest)
        found["gpu_memory_utilization"] = best
        if longest:
            found["max_model_len"] = longest
    return found


def advise(plan: MemoryPlan) -> list[Finding]:
    """Errors first, then warnings, then notes."""
    parts = _card_findings if plan.inputs.engine.gpu else _main_findings
    found = [*_shape_findings(plan), *parts(plan), *_slot_findings(plan), *_assumptions(plan)]
    return by_level(found)


def _best_utilization(plan: MemoryPlan) -> float:
    """As much as leaves a tenth of the card free, more for a large context; less where others have it."""
    device = plan.inputs.device
    outside = sum(row.size_bytes for row in plan.outside)
    most = 1 - max(HEADROOM[0], outside / device.total_bytes + SPARE)
    if device.free_bytes is not None:
        # vLLM does not start unless its whole share is free, and looks once its context is taken.
        most = min(most, (device.free_bytes - outside) / device.total_bytes)
    # Without the little more 0.29 would become 0.28: times 100 it is 28.999… as a float.
    return max(0.0, math.floor(most * 100 + 1e-9) / 100)


def _affordable_slots(plan: MemoryPlan, rank: int) -> int:
    """One for each adapter, as long as they stay a small part of what is left beside the weights."""
    inputs = plan.inputs
    wanted = max(LEAST_SLOTS, len(inputs.adapters))  # some for adapters that come later
    beside = inputs.device.total_bytes - plan.rows[0].size_bytes
    return max(1, min(wanted, int(SLOTS_SHARE * beside // max(1, slot_size(inputs, rank)))))


def _shape_findings(plan: MemoryPlan) -> Iterator[Finding]:
    shape, engine = plan.inputs.shape, plan.inputs.engine
    cards = engine.tensor_parallel
    if cards > 1 and shape.heads % cards:
        mend = f"{cards}: the base has {shape.heads} attention heads; choose a number that divides them"
        yield Finding("error", "base.tensor_parallel_size", mend)
    if shape.vocabulary_lora and shape.vocabulary > LARGEST_VOCABULARY:
        mend = f"its vocabulary of {shape.vocabulary} is over {LARGEST_VOCABULARY}, vLLM's most with LoRA"
        yield Finding("error", "base.model", mend)
    if shape.context_known and engine.max_model_len > shape.max_positions:
        mend = f"{engine.max_model_len}: the base was made for {shape.max_positions}; lower it to that"
        yield Finding("error", "base.max_model_len", mend)


def _card_findings(plan: MemoryPlan) -> Iterator[Finding]:
    inputs = plan.inputs
    engine, device = inputs.engine, inputs.device
    key = "base.gpu_memory_utilization"
    best = float(plan.recommended["gpu_memory_utilization"])
    outside = sum(row.size_bytes for row in plan.outside)
    if device.free_bytes is not None and device.free_bytes - outside < plan.budget_bytes:
        free, wanted = (device.free_bytes - outside) / GIB, plan.budget_bytes / GIB
        text = f"{engine.utilization:g}: asks for {wanted:.2f} GiB, {free:.2f} GiB of {device.name} are free"
        yield Finding("error", key, f"{text}; lower it to {best:g}, or stop what else runs on the card")
    if plan.cache.longest < engine.max_model_len:
        yield _too_small(plan, best)
    elif plan.headroom_share < HEADROOM[0] - ROUNDING:
        text = f"{engine.utilization:g}: leaves {plan.headroom_share:.0%} of the card, keep 10 to 15 %"
        yield Finding("warning", key, f"{text}; lower it by {engine.utilization - best:.2f} to {best:g}")
    elif plan.headroom_share > HEADROOM[1] and best > engine.utilization:
        more = draft(inputs.with_engine(utilization=best)).cache.tokens - plan.cache.tokens
        text = f"{engine.utilization:g}: leaves {plan.headroom_share:.0%} of the card unused"
        yield Finding("note", key, f"{text}; {best:g} gives the cache {more:,} tokens more")


def _too_small(plan: MemoryPlan, best: float) -> Finding:
    engine = plan.inputs.engine
    fixed = sum(row.size_bytes for row in plan.rows[:-1])  # the cache is the last row
    what = f"one request of {engine.max_model_len:,} tokens does not fit: "
    if fixed >= plan.budget_bytes:
        over = (fixed - plan.budget_bytes) / GIB
        what += f"without any cache the engine already needs {over:.1f} GiB more than it may take"
        key = "base.gpu_memory_utilization"
    else:
        what += f"the cache has {plan.cache.tokens:,}"
        key = "base.max_model_len"
    mends = list(_mends(plan, best)) or ["take a larger card, or a quantized base"]
    return Finding("error", key, f"{what}; {'; or '.join(mends)}")


def _mends(plan: MemoryPlan, best: float) -> Iterator[str]:
    """Each alone makes it fit."""
    inputs = plan.inputs
    engine = inputs.engine

    def fits(tried: Inputs) -> bool:
        return draft(tried).cache.longest >= tried.engine.max_model_len

    def first(name: str, values: Iterable[float]) -> float | None:
        return next((value for value in values if fits(inputs.with_engine(**{name: value}))), None)

    steps = range(math.floor(engine.utilization * 100) + 1, math.floor(best * 100) + 1)
    share = first("utilization", (step / 100 for step in steps))
    if share:
        yield f"raise base.gpu_memory_utilization from {engine.utilization:g} to {share:g}"
    if plan.cache.longest > 0:
        yield f"lower base.max_model_len from {engine.max_model_len} to {plan.cache.longest}"
    slots = _most_slots(engine.slots, lambda slots: fits(inputs.with_engine(slots=slots)))
    if slots:
        yield f"lower base.max_loras from {engine.slots} to {slots}"
    rank = largest_rank(inputs.adapters)
    if rank < engine.rank and first("rank", [rank]):
        yield f"lower base.max_lora_rank from {engine.rank} to {rank}"
    # The largest that fits is offered; each try plans anew, so they go down by halves.
    halves = [engine.max_num_seqs >> halved for halved in range(1, engine.max_num_seqs.bit_length())]
    seqs = first("max_num_seqs", halves)
    if seqs:
        yield f"lower base.max_num_seqs from {engine.max_num_seqs} to {seqs}"
    now = engine.tensor_parallel
    more = [cards for cards in CARDS if cards > now and inputs.shape.heads % cards == 0]
    cards = first("tensor_parallel", more)
    if cards:
        yield f"raise base.tensor_parallel_size from {now} to {cards}, with as many cards"
    if inputs.shape.quantization is None:
        size = memory.weight_bytes(inputs.shape, engine.dtype, quantized_by("awq"))
        smaller = replace(inputs, weights=replace(inputs.weights, size_bytes=size))
        if fits(smaller):
            yield f"take the base quantized to 4 bit (AWQ, GPTQ), about {size / memory.GB:.1f} GB"


def _main_findings(plan: MemoryPlan) -> Iterator[Finding]:
    inputs = plan.inputs
    engine, device = inputs.engine, inputs.device
    key = "base.kv_cache_gib"
    cached = engine.kv_cache_bytes / GIB
    if plan.cache.longest < engine.max_model_len:
        blocks = math.ceil(engine.max_model_len / engine.block_size) + 1  # vLLM keeps one back
        needed = blocks * engine.block_size * plan.cache.bytes_per_token / GIB
        mend = f"{cached:g}: one request of {engine.max_model_len:,} tokens does not fit"
        mend += f"; raise it to {_rounded_up(needed):g}"
        yield Finding("error", key, f"{mend}, or lower base.max_model_len to {plan.cache.longest}")
    room = device.total_bytes if device.free_bytes is None else device.free_bytes
    over = plan.budget_bytes - room
    if over > 0:
        text = f"the engine needs {plan.budget_bytes / GIB:.1f} GiB, {room / GIB:.1f} GiB are free"
        slots = _most_slots(engine.slots, lambda slots: _budget(inputs, slots) <= room)
        less = _rounded_up(over / GIB)
        if less < cached:
            yield Finding("error", key, f"{cached:g}: {text}; lower it by {less:.2f}")
        elif slots:
            yield Finding("error", "base.max_loras", f"{engine.slots}: {text}; lower it to {slots}")
        else:
            yield Finding("error", key, f"{cached:g}: {text}; {SMALLER}")
    elif plan.headroom_share < HEADROOM[0]:
        missing = HEADROOM[0] * device.total_bytes - plan.headroom_bytes
        text = f"{cached:g}: leaves {plan.headroom_share:.0%} of main memory, keep 10 to 15 %"
        less = _rounded_up(missing / GIB)
        yield Finding("warning", key, f"{text}; {f'lower it by {less:.2f}' if less < cached else SMALLER}")


def _slot_findings(plan: MemoryPlan) -> Iterator[Finding]:
    inputs = plan.inputs
    engine = inputs.engine
    rank = largest_rank(inputs.adapters)
    # Below LEAST_RANK nothing is to be had: `auto` goes no lower either.
    if inputs.adapters and max(rank, LEAST_RANK) < engine.rank:
        freed = engine.slots * (plan.slot_bytes - slot_size(inputs, rank))
        tokens = freed // plan.cache.bytes_per_token
        text = f"{engine.rank}: no adapter is over {rank}; lowering it to {rank} frees {freed / 1e6:.0f} MB"
        level: Level = "note" if freed < SMALL_BYTES else "warning"
        yield Finding(level, "base.max_lora_rank", f"{text}, {tokens:,} cache tokens")
    if rank > engine.rank:
        text = f"{engine.rank}: an adapter has a larger rank; raise it to {rank}"
        yield Finding("error", "base.max_lora_rank", text)
    if len(inputs.adapters) > engine.slots:
        text = f"{engine.slots}: {len(inputs.adapters)} adapters take turns"
        text += f"; each further slot costs {plan.slot_tokens:,} cache tokens"
        yield Finding("note", "base.max_loras", text)


def _assumptions(plan: MemoryPlan) -> Iterator[Finding]:
    shape = plan.inputs.shape
    if not shape.matrices:
        text = f"its size is not known: {shape.reason}; everything but weights and cache is planned"
        yield Finding("warning", "base.model", text)
    elif not shape.exact:
        text = (
            f"its family cannot be counted ({shape.reason}); weights and cache are estimated from its config"
        )
        yield Finding("warning", "base.model", text)
    stored = shape.quantization
    if stored is not None and not stored.known:
        text = f"how small {stored.method} makes a weight is not known: counted unquantized"
        yield Finding("note", "base.model", text)
    if shape.compressed:
        text = "its compressed attention is counted uncompressed: the cache holds more than is planned"
        yield Finding("note", "base.model", text)
    if shape.chunked and any(cache.window for cache in shape.caches):
        text = (
            "vLLM keeps every token in every layer of a base with attention_chunk_size, whatever the window"
        )
        yield Finding("note", "base.model", text)


def _rounded_up(gib: float) -> float:
    """To hundredths, as it is said: who does just that must have done enough."""
    return math.ceil(gib * 100) / 100


def _most_slots(below: int, fits: Callable[[int], bool]) -> int:
    """The most that fit, 0 where none do; by halves, since more slots never need less."""
    return bisect_left(range(1, below), True, key=lambda slots: not fits(slots))


def _budget(inputs: Inputs, slots: int) -> int:
    return draft(inputs.with_engine(slots=slots)).budget_bytes
