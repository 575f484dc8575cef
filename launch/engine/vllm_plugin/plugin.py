"""A plugin of vLLM (entry point group `vllm.general_plugins`) that mends its LoRA on a CPU.

vLLM calls `register` in each of its processes. It acts only in an engine that `launch` started, and only on
a CPU; there it puts `launch.engine.vllm_plugin.lora_kernels` in the place of vLLM's own kernels, and holds
the result against sums done by hand. Where it cannot, the engine must not start: it would answer requests
for the base with an adapter's weights, and nobody would see it.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

VARIABLE = "LORA_GATEWAY_ENGINE"
KERNEL_MODULES = (
    "vllm.lora.ops.torch_ops.lora_ops",  # where they are defined, and call each other
    "vllm.lora.ops.torch_ops",
    "vllm.lora.punica_wrapper.punica_cpu",  # where they are used
)
WRAPPER = "PunicaWrapperCPU"
MEND = "install the engine that requirements/cpu.txt names, or use a GPU"

log = logging.getLogger("vllm.lora_gateway")  # below vLLM's logger, so that it is printed as its lines are


def register() -> None:
    """Mend this process's vLLM. Raises RuntimeError where that is needed and cannot be done.

    A RuntimeError and not one of our own errors: vLLM's log is where the reason of a failed start is read.
    """
    if os.environ.get(VARIABLE) != "1":
        return
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        mend([importlib.import_module(name) for name in KERNEL_MODULES])


def mend(modules: Sequence[types.ModuleType]) -> None:
    """Put our kernels into `modules`, the last of which has the wrapper. Raises RuntimeError."""
    from launch.engine.vllm_plugin.lora_kernels import KERNELS

    wrapper = getattr(modules[-1], WRAPPER, None)
    if wrapper is None:
        raise RuntimeError(f"vLLM has no {WRAPPER}, so its LoRA on a CPU cannot be checked: {MEND}")
    for kernel in KERNELS:
        for module in modules:
            _check_signature(module, kernel)
            setattr(module, kernel.__name__, kernel)
    mended = mended_wrapper(wrapper)
    wrong = deviation(mended) or logits_deviation(mended)
    if wrong:
        raise RuntimeError(f"vLLM's LoRA on a CPU is not what it should be: {wrong}: {MEND}")
    setattr(modules[-1], WRAPPER, following_wrapper(mended))
    log.info("LoRA runs on the kernels of lora-gateway: rows without an adapter are left alone")


def mended_wrapper(wrapper: type) -> type:
    """vLLM's wrapper with our way of adding to logits. Raises RuntimeError where theirs is another."""
    from launch.engine.vllm_plugin.lora_kernels import add_lora_logits

    _check_signature(wrapper, add_lora_logits)
    return type(wrapper.__name__, (wrapper,), {"add_lora_logits": add_lora_logits})


def following_wrapper(wrapper: Any) -> type:
    """One that an engine makes: by then its runner is loaded, whose scoring of prompts must be followed."""
    from launch.engine.vllm_plugin.prompt_rows import follow_scorers

    def __init__(self: Any, *arguments: Any, **named: Any) -> None:
        wrapper.__init__(self, *arguments, **named)
        follow_scorers(sys.modules)

    return type(wrapper.__name__, (wrapper,), {"__init__": __init__})


def _check_signature(owner: types.ModuleType | type, kernel: Callable[..., None]) -> None:
    theirs = getattr(owner, kernel.__name__, None)
    if theirs is None:
        raise RuntimeError(f"{owner.__name__} has no {kernel.__name__}: {MEND}")
    expected, found = ([*inspect.signature(one).parameters] for one in (kernel, theirs))
    if expected != found:
        name = f"{owner.__name__}.{kernel.__name__}"
        raise RuntimeError(f"{name} takes {', '.join(found)}, not {', '.join(expected)}: {MEND}")


def deviation(wrapper_class: Callable[..., object]) -> str:
    """What the wrapper does wrong on a batch of an adapter, the base and another adapter; empty: nothing.

    The last slot is taken, and holds what no row may see who has not asked for it.
    """
    import torch

    wrapper = wrapper_class(8, 8, "cpu")
    slots, size, rank = 2, 3, 2
    loras = (7, 0, 9, 9, 0)  # ids; 7 is in slot 0, 9 in the last, 0 is the base
    mapping = types.SimpleNamespace(index_mapping=loras, prompt_mapping=loras, is_prefill=True)
    lora_a = torch.arange(slots * rank * size, dtype=torch.float32).view(slots, 1, rank, size) - 4
    lora_b = torch.arange(slots * size * rank, dtype=torch.float32).view(slots, 1, size, rank) + 1
    inputs = torch.arange(len(loras) * size, dtype=torch.float32).view(len(loras), size)
    outputs = torch.full((len(loras), size), 0.5)
    wrapper.update_metadata(mapping, [7, 9], slots, 16)  # type: ignore[attr-defined]
    wrapper.add_lora_linear(outputs, inputs, (lora_a,), (lora_b,), 2.0, (size,))  # type: ignore[attr-defined]
    for row, lora in enumerate(loras):
        expected = torch.full((size,), 0.5)
        if lora:
            slot = (7, 9).index(lora)
            expected += 2.0 * (lora_b[slot, 0] @ (lora_a[slot, 0] @ inputs[row]))
        if not torch.equal(outputs[row], expected):
            subject = f"adapter in slot {(7, 9).index(lora)}" if lora else "base"
            return f"row {row} ({subject}) is {outputs[row].tolist()}, not {expected.tolist()}"
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
