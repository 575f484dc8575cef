"""An adapter folder → a checked Adapter, before an engine sees it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import ConfigError
from launch.adapter_files import (
    CONFIG,
    PICKLES,
    WEIGHTS,
    Origin,
    Unfit,
    lies_within,
    open_regular,
    read_json,
    shorten,
)
from launch.adapter_settings import ENGINE_RANKS, Settings, read_settings
from launch.lineage import check_lineage
from launch.module_patterns import check_patterns, meant_by, ranks_of
from launch.safetensors_header import BadHeader, Tensor, read_header_of
from launch.shapes import EMBEDDING_TENSOR, LORA_TENSOR, Base, check_tensor
from launch.transfer import check_digest
from launch.weights_scan import FLOATS, Findings, scan

MAX_HEADER_BYTES = 32 * 1024 * 1024
"""Of an adapter: some 200,000 tensors."""


@dataclass(frozen=True)
class Adapter:
    """One task's adapter, checked."""

    task: str
    id: str  # <task>@<12 hex digits>, the name that the engine knows
    path: Path
    rank: int  # the largest, over rank_pattern
    size_bytes: int
    warnings: tuple[str, ...] = ()


def check_adapter(
    task: str,
    folder: Path,
    base: Base,
    rank_limit: int | None = None,
    *,
    key: str | None = None,
    origin: Origin | None = None,
) -> Adapter:
    """Check one folder. Raises ConfigError, which names `key`, the file and what to do.

    `rank_limit` is the largest rank that the engine holds, where that is settled; `key` is what the caller
    knows the folder by, by default the configuration's; `origin` adds bounds, and another name to show.
    """
    key = key or f"tasks.{task}.adapter"
    origin = origin or Origin(str(folder))
    with _named(key, origin.shown):
        path = _real_folder(folder, origin)
        _require_files(path)
    with _named(key, _file(origin, CONFIG)):
        with open_regular(path / CONFIG, origin.roots) as file:
            document, raw = read_json(file)
        settings = read_settings(document, rank_limit)
        warnings = check_lineage(settings.trained_on, base)
    with _named(key, _file(origin, WEIGHTS)), open_regular(path / WEIGHTS, origin.roots) as file:
        size = os.fstat(file.fileno()).st_size
        _check_size(size + len(raw), origin)
        named, weights = hashlib.sha256(raw), hashlib.sha256()
        header = read_header_of(file, size, MAX_HEADER_BYTES)
        warnings += _check_tensors(header.tensors, settings, base)
        for digest in (named, weights):
            digest.update(header.raw)
        findings = scan(file, header.tensors, (named, weights) if origin.sha256 else (named,))
        if origin.sha256:
            check_digest("it", weights.hexdigest(), origin.sha256, "the source asks for")
        _check_numbers(header.tensors, findings)
    return Adapter(task, _id(task, named.hexdigest()), path, settings.largest_rank, size, warnings)


def adapter_id(task: str, settings: bytes, weights: Path) -> str:
    """`<task>@` and 12 hex digits of SHA-256 over adapter_config.json's bytes, then the weights'."""
    digest = hashlib.sha256(settings)
    with weights.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return _id(task, digest.hexdigest())


def engine_rank(ranks: Sequence[int]) -> int:
    """The engine's --max-lora-rank: the smallest that it knows and that holds every adapter."""
    return next(rank for rank in ENGINE_RANKS if rank >= max(ranks, default=1))


def _id(task: str, digest: str) -> str:
    return f"{task}@{digest[:12]}"


def _file(origin: Origin, name: str) -> str:
    return f"{origin.shown.rstrip('/')}/{name}"


@contextlib.contextmanager
def _named(key: str, shown: str) -> Iterator[None]:
    """What is found wrong, with the name of what it was found in."""
    try:
        yield
    except (Unfit, BadHeader) as error:
        mend = str(error) if isinstance(error, Unfit) else f"{error}; copy or save the adapter again"
        raise ConfigError(key, shorten(shown, 4096), mend) from error
    except OSError as error:
        raise ConfigError(
            key, shorten(shown, 4096), f"cannot be read: {error.strerror}; look at its rights"
        ) from error


