"""Where a base's dimensions and weights can be read: local files first, then the table of known models."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from gateway.config.document import DEMO_BASE
from gateway.errors import NOT_JSON, ConfigError, did_you_mean
from launch.base.config_json import read_config
from launch.base.demo_base import demo_base_path
from launch.base.hub import cached_file, hub_config
from launch.base.memory import stored_bytes, weight_bytes
from launch.base.safetensors_header import BadHeader, read_header
from launch.base.shape.counting import skeleton_of
from launch.base.shape.model_shape import ModelShape, shape_of
from launch.base.shape.quantization import Quantization

TABLE = "known_models.json"
QUANTIZATION = "hf_quant_config.json"
INDEX = "model.safetensors.index.json"
DEMO_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class BaseSource:
    """One base, as far as its files or the table tell."""

    name: str
    config: Mapping[str, object]
    shape: ModelShape
    folder: Path | None  # where weights may be
    known_from: str  # of the dimensions


@dataclass(frozen=True)
class Weights:
    """The base's weights once they are loaded, over all cards."""

    size_bytes: int
    parameters: int
    known_from: str


def find_base(model: str) -> BaseSource:
    """A folder, a config.json, the demo's base, a hub id that is cached, known or within reach.

    Raises ConfigError.
    """
    if model == DEMO_BASE:
        folder = demo_base_path()
        return _read(folder / "config.json", DEMO_NAME, folder) if folder.is_dir() else _known(DEMO_NAME)
    if model.startswith("demo:"):
        raise ConfigError("base.model", model, f"the only demo base is {DEMO_BASE}")
    path = Path(os.path.expanduser(model))  # pathlib's own raises RuntimeError for a user that is not there
    if path.is_dir():
        return _read(path / "config.json", str(path), path)
    if path.is_file():
        return _read(path, str(path), path.parent)
    if path.is_absolute() or model.startswith((".", "~")):
        raise ConfigError("base.model", model, "no such folder or config.json; name one, or a hub id")
    cached = cached_file(model, "config.json")
    if cached is not None:
        return _read(cached, model, cached.parent)
    if model in known_models():
        return _known(model)
    return _from_hub(model)


def known_models() -> Mapping[str, Mapping[str, object]]:
    """Name → its config and parameters."""
    text = resources.files("launch.base").joinpath(TABLE).read_text(encoding="utf-8")
    models: Mapping[str, Mapping[str, object]] = json.loads(text)["models"]
    return models


def weigh(source: BaseSource, dtype: str, quantization: Quantization | None) -> Weights:
    """From local files' headers, else their index, else by the config's arithmetic. Raises ConfigError."""
    shape = source.shape
    count = shape.parameters
    # Weights that the engine quantizes while it loads are larger on disk than they will be.
    as_stored = quantization is None or quantization == shape.quantization
    if source.folder is not None and as_stored:
        files = sorted(source.folder.glob("*.safetensors"))
        if files and _complete(source.folder, files):
            stored = stored_bytes(_tensors(files), shape, dtype)
            return Weights(stored, count, f"headers of {len(files)} safetensors file(s)")
        total = _indexed_bytes(source.folder)
        if total:
            return Weights(total, count, f"{INDEX}, the files are not all here")
    by = "" if shape.counted_by == "config.json" else f", {shape.counted_by.removeprefix('config.json, ')}"
    how = f"{source.known_from}{by}: {count / 1e9:.2f} B parameters"
    how += f", {quantization.method} {quantization.bits:.3g} bit" if quantization else f" in {dtype}"
    return Weights(weight_bytes(shape, dtype, quantization), count, how)


def _read(file: Path, name: str, folder: Path | None) -> BaseSource:
    try:
        config = {**_apart(file.parent / QUANTIZATION), **read_config(file)}
    except FileNotFoundError as error:
        raise ConfigError("base.model", str(file.parent), "has no config.json") from error
    return BaseSource(name, config, shape_of(config, skeleton_of(config), str(file)), folder, "config.json")


def _apart(file: Path) -> dict[str, object]:
    """The quantization that older checkpoints of modelopt keep in a file of its own."""
    try:
        return {"quantization_config": read_config(file)}
    except (FileNotFoundError, ConfigError):
        return {}


def _known(name: str) -> BaseSource:
    config = known_models()[name]["config"]
    assert isinstance(config, dict)
    return BaseSource(
        name, config, shape_of(config, skeleton_of(config), name), None, "table of known models"
    )


def _from_hub(model: str) -> BaseSource:
    try:
        return _read(hub_config(model), model, None)
    except ConfigError as error:
        hint = did_you_mean(model, known_models(), "; did you mean {}?")
        mend = f"{error.mend}{hint}; for a plan alone, --base takes the path of its config.json"
        raise ConfigError("base.model", model, mend) from error


def _complete(folder: Path, files: list[Path]) -> bool:
    """Whether every file that the index names is here; a single file needs no index."""
    try:
        named = json.loads((folder / INDEX).read_bytes())["weight_map"].values()
        return set(named) <= {file.name for file in files}
    except (OSError, *NOT_JSON, AttributeError, KeyError, TypeError):
        return True


def _indexed_bytes(folder: Path) -> int:
    try:
        total = json.loads((folder / INDEX).read_bytes())["metadata"]["total_size"]
    except (OSError, *NOT_JSON, KeyError, TypeError):
        return 0
    return int(total) if isinstance(total, int | float) else 0


def _tensors(files: list[Path]) -> Iterator[tuple[str, str, int]]:
    for file in files:
        try:
            header = read_header(file)
        except BadHeader as error:
            raise ConfigError("base.model", str(file), str(error)) from error
        except OSError as error:
            raise ConfigError("base.model", str(file), f"cannot be read: {error.strerror}") from error
        yield from ((name, tensor.dtype, math.prod(tensor.shape)) for name, tensor in header.items())
