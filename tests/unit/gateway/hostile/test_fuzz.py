"""Mutated input: bodies, requests, engines' answers, streams and documents that are still being written.

Bounded by the number of inputs, and by one seed always the same;
`python -m tests.support.fuzzing.fuzz` goes on.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.fuzzing.fuzz import targets
from tests.support.fuzzing.mutations import Mutator

NAMES = ("shallow", "engine", "client", "streams", "elements")
BLOCKS = 4
INPUTS = 400


@pytest.mark.parametrize("block", range(BLOCKS))
@pytest.mark.parametrize("name", NAMES)
def test_whatever_comes_is_answered_or_refused(name: str, block: int, tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        known = targets(tmp_path, runner.get_loop())
        assert {*known} == {*NAMES}
        for seed in range(block * INPUTS, (block + 1) * INPUTS):
            try:
                known[name](Mutator(seed))
            except Exception as error:
                raise AssertionError(f"seed {seed}") from error
