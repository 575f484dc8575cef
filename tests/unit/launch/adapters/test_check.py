"""Adapter folders, good and broken, judged from headers alone."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.adapters.check import check_adapter, engine_rank
from launch.base.lora_shapes import describe_base
from launch.machine.files import Origin
from tests.support.adapter_folders import BASE, GOOD, LAYOUT, Q, Shapes, adapter, weights

UNSLOTHS = (
    r"(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|v_proj).*?)"
    r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|v_proj)))"
)
"""A pattern as a well-known trainer writes it."""


def problem(folder: Path, limit: int | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        check_adapter("naming", folder, BASE, limit)
    assert caught.value.key == "tasks.naming.adapter"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_good_adapter_gets_an_id_of_its_content(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    first = check_adapter("naming", folder, BASE)
    assert first.id.startswith("naming@")
    assert len(first.id) == len("naming@") + 12
    assert (first.rank, first.warnings) == (8, ())
    assert check_adapter("naming", folder, BASE).id == first.id
    (folder / "adapter_model.safetensors").write_bytes(weights(GOOD, b"\2"))
    assert check_adapter("naming", folder, BASE).id != first.id


def test_link_is_resolved(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(adapter(tmp_path / "real"))
    assert check_adapter("naming", tmp_path / "link", BASE).path == (tmp_path / "real").resolve()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "whole modules"),
        ({"bias": "all"}, "bias: all"),
        ({"lora_bias": True}, "LoRA biases"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"r": 0}, "positive whole number"),
        ({"r": "8"}, "positive whole number"),
        ({"r": 1024}, "largest is 512"),
        ({"r": 4}, "rank 4 as adapter_config.json says"),
    ],
)
def test_settings_that_cannot_be_served(tmp_path: Path, changes: dict[str, object], expected: str) -> None:
    assert expected in problem(adapter(tmp_path / "a", GOOD, changes))


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({f"{Q}.lora_A.weight": (8, 12), f"{Q}.lora_B.weight": (16, 8)}, "8 x 12, the base needs 8 x 16"),
        ({f"{Q}.lora_A.weight": (8, 16), f"{Q}.lora_B.weight": (12, 8)}, "12 x 8, the base needs 16 x 8"),
        ({f"{Q}.lora_A.weight": (8, 16)}, "but not"),
        (
            {f"{Q.replace('.0.', '.7.')}.lora_A.weight": (8, 16)},
            "in layer 7, the base needs a layer from 0",
        ),
        ({f"{Q.replace('q_proj', 'c_attn')}.lora_A.weight": (8, 16)}, "one of q_proj"),
        ({"model.norm.weight": (16,)}, "no lora_A or lora_B weight"),
        ({}, "no tensors"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path: Path, shapes: Shapes, expected: str) -> None:
    assert expected in problem(adapter(tmp_path / "a", shapes))


def test_grouped_heads_are_known(tmp_path: Path) -> None:
    k = Q.replace("q_proj", "k_proj")
    shapes: Shapes = {f"{k}.lora_A.weight": (8, 16), f"{k}.lora_B.weight": (8, 8)}
    check_adapter("naming", adapter(tmp_path / "a", shapes, {"target_modules": ["k_proj"]}), BASE)


def test_rank_pattern_counts(tmp_path: Path) -> None:
    shapes: Shapes = {f"{Q}.lora_A.weight": (32, 16), f"{Q}.lora_B.weight": (16, 32)}
    folder = adapter(tmp_path / "a", shapes, {"rank_pattern": {"q_proj": 32}})
    assert check_adapter("naming", folder, BASE).rank == 32
    assert "over base.max_lora_rank 16" in problem(folder, 16)


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "is truncated"),
        (lambda file: file.write_bytes(file.read_bytes()[:40]), "is truncated"),
        (lambda file: file.write_bytes(b"abc"), "too few"),
        (
            lambda file: file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
            "Git LFS pointer",
        ),
        (lambda file: file.write_bytes(file.read_bytes() + b"x"), "after its last tensor"),
        (lambda file: file.write_bytes(struct.pack("<Q", 3) + b"{]}"), "not JSON"),
        (lambda file: file.unlink(), "has no adapter_model.safetensors"),
        (lambda file: file.rename(file.with_suffix(".bin")), "pickle"),
        (lambda file: (file.parent / "adapter_config.json").unlink(), "has no adapter_config.json"),
        (lambda file: (file.parent / "adapter_config.json").write_text("{"), "is not JSON"),
        (lambda file: (file.parent / "adapter_config.json").write_text("[]"), "no JSON object"),
    ],
)
def test_damaged_folder(tmp_path: Path, harm: Callable[[Path], object], expected: str) -> None:
    folder = adapter(tmp_path / "a")
    harm(folder / "adapter_model.safetensors")
    assert expected in problem(folder)


def test_missing_folder_and_file_in_its_place(tmp_path: Path) -> None:
    assert "no such folder" in problem(tmp_path / "none")
    (tmp_path / "file").touch()
    assert "is a file" in problem(tmp_path / "file")


def test_another_bases_name_is_a_warning_where_shapes_fit(tmp_path: Path) -> None:
    same = check_adapter("naming", adapter(tmp_path / "a", GOOD, {"base_model_name_or_path": "x/tiny"}), BASE)
    other = check_adapter("naming", adapter(tmp_path / "b", GOOD, {"base_model_name_or_path": "x/big"}), BASE)
    assert same.warnings == ()
    assert "x/big" in other.warnings[0]


@pytest.mark.parametrize(("ranks", "expected"), [([], 1), ([1], 1), ([2], 8), ([8, 9], 16), ([300], 320)])
def test_engine_rank_is_the_smallest_that_holds_all(ranks: list[int], expected: int) -> None:
    assert engine_rank(ranks) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"rank_pattern": {r".*\.q_proj": 8}},
        {"rank_pattern": {"^model.layers.(0|1).self_attn.q_proj": 8, "mlp": 4}},
        {"rank_pattern": {f"model.layers.{layer}.self_attn.q_proj": 8 for layer in range(300)}},
        {"alpha_pattern": {"q_proj": 16.0}},
        {"target_modules": "all-linear"},
        {"target_modules": r".*(q|v)_proj"},
        {"target_modules": UNSLOTHS},
        {"target_modules": ["model.layers.0.self_attn.q_proj"]},
        {"lora_alpha": 0.5, "use_rslora": True},
    ],
)
def test_settings_that_peft_writes_are_taken(changes: dict[str, object], tmp_path: Path) -> None:
    assert check_adapter("naming", adapter(tmp_path / "a", GOOD, changes), BASE).warnings == ()


def test_modules_that_the_settings_do_not_name_or_the_weights_lack_are_warnings(tmp_path: Path) -> None:
    v = Q.replace("q_proj", "v_proj")
    shapes = {**GOOD, f"{v}.lora_A.weight": (8, 16), f"{v}.lora_B.weight": (8, 8)}
    folder = adapter(tmp_path / "a", shapes, {"target_modules": ["q_proj", "c_attn"]})
    assert check_adapter("naming", folder, BASE).warnings == (
        "holds nothing for target_modules c_attn",
        "holds 1 modules that target_modules does not name, such as model.layers.0.self_attn.v_proj",
    )


def test_module_that_is_tied_to_a_named_one_is_no_stranger(tmp_path: Path) -> None:
    k = Q.replace("q_proj", "k_proj")
    shapes = {**GOOD, f"{k}.lora_A.weight": (8, 16), f"{k}.lora_B.weight": (8, 8)}
    folder = adapter(tmp_path / "a", shapes, {"ensure_weight_tying": True})
    assert check_adapter("naming", folder, BASE).warnings == ()


def test_base_that_is_not_here_or_is_the_same_by_another_name_is_a_warning(tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    copied.mkdir()
    (copied / "config.json").write_text(json.dumps(LAYOUT))
    for name in (str(copied), "/nowhere/at/all", "owner/not-in-the-cache", "a\0b/c"):
        folder = adapter(tmp_path / "a", GOOD, {"base_model_name_or_path": name})
        (warning,) = check_adapter("naming", folder, BASE).warnings
        assert "the base is 'owner/Tiny'; their shapes fit" in warning


def test_modules_of_a_base_with_an_unknown_layout_are_left_to_the_engine(tmp_path: Path) -> None:
    base = describe_base("/base", "owner/Tiny", {**LAYOUT, "model_type": "new"})
    shapes: Shapes = {
        "base_model.model.h.0.c_attn.lora_A.weight": (8, 7),
        "base_model.model.h.0.c_attn.lora_B.weight": (5, 8),
    }
    check_adapter("naming", adapter(tmp_path / "a", shapes, {"target_modules": ["c_attn"]}), base)


def test_expected_digest_is_held(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    digest = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    check_adapter("naming", folder, BASE, origin=Origin("a", None, None, digest))
    with pytest.raises(ConfigError, match=r"has the digest .*, the source asks for 000000000000"):
        check_adapter("naming", folder, BASE, origin=Origin("a", None, None, "0" * 64))
