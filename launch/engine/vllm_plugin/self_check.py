"""LoRA on a CPU against sums done by hand, before an engine starts: rows, types, weights that change."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

from launch.engine.vllm_plugin.packed_weights import PATIENCE

LORAS = (7, 0, 9, 9, 0)
"""Each row's adapter: 7 is in slot 0, 9 in the last, 0 is the base."""
HELD = [7, 9]


def deviation(wrapper_class: Callable[..., object]) -> str:
    """What the wrapper does wrong on a batch of an adapter, the base and another adapter; empty: nothing.

    The last slot is taken, and holds what no row may see who has not asked for it. All sums are small whole
    numbers and halves, which bfloat16 holds without rounding.
    """
    import torch

    slots, size, rank = len(HELD), 3, 2
    for dtype in (torch.float32, torch.bfloat16):
        wrapper: Any = wrapper_class(8, 8, "cpu")
        mapping = types.SimpleNamespace(index_mapping=LORAS, prompt_mapping=LORAS, is_prefill=True)
        lora_a = (torch.arange(slots * rank * size) % 5 - 2).to(dtype).view(slots, 1, rank, size)
        lora_b = (torch.arange(slots * size * rank) % 7 - 2).to(dtype).view(slots, 1, size, rank)
        inputs = (torch.arange(len(LORAS) * size) % 4).to(dtype).view(len(LORAS), size)
        with torch.inference_mode():  # as an engine runs, with weights that were made outside of it
            wrapper.update_metadata(mapping, HELD, slots, 16)
            for visit in range(3 * PATIENCE):  # one by one, then all slots in one product
                if visit == 2 * PATIENCE:  # another adapter is loaded into a slot
                    lora_a[0] += 1
                    lora_b[0] -= 1
                whole = torch.full((len(LORAS), size), 0.5, dtype=dtype)
                wrapper.add_lora_linear(whole, inputs, (lora_a,), (lora_b,), 2.0, (size,))
                shrunk = torch.zeros(1, len(LORAS), rank)
                wrapper.add_shrink(shrunk, inputs, (lora_a,), 2.0)
                split = torch.full((len(LORAS), size), 0.5, dtype=dtype)
                wrapper.add_expand(split, shrunk, (lora_b,), (size,))
                for way, found in (("", whole), ("split, ", split)):
                    if wrong := _wrong_row(found, inputs, lora_a, lora_b):
                        return f"{way}{wrong} ({dtype}, visit {visit})"
    return ""


def _wrong_row(found: Any, inputs: Any, lora_a: Any, lora_b: Any) -> str:
    for row, lora in enumerate(LORAS):
        expected = 0.5
        if lora:
            slot = HELD.index(lora)
            expected += 2.0 * (lora_b[slot, 0].double() @ (lora_a[slot, 0].double() @ inputs[row].double()))
        if not bool((found[row].double() == expected).all()):
            subject = f"adapter in slot {HELD.index(lora)}" if lora else "base"
            return f"row {row} ({subject}) is {found[row].tolist()}, not {expected}"
    return ""


def logits_deviation(wrapper_class: Callable[..., object]) -> str:
    """What the wrapper does wrong with rows of logits; empty: nothing.

    Of what is sampled there is a row for each of three requests. Of a prompt there are one request's rows:
    fewer than requests, as many, or more.
    """
    import torch

    from launch.engine.vllm_plugin.prompt_rows import locating

    wrapper: Any = wrapper_class(16, 8, "cpu")
    slots, size, rank, vocabulary = 2, 3, 2, 5
    of_requests, lengths = (9, 0, 7), (5, 1, 2)
    of_tokens = tuple(lora for lora, length in zip(of_requests, lengths, strict=True) for _ in range(length))
    mapping = types.SimpleNamespace(index_mapping=of_tokens, prompt_mapping=of_requests, is_prefill=True)
    wrapper.update_metadata(mapping, [7, 9], slots, vocabulary)
    lora_a = torch.arange(slots * rank * size, dtype=torch.float32).view(slots, 1, rank, size) - 4
    lora_b = torch.arange(slots * vocabulary * rank, dtype=torch.float32).view(slots, 1, vocabulary, rank) + 1
    batch = torch.arange(len(of_tokens) * size, dtype=torch.float32).view(len(of_tokens), size)

    def logits(rows: torch.Tensor) -> torch.Tensor:
        added = torch.full((len(rows), vocabulary), 0.5)
        wrapper.add_lora_logits(added, rows, lora_a, lora_b, 2.0)
        return added

    sampled = torch.tensor([4, 5, 7])
    cases: list[tuple[str, Any, torch.Tensor, Sequence[int]]]
    cases = [("sampled", logits, batch[sampled], of_requests)]
    for first, last in ((0, 5), (0, 3), (0, 2), (5, 6), (6, 8), (7, 8)):
        cases.append(("of a prompt", locating(logits, batch), batch[first:last], of_tokens[first:last]))
    for kind, project, rows, loras in cases:
        for place, (row, found, lora) in enumerate(zip(rows, project(rows), loras, strict=True)):
            expected = torch.full((vocabulary,), 0.5)
            if lora:
                slot = (7, 9).index(lora)
                expected += 2.0 * (lora_b[slot, 0] @ (lora_a[slot, 0] @ row))
            if not torch.equal(found, expected):
                return f"logits {place} of {len(rows)} {kind} are {found.tolist()}, not {expected.tolist()}"
    return ""
