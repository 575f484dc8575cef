"""An engine that answers wrongly: whoever asked is told, nobody else notices, and nothing is left of it."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.faults.conftest import Note
from tests.faults.processes import Served, beside
from tests.faults.promises import median_ms

pytestmark = pytest.mark.anyio
PER_FAULT = 8

WRONG = {
    "garbage": (502, "engine_error"),
    "html": (502, "engine_error"),
    "html 502": (502, "engine_error"),
    "endless head": (502, "engine_error"),
    "too short": (502, "engine_error"),
    "too long": (502, "engine_error"),
    "nothing": (502, "engine_error"),
    "silent": (504, "timeout"),
}
"""What a whole answer is replaced by."""
BROKEN = {
    "cut": "engine_error",
    "half-open": "engine_error",
    "stalled": "timeout",
}
"""How a stream that has begun ends."""


@pytest.mark.parametrize("fault", WRONG)
async def test_a_wrong_answer_is_an_error_and_never_an_answer(s: Served, note: Note, fault: str) -> None:
    async with beside(s) as times:
        told = await asyncio.gather(*(s.chat(fault) for _ in range(PER_FAULT)))
    status, code = WRONG[fault]
    assert [answer.status_code for answer in told] == [status] * PER_FAULT
    assert {answer.json()["error"]["code"] for answer in told} == {code}
    note(
        "a wrong answer is an error",
        load="4 clients",
        fault=f"engine answers: {fault}",
        outcome=f"{status} {code}, others right",
        figure=median_ms(times()),
    )


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_stream_that_breaks_off_ends_with_an_error_event(s: Served, note: Note, fault: str) -> None:
    async with beside(s) as times:
        told = await asyncio.gather(*(s.chat(fault, stream=True) for _ in range(PER_FAULT)))
    for answer in told:
        assert answer.status_code == 200
        *_, last = answer.text.strip().split("\n\n")
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == BROKEN[fault]
    note(
        "a broken stream says so",
        load="4 clients",
        fault=f"engine's stream: {fault}",
        outcome=f"last event {BROKEN[fault]}, others right",
        figure=median_ms(times()),
    )


async def test_a_slow_engine_slows_only_who_waits_for_it(s: Served, note: Note) -> None:
    async with beside(s) as times:
        slow = await asyncio.gather(*(s.good("slow") for _ in range(PER_FAULT)))
    assert min(slow) > 0.02
    note(
        "slow answers hold nobody else up",
        load="4 clients",
        fault=f"{PER_FAULT} slow answers",
        outcome="all right",
        figure=f"{median_ms(times())}; slow ones {median_ms(slow)}",
    )
