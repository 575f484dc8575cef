"""The text of a new configuration, from what is known of a base and its adapters."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

LONG_CONTEXT = 8192
"""A context that is longer in the base's own config.json is not planned for unasked."""


@dataclass(frozen=True)
class NewTask:
    """One adapter, as its own files describe it."""

    name: str
    folder: Path
    rank: int
    size_bytes: int


@dataclass(frozen=True)
class NewBase:
    """`max_rank` is the engine's, over all adapters; `context` the base's own, where that is known."""

    model: str
    known_from: str
    max_rank: int | None
    context: int | None


def text_of(base: NewBase, tasks: Sequence[NewTask], target: Path) -> str:
    """YAML with comments; paths are relative to the file where they lie below its folder."""
    return "\n".join([*_base_lines(base, len(tasks)), *_task_lines(tasks, target), *ENDING, ""])


def _base_lines(base: NewBase, count: int) -> Iterator[str]:
    yield "# Written by lora-gateway init. `lora-gateway check` looks at it, `lora-gateway up` serves it."
    yield "base:"
    yield f"  model: {_quoted(base.model)}  # {base.known_from}"
    if base.max_rank is not None:
        yield f"  max_lora_rank: {base.max_rank}  # holds each adapter below; one of a larger rank needs more"
        yield f"  max_loras: {count}  # adapters in one batch; with more adapters they take turns"
    if base.context is not None and base.context > LONG_CONTEXT:
        yield f"  max_model_len: {LONG_CONTEXT}  # tokens; the base bears {base.context} where memory does"


def _task_lines(tasks: Sequence[NewTask], target: Path) -> Iterator[str]:
    yield ""
    if not tasks:
        yield "# tasks:"
        yield "#   naming:"
        yield "#     adapter: ./path/to/a/peft/adapter"
        return
    yield "tasks:"
    for task in tasks:
        yield f"  {_quoted(task.name)}:"
        facts = f"rank {task.rank}, {task.size_bytes / 1e6:.1f} MB"
        yield f"    adapter: {_quoted(_shown(task.folder, target))}  # {facts}"
        yield "    # system: the system prompt that it was trained with"
        yield "    # defaults: {temperature: 0, max_tokens: 256}"


ENDING = (
    "",
    "# Without keys the gateway listens on this machine only; lora-gateway keys new NAME makes one.",
    "# gateway: {host: 127.0.0.1, port: 8080}",
)


def _shown(folder: Path, target: Path) -> str:
    root = target.absolute().parent
    return f"./{os.path.relpath(folder, root)}" if folder.is_relative_to(root) else str(folder)


def _quoted(text: str) -> str:
    """As it is where YAML reads that as this text, else in quotes."""
    plain = text.replace("/", "").replace(".", "").replace("-", "").replace("_", "").replace("@", "")
    safe = plain.isascii() and plain.isalnum() and not plain.isdigit() and text[0] not in "-@"
    words = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity"}
    if safe and text.lower().lstrip(".") not in words and not text[0].isdigit():
        return text
    return json.dumps(text, ensure_ascii=False)
