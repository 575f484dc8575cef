"""Routes of responses that are kept: none is, and the answer says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.stack import stack

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("both_ways")]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/responses/resp_1/input_items"),
    ],
)
async def test_routes_of_kept_responses_say_that_none_is(tmp_path: Path, method: str, path: str) -> None:
    async with stack(tmp_path) as s:
        answer = await s.client.request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "responses_not_kept")
        assert not s.engine.completions
    async with stack(tmp_path, keys={"a": {"sha256": "0" * 64}}) as s:
        assert (await s.client.request(method, path)).status_code == 401


@pytest.mark.parametrize(
    ("route", "instead"), [("input_tokens", "/v1/messages/count_tokens"), ("compact", "nothing is compacted")]
)
async def test_what_needs_no_kept_response_is_told_what_there_is(
    tmp_path: Path, route: str, instead: str
) -> None:
    async with stack(tmp_path) as s:
        answer = await s.client.post(f"/v1/responses/{route}", json={"model": "naming", "input": "cat"})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (404, "not_found")
        assert instead in error["message"]
