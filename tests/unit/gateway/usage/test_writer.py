"""Once a second to the disk: each count once, whatever fails or is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from gateway.metrics.counters import Metrics
from gateway.usage.database import FILE, UsageDatabase, read_usage
from gateway.usage.writer import WRITTEN_EVERY_S, UsageWriter, day_of

pytestmark = pytest.mark.anyio
MIDNIGHT = 1_795_910_400.0
"""2026-11-29, UTC."""


class EnoughError(Exception):
    """The test has seen what it wants."""


def tenant_of(key: str) -> str:
    return {"a": "acme"}.get(key, "")


def count(metrics: Metrics, times: int = 1) -> None:
    for _ in range(times):
        figures = metrics.ledger["a", "naming", "naming@1"]
        figures[0] += 1
        figures[2] += 7
        figures[3] += 3


def kept(folder: Path, *by: str) -> list[tuple[dict[str, str], list[int]]]:
    return [(one.labels, list(one.figures)[:4]) for one in read_usage(folder, by, "2020-01-01")]


async def test_it_writes_each_second_what_came_since(tmp_path: Path) -> None:
    metrics = Metrics.single()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise EnoughError
        count(metrics, len(slept))

    writer = UsageWriter(metrics, tmp_path, tenant_of, sleep=sleep)
    with pytest.raises(EnoughError):
        await writer.run()
    assert slept == [WRITTEN_EVERY_S] * 3
    assert kept(tmp_path, "key", "tenant", "task", "adapter") == [
        ({"key": "a", "tenant": "acme", "task": "naming", "adapter": "naming@1"}, [3, 0, 21, 9])
    ]
    await writer.stop()


async def test_nothing_is_made_where_nothing_is_used(tmp_path: Path) -> None:
    writer = UsageWriter(Metrics.single(), tmp_path, tenant_of)
    await writer.flush()
    await writer.stop()
    assert not (tmp_path / FILE).exists()


async def test_a_second_belongs_to_the_day_that_it_began_in(tmp_path: Path) -> None:
    metrics, times = Metrics.single(), iter([MIDNIGHT - 1, MIDNIGHT, MIDNIGHT + 1, MIDNIGHT + 2])
    writer = UsageWriter(metrics, tmp_path, tenant_of, now=lambda: next(times))
    count(metrics)
    await writer.flush()
    count(metrics, 2)
    await writer.flush()
    await writer.stop()
    assert kept(tmp_path, "day") == [
        ({"day": "2026-11-28"}, [1, 0, 7, 3]),
        ({"day": "2026-11-29"}, [2, 0, 14, 6]),
    ]


async def test_what_cannot_be_written_is_kept_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics.single()
    writer = UsageWriter(metrics, tmp_path, tenant_of)
    with monkeypatch.context() as full:
        full.setattr(UsageDatabase, "add", refuse)
        count(metrics)
        with pytest.raises(sqlite3.OperationalError):
            await writer.flush()
    assert metrics.ledger["a", "naming", "naming@1"][:4] == [1, 0, 7, 3]
    assert b"lora_gateway_key_requests_total{" not in metrics.render()[0]
    count(metrics)
    await writer.stop()
    assert kept(tmp_path, "key") == [({"key": "a"}, [2, 0, 14, 6])]
    assert b'lora_gateway_key_requests_total{key="a",tenant="acme"} 2.0' in metrics.render()[0]


def refuse(*_: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")


async def test_a_write_that_is_cancelled_counts_once(tmp_path: Path) -> None:
    metrics = Metrics.single()
    writer = UsageWriter(metrics, tmp_path, tenant_of)
    count(metrics)
    flushing = asyncio.create_task(writer.flush())
    await asyncio.sleep(0)
    flushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flushing
    await writer.stop()
    assert kept(tmp_path, "key") == [({"key": "a"}, [1, 0, 7, 3])]


async def test_the_end_waits_for_no_disk_that_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics.single()
    writer = UsageWriter(metrics, tmp_path, tenant_of)
    monkeypatch.setattr(UsageDatabase, "add", refuse)
    count(metrics)
    await writer.stop()
    assert "1 accounts' last usage cannot be written" in caplog.text


def test_days_are_utcs() -> None:
    assert (day_of(MIDNIGHT - 0.1), day_of(MIDNIGHT)) == ("2026-11-28", "2026-11-29")
