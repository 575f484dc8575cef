"""Random LoRA adapters of a base's shapes, for measuring only. The same seed gives the same weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import ConfigError
from launch.base.lora_shapes import Base

WEIGHT_BYTES = 2  # bfloat16
# Standard deviation of lora_B: strong enough that each adapter answers otherwise than the base, which the
# launcher's proof asks for, and weak enough that no activation overflows.
ON_TRAINED_BASE = 0.02
ON_DUMMY_BASE = 1.0
"""vLLM's dummy weights lie within a thousandth of zero, the norms' too; a weaker adapter vanishes in them."""


@dataclass(frozen=True)
class AdapterShape:
    """What decides an adapter's size on a given base."""

    rank: int
    modules: tuple[str, ...]  # such as q_proj; empty: all that the base has


SMALL = AdapterShape(4, ("q_proj", "v_proj", "o_proj", "down_proj"))
TELLING = 0.2
"""Deviation of lora_B, of many random adapters: weaker ones could answer alike, and so fail their proof;
bfloat16 rounds by a small part of what two of these differ by.
"""


def shape_like(folder: Path) -> AdapterShape:
    """The shape of a trained adapter, from its adapter_config.json. Raises ConfigError."""
    file = folder / "adapter_config.json"
    try:
        settings = json.loads(file.read_bytes())
        rank, modules = settings["r"], settings["target_modules"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError("adapter", str(file), "cannot be read as a LoRA adapter's configuration") from error
    return AdapterShape(int(rank), tuple(sorted(modules)) if isinstance(modules, list) else ())


def tensor_shapes(base: Base, shape: AdapterShape) -> dict[str, tuple[int, int]]:
    """Name and shape of every tensor. Raises ConfigError where the base's layout is not known."""
    if base.layers is None or not base.sides:
        raise ConfigError(
            "base.model", base.model, "its layout is not known, so no adapter can be made for it"
        )
    modules = shape.modules or tuple(base.sides)
    unknown = [module for module in modules if module not in base.sides]
    if unknown:
        raise ConfigError("target_modules", unknown[0], f"the base has only {', '.join(base.sides)}")
    found: dict[str, tuple[int, int]] = {}
    for layer in range(base.layers):
        for module in modules:
            inputs, outputs = base.sides[module]
            block = "mlp" if module in {"gate_proj", "up_proj", "down_proj"} else "self_attn"
            name = f"base_model.model.model.layers.{layer}.{block}.{module}"
            found[f"{name}.lora_A.weight"] = (shape.rank, inputs)
            found[f"{name}.lora_B.weight"] = (outputs, shape.rank)
    return found


def weight_bytes(shapes: Mapping[str, tuple[int, int]]) -> int:
    """Bytes of all tensors in bfloat16: a file without its header, or one slot of the engine's."""
    return sum(math.prod(shape) for shape in shapes.values()) * WEIGHT_BYTES


def write_dummy_adapter(
    folder: Path, base: Base, shape: AdapterShape, seed: int, strength: float = ON_TRAINED_BASE
) -> None:
    """An adapter in peft's format; `strength` is the spread of lora_B. Raises ConfigError without torch."""
    shapes = tensor_shapes(base, shape)
    try:
        import torch
        from safetensors.torch import save_file
    except ImportError as error:
        raise ConfigError(
            "bench", str(error.name), "install the engine's packages, which bring it"
        ) from error
    source = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, sides in shapes.items():
        spread = strength if ".lora_B." in name else 1 / math.sqrt(sides[1])
        tensors[name] = (torch.randn(sides, generator=source) * spread).to(torch.bfloat16)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.name,
        "bias": "none",
        "r": shape.rank,
        "lora_alpha": 2 * shape.rank,
        "lora_dropout": 0.0,
        "target_modules": list(shape.modules or base.sides),
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def write_versions(
    folder: Path, base: Base, versions: Mapping[str, int], first_seed: int
) -> dict[str, list[Path]]:
    """So many telling adapters for each task, no two alike. Raises ConfigError."""
    folders = {
        name: [folder / f"{name}-{number}" for number in range(most)] for name, most in versions.items()
    }
    paths = (path for found in folders.values() for path in found)
    for seed, path in enumerate(paths, first_seed):
        write_dummy_adapter(path, base, SMALL, seed, TELLING)
    return folders
