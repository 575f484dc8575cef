"""`bench slots`: the closed loop on a small server, and its figures."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.errors import EngineFailure
from launch.bench.faults.slots_load import LAWS, Answer, SlotClients, SlotsLoad, figures_of, jain, own, zipf
from tests.fakes.http_server import Handler, serving

LOAD = SlotsLoad(clients=3, window_s=0.2, least_tokens=2, most_tokens=3)


@dataclass
class Server:
    url: str
    asked: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    """Answers every request with a stream of two tokens; `half` leaves out its end."""

    class Streams(Handler):
        def do_POST(self) -> None:
            body = json.loads(self.body())
            made.asked.append(body)
            events = [b'data: {"choices": []}\n\n'] * 2
            content = b"".join(events if body["model"] == "half" else [*events, b"data: [DONE]\n\n"])
            self.answer(content, 429 if body["model"] == "busy" else 200)

    with serving(Streams) as url:
        made = Server(url)
        yield made


def test_every_request_of_the_loop_is_answered_and_timed(server: Server) -> None:
    answers = SlotClients(server.url, "key", ["a", "b"], own(2)).run(LOAD, "1", "direct")
    assert len(answers) == len(server.asked) >= LOAD.clients
    assert all(0 <= answer.began_s <= answer.first_s <= answer.ended_s for answer in answers)
    assert {answer.model for answer in answers} == {"a", "b"}


def test_same_seed_draws_the_same_with_another_salt(server: Server) -> None:
    load = SlotsLoad(clients=1, window_s=0.1, least_tokens=2, most_tokens=9)
    for salt in ("direct", "gateway"):
        SlotClients(server.url, "key", ["a", "b", "c"], zipf(3)).run(load, "7", salt)
    first, second = ([b for b in server.asked if b["cache_salt"] == salt] for salt in ("direct", "gateway"))
    pairs = list(zip(first, second, strict=False))
    assert pairs
    assert all(
        (a["model"], a["prompt"], a["max_tokens"]) == (b["model"], b["prompt"], b["max_tokens"])
        for a, b in pairs
    )


@pytest.mark.parametrize(("model", "said"), [("half", "without its end"), ("busy", "busy: 429")])
def test_answer_that_is_not_whole_ends_the_visit(server: Server, model: str, said: str) -> None:
    with pytest.raises(EngineFailure, match=said):
        SlotClients(server.url, "key", [model], own(1)).run(LOAD, "1", "direct")


def test_laws() -> None:
    drawn = {}
    for law, draw in LAWS.items():
        chance = random.Random(1)
        drawn[law] = Counter(draw(3)(chance, client) for client in range(3000))
    assert drawn["own"] == {0: 1000, 1: 1000, 2: 1000}
    assert all(drawn["uniform"][one] == pytest.approx(1000, abs=100) for one in range(3))
    expected = {0: 1636, 1: 818, 2: 545}
    assert all(drawn["zipf"][one] == pytest.approx(share, abs=100) for one, share in expected.items())


def test_figures_count_what_ended_in_the_window_and_every_wait() -> None:
    load = SlotsLoad(clients=2, window_s=2.0, least_tokens=8, most_tokens=16)
    answers = [Answer("a", 8, 0.0, 0.1, 0.5), Answer("a", 12, 0.5, 0.6, 1.0), Answer("b", 9, 1.0, 2.5, 3.0)]
    figures = figures_of(answers, load)
    assert figures["requests_per_s"] == 1.0
    assert figures["tokens_per_s"] == 10.0
    assert figures["longest_wait_ms"] == pytest.approx(1500)
    assert figures["slowest_adapter_mean_ms"] == pytest.approx(1500)
    assert figures["fairness"] == pytest.approx(1600**2 / (2 * (100**2 + 1500**2)))
    assert figures["adapters_asked"] == 2


def test_window_without_an_answer_says_so() -> None:
    with pytest.raises(EngineFailure, match="no answer within 2 s"):
        figures_of([Answer("a", 8, 0.0, 2.5, 3.0)], SlotsLoad(1, 2.0, 8, 8))


def test_fairness_is_one_where_all_wait_alike_and_small_where_one_waits() -> None:
    assert jain([5.0, 5.0, 5.0]) == pytest.approx(1)
    assert jain([0.0, 0.0, 9.0]) == pytest.approx(1 / 3)
    assert jain([0.0]) == 1.0
