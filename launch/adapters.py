"""An adapter folder → a checked Adapter, from its configuration and its weights' header alone."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Config
from gateway.errors import ConfigError
from launch.safetensors_header import BadHeader, read_header
from launch.shapes import LORA_TENSOR, Base, check_tensor

ENGINE_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # vLLM 0.32, vllm/config/lora.py, MaxLoRARanks
PLAIN_INITS = {"gaussian", "eva", "orthogonal", "mica", "lora_ga"}  # these leave the base's weights alone
REFUSED = {
    "use_dora": "is a DoRA adapter, which the engine cannot serve; train it with use_dora: false",
    "modules_to_save": "saves whole modules beside LoRA, which the engine cannot serve; train without them",
    "lora_bias": "trains LoRA biases, which the engine cannot serve; train with lora_bias: false",
    "layer_replication": "replicates layers, which the engine cannot serve",
    "alora_invocation_tokens": "is an Activated LoRA, which the engine cannot serve",
    "use_bdlora": "is a block-diagonal LoRA, which the engine cannot serve",
    "use_qalora": "is a QALoRA adapter, which the engine cannot serve",
}


@dataclass(frozen=True)
class Adapter:
    """One task's adapter, checked."""

    task: str
    id: str  # <task>@<12 hex digits>, the name that the engine knows
    path: Path
    rank: int  # the largest, over rank_pattern
    size_bytes: int
    warnings: tuple[str, ...] = ()


def check_adapters(config: Config, base: Base) -> list[Adapter]:
    """Every task's adapter, in order; raises ConfigError for the first that will not do."""
    limit = config.base.max_lora_rank
    if limit != "auto" and limit not in ENGINE_RANKS:
        raise ConfigError(
            "base.max_lora_rank", limit, f"must be auto or one of {', '.join(map(str, ENGINE_RANKS))}"
        )
    return [
        check_adapter(task, settings.adapter, base, None if limit == "auto" else limit)
        for task, settings in config.tasks.items()
    ]


def check_adapter(task: str, folder: Path, base: Base, rank_limit: int | None = None) -> Adapter:
    """Check one folder; `rank_limit` is the configuration's own, where it sets one."""
    key, shown = f"tasks.{task}.adapter", str(folder)
    if not folder.is_dir():
        mend = (
            "is a file, not a folder"
            if folder.exists()
            else "no such folder; write the path of a peft adapter"
        )
        raise ConfigError(key, shown, mend)
    path = folder.resolve()
    settings, raw = _read_settings(key, path)
    _refuse_unservable(key, shown, settings)
    rank = _largest_rank(key, shown, settings)
    _check_rank(key, shown, rank, rank_limit)
    weights = path / "adapter_model.safetensors"
    if not weights.is_file():
        others = [name for name in ("adapter_model.bin", "adapter_model.pt") if (path / name).exists()]
        mend = (
            f"has {others[0]}, a pickle that could run code; save it again as safetensors"
            if others
            else "has no adapter_model.safetensors"
        )
        raise ConfigError(key, shown, mend)
    _check_weights(key, weights, settings, base)
    return Adapter(
        task=task,
        id=adapter_id(task, raw, weights),
        path=path,
        rank=rank,
        size_bytes=weights.stat().st_size,
        warnings=_warnings(settings, base),
    )


def adapter_id(task: str, settings: bytes, weights: Path) -> str:
    """`<task>@` and 12 hex digits of SHA-256 over adapter_config.json's bytes, then the weights'."""
    digest = hashlib.sha256(settings)
    with weights.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return f"{task}@{digest.hexdigest()[:12]}"


def engine_rank(ranks: Sequence[int]) -> int:
    """The engine's --max-lora-rank: the smallest that it knows and that holds every adapter."""
    return next(rank for rank in ENGINE_RANKS if rank >= max(ranks, default=1))


