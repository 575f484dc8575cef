"""An adapter on its way to an engine on another node: its folder there, copied where it has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gateway.errors import EngineFailure
from launch.adapters.fused_experts import holds_fused
from launch.engine.loaded_adapters import EngineCalls
from launch.engine.on_ray.remote_engine import Seat
from launch.machine.files import CONFIG, WEIGHTS

PIECE_BYTES = 8 * 1024 * 1024
"""Through Ray's object store, which holds one or two of them at a time."""


def calls_to(seat: Seat, calls: EngineCalls) -> EngineCalls:
    """The same calls, through which an adapter is loaded from where its node has it."""

    def load(url: str, name: str, path: str | Path) -> None:
        fused = {"fused": True} if holds_fused(Path(path)) else {}  # its own path says nothing here
        calls.load(url, name, Path(folder_there(seat, Path(path))), **fused)

    def unload(url: str, name: str) -> None:
        calls.unload(url, name)
        seat.drop_adapter(name)

    return replace(calls, load=load, unload=unload)


def folder_there(seat: Seat, folder: Path, told: Callable[[int], None] = lambda _: None) -> str:
    """Where the node has it, after a copy where need be; `told` hears of each piece's size.

    Raises EngineFailure where the node has no room, the actor is gone or the copy is damaged.
    """
    found = seat.folder_of(str(folder))
    if found:
        return found
    weights = folder / WEIGHTS
    try:
        seat.begin_adapter((folder / CONFIG).read_bytes(), weights.stat().st_size)
        with weights.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                seat.write_adapter(piece)
                told(len(piece))
    except OSError as error:
        raise EngineFailure(f"{folder} cannot be read: {error.strerror}") from error
    found = seat.end_adapter(folder.name)
    if not found:
        raise EngineFailure(f"the copy of {folder.name} on its node is not what its id names")
    return found
