"""Engines are asked when somebody scrapes: once a second, together, and none holds a scrape up twice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from gateway.errors import EngineError
from gateway.scrape import engine_figures
from gateway.scrape.engine_figures import FRESH_S, STALE_S, EngineFigures
from gateway.scrape.engine_text import joined
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio
SAID = b'vllm:num_requests_running{engine="0"} 3.0\n'


@dataclass(eq=False)
class Engine:
    """A replica that the test plays."""

    name: str
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 200
    asked: int = 0
    dead: bool = False

    @property
    def upstream(self) -> Engine:
        return self


@dataclass
class Engines:
    ready: list[Engine]


async def fetched(upstream: Engine, path: bytes) -> tuple[int, bytes]:
    assert path == b"/metrics"
    upstream.asked += 1
    await upstream.answers.wait()
    if upstream.dead:
        raise EngineError("The engine cannot be reached.")
    return upstream.status, SAID


class Scraper:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        monkeypatch.setattr(engine_figures, "fetch", fetched)
        monkeypatch.setattr(engine_figures, "PATIENCE_S", 1e6)
        self.clock = 100.0
        self.engines = [Engine(name) for name in names]
        for one in self.engines:
            one.answers.set()
        self.figures = EngineFigures(Engines(self.engines), lambda: self.clock)  # type: ignore[arg-type]

    async def telling(self) -> list[str]:
        return list(await self.figures.now())


async def test_every_engine_is_asked_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    scraper = Scraper(monkeypatch, "one", "two")
    found = await scraper.figures.now()
    assert joined(found.values()).splitlines() == [
        'vllm:num_requests_running{engine="one",rank="0"} 3.0',
        'vllm:num_requests_running{engine="two",rank="0"} 3.0',
    ]


async def test_several_scrapers_cost_an_engine_no_more_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    scraper = Scraper(monkeypatch, "one")
    await asyncio.gather(*(scraper.telling() for _ in range(5)))
    assert await scraper.telling() == ["one"]
    assert scraper.engines[0].asked == 1
    scraper.clock += FRESH_S
    assert await scraper.telling() == ["one"]
    assert scraper.engines[0].asked == 2


async def test_an_engine_that_hangs_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scraper = Scraper(monkeypatch, "one", "hung")
    one, hung = scraper.engines
    hung.answers.clear()
    monkeypatch.setattr(engine_figures, "PATIENCE_S", 0.01)
    assert "hung" not in await scraper.telling()
    monkeypatch.setattr(engine_figures, "PATIENCE_S", 1e6)  # were it waited for again, this would not end
    await eventually(lambda: scraper.figures._known[one].task is None)  # type: ignore[index]
    scraper.clock += FRESH_S
    assert await scraper.telling() == ["one"]
    assert hung.asked == 1
    hung.answers.set()
    known = scraper.figures._known[hung]  # type: ignore[index]
    await eventually(lambda: known.task is None)
    assert await scraper.telling() == ["one", "hung"]


async def test_old_figures_are_not_shown_as_those_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    scraper = Scraper(monkeypatch, "one")
    assert await scraper.telling() == ["one"]
    scraper.engines[0].dead = True
    scraper.clock += FRESH_S
    assert await scraper.telling() == ["one"]
    scraper.clock += STALE_S
    assert await scraper.telling() == []


@pytest.mark.parametrize("broken", ["dead", "status"])
async def test_an_engine_without_figures_is_left_out(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    scraper = Scraper(monkeypatch, "one")
    scraper.engines[0].dead = broken == "dead"
    scraper.engines[0].status = 404
    assert await scraper.telling() == []


async def test_an_engine_that_is_gone_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    scraper = Scraper(monkeypatch, "one")
    assert await scraper.telling() == ["one"]
    scraper.engines.clear()
    assert await scraper.telling() == []


async def test_the_end_leaves_nobody_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    scraper = Scraper(monkeypatch, "hung")
    scraper.engines[0].answers.clear()
    monkeypatch.setattr(engine_figures, "PATIENCE_S", 0.01)
    assert await scraper.telling() == []
    await scraper.figures.stop()
    assert all(one.task is None for one in scraper.figures._known.values())
