"""Settings in any encoding."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.adapters.store import AdapterStore
from tests.support.adapter_folders import BASE, adapter


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_settings_of_any_encoding_are_kept_as_the_engine_reads_them(tmp_path: Path, encoding: str) -> None:
    source, store = adapter(tmp_path / "one"), AdapterStore(tmp_path / "kept")
    plain = store.take("naming", source, BASE)
    text = (source / "adapter_config.json").read_text()
    (source / "adapter_config.json").write_bytes(text.encode(encoding))
    taken = store.take("naming", source, BASE)
    assert (taken.path / "adapter_config.json").read_text("utf-8") == text
    assert taken.id == plain.id
    assert store.verify(taken.id)
