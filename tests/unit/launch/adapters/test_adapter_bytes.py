"""Adapters with bytes changed at random: read or refused, never anything else."""

from __future__ import annotations

import random
from pathlib import Path

from gateway.errors import ConfigError
from launch.adapters.check import check_adapter
from tests.support.adapter_folders import BASE, GOOD, adapter, weights

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def refusal(folder: Path) -> str | None:
    """One printable line, or None for an adapter that is taken."""
    said = None
    try:
        check_adapter("naming", folder, BASE)
    except ConfigError as error:
        said = str(error)
    assert said is None or said.isprintable()
    return said


def test_header_with_any_bytes_changed_is_read_or_refused(tmp_path: Path) -> None:
    chance = random.Random(7)
    folder, good = adapter(tmp_path / "a"), weights(GOOD)
    length = len(good) - 1024
    refused = 0
    for _ in range(1500):
        data = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(length)] = chance.randrange(256)
        if chance.random() < 0.1:
            data = data[: chance.randrange(len(data))]
        (folder / WEIGHTS).write_bytes(data)
        refused += refusal(folder) is not None
    assert refused > 1400


def test_configuration_with_any_bytes_changed_is_read_or_refused(tmp_path: Path) -> None:
    chance = random.Random(11)
    folder = adapter(tmp_path / "a", GOOD, {"rank_pattern": {"q_proj": 8}, "alpha_pattern": {"q_proj": 8}})
    good = (folder / CONFIG).read_bytes()
    for _ in range(1500):
        data = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.choice(b'"{}[]:,0123456789eE.-+*?()\\|^$ntf\xff')
        (folder / CONFIG).write_bytes(data)
        refusal(folder)