def _real_folder(folder: Path, origin: Origin) -> Path:
    try:
        path = folder.resolve()
    except RuntimeError as error:  # what pathlib says of links in a circle
        raise Unfit("is a link to itself; write the path of a peft adapter") from error
    except ValueError as error:  # a zero byte
        raise Unfit("is no path; write the path of a peft adapter") from error
    if origin.roots is not None and not lies_within(path, origin.roots):
        raise Unfit("is outside adapters.roots; add its folder there")
    if not path.exists():
        raise Unfit("no such folder; write the path of a peft adapter")
    if not path.is_dir():
        raise Unfit("is a file, not a folder; write the path of a peft adapter's folder")
    return path


def _require_files(path: Path) -> None:
    if not os.path.lexists(path / CONFIG):
        raise Unfit(f"has no {CONFIG}; is it a peft adapter?")
    if os.path.lexists(path / WEIGHTS):
        return
    pickle = next((name for name in PICKLES if os.path.lexists(path / name)), None)
    if pickle:
        raise Unfit(f"has {pickle}, a pickle that could run code; save it again as safetensors")
    raise Unfit(f"has no {WEIGHTS}; save the adapter with peft's save_pretrained")


def _check_size(size: int, origin: Origin) -> None:
    if origin.max_bytes is not None and size > origin.max_bytes:
        raise Unfit(
            f"makes an adapter of {size} bytes, over adapters.max_bytes {origin.max_bytes}; "
            "raise that, or train with a smaller rank"
        )


def _check_tensors(tensors: Mapping[str, Tensor], settings: Settings, base: Base) -> tuple[str, ...]:
    """What the header tells; warnings. Raises Unfit."""
    if not tensors:
        raise Unfit("holds no tensors; save the adapter again")
    modules = {name: _module(name) for name in tensors}
    ranks = ranks_of(settings.rank_pattern, modules.values(), settings.rank)
    check_patterns("alpha_pattern", settings.alpha_pattern, modules.values())
    for name, tensor in tensors.items():
        misfit = check_tensor(name, tensor.shape, ranks[modules[name]], base)
        if misfit is not None:
            raise Unfit(f"{misfit}; train it on this base, or save it again")
        if tensor.dtype not in FLOATS:
            raise Unfit(
                f"has {name} as {shorten(tensor.dtype)}; save it as {', '.join(sorted(FLOATS))}, "
                "which the engine reads"
            )
        if _twin(name) not in tensors:
            raise Unfit(f"has {name} but not {_twin(name)}; save the adapter again")
    return _check_targets(set(modules.values()), settings.document.get("target_modules"))


def _module(tensor: str) -> str:
    if EMBEDDING_TENSOR.search(tensor):
        raise Unfit(
            f"holds {tensor}: it trains the embedding, which is not served; train without embed_tokens"
        )
    match = LORA_TENSOR.match(tensor)
    return match["module"] if match else tensor


def _twin(tensor: str) -> str:
    if ".lora_A." in tensor:
        return tensor.replace(".lora_A.", ".lora_B.")
    return tensor.replace(".lora_B.", ".lora_A.")


def _check_targets(modules: set[str], target: object) -> tuple[str, ...]:
    """The two files must be of one adapter. Raises Unfit."""
    meant = meant_by(target, modules)
    if meant is None:
        return ()
    hit, idle = meant
    if not hit:
        raise Unfit(
            f"holds no tensor for target_modules {shorten(target)}: {CONFIG} is another adapter's; "
            "take both files from one training"
        )
    warnings = []
    if idle:
        warnings.append(f"holds nothing for target_modules {shorten(', '.join(map(str, idle)))}")
    if len(hit) < len(modules):
        extra = sorted(modules - hit)
        warnings.append(f"holds {len(extra)} modules that target_modules does not name, such as {extra[0]}")
    return tuple(warnings)


def _check_numbers(tensors: Mapping[str, Tensor], found: Findings) -> None:
    if found.endless:
        raise Unfit(
            f"has NaN or infinite numbers in {found.endless[0]}: its training diverged; "
            "train it again, with a lower learning rate"
        )
    if all(name in found.zero for name in tensors if ".lora_B." in name):
        raise Unfit(
            "its lora_B weights are all zero: it was never trained, or saved before training; "
            "save it after training"
        )
    if all(name in found.zero or _twin(name) in found.zero for name in tensors):
        raise Unfit("has no effect: each module's lora_A or lora_B is all zero; train it again")


__all__ = [
    "ENGINE_RANKS",
    "Adapter",
    "adapter_id",
    "check_adapter",
    "engine_rank",
]
