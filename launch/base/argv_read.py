"""The engine's command line read back as the settings that memory depends on. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gateway.errors import ConfigError
from launch.base.memory import EngineArguments, default_batch, default_block_size
from launch.base.shape.model_shape import ModelShape
from launch.base.shape.quantization import Quantization, quantized_by

SHORT = {"-tp": "--tensor-parallel-size", "-q": "--quantization"}
"""vLLM's short names, of what memory depends on."""
SCALES = {
    letter: float(base**power)
    for letters, base in (("kmgt", 1000), ("KMGT", 1024))
    for power, letter in enumerate(letters, 1)
}
"""vLLM 0.32, vllm/utils/argparse_utils.py, human_readable_int: 16k is 16,000 and 16K is 16,384."""


def read_settings(argv: Sequence[str], shape: ModelShape, *, gpu: bool, card_bytes: int) -> EngineArguments:
    """What `argv` asks for, and vLLM's defaults for the rest. Raises ConfigError where a number is none."""
    given = options_of(argv)
    batched, seqs = default_batch(gpu, card_bytes)
    cards = _whole(given, "tensor-parallel-size", 1)
    if not gpu:  # vLLM's defaults there grow with the processes
        batched, seqs = batched * cards, seqs * cards
    slots = _whole(given, "max-loras", 1)
    return EngineArguments(
        gpu=gpu,
        dtype=_dtype(given.get("dtype", "auto"), shape),
        max_model_len=_whole(given, "max-model-len", shape.max_positions),
        max_num_seqs=_whole(given, "max-num-seqs", seqs),
        max_batched_tokens=_whole(given, "max-num-batched-tokens", batched),
        tensor_parallel=cards,
        slots=slots,
        rank=_whole(given, "max-lora-rank", 16),
        adapters_in_memory=_whole(given, "max-cpu-loras", slots),
        eager="enforce-eager" in given,
        utilization=_number(given, "gpu-memory-utilization", 0.92),
        kv_cache_bytes=_whole(given, "kv-cache-memory-bytes", 0),
        kv_dtype=_kv_dtype(given.get("kv-cache-dtype", "auto"), shape),
        block_size=_whole(given, "block-size", default_block_size(shape, gpu)),
    )


def quantization_of(argv: Sequence[str], shape: ModelShape) -> Quantization | None:
    """The base's own, or what `--quantization` adds to a plain one while it loads."""
    asked = options_of(argv).get("quantization")
    return shape.quantization or (quantized_by(asked) if asked else None)


def options_of(argv: Sequence[str]) -> dict[str, str]:
    """`--a-b 1`, `--a_b=1` and `--flag`; the last one wins, as in the engine, also of `--no-flag`."""
    found: dict[str, str] = {}
    name = ""
    for word in (SHORT.get(one, one) for one in argv):
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            name = name.replace("_", "-")
            found.pop(name.removeprefix("no-"), None)
            found[name] = value
        elif name:
            found[name] = word
            name = ""
    return found


def _dtype(asked: str, shape: ModelShape) -> str:
    """vLLM's `auto` halves what is stored in full."""
    if asked != "auto":
        return asked
    return "bfloat16" if shape.dtype == "float32" else shape.dtype


def _kv_dtype(asked: str, shape: ModelShape) -> str:
    """A checkpoint may name its cache's type: resolve_kv_cache_dtype_string in vllm/utils/torch_utils.py."""
    return shape.cache_dtype or "auto" if asked == "auto" else asked


def _whole(given: dict[str, str], name: str, default: int) -> int:
    return int(_number(given, name, default))


def _number(given: dict[str, str], name: str, default: float) -> float:
    text = given.get(name)
    if not text or text in ("auto", "None", "-1"):  # -1: vLLM's auto for max-model-len
        return default
    scale = SCALES.get(text[-1], 1)
    try:
        number = float(text if scale == 1 else text[:-1]) * scale
        if not math.isfinite(number):
            raise ValueError(text)
        return number
    except ValueError as error:
        raise ConfigError("engine.extra_args", f"--{name} {text}", "is no number") from error
