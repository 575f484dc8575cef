"""One adapter fetched and checked, as the supervisor does it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.adapters.check import Adapter, check_adapter
from launch.adapters.sources.fetch import fetch
from tests.support.adapter_folders import BASE, adapter

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MAX_BYTES = 200_000


def take(folder: Path, source: str, max_bytes: int = MAX_BYTES, stages: list[str] | None = None) -> Adapter:
    """Fetched and checked, with `folder` the one root; scratch must be empty afterwards."""
    scratch = folder / "scratch"
    said = stages if stages is not None else []
    try:
        with fetch(source, [folder], scratch, max_bytes, said.append, ("s3", "memory", "gone")) as staged:
            found = check_adapter("naming", staged.path, BASE, key="adapters.naming", origin=staged.origin)
            assert found.warnings == ()
            return Adapter(found.task, found.id, found.path, found.rank, found.size_bytes, staged.warnings)
    finally:
        assert not scratch.exists() or not list(scratch.iterdir())


def refusal(folder: Path, source: str, max_bytes: int = MAX_BYTES) -> str:
    with pytest.raises(ConfigError) as caught:
        take(folder, source, max_bytes)
    assert caught.value.key in ("source", "adapters.naming")
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    folder = adapter(tmp_path / "one")
    return {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)}


@pytest.fixture
def made_id(tmp_path: Path, files: dict[str, bytes]) -> str:
    return check_adapter("naming", tmp_path / "one", BASE).id


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
