"""One engine as the gateway sees it: rests that grow, and what it says of its models."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, cast

import pytest

from gateway.config.snapshot import EngineStatus
from gateway.errors import NOT_JSON, EngineError
from gateway.http.engine_connection import Address, Timeouts
from gateway.http.engine_pool import Upstream
from gateway.routing import replica
from gateway.routing.replica import EJECTED_S, LONGEST_EJECTED_S, EngineModel, Replica, address_of, fetch
from tests.fakes.fake_engine import Answer, FakeEngine
from tests.fakes.scripted_engine import PATIENT, engine, repeats
from tests.support.stack import eventually

pytestmark = pytest.mark.anyio


class Clock:
    now = 100.0

    @classmethod
    def monotonic(cls) -> float:
        return cls.now


def test_rests_double_to_a_bound_and_an_answer_ends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "time", Clock)
    made = Replica("engine-0", cast(Any, None), EngineStatus("engine-0"))
    rests = []
    for _ in range(8):
        Clock.now = max(Clock.now, made.ejected_until)
        made.failed()
        made.failed()  # another request that it let down at the same time
        rests.append(made.ejected_until - Clock.now)
    assert rests[:3] == [EJECTED_S, 2 * EJECTED_S, 4 * EJECTED_S]
    assert rests[-1] == LONGEST_EJECTED_S
    made.failures = 5000  # for two days
    Clock.now = made.ejected_until
    made.failed()
    assert made.ejected_until - Clock.now == LONGEST_EJECTED_S
    made.answered()
    assert (made.failures, made.ejected_until) == (0, 0.0)


def test_another_process_at_the_same_place_is_not_the_same() -> None:
    status = EngineStatus("engine-0", "http://x", started_at=1.0, pid=5)
    made = Replica("engine-0", cast(Any, None), status)
    assert made.same(EngineStatus("renamed", "http://x", started_at=1.0, pid=5))
    for changed in ({"pid": 6}, {"started_at": 2.0}, {"url": "http://y"}):
        fields: dict[str, Any] = {"url": "http://x", "started_at": 1.0, "pid": 5, **changed}
        assert not made.same(EngineStatus("engine-0", **fields))


def test_addresses() -> None:
    assert address_of("http://h:81") == Address(host="h", port=81)
    assert address_of("http://h") == Address(host="h", port=80)
    assert address_of("unix:/a/b") == Address(uds="/a/b")
    for wrong in ("", "http://", "nonsense", "http://h:99999"):
        with pytest.raises(ValueError):  # noqa: PT011  urllib's own words for a port
            address_of(wrong)


async def test_an_answer_without_an_end_is_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "MOST_FETCHED_BYTES", 1000)
    endless = repeats(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"2\r\nok\r\n")
    async with engine(endless, replace(PATIENT, total_s=5.0)) as (made, upstream):
        with pytest.raises(EngineError, match="larger than 1000 bytes"):
            await fetch(upstream, b"/metrics")
        await eventually(lambda: made.gone == 1)


@pytest.mark.parametrize("said", ["[]", "{}", '{"data": 1}', '{"data": [{}]}', "{"])
def test_what_lists_no_models_is_refused(said: str) -> None:
    with pytest.raises(NOT_JSON):
        replica._models(200, said.encode())


def test_an_engine_may_say_less_of_a_model_and_more() -> None:
    said = {"data": [{"id": "a"}, {"id": "b", "created": None, "max_model_len": 8, "permission": [{}]}]}
    assert [*replica._models(200, json.dumps(said).encode()).values()] == [
        EngineModel("a"),
        EngineModel("b", max_model_len=8),
    ]


async def test_engine_is_asked_for_its_models_and_a_completion() -> None:
    engine = FakeEngine()
    url = await engine.start()
    upstream = Upstream(address_of(url), Timeouts(5, 5, 5, 5))
    made = Replica("engine-0", upstream, EngineStatus("engine-0", url))
    await made.describe()
    assert made.models["naming@bbbbbbbbbbbb"].max_model_len == 512
    assert await made.completes("base")
    assert engine.completions[-1].json["max_tokens"] == 1
    engine.answers["base"] = Answer(status=500)
    assert not await made.completes("base")
    status, body = await fetch(upstream, b"/v1/models")
    assert (status, body[:1]) == (200, b"{")
    await engine.stop()
    assert not await made.completes("base")
    assert upstream.open_connections == 0
    upstream.close()
