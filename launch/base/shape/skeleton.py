"""What a base's decoder is made of: its parameters by name and shape, those of equal layers together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["linear", "experts", "embedding", "conv", "plain"]
"""`experts`: (experts, either side, other side); `conv`: (kernel, channels); matrices: (inputs, outputs)."""

Settings = Mapping[str, object]

TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config")
"""Where a model with more than text keeps its language model."""


@dataclass(frozen=True)
class Part:
    """One parameter of a layer, or outside the layers where `layers` is None; `{}` stands for the layer."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    layers: tuple[int, ...] | None = None

    @property
    def copies(self) -> int:
        return 1 if self.layers is None else len(self.layers)

    @property
    def elements(self) -> int:
        """Elements of this part, all of its copies together."""
        return math.prod(self.shape) * self.copies

    @property
    def last(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def owner(self) -> str:
        """The module that it stands in."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Skeleton:
    """A decoder's parts, and its config.json with the family's defaults filled in."""

    settings: Settings
    parts: Sequence[Part]
    counted_by: str
    exact: bool = True
    """False where it was estimated from a config's usual names."""
    reason: str = ""
    """Why it could not be counted."""

    @property
    def parameters(self) -> int:
        return sum(part.elements for part in self.parts)


def read_skeleton(document: Mapping[str, object]) -> Skeleton:
    """What `launch.base.shape.meta_model` writes. Raises ValueError where it is something else."""
    parts, settings = document.get("parts"), document.get("settings")
    if not isinstance(parts, list) or not isinstance(settings, dict):
        raise ValueError(str(document.get("error", "no skeleton")))
    return Skeleton(settings, tuple(map(_part, parts)), str(document.get("counted_by", "")))


def _part(document: Mapping[str, object]) -> Part:
    layers, shape = document.get("layers"), document["shape"]
    assert isinstance(shape, list)
    kind: Kind = document["kind"]  # type: ignore[assignment]  # written by the same release
    listed = tuple(layers) if isinstance(layers, list) else None
    return Part(str(document["name"]), kind, tuple(shape), listed)


def text_part(config: Settings) -> Settings:
    """The language model's part of a config.json, which is the whole of it where there is no other.

    A larger model may say its language model's width beside the parts, but not its layers.
    """
    for key in TEXT_PARTS:
        inner = config.get(key)
        if isinstance(inner, dict) and inner and not {"hidden_size", "num_hidden_layers"} <= config.keys():
            return text_part(inner)
    return config


def inside(settings: Settings, key: str) -> Settings:
    """The object under a key; an empty one where there is none."""
    value = settings.get(key)
    return value if isinstance(value, dict) else {}


def listed(settings: Settings, key: str) -> list[object]:
    """The list under a key; an empty one where there is none."""
    value = settings.get(key)
    return value if isinstance(value, list) else []


def whole(settings: Settings, *names: str, default: int = 0) -> int:
    """The first of the names that holds a positive whole number."""
    for name in names:
        value = settings.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return default
