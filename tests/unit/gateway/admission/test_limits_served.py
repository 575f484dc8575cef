"""Limits as clients meet them: headers, refusals, waiting in turn, and nothing held after any end."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.admission.quotas.account_book import AccountBook
from gateway.http.drain import shutting_down
from gateway.relay.fallback.provider import Provider
from tests.fakes.fake_engine import Answer
from tests.support.stack import TASKS, Stack, eventually, stack

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("both_ways")]
KEY = "sk-limited"
USED = 7 + 2
"""What the fake engine counts for `cat`: its prompt and its two tokens."""


def keys(**limits: object) -> dict[str, object]:
    return {"ci": {"sha256": hashlib.sha256(KEY.encode()).hexdigest(), "limits": limits}, "free": other()}


def other() -> dict[str, object]:
    return {"sha256": hashlib.sha256(b"sk-free").hexdigest()}


async def chat(s: Stack, key: str = KEY, **fields: object) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    body = {"model": "naming", "messages": [{"role": "user", "content": "cat"}], **fields}
    return await s.client.post("/v1/chat/completions", headers=headers, json=body)


def in_flight(s: Stack, account: str = "key:ci") -> int:
    book = s.gateway.quotas._opened()
    with book.locked():
        return book.in_flight(account)


def used_today(s: Stack, account: str = "key:ci") -> float:
    book = s.gateway.quotas._opened()
    with book.locked():
        return book.read(account)[5]


async def test_headers_and_the_refusal(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=keys(requests_per_minute=2, tokens_per_minute=10_000)) as s:
        first = await chat(s)
        assert first.status_code == 200
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert first.headers["x-ratelimit-limit-tokens"] == "10000"
        assert (await chat(s, stream=True)).headers["x-ratelimit-remaining-requests"] == "0"
        refused = await chat(s)
        error = refused.json()["error"]
        assert (refused.status_code, error["type"], error["code"]) == (
            429,
            "rate_limit_error",
            "requests_per_minute",
        )
        assert 25 <= int(refused.headers["retry-after"]) <= 30
        assert refused.headers["x-ratelimit-limit-requests"] == "2"
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert refused.headers["x-ratelimit-limit-tokens"] == "10000"
        assert len(s.engine.completions) == 2
        assert "x-ratelimit-limit-requests" not in (await chat(s, "sk-free")).headers
        assert (
            await s.client.get("/v1/models", headers={"authorization": f"Bearer {KEY}"})
        ).status_code == 200


async def test_of_requests_that_are_broken_off_together_none_hears_of_anothers_limits(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=keys(requests_per_minute=60)) as s:
        await chat(s, "sk-free")  # leaves a kept connection
        s.engine.answers[TASKS["naming"]] = Answer(hold_head=asyncio.Event())
        asked = []
        for number, key in enumerate((KEY, "sk-free"), 1):
            asked.append(asyncio.create_task(chat(s, key)))
            await s.engine.until(lambda number=number: s.engine.active == number)  # type: ignore[misc]
        s.gateway.replicas.break_off(shutting_down)
        limited, free = [await one for one in asked]
        assert (limited.status_code, free.status_code) == (503, 503)
        assert limited.headers["x-ratelimit-limit-requests"] == "60"
        assert "x-ratelimit-limit-requests" not in free.headers


async def test_what_another_bound_or_the_engine_refuses_has_them_too(tmp_path: Path) -> None:
    """What was refused has taken no request of the minute, and says so."""
    bounds: dict[str, Any] = {"max_in_flight_per_task": 1, "max_waiting_per_task": 0}
    async with stack(tmp_path, keys=keys(requests_per_minute=60), **bounds) as s:
        hold = asyncio.Event()
        s.engine.answers[TASKS["naming"]] = Answer(hold_head=hold)
        _, writer = await s.open("authorization: Bearer sk-free\r\n")
        await eventually(lambda: s.gateway.admission.in_flight == 1)
        full = await chat(s)
        assert (full.status_code, full.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert full.headers["x-ratelimit-remaining-requests"] == "60"
        writer.transport.abort()
        await s.at_rest()
        s.engine.answers[TASKS["naming"]] = Answer(status=500, body=b"<html>")
        failed = await chat(s)
        assert failed.status_code == 500
        assert failed.headers["x-ratelimit-remaining-requests"] == "59"
        assert "x-ratelimit-limit-requests" not in (await chat(s, "sk-free")).headers


async def test_without_limits_there_is_no_file(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=keys()) as s:
        assert (await chat(s)).status_code == 200
        assert not (tmp_path / "quotas.bin").exists()


async def test_what_was_used_is_what_the_engine_counted(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=keys(tokens_per_day=100_000)) as s:
        answer = await chat(s, max_tokens=5000)
        assert used_today(s) == answer.json()["usage"]["total_tokens"]
        await chat(s, max_tokens=5000, stream=True)
        await eventually(lambda: used_today(s) == 2 * answer.json()["usage"]["total_tokens"])
        assert (await chat(s, model="nope")).status_code == 404
        s.engine.answers[TASKS["naming"]] = Answer(status=400, body=b'{"error": {"message": "no"}}')
        assert (await chat(s)).status_code == 400
        assert used_today(s) == 2 * answer.json()["usage"]["total_tokens"]
        assert in_flight(s) == 0


async def test_counting_tokens_takes_a_request_and_no_tokens(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=keys(tokens_per_day=100_000, requests_per_minute=5)) as s:
        headers = {"authorization": f"Bearer {KEY}"}
        answer = await s.client.post(
            "/tokenize", headers=headers, json={"model": "naming", "prompt": "x" * 999}
        )
        assert answer.headers["x-ratelimit-remaining-requests"] == "4"
        assert used_today(s) == 0


async def test_a_pipelines_tokens_are_all_its_stages(tmp_path: Path) -> None:
    found = json.dumps({"concepts": [{"definition": "a"}, {"definition": "b"}]})
    async with stack(tmp_path, keys=keys(tokens_per_day=100_000, requests_per_minute=5)) as s:
        s.engine.answers[TASKS["concept"]] = Answer(tokens=[found])
        s.engine.answers[TASKS["naming"]] = Answer(tokens=['"Par', 'is"'])
        answer = await chat(s, model="concept-naming")
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-ratelimit-remaining-requests"] == "4", "one request, however many stages"
        assert used_today(s) == answer.json()["usage"]["total_tokens"] > USED
        await chat(s, model="concept-naming", stream=True)
        await eventually(lambda: used_today(s) == 2 * answer.json()["usage"]["total_tokens"])


async def test_a_client_that_leaves_gives_its_place_back(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=keys(max_in_flight=1, tokens_per_day=100_000)) as s:
        s.engine.answers[TASKS["naming"]] = Answer(hold_token={1: asyncio.Event()})
        head = f"authorization: Bearer {KEY}\r\n"
        _, writer = await s.open(head, stream=True, max_tokens=50_000)
        await eventually(lambda: in_flight(s) == 1)
        refused = await chat(s)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "max_in_flight")
        assert (await chat(s, "sk-free", model="concept")).status_code == 200
        writer.transport.abort()
        await eventually(lambda: in_flight(s) == 0)
        assert 0 < used_today(s) < 100
        s.engine.answers.clear()
        assert (await chat(s)).status_code == 200


async def test_waiting_is_in_turn(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"max_in_flight": 1, "on_limit": "wait", "max_wait_s": 20}
    async with stack(tmp_path, keys=keys(**limits)) as s:
        hold = asyncio.Event()
        s.engine.answers[TASKS["naming"]] = Answer(hold_head=hold)
        waiting = []
        for number in range(4):
            waiting.append(asyncio.create_task(chat(s, user=str(number), seed=number)))
            await asyncio.sleep(0)
            if number:
                await eventually(functools.partial(_waits, s, number - 1))
            else:
                await eventually(lambda: in_flight(s) == 1)
        assert len(s.engine.completions) == 1
        hold.set()
        answers = await asyncio.gather(*waiting)
        assert [one.status_code for one in answers] == [200] * 4
        assert [json.loads(one.body)["seed"] for one in s.engine.completions] == [0, 1, 2, 3]
        assert in_flight(s) == 0


def _waits(s: Stack, count: int) -> bool:
    """Whether one waits in front, and so many behind it."""
    line = s.gateway.quotas._lines.get("key:ci")
    return line is not None and line.lock.locked() and line.requests == count + 1


async def test_a_wait_ends(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"max_in_flight": 1, "on_limit": "wait", "max_wait_s": 0.05}
    async with stack(tmp_path, keys=keys(**limits)) as s:
        s.engine.answers[TASKS["naming"]] = Answer(hold_head=asyncio.Event())
        _, writer = await s.open(f"authorization: Bearer {KEY}\r\n")
        await eventually(lambda: in_flight(s) == 1)
        assert (await chat(s)).status_code == 429
        writer.transport.abort()
        await eventually(lambda: in_flight(s) == 0)


async def test_a_fallback_is_no_way_around_a_limit(tmp_path: Path) -> None:
    fallback = {"model": "openai/none", "when": "overload"}
    async with stack(tmp_path, keys=keys(requests_per_minute=1), fallback=fallback) as s:
        assert (await chat(s)).status_code == 200
        assert (await chat(s)).json()["error"]["code"] == "requests_per_minute"


@pytest.mark.parametrize(
    "fallback", [None, {"model": "openai/none", "when": "failed", "api_key_env": "NONE"}]
)
async def test_what_no_model_was_asked_takes_no_tokens(tmp_path: Path, fallback: object) -> None:
    limits = keys(tokens_per_day=100_000)
    async with stack(tmp_path, keys=limits, fallback=fallback, provider=Provider({})) as s:
        await s.engine.stop()
        answer = await chat(s)
        assert answer.json()["error"]["code"] == "engine_unreachable"
        assert ("NONE is not set" in answer.text) is (fallback is not None)
        assert used_today(s) == 0


async def test_tasks_and_the_whole_gateway(tmp_path: Path) -> None:
    async with stack(tmp_path, limits={"requests_per_minute": 2}) as s:
        assert [(await chat(s)).status_code for _ in range(3)] == [200, 200, 429]
        assert "whole gateway" in (await chat(s)).json()["error"]["message"]


async def test_what_cannot_be_counted_is_refused(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=keys(requests_per_minute=1)) as s:
        (tmp_path / "quotas.bin").mkdir()
        answer = await chat(s)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "limits_not_counted")
        assert str(tmp_path) not in answer.text
        (tmp_path / "quotas.bin").rmdir()
        assert (await chat(s)).status_code == 200
        another = AccountBook(tmp_path)
        with another.locked():
            assert another.read("key:ci")[1] > 0
        another.close()
