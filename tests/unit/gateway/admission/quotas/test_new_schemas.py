"""A key that sends new schemas without end is held to so many a minute; the same ones again cost nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.admission.quotas import new_schemas
from gateway.admission.quotas.new_schemas import NewSchemas
from gateway.errors import TooManyRequests
from tests.support.stack import stack

pytestmark = pytest.mark.anyio


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_new_schemas_of_a_key_are_bounded_and_come_back_with_time() -> None:
    clock = Clock()
    schemas = NewSchemas(2, clock)
    for _ in range(3):
        schemas.check("a", "response_format", b"1")
        schemas.check("a", "response_format", b"2")
    with pytest.raises(TooManyRequests, match=r"gateway\.max_new_schemas_per_minute") as refused:
        schemas.check("a", "response_format", b"3")
    assert (refused.value.retry_after_s, refused.value.param) == (30, "response_format")
    schemas.check("b", "response_format", b"3")
    schemas.check("a", "response_format", b"3")  # it is not new any more
    clock.now += 30
    schemas.check("a", "response_format", b"4")
    with pytest.raises(TooManyRequests):
        schemas.check("a", "response_format", b"5")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_schemas, "MOST_REMEMBERED", 2)
    schemas = NewSchemas(4, Clock())
    for schema in (b"1", b"2", b"1", b"3", b"1", b"2"):
        schemas.check("a", "text", schema)
    with pytest.raises(TooManyRequests):
        schemas.check("a", "text", b"3")


async def test_a_flood_of_schemas_is_429_and_other_requests_pass(tmp_path: Path) -> None:
    def form(number: int) -> dict[str, object]:
        schema = {"type": "object", "properties": {f"p{number}": {"type": "string"}}}
        return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

    async with stack(tmp_path, max_new_schemas_per_minute=3) as running:
        statuses = [(await running.chat(response_format=form(n))).status_code for n in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        refused = await running.chat(response_format=form(7))
        assert refused.headers["retry-after"]
        assert refused.json()["error"]["code"] == "too_many_schemas"
        assert (await running.chat(response_format=form(1))).status_code == 200
        assert (await running.chat()).status_code == 200
