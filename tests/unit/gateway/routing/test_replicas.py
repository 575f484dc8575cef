"""Several engines behind one gateway: who is asked, who is left alone, and what is sent again."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.config.snapshot import EngineStatus
from gateway.http.engine_connection import Address, Timeouts
from gateway.http.engine_pool import Upstream
from gateway.routing import replicas
from gateway.routing.replica import EJECTED_S, LONGEST_EJECTED_S, EngineModel, Replica
from gateway.routing.replicas import Replicas
from tests.fakes.fake_control import engine_of
from tests.fakes.fake_engine import Answer
from tests.support.controlled import controlled, held, says, two
from tests.support.stack import TASKS, config_of, eventually

pytestmark = pytest.mark.anyio
LOADED = tuple(TASKS.values())


@pytest.mark.usefixtures("both_ways")
async def test_burst_is_spread_though_no_connection_is_there_yet(tmp_path: Path) -> None:
    async with two(tmp_path) as t:
        hold, answer = held()
        t.c.engine.answers["base"] = t.other.answers["base"] = answer
        asking = [asyncio.create_task(t.c.stack.chat(model="base")) for _ in range(20)]
        await t.active(20)
        assert t.counts == (10, 10)
        hold.set()
        answers = [await each for each in asking]
        assert Counter(each.headers["x-gateway-replica"] for each in answers) == {
            "engine-0": 10,
            "engine-1": 10,
        }


@pytest.mark.usefixtures("both_ways")
async def test_least_in_flight_is_asked(tmp_path: Path) -> None:
    async with two(tmp_path) as t:
        hold, answer = held()
        t.c.engine.answers["base"] = answer
        await t.c.tell(t.engines()[:1])
        asking = [asyncio.create_task(t.c.stack.chat(model="base")) for _ in range(5)]
        await t.active(5)
        await t.c.tell(t.engines())
        t.other.answers["base"] = answer
        asking += [asyncio.create_task(t.c.stack.chat(model="base")) for _ in range(5)]
        await t.active(10)
        assert t.counts == (5, 5)
        hold.set()
        await asyncio.gather(*asking)


@pytest.mark.usefixtures("both_ways")
async def test_only_engines_with_the_adapter_are_asked(tmp_path: Path) -> None:
    async with two(tmp_path) as t:
        first, second = t.engines()
        engines = [
            engine_of(first.url, "ready", TASKS["concept"]),
            engine_of(second.url, "ready", TASKS["naming"], name="engine-1"),
        ]
        await t.c.tell(engines)
        for _ in range(6):
            for model in TASKS:
                says(await t.c.stack.chat(model=model))
        assert {one.json["model"] for one in t.c.engine.completions} == {TASKS["concept"]}
        assert {one.json["model"] for one in t.other.completions} == {TASKS["naming"]}
        assert t.counts == (6, 6)


@pytest.mark.usefixtures("both_ways")
async def test_engine_that_takes_no_connection_is_passed_over_and_rests(tmp_path: Path) -> None:
    async with two(tmp_path) as t:
        await t.other.stop()
        sick = t.c.replica("engine-1")
        for _ in range(100):  # by chance it is asked soon
            answer = await t.c.stack.chat()
            assert (answer.status_code, answer.headers["x-gateway-replica"]) == (200, "engine-0")
            if sick.failures:
                break
        assert sick.failures == 1
        assert 0 < sick.ejected_until - time.monotonic() <= EJECTED_S


async def test_burst_on_a_dead_engine_is_one_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.routing.replica.EJECTED_S", 25.0)
    async with two(tmp_path) as t:
        await t.other.stop()
        answers = await asyncio.gather(*(t.c.stack.chat() for _ in range(30)))
        assert {answer.status_code for answer in answers} == {200}
        assert t.c.replica("engine-1").failures == 1


async def test_rests_grow_and_an_answer_ends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr("gateway.routing.replica.time.monotonic", lambda: clock)
    upstream = Upstream(Address("127.0.0.1", 1), Timeouts(1, 1, 1, 1))
    replica = Replica("one", upstream, EngineStatus("one"))
    rests = []
    for _ in range(8):
        replica.failed()
        replica.failed()  # of the same burst
        rests.append(replica.ejected_until - clock)
        clock = replica.ejected_until
    assert rests == [1, 2, 4, 8, 16, 30, 30, 30]
    assert rests[-1] == LONGEST_EJECTED_S
    replica.answered()
    replica.failed()
    assert replica.ejected_until - clock == EJECTED_S


@pytest.mark.usefixtures("both_ways")
async def test_engine_that_is_well_again_is_asked_again(tmp_path: Path) -> None:
    async with two(tmp_path) as t:
        sick = t.c.replica("engine-1")
        sick.failed()
        for _ in range(4):
            await t.c.stack.chat()
        assert t.counts == (4, 0)
        sick.ejected_until = 0.0
        for _ in range(100):
            await t.c.stack.chat()
        assert min(t.counts) > 20
        assert sick.failures == 0


async def test_all_resting_are_all_tried(tmp_path: Path) -> None:
    """Both rest; the one that is tried first is dead, and the other must still be asked."""
    for dead in ("engine-0", "engine-1"):
        folder = tmp_path / dead
        folder.mkdir()
        async with two(folder) as t:
            await (t.c.engine if dead == "engine-0" else t.other).stop()
            for _ in range(6):
                for name in ("engine-0", "engine-1"):
                    t.c.replica(name).failed()
                assert (await t.c.stack.chat()).status_code == 200


async def test_no_engine_that_takes_a_connection_is_an_error(tmp_path: Path) -> None:
    async with two(tmp_path) as t:
        await t.c.engine.stop()
        await t.other.stop()
        answer = await t.c.stack.chat()
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_unreachable")
        assert [t.c.replica(f"engine-{number}").failures for number in (0, 1)] == [1, 1]


@asynccontextmanager
async def full_backlog() -> AsyncIterator[str]:
    """A port whose queue is full, so that a connection to it is neither taken nor refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        filling = [socket.socket() for _ in range(3)]
        for each in filling:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            for each in filling:
                each.close()


