"""What processes hold in memory, as it is read."""

from __future__ import annotations

import os

import pytest

from launch.machine.memory import card_bytes, engine_memory, read_rollup, tree_memory

LISTED = "4711, 35840\n4712, 512\n99, 1024\n4713, [N/A]\n"


def test_card_memory_is_that_of_the_engines_processes() -> None:
    assert card_bytes(LISTED, [4711, 4712, 4713]) == (35840 + 512) * 1024**2
    assert card_bytes(LISTED, [1]) is None  # in a container whose process ids are others
    assert card_bytes("", [4711]) is None


def test_rollup_is_read_in_bytes() -> None:
    assert read_rollup("Rss:       2048 kB\nPss:  1024 kB\nSwap: 7 kB\n") == {
        "Rss": 2048 * 1024,
        "Pss": 1024**2,
    }


def test_engine_without_a_card_is_measured_in_main_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_GATEWAY_DEVICE", "cpu")
    held, where = engine_memory(os.getpid())
    assert where == "host"
    assert held is not None
    assert 1e6 < held <= tree_memory(os.getpid()).rss_bytes * 2


def test_memory_is_read_in_bytes() -> None:
    text = "5500-7fff ---p 00000000 00:00 0 [rollup]\nRss:     30 kB\nPss:     20 kB\nPss_Dirty:  9 kB\n"
    assert read_rollup(text) == {"Rss": 30 * 1024, "Pss": 20 * 1024}
