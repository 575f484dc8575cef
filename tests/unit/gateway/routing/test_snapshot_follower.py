"""The gateway follows its control plane: whole tables at once, whatever becomes of the other side."""

from __future__ import annotations

import asyncio
import statistics
from pathlib import Path

import msgspec
import pytest

from gateway.admission.death_guard import DeathGuard
from gateway.admission.limits import Admission
from gateway.admission.turns.engine_slots import EngineRoom
from gateway.config.snapshot import FILE, PROVING, SOCKET, Operation, encode_snapshot, proving_on
from gateway.http.engine_connection import Connection
from gateway.routing.availability import rooms_of, slots_of
from gateway.routing.cold_start import WaitingRoom
from gateway.routing.control_socket import Control
from gateway.routing.redis_control import RedisControl
from gateway.routing.replicas import Replicas
from gateway.routing.snapshot_follower import Follower
from gateway.upkeep import Upkeep
from tests.fakes.fake_control import FakeControl, engine_of, snapshot_with
from tests.fakes.fake_engine import Answer
from tests.fakes.fake_redis import FakeRedis
from tests.support.controlled import TWO_TASKS, controlled, says
from tests.support.stack import TASKS, config_of, eventually, stack
from tests.support.waiting import turns

pytestmark = pytest.mark.anyio


def generation(number: int) -> dict[str, dict[str, float]]:
    """Both tasks with adapters of the same generation, so that half a table would be seen."""
    return {task: {f"{task}@{number:012x}": 100.0} for task in TASKS}


def generation_of(adapter_id: str) -> int:
    return int(adapter_id.partition("@")[2], 16)