async def test_connection_that_is_not_made_in_time_goes_to_the_other(tmp_path: Path) -> None:
    async with two(tmp_path, connect_timeout_s=0.2) as t, full_backlog() as url:
        first = t.engines()[0]
        await t.c.tell([first, engine_of(url, "ready", *LOADED, name="engine-1", pid=2)])
        answers = await asyncio.gather(*(t.c.stack.chat() for _ in range(8)))
        assert {answer.status_code for answer in answers} == {200}
        assert t.c.replica("engine-1").failures == 1
        await t.c.tell([engine_of(url, "ready", *LOADED, name="engine-1", pid=2)])
        alone = await t.c.stack.chat()
        assert (alone.status_code, alone.json()["error"]["code"]) == (504, "timeout")


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", b"nonsense\r\n\r\n"])
@pytest.mark.usefixtures("both_ways")
async def test_request_that_may_have_run_is_not_sent_to_another(
    tmp_path: Path, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A connection that ends had time to run something.
    monkeypatch.setattr("gateway.http.engine_connection.RACE_S", 0.0)
    async with two(tmp_path) as t:
        t.c.engine.answers["base"] = t.other.answers["base"] = Answer(raw=raw)
        answer = await t.c.stack.chat(model="base")
        assert answer.status_code == 502
        assert sum(t.counts) == 1


@pytest.mark.parametrize("raw", [b"", b"nonsense\r\n\r\n"])
@pytest.mark.usefixtures("both_ways")
async def test_engine_that_breaks_off_before_its_answer_rests(
    tmp_path: Path, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.http.engine_connection.RACE_S", 0.0)
    async with two(tmp_path) as t:
        t.other.answers["base"] = Answer(raw=raw)
        statuses: list[int] = []
        while 502 not in statuses:
            statuses.append((await t.c.stack.chat(model="base")).status_code)
        statuses += [(await t.c.stack.chat(model="base")).status_code for _ in range(8)]
        assert statuses.count(502) == 1
        assert t.c.replica("engine-1").failures == 1
        assert t.c.replica("engine-0").failures == 0


@pytest.mark.usefixtures("both_ways")
async def test_engine_that_does_not_answer_in_time_rests(tmp_path: Path) -> None:
    async with two(tmp_path, first_byte_timeout_s=0.2) as t:
        _, t.other.answers["base"] = held()
        statuses: list[int] = []
        while 504 not in statuses:
            statuses.append((await t.c.stack.chat(model="base")).status_code)
        statuses += [(await t.c.stack.chat(model="base")).status_code for _ in range(6)]
        assert statuses.count(504) == 1


@pytest.mark.usefixtures("both_ways")
async def test_answer_that_the_engine_refuses_is_no_failure_of_it(tmp_path: Path) -> None:
    async with two(tmp_path) as t:
        for status in (400, 404, 500, 503):
            t.c.engine.answers["base"] = t.other.answers["base"] = Answer(status=status)
            for _ in range(4):
                await t.c.stack.chat(model="base")
        assert [t.c.replica(f"engine-{number}").failures for number in (0, 1)] == [0, 0]


@pytest.mark.usefixtures("both_ways")
async def test_an_engine_that_ends_is_passed_over_and_rests(tmp_path: Path) -> None:
    """vLLM with --shutdown-timeout ends what it has begun, and answers so meanwhile."""
    ending = b'{"error":{"message":"cannot schedule new futures after shutdown","code":500}}'
    async with two(tmp_path) as t:
        t.c.engine.answers["base"] = Answer(status=500, body=ending)
        for _ in range(12):
            answer = await t.c.stack.chat(model="base")
            assert (answer.status_code, answer.headers["x-gateway-replica"]) == (200, "engine-1")
        assert len(t.c.engine.completions) < 4
        assert t.c.replica().failures > 0
        t.other.answers["base"] = Answer(status=500, body=ending)
        answer = await t.c.stack.chat(model="base")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_not_running")
        await t.c.stack.at_rest()


@pytest.mark.parametrize("managed", [True, False])
async def test_engine_of_ours_is_gone_with_its_control_plane(tmp_path: Path, managed: bool) -> None:
    async with controlled(tmp_path) as c:
        await c.state("ready", managed=managed)
        await c.control.stop()
        await eventually(lambda: not c.replicas.control_alive)
        await c.engine.stop()
        answer = await c.stack.chat()
        assert answer.status_code in (502, 503)
        health = await c.health()
        assert health["engine"] == ("stopped" if managed else "ready")
        if managed:
            assert "the control plane is gone" in health["engines"][0]["reason"]


async def test_ready_is_told_by_any_engine_that_completes(tmp_path: Path) -> None:
    async with two(tmp_path) as t:
        for sick, well in ((t.c.engine, t.other), (t.other, t.c.engine)):
            t.c.stack.gateway.readiness._proven_until = 0.0
            _, sick.answers["base"] = held()  # it hangs
            well.answers.pop("base", None)
            assert (await t.c.get("/ready")).status_code == 200
        await t.c.engine.stop()
        await t.other.stop()
        t.c.stack.gateway.readiness._proven_until = 0.0
        answer = await t.c.get("/ready")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_unready")


async def test_models_are_described_by_whichever_engine_has_them(tmp_path: Path) -> None:
    async with two(tmp_path) as t:
        first, second = t.engines()
        await t.c.tell(
            [
                engine_of(first.url, "ready", name="engine-0", pid=8),
                engine_of(second.url, "ready", *LOADED, name="engine-1", pid=9),
            ]
        )

        async def described() -> bool:
            answer = await t.c.get("/v1/models")
            return all(one["created"] for one in answer.json()["data"] if one["kind"] != "pipeline")

        await eventually(described)  # the engines are asked beside the requests


async def test_an_engine_that_was_too_busy_to_list_its_models_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "DESCRIBE_S", 0.0)
    made, asked = Replicas(config_of(tmp_path)), list[int]()

    class Busy(Replica):
        async def describe(self) -> None:
            asked.append(len(asked))
            if len(asked) < 3:
                await asyncio.Event().wait()
            self.models = {"base": EngineModel("base", max_model_len=512)}

    timeouts = Timeouts(1.0, 1.0, 1.0, 1.0)
    busy = Busy("engine-0", Upstream(Address(uds="/none"), timeouts), EngineStatus("engine-0", state="ready"))
    made.ready = (busy,)
    await made._ask_models(busy)
    assert (asked, made.context_tokens()) == ([0, 1, 2], 512)
    asked.clear()
    made.ready = ()
    await made._ask_models(busy)
    assert asked == [0], "it takes no requests any more"
