"""Where an adapter may come from: a folder, for now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import ConfigError


@dataclass(frozen=True)
class Staged:
    """A local folder with the adapter, until the block ends."""

    path: Path
    source: str


@contextmanager
def fetch(
    source: str,
    roots: Sequence[Path],
    scratch: Path,
    max_bytes: int,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Iterator[Staged]:
    """Raises ConfigError."""
    folder = Path(source).expanduser()
    real = folder.resolve()
    if not any(real.is_relative_to(root.resolve()) for root in roots):
        raise ConfigError("source", source, "is outside adapters.roots; add its folder there")
    yield Staged(real, source)