async def test_event_is_in_force_within_100_ms(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        took_s: list[float] = []
        loop = asyncio.get_running_loop()
        for number in range(20):
            began, news = loop.time(), c.replicas.news
            c.say([c.status()], generation(number))
            await news.wait()
            took_s.append(loop.time() - began)
            assert c.replicas.table.routes["naming"].adapter_id is None  # these are not loaded yet
        assert statistics.median(took_s) < 0.1


@pytest.mark.usefixtures("both_ways")
async def test_burst_of_requests_never_sees_half_a_table(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        newest = 0
        seen: set[int] = set()
        over = False

        async def one(number: int) -> None:
            nonlocal newest
            c.tasks = generation(number)
            newest = number
            await c.tell([c.status()])

        async def ask(fields: dict[str, object]) -> None:
            while not over:
                least = newest
                answer = await c.stack.chat(**fields)
                used = generation_of(says(answer))
                assert least - 1 <= used <= newest
                seen.add(used)

        async def look() -> None:
            while not over:
                listed = (await c.get("/v1/models")).json()["data"]
                roots = {generation_of(one["root"]) for one in listed if one["kind"] == "task"}
                assert len(roots) == 1

        await one(1)
        kinds: list[dict[str, object]] = [
            {"model": "naming"},
            {"model": "concept", "stream": True},
            {"model": "concept"},
            {"model": "naming", "stream": True},
        ]
        async with c.stack.apart() as apart, asyncio.TaskGroup() as asking:
            for fields in kinds * 2:
                asking.create_task(ask(fields))
            asking.create_task(look())
            for number in range(2, 30):
                await one(number)
                await asyncio.sleep(0)
                answer = await apart.chat(model="concept")  # a new one is never behind
                assert generation_of(says(answer)) == number
            over = True
        assert len(seen) > 10
        await c.stack.at_rest()


async def test_pipeline_ends_with_the_versions_that_it_began_with(tmp_path: Path) -> None:
    concepts = '{"concepts": [{"definition": "a"}, {"definition": "b"}]}'
    before, after = generation(1), generation(2)
    old, new = ([key for one in each.values() for key in one] for each in (before, after))
    async with controlled(tmp_path) as c:
        await c.tell([c.status("ready", *old)], before)
        hold = asyncio.Event()
        c.engine.answers[old[0]] = Answer([concepts], hold_token={0: hold})
        c.engine.answers[old[1]] = Answer(['"x"'])
        asking = asyncio.create_task(c.stack.chat(model="concept-naming"))
        await c.engine.until(lambda: c.engine.active == 1)
        await c.tell([c.status("ready", *old, *new)], after, retiring=old)
        # Nothing of the second stage is at the engine yet, but its adapter must not go.
        await c.control.until_reported(lambda report: report.version == c.version and report.busy == old)
        hold.set()
        answer = await asking
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-gateway-adapter"] == ",".join(old)
        assert [one.json["model"] for one in c.engine.completions] == [old[0], old[1], old[1]]
        await c.control.until_reported(lambda report: not report.busy and not report.in_flight)


async def test_pipeline_whose_tasks_are_removed_goes_on(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        hold = asyncio.Event()
        concepts = '{"concepts": [{"definition": "a"}]}'
        c.engine.answers[TASKS["concept"]] = Answer([concepts], hold_token={0: hold})
        c.engine.answers[TASKS["naming"]] = Answer(['"x"'])
        asking = asyncio.create_task(c.stack.chat(model="concept-naming"))
        await c.engine.until(lambda: c.engine.active == 1)
        await c.tell([c.status()], {}, retiring=sorted(TASKS.values()), pipelines={})
        await c.tell([c.status("ready", *TASKS.values())], {}, retiring=sorted(TASKS.values()))
        assert (await c.stack.chat()).status_code == 404
        hold.set()
        assert (await asking).status_code == 200
        await c.control.until_reported(lambda report: not report.busy)


async def test_gateway_serves_on_when_the_control_plane_dies(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        before = c.replicas.table
        await c.control.stop()
        await eventually(lambda: not c.replicas.control_alive)
        for _ in range(3):
            assert says(await c.stack.chat()) == TASKS["naming"]
        assert (await c.health())["control_plane"] is False
        assert set(c.replicas.table.routes) == set(before.routes)
        assert (await c.get("/ready")).status_code == 200


@pytest.mark.parametrize("version", [1, 7, 10_000])
async def test_control_plane_that_comes_back_is_followed_whatever_its_version(
    tmp_path: Path, version: int
) -> None:
    async with controlled(tmp_path) as c:
        await c.tell(version=5000)
        await c.control.stop()
        await eventually(lambda: not c.replicas.control_alive)
        (tmp_path / SOCKET).unlink(missing_ok=True)  # from Python 3.13 on it is gone with the server
        config = c.replicas.config
        tasks = generation(9)
        loaded = [name for one in tasks.values() for name in one]
        newer = snapshot_with(config, [engine_of(c.engine.url, "ready", *loaded)], tasks, version)
        async with FakeControl(tmp_path, newer) as again:
            await c.connected()
            assert c.replicas.snapshot.version == version
            assert generation_of(says(await c.stack.chat())) == 9
            await again.until_reported(lambda report: report.version == version)


async def test_stream_that_breaks_in_a_line_leaves_the_last_table(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        config = c.replicas.config
        c.tasks = generation(3)
        line = encode_snapshot(snapshot_with(config, [c.status()], c.tasks, 99)) + b"\n"
        for cut in (1, len(line) // 2, len(line) - 1):
            joined = c.control.joined
            c.control.tell(line[:cut])
            await turns()  # it is read
            c.control.break_off()
            assert says(await c.stack.chat()) == TASKS["naming"]
            await c.control.until(lambda: c.control.joined > joined)  # noqa: B023  at once
            await c.connected()
            assert c.replicas.snapshot.version == 1
        await c.tell([c.status()])
        assert generation_of(says(await c.stack.chat())) == 3


async def test_snapshot_in_many_pieces_and_many_in_one_piece(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        config = c.replicas.config

        def line(number: int) -> bytes:
            c.tasks = generation(number)
            return encode_snapshot(snapshot_with(config, [c.status()], c.tasks, number)) + b"\n"

        whole = line(10)
        for at in range(0, len(whole), 100):
            c.control.tell(whole[at : at + 100])
            await asyncio.sleep(0)
        await eventually(lambda: c.replicas.snapshot.version == 10)
        c.control.tell(b"\n\n" + line(11) + line(12) + line(13) + b"\n")
        await eventually(lambda: c.replicas.snapshot.version == 13)
        assert generation_of(says(await c.stack.chat())) == 13


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense\n",
        b'{"version": "x"}\n',
        b"[]\n",
        b'{"version": 3, "engines": [{"name": 1}]}\n',
        b"\xff\xfe\n",
        b"{" * 100_000 + b"\n",
    ],
)
async def test_line_that_is_no_snapshot_changes_nothing(tmp_path: Path, line: bytes) -> None:
    async with controlled(tmp_path) as c:
        joined = c.control.joined
        c.control.tell(line)
        await c.control.until(lambda: c.control.joined > joined)
        await c.connected()
        assert says(await c.stack.chat()) == TASKS["naming"]
        await c.tell([c.status("ready", "concept@aaaaaaaaaaaa")])
        assert (await c.stack.chat()).status_code == 503


async def test_engine_that_cannot_be_addressed_is_left_out(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        odd = [
            engine_of(url, "ready", *TASKS.values(), name=f"odd-{number}")
            for number, url in enumerate(("", "http://", "http://x:99999", "http://x:y", "nonsense"))
        ]
        await c.tell([*odd, c.status()])
        assert [one.name for one in c.replicas.ready] == ["engine-0"]
        assert says(await c.stack.chat()) == TASKS["naming"]


async def test_engine_that_cannot_be_addressed_has_no_seats_either(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        naming, concept = TASKS["naming"], TASKS["concept"]
        odd = engine_of("http://x:y", "ready", naming, concept, name="odd", slots=1)
        await c.tell([c.status(slots=1), odd])
        hold = asyncio.Event()
        c.engine.answers[naming] = Answer(["a", "b"], hold_token={1: hold})
        first = asyncio.create_task(c.stack.chat(model="naming"))
        await c.engine.until(lambda: c.engine.active == 1)
        second = asyncio.create_task(c.stack.chat(model="concept"))
        admission = c.stack.gateway.admission
        await eventually(lambda: admission.waiting == 1 or c.engine.active == 2)
        assert c.engine.active == 1, "the one slot that there is has been given out twice"
        hold.set()
        assert [one.status_code for one in await asyncio.gather(first, second)] == [200, 200]


async def test_control_plane_that_falls_silent_counts_as_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.routing.control_socket.SILENT_S", 0.05)
    async with controlled(tmp_path) as c:
        joined = c.control.joined
        await c.control.until(lambda: c.control.joined > joined)
        await c.connected()
        assert says(await c.stack.chat()) == TASKS["naming"]


async def test_heartbeat_of_the_control_plane_sets_off_its_time_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Connection.data_received
    heard: list[Connection] = []

    def data_received(self: Connection, data: bytes) -> None:
        if data == b"1\r\n\n\r\n":
            heard.append(self)
        whole(self, data)

    monkeypatch.setattr(Connection, "data_received", data_received)
    async with controlled(tmp_path) as c:
        c.control.tell(b"\n")
        await eventually(lambda: bool(heard))
        ends_at = heard[0]._deadline()

        def later() -> bool:
            c.control.tell(b"\n")
            return heard[0]._deadline() > ends_at

        await eventually(later)
        assert c.control.joined == 1


async def test_without_a_control_plane_the_file_is_followed(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        assert says(await s.chat()) == TASKS["naming"]
        config, file = s.gateway.replicas.config, tmp_path / FILE
        tasks = generation(4)
        loaded = [name for one in tasks.values() for name in one]
        newer = snapshot_with(config, [engine_of(s.engine.url, "ready", *loaded)], tasks, 4)
        file.write_bytes(encode_snapshot(newer))
        await eventually(lambda: s.gateway.replicas.snapshot.version == 4)
        assert generation_of(says(await s.chat())) == 4


async def test_file_of_a_control_plane_that_is_not_followed_is_looked_at_once(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    replicas, file = Replicas(config), tmp_path / FILE
    file.write_bytes(encode_snapshot(snapshot_with(config, [], generation(3), 3)))
    guard, admission = DeathGuard(tmp_path, 1, 1.0), Admission(config)
    control = RedisControl(FakeRedis().link())
    room, upkeep = WaitingRoom(replicas), Upkeep(print)
    follower = Follower(control, replicas, admission, room, guard, upkeep, by_file=False)
    await follower.start()
    assert replicas.snapshot.version == 3
    file.write_bytes(encode_snapshot(snapshot_with(config, [], generation(4), 4)))
    await turns(200)
    assert replicas.snapshot.version == 3
    await follower.stop()


async def test_file_that_is_gone_or_no_snapshot_leaves_the_last_table(tmp_path: Path) -> None:
    replicas = Replicas(config_of(tmp_path))
    room = WaitingRoom(replicas)
    guard, admission = DeathGuard(tmp_path, 1, 1.0), Admission(replicas.config)
    follower = Follower(Control(tmp_path), replicas, admission, room, guard, Upkeep(print))
    config, file = replicas.config, tmp_path / FILE
    contents = [b"{half", encode_snapshot(snapshot_with(config, [], TWO_TASKS, 4)), b"", b"[]", b"\xff"]
    contents.append(encode_snapshot(snapshot_with(config, [], TWO_TASKS, 3)))  # its disk was full later
    for content, version in zip(contents, (0, 4, 4, 4, 4, 4), strict=True):
        file.unlink(missing_ok=True)
        follower._look()
        file.write_bytes(content)
        follower._look()
        assert replicas.snapshot.version == version


async def test_report_tells_the_version_and_what_is_busy(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        await c.control.until_reported(lambda report: report.version == 1)
        assert c.control.reports[-1].last_request_s is None
        hold = asyncio.Event()
        c.engine.answers[TASKS["naming"]] = Answer(hold_head=hold)
        asking = asyncio.create_task(c.stack.chat())
        await c.engine.until(lambda: c.engine.active == 1)
        new = {**TWO_TASKS, "naming": {"naming@cccccccccccc": 100.0}}
        loaded = ["naming@cccccccccccc", *TASKS.values()]
        await c.tell([c.status("ready", *loaded)], new, retiring=[TASKS["naming"], "gone@000000000000"])
        await c.control.until_reported(lambda report: report.version == 2 and report.in_flight == 1)
        assert c.control.reports[-1].busy == [TASKS["naming"]]
        assert says(await c.stack.chat()) == "naming@cccccccccccc"
        hold.set()
        assert says(await asking) == TASKS["naming"]
        await c.control.until_reported(lambda report: not report.busy and not report.in_flight)
        last_s = c.control.reports[-1].last_request_s
        assert last_s is not None
        assert 0 <= last_s < 5


async def test_request_that_waits_for_a_place_keeps_its_adapter_busy(tmp_path: Path) -> None:
    async with controlled(tmp_path, max_in_flight=1) as c:
        hold = asyncio.Event()
        c.engine.answers["base"] = Answer(hold_head=hold)
        first = asyncio.create_task(c.stack.chat(model="base"))
        await c.engine.until(lambda: c.engine.active == 1)
        second = asyncio.create_task(c.stack.chat())
        await eventually(lambda: c.stack.gateway.admission.waiting == 1)
        new = {**TWO_TASKS, "naming": {"naming@cccccccccccc": 100.0}}
        loaded = ["naming@cccccccccccc", *TASKS.values()]
        await c.tell([c.status("ready", *loaded)], new, retiring=[TASKS["naming"]])
        await c.control.until_reported(lambda report: report.busy == [TASKS["naming"]])
        hold.set()
        assert (await first).status_code == 200
        assert says(await second) == TASKS["naming"]
        await c.control.until_reported(lambda report: not report.busy)


async def test_report_is_repeated_to_a_control_plane_that_has_forgotten(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        await c.control.until_reported(lambda report: report.version == 1)
        c.control.reports.clear()
        began = asyncio.get_running_loop().time()
        c.control.break_off()
        await c.control.until(lambda: c.control.joined == 2)
        await c.control.until_reported(lambda report: report.version == 1, 1.5)  # not after two seconds
        assert asyncio.get_running_loop().time() - began < 1.5


async def test_news_during_a_report_is_told_next(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        await c.control.until_reported(lambda report: report.version == 1)
        c.control.hold = asyncio.Event()
        await c.tell()
        await c.control.until_reported(lambda report: report.version == 2)
        await c.tell()  # while the second report has no answer yet
        c.control.hold.set()
        c.control.hold = None
        await c.control.until_reported(lambda report: report.version == 3, 1.5)


async def test_control_plane_that_refuses_reports_harms_nothing(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        c.control.statuses["/gateways"] = 500
        for _ in range(3):
            await c.tell()
        assert says(await c.stack.chat()) == TASKS["naming"]
        del c.control.statuses["/gateways"]
        await c.tell()
        await c.control.until_reported(lambda report: report.version == c.version)


async def test_of_several_engines_each_has_its_own_room(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        naming, concept = TASKS["naming"], TASKS["concept"]
        engines = [
            c.status(slots=2),
            engine_of("http://127.0.0.1:9", "ready", naming, name="engine-1", slots=4),
            engine_of("http://127.0.0.1:9", "ready", naming, "old@1", name="engine-2"),
        ]
        operation = Operation("later", "/later", proving_on("engine-0"), 0.0)
        await c.tell(engines, operations=[operation])
        assert rooms_of(c.replicas.snapshot) == {
            "engine-0": EngineRoom(1, frozenset({naming, concept})),
            "engine-1": EngineRoom(4, frozenset({naming})),
            "engine-2": EngineRoom(1, frozenset({naming})),
        }
        await c.tell(engines[:1])
        assert rooms_of(c.replicas.snapshot) is None


async def test_adapter_that_is_proven_has_a_slot_of_its_own(tmp_path: Path) -> None:
    """vLLM would hold its canary back for as long as requests keep every slot."""
    async with controlled(tmp_path) as c:
        operation = Operation("later", "/later", "checking", 0.0)
        loading = msgspec.structs.replace(operation, stage=f"{PROVING} on engine-0")
        for operations, free in (([operation], 2), ([loading], 1), ([], 2)):
            await c.tell([c.status(slots=2)], operations=operations)
            assert slots_of(c.replicas.snapshot) == (free, len(TASKS))
        await c.tell([c.status(slots=1)], operations=[loading])
        assert slots_of(c.replicas.snapshot)[0] == 1
