"""Small adapters on a small base, whole ones and parts of broken ones."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from launch.base.lora_shapes import describe_base

LAYOUT: dict[str, object] = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
BASE = describe_base("/base", "owner/Tiny", LAYOUT)
Q = "base_model.model.model.layers.0.self_attn.q_proj"
A, B = f"{Q}.lora_A.weight", f"{Q}.lora_B.weight"
Shapes = dict[str, tuple[int, ...]]
GOOD: Shapes = {A: (8, 16), B: (16, 8)}
SETTINGS: dict[str, object] = {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": ["q_proj"]}


def packed(header: object, data: bytes) -> bytes:
    """A safetensors file of any header."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def entries(shapes: Shapes, dtype: str = "F32", item_bytes: int = 4) -> tuple[dict[str, object], int]:
    """The header's entries, one tensor after the other, and the bytes that they need."""
    header: dict[str, object] = {}
    place = 0
    for name, shape in shapes.items():
        size = item_bytes
        for side in shape:
            size *= side
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    return header, place


def weights(shapes: Shapes, fill: bytes = b"\1") -> bytes:
    header, size = entries(shapes)
    return packed(header, fill * size)


def adapter(folder: Path, shapes: Shapes = GOOD, changes: dict[str, object] | None = None) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({**SETTINGS, **(changes or {})}))
    (folder / "adapter_model.safetensors").write_bytes(weights(shapes))
    return folder
