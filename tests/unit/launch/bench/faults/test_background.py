"""`bench beside`: the order, a batch that stands behind a visit, the ratios and the tables."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from gateway.errors import EngineFailure
from launch.bench.engine.stack import Running
from launch.bench.faults import background
from launch.bench.faults.background import (
    Batch,
    figures_table,
    in_order,
    jsonl,
    ratios,
    ratios_table,
    running_batch,
)
from launch.bench.results.summary import summarise
from tests.fakes.fake_engine import Answer
from tests.support.stack import Stack, stack

pytestmark = pytest.mark.anyio


def rows() -> list[dict[str, object]]:
    figures = {
        "priority, alone": (2.0, 100.0),
        "priority, beside a batch": (1.0, 300.0),
        "fcfs, alone": (2.0, 100.0),
        "fcfs, beside a batch": (1.0, 600.0),
    }
    return [
        {
            "round": turn,
            "cell": "clients",
            "subject": arm,
            "requests_per_s": rate,
            "ttft_p50_ms": first_ms,
            "ttft_p99_ms": first_ms,
            "lines_per_s": 0.0,
        }
        for turn in range(2)
        for arm, (rate, first_ms) in figures.items()
    ]


def test_every_round_visits_each_arm_once_and_begins_with_another() -> None:
    orders = [in_order(turn) for turn in range(4)]
    assert all(len(set(order)) == len(order) == 4 for order in orders)
    assert len({order[0] for order in orders}) == 4


def test_lines_are_requests_whose_prompts_no_other_visit_has() -> None:
    one, other = (
        [json.loads(line) for line in jsonl("base", Batch(3, 5), salt).splitlines()] for salt in ("a", "b")
    )
    assert [line["custom_id"] for line in one] == ["0", "1", "2"]
    assert {line["body"]["max_tokens"] for line in one} == {5}
    assert not {line["body"]["prompt"].split()[0] for line in one} & {
        line["body"]["prompt"].split()[0] for line in other
    }


def running(made: Stack) -> Running:
    url = f"http://127.0.0.1:{made.port}"
    return Running(url, url, 0, "base", {}, 0.0, Path())


def in_a_thread(made: Stack) -> int:
    with running_batch(running(made), Batch(40, 2), "salt") as done:
        return done()


async def test_batch_is_there_from_its_first_answer_on_and_cancelled_at_the_end(tmp_path: Path) -> None:
    async with asyncio.timeout(60), stack(tmp_path, batches={"max_in_flight": 4}) as made:
        held = asyncio.Event()
        asked = itertools.count()
        made.engine.answers["base"] = lambda _: Answer(hold_head=held if next(asked) > 1 else None)
        assert await asyncio.to_thread(in_a_thread, made) >= 1
        batches = (await made.client.get("/v1/batches")).json()["data"]
        assert [batch["status"] for batch in batches] == ["cancelled"]
        await made.at_rest()


async def test_batch_that_does_not_begin_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "BEGUN_TIMEOUT_S", 0.0)
    async with asyncio.timeout(60), stack(tmp_path) as made:
        made.engine.answers["base"] = Answer(hold_head=asyncio.Event())
        with pytest.raises(EngineFailure, match="has no answer after 0 s"):
            await asyncio.to_thread(in_a_thread, made)


def test_ratios_are_formed_within_a_round_and_shown() -> None:
    found = ratios(rows())
    assert found["priority to fcfs, beside a batch"]["ttft_p50_ms"]["median"] == 0.5
    assert found["beside a batch to alone, fcfs"]["ttft_p99_ms"] == {"median": 6, "least": 6, "most": 6}
    assert Counter(map(len, found.values())) == {3: 4}
    out = Console(file=io.StringIO(), width=160)
    out.print(figures_table(summarise(rows())["clients"]))
    out.print(ratios_table(found))
    text = out.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert "fcfs, beside a batch" in text
    assert "0.50 (0.50 to 0.50)" in text
