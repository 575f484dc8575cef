"""Refusals in the audit log: by key and minute, however many there are."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from gateway.admission.refused_keys import MOST_WINDOWS, WINDOW_S, RefusedKeys
from gateway.audit import AuditLog
from gateway.errors import InvalidRequest, RequestError, TooManyRequests, Unavailable
from tests.fakes.fake_engine import Answer
from tests.support.stack import stack

Told = tuple[str, str, int, int]


class Counted:
    def __init__(self) -> None:
        self.now = 100.0
        self.told: list[Told] = []
        self.refused = RefusedKeys(lambda *told: self.told.append(told), lambda: self.now)

    def count(self, key: str, error: RequestError, times: int = 1) -> None:
        for _ in range(times):
            self.refused.count(key, error)


FULL = TooManyRequests("full")
BUSY = Unavailable("busy", code="overloaded")


def test_a_flood_is_two_lines_a_minute_for_each_key_and_reason() -> None:
    counted = Counted()
    counted.count("flood", FULL, 10_000)
    counted.count("flood", BUSY, 3)
    counted.count("light", FULL)
    counted.count("light", InvalidRequest("wrong"))
    counted.count("light", Unavailable("cold"))
    first = [
        ("flood", "rate_limit_exceeded", 429, 1),
        ("flood", "overloaded", 503, 1),
        ("light", "rate_limit_exceeded", 429, 1),
    ]
    assert counted.told == first
    counted.now += WINDOW_S
    counted.count("other", FULL)  # whoever is refused next
    assert counted.told[3:] == [
        ("flood", "rate_limit_exceeded", 429, 10_000),
        ("flood", "overloaded", 503, 3),
        ("other", "rate_limit_exceeded", 429, 1),
    ]
    counted.count("other", FULL)
    counted.refused.close()
    assert counted.told[-1] == ("other", "rate_limit_exceeded", 429, 2)


def test_what_is_open_is_bounded() -> None:
    counted = Counted()
    counted.count("first", FULL, 5)
    for number in range(MOST_WINDOWS):
        counted.count(str(number), FULL)
    assert ("first", "rate_limit_exceeded", 429, 5) in counted.told
    assert len(counted.refused._windows) == MOST_WINDOWS


@pytest.mark.anyio
async def test_the_audit_log_says_whose_limit_refused_how_many(tmp_path: Path, both_ways: None) -> None:
    digest = hashlib.sha256(b"own").hexdigest()
    keys = {"team": {"sha256": digest, "limits": {"requests_per_minute": 1}}}
    async with stack(tmp_path, keys=keys, max_in_flight=1, max_waiting=0, max_waiting_per_task=0) as s:
        s.client.headers["authorization"] = "Bearer own"
        hold = asyncio.Event()
        s.engine.answers["naming@bbbbbbbbbbbb"] = Answer(hold_head=hold)
        running = asyncio.create_task(s.chat())
        await s.engine.until(lambda: s.engine.active == 1)
        assert [(await s.chat()).status_code for _ in range(4)] == [429] * 4
        hold.set()
        await running
    found = [entry for entry in AuditLog(tmp_path).entries() if entry["action"] == "refused"]
    assert [(one["who"], one["status"], one["code"], one["count"]) for one in found] == [
        ("team", 429, "requests_per_minute", 1),
        ("team", 429, "requests_per_minute", 4),
    ]
