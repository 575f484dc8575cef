"""Whether an adapter was trained on this base: by what stands behind a name, where that is at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launch.adapters.base_match import check_lineage
from launch.base.lora_shapes import describe_base
from launch.machine.files import Unfit
from tests.support.adapter_folders import BASE, LAYOUT


def model(folder: Path, **changes: object) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**LAYOUT, **changes}))
    return str(folder)


def test_same_name_or_none_is_no_word() -> None:
    assert check_lineage("", BASE) == ()
    assert check_lineage("owner/Tiny", BASE) == ()


def test_files_decide_where_they_are_at_hand(tmp_path: Path) -> None:
    with pytest.raises(Unfit, match="whose hidden_size is 32; the base 'owner/Tiny' has 16"):
        check_lineage(model(tmp_path / "other", hidden_size=32), BASE)
    (warning,) = check_lineage(model(tmp_path / "alike"), BASE)
    assert "their shapes fit" in warning


def test_other_name_alone_is_a_warning_and_a_base_without_a_name_none() -> None:
    (warning,) = check_lineage("somebody/Else", BASE)
    assert "'somebody/Else', the base is 'owner/Tiny'" in warning
    assert check_lineage("somebody/Else", describe_base("/base", "", LAYOUT)) == ()


@pytest.mark.parametrize("name", ["/nowhere/at/all", "/bad\0path", "a/b/c", "x" * 200, "\u2028/y"])
def test_name_of_any_form_is_looked_at_without_a_fault(name: str) -> None:
    assert len(check_lineage(name, BASE)) == 1
