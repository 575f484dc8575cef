"""An adapter folder → a checked Adapter, before an engine sees it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from gateway.errors import ConfigError
from launch.adapters.base_match import check_lineage
from launch.adapters.folder import real_folder, require_files
from launch.adapters.fused_experts import check_experts, is_fused, parameter_of
from launch.adapters.language_names import named_alone, renamed
from launch.adapters.settings import ENGINE_RANKS, Settings, as_engine_reads, read_settings
from launch.adapters.sources.transfer import check_digest
from launch.adapters.target_modules import check_patterns, meant_by, ranks_of
from launch.adapters.weights import FLOATS, Findings, Reader, scan
from launch.base.lora_shapes import Base, check_reach, check_tensor, vocabulary_problem
from launch.base.lora_tensors import LoraTensor, read_names
from launch.base.safetensors_header import BadHeader, Header, read_header_of
from launch.machine.files import (
    CONFIG,
    POINTER_BYTES,
    WEIGHTS,
    Origin,
    Unfit,
    open_regular,
    read_json,
    refuse_pointer,
    shorten,
)

MAX_HEADER_BYTES = 32 * 1024 * 1024
"""Of an adapter: some 200,000 tensors."""


@dataclass(frozen=True)
class Adapter:
    """One task's adapter, checked: its id, where it lies, its rank and size, and what is to be warned of."""

    task: str
    id: str  # <task>@<12 hex digits>, the name that the engine knows
    path: Path
    rank: int  # the largest, over rank_pattern
    size_bytes: int
    warnings: tuple[str, ...] = ()


class Copy(Reader, Protocol):
    """Takes both files as they are read, so that nobody reads them again."""

    def begin(self, settings: bytes, size_bytes: int) -> None:
        """adapter_config.json, and how long adapter_model.safetensors will be. Raises ConfigError, Unfit."""


def check_adapter(
    task: str,
    folder: Path,
    base: Base,
    rank_limit: int | None = None,
    *,
    key: str | None = None,
    origin: Origin | None = None,
    copy: Copy | None = None,
) -> Adapter:
    """Check one folder. Raises ConfigError, which names `key`, the file and what to do.

    `rank_limit` is the largest rank that the engine holds, where that is settled; `key` is what the caller
    knows the folder by, by default the configuration's; `origin` adds bounds, and another name to show.
    """
    key = key or f"tasks.{task}.adapter"
    origin = origin or Origin(str(folder))
    with _named(key, origin.shown):
        path = real_folder(folder, origin)
        require_files(path)
    with _named(key, _file(origin, CONFIG)):
        with open_regular(path / CONFIG, origin.roots) as file:
            document, raw = read_json(file)
        settings = read_settings(document, rank_limit)
        raw = as_engine_reads(document, raw)
        warnings = check_lineage(settings.trained_on, base)
    with _named(key, _file(origin, WEIGHTS)), open_regular(path / WEIGHTS, origin.roots) as file:
        size = os.fstat(file.fileno()).st_size
        _check_size(size + len(raw), origin)
        refuse_pointer(file.read(POINTER_BYTES))
        file.seek(0)
        header = read_header_of(file, size, MAX_HEADER_BYTES)
        tensors = read_names(header.tensors)
        beginning = header.raw
        alone = named_alone(base.served, {tensor.module for tensor in tensors}, settings)
        if alone is not None:
            base, beginning = dataclasses.replace(base, served=alone), renamed(header.raw)
        warnings += _check_tensors(tensors, header, settings, base)
        # Only now is anything written, or all of it read: names and shapes refuse most of what is refused.
        if copy is not None:
            copy.begin(raw, size)
        named, findings = _read_data(file, raw, beginning, header, origin, copy)
        _check_numbers(tensors, findings)
    return Adapter(task, _id(task, named), path, settings.largest_rank, size, warnings)


def adapter_id(task: str, settings: bytes, weights: Path) -> str:
    """`<task>@` and 12 hex digits of SHA-256 over adapter_config.json's bytes, then the weights'."""
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.sha256(settings))
    return _id(task, digest.hexdigest())


def engine_rank(ranks: Sequence[int]) -> int:
    """The engine's --max-lora-rank: the smallest that it knows and that holds every adapter."""
    return next(rank for rank in ENGINE_RANKS if rank >= max(ranks, default=1))


def _read_data(
    file: BinaryIO, settings: bytes, beginning: bytes, header: Header, origin: Origin, copy: Copy | None
) -> tuple[str, Findings]:
    """The one pass: the id's digest, what the numbers are, the source's digest, and the copy."""
    # The id's digest is what `adapter_id` makes of the copy at each later start.
    named, weights = hashlib.sha256(settings), hashlib.sha256(header.raw)
    readers: list[Reader] = [named] if copy is None else [named, copy]
    for reader in readers:
        reader.update(beginning)
    findings = scan(file, header.tensors, [*readers, weights] if origin.sha256 else readers)
    if origin.sha256:
        check_digest("it", weights.hexdigest(), origin.sha256, "the source asks for")
    return named.hexdigest(), findings


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


