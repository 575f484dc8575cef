"""`lora-gateway run`: when a request is sent again, and how often."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from launch.cli.run.input_lines import read_request
from launch.cli.run.requests import FAULTY_ATTEMPTS
from tests.unit.launch.cli.run.test_command import asked
from tests.unit.launch.cli.run.test_results import completion


@pytest.mark.parametrize("status", [429, 503])
def test_busy_gateway_is_asked_again_when_it_says(status: int) -> None:
    answers = [httpx.Response(status, headers={"retry-after": "7"}), httpx.Response(status), None]

    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer k"
        return answers.pop(0) or httpx.Response(200, content=completion("x"))

    ((outcome,), pauses) = asyncio.run(asked(handler, [read_request(1, b"x", "m")]))
    assert not outcome.reason
    assert 7 <= pauses[0] < 9
    assert 2 <= pauses[1] < 3


@pytest.mark.parametrize(
    ("status", "attempts"), [(400, 1), (404, 1), (502, FAULTY_ATTEMPTS), (503, 5), (None, 5)]
)
def test_attempts_are_bounded_by_what_went_wrong(status: int | None, attempts: int) -> None:
    calls: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        if status is None:
            raise httpx.ConnectError("refused")
        return httpx.Response(status, json={"error": {"message": "no"}})

    ((outcome,), _) = asyncio.run(asked(handler, [read_request(1, b"x", "m")]))
    assert outcome.reason
    assert len(calls) == attempts
