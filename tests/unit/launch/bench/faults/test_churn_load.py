"""A stream's chunks as one completion, or why it is none."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from gateway.errors import EngineFailure
from launch.bench.faults.churn_load import ChurnClients, gathered
from launch.bench.faults.churn_truth import PROMPTS, ExpectedAnswers
from launch.engine.scoring import Score
from tests.fakes.http_server import Handler, serving

CHUNK = b'data: {"model": "red@1", "choices": [{"logprobs": {"token_logprobs": [%b]}}]}\n\n'


def test_chunks_add_up() -> None:
    stream = (
        CHUNK % b"-1.0"
        + b": a comment\n\n"
        + CHUNK % b"-2.0, -3.0"
        + b'data: {"choices": []}\n\ndata: [DONE]\n\n'
    )
    assert gathered(stream) == {
        "model": "red@1",
        "choices": [{"logprobs": {"token_logprobs": [-1.0, -2.0, -3.0]}}],
    }


@pytest.mark.parametrize("stream", [b"", CHUNK % b"-1.0", b'data: {"error": {}}\n\n'])
def test_stream_without_its_end_is_no_answer(stream: bytes) -> None:
    with pytest.raises(EngineFailure, match="without its end"):
        gathered(stream)


class Gateway(Handler):
    """Red is answered by its adapter, blue refused."""

    def do_POST(self) -> None:
        served = json.loads(self.body())["model"] == "red"
        choice = {"index": 0, "text": "", "logprobs": {"token_logprobs": [-1.0]}}
        error = {"error": {"code": "rate_limit_exceeded", "message": "no"}}
        data = json.dumps({"model": "red@1", "choices": [choice]} if served else error).encode()
        self.answer(data, 200 if served else 429, x_gateway_adapter="red@1")


@pytest.fixture
def url() -> Iterator[str]:
    with serving(Gateway) as url:
        yield url


def test_each_request_is_seen_with_its_times_and_what_became_of_it(url: str) -> None:
    alone = {"red@1": (Score((), (-1.0,)),) * len(PROMPTS), "base": (Score((), (-9.0,)),) * len(PROMPTS)}
    truth = ExpectedAnswers(alone, "base", {"red@1": 0.1, "base": 0.1})
    clients = ChurnClients(url, "key", ["red", "blue"], truth, 12, streams=False)
    clients.run(2, 60.0)
    seen = clients.tally.seen
    assert len(seen) == 12
    assert all(one.began_s <= one.ended_s for one in seen)
    found = {(one.task, one.status, one.verdict, one.adapter_id) for one in seen}
    assert found == {("red", "200", "own", "red@1"), ("blue", "429 rate_limit_exceeded", "", "")}


def test_told_to_stop_nobody_asks_again(url: str) -> None:
    clients = ChurnClients(url, "key", ["red"], ExpectedAnswers({}, "base", {}), 12)
    clients.stop()
    clients.run(2, 60.0)
    assert clients.tally.seen == []
