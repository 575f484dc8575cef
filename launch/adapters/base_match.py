"""Whether an adapter was trained on this base, as far as names and files at hand can tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway.errors import ConfigError
from launch.base.hub import cached_file
from launch.base.lora_shapes import Base, traits_of
from launch.base.names import same_model
from launch.machine.files import Unfit, open_regular, read_json, shorten


def check_lineage(trained_on: str, base: Base) -> tuple[str, ...]:
    """Warnings. Raises Unfit where the adapter's base is known, and is another.

    Names alone decide nothing, since bases are copied and renamed. Where the named model's config.json is on
    this machine, as a folder or in the hub's cache, it does: two models that differ there share no adapter.
    """
    if not trained_on or (base.name and same_model(trained_on, base.name)):
        return ()
    ours, theirs = base.traits, traits_of(_config_of(trained_on))
    for trait, value in ours.items():
        if trait in theirs and theirs[trait] != value:
            raise Unfit(
                f"was trained on {shorten(trained_on)!r}, whose {trait} is {shorten(theirs[trait])}; "
                f"the base {base.name or base.model!r} has {value}; train it on this base"
            )
    if not base.name:
        return ()  # a folder without a name: what the adapter names cannot be compared, and shapes decide
    fit = "their shapes fit" if base.sides else "whether it fits is left to the engine"
    return (f"was trained on {shorten(trained_on)!r}, the base is {base.name!r}; {fit}",)


def _config_of(name: str) -> Mapping[str, object]:
    """The named model's config.json; empty where it is not on this machine, or is none."""
    # A relative path began wherever the training was started: that folder is not this program's.
    file = Path(name) / "config.json" if name.startswith("/") else _in_hub_cache(name)
    if file is None or "\0" in name:
        return {}
    try:
        with open_regular(file) as opened:
            document, _ = read_json(opened)
    except (Unfit, OSError):
        return {}
    return document if isinstance(document, dict) else {}


def _in_hub_cache(name: str) -> Path | None:
    # No id of the hub's, so its library need not be imported to say so.
    if len(name) > 96 or name.count("/") != 1:
        return None
    try:
        return cached_file(name, "config.json")
    except (ConfigError, OSError):
        return None
