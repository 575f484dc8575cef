"""Nothing of a request is read twice: what the direct way finds, the task that goes on with it has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.http.request_cycle import Cycle
from gateway.routing.table import Table
from tests.support.cost.call_trace import CHAT, CallTrace, ask, batch_of, traced_stack
from tests.support.stack import Stack
from tests.support.waiting import eventually

Work = Callable[[Stack], Awaitable[None]]


def run(folder: Path, work: Work) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), traced_stack(folder) as made:
            await work(made)

    asyncio.run(main())


def reads_of(traced: CallTrace) -> dict[str, int]:
    names = ("decode_body", "Keys._known", "Head.__init__")
    return {name: sum(count for (_, one), count in traced.calls.items() if one == name) for name in names}


def cancellations(made: Stack, task: str) -> float:
    """A stage that had begun by then counts for its own task."""
    counted = made.samples().items()
    return sum(value for key, value in counted if key[0] == "cancellations_total" and f"task={task}" in key)


ONCE = {"decode_body": 1, "Keys._known": 1, "Head.__init__": 1}


@pytest.mark.parametrize("model", ["naming", "base", "concept-naming"])
def test_body_is_decoded_key_hashed_and_head_parsed_once(tmp_path: Path, model: str) -> None:
    async def work(made: Stack) -> None:
        await ask(made, CHAT | {"model": model})
        made.client.headers["x-other"] = "than before"
        with CallTrace() as traced:
            await ask(made, CHAT | {"model": model})
        assert reads_of(traced) == ONCE
        with CallTrace() as again:  # with the same head
            await ask(made, CHAT | {"model": model})
        assert reads_of(again) == {"decode_body": 1, "Keys._known": 0, "Head.__init__": 0}

    run(tmp_path, work)


def test_request_without_a_kept_connection_is_decoded_once(tmp_path: Path) -> None:
    async def work(made: Stack) -> None:
        with CallTrace() as traced:
            await ask(made, CHAT)
        assert traced.of("DirectRelay.start"), "the direct way was not tried"
        assert reads_of(traced) == ONCE
        messages = made.engine.completions[-1].json["messages"]
        assert isinstance(messages, list)
        assert [message["role"] for message in messages] == ["system", "user"]

    run(tmp_path, work)


def test_body_that_comes_behind_its_head_costs_no_second_look_at_it(tmp_path: Path) -> None:
    """As several clients send them."""

    async def work(made: Stack) -> None:
        body = json.dumps(CHAT).encode()
        key = made.client.headers["authorization"]
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: {key}\r\n"
        with CallTrace() as traced:
            reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode())
            await eventually(lambda: traced.of("EngineEndpoint.refuse") == 1)
            writer.write(body)
            assert (await reader.readline()).split()[1] == b"200"
            writer.close()
        assert reads_of(traced) == ONCE
        assert sum(count for (_, name), count in traced.calls.items() if name == "check_type") == 1

    run(tmp_path, work)


def test_line_of_a_batch_and_its_body_are_decoded_once_each(tmp_path: Path) -> None:
    async def work(made: Stack) -> None:
        one = await batch_of(made, 1)
        several = (await batch_of(made, 4)).less(one)
        assert several.of("decode_body") == 3  # of its body; others validate
        assert several.of("Keys._known") == 0

    run(tmp_path, work)


def test_a_pipeline_and_a_batch_take_no_more_calls_than_half_of_what_they_once_took(tmp_path: Path) -> None:
    """Of several the one with the fewest: what the gateway does by itself falls among them."""

    async def work(made: Stack) -> None:
        pipelines: list[int] = []
        for _ in range(24):
            with CallTrace() as traced:
                await ask(made, CHAT | {"model": "concept-naming"})
            pipelines.append(traced.calls.total())
        assert min(pipelines) <= 411
        assert min([(await batch_of(made, 1)).calls.total() for _ in range(24)]) <= 356

    run(tmp_path, work)


def test_task_goes_by_the_table_of_its_own_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand_over = Cycle.hand_over

    async def work(made: Stack) -> None:
        def table_changes(cycle: Cycle, found: object) -> None:
            hand_over(cycle, found)
            made.gateway.replicas.table = Table({})

        monkeypatch.setattr(Cycle, "hand_over", table_changes)
        answer = await made.chat(model="concept-naming")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")

    run(tmp_path, work)


def test_client_that_leaves_between_the_two_is_counted_as_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_over = Cycle.hand_over

    async def work(made: Stack) -> None:
        def client_leaves(cycle: Cycle, found: object) -> None:
            hand_over(cycle, found)
            cycle.left()

        monkeypatch.setattr(Cycle, "hand_over", client_leaves)
        _, writer = await made.open(
            head=f"authorization: {made.client.headers['authorization']}\r\n", model="concept-naming"
        )
        await eventually(lambda: cancellations(made, "concept-naming") == 1)
        writer.close()
        await made.at_rest()

    run(tmp_path, work)
