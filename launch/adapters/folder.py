"""An adapter's folder: whether both files are there, and what else lies in their place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from launch.machine.files import CONFIG, PICKLES, WEIGHTS, Origin, Unfit, lies_within, shorten

MLX = "adapters.safetensors"
MLX_MEND = (
    f"is MLX's format ({MLX}); convert it: transpose each lora_a and lora_b, name them lora_A.weight and "
    f"lora_B.weight in {WEIGHTS}, and write r and lora_alpha = scale x r into a peft {CONFIG}"
)
SHARDS = f"{WEIGHTS}.index.json"
DEPTH, BREADTH = 3, 200
"""How far below a folder, and how wide, an adapter is looked for."""


def real_folder(folder: Path, origin: Origin) -> Path:
    """Where it really lies. Raises Unfit."""
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
        raise Unfit("is a file, not a folder; write the path of a peft adapter's folder (unpack an archive)")
    return path


def require_files(path: Path) -> None:
    """Raises Unfit, which says what the folder is where it is no adapter's."""
    # A link that leads nowhere counts as there: whoever opens it says what is wrong with it.
    mlx = os.path.lexists(path / MLX) or any(path.glob(f"*_{MLX}"))  # a checkpoint has its step before it
    if mlx and not os.path.lexists(path / WEIGHTS):
        raise Unfit(MLX_MEND)
    if not os.path.lexists(path / CONFIG):
        raise Unfit(f"has no {CONFIG}; {_elsewhere(path)}")
    if os.path.lexists(path / WEIGHTS):
        return
    pickle = next((name for name in PICKLES if os.path.lexists(path / name)), None)
    if pickle:
        raise Unfit(f"has {pickle}, a pickle that could run code; save it again as safetensors")
    if os.path.lexists(path / SHARDS):
        raise Unfit(
            f"has {WEIGHTS} in pieces ({SHARDS}), which the engine does not read; save it as one file"
        )
    raise Unfit(f"has no {WEIGHTS}; save the adapter with peft's save_pretrained")


def _elsewhere(path: Path) -> str:
    inside = list(islice(_adapters_below(path, DEPTH), 4))
    if inside:
        names = ", ".join(shorten(str(one.relative_to(path))) for one in inside[:3])
        return f"name its subfolder that is an adapter: {names}{', …' if len(inside) > 3 else ''}"
    if (path / "config.json").is_file():
        return "it is a whole model, not an adapter; serve it as base.model, or name a peft adapter"
    return "is it a peft adapter?"


def _adapters_below(path: Path, depth: int) -> Iterator[Path]:
    try:  # no link is followed: it may lead back up
        folders = sorted(
            one for one in islice(path.iterdir(), BREADTH) if one.is_dir() and not one.is_symlink()
        )
    except OSError:
        return
    for folder in folders:
        if os.path.lexists(folder / CONFIG):
            yield folder
        elif depth > 1:
            yield from _adapters_below(folder, depth - 1)
