"""The snapshot's way out: published once a turn, only where anything is different, and never half."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.config.snapshot import FILE, Snapshot, decode_snapshot, read_snapshot
from launch.supervisor.publisher import LIVES_FROM, VERSIONS_PER_LIFE, Publisher, least_life
from tests.support.waiting import turns

pytestmark = pytest.mark.anyio


class Composed:
    def __init__(self) -> None:
        self.base = "first"
        self.times = 0

    def __call__(self, version: int) -> Snapshot:
        self.times += 1
        return Snapshot(version, self.base)


def test_lives_begin_by_the_clock_and_versions_stay_whole_in_json() -> None:
    assert [least_life(LIVES_FROM + seconds) for seconds in (-5.0, 0.0, 7.9)] == [1, 1, 7]
    assert least_life(2_303_596_800.0) * VERSIONS_PER_LIFE < 2**53, "2042-12-31"


def test_several_changes_of_one_turn_are_published_once(tmp_path: Path) -> None:
    async def work() -> None:
        composed = Composed()
        publisher = Publisher(tmp_path, 3, composed)
        for _ in range(5):
            publisher.changed()
        await turns()
        assert composed.times == 1
        first = 3 * VERSIONS_PER_LIFE + 1
        assert read_snapshot(tmp_path / FILE) == Snapshot(first, "first")
        publisher.publish()  # nothing is different
        assert publisher.snapshot.version == first
        composed.base = "other"
        publisher.publish()
        assert read_snapshot(tmp_path / FILE) == Snapshot(first + 1, "other")

    asyncio.run(work())
    assert [file.name for file in tmp_path.iterdir()] == [FILE]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


async def test_listener_gets_the_state_then_the_newest_of_several(tmp_path: Path) -> None:
    composed = Composed()
    publisher = Publisher(tmp_path, 1, composed)
    publisher.publish()
    lines = publisher.lines()
    assert decode_snapshot(await anext(lines)).base == "first"
    for name in ("a", "b", "c"):
        composed.base = name
        publisher.publish()
    assert decode_snapshot(await anext(lines)).base == "c"
    waiting = asyncio.ensure_future(anext(lines))
    await turns()
    assert not waiting.done()
    composed.base = "d"
    publisher.publish()
    assert decode_snapshot(await waiting).base == "d"
    await lines.aclose()  # type: ignore[attr-defined]  # a generator
    assert publisher._listeners == set()
