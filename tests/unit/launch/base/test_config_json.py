"""A base's config.json, or why it is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.base.config_json import read_config


@pytest.mark.parametrize(
    ("text", "said"),
    [("nonsense", "is not JSON"), ("[" * 100_000, "is not JSON"), ("[]", "is no JSON object")],
)
def test_what_is_none_names_the_file(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=said) as refused:
        read_config(tmp_path / "config.json")
    assert str(tmp_path / "config.json") in str(refused.value)


def test_object_is_read_and_a_missing_file_is_left_to_the_caller(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": 16}')
    assert read_config(tmp_path / "config.json") == {"hidden_size": 16}
    with pytest.raises(FileNotFoundError):
        read_config(tmp_path / "other.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path)