def _check_size(size: int, origin: Origin) -> None:
    if origin.max_bytes is not None and size > origin.max_bytes:
        raise Unfit(
            f"makes an adapter of {size} bytes, over adapters.max_bytes {origin.max_bytes}; "
            "raise that, or train with a smaller rank"
        )


def _check_tensors(
    tensors: Sequence[LoraTensor], header: Header, settings: Settings, base: Base
) -> tuple[str, ...]:
    """What the header tells; warnings. Raises Unfit."""
    if base.served is not None and not base.served.takes_lora:
        raise Unfit(
            f"is for a base that the engine serves by its class {base.served.name}, which takes no LoRA; "
            "choose another base"
        )
    modules = {tensor.module: parameter_of(tensor.module) for tensor in tensors}
    found = ranks_of(settings.rank_pattern, modules.values(), settings.rank)
    ranks = {module: found[parameter] for module, parameter in modules.items()}
    check_patterns("alpha_pattern", settings.alpha_pattern, modules.values())
    problem = vocabulary_problem(tensors, base)
    if problem is not None:
        raise Unfit(problem)
    names = {tensor.name for tensor in tensors}
    for tensor in tensors:
        if not is_fused(tensor.module):  # their rows are rank times experts, which `check_experts` knows
            misfit = check_tensor(tensor, ranks[tensor.module], base)
            if misfit is not None:
                raise Unfit(f"{misfit}; train it on this base, or save it again")
        _check_pair(tensor, header.tensors[tensor.name].dtype, names)
    check_experts(tensors, ranks, base)
    misfit = check_reach(tensors, base)
    if misfit is not None:
        raise Unfit(f"{misfit}; train it on this base")
    return _check_places(list(modules), base) + _check_targets(set(modules), settings)


def _check_pair(tensor: LoraTensor, dtype: str, names: set[str]) -> None:
    if dtype not in FLOATS:
        raise Unfit(
            f"has {tensor.name} as {shorten(dtype)}; save it as {', '.join(sorted(FLOATS))}, "
            "which the engine reads"
        )
    if tensor.twin not in names:
        raise Unfit(f"has {tensor.name} but not {tensor.twin}; save the adapter again")


def _check_places(modules: Sequence[str], base: Base) -> tuple[str, ...]:
    """What the engine would leave out without a word, as its names lead to nothing. Raises Unfit."""
    served = base.served
    if served is None or not served.renames_known:
        return ()
    if served.language is None:
        if not base.nested and all("language_model" in served.place(module).split(".") for module in modules):
            raise Unfit(
                f"names modules such as {shorten(modules[0])}, of a model with more than text; the base "
                f"{base.model} is text alone, and none of them would act; train it on this base"
            )
        return ()
    idle = [module for module in modules if not served.reaches(module)]
    if not idle:
        return ()
    example = shorten(idle[0])
    if len(idle) == len(modules):
        raise Unfit(
            f"acts on nothing here: the engine's class {served.name} takes LoRA under "
            f"{served.language.rstrip('.')}, and takes {example} for {shorten(served.place(idle[0]))}; "
            "train it on this base, whose names differ"
        )
    return (
        f"acts on {len(modules) - len(idle)} of its {len(modules)} modules: the rest, such as {example}, is "
        "outside the base's language model, where the engine leaves it out",
    )


def _check_targets(modules: set[str], settings: Settings) -> tuple[str, ...]:
    """The two files must be of one adapter. Raises Unfit."""
    target = settings.document.get("target_modules")
    plain = {module for module in modules if not is_fused(module)}
    meant = meant_by(target, plain) if target and plain else None
    if meant is None:
        return ()
    hit, idle = meant
    # exclude_modules takes some of them away, ensure_weight_tying trains tied layers that are not named.
    if not hit:
        raise Unfit(
            f"holds no tensor for target_modules {shorten(target)}: {CONFIG} is another adapter's; "
            "take both files from one training"
        )
    warnings = []
    if idle and not settings.document.get("exclude_modules"):
        warnings.append(f"holds nothing for target_modules {shorten(', '.join(map(str, idle)))}")
    if len(hit) < len(plain) and not settings.document.get("ensure_weight_tying"):
        extra = sorted(plain - hit)
        warnings.append(f"holds {len(extra)} modules that target_modules does not name, such as {extra[0]}")
    return tuple(warnings)


def _check_numbers(tensors: Sequence[LoraTensor], found: Findings) -> None:
    if found.endless:
        raise Unfit(
            f"has NaN or infinite numbers in {found.endless[0]}: its training diverged; "
            "train it again, with a lower learning rate"
        )
    # What peft begins with at zero: lora_B of a matrix, lora_A of an embedding.
    first = [tensor for tensor in tensors if tensor.side == ("A" if tensor.embedding else "B")]
    if all(tensor.name in found.zero for tensor in first):
        raise Unfit(
            "its lora_B weights are all zero: it was never trained, or saved before training; "
            "save it after training"
        )
    if all(tensor.name in found.zero or tensor.twin in found.zero for tensor in tensors):
        raise Unfit("has no effect: each module's lora_A or lora_B is all zero; train it again")
