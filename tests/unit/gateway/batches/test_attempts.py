"""A line that fails is asked again, within bounds; a refusal is its answer."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.batches.attempts import MOST_ATTEMPTS
from gateway.relay.fallback.provider import Provider
from tests.fakes.fake_engine import Answer
from tests.support.batches.batch_stack import (
    create,
    error_of,
    line,
    results,
    timed_stack,
    until,
)
from tests.support.stack import config_of, key_of
from tests.unit.gateway.endpoints.batches.test_batches import NAMING, counts_of

pytestmark = pytest.mark.anyio


async def no_pause(seconds: float) -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_failing_engine_is_asked_again(tmp_path: Path, status: int) -> None:
    async with timed_stack(tmp_path) as made:
        made.gateway.batches.attempts.sleep = no_pause
        answers = [Answer(status=status), Answer(status=status), Answer()]
        made.engine.answers[NAMING] = lambda asked: answers.pop(0)
        batch = await until(made, await create(made, [line(1)]), "completed")
        assert counts_of(batch) == {"total": 1, "completed": 1, "failed": 0}
        assert len(made.engine.completions) == 3


async def test_line_that_fails_each_time_is_an_error_in_the_end(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
        made.gateway.batches.attempts.sleep = no_pause
        made.engine.answers[NAMING] = Answer(status=500, body=b"/secret/path")
        batch = await until(made, await create(made, [line(1), line(2, "base")]), "completed")
        output, errors = await results(made, batch)
        assert set(output) == {"r2"}
        response = errors["r1"]["response"]
        assert isinstance(response, dict)
        assert response["status_code"] == 500
        assert "secret" not in json.dumps(errors)
        assert len(made.engine.completions) == MOST_ATTEMPTS + 1


async def test_lines_wait_for_room_in_their_keys_limit(tmp_path: Path) -> None:
    """However often it refuses them: a batch has a day."""
    asked = 0

    async def pause(seconds: float) -> None:
        nonlocal asked
        asked += 1
        if asked > 10 * MOST_ATTEMPTS:
            permit(60)
        await asyncio.sleep(0)

    def permit(requests: int) -> None:
        limits = {"requests_per_minute": requests}
        made.gateway.quotas.configure(config_of(tmp_path, keys={"team": key_of("own", limits=limits)}))

    async with timed_stack(tmp_path, keys={"team": key_of("own")}) as made:
        made.client.headers["authorization"] = "Bearer own"
        made.gateway.batches.attempts.sleep = pause
        permit(1)
        batch = await until(made, await create(made, [line(n) for n in range(4)]), "completed")
        assert counts_of(batch) == {"total": 4, "completed": 4, "failed": 0}


async def test_what_no_batch_lasts_until_is_the_lines_error(tmp_path: Path) -> None:
    limits = {"tokens_per_month": 1}
    async with timed_stack(tmp_path, keys={"team": key_of("own", limits=limits)}) as made:
        made.client.headers["authorization"] = "Bearer own"
        made.gateway.batches.attempts.sleep = no_pause
        made.gateway.quotas._now = lambda: 15 * 86400.0  # the middle of a month
        assert (await made.chat()).status_code == 200
        batch = await until(made, await create(made, [line(1)]), "completed")
        _, errors = await results(made, batch)
        assert error_of(errors["r1"])["code"] == "tokens_per_month"


async def test_lines_wait_until_limits_can_be_counted(tmp_path: Path) -> None:
    """As on a full disk: their errors could not be written there either."""
    in_the_way, pauses = tmp_path / "quotas.bin", 0
    in_the_way.mkdir()

    async def pause(seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 2 * MOST_ATTEMPTS:
            in_the_way.rmdir()

    async with timed_stack(tmp_path, keys={"team": key_of("own", limits={"max_in_flight": 5})}) as made:
        made.client.headers["authorization"] = "Bearer own"
        made.gateway.batches.attempts.sleep = pause
        batch = await until(made, await create(made, [line(1)]), "completed")
        assert counts_of(batch) == {"total": 1, "completed": 1, "failed": 0}


async def test_lines_stand_in_no_clients_way_where_a_limit_lets_wait(tmp_path: Path) -> None:
    limits = {"requests_per_minute": 60, "on_limit": "wait", "max_wait_s": 2}
    async with timed_stack(tmp_path, keys={"team": key_of("own", limits=limits)}) as made:
        made.client.headers["authorization"] = "Bearer own"
        refused = asyncio.Event()

        async def pause(seconds: float) -> None:
            refused.set()
            await asyncio.Event().wait()

        made.gateway.batches.attempts.sleep = pause
        await create(made, [line(n) for n in range(70)])
        await refused.wait()
        assert (await made.chat()).status_code == 200, "in a second, not behind the lines"


async def test_line_waits_for_the_engine_though_the_task_has_a_fallback(tmp_path: Path) -> None:
    fallback = {
        "model": "openai/x",
        "api_base": "http://127.0.0.1:1/v1",
        "api_key_env": "K",
        "when": ["overload"],
    }
    async with timed_stack(tmp_path, fallback=fallback, provider=Provider({"K": "sk-x"})) as made:
        made.gateway.batches.attempts.sleep = no_pause
        answers = [Answer(status=503), Answer()]
        made.engine.answers[NAMING] = lambda asked: answers.pop(0)
        batch = await until(made, await create(made, [line(1)]), "completed")
        assert counts_of(batch) == {"total": 1, "completed": 1, "failed": 0}
        assert not [key for key in made.samples() if key[0] == "fallback_total"]


async def test_engines_refusal_is_the_lines_error(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
        refusal = {"error": {"message": "too long", "type": "BadRequestError", "param": None, "code": 400}}
        made.engine.answers[NAMING] = Answer(status=400, body=json.dumps(refusal).encode())
        batch = await until(made, await create(made, [line(1)]), "completed")
        _, errors = await results(made, batch)
        assert error_of(errors["r1"]) == {
            "message": "too long",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_request",
        }
        assert len(made.engine.completions) == 1
