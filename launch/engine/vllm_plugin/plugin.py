"""A plugin of vLLM (entry point group `vllm.general_plugins`) that mends its LoRA on a CPU.

vLLM calls `register` in each of its processes. It acts only in an engine that `launch` started. There each
process ends with the one that made it (`parent`), long patterns get a second way (`long_patterns`), and the
server refuses a request by its first fault (`first_fault`). On a CPU all come from one import
(`fork_server`), those of engines that share cores sleep while they wait for each other (`message_wait`),
`cpu_lora` and `lora_kernels` are put in the place of vLLM's own, and the result is held against sums done
by hand. Where that cannot be, the engine must not start: it would answer requests for the base with an
adapter's weights, and nobody would see it.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import multiprocessing
import os
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from launch.engine.vllm_plugin.first_fault import mend_requests
from launch.engine.vllm_plugin.long_patterns import BACKEND, CLASS, mend_backend
from launch.engine.vllm_plugin.message_wait import MODULE as QUEUES
from launch.engine.vllm_plugin.message_wait import SHARED_CORES, sleep_between_looks
from launch.engine.vllm_plugin.processes import fork_server
from launch.engine.vllm_plugin.processes.parent import end_with_parent
from launch.engine.vllm_plugin.self_check import deviation, logits_deviation

VARIABLE = "LORA_GATEWAY_ENGINE"
KERNEL_MODULES = (
    "vllm.lora.ops.torch_ops.lora_ops",  # where they are defined, and call each other
    "vllm.lora.ops.torch_ops",
    "vllm.lora.punica_wrapper.punica_cpu",  # where they are used
)
OPERATORS = "vllm._custom_ops"  # which loads those that this processor has
WRAPPER = "PunicaWrapperCPU"
MEND = "install the engine that requirements/cpu.txt names, or use a GPU"

log = logging.getLogger("vllm.lora_gateway")  # below vLLM's logger, so that it is printed as its lines are


def register() -> None:
    """Mend this process's vLLM. Raises RuntimeError where that is needed and cannot be done.

    A RuntimeError and not one of our own errors: vLLM's log is where the reason of a failed start is read.
    """
    if os.environ.get(VARIABLE) != "1":
        return
    end_with_parent()
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        fork_server.begin()
    mend_backend(getattr(importlib.import_module(BACKEND), CLASS, None))
    if multiprocessing.parent_process() is None:  # the server; no other process reads requests
        mend_requests()
    if current_platform.is_cpu():
        importlib.import_module(OPERATORS)
        mend([importlib.import_module(name) for name in KERNEL_MODULES])
        shared = os.environ.get(SHARED_CORES) == "1"
        if shared and not sleep_between_looks(importlib.import_module(QUEUES)):
            log.warning(
                "vLLM's queues are not as they are known: its processes wait for one another in loops"
            )


def mend(modules: Sequence[types.ModuleType]) -> None:
    """Put our kernels into `modules`, the last of which has the wrapper. Raises RuntimeError."""
    from launch.engine.vllm_plugin.lora_kernels import KERNELS

    wrapper = getattr(modules[-1], WRAPPER, None)
    if wrapper is None:
        raise RuntimeError(f"vLLM has no {WRAPPER}, so its LoRA on a CPU cannot be checked: {MEND}")
    for kernel in KERNELS:
        for module in modules:  # each has names of its own, by `from … import`
            _check_signature(module, kernel)
            setattr(module, kernel.__name__, kernel)
    mended = mended_wrapper(wrapper)
    wrong = deviation(mended) or logits_deviation(mended)
    if wrong:
        raise RuntimeError(f"vLLM's LoRA on a CPU is not what it should be: {wrong}: {MEND}")
    setattr(modules[-1], WRAPPER, following_wrapper(mended))
    log.info("LoRA runs on the kernels of lora-gateway: rows without an adapter are left alone")


def mended_wrapper(wrapper: type) -> type:
    """vLLM's wrapper with our way of adding. Raises RuntimeError where theirs is another."""
    from launch.engine.vllm_plugin.cpu_lora import StepwiseLora
    from launch.engine.vllm_plugin.products import best_product

    wrapper = next(one for one in wrapper.__mro__ if not issubclass(one, StepwiseLora))  # theirs, under ours
    for name in ("add_lora_linear", "add_lora_embedding", "add_lora_logits"):
        _check_signature(wrapper, getattr(StepwiseLora, name))
    own = {"make_product": staticmethod(best_product())}
    return type(wrapper.__name__, (StepwiseLora, wrapper), own)


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