def _read_settings(key: str, path: Path) -> tuple[dict[str, object], bytes]:
    file = path / "adapter_config.json"
    try:
        raw = file.read_bytes()
        settings = json.loads(raw)
    except FileNotFoundError as error:
        raise ConfigError(key, str(path), "has no adapter_config.json; is it a peft adapter?") from error
    except OSError as error:
        raise ConfigError(key, str(file), f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(key, str(file), f"is not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigError(key, str(file), "is no JSON object")
    return settings, raw


def _refuse_unservable(key: str, shown: str, settings: Mapping[str, object]) -> None:
    kind = settings.get("peft_type")
    if kind != "LORA":
        raise ConfigError(key, shown, f"is a {kind or 'nameless'} adapter; only LORA can be served")
    for name, reason in REFUSED.items():
        if settings.get(name):
            raise ConfigError(key, shown, reason)
    if settings.get("bias", "none") != "none":
        raise ConfigError(
            key, shown, f"was trained with bias: {settings['bias']}; the engine serves bias: none only"
        )
    init = settings.get("init_lora_weights")
    if isinstance(init, str) and init.lower() not in PLAIN_INITS:
        raise ConfigError(
            key, shown, f"was initialised by {init}, which changes the base; convert it to plain LoRA"
        )


def _largest_rank(key: str, shown: str, settings: Mapping[str, object]) -> int:
    ranks = [settings.get("r"), *_pattern(settings).values()]
    whole = [rank for rank in ranks if isinstance(rank, int) and not isinstance(rank, bool) and rank > 0]
    if len(whole) < len(ranks):
        raise ConfigError(key, shown, "its r or rank_pattern is no positive whole number")
    return max(whole)


def _check_rank(key: str, shown: str, rank: int, limit: int | None) -> None:
    if limit is not None and rank > limit:
        raise ConfigError(
            key, shown, f"has rank {rank}, over base.max_lora_rank {limit}; raise it, or write auto"
        )
    if rank > ENGINE_RANKS[-1]:
        raise ConfigError(key, shown, f"has rank {rank}; the engine's largest is {ENGINE_RANKS[-1]}")


def _check_weights(key: str, weights: Path, settings: Mapping[str, object], base: Base) -> None:
    try:
        tensors = read_header(weights)
    except BadHeader as error:
        raise ConfigError(key, str(weights), str(error)) from error
    except OSError as error:
        raise ConfigError(key, str(weights), f"cannot be read: {error.strerror}") from error
    if not tensors:
        raise ConfigError(key, str(weights), "holds no tensors")
    for name, tensor in tensors.items():
        misfit = check_tensor(name, tensor.shape, _rank_of(name, settings), base)
        if misfit is not None:
            raise ConfigError(key, str(weights), str(misfit))
        other = (
            name.replace(".lora_A.", ".lora_B.")
            if ".lora_A." in name
            else name.replace(".lora_B.", ".lora_A.")
        )
        if other not in tensors:
            raise ConfigError(key, str(weights), f"has {name} but not {other}")


def _rank_of(tensor: str, settings: Mapping[str, object]) -> int:
    """peft's rule: a pattern counts where it ends the module's name at a dot; the first that matches wins."""
    match = LORA_TENSOR.match(tensor)
    module = match["module"] if match else tensor
    for pattern, rank in _pattern(settings).items():
        if isinstance(rank, int) and re.match(rf"(.*\.)?({pattern})$", module):
            return rank
    rank = settings.get("r")
    return rank if isinstance(rank, int) else 0


def _pattern(settings: Mapping[str, object]) -> Mapping[str, object]:
    pattern = settings.get("rank_pattern")
    return pattern if isinstance(pattern, dict) else {}


def _warnings(settings: Mapping[str, object], base: Base) -> tuple[str, ...]:
    """Names may differ where the base was copied or renamed; fitting shapes make that a warning, no error."""
    trained_on = settings.get("base_model_name_or_path")
    if not isinstance(trained_on, str) or not trained_on or not base.name:
        return ()
    if _last(trained_on) == _last(base.name):
        return ()
    return (f"was trained on {trained_on!r}, the base is {base.name!r}",)


def _last(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1].rsplit(":", 1)[-1].lower()
