"""An adapter of a larger model's language model alone, under that one's names, as the engine would find it.

Of some bases with more than text (Qwen3.5, Llama 4) AutoModelForCausalLM has the language model alone, whose
modules have other names. vLLM 0.32 has the larger model and leaves out in silence what it does not find in it
(vllm#48019); so the copy gets the names that it finds.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import replace

from launch.adapters.settings import Settings
from launch.base.served_classes import ServedClass

PARTS = ("model.layers.", "model.embed_tokens.", "lm_head.")
INSIDE = "language_model."
PREFIX = "base_model.model."


def named_alone(served: ServedClass | None, modules: Iterable[str], settings: Settings) -> ServedClass | None:
    """The class with those names beside its own, where these modules are found by them and by no other."""
    if served is None or served.language is None or not served.renames_known:
        return None
    found = [module for module in modules if not f"{module}.".startswith(PARTS[-1])]
    known = replace(served, prefixes={**{part: f"{INSIDE}{part}" for part in PARTS}, **served.prefixes})
    # What a pattern ties to a name's beginning would mean nothing any more.
    tied = any("^" in pattern for pattern in (*settings.rank_pattern, *settings.alpha_pattern))
    if tied or not found or any(map(served.reaches, found)) or not all(map(known.reaches, found)):
        return None
    return known


def renamed(beginning: bytes) -> bytes:
    """A safetensors file's length and header, with the modules under the larger model's names."""
    header = json.loads(beginning[8:])
    text = json.dumps({_inside(name): entry for name, entry in header.items()}).encode()
    text += b" " * (-len(text) % 8)  # the data stays as aligned as it was
    return struct.pack("<Q", len(text)) + text


def _inside(name: str) -> str:
    plain = name
    while plain.startswith(PREFIX):
        plain = plain.removeprefix(PREFIX)
    return f"{PREFIX}{INSIDE}{plain}" if plain.startswith(PARTS) else name
